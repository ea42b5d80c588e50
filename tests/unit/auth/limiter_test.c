#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/limiter.h"
#include "base/mem.h"
#include "../seeded.h"

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
more_than_the_burst_waits_for_a_full_bucket_and_leaves_a_debt(void **state)
{
	struct limiter l = {0};
	uint64_t wait;

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 1, 0), 0);
	wait = limiter_take(&l, sixty, 180, 0);
	assert_int_equal(wait, SECOND);
	assert_int_equal(limiter_take(&l, sixty, 180, wait - 1), 1);
	assert_int_equal(limiter_take(&l, sixty, 180, wait), 0);
	assert_int_equal(limiter_remaining(&l, sixty, wait), 0);
	assert_int_equal(limiter_reset_ns(&l, sixty, wait), 3 * MINUTE);
	assert_int_equal(limiter_take(&l, sixty, 1, wait), 2 * MINUTE + SECOND);
	assert_int_equal(limiter_remaining(&l, sixty, wait + 2 * MINUTE), 0);
	assert_int_equal(
	    limiter_remaining(&l, sixty, wait + 2 * MINUTE + SECOND), 1);
}

static void
nothing_is_let_in_even_in_debt_unless_the_limit_is_zero(void **state)
{
	const struct rate_limit none = {0, 0};
	struct limiter l = {0};

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 600, 0), 0);
	assert_int_equal(limiter_take(&l, sixty, 0, 0), 0);
	assert_true(limiter_take(&l, none, 0, 0) == LIMITER_NEVER);
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
	limiter_adjust(&l, sixty, -10, MINUTE);
	assert_int_equal(limiter_remaining(&l, sixty, MINUTE), 10);
	limiter_adjust(&l, sixty, INT64_MIN, MINUTE);
	assert_int_equal(limiter_remaining(&l, sixty, MINUTE), 60);
	assert_int_equal(limiter_take(&l, sixty, 60, MINUTE), 0);
	assert_int_equal(limiter_take(&l, sixty, 1, MINUTE), SECOND);
}

static void
what_was_used_beyond_becomes_a_debt(void **state)
{
	struct limiter l = {0};

	(void)state;
	assert_int_equal(limiter_take(&l, sixty, 60, 0), 0);
	limiter_adjust(&l, sixty, 30, 0);
	assert_int_equal(limiter_remaining(&l, sixty, 30 * SECOND), 0);
	assert_int_equal(limiter_reset_ns(&l, sixty, 0), 90 * SECOND);
	assert_int_equal(limiter_take(&l, sixty, 1, 30 * SECOND), SECOND);
	limiter_adjust(&l, sixty, 5, 10 * MINUTE);
	assert_int_equal(limiter_remaining(&l, sixty, 10 * MINUTE), 55);
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
		limiter_adjust(&l, limits[i], -(int64_t)burst, late);
		assert_int_equal(limiter_reset_ns(&l, limits[i], late), 0);
		assert_int_equal(
		    limiter_take(&l, limits[i], UINT64_MAX, late), 0);
		limiter_adjust(&l, limits[i], INT64_MAX, late);
		wait = limiter_take(&l, limits[i], UINT64_MAX, late);
		assert_true(wait > MINUTE && wait < LIMITER_NEVER);
		limiter_adjust(&l, limits[i], INT64_MIN, late);
	}
	/* At 10^9 a minute a cell is 60 ns. */
	struct limiter fast = {0};

	assert_int_equal(limiter_take(&fast, limits[0], 1000000000, 0), 0);
	assert_int_equal(limiter_take(&fast, limits[0], 1, 0), 60);
	assert_int_equal(limiter_take(&fast, limits[0], 1, 60), 0);
}

#define SEED UINT64_C(20260528)
#define ARRIVALS 100000
#define OPEN_MOST 16

__extension__ typedef __int128 wide;

/* Arrivals that try to get through more than they should, and what is known
 * of them: for every pair of moments, what was taken in between is at most
 * per_minute * W + burst when something is let in.  That is so for all pairs
 * if and only if it is for the earlier one with the least "taken before - rate
 * * time", so one pass is enough. */
struct attack {
	struct seeded random;
	struct rate_limit limit;
	struct limiter l;
	uint64_t now, wait;
	wide taken, least;
	uint64_t open[OPEN_MOST]; /* taken, and not yet corrected */
	unsigned let_in, refused;
};

static wide
level(const struct attack *a)
{
	return a->taken * (wide)MINUTE -
	    (wide)a->limit.per_minute * (wide)a->now;
}

/* A moment from which a window may begin. */
static void
note_level(struct attack *a)
{
	wide now = level(a);

	if (now < a->least)
		a->least = now;
}

/* Bursts, single ones, right when it was told and one ns before, right when the
 * bucket is full and one ns around it, and long pauses. */
