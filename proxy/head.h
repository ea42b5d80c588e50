/*
 * head.h - the head of an HTTP/1.1 message, read strictly, both ways.
 *
 * RFC 9112 with everything that two readers could understand differently taken
 * out: lines end in CRLF and nothing else; no NUL, bare CR or LF, no folding; a
 * field's name is a token with the colon right behind it; no control bytes in
 * values; one Content-Length of digits, or one Transfer-Encoding that is
 * exactly "chunked", never both.  A client's request and an upstream's answer
 * go through the same code.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

#define HEAD_FIELDS_MOST 100

struct http_field {
	struct slice name, value; /* borrowed from the bytes; value trimmed */
};

enum head_verdict {
	HEAD_MORE, /* well so far, not complete */
	HEAD_OK,
	HEAD_BAD,      /* breaks the grammar */
	HEAD_TOO_LARGE /* longer than the cap, or too many fields */
};

/* Body framing as the head tells it. */
enum framing {
	FRAMING_NONE, /* neither length nor chunked was said */
	FRAMING_LENGTH,
	FRAMING_CHUNKED,
};

struct head {
	struct slice start_line; /* without its CRLF */
	struct http_field fields[HEAD_FIELDS_MOST];
	size_t count;
	size_t len; /* of the head, with the empty line */
	enum framing framing;
	uint64_t content_length;          /* FRAMING_LENGTH */
	bool says_close, says_keep_alive; /* Connection */
};

/* Looks for the head's end in p[0..len), checking line ends as they come.
 * *scanned (0 at first) remembers how far it has looked, so that a head that
 * arrives byte by byte is looked at once. */
enum head_verdict head_find(
    const char *p, size_t len, size_t cap, size_t *scanned);

/* Takes a whole head apart: p begins with it.  After head_find() said OK. */
enum head_verdict head_parse(const char *p, size_t len, struct head *h);

/* The value of the first field of that name, or {NULL, 0}. */
struct slice head_field(const struct head *h, const char *name);

/* The status of an answer's start line, 100 to 599; 0 if it is not one.
 * *minor is the version's, 0 or 1. */
int head_status(const struct head *h, int *minor);

bool is_token(struct slice s);

/* True if the text may stand in a field's value as it is. */
bool is_field_text(const char *s);
