/*
 * rollup_waits.h - how long clients waited for the first content: a sparse
 * histogram, small enough to keep one for each quarter of an hour.
 *
 * Waits below 64 ms are kept as they are; above, each doubling is cut into 32
 * equal steps, and a wait is taken for the middle of its step.  So what is
 * read from it is off by at most 1.6 %, whatever was merged with whatever, and
 * the order in which it was merged changes nothing.  {0} is a good empty one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct waits_step {
	uint16_t step; /* see waits_step_ms() */
	uint32_t count;
};

struct waits {
	struct waits_step *steps; /* owned; ascending */
	uint16_t used, room;
};

/* Counts `count` waits of `ms` (0 or more; above 2^32 - 1 taken for that). */
void waits_add(struct waits *w, int64_t ms, uint32_t count);

/* Adds all of `from`. */
void waits_merge(struct waits *w, const struct waits *from);

/* The smallest wait that at least `percent` of all do not exceed; -1 if there
 * is none. */
int64_t waits_percentile(const struct waits *w, unsigned percent);

/* The wait that a step stands for; waits_add() puts it back into that step. */
int64_t waits_step_ms(uint16_t step);

void waits_release(struct waits *w);
