/*
 * histogram.h - durations in fixed memory, within 0.8 % of the truth.
 *
 * Log-linear: each power of two is cut into 128 steps, so that a microsecond
 * and a minute are kept with the same relative precision.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 7
#define HISTOGRAM_STEPS (1U << HISTOGRAM_STEP_BITS)
#define HISTOGRAM_MOST_BITS 40 /* of nanoseconds: 18 minutes */
#define HISTOGRAM_SLOTS \
	((HISTOGRAM_MOST_BITS - HISTOGRAM_STEP_BITS + 1) * HISTOGRAM_STEPS)

struct histogram {
	uint64_t count;
	uint64_t slots[HISTOGRAM_SLOTS];
};

/* Counts one duration; what is longer than 18 minutes counts as that. */
void histogram_add(struct histogram *h, uint64_t ns);

/* The duration in ns that the share `q` (0 to 1) of all did not exceed, as the
 * middle of its slot.  0 if nothing was counted. */
uint64_t histogram_quantile(const struct histogram *h, double q);
