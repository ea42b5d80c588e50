/*
 * redis_reply_fuzz.c - anything as an answer of Redis: it is read within its
 * caps, to the same result however it was split.
 *
 * The input's first byte says how large the pieces are.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/redis/redis_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
look_at(const struct redis_reply *r)
{
	uint64_t n;

	if (r->kind == REDIS_ERROR)
		must(strlen(redis_trouble_meaning(redis_trouble_of(r->text))) >
		    0);
	if (r->kind == REDIS_TEXT || r->kind == REDIS_ERROR)
		must(r->text.p[r->text.len] == '\0');
	must(r->count == 0 || r->kind == REDIS_ARRAY);
	for (size_t i = 0; i < r->count; i++) {
		if (redis_reply_number(r, i, &n))
			must(r->items[i]->kind == REDIS_INTEGER ||
			    r->items[i]->kind == REDIS_TEXT);
		look_at(r->items[i]);
	}
}

static bool
is_same(const struct redis_reply *a, const struct redis_reply *b)
{
	if (a->kind != b->kind || a->integer != b->integer ||
	    a->count != b->count || a->text.len != b->text.len ||
	    (a->text.len > 0 && memcmp(a->text.p, b->text.p, a->text.len) != 0))
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!is_same(a->items[i], b->items[i]))
			return false;
	return true;
}

static enum redis_read
read_all(const char *p, size_t len, size_t piece, struct redis_reply **out)
{
	struct redis_reader *r = redis_reader_create();
	enum redis_read verdict = REDIS_READ_MORE;
	struct fault why;

	while (verdict == REDIS_READ_MORE && len > 0) {
		size_t n = len < piece ? len : piece;

		verdict = redis_reader_feed(r, p, n, out, &why);
		p += n;
		len -= n;
	}
	/* Whole before the bytes were: more of them stand behind it. */
	if (verdict == REDIS_READ_DONE && len > 0) {
		redis_reply_destroy(out);
		verdict = REDIS_READ_BAD;
	}
	redis_reader_destroy(&r);
	return verdict;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct redis_reply *whole = NULL, *pieces = NULL;
	enum redis_read a, b;

	if (size < 1)
		return 0;
	a = read_all((const char *)data + 1, size - 1, size, &whole);
	b = read_all((const char *)data + 1, size - 1,
	    (size_t)(data[0] % 16 + 1), &pieces);
	must(a == b);
	must((whole != NULL) == (a == REDIS_READ_DONE));
	if (whole != NULL) {
		look_at(whole);
		must(is_same(whole, pieces));
	}
	redis_reply_destroy(&whole);
	redis_reply_destroy(&pieces);
	return 0;
}
