#include "metering/price.h"

#include "base/banned.h"

#define MS_PER_HOUR 3600000

static bool
is_hourly(const struct price *p)
{
	return p->hour_begin != p->hour_end;
}

/* A range that ends before it begins runs over midnight. */
static bool
covers_hour(const struct price *p, int hour)
{
	if (!is_hourly(p))
		return true;
	if (p->hour_begin < p->hour_end)
		return hour >= p->hour_begin && hour < p->hour_end;
	return hour >= p->hour_begin || hour < p->hour_end;
}

/* Whether `p` goes before `best` at that time: those that have begun before
 * those that have not, of these the latest and of those the earliest; on the
 * same day an hour range before the whole day. */
static bool
is_nearer(const struct price *p, const struct price *best, int64_t wall_ms)
{
	bool has_begun = p->from_ms <= wall_ms;

	if (has_begun != (best->from_ms <= wall_ms))
		return has_begun;
	if (p->from_ms != best->from_ms)
		return (p->from_ms > best->from_ms) == has_begun;
	return is_hourly(p) && !is_hourly(best);
}

const struct price *
price_at(const struct price_list *l, int64_t wall_ms)
{
	const struct price *best = NULL;
	int hour = (int)(wall_ms / MS_PER_HOUR % 24);

	for (size_t i = 0; i < l->count; i++) {
		const struct price *p = &l->prices[i];

		if (covers_hour(p, hour) &&
		    (best == NULL || is_nearer(p, best, wall_ms)))
			best = p;
	}
	return best;
}

/* Two prices from the same day on, of which both would hold at some hour and
 * neither goes before the other. */
bool
price_conflicts(const struct price *a, const struct price *b)
{
	if (a->from_ms != b->from_ms || is_hourly(a) != is_hourly(b))
		return false;
	for (int hour = 0; hour < 24; hour++)
		if (covers_hour(a, hour) && covers_hour(b, hour))
			return true;
	return false;
}

static int64_t
within(int64_t count, int64_t most)
{
	if (count < 0)
		return 0;
	return count > most ? most : count;
}

__int128
price_cost(const struct price *p, const struct usage *u)
{
	int64_t input = within(u->input, INT64_MAX);
	int64_t cached = within(u->cached, input);
	int64_t cache_write = within(u->cache_write, input - cached);
	int64_t output = within(u->output, INT64_MAX);
	__int128 cost = p->request_pusd;

	cost += (__int128)(input - cached - cache_write) * p->input_pusd;
	cost += (__int128)cached * p->input_cached_pusd;
	cost += (__int128)cache_write * p->cache_write_pusd;
	cost += (__int128)output * p->output_pusd;
	return cost;
}
