#include "metering/redis/redis_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metering/redis/redis_name.h"
#include "metering/redis/redis_tls.h"

#include "base/banned.h"

#define READ_BYTES 16384
#define PLACE_BYTES 512

struct redis_link {
	const struct redis_options *options; /* borrowed */
	char place[PLACE_BYTES];
	int stop_fd;                 /* borrowed; -1: none */
	int timer;                   /* runs while something has a deadline */
	int fd;                      /* -1: not open */
	struct redis_name *name;     /* owned; a look-up under way, or NULL */
	struct redis_tls *tls;       /* owned; NULL: plain */
	struct redis_reader *reader; /* owned; NULL when not open */
};

bool
redis_problem_set(
    struct redis_problem *p, enum redis_trouble t, const char *fmt, ...)
{
	va_list ap;

	p->trouble = t;
	va_start(ap, fmt);
	vsnprintf(p->why.text, sizeof p->why.text, fmt, ap);
	va_end(ap);
	return false;
}

struct redis_link *
redis_link_create(const struct redis_options *o, int stop_fd, struct fault *why)
{
	struct redis_link *l = xcalloc(sizeof *l);

	l->options = o;
	l->stop_fd = stop_fd;
	l->fd = -1;
	if (o->is_unix)
		snprintf(l->place, sizeof l->place, "unix:%s", o->path);
	else
		snprintf(l->place, sizeof l->place, "redis%s://%s:%u",
		    o->is_tls ? "s" : "", o->host, o->port);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer < 0) {
		fault_errno(why, "cannot make a timer for Redis");
		free(l);
		return NULL;
	}
	return l;
}

void
redis_link_destroy(struct redis_link **lp)
{
	struct redis_link *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	redis_link_close(l);
	redis_name_destroy(&l->name);
	close(l->timer);
	free(l);
}

bool
redis_link_is_open(const struct redis_link *l)
{
	return l->fd >= 0;
}

const char *
redis_link_place(const struct redis_link *l)
{
	return l->place;
}

void
redis_link_close(struct redis_link *l)
{
	redis_tls_destroy(&l->tls);
	redis_reader_destroy(&l->reader);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static void
set_deadline(const struct redis_link *l, long ms)
{
	struct itimerspec when = {
	    .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};

	timerfd_settime(l->timer, 0, &when, NULL);
}

/* Waits for `fd`; false when there is no more time, or the gateway stops. */
static bool
wait_for(const struct redis_link *l, int fd, short events, const char *doing,
    struct redis_problem *p)
{
	struct pollfd fds[] = {{.fd = fd, .events = events},
	    {.fd = l->timer, .events = POLLIN},
	    {.fd = l->stop_fd, .events = POLLIN}};

	while (poll(fds, COUNT_OF(fds), -1) < 0)
		if (errno != EINTR)
			return redis_problem_set(
			    p, REDIS_UNREACHABLE, "poll: %s", strerror(errno));
	if (fds[2].revents != 0)
		return redis_problem_set(p, REDIS_STOPPED, "the gateway stops");
	if (fds[0].revents != 0)
		return true;
	return redis_problem_set(p, REDIS_TOO_SLOW, "%s took too long", doing);
}

/* --- connecting ---------------------------------------------------------- */

static bool
connect_to(struct redis_link *l, const struct sockaddr *to, socklen_t len,
    struct redis_problem *p)
{
	int one = 1, error = 0;
	socklen_t size = sizeof error;

	l->fd = socket(
	    to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return redis_problem_set(
		    p, REDIS_UNREACHABLE, "socket: %s", strerror(errno));
	if (to->sa_family != AF_UNIX)
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	set_deadline(l, REDIS_DEADLINE_MS);
	if (connect(l->fd, to, len) == 0)
		return true;
	if (errno == EINPROGRESS) {
		if (!wait_for(l, l->fd, POLLOUT, "connecting", p))
			goto failed;
		getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error == 0)
			return true;
		errno = error;
	}
	redis_problem_set(
	    p, REDIS_UNREACHABLE, "cannot connect: %s", strerror(errno));
failed:
	redis_link_close(l);
	return false;
}

static bool
connect_unix(struct redis_link *l, struct redis_problem *p)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = strlen(l->options->path);

	if (len >= sizeof to.sun_path)
		return redis_problem_set(p, REDIS_UNREACHABLE,
		    "the path of its socket is longer than %zu bytes",
		    sizeof to.sun_path - 1);
	memcpy(to.sun_path, l->options->path, len);
	return connect_to(l, (const struct sockaddr *)&to, sizeof to, p);
}

