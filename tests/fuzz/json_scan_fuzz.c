/* The JSON reader says the same of a document however it is split. */
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct summary {
	uint64_t hash; /* over all tokens */
	unsigned count;
};

static void
mix(struct summary *s, uint64_t n)
{
	s->hash = (s->hash ^ n) * UINT64_C(1099511628211);
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct summary *s = arg;
	char text[JSON_TEXT_BYTES];
	bool is_text = t->kind == JSON_STRING || t->kind == JSON_KEY;

	mix(s, (uint64_t)t->kind);
	mix(s, t->depth);
	mix(s, t->begin);
	mix(s, t->end);
	mix(s, t->size);
	mix(s, t->is_cut);
	mix(s, t->has_escapes);
	mix(s, text_hash(t->text.p, t->text.len));
	if (is_text && !t->is_cut &&
	    json_decode(t->text, text, sizeof text) != t->size)
		abort();
	return ++s->count < 1000;
}

/* Reads in pieces whose lengths come from `seed`; 0: in one. */
static enum json_verdict
read_in_pieces(const uint8_t *data, size_t size, uint32_t seed,
    struct summary *sum, uint64_t *offset)
{
	struct json_scan s;
	enum json_verdict v = JSON_MORE;

	*sum = (struct summary){0};
	json_scan_init(&s, on_token, sum, UINT_MAX);
	for (size_t at = 0; at < size && v <= JSON_DONE;) {
		size_t n = seed == 0 ? size : 1 + (seed >> 16) % 9;
		char *piece;

		seed = seed * 1664525 + (seed == 0 ? 0 : 1013904223);
		n = n > size - at ? size - at : n;
		if ((piece = malloc(n)) == NULL)
			abort();
		memcpy(piece, data + at, n);
		v = json_scan_feed(&s, piece, n);
		free(piece);
		at += n;
	}
	if (v <= JSON_DONE)
		v = json_scan_end(&s);
	*offset = json_scan_offset(&s);
	return v;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct summary whole, split;
	uint64_t end, split_end;
	enum json_verdict v = read_in_pieces(data, size, 0, &whole, &end);

	for (uint32_t seed = 1; seed < 4; seed++) {
		if (read_in_pieces(
			data, size, seed * 7919, &split, &split_end) != v ||
		    split.hash != whole.hash || split_end != end)
			abort();
	}
	return 0;
}
