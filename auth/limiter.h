/*
 * limiter.h - how fast: the generic cell rate algorithm, in nanoseconds.
 *
 * A limit of `per_minute` with `burst` lets at most per_minute * W + burst pass
 * in any window of W minutes.  Time is handed in, never read, so tests own the
 * clock.  A value, not locked: whoever holds it locks it.  (The algorithm:
 * ITU-T I.371, virtual scheduling.)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

#define LIMIT_UNLIMITED UINT32_MAX
#define LIMITER_NEVER UINT64_MAX /* cost exceeds the burst: do not retry */

struct rate_limit {
	uint32_t per_minute; /* 0: nothing passes; LIMIT_UNLIMITED: all does */
	uint32_t burst;      /* 0: not said, one minute's worth */
};

struct limiter {
	uint64_t
	    arrival_ns; /* theoretical arrival time; {0} is a full bucket */
};

/* Takes `cost` at `now_ns`.  Returns 0 if taken; else takes nothing and returns
 * the wait in ns, at least 1, or LIMITER_NEVER. */
MUST_CHECK uint64_t limiter_take(
    struct limiter *l, struct rate_limit limit, uint32_t cost, uint64_t now_ns);

/* Gives `cost` back that was taken and not used. */
void limiter_give_back(
    struct limiter *l, struct rate_limit limit, uint32_t cost);

/* How many may pass at once now; and ns until the bucket is full again. */
uint32_t limiter_remaining(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns);
uint64_t limiter_reset_ns(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns);
