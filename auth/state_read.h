/*
 * state_read.h - reads the files of state_file.h: whole, trusted, and strict.
 *
 * What a later version means by a member that is not known here may be a limit,
 * and ignoring it would let in too much: such a file is refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/limits.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/text.h"

#define STATE_FILE_VERSION 1
#define STATE_TEXT_MOST 256 /* bytes in a name or a word */

struct json_t; /* of jansson.h */

enum state_presence { STATE_IS_THERE, STATE_IS_MISSING, STATE_IS_BAD };

/* Appends all of a file of the folder to `out`.  Bad is one that is damaged, a
 * link, larger than `most` bytes or open to others, and, unless `any_owner`,
 * one of somebody who is neither its reader, nor root, nor the folder's
 * owner. */
MUST_CHECK enum state_presence state_file_read(const char *state_dir,
    const char *name, size_t most, bool any_owner, struct buf *out,
    struct fault *why);

/* Reads the document; *items, borrowed from it, is its list.  The caller drops
 * it with json_decref().  NULL with the reason. */
MUST_CHECK struct json_t *state_file_parse(struct slice json, const char *list,
    struct json_t **items, struct fault *why);

/* False with the reason if it is not an object, or has a member that is none of
 * `known`. */
MUST_CHECK bool state_has_only(struct json_t *object, const char *const *known,
    size_t count, struct fault *why);

/* Whether it may stand in such a file: clean UTF-8, 1 to STATE_TEXT_MOST
 * bytes. */
bool state_is_text(const char *p, size_t len);

/* Each reads one member, and leaves *out at NULL, 0 or as it was if there is
 * none.  The text is copied into the arena. */
MUST_CHECK bool state_read_text(struct json_t *object, const char *member,
    struct arena *memory, char **out, struct fault *why);
MUST_CHECK bool state_read_time(
    struct json_t *object, const char *member, int64_t *out, struct fault *why);

/* The member "limits": a list of texts like "concurrent=4". */
MUST_CHECK bool state_read_limits(
    struct json_t *object, struct limits *out, struct fault *why);
