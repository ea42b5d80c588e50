#include "proxy/shared/shared_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "metering/redis/redis_name.h"
#include "metering/redis/redis_store.h"
#include "metering/redis/redis_tls.h"

#include "base/banned.h"

#define READ_BYTES 16384

enum link_state {
	LINK_CLOSED,
	LINK_NAMING,     /* the name service is asked */
	LINK_CONNECTING, /* to one address after the other */
	LINK_SHAKING,    /* hands, for TLS */
	LINK_GREETING,   /* the first commands are under way */
	LINK_READY,
};

/* The first commands, in their order; those that are not needed are left
 * out. */
enum greeting { GREETING_AUTH, GREETING_SELECT, GREETING_INFO, GREETING_DONE };

struct shared_link {
	struct event_base *base;             /* borrowed */
	const struct redis_options *options; /* borrowed */
	struct shared_link_calls calls;
	enum link_state state;
	enum greeting greeting;      /* whose answer is awaited */
	struct event *timer, *io;    /* owned; `io` NULL without descriptor */
	int fd;                      /* -1: none */
	struct redis_name *name;     /* owned; a look-up under way, or NULL */
	struct redis_tls *tls;       /* owned; NULL: plain */
	struct redis_reader *reader; /* owned; NULL when closed */
	struct buf out;              /* to be sent; may hold the password */
	struct sockaddr_storage addresses[REDIS_ADDRESSES_MOST];
	socklen_t lengths[REDIS_ADDRESSES_MOST];
	size_t address_count, next_address;
	char run[REDIS_RUN_CHARS + 1];
};

static void begin_connecting(struct shared_link *l, struct redis_problem *p);

/* --- its life ------------------------------------------------------------ */

static void
set_timer(struct shared_link *l, long ms)
{
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	event_add(l->timer, &tv);
}

