/*
 * head_fuzz.c - an upstream's answer: its head found in pieces and in one,
 * taken apart, and its status read.
 *
 * The input's first byte is the size of the pieces, the rest is the answer.
 */
#undef NDEBUG /* the checks are what this is for */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/head.h"

#define CAP 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum head_verdict
find_in_pieces(const char *p, size_t len, size_t step, size_t *scanned)
{
	enum head_verdict v = HEAD_MORE;
	size_t given = 0;

	while (v == HEAD_MORE && given < len) {
		given = len - given < step ? len : given + step;
		v = head_find(p, given, CAP, scanned);
	}
	return v;
}

static void
check_slice(const char *p, size_t len, struct slice s)
{
	assert(s.p >= p && s.p + s.len <= p + len);
	for (size_t i = 0; i < s.len; i++)
		assert(s.p[i] != '\r' && s.p[i] != '\n');
}

static void
check_head(const char *p, size_t len, const struct head *h)
{
	int minor = -1, status = head_status(h, &minor);
	size_t lengths = 0, codings = 0;

	assert(h->len == len && h->count <= HEAD_FIELDS_MOST);
	check_slice(p, len, h->start_line);
	for (size_t i = 0; i < h->count; i++) {
		const struct http_field *f = &h->fields[i];

		check_slice(p, len, f->name);
		check_slice(p, len, f->value);
		assert(is_token(f->name));
		assert(memchr(f->value.p, '\0', f->value.len) == NULL);
		lengths += slice_is_nocase(f->name, "content-length");
		codings += slice_is_nocase(f->name, "transfer-encoding");
	}
	assert(lengths + codings <= 1);
	assert(h->framing ==
	    (lengths          ? FRAMING_LENGTH
		    : codings ? FRAMING_CHUNKED
			      : FRAMING_NONE));
	assert(status == 0 || (status >= 100 && status <= 599));
	assert(status == 0 || minor == 0 || minor == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole = 0, pieces = 0, len, step;
	enum head_verdict v;
	struct head *h;
	char *p;

	if (size < 2)
		return 0;
	step = 1 + data[0];
	len = size - 1;
	/* A copy of its own: reading past its end is found. */
	p = malloc(len);
	memcpy(p, data + 1, len);
	v = head_find(p, len, CAP, &whole);
	assert(find_in_pieces(p, len, step, &pieces) == v);
	if (v == HEAD_OK) {
		assert(whole == pieces && whole <= CAP);
		h = malloc(sizeof *h);
		p = realloc(p, whole);
		if (head_parse(p, whole, h) == HEAD_OK)
			check_head(p, whole, h);
		free(h);
	}
	free(p);
	return 0;
}
