#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "auth/calendar.h"
#include "base/clock.h"
#include "base/mem.h"
#include "../seeded.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define SEED UINT64_C(20261121)

static void
set_zone(const char *name)
{
	setenv("TZ", name, 1);
	tzset();
}

static int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

struct expected {
	const char *zone;
	enum period period;
	const char *when, *begin, *end;
};

static void
check_spans(const struct expected *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct expected *e = &rows[i];
		char begin[CLOCK_TEXT_BYTES], end[CLOCK_TEXT_BYTES];
		struct span s;

		set_zone(e->zone);
		s = calendar_span(e->period, at(e->when));
		clock_format(begin, s.begin_ms);
		clock_format(end, s.end_ms);
		assert_string_equal(begin, e->begin);
		assert_string_equal(end, e->end);
	}
}

static void
days_weeks_and_months_begin_in_the_zone(void **state)
{
	static const struct expected rows[] = {
	    {"UTC", PERIOD_DAY, "2026-05-28T14:22:01Z", "2026-05-28T00:00:00Z",
		"2026-05-29T00:00:00Z"},
	    {"UTC", PERIOD_WEEK, "2026-05-28T14:22:01Z", "2026-05-25T00:00:00Z",
		"2026-06-01T00:00:00Z"},
	    {"UTC", PERIOD_WEEK, "2026-05-31T23:59:59Z", "2026-05-25T00:00:00Z",
		"2026-06-01T00:00:00Z"},
	    {"UTC", PERIOD_MONTH, "2026-12-31T23:59:59Z",
		"2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	    {"UTC", PERIOD_WEEK, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z",
		"2027-01-04T00:00:00Z"},
	    {"Asia/Kolkata", PERIOD_DAY, "2026-05-28T18:30:00Z",
		"2026-05-28T18:30:00Z", "2026-05-29T18:30:00Z"},
	    {"America/New_York", PERIOD_MONTH, "2026-03-01T04:59:59Z",
		"2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z"},
	    {"UTC", PERIOD_DAY, "1969-12-31T23:59:59Z", "1969-12-31T00:00:00Z",
		"1970-01-01T00:00:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
	set_zone("UTC");
	assert_int_equal(calendar_span(PERIOD_DAY, -1).end_ms, 0);
	assert_int_equal(calendar_span(PERIOD_DAY, 0).begin_ms, 0);
}

static void
a_leap_day_is_a_day_and_february_ends_after_it(void **state)
{
	static const struct expected rows[] = {
	    {"UTC", PERIOD_DAY, "2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z",
		"2028-03-01T00:00:00Z"},
	    {"UTC", PERIOD_MONTH, "2028-02-29T23:59:59Z",
		"2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
	    {"UTC", PERIOD_MONTH, "2100-02-28T23:59:59Z",
		"2100-02-01T00:00:00Z", "2100-03-01T00:00:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
}

static void
a_day_is_23_or_25_hours_when_clocks_change(void **state)
{
	static const struct expected rows[] = {
	    {"Europe/Berlin", PERIOD_DAY, "2026-03-29T12:00:00Z",
		"2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
	    {"Europe/Berlin", PERIOD_DAY, "2026-10-25T12:00:00Z",
		"2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
	    {"America/New_York", PERIOD_DAY, "2026-03-08T12:00:00Z",
		"2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"},
	    /* By half an hour. */
	    {"Australia/Lord_Howe", PERIOD_DAY, "2026-10-04T00:00:00Z",
		"2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
}

static void
a_day_without_midnight_begins_at_its_first_moment(void **state)
{
	static const struct expected rows[] = {
	    {"America/Sao_Paulo", PERIOD_DAY, "2018-11-04T03:00:00Z",
		"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
	    {"America/Sao_Paulo", PERIOD_DAY, "2018-11-04T02:59:59Z",
		"2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
	    /* 23:30 becomes 00:30 */
	    {"America/Toronto", PERIOD_DAY, "1919-03-31T12:00:00Z",
		"1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z"},
	    {"Asia/Beirut", PERIOD_DAY, "2021-03-28T12:00:00Z",
		"2021-03-27T22:00:00Z", "2021-03-28T21:00:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
}

static void
a_day_with_two_midnights_begins_at_the_first(void **state)
{
	static const struct expected rows[] = {
	    /* 01:00 becomes 00:00 */
	    {"America/Havana", PERIOD_DAY, "2021-11-07T05:30:00Z",
		"2021-11-07T04:00:00Z", "2021-11-08T05:00:00Z"},
	    /* 00:00 becomes 23:00 */
	    {"Asia/Beirut", PERIOD_DAY, "2021-10-30T21:30:00Z",
		"2021-10-29T21:00:00Z", "2021-10-30T22:00:00Z"},
	    /* 00:01 becomes 23:01: what is then called Saturday is in Sunday */
	    {"America/St_Johns", PERIOD_DAY, "2010-11-07T02:30:30Z",
		"2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
	    {"America/St_Johns", PERIOD_DAY, "2010-11-07T03:00:00Z",
		"2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
}

static void
a_date_that_was_left_out_has_no_day(void **state)
{
	static const struct expected rows[] = {
	    {"Pacific/Apia", PERIOD_DAY, "2011-12-30T09:59:59Z",
		"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
	    {"Pacific/Apia", PERIOD_DAY, "2011-12-30T10:00:00Z",
		"2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
	    {"Pacific/Apia", PERIOD_WEEK, "2011-12-30T10:00:00Z",
		"2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z"},
	};

	(void)state;
	check_spans(rows, COUNT_OF(rows));
}

static void
check_span(const char *zone, enum period p, int64_t ms, struct span want)
{
	struct span s = calendar_span(p, ms);

	if (s.begin_ms != want.begin_ms || s.end_ms != want.end_ms)
		fail_msg("seed %llu, %s: the %s of %lld is %lld to %lld, not "
			 "%lld to %lld",
		    (unsigned long long)SEED, zone, period_name(p),
		    (long long)ms, (long long)s.begin_ms, (long long)s.end_ms,
		    (long long)want.begin_ms, (long long)want.end_ms);
}

/* Each moment of forty years is in one span, which is the same for all that are
 * in it, and the next begins where it ends. */
static void
check_zone(const char *zone, enum period p, struct seeded *random)
{
	static const int64_t longest[PERIOD_COUNT] = {
	    2 * DAY_MS, 8 * DAY_MS, 32 * DAY_MS};
	int64_t end = at("2030-01-01");
	struct span s;

	set_zone(zone);
	s = calendar_span(p, at("1990-01-01"));
	while (s.end_ms < end) {
		int64_t length = s.end_ms - s.begin_ms;

		assert_in_range(length, 22 * HOUR_MS, longest[p]);
		check_span(zone, p, s.begin_ms, s);
		check_span(zone, p, s.end_ms - 1, s);
		for (int i = 0; i < 2; i++)
			check_span(zone, p,
			    s.begin_ms +
				(int64_t)seeded_below(random, (size_t)length),
			    s);
		check_span(zone, p,
		    s.begin_ms + (int64_t)seeded_below(random, (size_t)HOUR_MS),
		    s);
		s = (struct span){s.end_ms, calendar_span(p, s.end_ms).end_ms};
	}
}

static void
spans_tile_the_time_line(void **state)
{
	static const char *const zones[] = {"UTC", "Europe/Berlin",
	    "America/New_York", "Asia/Kolkata", "Pacific/Apia",
	    "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut",
	    "America/Havana", "America/St_Johns", "Pacific/Kiritimati"};
	struct seeded random = {SEED};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(zones); i++) {
		for (int p = 0; p < PERIOD_COUNT; p++)
			check_zone(zones[i], (enum period)p, &random);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(days_weeks_and_months_begin_in_the_zone),
	    cmocka_unit_test(a_leap_day_is_a_day_and_february_ends_after_it),
	    cmocka_unit_test(a_day_is_23_or_25_hours_when_clocks_change),
	    cmocka_unit_test(a_day_without_midnight_begins_at_its_first_moment),
	    cmocka_unit_test(a_day_with_two_midnights_begins_at_the_first),
	    cmocka_unit_test(a_date_that_was_left_out_has_no_day),
	    cmocka_unit_test(spans_tile_the_time_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
