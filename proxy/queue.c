/*
 * queue.c - a place at the route's upstream, now or after a wait.
 *
 * Who is next is the gate's affair; here is what becomes of an exchange that
 * waits: it is let in, pushed out, waits too long, or is sent elsewhere because
 * a later route is there for who finds this one full or slow.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "proxy/agree.h"
#include "proxy/exchange.h"

#include "base/banned.h"

static struct gate *
gate_of(const struct exchange *x)
{
	return x->w->gateway->gate;
}

/* Requests of one key, or one session of it, for one model are one flow. */
static uint64_t
flow_of(const struct exchange *x)
{
	const char *by = x->session;
	uint64_t hash;

	if (by == NULL)
		by = x->record == NULL ? "" : x->record->id;
	hash = text_hash(by, strlen(by));
	return hash * UINT64_C(0x9e3779b97f4a7c15) ^
	    text_hash(x->model->name, strlen(x->model->name));
}

/* The key's class, else the model's; the client may only lower it. */
static enum fair_class
class_of(const struct exchange *x)
{
	if (x->is_batch)
		return FAIR_BATCH;
	if (x->record != NULL && x->record->class != KEY_CLASS_UNSAID)
		return x->record->class == KEY_CLASS_BATCH ? FAIR_BATCH
							   : FAIR_INTERACTIVE;
	return x->model->class == CLASS_BATCH ? FAIR_BATCH : FAIR_INTERACTIVE;
}

static void
fill_place(struct exchange *x)
{
	struct gate_place *p = &x->place;
	int64_t tokens = x->estimate.input + x->estimate.expected;

	memcpy(p->subjects, x->subjects, sizeof p->subjects);
	p->subject_count = x->subject_count;
	p->user = (uint64_t)(uintptr_t)x->subjects[0].account;
	p->flow = flow_of(x);
	p->weight = x->user->weight;
	p->class = class_of(x);
	p->tokens = tokens < 1 ? 1 : (uint64_t)tokens;
	p->bell = &x->w->bell;
	p->model = x->model->name;
}

static struct gate_upstream *
upstream_of(const struct exchange *x)
{
	return x->snapshot->upstreams[x->route->upstream->index];
}

static void
stop_queueing(struct exchange *x)
{
	if (x->queued_from_ns == 0)
		return;
	x->queued_ns += clock_mono_ns() - x->queued_from_ns;
	x->queued_from_ns = 0;
	x->queue_over_ns = DEADLINE_NONE;
}

void
queue_leave(struct exchange *x, uint64_t tokens)
{
	stop_queueing(x);
	if (x->has_place)
		gate_leave(gate_of(x), &x->place, tokens == 0 ? 1 : tokens,
		    clock_mono_ns());
	x->has_place = false;
	agree_give_slot(x);
}

void
queue_again(struct exchange *x, uint64_t after_ns)
{
	uint64_t now = clock_mono_ns();
	uint64_t from = x->slot_wait_ns == 0 ? now : x->slot_wait_ns;

	queue_leave(x, 0);
	x->slot_wait_ns = from;
	x->queued_from_ns = now;
	x->queue_over_ns = from + x->route->upstream->queue_wait_ms * NS_PER_MS;
	x->again_ns = now + after_ns;
	waiting_begin(x);
}

/* --- no place ------------------------------------------------------------ */

/* What is said of the time until a place may be free. */
static void
note_retry(struct exchange *x, const struct gate_outlook *o)
{
	x->retry_ns = o->wait_ns == UINT64_MAX ? 0 : o->wait_ns;
}

/* The user's own doing: no other upstream would help. */
static enum next
end_concurrent(struct exchange *x, size_t subject, const char *how)
{
	const struct gate_subject *s = &x->subjects[subject];
	struct gate_status now;
	char text[256];
	uint32_t taken;

	gate_look(gate_of(x), s, clock_wall_ms(), &now);
	if (now.limits.most[LIMIT_CONCURRENT] == 0) {
		x->retry_ns = LIMITER_NEVER;
		snprintf(text, sizeof text,
		    "%s may have 0 requests at once. Ask the gateway's owner "
		    "for more.",
		    x->user->name);
		return exchange_end(x, END_CONCURRENT, text);
	}
	taken = x->slot_wait_ns != 0 ? x->slots_taken : now.account.in_flight;
	snprintf(text, sizeof text,
	    "%s has %u of %u requests under way%s; wait until one of them has "
	    "ended.",
	    x->user->name, taken, now.limits.most[LIMIT_CONCURRENT], how);
	return exchange_end(x, END_CONCURRENT, text);
}

static enum next
elsewhere(struct exchange *x, unsigned when, const char *how)
{
	const struct upstream_config *up = x->route->upstream;
	struct gate_outlook o;
	char places[48] = "";

	gate_outlook(
	    gate_of(x), upstream_of(x), &x->place, clock_mono_ns(), &o);
	note_retry(x, &o);
	if (up->max_inflight != CONFIG_UNLIMITED)
		snprintf(places, sizeof places, " of its %u places",
		    up->max_inflight);
	return attempt_failed(x, when, END_FULL,
	    when == WHEN_SLOW ? "slow" : "full",
	    "%s has %u%s taken and %u waiting%s", up->name, o.in_flight, places,
	    o.waiting - (x->queued_from_ns != 0 && o.waiting > 0), how);
}

