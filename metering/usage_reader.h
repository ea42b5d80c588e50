/*
 * usage_reader.h - reads one JSON document of an answer: the data of an event,
 * a line, or a whole body.
 *
 * It follows the few paths on which servers say something that matters (their
 * map is answer_map.h) and passes over all the rest, so
 * that a "usage" in a tool's input or in an echoed schema never counts.  What
 * was found may be read once usage_reader_end() has said that the document is
 * whole: half of a document says nothing but text and errors.
 *
 * Documents come in pieces of any size; nothing of them is kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/json_scan.h"
#include "metering/kind.h"
#include "metering/usage.h"

/* What an event's name, or its "type", says that it is. */
enum answer_type {
	ANSWER_OTHER,
	ANSWER_ERROR,
	ANSWER_MESSAGE_STOP,
	ANSWER_RESPONSE_DONE, /* completed or incomplete */
	ANSWER_RESPONSE_FAILED,
	ANSWER_AUDIO_DELTA,
};

/* How much a usage is worth: a later one replaces its equals and lesser ones.
 */
enum usage_rank {
	USAGE_RANK_NONE,
	USAGE_RANK_PROGRESS, /* llama.cpp's own running counts */
	USAGE_RANK_TIMINGS,
	USAGE_RANK_REPORTED,
};

enum answer_choices { CHOICES_NONE, CHOICES_EMPTY, CHOICES_SOME };

enum answer_mark { MARK_NONE, MARK_FALSE, MARK_TRUE };

#define USAGE_READER_DEPTH 12
#define USAGE_READER_COUNTS 24

struct usage_reader {
	/* What was found. */
	enum answer_type type;
	enum answer_choices choices;
	enum answer_mark done; /* ollama's "done", llama.cpp's "stop" */
	enum usage_rank rank;  /* of `usage` */
	bool has_usage_object; /* "usage" at the top is an object */
	bool is_usage_nested;  /* `usage` came from inside "response" */
	bool has_content;      /* text, reasoning, refusal, tool call, audio */
	bool has_error;
	bool has_refusal_shape; /* an error if this is the whole body: "detail",
				   "fault", or a "message" with a "code" */
	bool has_bad_count;
	uint64_t text_bytes; /* of the model's text, decoded */
	unsigned texts;      /* pieces of text; the only one lies, between its
				quotes, at text_begin..text_end of the
				document */
	uint64_t text_begin, text_end;
	struct usage usage; /* for API_MESSAGES `input` leaves out what was
			       read from and written to a cache */

	/* The reader's own. */
	enum server_api api;
	bool stops_at_end;
	bool has_message, has_code;
	uint8_t place;   /* of the value that follows the last key */
	uint8_t skipped; /* place of the container that is passed over */
	uint8_t path[USAGE_READER_DEPTH];
	uint64_t begin; /* of that container */
	int32_t counts[USAGE_READER_COUNTS];
	struct json_scan json;
};

/* Makes ready for one document; the reader must not move until its end.
 * `stops_at_end`: usage_reader_feed() says JSON_STOP right behind the document,
 * where json_scan_offset(&r->json) stands, and not that more was bad. */
void usage_reader_begin(
    struct usage_reader *r, enum server_api api, bool stops_at_end);

/* Reads a piece, as json_scan_feed(). */
enum json_verdict usage_reader_feed(
    struct usage_reader *r, const char *p, size_t len);

/* No more comes.  True if the document was whole, and everything found may be
 * used. */
MUST_CHECK bool usage_reader_end(struct usage_reader *r);

/* What an "event:" line or a "type" says. */
enum answer_type answer_type_of(struct slice name);
