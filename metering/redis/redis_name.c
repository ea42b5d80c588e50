#include "metering/redis/redis_name.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"

#include "base/banned.h"

#define PORT_CHARS 6

struct redis_name {
	atomic_uint refs; /* who asked, and the thread */
	int done;         /* eventfd */
	char *host;       /* owned */
	char port[PORT_CHARS];
	int code; /* of getaddrinfo(), as is what it found */
	struct addrinfo *found;
};

static void
unref(struct redis_name *n)
{
	if (atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	if (n->found != NULL)
		freeaddrinfo(n->found);
	if (n->done >= 0)
		close(n->done);
	free(n->host);
	free(n);
}

static void *
run(void *arg)
{
	struct redis_name *n = arg;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	uint64_t one = 1;
	ssize_t written;

	n->code = getaddrinfo(n->host, n->port, &hints, &n->found);
	written = write(n->done, &one, sizeof one);
	(void)written; /* an eventfd at 0 takes it */
	unref(n);
	return NULL;
}

bool
redis_name_literal(const char *host, uint16_t port,
    struct sockaddr_storage *out, socklen_t *len)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
	    .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char digits[PORT_CHARS];

	snprintf(digits, sizeof digits, "%u", port);
	if (getaddrinfo(host, digits, &hints, &found) != 0)
		return false;
	memset(out, 0, sizeof *out);
	memcpy(out, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

/* Signals are for the main thread. */
static int
start_thread(struct redis_name *n)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int failed;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, &attr, run, n);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return failed;
}

struct redis_name *
redis_name_ask(const char *host, uint16_t port, struct fault *why)
{
	struct redis_name *n = xcalloc(sizeof *n);
	int failed = 0;

	n->host = xstrdup(host);
	snprintf(n->port, sizeof n->port, "%u", port);
	n->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&n->refs, 2);
	if (n->done < 0 || (failed = start_thread(n)) != 0) {
		if (failed != 0)
			errno = failed;
		fault_errno(why, "cannot look up %s", host);
		atomic_store(&n->refs, 1);
		unref(n);
		return NULL;
	}
	return n;
}

int
redis_name_fd(const struct redis_name *n)
{
	return n->done;
}

size_t
redis_name_take(struct redis_name *n,
    struct sockaddr_storage out[REDIS_ADDRESSES_MOST],
    socklen_t lengths[REDIS_ADDRESSES_MOST], struct fault *why)
{
	size_t count = 0;
	uint64_t one;

	/* What the thread wrote before is seen after this. */
	if (read(n->done, &one, sizeof one) != (ssize_t)sizeof one)
		return fault_set(why, "%s is still looked up", n->host);
	if (n->code != 0)
		return fault_set(why, "cannot find the address of %s: %s",
		    n->host, gai_strerror(n->code));
	for (struct addrinfo *a = n->found;
	     a != NULL && count < REDIS_ADDRESSES_MOST; a = a->ai_next) {
		memset(&out[count], 0, sizeof out[count]);
		memcpy(&out[count], a->ai_addr, a->ai_addrlen);
		lengths[count++] = a->ai_addrlen;
	}
	return count;
}

void
redis_name_destroy(struct redis_name **np)
{
	struct redis_name *n = *np;

	*np = NULL;
	if (n != NULL)
		unref(n);
}
