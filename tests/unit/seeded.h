/*
 * seeded.h - numbers that look random and are the same in every run, so that a
 * property that fails fails again.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct seeded {
	uint64_t state;
};

static inline uint64_t
seeded_next(struct seeded *s)
{
	s->state ^= s->state << 13;
	s->state ^= s->state >> 7;
	s->state ^= s->state << 17;
	return s->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* One of 0 to below - 1. */
static inline size_t
seeded_below(struct seeded *s, size_t below)
{
	return (size_t)((seeded_next(s) >> 16) % below);
}
