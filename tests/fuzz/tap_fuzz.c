/* The tap says the same of an answer however it is split, and so does what a
 * client gets of it.  The first two bytes choose how it was asked for. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
	struct tap tap;
	uint64_t verdicts; /* a hash over them */
	uint64_t shown;    /* ...and over what goes to the client */
	uint64_t passed;   /* bytes of the open event that need not wait */
	const char *data;  /* the event's first byte, */
	size_t len;        /* ...and how much of it has come */
};

static void
hash(uint64_t *h, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*h = (*h ^ (unsigned char)p[i]) * UINT64_C(1099511628211);
}

/* An event is over. */
static void
end_event(struct reading *r, enum tap_verdict v)
{
	struct tap *t = &r->tap;
	size_t begin = 0, end = 0;

	if (v != TAP_MORE && t->cut_begin < t->cut_end) {
		/* What the client has seen cannot be cut. */
		if (t->cut_begin < r->passed || t->cut_end > r->len ||
		    t->event_bytes != r->len)
			abort();
		begin = (size_t)t->cut_begin;
		end = (size_t)t->cut_end;
	}
	hash(&r->shown, r->data, begin);
	hash(&r->shown, r->data + end, r->len - end);
	if (v == TAP_PASS || v == TAP_HIDE)
		r->verdicts = r->verdicts * 31 + (uint64_t)v;
	r->data += r->len;
	r->len = 0;
	r->passed = 0;
}

static void
feed(struct reading *r, const char *p, size_t len)
{
	while (len > 0) {
		uint64_t text = r->tap.text_bytes;
		enum tap_verdict v;
		size_t n = tap_next(&r->tap, p, len, &v);

		if (n == 0 || n > len || (v == TAP_MORE && n < len))
			abort();
		if (r->tap.text_bytes < text ||
		    r->tap.uncounted_bytes > r->tap.text_bytes)
			abort();
		r->len += n;
		if (v != TAP_MORE)
			end_event(r, v);
		else if (r->tap.held_from == UINT64_MAX)
			r->passed = r->len;
		else if (r->tap.held_from < r->passed)
			abort();
		else
			r->passed = r->tap.held_from;
		p += n;
		len -= n;
	}
}

/* In pieces whose lengths come from `seed`; 0: in one. */
static void
read_in_pieces(struct reading *r, unsigned how, const uint8_t *data,
    size_t size, uint32_t seed)
{
	const struct tap_job job = {
	    .kind = (enum server_kind)((how >> 8) % KIND_COUNT),
	    .api = (enum server_api)((how & 15) % API_COUNT),
	    .is_stream = how & 64,
	    .hides_usage = how & 128,
	    .strips_running = how & 16,
	    .choices = (how >> 12) % 4,
	};

	*r = (struct reading){.verdicts = 1,
	    .shown = 1,
	    .data = size == 0 ? "" : (const char *)data};
	tap_init(&r->tap, &job);
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
	end_event(r, tap_end(&r->tap, how & 32));
	tap_release(&r->tap);
}

static bool
is_same(const struct reading *a, const struct reading *b)
{
	const struct tap *s = &a->tap, *t = &b->tap;

	return a->verdicts == b->verdicts && a->shown == b->shown &&
	    memcmp(&s->usage, &t->usage, sizeof s->usage) == 0 &&
	    s->source == t->source && s->text_bytes == t->text_bytes &&
	    s->uncounted_bytes == t->uncounted_bytes &&
	    s->events == t->events && s->bad_events == t->bad_events &&
	    s->has_bad_count == t->has_bad_count &&
	    s->has_content == t->has_content && s->has_error == t->has_error &&
	    s->is_complete == t->is_complete;
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
	unsigned how;

	if (size < 2)
		return 0;
	how = data[0] | (unsigned)data[1] << 8;
	read_in_pieces(&whole, how, data + 2, size - 2, 0);
	for (uint32_t seed = 1; seed < 4; seed++) {
		read_in_pieces(&split, how, data + 2, size - 2, seed * 7919);
		if (!is_same(&whole, &split))
			abort();
	}
	if (!is_count(u->input) || !is_count(u->output) ||
	    !is_count(u->cached) || !is_count(u->cache_write) ||
	    !is_count(u->reasoning) || u->cost_pusd < -1)
		abort();
	if ((whole.tap.source == USAGE_NONE) != !usage_is_known(u))
		abort();
	return 0;
}
