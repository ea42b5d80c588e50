#include "proxy/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "proxy/agree.h"
#include "proxy/client.h"
#include "proxy/kept.h"

#include "base/banned.h"

#define BODY_BYTES_MOST (UINT64_C(1) << 30) /* of all exchanges together */
#define BODY_FIRST_BYTES (1024 * 1024)
#define DRAINS_MOST 64u
#define DRAIN_MOST_NS (30 * NS_PER_SECOND)

static void
free_exchange(struct grave *g)
{
	struct exchange *x = CONTAINER_OF(g, struct exchange, grave);

	waiting_release(x);
	if (x->splice != NULL)
		responses_splice_release(x->splice);
	free(x->splice);
	forecast_release(&x->forecast);
	relay_release(&x->relay);
	buf_release(&x->body);
	arena_release(&x->arena);
	snapshot_unref(&x->snapshot);
	key_table_unref(&x->keys);
	free(x);
}

struct exchange *
exchange_create(struct client *c, enum server_api api,
    const struct user_config *user, const struct key_record *record)
{
	struct exchange *x = xcalloc(sizeof *x);

	x->grave.free = free_exchange;
	x->w = c->w;
	x->client = c;
	x->snapshot = snapshot_ref(c->w->snapshot);
	x->api = api;
	x->user = user;
	x->record = record;
	if (record != NULL)
		x->keys = key_table_ref(c->w->keys);
	x->arrived_ms = clock_wall_ms();
	x->arrived_ns = clock_mono_ns();
	ulid_make(&c->w->ids, x->arrived_ms, x->id);
	x->forecast.ttft_ms = -1;
	relay_reset(x);
	list_append(&c->w->exchanges, &x->link);
	c->x = x;
	return x;
}

bool
exchange_is_anthropic(const struct exchange *x)
{
	return x->api == API_MESSAGES || x->api == API_COUNT_TOKENS;
}

void
exchange_run(struct exchange *x)
{
	enum next next = NEXT;

	while (next == NEXT) {
		switch (x->step) {
		case STEP_RECEIVE:
			x->step = STEP_ADMIT;
			break;
		case STEP_ADMIT:
			next = step_admit(x);
			break;
		case STEP_SHARE:
			next = step_share(x);
			break;
		case STEP_ROUTE:
			next = step_route(x);
			break;
		case STEP_PAY:
			next = step_pay(x);
			break;
		case STEP_GATE:
			next = step_gate(x);
			break;
		case STEP_SLOT:
			next = step_slot(x);
			break;
		case STEP_FORWARD:
			next = step_forward(x);
			break;
		case STEP_RELAY:
			next = WAIT;
			break;
		}
	}
}

void
exchange_drop_body(struct exchange *x)
{
	__atomic_sub_fetch(
	    &x->w->gateway->body_bytes, x->counted_bytes, __ATOMIC_RELAXED);
	x->counted_bytes = 0;
	buf_release(&x->body);
}

/* Counts what the body now holds against the room for all bodies. */
static bool
count_body(struct exchange *x)
{
	uint64_t *all = &x->w->gateway->body_bytes;
	size_t more = x->body.room - x->counted_bytes;

	if (more == 0)
		return true;
	x->counted_bytes = x->body.room;
	return __atomic_add_fetch(all, more, __ATOMIC_RELAXED) <=
	    BODY_BYTES_MOST;
}

static char *
body_reserve(struct exchange *x, size_t more)
{
	uint64_t most = x->snapshot->config->server.max_body;
	char *to;

	if (buf_len(&x->body) + more > most) {
		exchange_body_broken(x, END_BODY_TOO_LARGE);
		return NULL;
	}
	to = buf_reserve(&x->body, more, most);
	if (to == NULL || !count_body(x)) {
		exchange_body_broken(x, END_NO_MEMORY);
		return NULL;
	}
	return to;
}

char *
exchange_body_room(struct exchange *x, size_t *room)
{
	/* Room is taken as bytes come, not as the client announces them. */
	uint64_t want = x->client->body_left;
	size_t have = x->body.room - x->body.end;

	if (have == 0)
		have = buf_len(&x->body) < BODY_FIRST_BYTES ? BODY_FIRST_BYTES
							    : buf_len(&x->body);
	*room = want < have ? (size_t)want : have;
	return body_reserve(x, *room);
}

void
exchange_body_commit(struct exchange *x, size_t len)
{
	buf_commit(&x->body, len);
}

bool
exchange_body_add(struct exchange *x, const char *p, size_t len)
{
	char *to = body_reserve(x, len);

	if (to == NULL)
		return false;
	memcpy(to, p, len);
	buf_commit(&x->body, len);
	return true;
}

void
exchange_body_whole(struct exchange *x)
{
	x->body_len = buf_len(&x->body);
	exchange_run(x);
}

void
exchange_body_broken(struct exchange *x, enum end e)
{
	char message[96] = "";

	if (e == END_BODY_TOO_LARGE)
		snprintf(message, sizeof message,
		    "The request's body is larger than %llu bytes.",
		    (unsigned long long)x->snapshot->config->server.max_body);
	else if (e == END_BAD_REQUEST)
		snprintf(message, sizeof message,
		    "The chunked coding of the body is damaged.");
	x->client->closes = true;
	exchange_end(x, e, message);
}

