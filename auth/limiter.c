#include "auth/limiter.h"

#include "base/banned.h"

#define NS_PER_MINUTE UINT64_C(60000000000)
#define SPAN_MOST_NS (UINT64_C(1) << 62) /* 146 years: the deepest bucket */

/* One cell's time is a whole number of ns, rounded up: the bound of the header
 * then holds exactly, and at the highest limits a little less passes. */
static uint64_t
cell_ns(struct rate_limit limit)
{
	return (NS_PER_MINUTE + limit.per_minute - 1) / limit.per_minute;
}

static uint64_t
cells_ns(struct rate_limit limit, uint64_t count)
{
	uint64_t ns;

	if (__builtin_mul_overflow(cell_ns(limit), count, &ns) ||
	    ns > SPAN_MOST_NS)
		return SPAN_MOST_NS;
	return ns;
}

static uint64_t
add_capped(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint32_t
burst_of(struct rate_limit limit)
{
	return limit.burst == 0 ? limit.per_minute : limit.burst;
}

/* How far the bucket is from full, in time. */
static uint64_t
debt_ns(const struct limiter *l, uint64_t now_ns)
{
	return l->arrival_ns > now_ns ? l->arrival_ns - now_ns : 0;
}

uint64_t
limiter_take(
    struct limiter *l, struct rate_limit limit, uint64_t cost, uint64_t now_ns)
{
	uint64_t burst = burst_of(limit), debt, depth, room;

	if (limit.per_minute == LIMIT_UNLIMITED)
		return 0;
	if (limit.per_minute == 0)
		return LIMITER_NEVER;
	if (cost == 0)
		return 0;
	debt = debt_ns(l, now_ns);
	depth = cells_ns(limit, burst);
	/* No bucket ever has room for more than the burst: a full one will do.
	 */
	room = cells_ns(limit, cost < burst ? cost : burst);
	if (add_capped(debt, room) > depth)
		return add_capped(debt, room) - depth;
	l->arrival_ns = add_capped(now_ns, debt);
	l->arrival_ns = add_capped(l->arrival_ns, cells_ns(limit, cost));
	return 0;
}

void
limiter_adjust(
    struct limiter *l, struct rate_limit limit, int64_t delta, uint64_t now_ns)
{
	uint64_t ns, debt = debt_ns(l, now_ns);

	if (limit.per_minute == LIMIT_UNLIMITED || limit.per_minute == 0)
		return;
	if (delta >= 0) {
		debt = add_capped(debt, cells_ns(limit, (uint64_t)delta));
	} else {
		ns = cells_ns(limit, 0 - (uint64_t)delta);
		debt = debt > ns ? debt - ns : 0;
	}
	l->arrival_ns = add_capped(now_ns, debt);
}

uint32_t
limiter_remaining(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns)
{
	uint64_t depth, debt;

	if (limit.per_minute == LIMIT_UNLIMITED)
		return LIMIT_UNLIMITED;
	if (limit.per_minute == 0)
		return 0;
	depth = cells_ns(limit, burst_of(limit));
	debt = debt_ns(l, now_ns);
	if (debt >= depth)
		return 0;
	return (uint32_t)((depth - debt) / cell_ns(limit));
}

uint64_t
limiter_reset_ns(
    const struct limiter *l, struct rate_limit limit, uint64_t now_ns)
{
	if (limit.per_minute == LIMIT_UNLIMITED || limit.per_minute == 0)
		return 0;
	return debt_ns(l, now_ns);
}
