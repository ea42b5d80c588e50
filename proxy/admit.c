/*
 * admit.c - may this user ask this, now?  The address and the key were judged
 * before the body was read; here are the model and the limits, cheapest first.
 * A refusal never reaches an upstream and says what to do next.
 */
#include <stdio.h>

#include "base/clock.h"
#include "proxy/exchange.h"
#include "proxy/kept.h"
#include "proxy/models.h"
#include "proxy/refusal.h"

#include "base/banned.h"

#define MODEL_TOLD_MOST_BYTES 256 /* a longer name is not repeated */

static enum next
refuse_model(struct exchange *x)
{
	struct buf text = {0};
	enum next over;

	if (!x->facts.has_model) {
		buf_puts(&text, "The body names no \"model\".");
	} else if (x->facts.model.len <= MODEL_TOLD_MOST_BYTES &&
	    text_is_clean_utf8(x->facts.model.p, x->facts.model.len)) {
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

static void
add_subject(struct exchange *x, struct gate_account *account,
    const struct limits *limits)
{
	x->subjects[x->subject_count++] =
	    (struct gate_subject){account, limits};
}

/* Whose limits count: the user's, the user's own for this model, the key's. */
static void
find_subjects(struct exchange *x)
{
	const struct user_config *u = x->user;
	const struct snapshot *s = x->snapshot;
	const struct user_model_limits *at = user_limits_at(u, x->model);

	add_subject(
	    x, s->users[u->index], at == NULL ? &u->limits : &at->beside);
	if (at != NULL)
		add_subject(
		    x, s->at_models[u->index][at - u->at_models], &at->own);
	if (x->record != NULL && x->record->limits.stated != 0)
		add_subject(x,
		    gate_account(
			x->w->gateway->gate, SUBJECT_KEY, x->record->id, NULL),
		    &x->record->limits);
}

/* The most tokens that are set aside for the answer. */
static uint32_t
reserve_cap(const struct exchange *x)
{
	const struct limits *last = x->subjects[x->subject_count - 1].limits;

	if ((last->stated & STATED_RESERVE_CAP) != 0)
		return last->reserve_cap;
	return x->subjects[0].limits->reserve_cap;
}

/* By the limits that the claim was taken under, overrides included. */
static bool
may_pay(const struct exchange *x)
{
	bool pays = false;

	for (size_t i = 0; i < x->claim.count; i++) {
		const struct limits *l = &x->claim.holds[i].limits;

		if (i == 0 || (l->stated & STATED_PAID_ROUTES) != 0)
			pays = l->paid_routes;
	}
	return pays;
}

enum next
admit_take(struct exchange *x)
{
	struct refusal why;
	size_t refused;

	if (!gate_admit(x->w->gateway->gate, x->subjects, x->subject_count,
		&x->ask, clock_mono_ns(), x->arrived_ms, &x->claim, &x->quotas,
		&why, &refused))
		return refusal_end(x, &why, refused);
	x->pays = may_pay(x);
	x->step = x->shared == NULL ? STEP_SHARE : STEP_ROUTE;
	return NEXT;
}

static enum next
take_limits(struct exchange *x)
{
	uint32_t cap;

	find_subjects(x);
	cap = reserve_cap(x);
	estimate_make(x, &x->model->routes[0]);
	x->ask.is_counting = x->api == API_COUNT_TOKENS;
	x->ask.input = x->estimate.input;
	x->ask.output = x->estimate.output < cap ? x->estimate.output : cap;
	return admit_take(x);
}

enum next
step_admit(struct exchange *x)
{
	struct gateway *g = x->w->gateway;
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
	switch (kept_join(x)) {
	case KEPT_JOINED:
		return OVER;
	case KEPT_MOVED:
		return WAIT;
	case KEPT_NONE:
		break;
	}
	return take_limits(x);
}
