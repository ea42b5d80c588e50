/*
 * tap_run.h - runs a body through the tap, in every way in which it can come.
 *
 * For tests: each includes it once.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metering/tap.h"

#define VERDICTS_MOST 4096

/* An event of a stream. */
#define EVENT(json) "data: " json "\n\n"

/* All that the tap said of one body. */
struct outcome {
	struct tap tap;
	size_t count;
	char verdicts[VERDICTS_MOST]; /* P or H, an event each */
};

/* How the next body is to be read; tap_run_reset() sets a stream of a client
 * that did not ask for usage. */
static enum server_api api;
static bool is_stream, hides_usage, was_cut;

static void
feed(struct outcome *o, const char *p, size_t len)
{
	while (len > 0) {
		/* A piece of its own, so that reading past its end is found. */
		char *piece = xstrndup(p, len);
		enum tap_verdict v;
		size_t n = tap_next(&o->tap, piece, len, &v);

		free(piece);
		assert_true(n > 0 && n <= len);
		if (v != TAP_MORE) {
			assert_true(o->count < VERDICTS_MOST);
			o->verdicts[o->count++] = v == TAP_HIDE ? 'H' : 'P';
		} else {
			assert_int_equal(n, len);
		}
		p += n;
		len -= n;
	}
}

static inline void
feed_text(struct outcome *o, const char *text)
{
	feed(o, text, strlen(text));
}

static void
begin(struct outcome *o)
{
	o->count = 0;
	tap_init(&o->tap, api, is_stream, hides_usage);
}

static void
finish(struct outcome *o)
{
	tap_end(&o->tap, was_cut);
	o->verdicts[o->count] = '\0';
}

static void
assert_same(const struct outcome *a, const struct outcome *b)
{
	const struct tap *s = &a->tap, *t = &b->tap;

	assert_string_equal(a->verdicts, b->verdicts);
	assert_memory_equal(&s->usage, &t->usage, sizeof s->usage);
	assert_int_equal(s->source, t->source);
	assert_int_equal(s->text_bytes, t->text_bytes);
	assert_int_equal(s->events, t->events);
	assert_int_equal(s->bad_events, t->bad_events);
	assert_int_equal(s->has_bad_count, t->has_bad_count);
	assert_int_equal(s->has_content, t->has_content);
	assert_int_equal(s->has_error, t->has_error);
	assert_int_equal(s->is_complete, t->is_complete);
	assert_int_equal(s->may_be_hidden, t->may_be_hidden);
}

/* Reads the body whole, in every two pieces, and byte by byte: all must say
 * the same, which is left in *o. */
static void
read_body(struct outcome *o, const char *body, size_t len)
{
	struct outcome *other = xcalloc(sizeof *other);

	begin(o);
	feed(o, body, len);
	finish(o);
	for (size_t at = 1; at < len; at++) {
		begin(other);
		feed(other, body, at);
		feed(other, body + at, len - at);
		finish(other);
		assert_same(o, other);
	}
	begin(other);
	for (size_t at = 0; at < len; at++)
		feed(other, body + at, 1);
	finish(other);
	assert_same(o, other);
	free(other);
}

/* What the tap says of the body; the next call overwrites it. */
static inline const struct tap *
tap_of(enum server_api a, const char *body)
{
	static struct outcome o;

	api = a;
	read_body(&o, body, strlen(body));
	return &o.tap;
}

static int
tap_run_reset(void **state)
{
	(void)state;
	is_stream = hides_usage = true;
	was_cut = false;
	return 0;
}
