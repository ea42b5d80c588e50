#include "tests/bench/histogram.h"

#include "base/banned.h"

/* Below HISTOGRAM_STEPS a slot is one ns; above, the top bits after the leading
 * one choose the step and the number of bits dropped the power. */
static uint32_t
slot_of(uint64_t ns)
{
	uint32_t shift;

	if (ns < HISTOGRAM_STEPS)
		return (uint32_t)ns;
	if (ns >> HISTOGRAM_MOST_BITS != 0)
		return HISTOGRAM_SLOTS - 1;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
	return (shift + 1) * HISTOGRAM_STEPS + (uint32_t)(ns >> shift) -
	    HISTOGRAM_STEPS;
}

static uint64_t
middle_of(uint32_t slot)
{
	uint32_t shift;
	uint64_t low;

	if (slot < 2 * HISTOGRAM_STEPS)
		return slot;
	shift = slot / HISTOGRAM_STEPS - 1;
	low = (uint64_t)(slot % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
	return low + (UINT64_C(1) << shift) / 2;
}

void
histogram_add(struct histogram *h, uint64_t ns)
{
	h->slots[slot_of(ns)]++;
	h->count++;
}

uint64_t
histogram_quantile(const struct histogram *h, double q)
{
	uint64_t seen = 0, wanted = (uint64_t)(q * (double)h->count + 0.999999);

	if (h->count == 0)
		return 0;
	if (wanted == 0)
		wanted = 1;
	for (uint32_t i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += h->slots[i];
		if (seen >= wanted)
			return middle_of(i);
	}
	return middle_of(HISTOGRAM_SLOTS - 1);
}
