#include "proxy/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proxy/exchange.h"
#include "proxy/receive.h"

#include "base/banned.h"

#define LINGER_NS (2 * NS_PER_SECOND)
#define LINGER_MOST_BYTES (1024 * 1024)

/* A body that comes slower than 1 KiB a second, averaged over each of these
 * spans, is not waited for. */
#define BODY_SPAN_NS (10 * NS_PER_SECOND)
#define BODY_SPAN_LEAST_BYTES (10 * 1024)

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_due(void *arg);
static void await_reader(struct client *c);

static const struct server_config *
server_of(const struct client *c)
{
	return &c->w->snapshot->config->server;
}

static void
set_deadline(struct client *c, uint64_t ms)
{
	uint64_t now = clock_mono_ns();

	deadline_set(&c->deadline, now + ms * NS_PER_MS, now);
}

/* From here on the gateway's end waits for this connection, or no longer. */
static void
set_busy(struct client *c, bool is_busy)
{
	struct worker *w = c->w;

	if (c->is_busy == is_busy)
		return;
	c->is_busy = is_busy;
	list_remove(&c->link);
	list_append(is_busy ? &w->clients : &w->waiting, &c->link);
	if (is_busy)
		__atomic_add_fetch(&w->gateway->busy, 1, __ATOMIC_RELAXED);
	else
		__atomic_sub_fetch(&w->gateway->busy, 1, __ATOMIC_RELAXED);
}

static void
free_client(struct grave *g)
{
	struct client *c = CONTAINER_OF(g, struct client, grave);

	buf_release(&c->in);
	buf_release(&c->out);
	free(c);
}

void
client_close(struct client *c)
{
	if (c->state == CLIENT_CLOSED)
		return;
	c->state = CLIENT_CLOSED;
	c->x = NULL;
	set_busy(c, false);
	list_remove(&c->link);
	event_del(&c->readable);
	event_del(&c->writable);
	deadline_release(&c->deadline);
	close(c->fd);
	__atomic_sub_fetch(&c->w->gateway->connections, 1, __ATOMIC_RELAXED);
	worker_bury(c->w, &c->grave);
}

/* Makes its events for the loop of its worker. */
static void
assign_events(struct client *c)
{
	event_assign(&c->readable, c->w->base, c->fd, EV_READ | EV_PERSIST,
	    on_readable, c);
	event_assign(&c->writable, c->w->base, c->fd, EV_WRITE, on_writable, c);
	deadline_init(&c->deadline, c->w->base, on_due, c);
}

void
client_leave_worker(struct client *c)
{
	list_remove(&c->link);
	event_del(&c->readable);
	event_del(&c->writable);
	deadline_release(&c->deadline);
}

void
client_join_worker(struct client *c, struct worker *w)
{
	c->w = w;
	c->credential_generation = 0; /* those are the old one's */
	list_append(&w->clients, &c->link);
	assign_events(c);
	event_add(&c->readable, NULL);
	if (buf_len(&c->out) > 0) {
		event_add(&c->writable, NULL);
		await_reader(c);
	}
}

/* The client is not there any more, or not worth waiting for. */
static void
lost(struct client *c)
{
	struct exchange *x = c->x;

	client_close(c);
	if (x != NULL)
		exchange_client_gone(x);
}

void
clients_make_room(struct worker *w)
{
	struct gateway *g = w->gateway;

	while (!list_is_empty(&w->waiting) &&
	    __atomic_load_n(&g->connections, __ATOMIC_RELAXED) >
		g->max_connections)
		client_close(
		    CONTAINER_OF(w->waiting.next, struct client, link));
}

/* Counts one more.  Past the cap those go first that have waited longest
 * without a complete request: this worker's, or, by mail, another's.  False if
 * all have one. */
static bool
make_room(struct worker *w)
{
	struct gateway *g = w->gateway;
	uint32_t count = __atomic_load_n(&g->worker_count, __ATOMIC_ACQUIRE);

	__atomic_add_fetch(&g->connections, 1, __ATOMIC_RELAXED);
	clients_make_room(w);
	if (__atomic_load_n(&g->connections, __ATOMIC_RELAXED) <=
	    g->max_connections)
		return true;
	if (__atomic_load_n(&g->busy, __ATOMIC_RELAXED) >= g->max_connections) {
		__atomic_sub_fetch(&g->connections, 1, __ATOMIC_RELAXED);
		return false;
	}
	for (uint32_t i = 0; i < count; i++)
		if (g->workers[i] != w)
			worker_post(g->workers[i], MAIL_ROOM, NULL, NULL);
	return true;
}

