/* Running counts: each choice's last one, added up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metering/running.h"

static struct usage
counts(int64_t input, int64_t output)
{
	struct usage u = USAGE_UNKNOWN;

	u.input = input;
	u.output = output;
	return u;
}

static void
take(struct running *r, uint32_t index, int64_t input, int64_t output)
{
	struct usage u = counts(input, output);

	assert_true(running_take(r, index, &u));
}

static void
assert_sum(const struct running *r, int64_t input, int64_t output)
{
	assert_int_equal(r->sum.input, input);
	assert_int_equal(r->sum.output, output);
}

static void
the_last_count_of_one_choice_is_all(void **state)
{
	struct running r;

	(void)state;
	running_init(&r, UINT32_MAX);
	assert_sum(&r, -1, -1);
	for (int64_t i = 0; i < 100; i++)
		take(&r, 0, 21, i);
	assert_sum(&r, 21, 99);
	take(&r, 0, 20, 50);
	assert_sum(&r, 20, 50);
	assert_int_equal(r.room, 0);
}

static void
choices_are_added_up_and_their_prompt_counts_once(void **state)
{
	struct running r;

	(void)state;
	running_init(&r, UINT32_MAX);
	take(&r, 0, 21, 0);
	take(&r, 1, 21, 0);
	take(&r, 0, 21, 2);
	take(&r, 1, 21, 1);
	assert_sum(&r, 21, 3);
	take(&r, 2, 21, 7);
	take(&r, 0, 21, 3);
	assert_sum(&r, 21, 11);
	running_release(&r);
}

static void
a_later_choice_may_speak_first(void **state)
{
	struct running r;

	(void)state;
	running_init(&r, UINT32_MAX);
	take(&r, 3, 21, 4);
	assert_sum(&r, 21, 4);
	take(&r, 0, 21, 1);
	assert_sum(&r, 21, 5);
	running_release(&r);
}

static void
each_of_several_prompts_counts(void **state)
{
	struct running r;

	(void)state;
	running_init(&r, 2);
	take(&r, 0, 5, 1);
	take(&r, 1, 5, 1);
	take(&r, 2, 8, 1);
	take(&r, 3, 8, 2);
	assert_sum(&r, 13, 5);
	running_release(&r);
}

static void
what_was_not_said_leaves_the_count_before(void **state)
{
	struct running r;

	(void)state;
	running_init(&r, UINT32_MAX);
	take(&r, 0, 21, 4);
	take(&r, 0, -1, 5);
	take(&r, 1, 21, -1);
	assert_sum(&r, 21, 5);
	take(&r, 1, -1, 0);
	assert_sum(&r, 21, 5);
	running_release(&r);
}

static void
there_is_an_end_to_the_choices_kept(void **state)
{
	struct usage u = counts(1, 1);
	struct running r;

	(void)state;
	running_init(&r, UINT32_MAX);
	take(&r, RUNNING_CHOICES_MOST - 1, 1, 1);
	assert_false(running_take(&r, RUNNING_CHOICES_MOST, &u));
	assert_false(running_take(&r, UINT32_MAX, &u));
	assert_sum(&r, 1, 1);
	running_release(&r);
	assert_null(r.last);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_count_of_one_choice_is_all),
	    cmocka_unit_test(choices_are_added_up_and_their_prompt_counts_once),
	    cmocka_unit_test(a_later_choice_may_speak_first),
	    cmocka_unit_test(each_of_several_prompts_counts),
	    cmocka_unit_test(what_was_not_said_leaves_the_count_before),
	    cmocka_unit_test(there_is_an_end_to_the_choices_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
