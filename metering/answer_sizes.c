#include "metering/answer_sizes.h"

#include "base/banned.h"

/* What one answer weighs at first: halved so often, it still counts a little.
 */
#define WEIGHT 32
#define ALL_MOST (2u * WEIGHT * ANSWER_SIZES_REMEMBERED)

_Static_assert(ALL_MOST <= UINT16_MAX, "one step may hold it all");

/* Up to 7 tokens a step each; then each octave has eight. */
static size_t
step_of(uint64_t tokens)
{
	unsigned octave;
	size_t step;

	if (tokens < 8)
		return (size_t)tokens;
	octave = 63 - (unsigned)__builtin_clzll(tokens);
	step = (octave - 2) * 8 + (size_t)(tokens >> (octave - 3) & 7);
	return step < ANSWER_SIZES_STEPS ? step : ANSWER_SIZES_STEPS - 1;
}

uint64_t
answer_sizes_step_tokens(size_t step)
{
	size_t octave = step / 8 + 2;

	if (step < 8)
		return step;
	return ((8 + step % 8 + 1) << (octave - 3)) - 1;
}

static void
halve(struct answer_sizes *a)
{
	a->all = 0;
	for (size_t i = 0; i < ANSWER_SIZES_STEPS; i++) {
		a->weights[i] /= 2;
		a->all += a->weights[i];
	}
}

void
answer_sizes_add(struct answer_sizes *a, uint64_t tokens)
{
	if (a->all + WEIGHT > ALL_MOST)
		halve(a);
	a->weights[step_of(tokens)] += WEIGHT;
	a->all += WEIGHT;
}

uint64_t
answer_sizes_percentile(const struct answer_sizes *a, unsigned percent)
{
	uint32_t below = 0;
	size_t step = 0;

	if (a->all < ANSWER_SIZES_LEAST * WEIGHT)
		return 0;
	while (step < ANSWER_SIZES_STEPS - 1) {
		below += a->weights[step];
		if ((uint64_t)below * 100 >= (uint64_t)a->all * percent)
			break;
		step++;
	}
	return answer_sizes_step_tokens(step);
}

bool
answer_sizes_restore(struct answer_sizes *a, uint64_t tokens, uint64_t weight)
{
	if (weight > ALL_MOST - a->all)
		return false;
	a->weights[step_of(tokens)] += (uint16_t)weight;
	a->all += (uint32_t)weight;
	return true;
}
