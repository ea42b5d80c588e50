/*
 * guard_fuzz.c - a request's head as the gateway meets it: found in pieces,
 * taken apart, judged.
 *
 * The input's first byte is the size of the pieces, the rest is the request.
 */
#undef NDEBUG /* the checks are what this is for */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Finds the head in pieces of `step` bytes, each time in memory of just the
 * size that has come.  Returns the head, *len bytes; NULL if there is none. */
static char *
find(const char *from, size_t size, size_t step, enum head_verdict *v,
    size_t *len)
{
	size_t given = 0, scanned = 0;
	char *p = NULL;

	*v = HEAD_MORE;
	while (*v == HEAD_MORE && given < size) {
		given = size - given < step ? size : given + step;
		p = realloc(p, given);
		memcpy(p, from, given);
		*v = head_find(p, given, GUARD_HEAD_MOST_BYTES, &scanned);
	}
	if (*v == HEAD_OK) {
		*len = scanned;
		return realloc(p, scanned);
	}
	free(p);
	return NULL;
}

static bool
is_within(const char *p, size_t len, struct slice s)
{
	return s.p == NULL ? s.len == 0 : s.p >= p && s.p + s.len <= p + len;
}

static size_t
fields_named(const struct head *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->count; i++)
		n += slice_is_nocase(h->fields[i].name, name);
	return n;
}

/* What must hold of every request that is let in. */
static void
check_request(const char *p, size_t len, const struct request *r)
{
	const struct head *h = r->head;
	size_t lengths = fields_named(h, "content-length");
	size_t codings = fields_named(h, "transfer-encoding");

	assert(r->target.len > 0 && r->target.p[0] == '/');
	assert(r->target.len <= GUARD_TARGET_MOST_BYTES);
	assert(is_within(p, len, r->target) && is_within(p, len, r->path) &&
	    is_within(p, len, r->query) && is_within(p, len, r->credential) &&
	    is_within(p, len, r->user_agent) && is_within(p, len, r->session));
	assert(memchr(r->path.p, '?', r->path.len) == NULL);
	for (size_t i = 0; i < r->target.len; i++)
		assert(r->target.p[i] > 0x20 && r->target.p[i] < 0x7f);
	assert(r->method != METHOD_OTHER && r->minor <= 1);
	assert(lengths + codings <= 1);
	assert(r->framing ==
	    (lengths          ? FRAMING_LENGTH
		    : codings ? FRAMING_CHUNKED
			      : FRAMING_NONE));
	assert(r->framing == FRAMING_LENGTH || r->content_length == 0);
	assert(r->framing != FRAMING_CHUNKED ||
	    (r->minor == 1 && !r->keeps_alive));
	assert(fields_named(h, "host") <= 1);
	assert(r->minor == 0 || fields_named(h, "host") == 1);
	assert(fields_named(h, "authorization") <= 1);
	assert(fields_named(h, "content_length") == 0);
	assert(fields_named(h, "transfer_encoding") == 0);
	assert(r->credential.p == NULL || r->credential.len > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum head_verdict whole_verdict, verdict;
	const char *text = (const char *)data + 1;
	char *whole, *p;
	size_t whole_len = 0, len = 0;
	struct request r;
	struct head *h;

	if (size < 2)
		return 0;
	whole = find(text, size - 1, size, &whole_verdict, &whole_len);
	p = find(text, size - 1, 1 + data[0], &verdict, &len);
	assert(verdict == whole_verdict && len == whole_len);
	if (p != NULL) {
		h = malloc(sizeof *h);
		if (head_parse(p, len, h) == HEAD_OK) {
			assert(h->len == len);
			if (guard_check(h, &r) == END_OK)
				check_request(p, len, &r);
			assert(r.path.p != NULL);
		}
		free(h);
	}
	free(whole);
	free(p);
	return 0;
}
