/*
 * waiting.c - a stream that waits, in the queue or for its first content: its
 * client gets a head and signs of life, so that neither it nor anything between
 * us takes the silence for the end.
 *
 * For `commit_after` nothing is said, so that a failure is still a status; from
 * the first sign on failures are told inside the stream.  Another route can be
 * taken as before: until the first content nothing of an upstream has passed.
 */
#include <stdio.h>

#include "base/clock.h"
#include "proxy/client.h"
#include "proxy/exchange.h"

#include "base/banned.h"

#define SIGN_LEAST_NS (200 * NS_PER_MS)
#define SLOW_LOOK_NS NS_PER_SECOND

static void on_due(void *arg);

/* Half of what the client will wait, if it says so and that is less. */
static uint64_t
at_most_half(const struct exchange *x, uint64_t ms)
{
	uint64_t half = x->patience_ms / 2;

	return (half > 0 && half < ms ? half : ms) * NS_PER_MS;
}

static uint64_t
sign_interval(const struct exchange *x)
{
	uint64_t ns = at_most_half(x, x->model->keepalive_ms);

	return ns < SIGN_LEAST_NS ? SIGN_LEAST_NS : ns;
}

static void
set_timer(struct exchange *x, uint64_t now)
{
	uint64_t at = x->next_sign_ns;

	if (x->queued_from_ns != 0 && x->queue_over_ns < at)
		at = x->queue_over_ns;
	if (x->again_ns != 0 && x->again_ns < at)
		at = x->again_ns;
	/* Whether it has become too slow here is looked at now and then. */
	if (x->queued_from_ns != 0 && x->route->overflow_after_ms > 0 &&
	    now + SLOW_LOOK_NS < at)
		at = now + SLOW_LOOK_NS;
	deadline_set(&x->wait_timer, at, now);
}

void
waiting_begin(struct exchange *x)
{
	uint64_t now = clock_mono_ns();

	if (!x->has_wait_timer) {
		deadline_init(&x->wait_timer, x->w->base, on_due, x);
		x->has_wait_timer = true;
		x->next_sign_ns = DEADLINE_NONE;
		if (x->facts.is_stream && x->model->keepalive_ms > 0)
			x->next_sign_ns = x->arrived_ns +
			    at_most_half(x, x->model->commit_after_ms);
	}
	set_timer(x, now);
}

void
waiting_end(struct exchange *x)
{
	x->next_sign_ns = DEADLINE_NONE;
	waiting_release(x);
}

void
waiting_release(struct exchange *x)
{
	if (x->has_wait_timer)
		deadline_release(&x->wait_timer);
	x->has_wait_timer = false;
}

/* --- signs of life ------------------------------------------------------- */

static void
write_head(struct exchange *x, struct buf *to)
{
	if (!x->is_http11)
		x->client->closes = true;
	client_begin_head(x->client, to, 200);
	buf_puts(to, "content-type: text/event-stream; charset=utf-8\r\n");
	exchange_add_fields(x, to);
	buf_puts(to,
	    "cache-control: no-cache\r\n"
	    "x-accel-buffering: no\r\n");
	x->is_chunked_out = x->is_http11;
	buf_puts(to,
	    x->is_chunked_out ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
	x->is_committed = true;
	x->status = 200;
	gate_commit(x->w->gateway->gate, &x->place);
}

/* What the client may know of its wait. */
static struct keepalive_news
news_of(const struct exchange *x, uint64_t now)
{
	struct keepalive_news news = {
	    .waited_ms = (now - x->arrived_ns) / NS_PER_MS};
	struct gate_outlook o;

	if (x->queued_from_ns == 0)
		return news;
	gate_outlook(x->w->gateway->gate,
	    x->snapshot->upstreams[x->route->upstream->index], &x->place, now,
	    &o);
	news.position = (uint32_t)o.ahead + 1;
	if (o.wait_ns != UINT64_MAX)
		news.expect_ms = o.wait_ns / NS_PER_MS;
	return news;
}

static void
send_sign(struct exchange *x, uint64_t now)
{
	struct keepalive_news news = news_of(x, now);
	struct buf *head = &x->w->line;
	struct buf sign = {0};
	struct iovec v[4];
	char size[24];
	size_t n = 0;

	if (!x->is_committed) {
		buf_clear(head);
		write_head(x, head);
		v[n++] = (struct iovec){
		    (void *)(uintptr_t)buf_data(head), buf_len(head)};
		keepalive_init(&x->keepalive, x->api, x->id, x->model->name,
		    x->arrived_ms);
	}
	keepalive_write(&x->keepalive, &news, &sign);
	if (x->is_chunked_out)
		v[n++] = (struct iovec){size,
		    (size_t)snprintf(
			size, sizeof size, "%zx\r\n", buf_len(&sign))};
	v[n++] =
	    (struct iovec){(void *)(uintptr_t)buf_data(&sign), buf_len(&sign)};
	if (x->is_chunked_out)
		v[n++] = (struct iovec){"\r\n", 2};
	x->bytes_out += buf_len(&sign);
	client_send(x->client, v, n);
	buf_release(&sign);
}

static void
on_due(void *arg)
{
	struct exchange *x = arg;
	uint64_t now = clock_mono_ns();

	queue_on_time(x, now);
	if (x->has_ended || !x->has_wait_timer || x->client == NULL)
		return;
	if (now >= x->next_sign_ns) {
		/* A client that does not read needs no more of them. */
		if (client_backlog(x->client) == 0)
			send_sign(x, now);
		x->next_sign_ns = now + sign_interval(x);
	}
	set_timer(x, now);
}
