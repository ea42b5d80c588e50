#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/seeded.h"

#define SECOND INT64_C(1000)
#define DAY (86400 * SECOND)

static void
time_does_not_run_backwards(void **state)
{
	uint64_t before = clock_mono_ns();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_mono_ns();

		assert_true(now >= before);
		before = now;
	}
	assert_true(clock_wall_ms() > 19000 * DAY);
}

static void
a_time_is_written_in_utc(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
	    {0, "1970-01-01T00:00:00Z"},
	    {999, "1970-01-01T00:00:00Z"},
	    {951782400 * SECOND, "2000-02-29T00:00:00Z"},
	    {1779978121 * SECOND, "2026-05-28T14:22:01Z"},
	    {253402300799 * SECOND, "9999-12-31T23:59:59Z"},
	};
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		clock_format(text, rows[i].ms);
		assert_string_equal(text, rows[i].text);
	}
}

static void
a_time_is_read_in_any_of_its_forms(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
	    {"1970-01-01", 0},
	    {"1970-01-02", DAY},
	    {"1970-01-01T00:00:01Z", SECOND},
	    {"1970-01-01 00:00:01z", SECOND},
	    {"1970-01-01T00:00:00.5Z", 500},
	    {"1970-01-01T00:00:00.123456789Z", 123},
	    {"1970-01-01T02:00:00+02:00", 0},
	    {"1969-12-31T22:30:00-01:30", 0},
	    {"2000-02-29", 951782400 * SECOND},
	    {"2026-05-28T14:22:01Z", 1779978121 * SECOND},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t ms = -1;

		if (!clock_parse(slice_of(rows[i].text), &ms) ||
		    ms != rows[i].ms)
			fail_msg("misread: %s", rows[i].text);
	}
}

static void
what_is_no_time_is_not_read(void **state)
{
	static const char *const rows[] = {"", "2026", "2026-05", "2026-5-28",
	    "26-05-28", "2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32",
	    "2026-06-31", "2025-02-29", "1900-02-29", "2026-05-28T14:22",
	    "2026-05-28T14:22:01", "2026-05-28T24:00:00Z",
	    "2026-05-28T14:60:00Z", "2026-05-28T14:22:61Z",
	    "2026-05-28T14:22:01X", "2026-05-28T14:22:01Z ",
	    " 2026-05-28T14:22:01Z", "2026-05-28T14:22:01+0200",
	    "2026-05-28T14:22:01+24:00", "2026-05-28x14:22:01Z", "2026-05-2",
	    "2026/05/28", "today"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t ms;

		if (clock_parse(slice_of(rows[i]), &ms))
			fail_msg("read as a time: '%s'", rows[i]);
	}
}

static void
what_is_written_is_read_back(void **state)
{
	struct seeded random = {5};
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		int64_t ms,
		    second =
			(int64_t)seeded_below(&random, 253402300800) * SECOND;

		clock_format(text, second);
		assert_true(clock_parse(slice_of(text), &ms));
		assert_true(ms == second);
	}
}

static void
a_duration_has_a_unit(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t ms;
	} rows[] = {
	    {"0s", true, 0},
	    {"250ms", true, 250},
	    {"45s", true, 45000},
	    {"90m", true, 5400000},
	    {"2h", true, 7200000},
	    {"90d", true, UINT64_C(7776000000)},
	    {"3653d", true, UINT64_C(315619200000)},
	    {"3654d", false, 0},
	    {"315619200001ms", false, 0},
	    {"18446744073709551615s", false, 0},
	    {"", false, 0},
	    {"5", false, 0},
	    {"s", false, 0},
	    {"-5s", false, 0},
	    {"1.5h", false, 0},
	    {"5 s", false, 0},
	    {"5S", false, 0},
	    {"5sec", false, 0},
	    {"1h30m", false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t ms = 77;

		if (duration_parse(slice_of(rows[i].text), &ms) != rows[i].ok)
			fail_msg("misread: '%s'", rows[i].text);
		assert_true(ms == (rows[i].ok ? rows[i].ms : 77));
	}
}

static void
a_duration_is_said_as_a_person_says_it(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} rows[] = {
	    {0, "0ms"},
	    {999, "999ms"},
	    {45999, "45 s"},
	    {119999, "119 s"},
	    {120000, "2 min"},
	    {7199999, "119 min"},
	    {11520000, "3 h 12 min"},
	    {172799999, "47 h 59 min"},
	    {UINT64_C(7776000000), "90 days"},
	    {UINT64_MAX, "213503982334 days"},
	};
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		duration_format(text, rows[i].ms);
		assert_string_equal(text, rows[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(time_does_not_run_backwards),
	    cmocka_unit_test(a_time_is_written_in_utc),
	    cmocka_unit_test(a_time_is_read_in_any_of_its_forms),
	    cmocka_unit_test(what_is_no_time_is_not_read),
	    cmocka_unit_test(what_is_written_is_read_back),
	    cmocka_unit_test(a_duration_has_a_unit),
	    cmocka_unit_test(a_duration_is_said_as_a_person_says_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
