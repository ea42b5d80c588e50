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
	USAGE_RANK_HEADER,   /* TEI's x-compute-tokens */
	USAGE_RANK_PROGRESS, /* llama.cpp's own running counts */
	USAGE_RANK_TIMINGS,
	USAGE_RANK_REPORTED,
};

enum answer_choices { CHOICES_NONE, CHOICES_EMPTY, CHOICES_SOME };

enum answer_mark { MARK_NONE, MARK_FALSE, MARK_TRUE };

#define USAGE_READER_DEPTH 12
#define USAGE_READER_COUNTS 26
#define USAGE_READER_DIGITS 6

/* A count of the usage as it is written, at begin..end of the document. */
struct usage_digits {
	uint32_t begin, end;
	uint8_t place;
};

struct usage_reader {
	/* What was found. */
	enum answer_type type;
	enum answer_choices choices;
	enum answer_mark done; /* ollama's "done", llama.cpp's "stop" */
	enum usage_rank rank;  /* of `usage` */
	bool has_usage_object; /* "usage" at the top is an object */
	bool is_usage_nested;  /* `usage` came from inside "response", or
				  message_start's "message" */
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
	struct usage usage;    /* for API_MESSAGES `input` leaves out what was
				  read from and written to a cache */
	unsigned choice_count; /* objects in "choices"... */
	uint32_t index;        /* ...and the last one's number */
	uint64_t cut_begin, cut_end; /* where the member "usage" of the whole
					document stands, if it is an object,
					with the comma that goes with it;
					cut_end 0: there is none */
	uint64_t usage_begin, usage_end; /* ...and its value alone */
	unsigned digit_count; /* counts in digits[]; more than it holds: what
				 was found does not follow from them alone */

	/* The reader's own. */
	enum server_api api;
	bool stops_at_end, reasons_beside;
	bool has_message, has_code;
	bool is_in_member;   /* a value of the document's own members has yet
				to end */
	bool is_in_usage;    /* ...that of "usage" */
	bool ends_at_key;    /* the cut ends where the next member begins */
	uint64_t member_end; /* of the last one of those; 0: none yet */
	unsigned usages;     /* usage objects */
	int64_t cost_pusd;
	uint8_t place;   /* of the value that follows the last key */
	uint8_t skipped; /* place of the container that is passed over */
	uint8_t path[USAGE_READER_DEPTH];
	uint64_t begin; /* of that container */
	int32_t counts[USAGE_READER_COUNTS];
	struct usage_digits digits[USAGE_READER_DIGITS];
	struct json_scan json;
};

/* Makes ready for one document; the reader must not move until its end.
 * `stops_at_end`: usage_reader_feed() says JSON_STOP right behind the document,
 * where json_scan_offset(&r->json) stands, and not that more was bad. */
void usage_reader_begin(struct usage_reader *r, enum server_kind kind,
    enum server_api api, bool stops_at_end);

/* Reads a piece, as json_scan_feed(). */
enum json_verdict usage_reader_feed(
    struct usage_reader *r, const char *p, size_t len);

/* From where on in the document nothing may be passed that may yet have to be
 * cut out with the member "usage"; UINT64_MAX: there is no such place. */
uint64_t usage_reader_hold(const struct usage_reader *r);

/* No more comes.  True if the document was whole, and everything found may be
 * used. */
MUST_CHECK bool usage_reader_end(struct usage_reader *r);

/* Another document has come that is the same but for these counts, in the order
 * of digits[]: makes `usage` and `rank` those of that one. */
void usage_reader_repeat(struct usage_reader *r, const int32_t *counts);

/* What an "event:" line or a "type" says. */
enum answer_type answer_type_of(struct slice name);
