/* Events are found at the same places however their stream is split. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct summary {
	struct sse sse;
	uint64_t hash;
	bool in_line;
};

static void
mix(struct summary *s, uint64_t n)
{
	s->hash = (s->hash ^ n) * UINT64_C(1099511628211);
}

static void
on_value(
    void *arg, enum sse_field field, const char *p, size_t len, bool is_end)
{
	struct summary *s = arg;

	if (!s->in_line)
		mix(s, 1000 + (uint64_t)field);
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\n' || p[i] == '\r')
			abort();
		mix(s, (unsigned char)p[i]);
	}
	if (is_end)
		mix(s, 2000);
	s->in_line = !is_end;
}

static void
feed(struct summary *s, const char *p, size_t len)
{
	while (len > 0) {
		bool is_event;
		size_t n = sse_next(&s->sse, p, len, &is_event);

		if (n == 0 || n > len || (!is_event && n < len))
			abort();
		if (is_event) {
			mix(s, 3000);
			mix(s, s->sse.event_bytes);
		}
		p += n;
		len -= n;
	}
}

/* In pieces whose lengths come from `seed`; 0: in one. */
static uint64_t
read_in_pieces(const uint8_t *data, size_t size, uint32_t seed)
{
	struct summary s = {0};

	sse_init(&s.sse, on_value, &s);
	for (size_t at = 0; at < size;) {
		size_t n = seed == 0 ? size : 1 + (seed >> 16) % 9;
		char *piece;

		seed = seed * 1664525 + (seed == 0 ? 0 : 1013904223);
		n = n > size - at ? size - at : n;
		if ((piece = malloc(n)) == NULL)
			abort();
		memcpy(piece, data + at, n);
		feed(&s, piece, n);
		free(piece);
		at += n;
	}
	mix(&s, sse_end(&s.sse));
	return s.hash;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t whole = read_in_pieces(data, size, 0);

	for (uint32_t seed = 1; seed < 4; seed++) {
		if (read_in_pieces(data, size, seed * 7919) != whole)
			abort();
	}
	return 0;
}
