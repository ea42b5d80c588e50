#include "metering/answer_sizes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../seeded.h"

static void
nothing_is_said_before_there_are_some(void **state)
{
	struct answer_sizes a = {.all = 0};

	(void)state;
	for (int i = 1; i < ANSWER_SIZES_LEAST; i++) {
		answer_sizes_add(&a, 100);
		assert_int_equal(answer_sizes_percentile(&a, 95), 0);
	}
	answer_sizes_add(&a, 100);
	assert_in_range(answer_sizes_percentile(&a, 95), 100, 112);
}

/* Never below the true length, and above it by an eighth at most. */
static void
every_length_is_known_to_an_eighth(void **state)
{
	(void)state;
	for (uint64_t tokens = 1; tokens < 1 << 21; tokens += tokens / 9 + 1) {
		struct answer_sizes a = {.all = 0};

		for (int i = 0; i < 10; i++)
			answer_sizes_add(&a, tokens);
		assert_in_range(answer_sizes_percentile(&a, 95), tokens,
		    tokens + tokens / 8);
	}
}

static void
ninety_five_of_a_hundred_are_not_longer(void **state)
{
	struct seeded random = {0xa5};
	struct answer_sizes a = {.all = 0};
	uint64_t p95;
	int longer = 0;

	(void)state;
	for (int i = 0; i < 2000; i++)
		answer_sizes_add(&a, 1 + seeded_below(&random, 10000));
	p95 = answer_sizes_percentile(&a, 95);
	for (int i = 0; i < 10000; i++)
		longer += 1 + seeded_below(&random, 10000) > p95;
	assert_in_range(longer, 0, 700);
	assert_in_range(p95, 9000, 11300);
}

static void
one_long_answer_changes_little_and_a_new_habit_is_learned(void **state)
{
	struct answer_sizes a = {.all = 0};

	(void)state;
	for (int i = 0; i < 100; i++)
		answer_sizes_add(&a, 300);
	answer_sizes_add(&a, UINT64_MAX);
	assert_in_range(answer_sizes_percentile(&a, 95), 300, 340);
	for (int i = 0; i < 100 * ANSWER_SIZES_REMEMBERED; i++)
		answer_sizes_add(&a, 300);
	for (int i = 0; i < ANSWER_SIZES_REMEMBERED / 10; i++)
		answer_sizes_add(&a, 5000);
	assert_in_range(answer_sizes_percentile(&a, 95), 5000, 5630);
}

static void
weights_come_back_as_they_were(void **state)
{
	struct seeded random = {0xa6};
	struct answer_sizes a = {.all = 0}, b = {.all = 0};

	(void)state;
	for (int i = 0; i < 5000; i++)
		answer_sizes_add(&a, 1 + seeded_below(&random, 3000000));
	for (size_t i = 0; i < ANSWER_SIZES_STEPS; i++)
		assert_true(answer_sizes_restore(
		    &b, answer_sizes_step_tokens(i), a.weights[i]));
	assert_memory_equal(&a, &b, sizeof a);
	assert_false(answer_sizes_restore(&b, 5, 60000));
	assert_memory_equal(&a, &b, sizeof a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_is_said_before_there_are_some),
	    cmocka_unit_test(every_length_is_known_to_an_eighth),
	    cmocka_unit_test(ninety_five_of_a_hundred_are_not_longer),
	    cmocka_unit_test(
		one_long_answer_changes_little_and_a_new_habit_is_learned),
	    cmocka_unit_test(weights_come_back_as_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
