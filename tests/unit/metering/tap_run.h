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
	enum tap_verdict end;         /* what tap_end() said */

	/* What a client would get. */
	uint64_t shown_hash;
	size_t shown_len;
	char *shown; /* borrowed: where it goes if a test wants it, or NULL */

	/* Of the open event: bytes that had to wait, and where they begin. */
	char waiting[2 * TAP_HIDE_BYTES];
	size_t waiting_len;
	uint64_t passed; /* bytes of it that did not */
};

/* How the next body is to be read; tap_run_reset() sets a stream of a client
 * that did not ask for usage. */
static enum server_kind kind;
static enum server_api api;
static bool is_stream, hides_usage, strips_running, was_cut;
static uint64_t choices;

/* Bytes of an event, the first of them at `at`, go to the client but for the
 * cut. */
static void
show(struct outcome *o, const char *p, size_t len, uint64_t at)
{
	const struct tap *t = &o->tap;

	for (size_t i = 0; i < len; i++, at++) {
		bool is_null =
		    t->leaves_null && at >= t->cut_end && at < t->cut_end + 4;
		char c = is_null ? "null"[at - t->cut_end] : p[i];

		if (at >= t->cut_begin && at < t->cut_end)
			continue;
		if (o->shown != NULL)
			o->shown[o->shown_len] = c;
		o->shown_len++;
		o->shown_hash = (o->shown_hash ^ (unsigned char)c) *
		    UINT64_C(1099511628211);
	}
}

/* The event is over: what waited is shown, and the rest of it. */
static void
show_event(struct outcome *o, const char *p, size_t len)
{
	struct tap *t = &o->tap;

	if (t->cut_begin < t->cut_end) {
		assert_true(t->cut_begin >= o->passed);
		assert_true(t->cut_end <= t->event_bytes);
	}
	show(o, o->waiting, o->waiting_len, o->passed);
	show(o, p, len, t->event_bytes - len);
	o->waiting_len = 0;
	o->passed = 0;
}

/* The piece is used up within an event: what must not wait is shown. */
static void
show_part(struct outcome *o, const char *p, size_t len)
{
	size_t all, free_len;

	all = o->waiting_len + len;
	free_len = all;
	if (o->tap.held_from != UINT64_MAX) {
		/* What has been shown is never taken back. */
		assert_true(o->tap.held_from >= o->passed);
		free_len = (size_t)(o->tap.held_from - o->passed);
	}
	assert_true(free_len <= all && all - free_len <= sizeof o->waiting);
	if (free_len < o->waiting_len) {
		show(o, o->waiting, free_len, 0);
		o->waiting_len -= free_len;
		memmove(o->waiting, o->waiting + free_len, o->waiting_len);
		memcpy(o->waiting + o->waiting_len, p, len);
		o->waiting_len += len;
	} else {
		size_t n = free_len - o->waiting_len;

		show(o, o->waiting, o->waiting_len, 0);
		show(o, p, n, 0);
		memcpy(o->waiting, p + n, len - n);
		o->waiting_len = len - n;
	}
	o->passed += free_len;
}

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
		if (v == TAP_MORE) {
			assert_int_equal(n, len);
			show_part(o, p, n);
		} else {
			show_event(o, p, n);
		}
		if (v == TAP_PASS || v == TAP_HIDE) {
			assert_true(o->count < VERDICTS_MOST);
			o->verdicts[o->count++] = v == TAP_HIDE ? 'H' : 'P';
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
	const struct tap_job job = {
	    .kind = kind,
	    .api = api,
	    .is_stream = is_stream,
	    .hides_usage = hides_usage,
	    .strips_running = strips_running,
	    .choices = choices,
	};

	o->count = 0;
	o->shown_len = o->waiting_len = 0;
	o->passed = 0;
	o->shown_hash = 1;
	tap_init(&o->tap, &job);
}

static void
finish(struct outcome *o)
{
	o->end = tap_end(&o->tap, was_cut);
	if (o->end == TAP_MORE)
		o->tap.cut_begin = o->tap.cut_end = 0;
	show_event(o, "", 0);
	o->verdicts[o->count] = '\0';
	tap_release(&o->tap);
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
	assert_int_equal(s->uncounted_bytes, t->uncounted_bytes);
	assert_int_equal(a->end, b->end);
	assert_int_equal(a->shown_len, b->shown_len);
	assert_int_equal(a->shown_hash, b->shown_hash);
}

/* Reads the body whole, in every two pieces, and byte by byte: all must say
 * the same, which is left in *o. */
static void
read_body(struct outcome *o, const char *body, size_t len)
{
	struct outcome *other = xcalloc(sizeof *other);

	o->shown = NULL;
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
	kind = KIND_OPENAI;
	is_stream = hides_usage = true;
	strips_running = was_cut = false;
	choices = 1;
	return 0;
}
