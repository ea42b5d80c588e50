/*
 * forward.c - the request to the upstream: always made anew, from what was
 * understood.  Our Host, Content-Length and credential; of the client's fields
 * only those on the list; never a hop-by-hop one.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "proxy/exchange.h"
#include "proxy/response_ids.h"

#include "base/banned.h"

static void on_sending(void *user);
static void on_data(void *user, char *p, size_t len);
static void on_eof(void *user);
static void on_failure(void *user, enum upconn_failure how, const char *text);
static void on_deadline(void *user);

static const struct upconn_calls calls = {
    on_sending, on_data, on_eof, on_failure, on_deadline};

/* The field's name and what stands before the key. */
static const char *
credential_field(const struct upstream_config *up)
{
	if (up->api_key == NULL)
		return "";
	return kind_has(up->kind, KIND_HAS_X_API_KEY)
	    ? "x-api-key: "
	    : "Authorization: Bearer ";
}

/* Everything before the credential. */
static void
write_head(struct exchange *x, size_t body_len, struct buf *to)
{
	const struct upstream_config *up = x->route->upstream;
	bool is_messages = exchange_is_anthropic(x);

	buf_put_literal(to, "POST ");
	buf_puts(to, up->paths[x->api]);
	if (is_messages)
		buf_puts(to, x->query);
	buf_put_literal(to, " HTTP/1.1\r\nHost: ");
	buf_puts(to, up->host_header);
	buf_put_literal(to,
	    "\r\nContent-Type: application/json\r\n"
	    "Accept-Encoding: identity\r\n"
	    "Content-Length: ");
	buf_put_uint(to, body_len);
	buf_put_literal(to, "\r\n");
	buf_puts(to, x->forward_fields);
	if (kind_has(up->kind, KIND_HAS_X_API_KEY) && is_messages &&
	    strstr(x->forward_fields, "anthropic-version:") == NULL)
		buf_puts(to, "anthropic-version: 2023-06-01\r\n");
	buf_puts(to, credential_field(up));
}

static struct iovec
piece(const char *p, size_t len)
{
	return (struct iovec){(void *)(uintptr_t)p, len};
}

/* A response that began with our id is known to its upstream by another. */
static const char *
previous_response(struct exchange *x)
{
	static const char name[] = "previous_response_id";
	const struct params_config *params = &x->route->params;
	const struct body_member *m = body_member(&x->facts, name);
	char theirs[RESPONSE_ID_BYTES];
	struct buf text = {0};
	const char *json;
	struct slice ours;

	if (x->api != API_RESPONSES || m == NULL ||
	    m->value_end - m->value_begin < 2)
		return NULL;
	for (size_t i = 0; i < params->count; i++)
		if (strcmp(params->params[i].name, name) == 0)
			return NULL; /* not the client's to say */
	ours = (struct slice){buf_data(&x->body) + m->value_begin + 1,
	    m->value_end - m->value_begin - 2};
	if (!response_ids_find(
		x->w->gateway->response_ids, x->user->name, ours, theirs))
		return NULL;
	buf_puts(&text, "\"");
	json_escape(&text, slice_of(theirs));
	buf_puts(&text, "\"");
	json = arena_strndup(&x->arena, buf_data(&text), buf_len(&text));
	buf_release(&text);
	return json;
}

/* Head and body as one list of pieces.  The key is sent from where it lies in
 * the configuration: no copy of it is ever made. */
static struct iovec *
make_request(struct exchange *x, size_t *count)
{
	const char *key = x->route->upstream->api_key;
	struct buf *head = &x->w->line;
	struct body_pieces body;
	struct iovec *v;
	size_t n = 0;

	x->asks = body_asks(&x->facts, x->route->upstream->kind, x->api);
	x->asks.previous_response = previous_response(x);
	body_edit(&body, &x->arena, buf_data(&x->body), buf_len(&x->body),
	    &x->facts, x->route, x->asks);
	v = arena_alloc(&x->arena, (body.count + 3) * sizeof *v);
	buf_clear(head);
	write_head(x, body.len, head);
	v[n++] = piece(arena_strndup(&x->arena, buf_data(head), buf_len(head)),
	    buf_len(head));
	if (key != NULL)
		v[n++] = piece(key, strlen(key));
	v[n++] = key != NULL ? piece("\r\n\r\n", 4) : piece("\r\n", 2);
	memcpy(v + n, body.v, body.count * sizeof *v);
	*count = n + body.count;
	return v;
}

enum next
step_forward(struct exchange *x)
{
	const struct upstream_config *up = x->route->upstream;
	struct fault why;
	struct iovec *pieces;
	size_t count;

	/* No request leaves that a crash could lose. */
	if (x->slot == NULL &&
	    (x->slot = ledger_take_slot(x->w->gateway->ledger)) == NULL)
		return exchange_end(x, END_LEDGER_DOWN, "");
	x->up =
	    upconn_open(x->w, x->snapshot, up, x->was_retried, &calls, x, &why);
	if (x->up == NULL)
		return attempt_failed(x, WHEN_CONNECT, END_CONNECT_ERROR,
		    "connect", "%s could not be reached (%s)", up->name,
		    why.text);
	pieces = make_request(x, &count);
	relay_begin(x);
	if (x->facts.is_stream)
		waiting_begin(x);
	x->step = STEP_RELAY;
	upconn_send(x->up, pieces, count);
	return WAIT;
}

static void
on_sending(void *user)
{
	settle_mark_sent(user);
}

static void
on_data(void *user, char *p, size_t len)
{
	relay_on_data(user, p, len);
}

static void
on_eof(void *user)
{
	relay_on_eof(user);
}

static void
on_deadline(void *user)
{
	relay_on_deadline(user);
}

static void
on_failure(void *user, enum upconn_failure how, const char *text)
{
	struct exchange *x = user;
	const char *name = x->route->upstream->name;

	switch (how) {
	case UPCONN_CONNECT:
		if (strcmp(text, "Connection refused") == 0)
			attempt_failed(x, WHEN_CONNECT, END_CONNECT_ERROR,
			    "connect", "%s refused the connection", name);
		else
			attempt_failed(x, WHEN_CONNECT, END_CONNECT_ERROR,
			    "connect", "%s could not be reached (%s)", name,
			    text);
		break;
	case UPCONN_CONNECT_TIMEOUT:
		attempt_failed(x, WHEN_CONNECT, END_TIMEOUT, "connect_timeout",
		    "%s took no connection within %llu ms", name,
		    (unsigned long long)x->route->upstream->connect_ms);
		break;
	case UPCONN_RESET:
		relay_on_broken(x, text);
		return;
	}
	exchange_run(x);
}
