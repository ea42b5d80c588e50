#include "proxy/upstream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proxy/deadline.h"
#include "proxy/resolver.h"
#include "proxy/tls.h"

#include "base/banned.h"

#define POOL_IDLE_MOST 1024
#define TLS_COALESCE_BYTES 16384

struct pool {
	struct link idle; /* of upconn; newest first */
	size_t idle_count;
};

enum upconn_state { UP_CONNECTING, UP_HANDSHAKE, UP_BUSY, UP_IDLE, UP_CLOSED };

struct upconn {
	struct grave grave;
	struct link link;                 /* of its pool, while idle */
	struct worker *w;                 /* borrowed */
	const struct upstream_config *up; /* borrowed: from `snapshot` */
	struct snapshot *snapshot;        /* owned reference */
	const struct upconn_calls *calls; /* borrowed, like user */
	void *user;
	enum upconn_state state;
	int fd;
	SSL *ssl; /* owned; NULL: plain */
	struct event readable, writable;
	struct deadline deadline;
	uint64_t connect_by_ns, user_deadline_ns;
	struct iovec
	    *pieces; /* borrowed from the user: what is still to send */
	size_t piece_count;
	struct sockaddr_storage addresses[RESOLVER_ADDRESSES_MOST];
	size_t address_count, address_at;
	bool is_reused, is_paused, has_sent;
	bool is_announced; /* on_sending() was called */
};

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void on_due(void *arg);

void
pools_make(struct worker *w)
{
	size_t count = w->snapshot->config->upstream_count;

	w->pools = xcalloc_array(count, sizeof(struct pool));
	for (size_t i = 0; i < count; i++)
		list_init(&w->pools[i].idle);
}

void
pools_release(struct worker *w)
{
	if (w->pools == NULL)
		return;
	for (size_t i = 0; i < w->snapshot->config->upstream_count; i++)
		LIST_EACH (&w->pools[i].idle, l) {
			struct upconn *u = CONTAINER_OF(l, struct upconn, link);

			upconn_close(&u);
		}
	free(w->pools);
	w->pools = NULL;
}

static void
free_upconn(struct grave *g)
{
	free(CONTAINER_OF(g, struct upconn, grave));
}

void
upconn_close(struct upconn **up)
{
	struct upconn *u = *up;

	*up = NULL;
	if (u == NULL || u->state == UP_CLOSED)
		return;
	if (u->state == UP_IDLE) {
		list_remove(&u->link);
		u->w->pools[u->up->index].idle_count--;
	}
	u->state = UP_CLOSED;
	event_del(&u->readable);
	event_del(&u->writable);
	deadline_release(&u->deadline);
	tls_close(&u->ssl);
	if (u->fd >= 0)
		close(u->fd);
	snapshot_unref(&u->snapshot);
	worker_bury(u->w, &u->grave);
}

static void
fail(struct upconn *u, enum upconn_failure how, const char *text)
{
	/* The user closes it. */
	u->calls->on_failure(u->user, how, text);
}

