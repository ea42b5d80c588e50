#include "slots.h"

#include <pthread.h>

#include "bytes.h"
#include "stats.h"

#define PREFIXES_MOST 64
#define PREFIX_BYTES_MOST (4u << 20) /* of one prompt that is remembered */
#define PREFIX_KEEP_BYTES 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot *first, **last = &first;  /* who waits; under lock */
static uint64_t held;                        /* under lock */
static struct bytes prefixes[PREFIXES_MOST]; /* under lock */
static uint64_t prefix_count;                /* ever learnt; under lock */

static void
grant(struct slot *s)
{
	s->is_held = true;
	held++;
	stats_add(STAT_works_started, 1);
	stats_peak(STAT_working, STAT_max_working);
}

static void
grant_next(void)
{
	while (first != NULL && (first->most == 0 || held < first->most)) {
		struct slot *s = first;

		first = s->next;
		if (first == NULL)
			last = &first;
		s->is_waiting = false;
		stats_sub(STAT_waiting, 1);
		grant(s);
	}
}

void
slot_enter(struct slot *s, uint64_t most)
{
	pthread_mutex_lock(&lock);
	*s = (struct slot){.most = most};
	if (first == NULL && (most == 0 || held < most)) {
		grant(s);
	} else {
		s->is_waiting = true;
		stats_peak(STAT_waiting, STAT_max_waiting);
		*last = s;
		last = &s->next;
	}
	pthread_mutex_unlock(&lock);
}

bool
slot_is_held(const struct slot *s)
{
	bool is_held;

	pthread_mutex_lock(&lock);
	is_held = s->is_held;
	pthread_mutex_unlock(&lock);
	return is_held;
}

static void
stop_waiting(const struct slot *s)
{
	struct slot **at = &first;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	if (last == &s->next)
		last = at;
	stats_sub(STAT_waiting, 1);
}

void
slot_leave(struct slot *s)
{
	pthread_mutex_lock(&lock);
	if (s->is_waiting)
		stop_waiting(s);
	if (s->is_held) {
		held--;
		stats_sub(STAT_working, 1);
	}
	*s = (struct slot){0};
	grant_next();
	pthread_mutex_unlock(&lock);
}

size_t
prefix_known(const char *p, size_t n)
{
	size_t most = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < PREFIXES_MOST; i++) {
		const struct bytes *b = &prefixes[i];
		size_t end = b->n < n ? b->n : n, k = 0;

		while (k < end && b->p[k] == p[k])
			k++;
		if (k > most)
			most = k;
	}
	pthread_mutex_unlock(&lock);
	return most;
}

void
prefix_learn(const char *p, size_t n)
{
	struct bytes *b;

	if (n > PREFIX_BYTES_MOST)
		n = PREFIX_BYTES_MOST;
	pthread_mutex_lock(&lock);
	b = &prefixes[prefix_count++ % PREFIXES_MOST];
	bytes_clear(b, PREFIX_KEEP_BYTES);
	bytes_add(b, p, n);
	pthread_mutex_unlock(&lock);
}

void
prefix_forget(void)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < PREFIXES_MOST; i++)
		bytes_free(&prefixes[i]);
	prefix_count = 0;
	pthread_mutex_unlock(&lock);
}
