#include "conn_inner.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "control.h"
#include "reqlog.h"

#define SLOW_READ_US 20000

/* So that an id is like no other number in an answer. */
static _Atomic uint64_t next_id = 100001;

/* The answer to what was no proper request; the connection ends after it. */
static enum step
answer_bad(struct conn *c, int status, const char *message)
{
	struct plan_facts f = {
	    .server = c->w->server, .route = c->route, .is_kept = false};

	stats_add(STAT_requests_bad, 1);
	answer_reset(&c->a);
	api_error(&c->a.close, kind_default(), ROUTE_chat, status, message);
	plan_plain(&c->a, &f, status, "application/json");
	return conn_start_answer(c);
}

/* A connection that begins with the control's request is not to be counted. */
static void
uncount(struct conn *c)
{
	if (!c->is_counted || c->served > 0)
		return;
	c->is_counted = false;
	stats_sub(STAT_connections_accepted, 1);
	stats_sub(STAT_connections_open, 1);
}

/* Answers the control's requests and the GETs, from a->close. */
static void
plan_simple(struct conn *c, struct plan_facts *f, struct text body)
{
	const char *type = "application/json";
	struct bytes *b = &c->a.close;
	int status = c->d.health > 0 ? (int)c->d.health : 200;

	if (c->route == ROUTE_CONTROL) {
		stats_add(STAT_requests_control, 1);
		status = control_serve(b, c->w->server, &c->rq, body);
	} else if (c->route == ROUTE_metrics) {
		type = "text/plain; version=0.0.4";
		bytes_puts(b,
		    "# TYPE mock_secret_of_the_upstream gauge\n"
		    "mock_secret_of_the_upstream 42\n");
		status = 200;
	} else if (status >= 400) {
		api_error(
		    b, c->d.kind, c->route, status, "The mock is unwell.");
	} else if (c->route == ROUTE_health) {
		bytes_puts(b, "{\"status\":\"ok\"}");
	} else {
		api_models(b, f->server->models, f->server->n_models,
		    (int64_t)time(NULL));
	}
	plan_plain(&c->a, f, status, type);
	if (c->route != ROUTE_CONTROL)
		stats_count_status(status);
}

/* A request is here completely. */
static enum step
serve(struct conn *c)
{
	struct text body = request_body(&c->rq, &c->in);
	struct plan_facts f = {
	    .server = c->w->server,
	    .body = body.p,
	    .body_n = body.n,
	    .id = c->id,
	    .route = c->route,
	    .is_kept = c->rq.is_kept,
	    .is_http10 = c->rq.is_http10,
	    .has_query = memchr(c->rq.target.p, '?', c->rq.target.n) != NULL,
	    .is_chunked = c->rq.is_chunked,
	};
	bool is_log = c->w->server->has_log && c->route != ROUTE_CONTROL;

	conn_set_reading(c, true);
	answer_reset(&c->a);
	stats_count_route(c->route);
	if (c->route != ROUTE_CONTROL)
		c->served++;
	if (is_log)
		reqlog_add(c->id, &c->rq, body, c->route);
	if (c->is_in_flight) {
		stats_add(STAT_served, 1);
		plan_api(&c->a, &c->d, &f);
	} else {
		plan_simple(c, &f, body);
		if (is_log)
			reqlog_end(
			    c->id, &c->a, FAULT_none, "finished", 0, false);
	}
	if (c->d.drop_reused > 0)
		c->must_drop_reused = true;
	request_take_body(&c->rq, &c->in);
	return conn_start_answer(c);
}

static bool
is_post_route(enum route r)
{
	return r < ROUTE_NONE && r != ROUTE_models && r != ROUTE_health &&
	    r != ROUTE_metrics;
}

/* The head is here: what must be known before the body comes. */
static enum step
begin_request(struct conn *c)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct text t = c->rq.target;
	const char *query = memchr(t.p, '?', t.n);
	char why[512];

	if (query != NULL)
		t.n = (size_t)(query - t.p);
	c->route = control_is_target(t)
	    ? ROUTE_CONTROL
	    : stats_find_route(c->rq.method.p, c->rq.method.n, t.p, t.n);
	if (c->route == ROUTE_CONTROL)
		uncount(c);
	if (c->route == ROUTE_NONE)
		return answer_bad(c, 404, "Not Found");
	c->id = atomic_fetch_add(&next_id, 1);
	directives_defaults(&c->d, is_post_route(c->route));
	if (!directives_apply(&c->d, c->rq.mock.p, c->rq.mock.n, SCOPE_REQUEST,
		why, sizeof why))
		return answer_bad(c, 400, why);
	if (is_post_route(c->route) && c->served > 0 &&
	    (c->must_drop_reused || c->d.drop_reused > 0)) {
		stats_add(STAT_dropped_reused, 1);
		return conn_end(c, ENDING_FAULT, ACT_CLOSE);
	}
	if (is_post_route(c->route)) {
		c->is_in_flight = true;
		stats_peak(STAT_in_flight, STAT_max_in_flight);
	}
	if (c->rq.wants_continue && c->rq.length > c->in.n)
		(void)conn_transmit(c, go_on, sizeof go_on - 1);
	c->phase = PHASE_BODY;
	return STEP_AGAIN;
}

/* The body is to be read slowly, or not at all. */
static void
slow_down(struct conn *c)
{
	if (c->d.slow_read == 0)
		return;
	conn_set_reading(c, false);
	if (c->d.slow_read == 1)
		conn_arm(c, SLOW_READ_US);
}

enum step
conn_step_head(struct conn *c)
{
	switch (request_head(&c->rq, &c->in)) {
	case REQUEST_WANTS:
		return STEP_WAIT;
	case REQUEST_BAD:
		c->route = ROUTE_NONE;
		return answer_bad(c, 400, "That is no request.");
	case REQUEST_READY:
		break;
	}
	event_del(&c->timer); /* idle_close */
	return begin_request(c);
}

enum step
conn_step_body(struct conn *c)
{
	enum step step = STEP_GONE;

	switch (request_body_ready(&c->rq, &c->in)) {
	case REQUEST_WANTS:
		slow_down(c);
		step = STEP_WAIT;
		break;
	case REQUEST_BAD:
		conn_end_request(c, ENDING_FAULT);
		step = answer_bad(c, 400, "The body's framing is broken.");
		break;
	case REQUEST_READY:
		step = serve(c);
		break;
	}
	return step;
}
