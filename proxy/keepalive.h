/*
 * keepalive.h - signs of life for the client of a stream that has to wait.
 *
 * In the form that the client's SDK counts: a comment for chat and completions,
 * which also says how long it will take; `ping` for /v1/messages; for
 * /v1/responses the events of own_response.h.  Each ends with one empty line
 * and begins with none, so that nothing between two of them can be taken for an
 * event without data.
 *
 * Plain data, no clock: the worker that waits says when, and sends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "metering/kind.h"
#include "proxy/own_response.h"

/* What the client may be told. */
struct keepalive_news {
	uint32_t position;  /* in the queue, from 1; 0: it has left the queue,
			       and waits for the model server */
	uint64_t expect_ms; /* in the queue: how long still; 0: not known */
	uint64_t waited_ms; /* before the first token: how long already */
};

struct keepalive {
	enum server_api api;
	uint32_t sent;                /* signs, so far */
	struct own_response response; /* API_RESPONSES */
};

/* Makes ready; nothing was sent yet.  `ulid` becomes the id of a response of
 * ours; `model` is borrowed until the last call. */
void keepalive_init(struct keepalive *k, enum server_api api, const char *ulid,
    const char *model, int64_t wall_ms);

/* Appends one sign of life. */
void keepalive_write(
    struct keepalive *k, const struct keepalive_news *news, struct buf *to);

/* How many of the bytes that a model server's stream begins with must be left
 * out if a sign of life came before: a byte order mark, which would damage the
 * name of the first field, and empty lines.  p[0..len) holds the first event,
 * or its beginning.  Not for a stream that goes through responses_splice.h. */
size_t keepalive_skip(const char *p, size_t len);