/* Waits for the look-up; one that has not come back stays for the next try. */
static size_t
look_up(struct redis_link *l, struct sockaddr_storage *out, socklen_t *lengths,
    struct redis_problem *p)
{
	const struct redis_options *o = l->options;
	size_t count;

	if (redis_name_literal(o->host, o->port, &out[0], &lengths[0]))
		return 1;
	p->trouble = REDIS_UNREACHABLE;
	if (l->name == NULL &&
	    (l->name = redis_name_ask(o->host, o->port, &p->why)) == NULL)
		return 0;
	set_deadline(l, REDIS_NAME_DEADLINE_MS);
	if (!wait_for(
		l, redis_name_fd(l->name), POLLIN, "looking up its name", p))
		return 0;
	count = redis_name_take(l->name, out, lengths, &p->why);
	redis_name_destroy(&l->name);
	return count;
}

static bool
connect_tcp(struct redis_link *l, struct redis_problem *p)
{
	struct sockaddr_storage to[REDIS_ADDRESSES_MOST];
	socklen_t lengths[REDIS_ADDRESSES_MOST];
	size_t count = look_up(l, to, lengths, p);

	for (size_t i = 0; i < count; i++) {
		if (connect_to(
			l, (const struct sockaddr *)&to[i], lengths[i], p))
			return true;
		if (p->trouble == REDIS_STOPPED)
			return false;
	}
	return false;
}

/* --- bytes --------------------------------------------------------------- */

/* What a read or write that did nothing waits for; 0: it has failed. */
static short
wanted(const struct redis_link *l, ssize_t n, short otherwise)
{
	if (l->tls != NULL)
		return redis_tls_wants(l->tls);
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? otherwise : 0;
}

/* Closes, and says that the other side has, or why it failed. */
static bool
fail_io(struct redis_link *l, ssize_t n, struct redis_problem *p)
{
	if (l->tls != NULL)
		redis_problem_set(
		    p, REDIS_UNREACHABLE, "%s", redis_tls_error(l->tls));
	else if (n == 0)
		redis_problem_set(p, REDIS_UNREACHABLE,
		    "it has closed the connection without an answer");
	else
		redis_problem_set(p, REDIS_UNREACHABLE,
		    "the connection broke: %s", strerror(errno));
	redis_link_close(l);
	return false;
}

static bool
shake_hands(struct redis_link *l, struct redis_problem *p)
{
	const struct redis_options *o = l->options;
	short want;

	l->tls = redis_tls_create(o->ca_file, o->host, l->fd, &p->why);
	if (l->tls == NULL) {
		p->trouble = REDIS_TLS;
		goto failed;
	}
	set_deadline(l, REDIS_DEADLINE_MS);
	while (!redis_tls_shake(l->tls)) {
		if ((want = redis_tls_wants(l->tls)) == 0) {
			redis_problem_set(
			    p, REDIS_TLS, "%s", redis_tls_error(l->tls));
			goto failed;
		}
		if (!wait_for(l, l->fd, want, "the TLS handshake", p))
			goto failed;
	}
	return true;
failed:
	redis_link_close(l);
	return false;
}