static void
drop_socket(struct shared_link *l)
{
	if (l->io != NULL)
		event_free(l->io);
	l->io = NULL;
	redis_tls_destroy(&l->tls);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

void
shared_link_close(struct shared_link *l)
{
	drop_socket(l);
	event_del(l->timer);
	redis_reader_destroy(&l->reader);
	if (buf_len(&l->out) > 0)
		explicit_bzero((char *)buf_data(&l->out), buf_len(&l->out));
	buf_clear(&l->out);
	l->state = LINK_CLOSED;
}

static void
go_down(struct shared_link *l, const struct redis_problem *p)
{
	shared_link_close(l);
	l->calls.on_down(l->calls.arg, p);
}

/* --- bytes --------------------------------------------------------------- */

static void on_io(evutil_socket_t fd, short what, void *arg);

static void
wait_for(struct shared_link *l, short events)
{
	if (l->io != NULL && event_get_events(l->io) == (events | EV_PERSIST))
		return;
	if (l->io != NULL)
		event_free(l->io);
	l->io = event_new(l->base, l->fd, events | EV_PERSIST, on_io, l);
	if (l->io == NULL || event_add(l->io, NULL) != 0)
		abort();
}

/* What a read or write that did nothing waits for; 0: it has failed. */
static short
wanted(const struct shared_link *l, ssize_t n, short otherwise)
{
	short want;

	if (l->tls == NULL)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? otherwise
								    : 0;
	want = redis_tls_wants(l->tls);
	return (short)((want & POLLIN ? EV_READ : 0) |
	    (want & POLLOUT ? EV_WRITE : 0));
}

static bool
say_broken(struct shared_link *l, ssize_t n, struct redis_problem *p)
{
	const char *text =
	    n == 0 ? "it has closed the connection" : strerror(errno);

	if (l->tls != NULL)
		text = redis_tls_error(l->tls);
	return redis_problem_set(p, REDIS_UNREACHABLE, "%s", text);
}

/* Sends what it can.  False with the problem if it has broken. */
static bool
flush(struct shared_link *l, struct redis_problem *p)
{
	short want = EV_READ;

	while (buf_len(&l->out) > 0) {
		size_t len = buf_len(&l->out);
		const char *bytes = buf_data(&l->out);
		ssize_t n = l->tls != NULL
		    ? redis_tls_write(l->tls, bytes, len)
		    : send(l->fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0) {
			short more = wanted(l, n, EV_WRITE);

			if (more == 0)
				return say_broken(l, n, p);
			want |= more;
			break;
		}
		if (l->state == LINK_GREETING)
			explicit_bzero((char *)bytes, (size_t)n);
		buf_drain(&l->out, (size_t)n);
	}
	wait_for(l, want);
	return true;
}

void
shared_link_send(struct shared_link *l, const struct redis_args *command)
{
	size_t len;
	char *bytes = redis_args_format(command, &len);
	bool was_empty = buf_len(&l->out) == 0;

	buf_put(&l->out, bytes, len);
	secret_free(bytes, len);
	if (was_empty)
		wait_for(l, EV_READ | EV_WRITE);
}

/* --- the first words ----------------------------------------------------- */

static void
put_greeting(struct shared_link *l)
{
	const struct redis_options *o = l->options;
	struct redis_args a = {0};

	if (o->password != NULL) {
		redis_args_text(&a, "AUTH");
		if (o->username != NULL)
			redis_args_text(&a, o->username);
		redis_args_text(&a, o->password);
		shared_link_send(l, &a);
		explicit_bzero((char *)buf_data(&a.bytes), buf_len(&a.bytes));
		redis_args_clear(&a);
	}
	if (o->db != 0) {
		redis_args_text(&a, "SELECT");
		redis_args_number(&a, o->db);
		shared_link_send(l, &a);
		redis_args_clear(&a);
	}
	redis_args_text(&a, "INFO");
	redis_args_text(&a, "server");
	shared_link_send(l, &a);
	redis_args_release(&a);
}

static enum greeting
first_greeting(const struct shared_link *l, enum greeting g)
{
	if (g == GREETING_AUTH && l->options->password == NULL)
		g = GREETING_SELECT;
	if (g == GREETING_SELECT && l->options->db == 0)
		g = GREETING_INFO;
	return g;
}

static bool
read_run(struct shared_link *l, const struct redis_reply *r)
{
	static const char name[] = "run_id:";
	const char *at = r->kind != REDIS_TEXT
	    ? NULL
	    : memmem(r->text.p, r->text.len, name, sizeof name - 1);

	if (at == NULL)
		return false;
	at += sizeof name - 1;
	if (r->text.p + r->text.len < at + REDIS_RUN_CHARS)
		return false;
	memcpy(l->run, at, REDIS_RUN_CHARS);
	l->run[REDIS_RUN_CHARS] = '\0';
	return true;
}

static void
greet(struct shared_link *l)
{
	l->state = LINK_GREETING;
	l->greeting = first_greeting(l, GREETING_AUTH);
	l->reader = redis_reader_create();
	set_timer(l, REDIS_DEADLINE_MS);
	put_greeting(l);
}

/* False with the problem if the answer is not what it should be. */
static bool
take_greeting(
    struct shared_link *l, struct redis_reply *r, struct redis_problem *p)
{
	bool ok = true;

	if (r->kind == REDIS_ERROR)
		ok = redis_problem_set(
		    p, redis_trouble_of(r->text), "%.200s", r->text.p);
	else if (l->greeting == GREETING_INFO && !read_run(l, r))
		ok = redis_problem_set(
		    p, REDIS_HOSTILE, "it does not tell its run_id");
	redis_reply_destroy(&r);
	if (!ok)
		return false;
	l->greeting = first_greeting(l, (enum greeting)(l->greeting + 1));
	if (l->greeting != GREETING_DONE)
		return true;
	l->state = LINK_READY;
	event_del(l->timer);
	l->calls.on_ready(l->calls.arg);
	return true;
}

/* --- replies ------------------------------------------------------------- */

/* False with the problem; or, with `p` untouched, when the link was closed by
 * its user. */
static bool
take_bytes(struct shared_link *l, const char *bytes, size_t len,
    struct redis_problem *p)
{
	struct redis_reply *r = NULL;

	for (;;) {
		switch (redis_reader_next(l->reader, bytes, len, &r, &p->why)) {
		case REDIS_READ_MORE:
			return true;
		case REDIS_READ_BAD:
			p->trouble = REDIS_HOSTILE;
			return false;
		case REDIS_READ_DONE:
			break;
		}
		len = 0;
		if (l->state == LINK_GREETING) {
			if (!take_greeting(l, r, p))
				return false;
		} else {
			l->calls.on_reply(l->calls.arg, r);
		}
		if (l->state != LINK_READY && l->state != LINK_GREETING)
			return false;
	}
}

static bool
receive(struct shared_link *l, struct redis_problem *p)
{
	char bytes[READ_BYTES];

	for (;;) {
		ssize_t n = l->tls != NULL
		    ? redis_tls_read(l->tls, bytes, sizeof bytes)
		    : recv(l->fd, bytes, sizeof bytes, 0);

		if (n <= 0)
			return wanted(l, n, EV_READ) != 0 ||
			    say_broken(l, n, p);
		if (!take_bytes(l, bytes, (size_t)n, p))
			return false;
	}
}

static void
talk(struct shared_link *l, short what)
{
	struct redis_problem p = {.trouble = REDIS_NONE};
	bool ok = true;

	if ((what & EV_READ) != 0 || l->tls != NULL)
		ok = receive(l, &p);
	if (l->state != LINK_GREETING && l->state != LINK_READY)
		return; /* a callback has closed it */
	if (ok)
		ok = flush(l, &p);
	if (!ok)
		go_down(l, &p);
}

/* --- connecting ---------------------------------------------------------- */

static void
shake(struct shared_link *l)
{
	struct redis_problem p;

	if (l->tls == NULL) {
		l->tls = redis_tls_create(
		    l->options->ca_file, l->options->host, l->fd, &p.why);
		if (l->tls == NULL) {
			p.trouble = REDIS_TLS;
			go_down(l, &p);
			return;
		}
	}
	if (redis_tls_shake(l->tls)) {
		greet(l);
	} else if (redis_tls_wants(l->tls) != 0) {
		wait_for(l, wanted(l, -1, 0));
	} else {
		redis_problem_set(&p, REDIS_TLS, "%s", redis_tls_error(l->tls));
		go_down(l, &p);
	}
}

static void
connected(struct shared_link *l)
{
	if (!l->options->is_tls) {
		greet(l);
		return;
	}
	l->state = LINK_SHAKING;
	set_timer(l, REDIS_DEADLINE_MS);
	shake(l);
}

/* The connection stands, or the next address is tried. */
static void
look_whether_connected(struct shared_link *l)
{
	struct redis_problem p;
	int error = 0;
	socklen_t size = sizeof error;

	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error == 0) {
		connected(l);
		return;
	}
	redis_problem_set(
	    &p, REDIS_UNREACHABLE, "cannot connect: %s", strerror(error));
	begin_connecting(l, &p);
}

