#include "tests/bench/driver.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/reader.h"

#include "base/banned.h"

#define BATCH_EVENTS 256
#define INPUT_BYTES (64 * 1024)
#define LONGEST_SLEEP_MS 100 /* so that *stop is looked at */

enum conn_state {
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_SENDING, /* also reads: an answer may come early */
	CONN_READING,
};

struct conn {
	enum conn_state state;
	int fd;
	bool wants_out; /* what epoll was told */
	bool is_open;   /* has had content, or is given up (open_only) */
	size_t sent_bytes;
	uint64_t begun_ns;
	uint64_t origin_ns; /* where the paced schedule begins */
	struct reader reader;
};

struct driver {
	struct driver_spec spec;
	struct tally *tally; /* borrowed, while it runs */
	struct conn *conns;  /* owned; spec.connections of them */
	char *input;         /* owned; INPUT_BYTES */
	int epoll;           /* owned */
	uint32_t started;    /* connections opened by the ramp */
	uint32_t busy;       /* connections that are not closed */
	uint32_t opened;     /* with open_only: streams open or given up */
	uint64_t begun;      /* requests */
	uint64_t start_ns;
	uint64_t window_ns; /* the measured window's ends */
	uint64_t end_ns;
};

static bool
in_window(const struct driver *d, uint64_t ns)
{
	return ns >= d->window_ns && ns < d->end_ns;
}

/* Whether one more request may begin. */
static bool
may_begin(const struct driver *d)
{
	if (*d->spec.stop || d->tally->errors_all >= DRIVER_MOST_ERRORS)
		return false;
	if (d->spec.requests > 0 && d->begun >= d->spec.requests)
		return false;
	return clock_mono_ns() < d->end_ns;
}

static void
watch(struct driver *d, struct conn *c, bool wants_out)
{
	struct epoll_event ev = {.data.ptr = c};

	if (c->wants_out == wants_out)
		return;
	ev.events = wants_out ? EPOLLIN | EPOLLOUT : EPOLLIN;
	epoll_ctl(d->epoll, EPOLL_CTL_MOD, c->fd, &ev);
	c->wants_out = wants_out;
}

static void
close_conn(struct driver *d, struct conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	close(c->fd);
	c->state = CONN_CLOSED;
	reader_reset(&c->reader);
	d->busy--;
}

static void
mark_open(struct driver *d, struct conn *c)
{
	if (!c->is_open)
		d->opened++;
	c->is_open = true;
}