static bool
send_all(
    struct redis_link *l, const char *p, size_t len, struct redis_problem *why)
{
	while (len > 0) {
		ssize_t n = l->tls != NULL ? redis_tls_write(l->tls, p, len)
					   : send(l->fd, p, len, MSG_NOSIGNAL);
		short want;

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if ((want = wanted(l, n, POLLOUT)) == 0)
			return fail_io(l, n, why);
		if (!wait_for(l, l->fd, want, "sending a command", why)) {
			redis_link_close(l);
			return false;
		}
	}
	return true;
}

static struct redis_reply *
receive(struct redis_link *l, struct redis_problem *p)
{
	char bytes[READ_BYTES];

	for (;;) {
		ssize_t n = l->tls != NULL
		    ? redis_tls_read(l->tls, bytes, sizeof bytes)
		    : recv(l->fd, bytes, sizeof bytes, 0);
		struct redis_reply *r = NULL;
		short want;

		if (n <= 0) {
			if ((want = wanted(l, n, POLLIN)) == 0) {
				fail_io(l, n, p);
				return NULL;
			}
			if (wait_for(l, l->fd, want, "its answer", p))
				continue;
			redis_link_close(l);
			return NULL;
		}
		switch (redis_reader_feed(
		    l->reader, bytes, (size_t)n, &r, &p->why)) {
		case REDIS_READ_MORE:
			continue;
		case REDIS_READ_DONE:
			return r;
		case REDIS_READ_BAD:
			p->trouble = REDIS_HOSTILE;
			redis_link_close(l);
			return NULL;
		}
	}
}

struct redis_reply *
redis_link_ask(struct redis_link *l, const struct redis_args *command,
    struct redis_problem *p)
{
	struct redis_reply *r = NULL;
	size_t len;
	char *bytes;

	if (l->fd < 0) {
		redis_problem_set(p, REDIS_UNREACHABLE, "not connected");
		return NULL;
	}
	bytes = redis_args_format(command, &len);
	set_deadline(l, REDIS_DEADLINE_MS);
	if (send_all(l, bytes, len, p))
		r = receive(l, p);
	secret_free(bytes, len);
	if (r == NULL || r->kind != REDIS_ERROR)
		return r;
	redis_problem_set(p, redis_trouble_of(r->text), "%.200s", r->text.p);
	redis_reply_destroy(&r);
	return NULL;
}

/* --- the first words ----------------------------------------------------- */

static bool
say(struct redis_link *l, const struct redis_args *command,
    struct redis_problem *p)
{
	struct redis_reply *r = redis_link_ask(l, command, p);
	bool ok = r != NULL;

	redis_reply_destroy(&r);
	return ok;
}

static bool
authenticate(struct redis_link *l, struct redis_problem *p)
{
	const struct redis_options *o = l->options;
	struct redis_args a = {0};
	bool ok;

	if (o->password == NULL)
		return true;
	/* Room for all at once: growing would leave a copy behind. */
	if (buf_reserve(&a.bytes, strlen(o->password) + PLACE_BYTES,
		SIZE_MAX / 2) == NULL)
		abort();
	redis_args_text(&a, "AUTH");
	if (o->username != NULL)
		redis_args_text(&a, o->username);
	redis_args_text(&a, o->password);
	ok = say(l, &a, p);
	redis_args_release(&a);
	return ok;
}

static bool
choose_database(struct redis_link *l, struct redis_problem *p)
{
	struct redis_args a = {0};
	bool ok;

	if (l->options->db == 0)
		return true;
	redis_args_text(&a, "SELECT");
	redis_args_number(&a, l->options->db);
	ok = say(l, &a, p);
	redis_args_release(&a);
	return ok;
}

bool
redis_link_open(struct redis_link *l, struct redis_problem *p)
{
	redis_link_close(l);
	if (!(l->options->is_unix ? connect_unix(l, p) : connect_tcp(l, p)))
		return false;
	if (l->options->is_tls && !shake_hands(l, p))
		return false;
	l->reader = redis_reader_create();
	if (authenticate(l, p) && choose_database(l, p))
		return true;
	redis_link_close(l);
	return false;
}