static bool
try_address(struct shared_link *l, const struct sockaddr_storage *to,
    socklen_t len, struct redis_problem *p)
{
	int one = 1;

	l->fd = socket(
	    to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return redis_problem_set(
		    p, REDIS_UNREACHABLE, "socket: %s", strerror(errno));
	if (to->ss_family != AF_UNIX)
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(l->fd, (const struct sockaddr *)to, len) == 0 ||
	    errno == EINPROGRESS)
		return true;
	return redis_problem_set(
	    p, REDIS_UNREACHABLE, "cannot connect: %s", strerror(errno));
}

/* To the next address; when there is none left, `p` says why the last failed.
 */
static void
begin_connecting(struct shared_link *l, struct redis_problem *p)
{
	l->state = LINK_CONNECTING;
	while (l->next_address < l->address_count) {
		size_t i = l->next_address++;

		drop_socket(l);
		if (!try_address(l, &l->addresses[i], l->lengths[i], p))
			continue;
		set_timer(l, REDIS_DEADLINE_MS);
		wait_for(l, EV_WRITE);
		return;
	}
	go_down(l, p);
}

static void
take_name(struct shared_link *l)
{
	struct redis_problem p = {.trouble = REDIS_UNREACHABLE};

	event_free(l->io);
	l->io = NULL;
	l->address_count =
	    redis_name_take(l->name, l->addresses, l->lengths, &p.why);
	redis_name_destroy(&l->name);
	begin_connecting(l, &p);
}