static void
next_arrival(struct attack *a)
{
	uint64_t reset = limiter_reset_ns(&a->l, a->limit, a->now);

	switch (seeded_below(&a->random, 10)) {
	case 0:
	case 1:
	case 2:
		break;
	case 3:
		a->now += a->wait;
		break;
	case 4:
		a->now += a->wait > 0 ? a->wait - 1 : 0;
		break;
	case 5:
		a->now += reset / (1 + seeded_below(&a->random, 20));
		break;
	case 6:
		if (reset > 0 && seeded_below(&a->random, 20) == 0)
			a->now += reset + seeded_below(&a->random, 3) - 1;
		break;
	case 7:
		a->now += seeded_below(&a->random, SECOND);
		break;
	case 8:
		if (seeded_below(&a->random, 50) == 0)
			a->now += 2 * MINUTE;
		break;
	default:
		a->now += seeded_below(&a->random, 1000);
		break;
	}
}

static uint64_t
next_cost(struct attack *a)
{
	uint64_t burst = a->limit.burst;

	switch (seeded_below(&a->random, 40)) {
	case 0:
		return burst;
	case 1:
		return burst + 1 + seeded_below(&a->random, 2 * burst);
	case 2:
		return 1 + seeded_below(&a->random, burst);
	default:
		return 1 + seeded_below(&a->random, 3);
	}
}

static void
arrive(struct attack *a, int i)
{
	uint64_t cost = next_cost(a), burst = a->limit.burst;

	a->wait = limiter_take(&a->l, a->limit, cost, a->now);
	if (a->wait != 0) {
		a->refused++;
		return;
	}
	a->let_in++;
	a->taken += cost;
	a->open[seeded_below(&a->random, OPEN_MOST)] = cost;
	if (level(a) - a->least >
	    (wide)(cost > burst ? cost : burst) * (wide)MINUTE)
		fail_msg("seed %llu, limit %u burst %u, arrival %d: too much",
		    (unsigned long long)SEED, a->limit.per_minute,
		    a->limit.burst, i);
}

/* Something that was taken came to less, or to more. */
static void
correct(struct attack *a)
{
	uint64_t *open = &a->open[seeded_below(&a->random, OPEN_MOST)];
	int64_t delta;

	if (*open == 0)
		return;
	delta = seeded_below(&a->random, 3) == 0
	    ? 1 + (int64_t)seeded_below(&a->random, 5)
	    : -(int64_t)seeded_below(&a->random, *open + 1);
	limiter_adjust(&a->l, a->limit, delta, a->now);
	a->taken += delta;
	*open = 0;
}

static void
attack(struct rate_limit limit, bool may_correct)
{
	struct attack a = {.random = {SEED}, .limit = limit};

	for (int i = 0; i < ARRIVALS; i++) {
		next_arrival(&a);
		note_level(&a);
		if (may_correct && seeded_below(&a.random, 3) == 0) {
			correct(&a);
			note_level(&a);
		}
		arrive(&a, i);
	}
	assert_true(a.let_in > ARRIVALS / 1000);
	assert_true(a.refused > 0);
}

static const struct rate_limit attacked[] = {{60, 60}, {7, 3}, {30, 5}, {1, 3},
    {1000003, 17}, {700000001, 64}, {1000000000, 1000}, {59, 59}, {600, 4},
    {10000, 10000}, {UINT32_MAX - 1, 3}};

static void
no_window_lets_more_pass_than_its_rate_and_one_burst(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(attacked); i++)
		attack(attacked[i], false);
}

static void
corrections_do_not_let_more_pass(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(attacked); i++)
		attack(attacked[i], true);
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

/* Also with prompts that are larger than the burst, each when its turn comes.
 */
static void
a_patient_client_with_large_prompts_gets_its_rate(void **state)
{
	const struct rate_limit limit = {10000, 10000};
	struct limiter l = {0};
	uint64_t now = 0, passed = 0;

	(void)state;
	while (now < 300 * MINUTE) {
		uint64_t wait = limiter_take(&l, limit, 30000, now);

		now += wait;
		passed += wait == 0 ? 30000 : 0;
	}
	assert_int_equal(passed, 3000000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_burst_passes_and_the_next_one_waits),
	    cmocka_unit_test(the_wait_that_was_told_is_exact),
	    cmocka_unit_test(a_refusal_takes_nothing),
	    cmocka_unit_test(
		more_than_the_burst_waits_for_a_full_bucket_and_leaves_a_debt),
	    cmocka_unit_test(
		nothing_is_let_in_even_in_debt_unless_the_limit_is_zero),
	    cmocka_unit_test(zero_admits_nothing_and_unlimited_everything),
	    cmocka_unit_test(what_was_not_used_comes_back),
	    cmocka_unit_test(what_was_used_beyond_becomes_a_debt),
	    cmocka_unit_test(a_burst_that_is_not_said_is_one_minute),
	    cmocka_unit_test(a_changed_limit_takes_effect_at_once),
	    cmocka_unit_test(the_largest_numbers_do_not_overflow),
	    cmocka_unit_test(
		no_window_lets_more_pass_than_its_rate_and_one_burst),
	    cmocka_unit_test(corrections_do_not_let_more_pass),
	    cmocka_unit_test(a_patient_client_gets_its_rate),
	    cmocka_unit_test(a_patient_client_with_large_prompts_gets_its_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
