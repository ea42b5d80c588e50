/*
 * route.c - where to: the model's routes in order, each if it may be taken
 * after what happened before it, and if the user may spend what it costs.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "proxy/agree.h"
#include "proxy/exchange.h"
#include "proxy/refusal.h"

#include "base/banned.h"

/* No route is left but such as cost money that may not be spent. */
static enum next
all_cost_money(struct exchange *x)
{
	const char *paid = x->paid_refused->name;
	char text[1024];

	if (x->paid_text != NULL)
		snprintf(text, sizeof text, "%s costs money: %s", paid,
		    x->paid_text);
	else
		snprintf(text, sizeof text,
		    "The model %s is served by %s alone, which costs money, "
		    "and %s has no paid_routes.",
		    x->model->name, paid, x->user->name);
	return exchange_end(
	    x, x->paid_text != NULL ? x->paid_end : END_PAID_REFUSED, text);
}

/* Every route that was left costs money, or the list is at its end. */
static enum next
no_route_left(struct exchange *x)
{
	const struct upstream_config *paid = x->paid_refused;
	char text[1024];

	if (x->failure.when == 0)
		return all_cost_money(x);
	if (paid != NULL && x->paid_text != NULL)
		snprintf(text, sizeof text,
		    "%s; the next route (%s) costs money, and %s",
		    x->failure.text, paid->name, x->paid_text);
	else if (paid != NULL)
		snprintf(text, sizeof text,
		    "%s; the next route (%s) costs money and %s has no "
		    "paid_routes.",
		    x->failure.text, paid->name, x->user->name);
	else
		snprintf(text, sizeof text, "%s%s.", x->failure.text,
		    x->routes_tried > 1 ? ", the last route that was left"
					: "");
	return exchange_end(x, x->failure.end, text);
}

/* The first route that is taken needs no reason; every later one must name what
 * happened before it. */
static bool
may_follow(const struct exchange *x, const struct route_config *r)
{
	return x->failure.when == 0 || (r->when & x->failure.when) != 0;
}

/* --- money --------------------------------------------------------------- */

/* Holds what the request may have cost in the end, if it fits. */
static bool
hold_money(struct exchange *x, const struct route_config *r, int64_t pusd,
    struct refusal *why, size_t *refused)
{
	const struct gate_subject everyone = {
	    x->snapshot->everyone, &x->snapshot->config->everyone};
	int64_t all;

	if (__builtin_add_overflow(x->spent_pusd, pusd, &all))
		all = INT64_MAX;
	return gate_pay(x->w->gateway->gate, &x->claim, &everyone, all,
	    r->upstream->is_paid && x->has_failed_free, x->arrived_ms, why,
	    refused);
}

/* Gives back what the route would have cost. */
static void
let_money_go(struct exchange *x, const struct route_config *r)
{
	struct refusal why;
	size_t refused;

	(void)!hold_money(x, r, 0, &why, &refused);
}

/* The route costs money that may not be spent; the first such is told. */
static void
note_refused(struct exchange *x, const struct route_config *r, enum end e,
    const char *text)
{
	if (x->paid_refused != NULL)
		return;
	x->paid_refused = r->upstream;
	x->paid_end = e;
	x->paid_text = text;
	x->retry_ns = HELD_RETRY_NS;
}

void
route_refuse_money(struct exchange *x, const struct route_config *r,
    const struct refusal *why, size_t subject)
{
	struct buf text = {0};

	refusal_write(x, why, subject, &text);
	note_refused(x, r, refusal_kind(why),
	    arena_strndup(&x->arena, buf_data(&text), buf_len(&text)));
	buf_release(&text);
	let_money_go(x, r);
	x->step = STEP_ROUTE;
}

void
route_refuse_unverified(struct exchange *x, const struct route_config *r)
{
	note_refused(x, r, END_UNVERIFIED,
	    "what has been spent on all gateways together cannot be checked "
	    "now, because Redis does not say.");
	let_money_go(x, r);
	x->step = STEP_ROUTE;
}

