#include "metering/reports/rollup_waits.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define EXACT_BELOW 64    /* ms */
#define DOUBLING_STEPS 32 /* a doubling */
#define STEP_BITS 5

static uint16_t
step_of(int64_t ms)
{
	uint64_t v = ms < 0 ? 0 : (uint64_t)ms;
	unsigned shift;

	if (v < EXACT_BELOW)
		return (uint16_t)v;
	if (v > UINT32_MAX)
		v = UINT32_MAX;
	/* So that 32 <= v >> shift < 64. */
	shift = 63 - (unsigned)__builtin_clzll(v) - STEP_BITS;
	return (uint16_t)(shift * DOUBLING_STEPS + (unsigned)(v >> shift));
}

int64_t
waits_step_ms(uint16_t step)
{
	unsigned shift;
	int64_t low;

	if (step < EXACT_BELOW)
		return step;
	shift = step / DOUBLING_STEPS - 1u;
	low = (int64_t)(step - shift * DOUBLING_STEPS) << shift;
	return low + (INT64_C(1) << shift) / 2;
}

/* Where the step stands, or would. */
static uint16_t
find(const struct waits *w, uint16_t step)
{
	uint16_t low = 0, high = w->used;

	while (low < high) {
		uint16_t middle = (uint16_t)((low + high) / 2);

		if (w->steps[middle].step < step)
			low = (uint16_t)(middle + 1);
		else
			high = middle;
	}
	return low;
}

static void
add_step(struct waits *w, uint16_t step, uint32_t count)
{
	uint16_t at = find(w, step);

	if (at == w->used || w->steps[at].step != step) {
		if (w->used == w->room) {
			w->room = (uint16_t)(w->room == 0 ? 4 : 2 * w->room);
			w->steps =
			    xrealloc_array(w->steps, w->room, sizeof *w->steps);
		}
		memmove(&w->steps[at + 1], &w->steps[at],
		    (size_t)(w->used - at) * sizeof *w->steps);
		w->steps[at] = (struct waits_step){.step = step};
		w->used++;
	}
	if (__builtin_add_overflow(
		w->steps[at].count, count, &w->steps[at].count))
		w->steps[at].count = UINT32_MAX;
}

void
waits_add(struct waits *w, int64_t ms, uint32_t count)
{
	add_step(w, step_of(ms), count);
}

void
waits_merge(struct waits *w, const struct waits *from)
{
	for (uint16_t i = 0; i < from->used; i++)
		add_step(w, from->steps[i].step, from->steps[i].count);
}

int64_t
waits_percentile(const struct waits *w, unsigned percent)
{
	uint64_t all = 0, rank, seen = 0;

	for (uint16_t i = 0; i < w->used; i++)
		all += w->steps[i].count;
	rank = (all * percent + 99) / 100;
	for (uint16_t i = 0; i < w->used; i++) {
		seen += w->steps[i].count;
		if (seen >= rank)
			return waits_step_ms(w->steps[i].step);
	}
	return -1;
}

void
waits_release(struct waits *w)
{
	free(w->steps);
	*w = (struct waits){0};
}
