#include "metering/prefill_curve.h"

#include <stdlib.h>

#include "base/banned.h"

/* A median of fewer does not stand against one that is far off. */
#define GROUP_LEAST 3
#define GROUP_MOST (PREFILL_SAMPLES + 2 * GROUP_LEAST)

/* The rate beyond the last point is that since one of at most this part of its
 * tokens: closer ones say little about it. */
#define SLOPE_SPAN 0.6

/* Where time grows with the square of the tokens, the slope at the end is twice
 * the average; more is noise. */
#define SLOPE_MOST 2.0

static size_t
class_of(uint64_t tokens)
{
	size_t octave = 63 - (size_t)__builtin_clzll(tokens | 1);

	if (octave < 6)
		return 0;
	return octave - 5 < PREFILL_CLASSES ? octave - 5 : PREFILL_CLASSES - 1;
}

/* The oldest of its class gives way. */
void
prefill_curve_add(struct prefill_curve *p, uint64_t tokens, uint64_t ms)
{
	struct prefill_sample *class, *to;

	if (tokens == 0 || tokens > PREFILL_TOKENS_MOST || ms == 0 ||
	    ms > PREFILL_MS_MOST)
		return;
	class = to = p->samples[class_of(tokens)];
	for (size_t i = 1; i < PREFILL_SAMPLES; i++)
		if (class[i].number < to->number)
			to = &class[i];
	*to = (struct prefill_sample){
	    .tokens = (uint32_t)tokens,
	    .ms = (uint32_t)ms,
	    .number = ++p->last_number,
	};
	p->is_old = true;
}

/* --- the curve ----------------------------------------------------------- */

/* Samples of one class, or of neighbours that have few. */
struct group {
	struct prefill_sample samples[GROUP_MOST];
	size_t count;
};

/* So few are sorted fastest by putting each in its place. */
static double
median(uint32_t *values, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		uint32_t each = values[i];
		size_t at = i;

		for (; at > 0 && values[at - 1] > each; at--)
			values[at] = values[at - 1];
		values[at] = each;
	}
	return ((double)values[(count - 1) / 2] + (double)values[count / 2]) /
	    2;
}

static struct prefill_point
point_of(const struct group *g)
{
	struct prefill_point point = {
	    .oldest = UINT64_MAX, .samples = (uint32_t)g->count};
	uint32_t tokens[GROUP_MOST], ms[GROUP_MOST];

	for (size_t i = 0; i < g->count; i++) {
		const struct prefill_sample *s = &g->samples[i];

		tokens[i] = s->tokens;
		ms[i] = s->ms;
		if (s->number < point.oldest)
			point.oldest = s->number;
		if (s->number > point.newest)
			point.newest = s->number;
	}
	point.tokens = median(tokens, g->count);
	point.ms = median(ms, g->count);
	return point;
}

static uint32_t
largest_of(const struct prefill_curve *p)
{
	uint32_t largest = 0;

	for (size_t i = 0; i < PREFILL_CLASSES; i++)
		for (size_t k = 0; k < PREFILL_SAMPLES; k++)
			if (p->samples[i][k].tokens > largest)
				largest = p->samples[i][k].tokens;
	return largest;
}

static void
take_class(struct group *g, const struct prefill_sample *class)
{
	for (size_t i = 0; i < PREFILL_SAMPLES; i++)
		if (class[i].number != 0 && g->count < GROUP_MOST)
			g->samples[g->count++] = class[i];
}

/* A class with too few samples goes with the next larger one; what is left at
 * the end, with what came before it. */
static void
make_points(struct prefill_curve *p)
{
	struct group g = {.count = 0}, before = {.count = 0};

	p->point_count = 0;
	for (size_t i = 0; i < PREFILL_CLASSES; i++) {
		take_class(&g, p->samples[i]);
		if (g.count < GROUP_LEAST)
			continue;
		p->points[p->point_count++] = point_of(&g);
		before = g;
		g.count = 0;
	}
	if (g.count == 0)
		return;
	for (size_t i = 0; i < g.count && before.count < GROUP_MOST; i++)
		before.samples[before.count++] = g.samples[i];
	if (p->point_count > 0)
		p->point_count--;
	p->points[p->point_count++] = point_of(&before);
}

