/*
 * admit.c - may this user ask this, now?  The address and the key were judged
 * before the body was read; here are the model and the limits, cheapest first.
 * A refusal never reaches an upstream and says what to do next.
 */
#include <stdio.h>

#include "base/clock.h"
#include "proxy/exchange.h"
#include "proxy/models.h"

#include "base/banned.h"

static enum next
refuse_model(struct exchange *x)
{
	struct buf text = {0};
	enum next over;

	if (!x->facts.has_model) {
		buf_puts(&text, "The body names no \"model\".");
	} else if (text_is_clean_utf8(x->facts.model.p, x->facts.model.len)) {
		buf_printf(&text, "There is no model '%.*s' for this key.",
		    (int)x->facts.model.len, x->facts.model.p);
	} else {
		buf_puts(&text, "There is no such model for this key.");
	}
	models_write_names(x->user, x->record, x->snapshot->config, &text);
	buf_put(&text, "", 1);
	over = exchange_end(x, END_MODEL_UNKNOWN, buf_data(&text));
	buf_release(&text);
	return over;
}

static enum next
refuse_limit(struct exchange *x, enum gate_verdict verdict)
{
	char wait[CLOCK_TEXT_BYTES], text[256];

	if (verdict == GATE_RATE && x->quota.wait_ns == LIMITER_NEVER) {
		x->quota.wait_ns = 60 * NS_PER_SECOND;
		snprintf(text, sizeof text,
		    "%s may make 0 requests a minute. Ask the gateway's owner "
		    "for more.",
		    x->user->name);
		return exchange_end(x, END_RATE_LIMITED, text);
	}
	if (verdict == GATE_RATE) {
		duration_format(wait, x->quota.wait_ns / NS_PER_MS + 1);
		snprintf(text, sizeof text,
		    "%s has made %u requests in a minute, which is the limit; "
		    "the next one may come in %s.",
		    x->user->name, x->quota.limit, wait);
		return exchange_end(x, END_RATE_LIMITED, text);
	}
	snprintf(text, sizeof text,
	    "%s has %u requests under way, which is the limit; wait until one "
	    "of them has ended.",
	    x->user->name, x->user->concurrent);
	return exchange_end(x, END_CONCURRENT, text);
}

enum next
step_admit(struct exchange *x)
{
	struct gateway *g = x->w->gateway;
	enum gate_verdict verdict;
	struct fault why;

	if (x->w->is_draining)
		return exchange_end(x, END_DRAINING, "");
	if (!ledger_is_writable(g->ledger))
		return exchange_end(x, END_LEDGER_DOWN, "");
	if (!body_scan(buf_data(&x->body), buf_len(&x->body), &x->arena,
		&x->facts, &why))
		return exchange_end(x, END_BODY_INVALID, why.text);
	if (!api_may_stream(x->api))
		x->facts.is_stream = false;
	x->model = config_model(x->snapshot->config, x->facts.model);
	if (x->model == NULL || !models_may_use(x->user, x->record, x->model)) {
		x->model = NULL;
		return refuse_model(x);
	}
	verdict = gate_user_enter(g->gate, x->snapshot->users[x->user->index],
	    x->user->requests, x->user->concurrent, clock_mono_ns(), &x->quota);
	if (verdict != GATE_OK)
		return refuse_limit(x, verdict);
	x->has_entered = true;
	x->step = STEP_ROUTE;
	return NEXT;
}