static bool
dial(struct driver *d, struct conn *c)
{
	const struct sockaddr *to = (const void *)&d->spec.target;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if ((connect(c->fd, to, sizeof d->spec.target) != 0 &&
		errno != EINPROGRESS) ||
	    epoll_ctl(d->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0) {
		close(c->fd);
		return false;
	}
	c->wants_out = true;
	c->state = CONN_CONNECTING;
	d->busy++;
	d->tally->connects_all++;
	return true;
}

/* Opens a connection; the request goes out as soon as it stands. */
static void
open_conn(struct driver *d, struct conn *c)
{
	while (may_begin(d) && !dial(d, c)) {
		tally_error(d->tally, LOAD_ERROR_CONNECT);
		if (!d->spec.open_only)
			continue;
		mark_open(d, c);
		return;
	}
}

/* Counts the error, and begins anew on a fresh connection. */
static void
fail(struct driver *d, struct conn *c, enum load_error e)
{
	tally_error(d->tally, e);
	close_conn(d, c);
	if (d->spec.open_only)
		mark_open(d, c);
	else
		open_conn(d, c);
}

static void
send_more(struct driver *d, struct conn *c)
{
	const struct slice *q = &d->spec.request;
	ssize_t n = send(
	    c->fd, q->p + c->sent_bytes, q->len - c->sent_bytes, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		fail(d, c, LOAD_ERROR_IO);
		return;
	}
	if (n > 0)
		c->sent_bytes += (size_t)n;
	if (c->sent_bytes == q->len)
		c->state = CONN_READING;
	watch(d, c, c->state == CONN_SENDING);
}

static void
begin_request(struct driver *d, struct conn *c)
{
	reader_reset(&c->reader);
	c->sent_bytes = 0;
	c->origin_ns = UINT64_MAX;
	c->state = CONN_SENDING;
	c->begun_ns = clock_mono_ns();
	d->begun++;
	send_more(d, c);
}

static bool
is_complete(struct driver *d, struct conn *c)
{
	const struct reader *r = &c->reader;

	if (r->status != 200) {
		d->tally->bad_status = r->status;
		tally_error(d->tally, LOAD_ERROR_STATUS);
	} else if (!reader_is_whole(r)) {
		tally_error(d->tally, LOAD_ERROR_INCOMPLETE);
	} else if (d->spec.expected_events > 0 && r->is_stream &&
	    r->events.contents != d->spec.expected_events) {
		tally_error(d->tally, LOAD_ERROR_EVENTS);
	} else {
		return true;
	}
	return false;
}

/* An answer has come to its end at `now`. */
static void
finish(struct driver *d, struct conn *c, uint64_t now)
{
	struct tally *t = d->tally;
	bool keeps = !c->reader.will_close && c->state == CONN_READING;

	if (is_complete(d, c)) {
		t->requests_all++;
		if (in_window(d, now))
			t->requests++;
		if (in_window(d, c->begun_ns))
			histogram_add(&t->latency, now - c->begun_ns);
	}
	if (d->spec.open_only) { /* a stream was to stay open */
		tally_error(t, LOAD_ERROR_CUT);
		mark_open(d, c);
		close_conn(d, c);
	} else if (!may_begin(d)) {
		close_conn(d, c);
	} else if (keeps) {
		begin_request(d, c);
	} else {
		close_conn(d, c);
		open_conn(d, c);
	}
}

/* Events number `from` up to `to` of a stream came at `now`.  Number i is due i
 * intervals after the schedule's origin, for which the least late event so far
 * is taken: the first one alone would charge its own delay, as a gain, to all
 * that follow. */
static void
note_events(
    struct driver *d, struct conn *c, uint64_t from, uint64_t to, uint64_t now)
{
	bool counts = in_window(d, now);

	d->tally->events_all += to - from;
	if (counts)
		d->tally->events += to - from;
	if (d->spec.open_only && to > 0)
		mark_open(d, c);
	if (d->spec.interval_ns == 0)
		return;
	for (uint64_t i = from; i < to; i++) {
		uint64_t begun = now - i * d->spec.interval_ns;

		if (begun < c->origin_ns)
			c->origin_ns = begun;
		if (counts)
			histogram_add(&d->tally->delay, begun - c->origin_ns);
	}
}

static void
take_input(struct driver *d, struct conn *c, size_t len, uint64_t now)
{
	struct reader *r = &c->reader;
	uint64_t events = r->events.contents;
	bool had_body = r->body_bytes > 0;
	size_t used = reader_feed(r, d->input, len);

	d->tally->bytes_in_all += used;
	if (!had_body && r->body_bytes > 0 && in_window(d, c->begun_ns))
		histogram_add(&d->tally->first_byte, now - c->begun_ns);
	if (r->events.contents > events)
		note_events(d, c, events, r->events.contents, now);
	if (r->state == READER_BAD_HEAD)
		fail(d, c, LOAD_ERROR_HEAD);
	else if (r->state == READER_BAD_FRAMING)
		fail(d, c, LOAD_ERROR_FRAMING);
	else if (used < len)
		fail(d, c, LOAD_ERROR_EXTRA);
	else if (r->state == READER_DONE)
		finish(d, c, now);
}

static void
on_readable(struct driver *d, struct conn *c)
{
	ssize_t n = recv(c->fd, d->input, INPUT_BYTES, 0);

	if (n > 0)
		take_input(d, c, (size_t)n, clock_mono_ns());
	else if (n == 0)
		fail(d, c, LOAD_ERROR_CUT);
	else if (errno != EAGAIN && errno != EINTR)
		fail(d, c, LOAD_ERROR_IO);
}

static void
on_connected(struct driver *d, struct conn *c)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 ||
	    error != 0)
		fail(d, c, LOAD_ERROR_CONNECT);
	else if (may_begin(d))
		begin_request(d, c);
	else
		close_conn(d, c);
}