/* Begins to connect to the next address.  False when there is none left. */
static bool
connect_next(struct upconn *u, char *text, size_t room)
{
	snprintf(text, room, "no address of it is known");
	while (u->address_at < u->address_count) {
		struct sockaddr_storage *sa = &u->addresses[u->address_at++];
		socklen_t len = sa->ss_family == AF_INET
		    ? sizeof(struct sockaddr_in)
		    : sizeof(struct sockaddr_in6);
		int on = 1;

		u->fd = socket(sa->ss_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (u->fd < 0) {
			snprintf(text, room, "no socket: %s", strerror(errno));
			continue;
		}
		setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (connect(u->fd, (struct sockaddr *)sa, len) == 0 ||
		    errno == EINPROGRESS)
			return true;
		snprintf(text, room, "%s", strerror(errno));
		close(u->fd);
		u->fd = -1;
	}
	return false;
}

static void
watch(struct upconn *u)
{
	event_assign(&u->readable, u->w->base, u->fd, EV_READ | EV_PERSIST,
	    on_readable, u);
	event_assign(&u->writable, u->w->base, u->fd, EV_WRITE, on_writable, u);
	event_add(&u->writable, NULL);
}

/* Each of the addresses gets its share of the time to connect. */
static uint64_t
connect_share(const struct upconn *u)
{
	return u->up->connect_ms * NS_PER_MS / u->address_count;
}

static struct upconn *
begin_connection(struct worker *w, struct snapshot *s,
    const struct upstream_config *up, struct fault *why)
{
	struct upconn *u = xcalloc(sizeof *u);
	uint64_t now = clock_mono_ns();
	char text[128];

	u->grave.free = free_upconn;
	u->w = w;
	u->up = up;
	u->state = UP_CONNECTING;
	list_init(&u->link);
	u->address_count =
	    resolver_find(w->gateway->resolver, up, u->addresses);
	if (!connect_next(u, text, sizeof text)) {
		fault_set(why, "%s", text);
		free(u);
		return NULL;
	}
	u->snapshot = snapshot_ref(s);
	u->user_deadline_ns = DEADLINE_NONE;
	u->connect_by_ns = now + connect_share(u);
	deadline_init(&u->deadline, w->base, on_due, u);
	deadline_set(&u->deadline, u->connect_by_ns, now);
	watch(u);
	return u;
}

struct upconn *
upconn_open(struct worker *w, struct snapshot *s,
    const struct upstream_config *up, bool fresh,
    const struct upconn_calls *calls, void *user, struct fault *why)
{
	struct upconn *u = NULL;
	struct pool *pool;

	/* An exchange that began before a reload has its own snapshot; the
	 * pools are the newest one's. */
	if (!fresh && s == w->snapshot) {
		pool = &w->pools[up->index];
		if (!list_is_empty(&pool->idle)) {
			u = CONTAINER_OF(pool->idle.next, struct upconn, link);
			list_remove(&u->link);
			pool->idle_count--;
			u->state = UP_BUSY;
			u->is_reused = true;
			u->user_deadline_ns = DEADLINE_NONE;
			u->deadline.at_ns = DEADLINE_NONE;
		}
	}
	if (u == NULL && (u = begin_connection(w, s, up, why)) == NULL)
		return NULL;
	u->calls = calls;
	u->user = user;
	return u;
}

/* Takes `n` sent bytes off the pieces. */
static void
consume(struct upconn *u, size_t n)
{
	u->has_sent = true;
	while (u->piece_count > 0 && n >= u->pieces->iov_len) {
		n -= u->pieces->iov_len;
		u->pieces++;
		u->piece_count--;
	}
	if (n > 0) {
		u->pieces->iov_base = (char *)u->pieces->iov_base + n;
		u->pieces->iov_len -= n;
	}
}

/* Many small pieces would be as many records: they go out together. */
static ssize_t
write_tls(struct upconn *u)
{
	char together[TLS_COALESCE_BYTES];
	const void *p = u->pieces->iov_base;
	size_t len = 0;
	int n;

	if (u->pieces->iov_len >= sizeof together || u->piece_count == 1) {
		len = u->pieces->iov_len;
	} else {
		for (size_t i = 0; i < u->piece_count; i++) {
			size_t part = u->pieces[i].iov_len;

			if (part > sizeof together - len)
				part = sizeof together - len;
			memcpy(together + len, u->pieces[i].iov_base, part);
			if ((len += part) == sizeof together)
				break;
		}
		p = together;
	}
	ERR_clear_error();
	n = SSL_write(u->ssl, p, len > INT32_MAX ? INT32_MAX : (int)len);
	if (n > 0)
		return n;
	switch (SSL_get_error(u->ssl, n)) {
	case SSL_ERROR_WANT_WRITE:
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	default:
		errno = EPIPE;
		return -1;
	}
}

static ssize_t
write_pieces(struct upconn *u)
{
	size_t count = u->piece_count > 64 ? 64 : u->piece_count;

	if (u->ssl != NULL)
		return write_tls(u);
	return writev(u->fd, u->pieces, (int)count);
}

/* Sends what it can.  A write that fails is not told: the answer may be there
 * already (a 413 before the body's end), and if not, reading fails as well. */
static void
flush(struct upconn *u)
{
	if (u->piece_count > 0 && !u->is_announced) {
		u->is_announced = true;
		u->calls->on_sending(u->user);
	}
	while (u->piece_count > 0) {
		ssize_t n = write_pieces(u);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno == EAGAIN)
				event_add(&u->writable, NULL);
			return;
		}
		consume(u, (size_t)n);
	}
}

