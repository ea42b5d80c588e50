/*
 * responses_splice.h - makes a model server's Responses stream the continuation
 * of one that we have begun.
 *
 * When the client has got a `response.created` of ours (own_response.h), three
 * things of the model server's stream do not fit.  Its own `response.created`
 * is left out; where an event has an id for the response (response.id,
 * response_id), it becomes ours; and the events that have a sequence_number are
 * numbered on from ours, one by one, whatever the model server counts.  So is
 * the second one of two byte order marks left out, and an empty line before the
 * first event.  All else stays byte for byte, also what is no JSON, and what
 * has no numbers gets none.
 *
 * The stream may be split anywhere, which changes nothing.  Bytes are passed as
 * they come, except while they may have to be changed: an event that does not
 * say what it is before SPLICE_EVENT_BYTES is passed whatever it is, and a
 * value longer than SPLICE_VALUE_BYTES as it is.
 *
 * For streams that need it alone: with no sign of life sent it is not called,
 * and costs nothing.  The answer must not be compressed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/json_scan.h"
#include "metering/sse.h"
#include "proxy/own_response.h"

#define SPLICE_EVENT_BYTES 65536
#define SPLICE_VALUE_BYTES 1024
#define SPLICE_ID_BYTES 128

enum splice_fate { SPLICE_OPEN, SPLICE_PASSED, SPLICE_DROPPED };

struct responses_splice {
	struct own_response *own; /* borrowed */
	/* What the model server calls its response, decoded; "": it has not
	 * said so, or the name is too long. */
	char upstream_id[SPLICE_ID_BYTES];

	/* Its own.  Places are counted in bytes from the stream's first. */
	struct buf *to;    /* borrowed: during a call */
	const char *piece; /* borrowed: during a call, */
	uint64_t piece_at; /* ...and where it begins */
	uint64_t done;     /* up to here all is passed, or left out */
	uint64_t event_at; /* where the event begins */
	uint64_t value_at; /* where the key ends whose value may have to be
			      replaced; UINT64_MAX: none */
	uint64_t json_at;  /* the place of the document's first byte, if all of
			      it stood in the current line */
	uint64_t json_fed;
	uint64_t number;  /* this event's, if has_number */
	struct buf event; /* owned: of an open event, already changed */
	struct buf value; /* owned: what came before the piece and is not done
			   */
	enum splice_fate fate; /* of the event */
	uint8_t mark_len;      /* of a byte order mark, so far */
	uint8_t name_len;
	uint8_t key;      /* that came last */
	bool is_between;  /* no event is open */
	bool is_joined;   /* what we sent lies right before this */
	bool in_response; /* within the event's response */
	bool has_number;
	bool is_json; /* the event's data is, so far */
	bool has_data;
	char name[20]; /* of the event */
	struct sse sse;
	struct json_scan json;
};

/* Makes ready for a stream of which nothing was sent.  It must not move until
 * its release.  `own` is borrowed until then; from here on its numbers are
 * given out here, so nobody may write signs of life any more. */
void responses_splice_init(
    struct responses_splice *s, struct own_response *own);

/* Frees what it holds, with nothing more sent. */
void responses_splice_release(struct responses_splice *s);

/* Takes a piece of the stream; appends what the client gets now: at most the
 * piece, what was kept, and an id a number. */
void responses_splice_feed(
    struct responses_splice *s, const char *p, size_t len, struct buf *to);

/* The stream has ended as it should: appends what was kept. */
void responses_splice_end(struct responses_splice *s, struct buf *to);

/* True if what the client has got ends between two events, so that an event of
 * ours may follow at once; else it needs an empty line before it. */
bool responses_splice_is_between(const struct responses_splice *s);
