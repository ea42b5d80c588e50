#include "metering/running.h"

#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

void
running_init(struct running *r, uint32_t per_prompt)
{
	*r = (struct running){.per_prompt = per_prompt,
	    .sum = USAGE_UNKNOWN,
	    .first_input = -1,
	    .first_cached = -1,
	    .first_cache_write = -1};
}

/* The table is made when a second choice shows; till then the sum is the first
 * one's. */
static bool
make_room(struct running *r, uint32_t index)
{
	uint32_t room = r->room == 0 ? 8 : r->room;
	struct usage *more;

	if (index >= RUNNING_CHOICES_MOST)
		return false;
	while (room <= index)
		room *= 2;
	more = realloc(r->last, room * sizeof *more);
	if (more == NULL)
		return false;
	for (uint32_t i = r->room; i < room; i++)
		more[i] = USAGE_UNKNOWN;
	if (r->room == 0)
		more[0] = r->sum;
	r->last = more;
	r->room = room;
	return true;
}

/* A choice's count has become `now`. */
static void
move_sum(int64_t *sum, int64_t *last, int64_t now)
{
	if (now < 0)
		return;
	*sum = (*sum < 0 ? 0 : *sum) + now - (*last < 0 ? 0 : *last);
	*last = now;
}

/* The same for what a prompt's choices share: the first ones' counts, or, as
 * long as none of those has spoken, the greatest of any. */
static void
move_shared(
    int64_t *sum, int64_t *firsts, int64_t *last, int64_t now, bool is_first)
{
	if (is_first)
		move_sum(firsts, last, now);
	if (*firsts >= 0)
		*sum = *firsts;
	else if (*sum < now)
		*sum = now;
}

bool
running_take(struct running *r, uint32_t index, const struct usage *u)
{
	bool is_first = index % r->per_prompt == 0;
	struct usage *s = &r->sum, *last;
	struct usage only = *s;

	if (index > 0 && index >= r->room && !make_room(r, index))
		return false;
	/* Of a single choice the sum is its last count. */
	last = r->room == 0 ? &only : &r->last[index];
	move_shared(
	    &s->input, &r->first_input, &last->input, u->input, is_first);
	move_shared(
	    &s->cached, &r->first_cached, &last->cached, u->cached, is_first);
	move_shared(&s->cache_write, &r->first_cache_write, &last->cache_write,
	    u->cache_write, is_first);
	move_sum(&s->output, &last->output, u->output);
	move_sum(&s->reasoning, &last->reasoning, u->reasoning);
	move_sum(&s->audio, &last->audio, u->audio);
	move_sum(&s->cost_pusd, &last->cost_pusd, u->cost_pusd);
	return true;
}

void
running_release(struct running *r)
{
	free(r->last);
	r->last = NULL;
	r->room = 0;
}
