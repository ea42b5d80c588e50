/*
 * tap.h - looks at an answer's body as it passes: usage, first content, errors,
 * the end mark.
 *
 * The dialect is given by the API and by whether the request asked for a
 * stream, never by the content type; whether the body is a stream or a document
 * is seen from its first byte, since servers answer both with the other.  The
 * body may be split anywhere, which changes nothing; memory is bounded by
 * sizeof(struct tap).  The tap edits nothing: it says of each event whether the
 * client should see it.
 *
 * Facts of the servers: the last usage that is not null and not all zeros wins;
 * Anthropic's counts merge field by field, and its input adds cache reads and
 * writes; xAI's chat reports reasoning beside, not inside, completion_tokens.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "metering/kind.h"
#include "metering/sse.h"
#include "metering/twin.h"
#include "metering/usage.h"
#include "metering/usage_reader.h"

/* An event larger than this is passed on before its end, and never hidden. */
#define TAP_HIDE_BYTES 16384

enum tap_verdict {
	TAP_MORE, /* the input is used up in the middle of an event */
	TAP_PASS, /* an event ended: for the client */
	TAP_HIDE, /* an event ended that the client did not ask for: the chunk
		     with the usage and no choices */
};

struct tap {
	/* What the caller reads; all but may_be_hidden only ever turn true or
	 * grow. */
	bool has_content;    /* an event with text, reasoning, refusal, a tool
				call or audio has been seen (whole); never for a
				document that was no stream */
	bool has_error;      /* the body is, or holds, an error */
	bool is_complete;    /* it ends as this dialect ends */
	bool may_be_hidden;  /* the event begun may yet turn out to be one to
				hide: do not pass its bytes before it ends; after
				tap_end(): the last event, which no empty line
				closed, is one to hide */
	bool has_bad_count;  /* some count was damaged and is left out */
	uint32_t bad_events; /* that were not JSON */
	uint64_t events;     /* with data; or documents */
	uint64_t text_bytes; /* of the model's text so far, decoded */
	struct usage usage;  /* USAGE_UNKNOWN until some is seen */
	enum usage_source source; /* UPSTREAM, TIMINGS or NONE */

	/* The tap's own. */
	enum server_api api;
	enum usage_rank rank; /* of `usage` */
	int64_t fresh_input;  /* API_MESSAGES: input beside the caches */
	bool is_stream, hides_usage;
	bool has_end_marks; /* documents say whether they are the last one */
	bool has_document;  /* one ended, and no line end came since */
	bool is_joined;     /* the event has a data line that is over */
	bool is_name_over;
	uint8_t shape; /* of the body */
	uint8_t data;  /* of the event, so far */
	uint8_t mark_len, name_len;
	char name[28];     /* of the event */
	bool is_between;   /* an event has just ended */
	const char *piece; /* during tap_next(): the event's first byte, or NULL
			      if it began earlier */
	size_t data_at;    /* in the piece: where the event's document begins;
			      SIZE_MAX: not in one run */
	struct sse sse;
	struct usage_reader reader;
	struct twin twin; /* of the last event that was read */
};

/* `is_stream`: the request had "stream":true.  `hides_usage`: the gateway, not
 * the client, asked for the usage chunk.  The tap must not move until its
 * end. */
void tap_init(
    struct tap *t, enum server_api api, bool is_stream, bool hides_usage);

/* Reads up to the end of the current event or of the input, whichever comes
 * first.  Returns the bytes used, at least 1 if len > 0.  A body that is not a
 * stream is one event that ends with tap_end(). */
size_t tap_next(
    struct tap *t, const char *p, size_t len, enum tap_verdict *verdict);

/* The body is over.  `was_cut`: the connection broke before its framing's end.
 * Decides is_complete for dialects that end with the body. */
void tap_end(struct tap *t, bool was_cut);
