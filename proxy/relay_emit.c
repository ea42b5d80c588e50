/*
 * relay_emit.c - what of an answer goes to the client: in a framing of our own,
 * behind a head if it has had none yet, and as the continuation of the signs of
 * life that it may have had.
 */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/client.h"
#include "proxy/relay_inner.h"
#include "proxy/response_ids.h"

#include "base/banned.h"

/* Whether something may be cut out of the body, so that its length is open. */
static bool
is_edited(const struct exchange *x)
{
	return x->asks.hides || x->asks.running;
}

bool
relay_has_no_body(int status)
{
	return status == 204 || status == 304;
}

static void
write_head(struct exchange *x, struct buf *to)
{
	struct relay *r = &x->relay;

	if (!relay_has_no_body(r->status) && !x->is_http11 &&
	    (r->framing != FRAMING_LENGTH || is_edited(x)))
		x->client->closes = true;
	client_begin_head(x->client, to, r->status);
	buf_puts(to, r->fields);
	exchange_add_fields(x, to);
	if (x->facts.is_stream)
		buf_puts(to,
		    "cache-control: no-cache\r\n"
		    "x-accel-buffering: no\r\n");
	if (relay_has_no_body(r->status)) {
		buf_puts(to, "\r\n");
	} else if (r->framing == FRAMING_LENGTH && !is_edited(x)) {
		buf_put_literal(to, "Content-Length: ");
		buf_put_uint(to, r->body_length);
		buf_put_literal(to, "\r\n\r\n");
	} else if (x->is_http11) {
		x->is_chunked_out = true;
		buf_puts(to, "Transfer-Encoding: chunked\r\n\r\n");
	} else {
		buf_puts(to, "\r\n");
	}
}

/* What is held and need not wait. */
static size_t
held_visible(const struct relay *r)
{
	size_t held = buf_len(&r->held);

	return r->waiting_from < held ? r->waiting_from : held;
}

static void
drop_held(struct relay *r, size_t len)
{
	buf_drain(&r->held, len);
	if (buf_len(&r->held) == 0)
		buf_release(&r->held);
	if (r->waiting_from != SIZE_MAX)
		r->waiting_from -= len;
}

/* The client will name the response by our id. */
static void
end_splice(struct exchange *x, struct buf *out)
{
	responses_splice_end(x->splice, out);
	if (x->splice->upstream_id[0] != '\0')
		response_ids_add(x->w->gateway->response_ids, x->user->name,
		    x->keepalive.response.id, x->splice->upstream_id);
}

/* The client has had signs of life: makes what it gets now their continuation.
 * A Responses stream goes through the splice, into `out`, which becomes *body;
 * of the others the first bytes may have to go. */
static void
fit_after_signs(struct exchange *x, struct iovec *held, struct iovec *body,
    bool is_end, struct buf *out)
{
	struct iovec *first = held->iov_len > 0 ? held : body;
	size_t skip;

	if (x->api == API_RESPONSES) {
		if (x->splice == NULL) {
			x->splice = xcalloc(sizeof *x->splice);
			responses_splice_init(
			    x->splice, &x->keepalive.response);
		}
		responses_splice_feed(
		    x->splice, held->iov_base, held->iov_len, out);
		responses_splice_feed(
		    x->splice, body->iov_base, body->iov_len, out);
		if (is_end)
			end_splice(x, out);
		held->iov_len = 0;
		*body = (struct iovec){
		    (void *)(uintptr_t)buf_data(out), buf_len(out)};
	} else if (!x->has_passed) {
		skip = keepalive_skip(first->iov_base, first->iov_len);
		first->iov_base = (char *)first->iov_base + skip;
		first->iov_len -= skip;
	}
}

/* Notes that some of an upstream's answer goes to the client: no other route
 * can be taken now; but an upstream may answer before it has read all. */
static void
note_passed(struct exchange *x)
{
	if (!x->has_passed && (x->up == NULL || upconn_is_sent(x->up)))
		exchange_drop_body(x);
	x->has_passed = true;
}

static struct iovec
piece(const char *p, size_t len)
{
	return (struct iovec){(void *)(uintptr_t)p, len};
}

void
relay_emit(struct exchange *x, const char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	size_t held_len = held_visible(r), n = 0;
	struct iovec held = piece(buf_data(&r->held), held_len);
	struct iovec body = piece(p, len);
	struct buf *head = &x->w->line;
	struct buf fitted = {0};
	struct iovec v[6];
	char size[20];

	if (x->client == NULL) { /* there is nobody left to see it */
		x->is_committed = x->has_passed = true;
		drop_held(r, held_len);
		return;
	}
	if (x->keepalive.sent > 0)
		fit_after_signs(x, &held, &body, is_end, &fitted);
	if (!x->is_committed) {
		buf_clear(head);
		write_head(x, head);
		v[n++] = piece(buf_data(head), buf_len(head));
		x->is_committed = true;
		x->status = r->status;
	}
	note_passed(x);
	len = held.iov_len + body.iov_len;
	if (len > 0 && x->is_chunked_out) {
		int digits = snprintf(size, sizeof size, "%zx\r\n", len);

		v[n++] = piece(size, (size_t)digits);
	}
	if (held.iov_len > 0)
		v[n++] = held;
	if (body.iov_len > 0)
		v[n++] = body;
	if (x->is_chunked_out && len > 0)
		v[n++] = piece("\r\n0\r\n\r\n", is_end ? 7 : 2);
	else if (x->is_chunked_out && is_end)
		v[n++] = piece("0\r\n\r\n", 5);
	x->bytes_out += len;
	if (n > 0)
		client_send(x->client, v, n);
	buf_release(&fitted);
	drop_held(r, held_len);
	if (x->up != NULL && client_backlog(x->client) > CLIENT_HIGH_BYTES)
		upconn_pause(x->up);
}

void
relay_emit_rest(struct exchange *x)
{
	relay_emit(x, "", 0, true);
}
