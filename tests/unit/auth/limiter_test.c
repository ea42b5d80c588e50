#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/limiter.h"
#include "base/mem.h"

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)

static const struct rate_limit sixty = {60, 60};

static void
a_burst_passes_and_the_next_one_waits(void **state)
{
	struct limiter l = {0};
	uint64_t now = 5 * SECOND;

	(void)state;
	for (uint32_t i = 0; i < 60; i++) {
		assert_int_equal(limiter_remaining(&l, sixty, now), 60 - i);
		assert_int_equal(limiter_take(&l, sixty, 1, now), 0);
	}
	assert_int_equal(limiter_remaining(&l, sixty, now), 0);
	assert_int_equal(limiter_reset_ns(&l, sixty, now), MINUTE);
	assert_int_equal(limiter_take(&l, sixty, 1, now), SECOND);
	assert_int_equal(limiter_take(&l, sixty, 3, now), 3 * SECOND);
}

static void
the_wait_that_was_told_is_exact(void **state)
{
	struct limiter l = {0};
	uint64_t wait;

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 60, 0), 0);
	wait = limiter_take(&l, sixty, 7, 0);
	assert_int_equal(limiter_take(&l, sixty, 7, wait - 1), 1);
	assert_int_equal(limiter_take(&l, sixty, 7, wait), 0);
}

static void
a_refusal_takes_nothing(void **state)
{
	struct limiter l = {0}, before;

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 60, 0), 0);
	before = l;
	assert_true(limiter_take(&l, sixty, 1, 0) > 0);
	assert_int_equal(l.arrival_ns, before.arrival_ns);
}

static void
more_than_the_burst_never_passes(void **state)
{
	struct limiter l = {0};

	(void)state;
	assert_true(limiter_take(&l, sixty, 61, 0) == LIMITER_NEVER);
	assert_int_equal(limiter_take(&l, sixty, 60, 0), 0);
}

static void
zero_admits_nothing_and_unlimited_everything(void **state)
{
	const struct rate_limit none = {0, 1}, all = {LIMIT_UNLIMITED, 1};
	struct limiter l = {0};

	(void)state;
	assert_true(limiter_take(&l, none, 1, MINUTE) == LIMITER_NEVER);
	assert_int_equal(limiter_remaining(&l, none, MINUTE), 0);
	assert_int_equal(limiter_reset_ns(&l, none, MINUTE), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(limiter_take(&l, all, UINT32_MAX, 0), 0);
	assert_int_equal(limiter_remaining(&l, all, 0), LIMIT_UNLIMITED);
	assert_int_equal(l.arrival_ns, 0);
}

static void
what_was_not_used_comes_back(void **state)
{
	struct limiter l = {0};

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 60, MINUTE), 0);
	limiter_give_back(&l, sixty, 10);
	assert_int_equal(limiter_remaining(&l, sixty, MINUTE), 10);
	limiter_give_back(&l, sixty, UINT32_MAX);
	assert_int_equal(limiter_remaining(&l, sixty, MINUTE), 60);
}

static void
a_burst_that_is_not_said_is_one_minute(void **state)
{
	const struct rate_limit limit = {7, 0};
	struct limiter l = {0};

	(void)state;
	for (int i = 0; i < 7; i++)
		assert_int_equal(limiter_take(&l, limit, 1, 0), 0);
	assert_true(limiter_take(&l, limit, 1, 0) > 0);
}

static void
a_changed_limit_takes_effect_at_once(void **state)
{
	const struct rate_limit six = {6, 6};
	struct limiter l = {0};

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 59, 0), 0);
	assert_int_equal(limiter_remaining(&l, six, 0), 0);
	assert_true(limiter_take(&l, six, 1, 0) > 0);
	assert_int_equal(limiter_take(&l, sixty, 1, 0), 0);
}

