/* The tap says the same of an answer however it is split.  The first byte
 * chooses how the answer was asked for. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
	struct tap tap;
	uint64_t verdicts; /* a hash over them */
	bool was_passed;   /* bytes of the current event were */
};

static void
feed(struct reading *r, const char *p, size_t len)
{
	while (len > 0) {
		uint64_t text = r->tap.text_bytes;
		enum tap_verdict v;
		size_t n = tap_next(&r->tap, p, len, &v);

		if (n == 0 || n > len || (v == TAP_MORE && n < len))
			abort();
		if (r->tap.text_bytes < text)
			abort();
		if (v == TAP_MORE) {
			r->was_passed |=
			    r->tap.sse.has_lines && !r->tap.may_be_hidden;
		} else {
			/* What the client has seen of cannot be hidden. */
			if (v == TAP_HIDE && r->was_passed)
				abort();
			r->verdicts = r->verdicts * 31 + (uint64_t)v;
			r->was_passed = false;
		}
		p += n;
		len -= n;
	}
}

/* In pieces whose lengths come from `seed`; 0: in one. */
static void
read_in_pieces(struct reading *r, unsigned how, const uint8_t *data,
    size_t size, uint32_t seed)
{
	r->verdicts = 1;
	r->was_passed = false;
	tap_init(
	    &r->tap, (enum server_api)(how % API_COUNT), how & 64, how & 128);
	for (size_t at = 0; at < size;) {
		size_t n = seed == 0 ? size : 1 + (seed >> 16) % 29;
		char *piece;

		seed = seed * 1664525 + (seed == 0 ? 0 : 1013904223);
		n = n > size - at ? size - at : n;
		if ((piece = malloc(n)) == NULL)
			abort();
		memcpy(piece, data + at, n);
		feed(r, piece, n);
		free(piece);
		at += n;
	}
	tap_end(&r->tap, how & 32);
}

static bool
is_same(const struct reading *a, const struct reading *b)
{
	const struct tap *s = &a->tap, *t = &b->tap;

	return a->verdicts == b->verdicts &&
	    memcmp(&s->usage, &t->usage, sizeof s->usage) == 0 &&
	    s->source == t->source && s->text_bytes == t->text_bytes &&
	    s->events == t->events && s->bad_events == t->bad_events &&
	    s->has_bad_count == t->has_bad_count &&
	    s->has_content == t->has_content && s->has_error == t->has_error &&
	    s->is_complete == t->is_complete &&
	    s->may_be_hidden == t->may_be_hidden;
}

static bool
is_count(int64_t n)
{
	return n >= -1 && n <= USAGE_MOST_TOKENS;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reading whole, split;
	const struct usage *u = &whole.tap.usage;

	if (size == 0)
		return 0;
	read_in_pieces(&whole, data[0], data + 1, size - 1, 0);
	for (uint32_t seed = 1; seed < 4; seed++) {
		read_in_pieces(
		    &split, data[0], data + 1, size - 1, seed * 7919);
		if (!is_same(&whole, &split))
			abort();
	}
	if (!is_count(u->input) || !is_count(u->output) ||
	    !is_count(u->cached) || !is_count(u->cache_write) ||
	    !is_count(u->reasoning))
		abort();
	return 0;
}
