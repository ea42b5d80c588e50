#include "proxy/gate/fair_queue.h"

#include <stdlib.h>

#include "base/banned.h"

static int
sign(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int
by_order(const struct fair_turn *a, const struct fair_turn *b)
{
	return (a->order > b->order) - (a->order < b->order);
}

/* A user's together, in the order of the user's own time. */
static int
compare_within_user(const void *left, const void *right)
{
	const struct fair_turn *a = left, *b = right;

	if (a->class != b->class)
		return sign(a->class, b->class);
	if (a->user != b->user)
		return a->user > b->user ? 1 : -1;
	if (a->flow_begin != b->flow_begin)
		return sign(a->flow_begin, b->flow_begin);
	return by_order(a, b);
}

static int
compare(const void *left, const void *right)
{
	const struct fair_turn *a = left, *b = right;

	if (a->class != b->class)
		return sign(a->class, b->class);
	if (a->begin != b->begin)
		return sign(a->begin, b->begin);
	return by_order(a, b);
}

void
fair_turns_sort(struct fair_turn *turns, size_t count)
{
	if (count == 0)
		return;
	qsort(turns, count, sizeof *turns, compare_within_user);
	/* Each begins when the user's one before it has been charged. */
	for (size_t i = 1; i < count; i++)
		if (turns[i].class == turns[i - 1].class &&
		    turns[i].user == turns[i - 1].user)
			turns[i].begin =
			    turns[i - 1].begin + turns[i - 1].charge;
	qsort(turns, count, sizeof *turns, compare);
}
