#include "proxy/gate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

struct gate_user {
	struct gate_user *next;
	char *name; /* owned */
	struct limiter requests;
	uint32_t in_flight;
};

struct gate_upstream {
	struct gate_upstream *next;
	char *name; /* owned */
	uint32_t in_flight;
};

struct gate {
	pthread_mutex_t mutex;           /* for all that follows */
	struct gate_user *users;         /* owned; one a name ever configured */
	struct gate_upstream *upstreams; /* owned; likewise */
};

struct gate *
gate_create(void)
{
	struct gate *g = xcalloc(sizeof *g);

	pthread_mutex_init(&g->mutex, NULL);
	return g;
}

void
gate_destroy(struct gate **gp)
{
	struct gate *g = *gp;

	*gp = NULL;
	if (g == NULL)
		return;
	while (g->users != NULL) {
		struct gate_user *u = g->users;

		g->users = u->next;
		free(u->name);
		free(u);
	}
	while (g->upstreams != NULL) {
		struct gate_upstream *up = g->upstreams;

		g->upstreams = up->next;
		free(up->name);
		free(up);
	}
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

struct gate_user *
gate_user(struct gate *g, const char *name)
{
	struct gate_user *u;

	pthread_mutex_lock(&g->mutex);
	for (u = g->users; u != NULL; u = u->next)
		if (strcmp(u->name, name) == 0)
			break;
	if (u == NULL) {
		u = xcalloc(sizeof *u);
		u->name = xstrdup(name);
		u->next = g->users;
		g->users = u;
	}
	pthread_mutex_unlock(&g->mutex);
	return u;
}

struct gate_upstream *
gate_upstream(struct gate *g, const char *name)
{
	struct gate_upstream *up;

	pthread_mutex_lock(&g->mutex);
	for (up = g->upstreams; up != NULL; up = up->next)
		if (strcmp(up->name, name) == 0)
			break;
	if (up == NULL) {
		up = xcalloc(sizeof *up);
		up->name = xstrdup(name);
		up->next = g->upstreams;
		g->upstreams = up;
	}
	pthread_mutex_unlock(&g->mutex);
	return up;
}

enum gate_verdict
gate_user_enter(struct gate *g, struct gate_user *u, struct rate_limit requests,
    uint32_t concurrent, uint64_t now_ns, struct gate_quota *quota)
{
	enum gate_verdict verdict = GATE_OK;

	*quota = (struct gate_quota){.limit = requests.per_minute};
	pthread_mutex_lock(&g->mutex);
	/* The place is asked first: a refusal then costs no quota. */
	if (concurrent != LIMIT_UNLIMITED && u->in_flight >= concurrent)
		verdict = GATE_CONCURRENT;
	else if ((quota->wait_ns =
			 limiter_take(&u->requests, requests, 1, now_ns)) > 0)
		verdict = GATE_RATE;
	else
		u->in_flight++;
	quota->remaining = limiter_remaining(&u->requests, requests, now_ns);
	quota->reset_ns = limiter_reset_ns(&u->requests, requests, now_ns);
	pthread_mutex_unlock(&g->mutex);
	return verdict;
}

void
gate_user_leave(struct gate *g, struct gate_user *u)
{
	pthread_mutex_lock(&g->mutex);
	u->in_flight--;
	pthread_mutex_unlock(&g->mutex);
}

enum gate_verdict
gate_take_slot(struct gate *g, struct gate_upstream *up, uint32_t most)
{
	enum gate_verdict verdict = GATE_FULL;

	pthread_mutex_lock(&g->mutex);
	if (most == LIMIT_UNLIMITED || up->in_flight < most) {
		up->in_flight++;
		verdict = GATE_OK;
	}
	pthread_mutex_unlock(&g->mutex);
	return verdict;
}

void
gate_give_slot(struct gate *g, struct gate_upstream *up)
{
	pthread_mutex_lock(&g->mutex);
	up->in_flight--;
	pthread_mutex_unlock(&g->mutex);
}

uint64_t
gate_in_flight(struct gate *g)
{
	uint64_t n = 0;

	pthread_mutex_lock(&g->mutex);
	for (struct gate_user *u = g->users; u != NULL; u = u->next)
		n += u->in_flight;
	for (struct gate_upstream *up = g->upstreams; up != NULL; up = up->next)
		n += up->in_flight;
	pthread_mutex_unlock(&g->mutex);
	return n;
}
