/*
 * farewell.c - what of the gateway's own making a client gets: fields in an
 * answer's head, refusals, and errors inside a stream that has begun.
 */
#include "base/clock.h"
#include "metering/price.h"
#include "proxy/client.h"
#include "proxy/exchange.h"

#include "base/banned.h"

/* OpenAI's form of a duration: 12ms, 1s, 6m0s, 1h0m0s. */
static void
put_duration(struct buf *to, uint64_t ms)
{
	uint64_t s = (ms + 999) / 1000;

	if (ms < 1000)
		buf_printf(to, "%llums", (unsigned long long)ms);
	else if (s < 60)
		buf_printf(to, "%llus", (unsigned long long)s);
	else if (s < 3600)
		buf_printf(to, "%llum%llus", (unsigned long long)s / 60,
		    (unsigned long long)s % 60);
	else
		buf_printf(to, "%lluh%llum%llus", (unsigned long long)s / 3600,
		    (unsigned long long)s / 60 % 60,
		    (unsigned long long)s % 60);
}

static void
add_quota(const struct exchange *x, const struct gate_quota *q,
    const char *what, struct buf *to)
{
	uint64_t ms = (q->reset_ns + NS_PER_MS - 1) / NS_PER_MS;
	char reset[CLOCK_TEXT_BYTES];

	if (q->limit == LIMIT_UNLIMITED)
		return;
	if (exchange_is_anthropic(x)) {
		clock_format(reset, clock_wall_ms() + (int64_t)ms);
		buf_printf(to,
		    "anthropic-ratelimit-%s-limit: %u\r\n"
		    "anthropic-ratelimit-%s-remaining: %u\r\n"
		    "anthropic-ratelimit-%s-reset: %s\r\n",
		    what, q->limit, what, q->remaining, what, reset);
		return;
	}
	buf_put_literal(to, "x-ratelimit-limit-");
	buf_puts(to, what);
	buf_put_literal(to, ": ");
	buf_put_uint(to, q->limit);
	buf_put_literal(to, "\r\nx-ratelimit-remaining-");
	buf_puts(to, what);
	buf_put_literal(to, ": ");
	buf_put_uint(to, q->remaining);
	buf_put_literal(to, "\r\nx-ratelimit-reset-");
	buf_puts(to, what);
	buf_put_literal(to, ": ");
	put_duration(to, ms);
	buf_put_literal(to, "\r\n");
}

/* OpenAI's clients know one count of tokens: the prompt's, if that is limited,
 * else the answer's. */
static void
add_limits(const struct exchange *x, struct buf *to)
{
	const struct gate_quotas *q = &x->quotas;

	if (x->model == NULL || x->subject_count == 0)
		return; /* refused before limits were looked at */
	add_quota(x, &q->requests, "requests", to);
	if (exchange_is_anthropic(x)) {
		add_quota(x, &q->input, "input-tokens", to);
		add_quota(x, &q->output, "output-tokens", to);
	} else {
		add_quota(x,
		    q->input.limit != LIMIT_UNLIMITED ? &q->input : &q->output,
		    "tokens", to);
	}
}

/* Milliseconds with one decimal. */
static void
put_ms(struct buf *to, uint64_t ns)
{
	uint64_t tenths = ns / (NS_PER_MS / 10);
	char text[24], *p = text + sizeof text;

	*--p = (char)('0' + tenths % 10);
	*--p = '.';
	tenths /= 10;
	do
		*--p = (char)('0' + tenths % 10);
	while ((tenths /= 10) > 0);
	buf_put(to, p, (size_t)(text + sizeof text - p));
}

/* Where the time has gone until what was read last: the upstream's is that of
 * the last attempt; all that is neither its nor the queue's is put down as the
 * gateway's own, also the coming of the request's body and earlier attempts. */
static void
add_timing(const struct exchange *x, struct buf *to)
{
	uint64_t upstream = x->relay.last_byte_ns - x->sent_ns;
	uint64_t rest = x->relay.last_byte_ns - x->arrived_ns;

	/* A retry may have come long after the request that it has joined. */
	if (x->arrived_ns > x->sent_ns)
		return;
	rest -= upstream;
	rest = rest > x->queued_ns ? rest - x->queued_ns : 0;
	buf_put_literal(to, "server-timing: gw;dur=");
	put_ms(to, rest);
	buf_put_literal(to, ", queue;dur=");
	put_ms(to, x->queued_ns);
	buf_put_literal(to, ", upstream;dur=");
	put_ms(to, upstream);
	buf_put_literal(to, "\r\n");
}

/* Of an answer that came whole in one read: the head of any other one goes
 * before its counts have come. */
static void
add_cost(const struct exchange *x, struct buf *to)
{
	char cost[MONEY_TEXT_BYTES];

	if (x->spent_pusd == 0) {
		buf_put_literal(to, "x-weir-cost-usd: 0.000000000000\r\n");
		return;
	}
	money_format(cost, x->spent_pusd);
	buf_put_literal(to, "x-weir-cost-usd: ");
	buf_puts(to, cost);
	buf_put_literal(to, "\r\n");
}