static void
the_largest_numbers_do_not_overflow(void **state)
{
	static const struct rate_limit limits[] = {{1000000000, 1000000000},
	    {UINT32_MAX - 1, UINT32_MAX - 1}, {1, UINT32_MAX}, {1, 1}};
	const uint64_t late = UINT64_C(1) << 62;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		struct limiter l = {0};
		uint32_t burst = limits[i].burst;
		uint64_t wait;

		assert_int_equal(limiter_take(&l, limits[i], burst, late), 0);
		wait = limiter_take(&l, limits[i], 1, late);
		assert_true(wait > 0 && wait <= MINUTE);
		limiter_give_back(&l, limits[i], burst);
		assert_int_equal(limiter_reset_ns(&l, limits[i], late), 0);
	}
	/* At 10^9 a minute a cell is 60 ns. */
	struct limiter fast = {0};

	assert_int_equal(limiter_take(&fast, limits[0], 1000000000, 0), 0);
	assert_int_equal(limiter_take(&fast, limits[0], 1, 0), 60);
	assert_int_equal(limiter_take(&fast, limits[0], 1, 60), 0);
}

/* Arrivals as a tester would choose them: bursts, single ones, right after the
 * wait that was told, one ns too early, and long pauses. */
static uint64_t
next_arrival(uint64_t now, uint64_t last_wait)
{
	switch (random() % 6) {
	case 0:
	case 1:
		return now;
	case 2:
		return last_wait == LIMITER_NEVER ? now : now + last_wait;
	case 3:
		return last_wait == LIMITER_NEVER || last_wait == 0
		    ? now
		    : now + last_wait - 1;
	case 4:
		return now + (uint64_t)random() % SECOND;
	default:
		return random() % 50 == 0 ? now + 2 * MINUTE
					  : now + (uint64_t)random() % 1000;
	}
}

/* For every pair of admissions i <= j: what passed in between, both included,
 * is at most per_minute * W + burst.  That is so for all pairs if and only if
 * it is for the pair with the smallest "passed before i - rate * time of i", so
 * that one pass over them is enough. */
static void
check_bound(struct rate_limit limit, int arrivals)
{
	typedef __int128 wide;
	struct limiter l = {0};
	uint64_t now = 0, wait = 0;
	wide passed = 0, least = 0;

	for (int i = 0; i < arrivals; i++) {
		uint32_t cost = 1 + (uint32_t)random() % 3;

		now = next_arrival(now, wait);
		wait = limiter_take(&l, limit, cost, now);
		if (wait != 0)
			continue;
		wide level =
		    passed * (wide)MINUTE - (wide)limit.per_minute * (wide)now;
		if (i == 0 || level < least)
			least = level;
		passed += cost;
		level =
		    passed * (wide)MINUTE - (wide)limit.per_minute * (wide)now;
		assert_true(level - least <= (wide)limit.burst * (wide)MINUTE);
	}
	assert_true(passed > 0);
}

static void
no_window_lets_more_pass_than_its_rate_and_one_burst(void **state)
{
	static const struct rate_limit limits[] = {{60, 60}, {7, 3}, {30, 5},
	    {1, 3}, {1000003, 17}, {700000001, 64}, {1000000000, 1000},
	    {59, 59}, {600, 4}, {UINT32_MAX - 1, 3}};

	(void)state;
	srandom(20260528);
	for (size_t i = 0; i < COUNT_OF(limits); i++)
		check_bound(limits[i], 100000);
}

/* Who asks again exactly when told gets the whole rate. */
static void
a_patient_client_gets_its_rate(void **state)
{
	const struct rate_limit limit = {59, 4};
	struct limiter l = {0};
	uint64_t now = 0;
	unsigned passed = 0;

	(void)state;
	while (now < 100 * MINUTE) {
		uint64_t wait = limiter_take(&l, limit, 1, now);

		now += wait;
		passed += wait == 0;
	}
	assert_in_range(passed, 5900, 5904);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_burst_passes_and_the_next_one_waits),
	    cmocka_unit_test(the_wait_that_was_told_is_exact),
	    cmocka_unit_test(a_refusal_takes_nothing),
	    cmocka_unit_test(more_than_the_burst_never_passes),
	    cmocka_unit_test(zero_admits_nothing_and_unlimited_everything),
	    cmocka_unit_test(what_was_not_used_comes_back),
	    cmocka_unit_test(a_burst_that_is_not_said_is_one_minute),
	    cmocka_unit_test(a_changed_limit_takes_effect_at_once),
	    cmocka_unit_test(the_largest_numbers_do_not_overflow),
	    cmocka_unit_test(
		no_window_lets_more_pass_than_its_rate_and_one_burst),
	    cmocka_unit_test(a_patient_client_gets_its_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
