#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 8192
#define ACCEPTS_A_TURN 64
#define SHUT_POLL_US 2000

struct listener {
	struct event *ready; /* owned, never freed: lives with the program */
	struct event *poll;  /* the same: looks whether it is open again */
	listener_accept_fn on_accept;
	void *arg;
	int fd;
	int thread;
	bool is_permanent;
};

static struct listener listeners[LISTENERS_MAX];
static int count;
static atomic_bool is_shut;

static bool
parse_address(const char *address, struct sockaddr_in *to)
{
	const char *colon = strrchr(address, ':');
	char host[64];
	char *end;
	long port;

	if (colon == NULL || (size_t)(colon - address) >= sizeof host)
		return false;
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = '\0';
	port = strtol(colon + 1, &end, 10);
	if (*end != '\0' || end == colon + 1 || port < 0 || port > 65535)
		return false;
	*to = (struct sockaddr_in){
	    .sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	};
	return inet_pton(AF_INET, host, &to->sin_addr) == 1;
}

static int
open_socket(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Turns port 0 into a free port, and keeps it: the bound socket is leaked on
 * purpose, so that nobody takes the port while the listeners are shut. */
static bool
settle_port(struct sockaddr_in *address)
{
	socklen_t len = sizeof *address;
	int fd = open_socket(address);

	return fd >= 0 &&
	    getsockname(fd, (struct sockaddr *)address, &len) == 0;
}

bool
listener_create(
    const char *address, int threads, const char *word, bool is_permanent)
{
	struct sockaddr_in to;
	char host[INET_ADDRSTRLEN];

	if (!parse_address(address, &to) || !settle_port(&to))
		return false;
	for (int i = 0; i < threads; i++) {
		int fd = open_socket(&to);

		if (count == LISTENERS_MAX || fd < 0 ||
		    listen(fd, BACKLOG) != 0)
			return false;
		listeners[count++] = (struct listener){
		    .fd = fd,
		    .thread = i,
		    .is_permanent = is_permanent,
		};
	}
	inet_ntop(AF_INET, &to.sin_addr, host, sizeof host);
	printf("%s %s:%d\n", word, host, ntohs(to.sin_port));
	return true;
}

static void
on_ready(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = {.tv_usec = SHUT_POLL_US};
	struct listener *l = arg;
	int one = 1;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (s >= 0) {
			(void)setsockopt(
			    s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
			l->on_accept(l->arg, s);
		} else if (errno == EINVAL) {
			/* Shut: epoll would tell so without end. */
			event_del(l->ready);
			event_add(l->poll, &soon);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static void
on_poll(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval soon = {.tv_usec = SHUT_POLL_US};
	struct listener *l = arg;

	(void)fd;
	(void)what;
	if (atomic_load(&is_shut))
		event_add(l->poll, &soon);
	else
		event_add(l->ready, NULL);
}

void
listener_attach(struct event_base *base, int thread,
    listener_accept_fn on_accept, void *arg)
{
	for (int i = 0; i < count; i++) {
		struct listener *l = &listeners[i];

		if (l->thread != thread)
			continue;
		l->on_accept = on_accept;
		l->arg = arg;
		l->ready =
		    event_new(base, l->fd, EV_READ | EV_PERSIST, on_ready, l);
		l->poll = evtimer_new(base, on_poll, l);
		event_add(l->ready, NULL);
	}
}

void
listener_close_all(void)
{
	atomic_store(&is_shut, true);
	for (int i = 0; i < count; i++)
		if (!listeners[i].is_permanent)
			(void)shutdown(listeners[i].fd, SHUT_RD);
}

bool
listener_open_all(void)
{
	bool ok = true;

	for (int i = 0; i < count; i++)
		if (!listeners[i].is_permanent &&
		    listen(listeners[i].fd, BACKLOG) != 0)
			ok = false;
	atomic_store(&is_shut, false);
	return ok;
}