static void
drop_point(struct prefill_curve *p, unsigned at)
{
	for (p->point_count--; at < p->point_count; at++)
		p->points[at] = p->points[at + 1];
}

/* Where a larger class took less time, the smaller one cannot take more; unless
 * that was before the server became slower. */
static void
make_rising(struct prefill_curve *p)
{
	for (unsigned i = p->point_count; i-- > 1;) {
		struct prefill_point *at = &p->points[i - 1];

		while (i < p->point_count && at[1].ms < at->ms &&
		    at[1].newest < at->oldest)
			drop_point(p, i);
		if (i < p->point_count && at[1].ms < at->ms)
			at->ms = at[1].ms;
	}
}

static double
slope_at_end(const struct prefill_curve *p)
{
	const struct prefill_point *last = &p->points[p->point_count - 1];
	double average = last->ms / last->tokens, slope;

	for (unsigned i = p->point_count - 1; i-- > 0;) {
		const struct prefill_point *from = &p->points[i];

		if (from->tokens > last->tokens * SLOPE_SPAN)
			continue;
		slope = (last->ms - from->ms) / (last->tokens - from->tokens);
		return slope < average * SLOPE_MOST ? slope
						    : average * SLOPE_MOST;
	}
	return average;
}

static bool
make_ready(struct prefill_curve *p)
{
	if (!p->is_old)
		return p->point_count > 0;
	make_points(p);
	make_rising(p);
	p->ms_a_token = slope_at_end(p);
	p->largest = largest_of(p);
	p->is_old = false;
	return true;
}

static double
between(const struct prefill_point *a, const struct prefill_point *b, double x)
{
	if (b->tokens <= a->tokens)
		return b->ms;
	return a->ms +
	    (b->ms - a->ms) * (x - a->tokens) / (b->tokens - a->tokens);
}

/* Below the first point it goes on as behind it, but not below nothing; with
 * one point, it is the same for all that is smaller. */
static double
curve_at(const struct prefill_curve *p, double x)
{
	const struct prefill_point *points = p->points;
	const struct prefill_point *last = &points[p->point_count - 1];
	unsigned i = 1;
	double ms;

	if (x >= last->tokens)
		return last->ms + (x - last->tokens) * p->ms_a_token;
	if (p->point_count == 1)
		return last->ms;
	while (points[i].tokens < x)
		i++;
	ms = between(&points[i - 1], &points[i], x);
	return ms < 0 ? 0 : ms;
}

bool
prefill_curve_predict(struct prefill_curve *p, uint64_t tokens, uint64_t *ms)
{
	double predicted;

	if (!make_ready(p) || tokens > (uint64_t)p->largest * PREFILL_REACH)
		return false;
	predicted = curve_at(p, (double)tokens);
	*ms = predicted < 1 ? 1
	    : predicted > 10.0 * PREFILL_MS_MOST
	    ? 10 * (uint64_t)PREFILL_MS_MOST
	    : (uint64_t)(predicted + 0.5);
	return true;
}

uint64_t
prefill_curve_rate(struct prefill_curve *p)
{
	if (!make_ready(p) || p->ms_a_token < 1e-6)
		return 0;
	return (uint64_t)(1e6 / p->ms_a_token + 0.5);
}

static int
compare_numbers(const void *a, const void *b)
{
	const struct prefill_sample *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

size_t
prefill_curve_samples(const struct prefill_curve *p,
    struct prefill_sample to[PREFILL_SAMPLES_MOST])
{
	size_t count = 0;

	for (size_t i = 0; i < PREFILL_CLASSES; i++)
		for (size_t j = 0; j < PREFILL_SAMPLES; j++)
			if (p->samples[i][j].number != 0)
				to[count++] = p->samples[i][j];
	qsort(to, count, sizeof *to, compare_numbers);
	return count;
}
