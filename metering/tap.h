/*
 * tap.h - looks at an answer's body as it passes: usage, first content, errors,
 * the end mark.
 *
 * The dialect is given by the API and by whether the request asked for a
 * stream, never by the content type; whether the body is a stream or a document
 * is seen from its first byte, since servers answer both with the other.  The
 * body may be split anywhere, which changes nothing; memory is bounded by
 * sizeof(struct tap), and where several choices are counted by those.  The tap
 * edits nothing: it says of each event which of its bytes the client should not
 * see.
 *
 * Facts of the servers: the last usage that is not null and not all zeros wins;
 * Anthropic's counts merge field by field, and its input adds cache reads and
 * writes; running counts are of one choice each; xAI's chat reports reasoning
 * beside, not inside, completion_tokens.
 *
 * What `usage` and `source` mean at any moment, so that an answer can break off
 * at each of them:
 *
 *     NONE      nothing was said; `usage` is unknown.
 *     RUNNING   what was said so far, in the middle of a stream: the input is
 *               exact, and so is the output but for `uncounted_bytes` of text
 *               that came since (all text, if no output was said).
 *     TIMINGS,  what was said at the end, or by a whole document: it stands,
 *     UPSTREAM  whatever text there was.  Running counts become this when the
 *               stream ends as it should, without an error.
 *
 * Any count may be -1 in all of them: it was not said, or was damaged and no
 * good one came before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"
#include "metering/kind.h"
#include "metering/running.h"
#include "metering/sse.h"
#include "metering/twin.h"
#include "metering/usage.h"
#include "metering/usage_reader.h"

/* An event larger than this is passed on before its end, and never hidden; nor
 * is usage cut out that has more than this behind it in its event. */
#define TAP_HIDE_BYTES 16384

enum tap_verdict {
	TAP_MORE, /* the input is used up in the middle of an event */
	TAP_PASS, /* an event ended: for the client, but for the cut */
	TAP_HIDE, /* an event ended that the client did not ask for, the chunk
		     with the usage and no choices: all of it is cut */
	TAP_REST, /* a line feed came late that belongs to the event before */
};

/* What was asked, and of whom. */
struct tap_job {
	enum server_kind kind;
	enum server_api api;
	bool is_stream;      /* the request had "stream":true */
	bool hides_usage;    /* the gateway, not the client, asked for the chunk
				with the usage, */
	bool strips_running; /* ...for running counts */
	uint64_t choices;    /* asked for, for each prompt; 0 is 1 */
};

struct tap {
	/* What the caller reads; the flags and numbers of this block only ever
	 * turn true or grow. */
	bool has_content;    /* an event with text, reasoning, refusal, a tool
				call or audio has been seen (whole); never for a
				document that was no stream */
	bool has_error;      /* the body is, or holds, an error */
	bool is_complete;    /* it ends as this dialect ends */
	bool has_bad_count;  /* some count was damaged and is left out */
	uint32_t bad_events; /* that were not JSON */
	uint64_t events;     /* with data; or documents */
	uint64_t text_bytes; /* of the model's text so far, decoded */

	struct usage usage; /* USAGE_UNKNOWN until some is seen */
	enum usage_source source;
	uint64_t uncounted_bytes; /* of text that `usage` leaves out */

	/* Offsets from the event's first byte, the line ends before it
	 * included. */
	uint64_t event_bytes; /* of the open event so far, or of the one that
				 has just ended */
	uint64_t cut_begin, cut_end; /* of the event that has just ended: not
					for the client; equal: nothing is */
	bool leaves_null;   /* the four bytes behind the cut become "null" */
	uint64_t held_from; /* of the open event: from here on its bytes may
			       have to be cut, so they must wait for its end;
			       UINT64_MAX: none */

	/* The tap's own. */
	struct tap_job job;
	enum usage_rank rank; /* of `usage` */
	int64_t fresh_input;  /* API_MESSAGES: input beside the caches */
	struct running running;
	uint64_t ahead_bytes; /* of text that was counted before it came */
	bool is_last_bad;     /* the last usage was nothing but damage */
	bool has_end_marks;   /* documents say whether they are the last one */
	bool has_document;    /* one ended, and no line end came since */
	bool is_joined;       /* the event has a data line that is over */
	bool is_name_over;
	bool is_between; /* an event has just ended, */
	bool was_hidden; /* ...and was for nobody */
	uint8_t shape;   /* of the body */
	uint8_t data;    /* of the event, so far */
	uint8_t mark_len, name_len;
	char name[28];     /* of the event */
	uint64_t lines_at; /* where its first line begins; and where */
	uint64_t json_at;  /* its document does; UINT64_MAX: not in one run */
	uint64_t json_text_at; /* the same, line ends before it left out */
	const char *piece;     /* during tap_next(): what it was given, */
	bool has_begun_here;   /* ...and the event began there */
	struct sse sse;
	struct usage_reader reader;
	struct twin twin; /* of the last event that was read */
};

/* The tap must not move until its end.  It holds nothing yet. */
void tap_init(struct tap *t, const struct tap_job *job);

/* Frees what it holds. */
void tap_release(struct tap *t);

/* The answer's head has this to say of the tokens in: they count unless the
 * body says more; 0 is no count.  For APIs whose answers have none of
 * their own. */
void tap_take_header(struct tap *t, struct slice tokens);

/* Reads up to the end of the current event or of the input, whichever comes
 * first.  Returns the bytes used, at least 1 if len > 0.  A body that is not a
 * stream is one event that ends with tap_end(). */
size_t tap_next(
    struct tap *t, const char *p, size_t len, enum tap_verdict *verdict);

/* The body is over.  `was_cut`: the connection broke before its framing's end.
 * Decides is_complete for dialects that end with the body.  Returns the verdict
 * on an event that no empty line has closed; TAP_MORE: there is none, or its
 * document is not whole. */
enum tap_verdict tap_end(struct tap *t, bool was_cut);
