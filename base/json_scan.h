/*
 * json_scan.h - reads JSON as it comes, piece by piece, and keeps nothing.
 *
 * Feed it bytes in pieces of any size; it checks the grammar (RFC 8259; the
 * bytes of strings are not checked to be UTF-8) and calls back for each token.
 * No tree is built, and memory stays at the size of struct json_scan: of a
 * string or a number only the first JSON_TEXT_BYTES are kept, and only when it
 * spans two pieces.  How the input was split never changes what is reported.
 *
 * Used for both ways: a request's body (whole, in place) and an answer's (an
 * event or a document, as it passes).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

#define JSON_TEXT_BYTES 256
#define JSON_DEPTH_MOST 256

enum json_kind {
	JSON_OBJECT,
	JSON_OBJECT_END,
	JSON_ARRAY,
	JSON_ARRAY_END,
	JSON_KEY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL,
};

struct json_token {
	enum json_kind kind;
	unsigned depth;      /* 0: the document; 1: its members; … */
	uint64_t begin, end; /* offsets over all that was fed; with quotes */
	uint64_t size;       /* of a string, decoded, in bytes */
	struct slice text;   /* string, key: between the quotes, as written;
				number: its characters.  Cut to
				JSON_TEXT_BYTES.  Valid during the call only */
	bool is_cut;
	bool has_escapes;
};

enum json_verdict {
	JSON_MORE, /* well so far, not complete */
	JSON_DONE, /* one whole document; only blanks may follow */
	JSON_STOP, /* the callback said so */
	JSON_BAD,  /* not JSON; json_scan_offset() says where */
};

/* Returns false to stop. */
typedef bool (*json_token_fn)(void *arg, const struct json_token *t);

struct json_scan {
	json_token_fn on_token; /* borrowed, like arg */
	void *arg;
	unsigned report_depth; /* tokens deeper than this are not reported… */
	uint64_t report_size;  /* …but strings of so many bytes always are */

	unsigned state;
	unsigned depth;
	uint64_t is_array[JSON_DEPTH_MOST / 64];
	uint64_t offset;  /* of the current piece's first byte */
	uint64_t begin;   /* of the token */
	uint64_t shrink;  /* bytes that its escapes lose when decoded */
	const char *mark; /* where its text begins in this piece, or NULL */
	size_t kept;      /* bytes of it in keep[] */
	uint64_t passed;  /* bytes of it before this piece */
	unsigned hex, high;
	bool has_escapes, is_key;
	const char *literal;
	char keep[JSON_TEXT_BYTES];
};

/* Makes ready for one document.  report_depth UINT_MAX reports all. */
void json_scan_init(struct json_scan *s, json_token_fn on_token, void *arg,
    unsigned report_depth);

/* Reads `len` bytes.  After JSON_STOP and JSON_BAD it must not be called
 * again. */
enum json_verdict json_scan_feed(
    struct json_scan *s, const char *p, size_t len);

/* Says that no more comes: completes a number at the very end.  JSON_BAD if
 * the document is not whole. */
enum json_verdict json_scan_end(struct json_scan *s);

/* Where the last verdict was reached, in bytes from the first one fed. */
uint64_t json_scan_offset(const struct json_scan *s);

/* The first quote, backslash or control byte in p..end, or `end`: how a string
 * is passed over, 64 bytes at a time. */
const char *json_skip_plain(const char *p, const char *end);

/* Decodes the text of a string or key into `out` (room for `room` bytes, no NUL
 * is added).  Returns its length; SIZE_MAX if it does not fit.  A lone
 * surrogate becomes three bytes as if it were a character, so that no two
 * different strings decode alike. */
size_t json_decode(struct slice text, char *out, size_t room);

/* True if the token's decoded text is exactly `literal`. */
bool json_token_is(const struct json_token *t, const char *literal);
