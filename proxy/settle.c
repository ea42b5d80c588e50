/*
 * settle.c - what the exchange cost, written down once, whatever happened.
 */
#include "base/clock.h"
#include "proxy/exchange.h"

#include "base/banned.h"

/* Bytes of text that are taken for a token when nobody says. */
#define BYTES_A_TOKEN 4

/* The price in force at arrival; before the first one begins, that one: nothing
 * that costs money is ever free.  NULL for what is free. */
static const struct price *
price_of(const struct exchange *x, const struct price_list *l)
{
	const struct price *p = price_at(l, x->arrived_ms);

	for (size_t i = 0; p == NULL && i < l->count; i++)
		p = price_at(l, l->prices[i].from_ms);
	return p;
}

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

/* The counts of the attempt that has just ended.  What the upstream said is
 * taken if its answer was whole; else, and if it said nothing, the bytes seen
 * are counted.  No connection, or an error that names no usage, cost nothing.
 */
static enum usage_source
read_usage(const struct exchange *x, struct usage *u)
{
	const struct tap *t = &x->relay.tap;
	bool has_worked = may_have_worked(x);
	int64_t input, output;

	*u = USAGE_UNKNOWN;
	if (x->api == API_COUNT_TOKENS)
		return USAGE_NONE;
	if (usage_is_known(&t->usage) &&
	    (!x->facts.is_stream || t->is_complete || !has_worked)) {
		*u = t->usage;
		if (u->input >= 0 && u->output >= 0)
			return t->source;
	}
	if (!has_worked && !usage_is_known(u))
		return USAGE_NONE;
	input = (int64_t)((x->body_len - x->facts.data_bytes) / BYTES_A_TOKEN);
	output = (int64_t)(t->text_bytes / BYTES_A_TOKEN);
	u->input = t->usage.input >= 0 ? t->usage.input : input;
	u->output = t->usage.output > output ? t->usage.output : output;
	return USAGE_ESTIMATED;
}

void
attempt_close(struct exchange *x, const char *result)
{
	const struct price *price = price_of(x, &x->route->prices);
	struct ledger_attempt *a;

	if (x->attempt_count == LEDGER_ATTEMPTS_MOST)
		return;
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
}

static int64_t
count(int64_t n)
{
	return n < 0 ? 0 : n;
}

/* The last attempt's counts are the line's; money is the sum over all. */
static void
fill_counts(const struct exchange *x, struct ledger_line *line)
{
	const struct ledger_attempt *last;

	line->usage_source = usage_source_name(USAGE_NONE);
	if (x->attempt_count == 0)
		return;
	last = &x->attempts[x->attempt_count - 1];
	line->usage_source = usage_source_name(last->source);
	line->prompt_tokens = count(last->usage.input);
	line->completion_tokens = count(last->usage.output);
	line->cached_tokens = count(last->usage.cached);
	line->cache_write_tokens = count(last->usage.cache_write);
	line->reasoning_tokens = count(last->usage.reasoning);
	line->audio_tokens = count(last->usage.audio);
	for (size_t i = 0; i < x->attempt_count; i++) {
		line->attempts[i] = x->attempts[i];
		line->cost_usd += x->attempts[i].cost_pusd;
	}
	line->attempt_count = x->attempt_count;
}

/* What the same tokens would have cost on the model's first paid route. */
static void
fill_route(struct exchange *x, struct ledger_line *line)
{
	const struct route_config *r = x->route;
	const struct price *price;
	char *date;

	if (r == NULL)
		return;
	line->upstream = r->upstream->name;
	line->upstream_model = r->model;
	line->paid = r->upstream->is_paid;
	if (line->paid) {
		price = price_of(x, &r->prices);
		if (price == NULL)
			return;
		date = arena_alloc(&x->arena, CLOCK_TEXT_BYTES);
		clock_format(date, price->from_ms);
		date[10] = '\0'; /* the day alone */
		line->price_date = date;
	} else if (x->model->compare != NULL && x->attempt_count > 0 &&
	    x->attempts[x->attempt_count - 1].source != USAGE_NONE) {
		price = price_of(x, &x->model->compare->prices);
		if (price != NULL)
			line->avoided_usd = price_cost(
			    price, &x->attempts[x->attempt_count - 1].usage);
	}
}

void
settle(struct exchange *x, enum end e)
{
	struct ledger_line line = {0};
	uint64_t now = clock_mono_ns();

	line.ts_ms = x->arrived_ms;
	line.user = x->user->name;
	line.model = x->model != NULL ? x->model->name : NULL;
	line.duration_ms = (int64_t)((now - x->arrived_ns) / NS_PER_MS);
	line.id = x->id;
	line.key = x->record != NULL ? x->record->id : NULL;
	line.api = api_name(x->api);
	line.stream = x->facts.is_stream;
	line.status = x->status;
	line.end = end_facts(e)->text;
	line.ttft_ms = x->content_ns == 0 || x->status >= 300
	    ? -1
	    : (int64_t)((x->content_ns - x->arrived_ns) / NS_PER_MS);
	line.bytes_in = (int64_t)x->body_len;
	line.bytes_out = (int64_t)x->bytes_out;
	line.client = x->user_agent;
	line.client_request_id = x->client_request_id;
	line.session = x->session;
	fill_counts(x, &line);
	fill_route(x, &line);
	ledger_add(x->w->gateway->ledger, &line);
}
