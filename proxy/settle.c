/*
 * settle.c - what the exchange cost, written down once, whatever happened.
 */
#include "base/clock.h"
#include "metering/charge.h"
#include "metering/learned.h"
#include "metering/ledger/ledger_recover.h"
#include "proxy/exchange.h"

#include "base/banned.h"

/* An answer that is written in no time, next to its prompt. */
#define SHORT_ANSWER_TOKENS 32

/* Whether the upstream may have worked on the request: it was given it, and has
 * not refused it. */
static bool
may_have_worked(const struct exchange *x)
{
	int status = x->relay.status;

	if (status >= 200)
		return status < 300;
	return x->up != NULL && upconn_has_sent(x->up);
}

/* Text that the counts seen so far do not cover. */
static uint64_t
uncounted_bytes(const struct tap *t)
{
	if (t->source == USAGE_RUNNING)
		return t->uncounted_bytes;
	return t->usage.output < 0 ? t->text_bytes : 0;
}

/* The counts of the attempt that has just ended. */
static enum usage_source
read_usage(const struct exchange *x, struct usage *u)
{
	const struct tap *t = &x->relay.tap;
	struct charge_facts f = {
	    .seen = t->usage,
	    .source = t->source,
	    .may_have_worked = may_have_worked(x),
	};

	*u = USAGE_UNKNOWN;
	if (x->api == API_COUNT_TOKENS)
		return USAGE_NONE;
	if (f.may_have_worked || f.source != USAGE_NONE) {
		f.input_estimate = x->estimate.input;
		f.rest_estimate =
		    estimate_output(&x->estimate, uncounted_bytes(t));
	}
	return charge_usage(&f, u);
}

/* How long it took to the first content, and from there to the end.  An answer
 * that is no stream comes at once: the time that its tokens have taken, by what
 * streams have taught, is taken off, unless that is most of it. */
static void
learn_times(const struct exchange *x, const struct ledger_attempt *a,
    struct learned_sample *s)
{
	uint64_t rate = x->estimate.guess.decode_rate, all_ms, written_ms = 0;

	if (x->content_ns <= x->sent_ns)
		return;
	all_ms = (x->content_ns - x->sent_ns) / NS_PER_MS;
	if (x->facts.is_stream) {
		s->ttft_ms = all_ms;
		s->generation_ms =
		    (x->relay.last_byte_ns - x->content_ns) / NS_PER_MS;
		return;
	}
	if (rate > 0)
		written_ms = (uint64_t)a->usage.output * 1000000 / rate;
	else if (a->usage.output > SHORT_ANSWER_TOKENS)
		return;
	if (written_ms < all_ms / 2)
		s->ttft_ms = all_ms - written_ms;
}

/* What the upstream itself said of a whole answer is what estimates are made
 * from. */
static void
learn(const struct exchange *x, const struct ledger_attempt *a)
{
	const struct tap *t = &x->relay.tap;
	struct learned_sample s = {
	    .prompt_tokens = a->usage.input,
	    .answer_tokens = a->usage.output,
	};

	if (a->source != USAGE_UPSTREAM || !t->is_complete)
		return;
	if (x->facts.data_bytes == 0)
		s.prompt_bytes = x->body_len;
	if (!x->relay.is_coded)
		s.answer_bytes = t->text_bytes;
	s.answers = x->facts.n > UINT32_MAX ? 0 : (uint32_t)x->facts.n;
	learn_times(x, a, &s);
	s.uncached_tokens =
	    forecast_uncached(x, a->usage.input, a->usage.cached);
	learned_note(x->w->gateway->learned, x->route->upstream->name,
	    x->route->model, &s);
}

/* What the attempts at this route are charged by: the upstream's price, or, of
 * one that is free, the price of what it is compared with. */
static const struct price *
route_price(const struct exchange *x)
{
	if (x->route->upstream->is_paid)
		return price_at(&x->route->prices, x->arrived_ms);
	if (x->model->compare != NULL)
		return price_at(&x->model->compare->prices, x->arrived_ms);
	return NULL;
}

static int64_t
add_money(int64_t a, __int128 b)
{
	return a + b > INT64_MAX ? INT64_MAX : (int64_t)(a + b);
}

static void
note_spent(struct exchange *x, __int128 pusd)
{
	x->spent_pusd = add_money(x->spent_pusd, pusd);
	if (x->is_fallback)
		x->fallback_pusd = add_money(x->fallback_pusd, pusd);
}

void
attempt_close(struct exchange *x, const char *result)
{
	const struct price *price = route_price(x);
	struct ledger_attempt *a;

	if (x->is_attempt_closed || x->attempt_count == LEDGER_ATTEMPTS_MOST)
		return;
	x->is_attempt_closed = true;
	/* Of an answer that breaks off here, the open text counts. */
	relay_end_tap(x, true);
	a = &x->attempts[x->attempt_count++];
	a->upstream = x->route->upstream->name;
	a->result = result;
	a->source = read_usage(x, &a->usage);
	a->cost_pusd = a->source != USAGE_NONE && price != NULL &&
		x->route->upstream->is_paid
	    ? price_cost(price, &a->usage)
	    : 0;
	a->is_fallback = x->is_fallback;
	note_spent(x, a->cost_pusd);
	x->has_damaged_usage |= x->relay.tap.has_bad_count;
	learn(x, a);
}

