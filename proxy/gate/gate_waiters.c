#include "proxy/gate/gate_inner.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

static const struct gate_place *
place_of(const struct fair_turn *t)
{
	return CONTAINER_OF(t->job, const struct gate_place, job);
}

static void
copy(const struct gate *g, const struct gate_place *p, uint64_t now_ns,
    struct gate_waiter *out)
{
	*out = (struct gate_waiter){.class = p->class, .tokens = p->tokens};
	if (p->subject_count > 0)
		out->user = p->subjects[0].account->name;
	if (p->model != NULL)
		memcpy(out->model, p->model,
		    strnlen(p->model, sizeof out->model - 1));
	if (now_ns > p->entered_ns)
		out->waited_ns = now_ns - p->entered_ns;
	for (size_t i = 0; i < p->subject_count; i++)
		out->is_user_full |=
		    gate_is_subject_full(g, &p->subjects[i], now_ns);
}

size_t
gate_waiters(struct gate *g, struct gate_upstream *up, uint64_t now_ns,
    struct gate_waiter **out, size_t most)
{
	struct gate_waiter *copies, *sorted;
	struct fair_turn *turns;
	size_t count, room;

	*out = NULL;
	pthread_mutex_lock(&g->mutex);
	room = fair_queue_waiting(up->queue);
	pthread_mutex_unlock(&g->mutex);
	if (room == 0 || most == 0)
		return 0;
	/* Some may come while memory is made: they are left out. */
	room = room < GATE_WAITERS_MOST ? room : GATE_WAITERS_MOST;
	turns = xcalloc_array(room, sizeof *turns);
	copies = xcalloc_array(room, sizeof *copies);
	pthread_mutex_lock(&g->mutex);
	count = fair_queue_turns(up->queue, turns, room);
	for (size_t i = 0; i < count; i++)
		copy(g, place_of(&turns[i]), now_ns, &copies[i]);
	pthread_mutex_unlock(&g->mutex);
	fair_turns_sort(turns, count);
	count = count < most ? count : most;
	sorted = xcalloc_array(room, sizeof *sorted);
	for (size_t i = 0; i < count; i++)
		sorted[i] = copies[turns[i].index];
	free(turns);
	free(copies);
	*out = sorted;
	return count;
}