void
client_open(struct worker *w, int fd, const struct sockaddr *peer)
{
	struct client *c;

	if (!make_room(w)) {
		close(fd);
		return;
	}
	c = xcalloc(sizeof *c);
	c->grave.free = free_client;
	c->w = w;
	c->fd = fd;
	c->peer = address_of(peer);
	list_append(&w->waiting, &c->link);
	assign_events(c);
	set_deadline(c, server_of(c)->head_ms);
	event_add(&c->readable, NULL);
}

/* Sends our half's end and waits for the other's, so that what was sent is not
 * lost to a reset. */
static void
linger(struct client *c)
{
	c->state = CLIENT_LINGER;
	set_busy(c, false);
	c->discarded = 0;
	shutdown(c->fd, SHUT_WR);
	set_deadline(c, LINGER_NS / NS_PER_MS);
}

static void
await_request(struct client *c)
{
	c->state = CLIENT_HEAD;
	c->x = NULL;
	c->has_answered = true;
	c->is_head = c->is_anthropic = false;
	c->minor = 1;
	c->scanned = 0;
	buf_release(&c->out);
	set_busy(c, false);
	set_deadline(c, server_of(c)->idle_ms);
}

static void
answer_is_out(struct client *c)
{
	if (c->closes || c->w->is_draining)
		linger(c);
	else
		await_request(c);
}

void
client_finish(struct client *c)
{
	c->x = NULL;
	if (buf_len(&c->out) > 0)
		c->state = CLIENT_FLUSH; /* its stall deadline runs */
	else
		answer_is_out(c);
}

size_t
client_backlog(const struct client *c)
{
	return buf_len(&c->out);
}

/* Bytes wait for the client to read: it has so long for the next of them. While
 * its own body comes in, that has its time. */
static void
await_reader(struct client *c)
{
	if (c->state != CLIENT_BODY)
		set_deadline(c, server_of(c)->stall_ms);
}

/* Keeps what the socket did not take. */
static void
keep(struct client *c, const struct iovec *v, size_t count, size_t sent)
{
	for (size_t i = 0; i < count; i++) {
		if (sent >= v[i].iov_len) {
			sent -= v[i].iov_len;
			continue;
		}
		buf_put(&c->out, (const char *)v[i].iov_base + sent,
		    v[i].iov_len - sent);
		sent = 0;
	}
	if (buf_len(&c->out) == 0 ||
	    event_pending(&c->writable, EV_WRITE, NULL))
		return;
	event_add(&c->writable, NULL);
	await_reader(c);
}

void
client_send(struct client *c, const struct iovec *v, size_t count)
{
	struct msghdr m = {
	    .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = count};
	ssize_t n = 0;

	if (c->state == CLIENT_CLOSED)
		return;
	/* A broken connection is told by its next read. */
	if (buf_len(&c->out) == 0 && (n = sendmsg(c->fd, &m, MSG_NOSIGNAL)) < 0)
		n = 0;
	keep(c, v, count, (size_t)n);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;
	ssize_t n =
	    send(c->fd, buf_data(&c->out), buf_len(&c->out), MSG_NOSIGNAL);

	(void)fd;
	(void)what;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		lost(c);
		return;
	}
	if (n > 0) {
		buf_drain(&c->out, (size_t)n);
		await_reader(c);
	}
	if (buf_len(&c->out) > 0) {
		event_add(&c->writable, NULL);
	} else {
		buf_release(&c->out);
		if (c->state == CLIENT_BUSY)
			c->deadline.at_ns = DEADLINE_NONE;
	}
	if (c->state == CLIENT_FLUSH && buf_len(&c->out) == 0)
		answer_is_out(c);
	else if (c->x != NULL && buf_len(&c->out) <= CLIENT_LOW_BYTES)
		exchange_client_drained(c->x);
}

void
client_begin_head(struct client *c, struct buf *to, int status)
{
	c->closes |= c->w->is_draining;
	buf_put_literal(to, "HTTP/1.1 ");
	buf_put_uint(to, (uint64_t)status);
	buf_put_literal(to, " ");
	buf_puts(to, status_phrase(status));
	buf_put_literal(to, "\r\nDate: ");
	buf_puts(to, worker_date(c->w));
	buf_put_literal(to, "\r\n");
	if (c->closes)
		buf_puts(to, "Connection: close\r\n");
	else if (c->minor == 0)
		buf_puts(to, "Connection: keep-alive\r\n");
}