static void
on_event(struct driver *d, struct conn *c, uint32_t what)
{
	if (c->state == CONN_CONNECTING)
		on_connected(d, c);
	else if (what & (EPOLLIN | EPOLLERR | EPOLLHUP))
		on_readable(d, c);
	else if (c->state == CONN_SENDING && what & EPOLLOUT)
		send_more(d, c);
}

/* Opens the connections that the ramp says are due; returns how many ms there
 * are until the next one. */
static int
start_due(struct driver *d)
{
	const struct driver_spec *s = &d->spec;

	while (d->started < s->connections) {
		uint64_t due =
		    d->start_ns + s->ramp_ns * d->started / s->connections;
		uint64_t now = clock_mono_ns();

		if (now < due && due - now >= NS_PER_MS)
			return (int)((due - now) / NS_PER_MS);
		open_conn(d, &d->conns[d->started++]);
	}
	return LONGEST_SLEEP_MS;
}

/* One turn: what is due, then what has come. */
static void
turn(struct driver *d)
{
	struct epoll_event events[BATCH_EVENTS];
	int wait_ms = start_due(d);
	int n = epoll_wait(d->epoll, events, BATCH_EVENTS,
	    wait_ms < LONGEST_SLEEP_MS ? wait_ms : LONGEST_SLEEP_MS);

	for (int i = 0; i < n; i++)
		on_event(d, events[i].data.ptr, events[i].events);
}

struct driver *
driver_create(const struct driver_spec *spec, struct fault *why)
{
	struct driver *d = xcalloc(sizeof *d);

	d->spec = *spec;
	d->conns = xcalloc_array(spec->connections, sizeof *d->conns);
	d->input = xcalloc(INPUT_BYTES);
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (d->epoll < 0) {
		fault_errno(why, "cannot make an epoll");
		driver_destroy(&d);
	}
	return d;
}

void
driver_destroy(struct driver **dp)
{
	struct driver *d = *dp;

	if (d == NULL)
		return;
	for (uint32_t i = 0; i < d->spec.connections; i++)
		close_conn(d, &d->conns[i]);
	if (d->epoll >= 0)
		close(d->epoll);
	free(d->conns);
	free(d->input);
	free(d);
	*dp = NULL;
}

/* Closes what the drain did not see finish. */
static void
give_up(struct driver *d)
{
	for (uint32_t i = 0; i < d->spec.connections; i++) {
		if (d->conns[i].state == CONN_CLOSED)
			continue;
		tally_error(d->tally, LOAD_ERROR_UNFINISHED);
		close_conn(d, &d->conns[i]);
	}
}

/* How much of the window has passed. */
static uint64_t
measured_ns(const struct driver *d)
{
	uint64_t now = clock_mono_ns();

	if (now < d->window_ns)
		return 0;
	return now < d->end_ns ? now - d->window_ns : d->spec.duration_ns;
}

void
driver_run(struct driver *d, struct tally *out)
{
	const struct driver_spec *s = &d->spec;

	d->tally = out;
	d->start_ns = clock_mono_ns();
	d->window_ns = d->start_ns + s->warmup_ns;
	d->end_ns = d->window_ns + s->duration_ns;
	while (d->busy > 0 || d->started < s->connections) {
		if (s->open_only && d->opened == s->connections)
			break;
		if (clock_mono_ns() >= d->end_ns + s->drain_ns)
			break;
		turn(d);
	}
	if (!s->open_only)
		give_up(d);
	out->window_ns = measured_ns(d);
}

void
driver_hold(struct driver *d, struct tally *out)
{
	d->tally = out;
	while (d->busy > 0 && !*d->spec.stop && clock_mono_ns() < d->end_ns)
		turn(d);
}
