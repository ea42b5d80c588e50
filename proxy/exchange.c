#include "proxy/exchange.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "base/log.h"
#include "proxy/client.h"

#include "base/banned.h"

#define BODY_BYTES_MOST (UINT64_C(1) << 30) /* of all exchanges together */
#define BODY_FIRST_BYTES (1024 * 1024)
#define DRAINS_MOST 64u
#define DRAIN_MOST_NS (30 * NS_PER_SECOND)

static void
free_exchange(struct grave *g)
{
	struct exchange *x = CONTAINER_OF(g, struct exchange, grave);

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
		case STEP_ROUTE:
			next = step_route(x);
			break;
		case STEP_GATE:
			next = step_gate(x);
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

/* Gives back the user's place, and the upstream's if that is done, too. */
static void
leave_places(struct exchange *x, bool is_done)
{
	struct gate *g = x->w->gateway->gate;

	if (x->has_slot && is_done) {
		gate_give_slot(
		    g, x->snapshot->upstreams[x->route->upstream->index]);
		x->has_slot = false;
	}
	if (x->has_entered)
		gate_user_leave(g, x->snapshot->users[x->user->index]);
	x->has_entered = false;
}

void
exchange_give_back(struct exchange *x)
{
	leave_places(x, true);
}

/* Whether its exact counts are to be learned from the rest of the answer. Takes
 * one of the places for that. */
static bool
may_drain(struct exchange *x)
{
	uint32_t *drains = &x->w->gateway->drains;

	if (x->step != STEP_RELAY || !x->route->upstream->drains ||
	    x->relay.status >= 300 || !upconn_is_sent(x->up))
		return false;
	if (__atomic_add_fetch(drains, 1, __ATOMIC_RELAXED) <= DRAINS_MOST)
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
	if (may_drain(x)) {
		leave_places(x, false);
		relay_drain(x, clock_mono_ns() + DRAIN_MOST_NS);
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
add_limits(const struct exchange *x, struct buf *to)
{
	const struct gate_quota *q = &x->quota;
	uint64_t ms = (q->reset_ns + NS_PER_MS - 1) / NS_PER_MS;

	if (q->limit == LIMIT_UNLIMITED ||
	    (q->limit == 0 && !x->has_entered && q->wait_ns == 0))
		return;
	if (exchange_is_anthropic(x)) {
		char reset[CLOCK_TEXT_BYTES];

		clock_format(reset, clock_wall_ms() + (int64_t)ms);
		buf_printf(to,
		    "anthropic-ratelimit-requests-limit: %u\r\n"
		    "anthropic-ratelimit-requests-remaining: %u\r\n"
		    "anthropic-ratelimit-requests-reset: %s\r\n",
		    q->limit, q->remaining, reset);
		return;
	}
	buf_put_literal(to, "x-ratelimit-limit-requests: ");
	buf_put_uint(to, q->limit);
	buf_put_literal(to, "\r\nx-ratelimit-remaining-requests: ");
	buf_put_uint(to, q->remaining);
	buf_put_literal(to, "\r\nx-ratelimit-reset-requests: ");
	/* OpenAI's form: 12ms, 1s, 6m0s. */
	if (ms < 1000)
		buf_printf(to, "%llums\r\n", (unsigned long long)ms);
	else if (ms < 60000)
		buf_printf(
		    to, "%llus\r\n", (unsigned long long)(ms + 999) / 1000);
	else
		buf_printf(to, "%llum%llus\r\n", (unsigned long long)ms / 60000,
		    (unsigned long long)ms / 1000 % 60);
}

void
exchange_add_fields(struct exchange *x, struct buf *to)
{
	const char *id =
	    x->client_request_id != NULL ? x->client_request_id : x->id;

	buf_put_literal(to, "x-request-id: ");
	buf_puts(to, id);
	buf_put_literal(to, "\r\n");
	add_limits(x, to);
	if (x->route == NULL)
		return;
	buf_put_literal(to, "x-weir-upstream: ");
	buf_puts(to, x->route->upstream->name);
	if (x->routes_tried == 1) {
		buf_put_literal(to, "\r\nx-weir-route: first\r\n");
	} else {
		buf_put_literal(to, "\r\nx-weir-route: fallback:");
		buf_puts(to, x->first_result);
		buf_put_literal(to, "\r\n");
	}
	if (x->user->is_admin && is_field_text(x->route->model))
		buf_printf(to, "x-weir-model: %s\r\n", x->route->model);
}

static void
add_retry_after(const struct exchange *x, enum end e, struct buf *to)
{
	uint64_t ms = 1000;

	if (end_facts(e)->retry != RETRY_LATER)
		return;
	if (e == END_RATE_LIMITED)
		ms = (x->quota.wait_ns + NS_PER_MS - 1) / NS_PER_MS;
	/* From 60 s on SDKs fall back to their own, shorter, waits; and where
	 * nothing is ever let in, waiting is in vain. */
	if (ms >= 60000 || (e == END_RATE_LIMITED && x->quota.limit == 0))
		buf_puts(to, "x-should-retry: false\r\n");
	buf_printf(to, "retry-after: %llu\r\nretry-after-ms: %llu\r\n",
	    (unsigned long long)(ms + 999) / 1000, (unsigned long long)ms);
}

/* Nothing has gone to the client: it gets a real status. */
static void
refuse(struct exchange *x, enum end e, const char *message)
{
	const struct end_facts *f = end_facts(e);
	struct buf body = {0}, fields = {0};

	if (message[0] == '\0')
		message = f->help;
	end_write_body(
	    &body, e, exchange_is_anthropic(x), slice_of(message), x->id);
	exchange_add_fields(x, &fields);
	if (f->retry == RETRY_NO)
		buf_puts(&fields, "x-should-retry: false\r\n");
	add_retry_after(x, e, &fields);
	x->status = exchange_is_anthropic(x) ? f->anthropic_status : f->status;
	x->bytes_out = buf_len(&body);
	client_answer(x->client, x->status, "application/json",
	    (struct slice){buf_data(&fields), buf_len(&fields)},
	    (struct slice){buf_data(&body), buf_len(&body)});
	buf_release(&fields);
	buf_release(&body);
}

/* An error event in the form that the client's SDK raises. */
static void
write_error_event(
    const struct exchange *x, enum end e, const char *message, struct buf *to)
{
	struct buf body = {0};

	end_write_body(
	    &body, e, exchange_is_anthropic(x), slice_of(message), x->id);
	/* The blank line ends an event that broke off. */
	if (x->api == API_RESPONSES) {
		struct json_out o = json_out_to(to);

		buf_puts(to, "\n\nevent: response.failed\ndata: ");
		json_open(&o, '{');
		json_member_string(&o, "type", SLICE("response.failed"));
		json_key(&o, "response");
		json_open(&o, '{');
		json_member_string(&o, "id", slice_of(x->id));
		json_member_string(&o, "object", SLICE("response"));
		json_member_string(&o, "status", SLICE("failed"));
		json_key(&o, "error");
		json_open(&o, '{');
		json_member_string(&o, "code", SLICE("server_error"));
		json_member_string(&o, "message", slice_of(message));
		json_close(&o, '}');
		json_close(&o, '}');
		json_close(&o, '}');
		buf_puts(to, "\n\n");
	} else {
		buf_printf(to, "\n\n%sdata: %.*s\n\n",
		    exchange_is_anthropic(x) ? "event: error\n" : "",
		    (int)buf_len(&body), buf_data(&body));
	}
	buf_release(&body);
}

/* Whether an event of ours can stand in what the client is reading. */
static bool
may_tell_inside(const struct exchange *x)
{
	const struct relay *r = &x->relay;

	return x->facts.is_stream && r->status < 300 && !r->is_coded &&
	    !r->tap.has_error &&
	    (r->is_chunked_out || r->framing != FRAMING_LENGTH);
}

/* The answer has begun and cannot be completed: the client is told inside it,
 * and the connection ends without the mark of a complete answer. */
static void
break_off(struct exchange *x, enum end e, const char *message)
{
	struct client *c = x->client;
	struct buf event = {0}, out = {0};
	struct iovec v;

	c->closes = true;
	if (may_tell_inside(x)) {
		write_error_event(x, e,
		    message[0] == '\0' ? end_facts(e)->help : message, &event);
		if (x->relay.is_chunked_out)
			buf_printf(&out, "%zx\r\n", buf_len(&event));
		buf_put(&out, buf_data(&event), buf_len(&event));
		if (x->relay.is_chunked_out)
			buf_puts(&out, "\r\n");
		v = (struct iovec){
		    (void *)(uintptr_t)buf_data(&out), buf_len(&out)};
		client_send(c, &v, 1);
		buf_release(&event);
		buf_release(&out);
	}
	client_finish(c);
}

/* What the client gets to see of the end. */
static void
say_farewell(struct exchange *x, enum end e, const char *message)
{
	struct client *c = x->client;

	if (c == NULL)
		return;
	if (c->state == CLIENT_BODY)
		c->closes = true; /* unread bytes are no request */
	if (x->has_rest)
		relay_emit_rest(x);
	if (x->relay.state == RELAY_DONE)
		client_finish(c);
	else if (x->is_committed)
		break_off(x, e, message);
	else
		refuse(x, e, message);
	c->x = NULL;
}

/* The status that the client will have got after its farewell. */
static int
coming_status(const struct exchange *x, enum end e)
{
	const struct end_facts *f = end_facts(e);

	if (x->is_committed)
		return x->status;
	if (x->has_rest)
		return x->relay.status;
	return exchange_is_anthropic(x) ? f->anthropic_status : f->status;
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
	say_farewell(x, x->farewell, x->farewell_text);
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
	if (x->is_drained) {
		__atomic_sub_fetch(&g->drains, 1, __ATOMIC_RELAXED);
		e = END_CLIENT_GONE;
	}
	if (x->step == STEP_RECEIVE)
		x->body_len = buf_len(&x->body);
	/* The attempt that was under way, or that answered. */
	if (x->step == STEP_RELAY)
		attempt_close(x, end_facts(e)->text);
	upconn_close(&x->up);
	exchange_give_back(x);
	if (ledger_must_wait(g->ledger) && x->client != NULL &&
	    x->attempt_count > 0) {
		x->farewell = e;
		x->farewell_text = arena_printf(&x->arena, "%s", message);
		x->is_unsafe = true;
		x->status = coming_status(x, e);
		list_append(&x->w->unsafe, &x->unsafe_link);
		x->seq = settle(x, e);
		return OVER;
	}
	say_farewell(x, e, message);
	settle(x, e);
	bury(x);
	return OVER;
}
