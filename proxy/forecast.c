#include "proxy/forecast.h"

#include <string.h>

#include "base/clock.h"
#include "metering/learned.h"
#include "proxy/exchange.h"

#include "base/banned.h"

/* Members that the model reads, in the order in which servers put them
 * together. */
static const char *const parts[] = {
    "tools", "system", "instructions", "messages", "prompt", "input"};

static void
read_prompt(struct exchange *x)
{
	struct slice text[COUNT_OF(parts)];
	size_t count = 0;

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		const struct body_member *m = body_member(&x->facts, parts[i]);

		if (m != NULL)
			text[count++] =
			    (struct slice){buf_data(&x->body) + m->value_begin,
				m->value_end - m->value_begin};
	}
	prefix_read(x->w->gateway->prefixes, text, count, &x->forecast.prompt);
	x->forecast.has_prompt = true;
}

uint64_t
forecast_known_bytes(
    struct exchange *x, const struct route_config *r, uint64_t prompt_bytes)
{
	struct forecast *f = &x->forecast;
	uint64_t known;

	if (x->model->prefill == PREFILL_OFF || !api_has_output(x->api))
		return 0;
	f->knows_prefix = false;
	f->is_looked_at = true;
	if (prompt_bytes < PREFIX_BLOCK_BYTES)
		return 0; /* nothing that is remembered begins like it */
	if (!f->has_prompt)
		read_prompt(x);
	known = prefix_look(x->w->gateway->prefixes, x->user->name,
	    r->upstream->name, &f->prompt);
	f->knows_prefix = known > 0;
	return known < prompt_bytes ? known : prompt_bytes;
}

/* The queue before it included. */
static void
predict(struct exchange *x)
{
	const struct estimate *e = &x->estimate;
	struct gate_outlook o;

	x->forecast.ttft_ms = -1;
	if (e->guess.ttft_ms == 0)
		return;
	gate_outlook(x->w->gateway->gate,
	    x->snapshot->upstreams[e->route->upstream->index], NULL,
	    clock_mono_ns(), &o);
	x->forecast.ttft_ms = (int64_t)e->guess.ttft_ms;
	if (o.wait_ns != UINT64_MAX)
		x->forecast.ttft_ms += (int64_t)(o.wait_ns / NS_PER_MS);
}

/* Whose limit the forecast is over, and how it is raised, with @ for how long
 * it is; NULL: nobody's. */
static const char *
limit_passed(struct exchange *x)
{
	struct forecast *f = &x->forecast;
	uint64_t ttft = (uint64_t)f->ttft_ms;
	uint64_t first_token = x->estimate.route->upstream->first_token_ms;
	/* Signs of life make a client's own time-out begin anew. */
	bool is_silent = !x->facts.is_stream || x->model->keepalive_ms == 0;

	f->limit_ms = x->max_ttft_ms;
	if (x->max_ttft_ms > 0 && ttft > x->max_ttft_ms)
		return "the client waits @ (x-weir-max-ttft): raise that";
	f->limit_ms = x->patience_ms;
	if (is_silent && x->patience_ms > 0 && ttft > x->patience_ms)
		return "the client waits @ (its timeout): raise that, stream";
	f->limit_ms = first_token;
	if (x->estimate.guess.ttft_ms > first_token)
		return "it may take @ there (timeouts.first_token): raise that";
	f->limit_ms = 0;
	return NULL;
}

static void
put_limit(struct buf *to, const char *limit, const char *time)
{
	const char *at = strchr(limit, '@');

	buf_put(to, limit, (size_t)(at - limit));
	buf_puts(to, time);
	buf_puts(to, at + 1);
}

static const char *
sentence(struct exchange *x, const char *limit)
{
	const struct estimate *e = &x->estimate;
	const struct forecast *f = &x->forecast;
	const char *name = e->route->upstream->name, *copy;
	uint64_t rate =
	    learned_prefill_rate(x->w->gateway->learned, name, e->route->model);
	char time[CLOCK_TEXT_BYTES];
	struct buf text = {0};

	buf_printf(&text, "this prompt for %s has about ", x->model->name);
	buf_put_count(&text, (uint64_t)e->input);
	buf_printf(&text, " tokens, of which %s must read about ", name);
	buf_put_count(&text, (uint64_t)e->guess.uncached);
	buf_puts(&text, " at about ");
	buf_put_count(&text, (rate + 999) / 1000);
	duration_format(time, (uint64_t)f->ttft_ms);
	buf_printf(&text,
	    " tokens/s: its first token is expected after %s, and ", time);
	duration_format(time, f->limit_ms);
	put_limit(&text, limit, time);
	buf_puts(&text, ", or shorten the prompt");
	copy = arena_strndup(&x->arena, buf_data(&text), buf_len(&text));
	buf_release(&text);
	return copy;
}

bool
forecast_allows(struct exchange *x, const char **text)
{
	struct forecast *f = &x->forecast;
	const char *limit;

	f->mark = NULL;
	if (x->model->prefill == PREFILL_OFF || !api_has_output(x->api))
		return true;
	predict(x);
	if (f->ttft_ms < 0 || (limit = limit_passed(x)) == NULL)
		return true;
	f->mark = x->model->prefill == PREFILL_REFUSE ? "refused" : "warned";
	if (x->model->prefill != PREFILL_REFUSE)
		return true;
	*text = sentence(x, limit);
	return false;
}

void
forecast_note_read(struct exchange *x)
{
	if (x->forecast.has_prompt)
		prefix_remember(x->w->gateway->prefixes, x->user->name,
		    x->route->upstream->name, &x->forecast.prompt);
}

int64_t
forecast_uncached(const struct exchange *x, int64_t input, int64_t cached)
{
	const struct forecast *f = &x->forecast;

	if (input < 0)
		return -1;
	if (cached >= 0)
		return input > cached ? input - cached : 0;
	return f->is_looked_at && !f->knows_prefix ? input : -1;
}

void
forecast_release(struct forecast *f)
{
	prefix_mark_release(&f->prompt);
	f->has_prompt = false;
}