static enum next
too_large(struct exchange *x)
{
	const struct upstream_config *up = x->route->upstream;

	struct buf text = {0};
	enum next next;

	buf_puts(&text, "this request needs about ");
	buf_put_count(&text, x->place.tokens);
	buf_printf(&text, " tokens, and %s has room for ", up->name);
	buf_put_count(&text, up->kv_tokens);
	buf_puts(
	    &text, " in all (kv_tokens): shorten it, or lower max_tokens or n");
	next = attempt_failed(x, WHEN_CONTEXT, END_CONTEXT, "too_large", "%.*s",
	    (int)buf_len(&text), buf_data(&text));
	buf_release(&text);
	return next;
}

/* --- the wait ------------------------------------------------------------ */

/* Whether the expected wait is longer than this route allows, and there is
 * another one for that. */
static bool
is_slow(struct exchange *x, uint64_t now)
{
	struct gate_outlook o;

	if (x->route->overflow_after_ms == 0)
		return false;
	gate_outlook(gate_of(x), upstream_of(x), &x->place, now, &o);
	return o.wait_ns != UINT64_MAX &&
	    o.wait_ns > x->route->overflow_after_ms * NS_PER_MS &&
	    route_may_follow(x, WHEN_SLOW);
}

static enum next
wait_for_place(struct exchange *x, uint64_t now)
{
	uint64_t from = x->slot_wait_ns == 0 ? now : x->slot_wait_ns;

	x->has_place = true;
	x->queued_from_ns = now;
	x->queue_over_ns = from + x->route->upstream->queue_wait_ms * NS_PER_MS;
	if (is_slow(x, now))
		return elsewhere(
		    x, WHEN_SLOW, ", longer than is to be waited here");
	waiting_begin(x);
	return WAIT;
}

/* Where a later route is there for who finds this one full, nobody waits,
 * unless that cannot be paid for, or it is the user's own count that is full,
 * which would be so there, too. */
static enum gate_verdict
enter(struct exchange *x, uint64_t now, size_t *subject)
{
	enum gate_verdict verdict;

	x->place.may_wait = !route_is_named(x, WHEN_FULL);
	verdict =
	    gate_enter(gate_of(x), upstream_of(x), &x->place, now, subject);
	if (x->place.may_wait ||
	    (verdict != GATE_FULL && verdict != GATE_CONCURRENT) ||
	    (verdict == GATE_FULL && route_may_follow(x, WHEN_FULL)))
		return verdict;
	x->place.may_wait = true;
	return gate_enter(gate_of(x), upstream_of(x), &x->place, now, subject);
}

enum next
step_gate(struct exchange *x)
{
	uint64_t now = clock_mono_ns();
	size_t subject = 0;

	/* Counting tokens is no work for a model. */
	if (x->api == API_COUNT_TOKENS) {
		x->step = STEP_FORWARD;
		return NEXT;
	}
	fill_place(x);
	switch (enter(x, now, &subject)) {
	case GATE_GO:
		x->has_place = true;
		x->step = STEP_SLOT;
		return NEXT;
	case GATE_LATER:
		return wait_for_place(x, now);
	case GATE_CONCURRENT:
		return end_concurrent(x, subject, " and no place to wait in");
	case GATE_TOO_LARGE:
		return too_large(x);
	case GATE_FULL:
		break;
	}
	return elsewhere(x, WHEN_503 | WHEN_FULL, "");
}

/* The gate has decided. */
static void
go_on(struct exchange *x)
{
	stop_queueing(x);
	if (x->place.state != GATE_IN) {
		queue_leave(x, 0);
		x->retry_ns = NS_PER_SECOND;
		exchange_end(x, END_PUSHED_OUT, "");
		return;
	}
	x->step = STEP_SLOT;
	exchange_run(x);
}

void
queues_look(struct worker *w)
{
	struct gate_place *p;

	while ((p = gate_next_ready(w->gateway->gate, &w->bell)) != NULL)
		go_on(CONTAINER_OF(p, struct exchange, place));
}

/* It has waited as long as it may. */
static void
wait_is_over(struct exchange *x, uint64_t now)
{
	struct gate_outlook o;
	char wait[CLOCK_TEXT_BYTES], how[80];
	uint64_t waited;

	gate_outlook(gate_of(x), upstream_of(x), &x->place, now, &o);
	note_retry(x, &o);
	waited = x->slot_wait_ns != 0 ? now - x->slot_wait_ns
				      : x->queued_ns + now - x->queued_from_ns;
	duration_format(wait, waited / NS_PER_MS);
	snprintf(how, sizeof how, ", after a wait of %s", wait);
	if (x->again_ns != 0) {
		end_concurrent(x, x->slot_subject, how);
		return;
	}
	if (o.is_user_full) {
		end_concurrent(x, o.full_subject, how);
		return;
	}
	elsewhere(x, WHEN_503 | WHEN_FULL, how);
	exchange_run(x);
}

void
queue_on_time(struct exchange *x, uint64_t now)
{
	/* It may have been let in this very moment. */
	queues_look(x->w);
	if (x->queued_from_ns == 0)
		return;
	if (now >= x->queue_over_ns) {
		wait_is_over(x, now);
	} else if (x->again_ns != 0) {
		if (now < x->again_ns)
			return;
		x->again_ns = 0;
		stop_queueing(x);
		x->step = STEP_GATE;
		exchange_run(x);
	} else if (is_slow(x, now)) {
		elsewhere(x, WHEN_SLOW, ", longer than is to be waited here");
		exchange_run(x);
	}
}