/* What it has used, of all attempts; of tokens the last one's count. */
static struct account_use
used_by(const struct exchange *x)
{
	struct account_use use = {
	    .pusd = x->spent_pusd, .fallback_pusd = x->fallback_pusd};
	const struct ledger_attempt *last;

	if (x->attempt_count == 0)
		return use;
	last = &x->attempts[x->attempt_count - 1];
	if (last->source == USAGE_NONE)
		return use;
	use.input = last->usage.input > 0 ? last->usage.input : 0;
	use.output = last->usage.output > 0 ? last->usage.output : 0;
	return use;
}

/* Of one that went on after its client had left. */
static enum end
true_end(const struct exchange *x, enum end e)
{
	return x->is_drained || x->kept.is_kept ? END_CLIENT_GONE : e;
}

void
exchange_give_back(struct exchange *x, enum end e)
{
	struct gate *g = x->w->gateway->gate;
	struct account_use use;
	bool was_served;

	/* The attempt that was under way, or that answered. */
	if (x->step == STEP_RELAY)
		attempt_close(x, end_facts(true_end(x, e))->text);
	use = used_by(x);
	was_served = x->slot != NULL;
	/* Who was refused by a later check has cost nothing, not even one of
	 * the requests a minute. */
	gate_settle(g, &x->claim, was_served ? &use : NULL, clock_mono_ns(),
	    clock_wall_ms());
	agree_settle(x, was_served ? &use : NULL);
	queue_leave(x, (uint64_t)(use.input + use.output));
}

/* Whether the server goes on with an answer whose client has gone: then it is
 * busy until that has come. */
static bool
works_on(const struct exchange *x)
{
	return !x->facts.is_stream &&
	    kind_has(x->route->upstream->kind, KIND_WORKS_ON);
}

/* Whether its exact counts are to be learned from the rest of the answer, or
 * its end has to be waited for. Takes one of the places for that. */
static bool
may_drain(struct exchange *x)
{
	uint32_t *drains = &x->w->gateway->drains;

	if (x->step != STEP_RELAY ||
	    (!x->route->upstream->drains && !works_on(x)) ||
	    x->relay.status >= 300 || !upconn_is_sent(x->up))
		return false;
	if (__atomic_add_fetch(drains, 1, __ATOMIC_RELAXED) <= DRAINS_MOST ||
	    works_on(x))
		return true;
	__atomic_sub_fetch(drains, 1, __ATOMIC_RELAXED);
	log_warning("%u answers are being read to their end after their "
		    "clients have gone; %s is left at once",
	    DRAINS_MOST, x->route->upstream->name);
	return false;
}

void
exchange_client_gone(struct exchange *x)
{
	x->client = NULL;
	exchange_release(x);
	if (x->has_ended)
		return;
	if (kept_keep(x))
		return;
	if (may_drain(x)) {
		gate_leave_user(
		    x->w->gateway->gate, &x->place, clock_mono_ns());
		agree_give_slot(x);
		relay_drain(x,
		    works_on(x) ? UINT64_MAX : clock_mono_ns() + DRAIN_MOST_NS);
	} else {
		exchange_end(x, END_CLIENT_GONE, "");
	}
}

void
exchange_client_drained(struct exchange *x)
{
	if (x->up != NULL)
		upconn_resume(x->up);
}

static void
bury(struct exchange *x)
{
	exchange_drop_body(x);
	list_remove(&x->link);
	worker_bury(x->w, &x->grave);
}

void
exchange_release(struct exchange *x)
{
	if (!x->is_unsafe)
		return;
	x->is_unsafe = false;
	list_remove(&x->unsafe_link);
	exchange_say_farewell(x, x->farewell, x->farewell_text);
	bury(x);
}

void
exchanges_release_safe(struct worker *w)
{
	const struct ledger *l = w->gateway->ledger;
	uint64_t safe = ledger_safe_seq(l);
	bool all = !ledger_is_writable(l);

	LIST_EACH (&w->unsafe, link) {
		struct exchange *x =
		    CONTAINER_OF(link, struct exchange, unsafe_link);

		if (all || x->seq <= safe)
			exchange_release(x);
	}
}

enum next
exchange_end(struct exchange *x, enum end e, const char *message)
{
	struct gateway *g = x->w->gateway;

	if (x->has_ended)
		return OVER;
	x->has_ended = true;
	if (x->is_drained)
		__atomic_sub_fetch(&g->drains, 1, __ATOMIC_RELAXED);
	e = true_end(x, e);
	if (x->step == STEP_RECEIVE)
		x->body_len = buf_len(&x->body);
	kept_forget(x);
	exchange_give_back(x, e);
	waiting_end(x);
	upconn_close(&x->up);
	if (ledger_must_wait(g->ledger) && x->client != NULL &&
	    x->attempt_count > 0) {
		x->farewell = e;
		x->farewell_text = arena_printf(&x->arena, "%s", message);
		x->is_unsafe = true;
		x->status = exchange_coming_status(x, e);
		list_append(&x->w->unsafe, &x->unsafe_link);
		x->seq = settle(x, e);
		return OVER;
	}
	exchange_say_farewell(x, e, message);
	settle(x, e);
	bury(x);
	return OVER;
}
