#include "proxy/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auth/address.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include "base/banned.h"

#define REFRESH_SECONDS 30

struct name {
	struct name *next;
	char *host; /* owned */
	struct sockaddr_storage found[RESOLVER_ADDRESSES_MOST];
	size_t count;
	bool was_asked;  /* at least one look-up has ended */
	bool was_failed; /* and the last one failed: told once */
};

struct resolver {
	pthread_t thread;
	pthread_mutex_t mutex; /* for all that follows */
	pthread_cond_t wake;   /* something to do, or to stop */
	pthread_cond_t asked;  /* a round has ended */
	struct name *names;    /* owned; never removed */
	bool has_new, stops;
};

/* An address written as such; false if `host` is a name. */
static bool
literal(const char *host, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		return true;
	}
	return false;
}

static bool
is_metadata_service(const struct sockaddr *sa)
{
	struct address a = address_of(sa), service;

	return address_parse(SLICE("169.254.169.254"), &service) &&
	    address_equal(&a, &service);
}

/* Looks `host` up without the lock.  Returns how many addresses were found. */
static size_t
look_up(const char *host, struct sockaddr_storage out[RESOLVER_ADDRESSES_MOST],
    const char **error)
{
	struct addrinfo hints = {
	    .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *all = NULL;
	size_t n = 0;
	int code = getaddrinfo(host, NULL, &hints, &all);

	if (code != 0) {
		*error = gai_strerror(code);
		return 0;
	}
	*error = "it has no usable address";
	for (struct addrinfo *a = all; a != NULL; a = a->ai_next) {
		if (n == RESOLVER_ADDRESSES_MOST ||
		    a->ai_addrlen > sizeof out[0] ||
		    is_metadata_service(a->ai_addr))
			continue;
		memset(&out[n], 0, sizeof out[n]);
		memcpy(&out[n++], a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(all);
	return n;
}

/* Looks up one name.  The mutex is held, but not meanwhile. */
static void
refresh(struct resolver *r, struct name *name)
{
	struct sockaddr_storage found[RESOLVER_ADDRESSES_MOST];
	const char *error = NULL;
	size_t n;

	pthread_mutex_unlock(&r->mutex);
	n = look_up(name->host, found, &error);
	pthread_mutex_lock(&r->mutex);
	if (n > 0) {
		memcpy(name->found, found, sizeof found);
		name->count = n;
	} else if (!name->was_failed) {
		log_warning("cannot find the address of %s: %s%s", name->host,
		    error, name->count > 0 ? "; using the last one" : "");
	}
	name->was_failed = n == 0;
	name->was_asked = true;
}

static void *
run(void *arg)
{
	struct resolver *r = arg;

	pthread_mutex_lock(&r->mutex);
	while (!r->stops) {
		struct timespec until;

		r->has_new = false;
		for (struct name *n = r->names; n != NULL && !r->stops;
		     n = n->next)
			refresh(r, n);
		pthread_cond_broadcast(&r->asked);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += REFRESH_SECONDS;
		while (!r->stops && !r->has_new &&
		    pthread_cond_timedwait(&r->wake, &r->mutex, &until) == 0)
			;
	}
	pthread_mutex_unlock(&r->mutex);
	return NULL;
}

struct resolver *
resolver_create(struct fault *why)
{
	struct resolver *r = xcalloc(sizeof *r);
	pthread_condattr_t attr;
	int error;

	pthread_mutex_init(&r->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_cond_init(&r->asked, &attr);
	pthread_condattr_destroy(&attr);
	if ((error = pthread_create(&r->thread, NULL, run, r)) != 0) {
		fault_set(why, "cannot start the resolver thread: %s",
		    strerror(error));
		free(r);
		return NULL;
	}
	return r;
}

void
resolver_destroy(struct resolver **rp)
{
	struct resolver *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->mutex);
	r->stops = true;
	pthread_cond_broadcast(&r->wake);
	pthread_mutex_unlock(&r->mutex);
	pthread_join(r->thread, NULL);
	while (r->names != NULL) {
		struct name *n = r->names;

		r->names = n->next;
		free(n->host);
		free(n);
	}
	pthread_cond_destroy(&r->wake);
	pthread_cond_destroy(&r->asked);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

static struct name *
find(const struct resolver *r, const char *host)
{
	for (struct name *n = r->names; n != NULL; n = n->next)
		if (strcmp(n->host, host) == 0)
			return n;
	return NULL;
}

void
resolver_watch(struct resolver *r, const struct config *c)
{
	struct sockaddr_storage ignored;

	pthread_mutex_lock(&r->mutex);
	for (size_t i = 0; i < c->upstream_count; i++) {
		const char *host = c->upstreams[i].host;
		struct name *n;

		if (literal(host, &ignored) || find(r, host) != NULL)
			continue;
		n = xcalloc(sizeof *n);
		n->host = xstrdup(host);
		n->next = r->names;
		r->names = n;
		r->has_new = true;
	}
	if (r->has_new)
		pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->mutex);
}

static bool
all_asked(const struct resolver *r)
{
	for (struct name *n = r->names; n != NULL; n = n->next)
		if (!n->was_asked)
			return false;
	return true;
}

void
resolver_wait(struct resolver *r, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= (long)NS_PER_SECOND) {
		until.tv_sec++;
		until.tv_nsec -= (long)NS_PER_SECOND;
	}
	pthread_mutex_lock(&r->mutex);
	while (!all_asked(r) &&
	    pthread_cond_timedwait(&r->asked, &r->mutex, &until) == 0)
		;
	pthread_mutex_unlock(&r->mutex);
}

static void
set_port(struct sockaddr_storage *sa, uint16_t port)
{
	if (sa->ss_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

size_t
resolver_find(struct resolver *r, const struct upstream_config *up,
    struct sockaddr_storage out[RESOLVER_ADDRESSES_MOST])
{
	struct name *n;
	size_t count = 0;

	if (literal(up->host, &out[0])) {
		count = 1;
	} else {
		pthread_mutex_lock(&r->mutex);
		if ((n = find(r, up->host)) != NULL) {
			count = n->count;
			memcpy(out, n->found, count * sizeof out[0]);
		}
		pthread_mutex_unlock(&r->mutex);
	}
	for (size_t i = 0; i < count; i++)
		set_port(&out[i], up->port);
	return count;
}