/* False if it costs money that this gateway knows may not be spent. */
static bool
take_money(struct exchange *x, const struct route_config *r)
{
	struct refusal why;
	size_t refused;

	estimate_make(x, r);
	x->price_pusd = 0;
	if (!r->upstream->is_paid || x->api == API_COUNT_TOKENS)
		return true;
	x->price_pusd = estimate_cost(x);
	if (!x->pays)
		note_refused(x, r, END_PAID_REFUSED, NULL);
	else if (hold_money(x, r, x->price_pusd, &why, &refused))
		return true;
	else
		route_refuse_money(x, r, &why, refused);
	return false;
}

/* Whether the route could be paid for now; holds nothing more than before. */
static bool
could_pay(struct exchange *x, const struct route_config *r)
{
	bool had_failed_free = x->has_failed_free, fits;
	const struct route_config *now = x->route;
	struct refusal why;
	size_t refused;

	if (!r->upstream->is_paid)
		return true;
	if (!x->pays)
		return false;
	/* It would be taken because this one has failed. */
	x->has_failed_free |= !x->route->upstream->is_paid;
	estimate_make(x, r);
	fits = hold_money(x, r, estimate_cost(x), &why, &refused);
	estimate_make(x, now);
	x->has_failed_free = had_failed_free;
	/* The route that it waits at may cost money, too: that stays held. */
	if (fits)
		(void)!hold_money(x, now, x->price_pusd, &why, &refused);
	return fits;
}

bool
route_is_named(const struct exchange *x, unsigned when)
{
	if (x->routes_tried >= EXCHANGE_ATTEMPTS_MOST)
		return false;
	for (size_t i = x->next_route; i < x->model->route_count; i++)
		if ((x->model->routes[i].when & when) != 0)
			return true;
	return false;
}

bool
route_may_follow(struct exchange *x, unsigned when)
{
	if (x->routes_tried >= EXCHANGE_ATTEMPTS_MOST)
		return false;
	for (size_t i = x->next_route; i < x->model->route_count; i++)
		if ((x->model->routes[i].when & when) != 0 &&
		    could_pay(x, &x->model->routes[i]))
			return true;
	return false;
}

/* --- the step ------------------------------------------------------------ */

/* Whether the first token can come in time there; else this route has failed
 * without being asked, and any other may follow. */
static bool
can_begin(struct exchange *x, const struct route_config *r)
{
	const char *text;

	if (forecast_allows(x, &text))
		return true;
	let_money_go(x, r);
	x->has_failed_free |= !r->upstream->is_paid;
	x->failure =
	    (struct failure){WHEN_ANYTHING, END_PREFILL, "prefill", text};
	if (x->first_result == NULL)
		x->first_result = x->failure.result;
	return false;
}

void
route_take(struct exchange *x, const struct route_config *r)
{
	x->route = r;
	x->is_fallback = r->upstream->is_paid && x->has_failed_free;
	x->routes_tried++;
	x->was_retried = false;
	x->step = STEP_GATE;
}

enum next
step_route(struct exchange *x)
{
	while (x->next_route < x->model->route_count &&
	    x->routes_tried < EXCHANGE_ATTEMPTS_MOST) {
		const struct route_config *r =
		    &x->model->routes[x->next_route++];

		if (!may_follow(x, r) || !take_money(x, r) || !can_begin(x, r))
			continue;
		x->candidate = r;
		x->step = STEP_PAY;
		return NEXT;
	}
	return no_route_left(x);
}

static void
unpay(struct exchange *x)
{
	let_money_go(x, x->route);
	agree_unpay(x);
}

enum next
attempt_failed(struct exchange *x, unsigned when, enum end e,
    const char *result, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (x->client == NULL) /* for whom should another one be asked? */
		return exchange_end(x, END_CLIENT_GONE, "");
	attempt_close(x, result);
	settle_mark_failed(x);
	relay_reset(x);
	upconn_close(&x->up);
	queue_leave(x, 0);
	x->is_attempt_closed = false;
	if (!x->route->upstream->is_paid)
		x->has_failed_free = true;
	else if (x->api != API_COUNT_TOKENS)
		unpay(x);
	x->failure.when = when;
	x->failure.end = e;
	x->failure.result = result;
	x->failure.text = arena_printf(&x->arena, "%s", text);
	if (x->first_result == NULL)
		x->first_result = result;
	x->step = STEP_ROUTE;
	return NEXT;
}