/* What is known of an answer once an upstream's is on its way. */
static void
add_outcome(const struct exchange *x, struct buf *to)
{
	enum relay_state s = x->relay.state;

	if (s != RELAY_PASS && s != RELAY_DONE)
		return;
	add_timing(x, to);
	if (x->is_attempt_closed && !x->facts.is_stream)
		add_cost(x, to);
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
	add_outcome(x, to);
	if (x->forecast.mark != NULL)
		buf_printf(to,
		    "x-weir-prefill: predicted=%llds, limit=%llus\r\n",
		    (long long)(x->forecast.ttft_ms + 999) / 1000,
		    (unsigned long long)(x->forecast.limit_ms + 999) / 1000);
	if (x->user->is_admin && is_field_text(x->route->model))
		buf_printf(to, "x-weir-model: %s\r\n", x->route->model);
}

/* When to come again.  From 60 s on SDKs fall back to their own, shorter,
 * waits; and where nothing is ever let in, waiting is in vain. */
static void
add_retry_after(const struct exchange *x, enum end e, struct buf *to)
{
	uint64_t ms = 1000;

	if (end_facts(e)->retry != RETRY_LATER)
		return;
	if (x->retry_ns == LIMITER_NEVER)
		ms = 60000;
	else if (x->retry_ns > 0)
		ms = (x->retry_ns + NS_PER_MS - 1) / NS_PER_MS;
	if (ms >= 60000 && (e == END_RATE_LIMITED || e == END_CONCURRENT))
		buf_puts(to, "x-should-retry: false\r\n");
	if (ms > 60000)
		ms = 60000;
	buf_printf(to, "retry-after: %llu\r\nretry-after-ms: %llu\r\n",
	    (unsigned long long)(ms + 999) / 1000, (unsigned long long)ms);
}

/* A later check has refused it, so it has got back what it had taken of the
 * minute: that is what the client is told. */
static void
refresh_quotas(struct exchange *x)
{
	if (x->step <= STEP_ADMIT || x->slot != NULL || x->w->shared != NULL)
		return; /* not counted, or not here alone */
	gate_look_at_quotas(x->w->gateway->gate, x->subjects, x->subject_count,
	    x->api == API_COUNT_TOKENS, clock_mono_ns(), clock_wall_ms(),
	    &x->quotas);
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
	refresh_quotas(x);
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

/* Whether what the client has got so far ends within an event, which an empty
 * line has to end before ours begins. */
static bool
is_inside_event(const struct exchange *x)
{
	if (x->splice != NULL)
		return !responses_splice_is_between(x->splice);
	return x->has_passed &&
	    (!x->relay.tap.is_between || buf_len(&x->relay.held) > 0);
}

/* An error event in the form that the client's SDK raises. */
static void
write_error_event(
    struct exchange *x, enum end e, const char *message, struct buf *to)
{
	const struct end_facts *f = end_facts(e);
	struct own_response *own = &x->keepalive.response;

	if (is_inside_event(x))
		buf_puts(to, "\n\n");
	if (x->api == API_RESPONSES) {
		if (x->keepalive.sent == 0) {
			own_response_init(
			    own, x->id, x->model->name, x->arrived_ms);
			own->next_number = x->relay.tap.events;
		}
		own_response_fail(own, f->type, f->code, slice_of(message), to);
		return;
	}
	buf_puts(to, exchange_is_anthropic(x) ? "event: error\n" : "");
	buf_puts(to, "data: ");
	end_write_body(
	    to, e, exchange_is_anthropic(x), slice_of(message), x->id);
	buf_puts(to, "\n\n");
}

/* Whether an event of ours can stand in what the client is reading. */
static bool
may_tell_inside(const struct exchange *x)
{
	const struct relay *r = &x->relay;

	if (!x->facts.is_stream || x->status >= 300)
		return false;
	if (!x->has_passed)
		return true; /* all of it was ours so far */
	return !r->is_coded && !r->tap.has_error &&
	    (x->is_chunked_out || r->framing != FRAMING_LENGTH ||
		x->keepalive.sent > 0);
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
		if (x->is_chunked_out)
			buf_printf(&out, "%zx\r\n", buf_len(&event));
		buf_put(&out, buf_data(&event), buf_len(&event));
		if (x->is_chunked_out)
			buf_puts(&out, "\r\n");
		/* Nothing was broken off: this is all of it. */
		if (x->is_chunked_out && !x->has_passed)
			buf_puts(&out, "0\r\n\r\n");
		v = (struct iovec){
		    (void *)(uintptr_t)buf_data(&out), buf_len(&out)};
		client_send(c, &v, 1);
		buf_release(&event);
		buf_release(&out);
	}
	client_finish(c);
}

/* What the client gets to see of the end. */
void
exchange_say_farewell(struct exchange *x, enum end e, const char *message)
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
int
exchange_coming_status(const struct exchange *x, enum end e)
{
	const struct end_facts *f = end_facts(e);

	if (x->is_committed)
		return x->status;
	if (x->has_rest)
		return x->relay.status;
	return exchange_is_anthropic(x) ? f->anthropic_status : f->status;
}
