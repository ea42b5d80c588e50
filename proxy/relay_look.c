/*
 * relay_look.c - what an answer shows to the tap, and what of it the client
 * gets: all but what only the gateway had asked for.
 *
 * The tap says of each event which bytes to cut, and of one that is open from
 * where on it must wait.  Both are counted from the event's end backwards: what
 * stands before the piece is the end of what is held.
 */
#include <assert.h>
#include <string.h>

#include "proxy/relay_inner.h"

#include "base/banned.h"

static void
on_inflated(void *arg, const char *p, size_t len)
{
	struct tap *t = arg;
	enum tap_verdict verdict;

	for (size_t at = 0; at < len;)
		at += tap_next(t, p + at, len - at, &verdict);
}

/* A piece while it is looked at: what stays of p[0..run) has been moved
 * together at p[0..to). */
struct piece {
	char *p;
	size_t to, run;
};

static void
keep_up_to(struct piece *v, size_t at)
{
	if (at > v->run && v->to < v->run)
		memmove(v->p + v->to, v->p + v->run, at - v->run);
	v->to += at > v->run ? at - v->run : 0;
	v->run = at;
}

/* Takes out of what is held the bytes that lie begin..end before its end. */
static void
cut_held(struct buf *held, size_t begin, size_t end)
{
	char *stop = held->base + held->end;

	memmove(stop - begin, stop - end, end);
	held->end -= begin - end;
}

/* The byte `back` bytes before p[at], in the piece or in what is held. */
static char *
byte_at(struct relay *r, struct piece *v, size_t at, size_t back)
{
	return back <= at ? v->p + (at - back)
			  : r->held.base + r->held.end - (back - at);
}

/* The event whose last byte is p[at - 1] is over: takes out what the client did
 * not ask for.  What of it came in earlier pieces and may be cut is the end of
 * what is held. */
static void
cut_event(struct relay *r, struct piece *v, size_t at)
{
	/* The cut's ends, in bytes before p[at]. */
	size_t begin = (size_t)(r->tap.event_bytes - r->tap.cut_begin);
	size_t end = (size_t)(r->tap.event_bytes - r->tap.cut_end);

	assert(begin <= at || begin - at <= buf_len(&r->held));
	for (size_t i = 0; i < 4 && r->tap.leaves_null; i++)
		*byte_at(r, v, at, end - i) = "null"[i];
	if (begin > at)
		cut_held(&r->held, begin - at, end > at ? end - at : 0);
	if (end >= at)
		return;
	if (begin < at)
		keep_up_to(v, at - begin);
	v->run = at - end;
}

/* The piece ends within an event: what of it has to wait?  Returns where that
 * begins in the piece. */
static size_t
find_waiting(struct relay *r, size_t len)
{
	size_t wait; /* bytes at the end of all that came */

	if (r->tap.held_from == UINT64_MAX) {
		r->waiting_from = SIZE_MAX;
		return len;
	}
	wait = (size_t)(r->tap.event_bytes - r->tap.held_from);
	if (wait <= len) {
		r->waiting_from = SIZE_MAX;
		return len - wait;
	}
	r->waiting_from = buf_len(&r->held) - (wait - len);
	return 0;
}

/* Shows a piece to the tap, and moves what the client may see together. */
static struct looked
look_plain(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	struct piece v = {p, 0, 0};
	size_t at = 0, waiting;
	enum tap_verdict verdict;

	while (at < len) {
		at += tap_next(&r->tap, p + at, len - at, &verdict);
		if (verdict == TAP_MORE)
			continue;
		if (r->tap.cut_begin < r->tap.cut_end)
			cut_event(r, &v, at);
		r->waiting_from = SIZE_MAX;
	}
	if (is_end && !r->is_tap_over) {
		verdict = tap_end(&r->tap, false);
		r->is_tap_over = true;
		if (verdict != TAP_MORE && r->tap.cut_begin < r->tap.cut_end)
			cut_event(r, &v, at);
	}
	waiting = is_end ? len : find_waiting(r, len);
	if (is_end)
		r->waiting_from = SIZE_MAX;
	keep_up_to(&v, waiting);
	return (struct looked){v.to, p + waiting, len - waiting};
}

/* A coded answer is passed as it came; the tap sees it decoded. */
static struct looked
look_coded(struct exchange *x, const char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;

	/* Damaged or given up: what was seen before counts, or an estimate. */
	if (len > 0 && r->inflater != NULL &&
	    !inflater_feed(r->inflater, p, len, on_inflated, &r->tap))
		inflater_destroy(&r->inflater);
	if (is_end)
		relay_end_tap(x, false);
	return (struct looked){len, p, 0};
}

void
relay_end_tap(struct exchange *x, bool was_cut)
{
	struct relay *r = &x->relay;

	if (!r->is_tap_over)
		(void)tap_end(&r->tap, was_cut);
	r->is_tap_over = true;
}

struct looked
relay_look(struct exchange *x, char *p, size_t len, bool is_end)
{
	return x->relay.is_coded ? look_coded(x, p, len, is_end)
				 : look_plain(x, p, len, is_end);
}