/* A look-up that has not come back stays for the next try. */
static void
ask_name(struct shared_link *l)
{
	const struct redis_options *o = l->options;
	struct redis_problem p = {.trouble = REDIS_UNREACHABLE};

	if (l->name == NULL &&
	    (l->name = redis_name_ask(o->host, o->port, &p.why)) == NULL) {
		go_down(l, &p);
		return;
	}
	l->io = event_new(
	    l->base, redis_name_fd(l->name), EV_READ | EV_PERSIST, on_io, l);
	if (l->io == NULL || event_add(l->io, NULL) != 0)
		abort();
	set_timer(l, REDIS_NAME_DEADLINE_MS);
}

static bool
set_unix_address(struct shared_link *l, struct redis_problem *p)
{
	struct sockaddr_un *to = (struct sockaddr_un *)&l->addresses[0];
	size_t len = strlen(l->options->path);

	if (len >= sizeof to->sun_path)
		return redis_problem_set(
		    p, REDIS_UNREACHABLE, "the path of its socket is too long");
	*to = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(to->sun_path, l->options->path, len);
	l->lengths[0] = sizeof *to;
	l->address_count = 1;
	return true;
}

static void
begin(struct shared_link *l)
{
	const struct redis_options *o = l->options;
	struct redis_problem p;

	l->next_address = l->address_count = 0;
	if (o->is_unix) {
		if (set_unix_address(l, &p))
			begin_connecting(l, &p);
		else
			go_down(l, &p);
	} else if (redis_name_literal(
		       o->host, o->port, &l->addresses[0], &l->lengths[0])) {
		l->address_count = 1;
		begin_connecting(l, &p);
	} else {
		ask_name(l);
	}
}

void
shared_link_connect(struct shared_link *l)
{
	l->state = LINK_NAMING;
	set_timer(l, 0);
}

/* --- events -------------------------------------------------------------- */

static void
on_io(evutil_socket_t fd, short what, void *arg)
{
	struct shared_link *l = arg;

	(void)fd;
	switch (l->state) {
	case LINK_CLOSED:
		return;
	case LINK_NAMING:
		take_name(l);
		return;
	case LINK_CONNECTING:
		look_whether_connected(l);
		return;
	case LINK_SHAKING:
		shake(l);
		return;
	case LINK_GREETING:
	case LINK_READY:
		talk(l, what);
		return;
	}
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct shared_link *l = arg;
	struct redis_problem p;

	(void)fd;
	(void)what;
	if (l->state == LINK_NAMING && l->io == NULL) {
		begin(l);
		return;
	}
	redis_problem_set(&p, REDIS_TOO_SLOW, "%s took too long",
	    l->state == LINK_NAMING ? "looking up its name" : "connecting");
	if (l->state == LINK_CONNECTING)
		begin_connecting(l, &p);
	else
		go_down(l, &p);
}

struct shared_link *
shared_link_create(struct event_base *base, const struct redis_options *o,
    const struct shared_link_calls *calls, struct fault *why)
{
	struct shared_link *l = xcalloc(sizeof *l);

	l->base = base;
	l->options = o;
	l->calls = *calls;
	l->fd = -1;
	l->timer = evtimer_new(base, on_timer, l);
	if (l->timer == NULL) {
		fault_set(why, "libevent gives no timer");
		free(l);
		return NULL;
	}
	return l;
}

void
shared_link_destroy(struct shared_link **lp)
{
	struct shared_link *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	shared_link_close(l);
	redis_name_destroy(&l->name);
	event_free(l->timer);
	buf_release(&l->out);
	free(l);
}

bool
shared_link_is_ready(const struct shared_link *l)
{
	return l->state == LINK_READY;
}

const char *
shared_link_run(const struct shared_link *l)
{
	return l->run;
}
