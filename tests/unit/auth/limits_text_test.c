#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/limits_text.h"
#include "base/attr.h"

static void
every_setting_reads_back_as_it_was_written(void **state)
{
	static const char *const texts[] = {"requests_per_minute=0",
	    "input_tokens_per_minute=10K", "output_tokens_per_minute=7",
	    "tokens_per_day=2M", "concurrent=unlimited", "budget=10/day",
	    "budget=0.005/week", "budget=unlimited/month",
	    "cloud_fallback=1/day", "cloud_fallback=0/week",
	    "cloud_fallback=2.50/month", "reserve_cap=100", "paid_routes=true"};
	unsigned all = 0;

	(void)state;
	for (size_t k = 0; k < COUNT_OF(texts); k++) {
		struct limits l = limits_none(), again = limits_none();
		char value[LIMITS_VALUE_BYTES], text[160];
		struct fault why;
		unsigned i = 0;

		assert_true(limits_set_text(&l, slice_of(texts[k]), &why));
		while (l.stated != 1u << i)
			i++;
		all |= l.stated;
		limits_setting_value(value, &l, i);
		snprintf(
		    text, sizeof text, "%s=%s", limits_setting_name(i), value);
		assert_true(limits_set_text(&again, slice_of(text), &why));
		assert_memory_equal(l.most, again.most, sizeof l.most);
		assert_memory_equal(l.budget, again.budget, sizeof l.budget);
		assert_memory_equal(
		    l.fallback, again.fallback, sizeof l.fallback);
		assert_int_equal(l.reserve_cap, again.reserve_cap);
		assert_int_equal(l.paid_routes, again.paid_routes);
		assert_int_equal(l.stated, again.stated);
	}
	assert_int_equal(all, (1u << LIMITS_SETTINGS) - 1);
}

static void
a_name_stands_for_all_its_periods(void **state)
{
	(void)state;
	assert_int_equal(limits_settings_named(SLICE("concurrent")),
	    STATED_LIMIT(LIMIT_CONCURRENT));
	assert_int_equal(limits_settings_named(SLICE("budget")),
	    STATED_BUDGET(PERIOD_DAY) | STATED_BUDGET(PERIOD_WEEK) |
		STATED_BUDGET(PERIOD_MONTH));
	assert_int_equal(
	    limits_settings_named(SLICE("paid_routes")), STATED_PAID_ROUTES);
	assert_int_equal(limits_settings_named(SLICE("budge")), 0);
	assert_int_equal(limits_settings_named(SLICE("")), 0);
}

static void
what_is_no_setting_is_refused_by_its_name(void **state)
{
	static const struct {
		const char *text, *word;
	} bad[] = {
	    {"", "concurrent=4"},
	    {"concurrent", "looks like"},
	    {"concurrent=", "concurrent must be"},
	    {"concurrent=-1", "concurrent must be"},
	    {"concurent=4", "concurent is not a limit"},
	    {"budget=10", "budget must be"},
	    {"budget=10/year", "budget must be"},
	    {"paid_routes=yes", "paid_routes must be"},
	    {"=4", "is not a limit"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct limits l = limits_none();
		struct fault why;

		assert_false(limits_set_text(&l, slice_of(bad[i].text), &why));
		assert_non_null(strstr(why.text, bad[i].word));
		assert_int_equal(l.stated, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_setting_reads_back_as_it_was_written),
	    cmocka_unit_test(a_name_stands_for_all_its_periods),
	    cmocka_unit_test(what_is_no_setting_is_refused_by_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
