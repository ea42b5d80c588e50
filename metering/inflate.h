/*
 * inflate.h - unpacks a gzip or deflate body as it passes.
 *
 * Only for looking at it: the client gets the body as it came.  A body that
 * grows without reason is given up: up to INFLATE_BYTES_FREE anything goes, and
 * beyond that INFLATE_RATIO_MOST bytes for each byte read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

#define INFLATE_BYTES_FREE (UINT64_C(64) << 20)
#define INFLATE_RATIO_MOST 200

struct inflater;

/* Called with what was unpacked, in order; `p` is valid during the call. */
typedef void (*inflate_piece_fn)(void *arg, const char *p, size_t len);

/* True for a Content-Encoding that is understood: gzip, x-gzip, deflate. */
bool inflate_knows(struct slice content_encoding);

/* Returns one for a body in either format; its first bytes tell which.  Servers
 * also send raw deflate under that name.  The caller owns it.  NULL if memory
 * is out. */
MUST_CHECK struct inflater *inflater_create(void);

/* Unpacks `len` bytes and calls back with the pieces.  False once the body is
 * damaged or was given up; more is then ignored. */
MUST_CHECK bool inflater_feed(struct inflater *f, const void *p, size_t len,
    inflate_piece_fn on_piece, void *arg);

/* True if the packed body has come to its end. */
bool inflater_is_whole(const struct inflater *f);

/* True if it was given up because it grew too much. */
bool inflater_is_spent(const struct inflater *f);

/* Frees *fp and sets it to NULL.  *fp may be NULL. */
void inflater_destroy(struct inflater **fp);