void
client_answer(struct client *c, int status, const char *content_type,
    struct slice extra_fields, struct slice body)
{
	struct buf head = {0};
	struct iovec v[2];

	client_begin_head(c, &head, status);
	buf_printf(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n",
	    content_type, body.len);
	buf_put(&head, extra_fields.p, extra_fields.len);
	buf_puts(&head, "\r\n");
	v[0] =
	    (struct iovec){(void *)(uintptr_t)buf_data(&head), buf_len(&head)};
	v[1] = (struct iovec){(void *)(uintptr_t)body.p, body.len};
	c->state = CLIENT_BUSY;
	client_send(c, v, c->is_head ? 1 : 2);
	buf_release(&head);
	client_finish(c);
}

void
client_refuse(struct client *c, enum end e, struct slice extra_fields,
    struct slice message)
{
	const struct end_facts *f = end_facts(e);
	char id[ULID_CHARS + 1];
	struct buf body = {0}, fields = {0};

	ulid_make(&c->w->ids, clock_wall_ms(), id);
	if (message.len == 0)
		message = slice_of(f->help);
	end_write_body(&body, e, c->is_anthropic, message, id);
	buf_printf(&fields, "x-request-id: %s\r\n", id);
	if (f->retry == RETRY_NO)
		buf_puts(&fields, "x-should-retry: false\r\n");
	if (f->status == 401)
		buf_puts(&fields, "WWW-Authenticate: Bearer\r\n");
	buf_put(&fields, extra_fields.p, extra_fields.len);
	client_answer(c, c->is_anthropic ? f->anthropic_status : f->status,
	    "application/json",
	    (struct slice){buf_data(&fields), buf_len(&fields)},
	    (struct slice){buf_data(&body), buf_len(&body)});
	buf_release(&fields);
	buf_release(&body);
}

static void
body_is_whole(struct client *c)
{
	c->state = CLIENT_BUSY;
	if (buf_len(&c->out) == 0)
		c->deadline.at_ns = DEADLINE_NONE;
	else
		await_reader(c);
	exchange_body_whole(c->x);
}

/* Hands on a decoded piece.  False if the exchange ended over it. */
static bool
take_chunked(struct client *c, char *p, size_t len)
{
	size_t rest;
	enum chunked_verdict v = chunked_decode(&c->chunked, p, &len, &rest);

	if (v == CHUNKED_BAD) {
		exchange_body_broken(c->x, END_BAD_REQUEST);
		return false;
	}
	if (len > 0 && !exchange_body_add(c->x, p, len))
		return false;
	if (v == CHUNKED_END)
		body_is_whole(c);
	return v == CHUNKED_MORE;
}

static void
take_length(struct client *c, const char *p, size_t len)
{
	/* What is behind the body is not looked at: the connection closes. */
	if (len > c->body_left) {
		c->closes = true;
		len = (size_t)c->body_left;
	}
	if (len > 0 && !exchange_body_add(c->x, p, len))
		return;
	if ((c->body_left -= len) == 0)
		body_is_whole(c);
}

/* The deadline is the end of a span, or of the time for the whole body. */
static void
begin_body_span(struct client *c, uint64_t now)
{
	uint64_t at = now + BODY_SPAN_NS;

	c->body_span_bytes = 0;
	deadline_set(
	    &c->deadline, at < c->body_due_ns ? at : c->body_due_ns, now);
}

/* A span of time is over, or all of it. */
static void
judge_body(struct client *c)
{
	uint64_t now = clock_mono_ns();

	if (now >= c->body_due_ns || c->body_span_bytes < BODY_SPAN_LEAST_BYTES)
		exchange_body_broken(c->x, END_BODY_TIMEOUT);
	else
		begin_body_span(c, now);
}

void
client_read_body(struct client *c, enum framing framing,
    uint64_t content_length, char *p, size_t len, bool says_continue)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uint64_t now;

	c->state = CLIENT_BODY;
	c->framing = framing;
	c->body_left = content_length;
	chunked_init(&c->chunked);
	if (says_continue && len == 0 &&
	    !(framing == FRAMING_LENGTH && content_length == 0)) {
		struct iovec v = {(void *)(uintptr_t)go_on, sizeof go_on - 1};

		client_send(c, &v, 1);
	}
	if (framing == FRAMING_CHUNKED) {
		if (len > 0 && !take_chunked(c, p, len))
			return;
	} else {
		take_length(c, p, len);
	}
	if (c->state == CLIENT_BODY) {
		now = clock_mono_ns();
		c->body_due_ns = now + server_of(c)->body_ms * NS_PER_MS;
		begin_body_span(c, now);
		c->body_span_bytes = len;
	}
}

