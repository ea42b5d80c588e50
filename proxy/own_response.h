/*
 * own_response.h - a Responses stream that begins before its model server does.
 *
 * OpenAI's SDKs want `response.created` first, and Codex counts events as life,
 * not comments.  So a client that waits gets a `response.created` of ours, and
 * then `keepalive` events; from there on the response has our id, and its
 * events our numbers: what a model server sends later is made to fit by
 * responses_splice.h, and a failure is told by own_response_fail().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/text.h"

#define OWN_RESPONSE_ID_CHARS (5 + ULID_CHARS)

struct own_response {
	char id[OWN_RESPONSE_ID_CHARS + 1]; /* "resp_" and a ULID */
	const char *model;    /* borrowed: from the snapshot; as the client
				 calls it */
	int64_t created_s;    /* wall */
	uint64_t next_number; /* that the next event gets; 0: none was sent */
};

/* Makes ready; nothing was sent yet. */
void own_response_init(struct own_response *r, const char *ulid,
    const char *model, int64_t wall_ms);

/* Appends `response.created` the first time, and `keepalive` from then on. */
void own_response_write(struct own_response *r, struct buf *to);

/* Appends the failure: an `error` event, which SDKs throw, and
 * `response.failed`, which Codex reads; in OpenAI's own order.  If nothing was
 * sent before, `response.created` comes first.  Whoever sends this after a part
 * of an event ends that event before, with an empty line. */
void own_response_fail(struct own_response *r, const char *type,
    const char *code, struct slice message, struct buf *to);
