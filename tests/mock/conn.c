#include "conn_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "reqlog.h"

#define READ_BYTES 16384       /* room for one read */
#define READ_BODY_BYTES 262144 /* ... when a large body is awaited */
#define PIPELINE_BYTES 1048576 /* read ahead at most, during an answer */
#define SLOW_READ_BYTES 4096

void
conn_arm(struct conn *c, int64_t us)
{
	struct timeval t = {us / 1000000, us % 1000000};

	event_add(&c->timer, &t);
}

void
conn_set_reading(struct conn *c, bool is_on)
{
	if (c->is_reading == is_on)
		return;
	c->is_reading = is_on;
	if (is_on) {
		event_del(&c->closed);
		event_add(&c->readable, NULL);
	} else {
		event_del(&c->readable);
		event_add(&c->closed, NULL);
	}
}

void
conn_end_request(struct conn *c, enum ending why)
{
	static const char *const names[] = {
	    [ENDING_FINISHED] = "finished",
	    [ENDING_CLIENT_LEFT] = "cut",
	    [ENDING_FAULT] = "fault",
	    [ENDING_IDLE] = "finished",
	};
	static const enum stat answers[] = {
	    [ENDING_FINISHED] = STAT_answers_finished,
	    [ENDING_CLIENT_LEFT] = STAT_answers_cut,
	    [ENDING_FAULT] = STAT_answers_broken,
	    [ENDING_IDLE] = STAT_answers_finished,
	};
	static const enum stat streams[] = {
	    [ENDING_FINISHED] = STAT_streams_finished,
	    [ENDING_CLIENT_LEFT] = STAT_streams_cut,
	    [ENDING_FAULT] = STAT_streams_broken,
	    [ENDING_IDLE] = STAT_streams_finished,
	};

	if (!c->is_in_flight)
		return;
	c->is_in_flight = false;
	stats_sub(STAT_in_flight, 1);
	if (c->is_held)
		stats_sub(STAT_held, 1);
	c->is_held = false;
	conn_end_work(c, why == ENDING_CLIENT_LEFT && !c->is_alone);
	if (c->phase != PHASE_ANSWER && c->phase != PHASE_HUNG)
		return; /* the body never came: nothing was begun */
	stats_add(answers[why], 1);
	if (c->a.is_stream)
		stats_add(streams[why], 1);
	stats_add(STAT_content_events, c->a.k);
	if (c->w->server->has_log)
		reqlog_end(c->id, &c->a, c->d.fault, names[why], c->sent,
		    c->was_usage_sent);
}

enum step
conn_end(struct conn *c, enum ending why, enum fault_act act)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	conn_end_request(c, why);
	if (c->is_counted)
		stats_sub(STAT_connections_open, 1);
	event_del(&c->readable);
	event_del(&c->writable);
	event_del(&c->closed);
	event_del(&c->timer);
	if (act == ACT_RESET)
		(void)setsockopt(
		    c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	if (c->ssl != NULL) {
		/* A fault leaves without the alert that makes an EOF true. */
		if (why == ENDING_FINISHED || why == ENDING_IDLE)
			(void)SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	close(c->fd);
	bytes_free(&c->in);
	bytes_free(&c->out);
	request_free(&c->rq);
	answer_free(&c->a);
	free(c);
	return STEP_GONE;
}

/* Returns what was read, 0 at the end, -1 when there is nothing now. */
static ssize_t
receive(struct conn *c, char *p, size_t n)
{
	ssize_t got;
	int error;

	if (c->ssl == NULL) {
		got = recv(c->fd, p, n, 0);
		if (got < 0)
			return errno == EAGAIN || errno == EINTR ? -1 : 0;
		return got;
	}
	ERR_clear_error();
	got = SSL_read(c->ssl, p, (int)n);
	if (got > 0)
		return got;
	error = SSL_get_error(c->ssl, (int)got);
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
	    ? -1
	    : 0;
}

ssize_t
conn_transmit(struct conn *c, const char *p, size_t n)
{
	ssize_t put;
	int error;

	if (c->ssl == NULL) {
		put = send(c->fd, p, n, MSG_NOSIGNAL);
		if (put < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		return put;
	}
	ERR_clear_error();
	put = SSL_write(c->ssl, p, (int)n);
	if (put > 0)
		return put;
	error = SSL_get_error(c->ssl, (int)put);
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE
	    ? 0
	    : -1;
}

/* Goes on until there is something to wait for. */
static void
conn_run(struct conn *c)
{
	enum step step = STEP_AGAIN;

	while (step == STEP_AGAIN) {
		switch (c->phase) {
		case PHASE_HEAD:
			step = conn_step_head(c);
			break;
		case PHASE_BODY:
			step = conn_step_body(c);
			break;
		case PHASE_ANSWER:
			step = conn_play(c);
			break;
		case PHASE_HUNG:
			step = STEP_WAIT;
			break;
		}
	}
}

/* Reads once; for TLS until its own buffer is empty as well.  Returns false if
 * the peer has left. */
static bool
read_more(struct conn *c)
{
	size_t room = c->phase == PHASE_BODY && c->d.slow_read == 0 &&
		c->rq.length > READ_BYTES
	    ? READ_BODY_BYTES
	    : READ_BYTES;
	ssize_t got;

	if (c->phase == PHASE_BODY && c->d.slow_read > 0)
		room = SLOW_READ_BYTES;
	do {
		got = receive(c, bytes_room(&c->in, room), room);
		if (got > 0)
			c->in.n += (size_t)got;
	} while (got > 0 && c->ssl != NULL && c->d.slow_read == 0);
	return got != 0;
}

static void
leave(struct conn *c)
{
	if (!conn_works_on(c))
		conn_end(c, ENDING_CLIENT_LEFT, ACT_GO_ON);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	bool is_open = read_more(c);

	(void)fd;
	(void)what;
	if (!is_open) {
		leave(c);
	} else if (c->phase == PHASE_HEAD || c->phase == PHASE_BODY) {
		conn_run(c);
	} else if (c->in.n > PIPELINE_BYTES) {
		conn_set_reading(c, false);
	}
}

static void
on_closed(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	leave(arg);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	conn_run(arg);
}

/* The next event is due, or a slow read is, or the idle time is over. */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	if (c->phase == PHASE_HEAD)
		conn_end(c, ENDING_IDLE, ACT_GO_ON);
	else if (c->phase == PHASE_BODY && !read_more(c))
		conn_end(c, ENDING_CLIENT_LEFT, ACT_GO_ON);
	else
		conn_run(c);
}

void
conn_accept(void *arg, int fd)
{
	struct worker *w = arg;
	struct conn *c = calloc(1, sizeof *c);

	if (c == NULL)
		abort();
	c->w = w;
	c->fd = fd;
	c->is_counted = true;
	directives_init(&c->d);
	stats_add(STAT_connections_accepted, 1);
	stats_add(STAT_connections_open, 1);
	event_assign(
	    &c->readable, w->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, w->base, fd, EV_WRITE, on_writable, c);
	event_assign(&c->closed, w->base, fd, EV_CLOSED, on_closed, c);
	evtimer_assign(&c->timer, w->base, on_timer, c);
	if (w->tls != NULL) {
		c->ssl = SSL_new(w->tls);
		if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1)
			abort();
		SSL_set_accept_state(c->ssl);
	}
	conn_set_reading(c, true);
}