static void
read_body(struct client *c)
{
	char *to = c->w->scratch;
	size_t room = SCRATCH_BYTES;
	ssize_t n;

	/* A body with a length is received where it will stay. */
	if (c->framing == FRAMING_LENGTH &&
	    (to = exchange_body_room(c->x, &room)) == NULL)
		return; /* it has ended */
	n = recv(c->fd, to, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lost(c);
		return;
	}
	c->body_span_bytes += (uint64_t)n;
	if (c->framing == FRAMING_CHUNKED) {
		take_chunked(c, to, (size_t)n);
		return;
	}
	exchange_body_commit(c->x, (size_t)n);
	if ((c->body_left -= (size_t)n) == 0)
		body_is_whole(c);
}

static void
refuse_head(struct client *c, enum end e)
{
	set_busy(c, true);
	c->closes = true;
	client_refuse(c, e, SLICE(""), SLICE(""));
}

/* A whole head lies at p, and perhaps more behind it. */
static void
begin_request(struct client *c, char *p, size_t len)
{
	struct head *head = &c->w->head;
	enum head_verdict v = head_parse(p, len, head);
	struct request r;
	enum end e;

	set_busy(c, true);
	c->state = CLIENT_BUSY;
	c->deadline.at_ns = DEADLINE_NONE;
	c->minor = 1;
	c->is_head = c->is_anthropic = false;
	if (v != HEAD_OK) {
		refuse_head(
		    c, v == HEAD_BAD ? END_BAD_REQUEST : END_HEAD_TOO_LARGE);
		return;
	}
	e = guard_check(head, &r);
	c->minor = r.minor;
	c->is_head = r.method == METHOD_HEAD;
	c->closes = !r.keeps_alive;
	if (e != END_OK)
		refuse_head(c, e);
	else
		receive_request(c, &r, p + head->len, len - head->len);
}

/* Looks for a whole head in what has come. */
static void
read_head(struct client *c)
{
	char *p = c->w->scratch;
	enum head_verdict v;
	ssize_t n = recv(c->fd, p, SCRATCH_BYTES, 0);
	size_t len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lost(c);
		return;
	}
	len = (size_t)n;
	if (buf_len(&c->in) > 0) {
		buf_put(&c->in, p, len);
		p = c->in.base + c->in.start;
		len = buf_len(&c->in);
	}
	v = head_find(p, len, GUARD_HEAD_MOST_BYTES, &c->scanned);
	if (v == HEAD_MORE) {
		if (p != c->w->scratch)
			return;
		/* The first bytes of a head: its time begins, unless it has
		 * begun with the connection. */
		buf_put(&c->in, p, len);
		if (c->has_answered)
			set_deadline(c, server_of(c)->head_ms);
		return;
	}
	c->scanned = 0;
	if (v == HEAD_OK)
		begin_request(c, p, len);
	else
		refuse_head(
		    c, v == HEAD_BAD ? END_BAD_REQUEST : END_HEAD_TOO_LARGE);
	buf_release(&c->in);
}

/* Nothing is expected: an end of file is the client leaving, bytes are the next
 * request, which will not be read. */
static void
discard(struct client *c)
{
	ssize_t n = recv(c->fd, c->w->scratch, SCRATCH_BYTES, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lost(c);
		return;
	}
	c->closes = true;
	c->discarded += (uint64_t)n;
	if (c->discarded > LINGER_MOST_BYTES)
		lost(c);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct client *c = arg;

	(void)fd;
	(void)what;
	switch (c->state) {
	case CLIENT_HEAD:
		read_head(c);
		break;
	case CLIENT_BODY:
		read_body(c);
		break;
	case CLIENT_BUSY:
	case CLIENT_FLUSH:
	case CLIENT_LINGER:
		discard(c);
		break;
	case CLIENT_CLOSED:
		break;
	}
}

static void
on_due(void *arg)
{
	struct client *c = arg;

	switch (c->state) {
	case CLIENT_HEAD:
		/* A connection that is merely unused goes without a word. */
		if (buf_len(&c->in) == 0)
			client_close(c);
		else
			refuse_head(c, END_HEAD_TIMEOUT);
		break;
	case CLIENT_BODY:
		judge_body(c);
		break;
	case CLIENT_BUSY:
	case CLIENT_FLUSH:
	case CLIENT_LINGER:
		lost(c);
		break;
	case CLIENT_CLOSED:
		break;
	}
}