void
upconn_send(struct upconn *u, struct iovec *pieces, size_t count)
{
	u->pieces = pieces;
	u->piece_count = count;
	u->has_sent = u->is_announced = false;
	if (u->state == UP_BUSY)
		flush(u);
}

bool
upconn_is_sent(const struct upconn *u)
{
	return u->piece_count == 0;
}

bool
upconn_has_sent(const struct upconn *u)
{
	return u->has_sent;
}

bool
upconn_is_reused(const struct upconn *u)
{
	return u->is_reused;
}

void
upconn_pause(struct upconn *u)
{
	if (!u->is_paused)
		event_del(&u->readable);
	u->is_paused = true;
}

/* What TLS has taken off the socket already wakes no poll: decrypted bytes, or
 * the other side's goodbye. */
static void
read_again(struct upconn *u)
{
	if (u->ssl != NULL &&
	    (SSL_pending(u->ssl) > 0 ||
		(SSL_get_shutdown(u->ssl) & SSL_RECEIVED_SHUTDOWN) != 0))
		event_active(&u->readable, EV_READ, 1);
}

void
upconn_resume(struct upconn *u)
{
	if (!u->is_paused)
		return;
	u->is_paused = false;
	event_add(&u->readable, NULL);
	read_again(u);
}

static void
set_timer(struct upconn *u, uint64_t now)
{
	uint64_t at = u->user_deadline_ns;

	if ((u->state == UP_CONNECTING || u->state == UP_HANDSHAKE) &&
	    u->connect_by_ns < at)
		at = u->connect_by_ns;
	deadline_set(&u->deadline, at, now);
}

void
upconn_set_deadline(struct upconn *u, uint64_t at_ns, uint64_t now_ns)
{
	u->user_deadline_ns = at_ns;
	set_timer(u, now_ns);
}

void
upconn_park(struct upconn **up)
{
	struct upconn *u = *up;
	struct pool *pool;
	uint64_t now;

	/* The pools are the newest snapshot's. */
	if (u->w->pools == NULL || u->snapshot != u->w->snapshot ||
	    u->w->is_draining || u->piece_count > 0 ||
	    u->w->pools[u->up->index].idle_count >= POOL_IDLE_MOST) {
		upconn_close(up);
		return;
	}
	*up = NULL;
	upconn_resume(u);
	pool = &u->w->pools[u->up->index];
	list_push(&pool->idle, &u->link);
	pool->idle_count++;
	u->state = UP_IDLE;
	u->calls = NULL;
	u->user = NULL;
	now = clock_mono_ns();
	deadline_set(&u->deadline, now + u->up->idle_ms * NS_PER_MS, now);
}

/* This address does not answer: the next one, or the end. */
static void
connect_elsewhere(struct upconn *u, enum upconn_failure how, const char *why)
{
	uint64_t now = clock_mono_ns();
	char text[128];

	event_del(&u->readable);
	event_del(&u->writable);
	tls_close(&u->ssl);
	close(u->fd);
	u->fd = -1;
	if (!connect_next(u, text, sizeof text)) {
		fail(u, how, why);
		return;
	}
	u->state = UP_CONNECTING;
	u->connect_by_ns = now + connect_share(u);
	set_timer(u, now);
	watch(u);
}

static void
on_due(void *arg)
{
	struct upconn *u = arg;
	uint64_t now = clock_mono_ns();

	if (u->state == UP_IDLE) {
		upconn_close(&u);
		return;
	}
	if ((u->state == UP_CONNECTING || u->state == UP_HANDSHAKE) &&
	    u->connect_by_ns <= now) {
		connect_elsewhere(
		    u, UPCONN_CONNECT_TIMEOUT, "no connection in time");
		return;
	}
	u->user_deadline_ns = DEADLINE_NONE;
	u->calls->on_deadline(u->user);
}

