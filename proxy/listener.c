#include "proxy/listener.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/address.h"
#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin_socket.h"
#include "proxy/client.h"
#include "proxy/worker.h"

#include "base/banned.h"

#define UNSENT_MOST_BYTES (128 * 1024) /* in the kernel, a connection */
#define ACCEPT_MOST 64 /* a loop turn, so that streams go on meanwhile */

struct listener {
	struct worker *w; /* borrowed */
	int fd;
	struct event readable, resume;
};

static void
format(char *out, size_t room, const struct listen_address *a)
{
	struct address address = address_of((const struct sockaddr *)&a->sa);
	char text[ADDRESS_TEXT_BYTES];
	const struct sockaddr_in *v4 = (const void *)&a->sa;

	/* The port lies at the same place in both families. */
	address_format(text, &address);
	snprintf(out, room, a->sa.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u",
	    text, ntohs(v4->sin_port));
}

static int
bound_socket(const struct listen_address *a, bool shares, struct fault *why)
{
	int fd = socket(
	    a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char text[ADDRESS_TEXT_BYTES + 8];
	int on = 1, unsent = UNSENT_MOST_BYTES;

	format(text, sizeof text, a);
	if (fd < 0) {
		fault_errno(why, "no socket for %s", text);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (shares)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	if (a->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	/* On Linux an accepted socket inherits both.  The second bounds what
	 * the kernel keeps for a client that reads slowly, and lets us see that
	 * it reads at all. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0) {
		fault_errno(why, "cannot listen on %s", text);
		close(fd);
		return -1;
	}
	return fd;
}

bool
listen_probe(struct listen_address *a, size_t count, struct fault *why)
{
	for (size_t i = 0; i < count; i++) {
		int fd = bound_socket(&a[i], false, why);
		bool ok;

		if (fd < 0)
			return false;
		/* Only listen(2) tells of another socket that listens there. */
		ok = listen(fd, 1) == 0;
		if (!ok)
			fault_errno(why, "cannot listen");
		getsockname(fd, (struct sockaddr *)&a[i].sa, &a[i].len);
		close(fd);
		if (!ok)
			return false;
	}
	return true;
}

static void
pause_accepting(struct listener *l, int error)
{
	static const struct timeval pause = {0, 200000};

	log_warning("cannot accept a connection: %s; pausing", strerror(error));
	event_del(&l->readable);
	event_add(&l->resume, &pause);
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	event_add(&l->readable, NULL);
}

static void
accept_some(struct listener *l, int most)
{
	for (int i = 0; i < most; i++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof sa;
		int fd = accept4(l->fd, (struct sockaddr *)&sa, &len,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_open(l->w, fd, (struct sockaddr *)&sa);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EAGAIN)
			pause_accepting(l, errno);
		return;
	}
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	accept_some(arg, ACCEPT_MOST);
}

bool
listeners_open(struct worker *w, const struct listen_address *a, size_t count,
    struct fault *why)
{
	w->listeners = xcalloc_array(count, sizeof *w->listeners);
	for (size_t i = 0; i < count; i++) {
		struct listener *l = &w->listeners[i];

		l->w = w;
		l->fd = a[i].sa.ss_family == AF_UNIX
		    ? admin_socket_bind(&a[i], why)
		    : bound_socket(&a[i], true, why);
		if (l->fd < 0)
			return false;
		w->listener_count++;
		event_assign(&l->readable, w->base, l->fd, EV_READ | EV_PERSIST,
		    on_connection, l);
		event_assign(&l->resume, w->base, -1, 0, on_resume, l);
		if (listen(l->fd, LISTEN_BACKLOG) != 0)
			return fault_errno(why, "cannot listen");
		event_add(&l->readable, NULL);
	}
	return true;
}

void
listeners_close(struct worker *w)
{
	for (size_t i = 0; i < w->listener_count; i++) {
		struct listener *l = &w->listeners[i];

		event_del(&l->readable);
		event_del(&l->resume);
		close(l->fd);
	}
	free(w->listeners);
	w->listeners = NULL;
	w->listener_count = 0;
}
