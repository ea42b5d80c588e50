/*
 * limiter.h - how fast: the generic cell rate algorithm, in nanoseconds.
 *
 * A limit of `per_minute` with `burst` lets at most per_minute * W + burst pass
 * in any window of W minutes that ends with something let in; or, if that costs
 * more than the burst, per_minute * W + its cost.  A later correction counts at
 * the moment when it is made.
 *
 * Time is handed in, never read, so tests own the clock.  A value, not locked:
 * whoever holds it locks it.  (The algorithm: ITU-T I.371, virtual scheduling.)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

#define LIMIT_UNLIMITED UINT32_MAX
#define LIMITER_NEVER UINT64_MAX /* nothing passes: do not retry */

struct rate_limit {
	uint32_t per_minute; /* 0: nothing passes; LIMIT_UNLIMITED: all does */
	uint32_t burst;      /* 0: not said, one minute's worth */
};

struct limiter {
	uint64_t
	    arrival_ns; /* theoretical arrival time; {0} is a full bucket */
};

/* Takes `cost` at `now_ns`.  More than the burst is taken from a full bucket
 * and leaves a debt.  Returns 0 if taken; else takes nothing and returns the
 * wait in ns, at least 1, or LIMITER_NEVER if the limit is 0 a minute. */
MUST_CHECK uint64_t limiter_take(
    struct limiter *l, struct rate_limit limit, uint64_t cost, uint64_t now_ns);

/* What was taken has cost `delta` more, which may leave a debt, or less, which
 * is given back; the bucket gets no fuller than full. */
void limiter_adjust(
    struct limiter *l, struct rate_limit limit, int64_t delta, uint64_t now_ns);

/* How much may pass at once now, 0 in debt; and ns until the bucket is full. */
uint32_t limiter_remaining(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns);
uint64_t limiter_reset_ns(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns);
