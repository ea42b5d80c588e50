/*
 * route.c - where to: the model's routes in order, each if it may be taken
 * after what happened before it, if the user may spend what it costs, and if a
 * place is free.
 */
#include <stdarg.h>
#include <stdio.h>

#include "proxy/exchange.h"

#include "base/banned.h"

/* Every route that was left costs money, or the list is at its end. */
static enum next
no_route_left(struct exchange *x)
{
	const char *paid =
	    x->paid_refused == NULL ? NULL : x->paid_refused->name;
	char text[512];

	if (x->failure.when == 0) {
		snprintf(text, sizeof text,
		    "The model %s is served by %s alone, which costs money, "
		    "and %s has no paid_routes.",
		    x->model->name, paid, x->user->name);
		return exchange_end(x, END_PAID_REFUSED, text);
	}
	if (paid != NULL)
		snprintf(text, sizeof text,
		    "%s; the next route (%s) costs money and %s has no "
		    "paid_routes.",
		    x->failure.text, paid, x->user->name);
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

enum next
step_route(struct exchange *x)
{
	while (x->next_route < x->model->route_count &&
	    x->routes_tried < EXCHANGE_ATTEMPTS_MOST) {
		const struct route_config *r =
		    &x->model->routes[x->next_route++];

		if (!may_follow(x, r))
			continue;
		if (r->upstream->is_paid && !x->user->paid_routes) {
			if (x->paid_refused == NULL)
				x->paid_refused = r->upstream;
			continue;
		}
		x->route = r;
		x->routes_tried++;
		x->was_retried = false;
		x->step = STEP_GATE;
		return NEXT;
	}
	return no_route_left(x);
}

enum next
step_gate(struct exchange *x)
{
	const struct upstream_config *up = x->route->upstream;

	switch (gate_take_slot(x->w->gateway->gate,
	    x->snapshot->upstreams[up->index], up->max_inflight)) {
	case GATE_OK:
		x->has_slot = true;
		x->step = STEP_FORWARD;
		return NEXT;
	case GATE_FULL:
	case GATE_RATE:
	case GATE_CONCURRENT:
		break;
	}
	return attempt_failed(x, WHEN_503 | WHEN_FULL, END_FULL, "full",
	    "%s has all of its %u places taken", up->name, up->max_inflight);
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
	if (x->has_slot)
		gate_give_slot(x->w->gateway->gate,
		    x->snapshot->upstreams[x->route->upstream->index]);
	x->has_slot = false;
	x->failure.when = when;
	x->failure.end = e;
	x->failure.result = result;
	x->failure.text = arena_printf(&x->arena, "%s", text);
	if (x->first_result == NULL)
		x->first_result = result;
	x->step = STEP_ROUTE;
	return NEXT;
}
