#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/bench/histogram.h"

/* Whether `got` is within 0.8 % of `truth`. */
static void
expect_near(uint64_t got, uint64_t truth)
{
	uint64_t slack = truth / 125;

	assert_in_range(got, truth - slack, truth + slack);
}

static void
one_duration_is_every_quantile(void **state)
{
	struct histogram *h = calloc(1, sizeof *h);

	(void)state;
	for (uint64_t ns = 1; ns < UINT64_C(1) << 39; ns += ns / 3 + 1) {
		*h = (struct histogram){0};
		histogram_add(h, ns);
		expect_near(histogram_quantile(h, 0), ns);
		expect_near(histogram_quantile(h, 0.5), ns);
		expect_near(histogram_quantile(h, 1), ns);
	}
	free(h);
}

static void
quantiles_of_a_line_lie_on_the_line(void **state)
{
	struct histogram *h = calloc(1, sizeof *h);

	(void)state;
	for (uint64_t us = 1; us <= 10000; us++)
		histogram_add(h, us * 1000);
	expect_near(histogram_quantile(h, 0.5), 5000 * 1000);
	expect_near(histogram_quantile(h, 0.99), 9900 * 1000);
	expect_near(histogram_quantile(h, 1), 10000 * 1000);
	free(h);
}

static void
the_longest_count_and_none_is_zero(void **state)
{
	struct histogram *h = calloc(1, sizeof *h);

	(void)state;
	assert_int_equal(histogram_quantile(h, 0.5), 0);
	histogram_add(h, UINT64_MAX);
	expect_near(histogram_quantile(h, 0.5), UINT64_C(1) << 40);
	assert_int_equal(h->count, 1);
	free(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_duration_is_every_quantile),
	    cmocka_unit_test(quantiles_of_a_line_lie_on_the_line),
	    cmocka_unit_test(the_longest_count_and_none_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