/* The last attempt's counts are the line's; money is the sum over all. */
static void
fill_counts(struct exchange *x, struct ledger_line *line)
{
	const struct ledger_attempt *last;
	char *cost;

	line->usage_source = usage_source_name(USAGE_NONE);
	line->usage_damaged = x->has_damaged_usage;
	if (x->attempt_count == 0)
		return;
	for (size_t i = 0; i < x->attempt_count; i++)
		ledger_line_take_attempt(line, &x->attempts[i]);
	last = &x->attempts[x->attempt_count - 1];
	if (last->usage.cost_pusd < 0)
		return;
	cost = arena_alloc(&x->arena, MONEY_TEXT_BYTES);
	money_format(cost, last->usage.cost_pusd);
	line->upstream_cost_usd = cost;
}

/* What the same tokens would have cost on the model's first paid route. */
static void
fill_route(struct exchange *x, struct ledger_line *line)
{
	const struct route_config *r = x->route;
	const struct ledger_attempt *last;
	const struct price *price;
	char *date;

	if (r == NULL)
		return;
	line->upstream = r->upstream->name;
	line->upstream_model = r->model;
	line->paid = r->upstream->is_paid;
	price = route_price(x);
	if (price == NULL)
		return;
	if (line->paid && price->from_ms > 0) {
		date = arena_alloc(&x->arena, CLOCK_TEXT_BYTES);
		clock_format(date, price->from_ms);
		date[10] = '\0'; /* the day alone */
		line->price_date = date;
	} else if (!line->paid && x->attempt_count > 0) {
		last = &x->attempts[x->attempt_count - 1];
		if (last->source != USAGE_NONE)
			line->avoided_usd = price_cost(price, &last->usage);
	}
}

/* 0 for what came before a retry that was to get it. */
static int64_t
ms_since_arrival(const struct exchange *x, uint64_t at_ns)
{
	return at_ns < x->arrived_ns
	    ? 0
	    : (int64_t)((at_ns - x->arrived_ns) / NS_PER_MS);
}

static void
fill_line(struct exchange *x, const char *end, struct ledger_line *line)
{
	line->ts_ms = x->arrived_ms;
	line->user = x->user->name;
	line->model = x->model != NULL ? x->model->name : NULL;
	line->duration_ms = ms_since_arrival(x, clock_mono_ns());
	line->id = x->id;
	line->key = x->record != NULL ? x->record->id : NULL;
	line->api = api_name(x->api);
	line->stream = x->facts.is_stream;
	line->status = x->status;
	line->end = end;
	line->ttft_ms =
	    x->content_ns == 0 || x->status >= 300 || !api_may_stream(x->api)
	    ? -1 /* no token came */
	    : ms_since_arrival(x, x->content_ns);
	line->predicted_ttft_ms = x->forecast.ttft_ms;
	line->prefill = x->forecast.mark;
	line->joined_by = x->joined_by;
	line->queue_ms = (int64_t)(x->queued_ns / NS_PER_MS);
	line->bytes_in = (int64_t)x->body_len;
	line->bytes_out = (int64_t)x->bytes_out;
	if (x->has_rest && x->client != NULL)
		line->bytes_out += (int64_t)buf_len(&x->relay.held);
	line->client = x->user_agent;
	line->client_request_id = x->client_request_id;
	line->session = x->session;
	fill_counts(x, line);
	fill_route(x, line);
}

/* What the ledger gets if the gateway dies now. */
static void
mark(struct exchange *x, bool is_over)
{
	const struct price *price = route_price(x);
	struct ledger_line draft = {0};
	struct slot_rates rates = {
	    .is_over = is_over,
	    .is_counted = x->api != API_COUNT_TOKENS,
	    .has_price = price != NULL,
	    .input_estimate = x->estimate.input,
	    .tokens_a_mb = x->estimate.guess.tokens_a_mb,
	    .is_fallback = x->is_fallback,
	};

	if (price != NULL)
		rates.price = *price;
	fill_line(x, LEDGER_END_CRASHED, &draft);
	slot_mark_sent(x->slot, &draft, &rates, &x->w->line);
}

void
settle_mark_sent(struct exchange *x)
{
	mark(x, false);
}

void
settle_mark_failed(struct exchange *x)
{
	if (x->slot != NULL && slot_state(x->slot) == SLOT_SENT)
		mark(x, true);
}

void
settle_note(struct exchange *x)
{
	const struct tap *t = &x->relay.tap;

	if (x->slot == NULL || x->has_ended)
		return;
	slot_note(x->slot,
	    &(struct slot_progress){
		.usage = t->usage,
		.source = t->source,
		.uncounted_bytes = uncounted_bytes(t),
		.elapsed_ms = ms_since_arrival(x, x->relay.last_byte_ns),
	    });
}

uint64_t
settle(struct exchange *x, enum end e)
{
	struct ledger *ledger = x->w->gateway->ledger;
	struct ledger_line line = {0};
	struct slot *slot = x->slot;

	/* While nothing can be written, refusals would pile up in memory; and
	 * nothing was served. */
	if (slot == NULL && x->attempt_count == 0 &&
	    !ledger_is_writable(ledger))
		return 0;
	fill_line(x, end_facts(e)->text, &line);
	x->slot = NULL;
	return ledger_add(ledger, slot, &line, &x->w->line);
}
