#include "proxy/estimate.h"

#include "proxy/exchange.h"

#include "base/banned.h"

#define MEGA UINT64_C(1000000)

static int64_t
times(uint64_t n, uint64_t tokens)
{
	uint64_t all;

	if (__builtin_mul_overflow(n, tokens, &all) || all > USAGE_MOST_TOKENS)
		return USAGE_MOST_TOKENS;
	return (int64_t)all;
}

void
estimate_make(struct exchange *x, const struct route_config *r)
{
	const struct body_facts *f = &x->facts;
	struct estimate *e = &x->estimate;
	uint64_t bytes = x->body_len - f->data_bytes;

	if (e->route == r)
		return;
	*e = (struct estimate){.route = r};
	learned_guess(x->w->gateway->learned, r->upstream->name, r->model,
	    bytes, forecast_known_bytes(x, r, bytes), &e->guess);
	e->input = e->guess.input;
	if (!api_has_output(x->api))
		return;
	e->expected = times(f->n, (uint64_t)e->guess.output_p95);
	e->output = e->expected;
	if (f->max_tokens > 0)
		e->output = times(f->n, f->max_tokens);
	if (e->output < e->expected)
		e->expected = e->output;
}

int64_t
estimate_cost(const struct exchange *x)
{
	return estimate_cost_of(x, x->estimate.output);
}

int64_t
estimate_cost_of(const struct exchange *x, int64_t output)
{
	const struct estimate *e = &x->estimate;
	const struct price *price = price_at(&e->route->prices, x->arrived_ms);
	struct usage u = USAGE_UNKNOWN;
	__int128 pusd;

	if (!e->route->upstream->is_paid || price == NULL)
		return 0;
	u.input = e->input;
	u.output = output;
	pusd = price_cost(price, &u);
	return pusd > INT64_MAX ? INT64_MAX : (int64_t)pusd;
}

int64_t
estimate_output(const struct estimate *e, uint64_t text_bytes)
{
	uint64_t tokens;

	if (__builtin_mul_overflow(
		text_bytes, (uint64_t)e->guess.tokens_a_mb, &tokens))
		return USAGE_MOST_TOKENS;
	tokens = (tokens + MEGA - 1) / MEGA;
	return tokens > USAGE_MOST_TOKENS ? USAGE_MOST_TOKENS : (int64_t)tokens;
}