static void
is_connected(struct upconn *u)
{
	u->state = UP_BUSY;
	set_timer(u, clock_mono_ns());
	if (!u->is_paused)
		event_add(&u->readable, NULL);
	flush(u);
}

static void
handshake(struct upconn *u)
{
	char text[160];
	int n;

	ERR_clear_error();
	n = SSL_do_handshake(u->ssl);
	if (n == 1) {
		is_connected(u);
		return;
	}
	switch (SSL_get_error(u->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		event_add(&u->readable, NULL);
		break;
	case SSL_ERROR_WANT_WRITE:
		event_add(&u->writable, NULL);
		break;
	default:
		tls_error_text(u->ssl, text, sizeof text);
		fail(u, UPCONN_CONNECT, text);
	}
}

static void
on_connect(struct upconn *u)
{
	socklen_t len = sizeof(int);
	int error = 0;
	SSL_CTX *tls = u->snapshot->tls[u->up->index];

	if (getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0) {
		connect_elsewhere(u, UPCONN_CONNECT, strerror(error));
		return;
	}
	if (tls == NULL) {
		is_connected(u);
		return;
	}
	u->state = UP_HANDSHAKE;
	if ((u->ssl = tls_open(tls, u->up->host, u->fd)) == NULL)
		fail(u, UPCONN_CONNECT, "OpenSSL gives no connection");
	else
		handshake(u);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct upconn *u = arg;

	(void)fd;
	(void)what;
	if (u->state == UP_CONNECTING)
		on_connect(u);
	else if (u->state == UP_HANDSHAKE)
		handshake(u);
	else
		flush(u);
}

enum received { GOT_BYTES, GOT_NOTHING, GOT_EOF, GOT_RESET };

/* Fills the scratch buffer.  TLS gives a record at a time: as many as fit. */
static enum received
receive_tls(struct upconn *u, char *to, size_t *len)
{
	size_t got = 0;

	while (got < SCRATCH_BYTES) {
		int n, e;

		ERR_clear_error();
		n = SSL_read(u->ssl, to + got, (int)(SCRATCH_BYTES - got));
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		e = SSL_get_error(u->ssl, n);
		if (got > 0)
			break; /* the end is seen again by the next read */
		if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
			return GOT_NOTHING;
		/* Without close_notify it is a truncation. */
		return e == SSL_ERROR_ZERO_RETURN ? GOT_EOF : GOT_RESET;
	}
	*len = got;
	return GOT_BYTES;
}

static enum received
receive(struct upconn *u, char *to, size_t *len)
{
	ssize_t n;

	if (u->ssl != NULL)
		return receive_tls(u, to, len);
	n = recv(u->fd, to, SCRATCH_BYTES, 0);
	if (n > 0) {
		*len = (size_t)n;
		return GOT_BYTES;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return GOT_NOTHING;
	return n == 0 ? GOT_EOF : GOT_RESET;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct upconn *u = arg;
	size_t len = 0;

	(void)fd;
	(void)what;
	if (u->state == UP_HANDSHAKE) {
		event_del(&u->readable);
		handshake(u);
		return;
	}
	switch (receive(u, u->w->scratch, &len)) {
	case GOT_NOTHING:
		return;
	case GOT_BYTES:
		if (u->state == UP_IDLE)
			upconn_close(&u); /* nobody asked for anything */
		else
			u->calls->on_data(u->user, u->w->scratch, len);
		break;
	case GOT_EOF:
		if (u->state == UP_IDLE)
			upconn_close(&u);
		else
			u->calls->on_eof(u->user);
		return;
	case GOT_RESET:
		if (u->state == UP_IDLE)
			upconn_close(&u);
		else
			fail(u, UPCONN_RESET, "connection reset");
		return;
	}
	/* A dead one keeps its memory until the turn's end. */
	if (u != NULL && u->state == UP_BUSY && !u->is_paused)
		read_again(u);
}
