#include "metering/reports/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "some_lines.h"

static void
assert_start(const struct report_row *row, const char *text)
{
	char start[CLOCK_TEXT_BYTES];

	clock_format(start, row->start_ms);
	assert_string_equal(start, text);
}

static void
use_zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static struct report_query
query(enum report_period period)
{
	return (struct report_query){
	    .period = period, .is_utc = true, .filter = ROLLUP_EVERYTHING};
}

static void
add(struct report *r, const struct ledger_line *line)
{
	report_add_line(r, view_of(line));
}

static void
an_empty_report_is_all_zeros(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct report *r = report_create(&q);

	(void)state;
	report_finish(r);
	assert_int_equal(report_row_count(r), 0);
	assert_int_equal(report_total(r)->sums.requests, 0);
	assert_int_equal(report_total(r)->ttft_p50_ms, -1);
	report_destroy(&r);
	assert_null(r);
}

static void
rows_are_summed_by_period_and_group(void **state)
{
	struct report_query q = query(REPORT_HOURLY);
	const struct report_row *row;
	struct ledger_line line;
	struct report *r;

	(void)state;
	q.by[q.by_count++] = ROLLUP_USER;
	r = report_create(&q);
	line = line_at("2026-11-19T10:00:00Z", "alice");
	add(r, &line);
	line = line_at("2026-11-19T09:59:59Z", "alice");
	add(r, &line);
	line = line_at("2026-11-19T09:00:00Z", "hermes");
	line.paid = true;
	line.cost_usd = 5;
	add(r, &line);
	add(r, &line);
	report_finish(r);

	assert_int_equal(report_row_count(r), 3);
	row = report_row(r, 0); /* more requests than alice */
	assert_start(row, "2026-11-19T09:00:00Z");
	assert_string_equal(row->group[0], "hermes");
	assert_int_equal(row->sums.requests, 2);
	assert_int_equal(row->sums.input_tokens, 200);
	assert_int_equal(row->sums.cached_tokens, 80);
	assert_int_equal(row->sums.output_tokens, 20);
	assert_int_equal(row->sums.local_tokens, 0);
	assert_true(row->sums.cost_pusd == 10);
	assert_string_equal(report_row(r, 1)->group[0], "alice");
	assert_int_equal(report_row(r, 1)->sums.local_tokens, 110);
	assert_start(report_row(r, 2), "2026-11-19T10:00:00Z");
	assert_int_equal(report_total(r)->sums.requests, 4);
	assert_int_equal(report_total(r)->sums.local_tokens, 220);
	report_destroy(&r);
}

static void
a_refused_request_is_in_no_row(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");

	(void)state;
	line.attempt_count = 0;
	add(r, &line);
	report_finish(r);
	assert_int_equal(report_row_count(r), 0);
	report_destroy(&r);
}

static void
only_what_was_asked_for_is_counted(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");
	struct report *r;

	(void)state;
	q.filter.since_ms = at("2026-11-19T10:00:00Z");
	q.filter.until_ms = at("2026-11-19T11:00:00Z");
	q.filter.only[ROLLUP_USER] = "alice";
	q.filter.only[ROLLUP_MODEL] = "ds4";
	r = report_create(&q);
	add(r, &line); /* this one */
	line.ts_ms = q.filter.since_ms - 1;
	add(r, &line);
	line.ts_ms = q.filter.until_ms;
	add(r, &line);
	line.ts_ms = q.filter.until_ms - 1; /* and this */
	add(r, &line);
	line.user = "bob";
	add(r, &line);
	line.user = NULL;
	add(r, &line);
	line.user = "alice";
	line.model = "coder";
	add(r, &line);
	report_finish(r);
	assert_int_equal(report_total(r)->sums.requests, 2);
	assert_int_equal(report_row_count(r), 1);
	report_destroy(&r);
}

static void
cancelled_means_gone_before_the_first_content(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");

	(void)state;
	line.end = "client_gone";
	add(r, &line);
	line.ttft_ms = -1;
	add(r, &line);
	line.end = "timeout";
	add(r, &line);
	report_finish(r);
	assert_int_equal(report_total(r)->sums.cancelled, 1);
	report_destroy(&r);
}

static void
an_estimate_is_marked_only_where_it_counts(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");
	const struct rollup_sums *sums = &report_total(r)->sums;

	(void)state;
	add(r, &line);
	line.usage_source = "estimated";
	line.attempts[0].source = USAGE_ESTIMATED;
	add(r, &line);
	/* An estimate of an attempt before the last is in the line's cost. */
	line.usage_source = "upstream";
	line.attempts[0].cost_pusd = 1;
	add(r, &line);
	report_finish(r);
	assert_int_equal(sums->estimated, 1);
	assert_int_equal(sums->estimated_cost, 1);
	assert_int_equal(sums->estimated_avoided, 0);
	report_destroy(&r);
}

static void
a_failure_is_none_of_the_client(void **state)
{
	static const char *const ends[] = {
	    "ok", "client_gone", "revoked", "timeout", "upstream_reset"};
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		line.end = ends[i];
		add(r, &line);
	}
	report_finish(r);
	assert_int_equal(report_total(r)->sums.failed, 2);
	report_destroy(&r);
}

static void
times_to_the_first_token_are_ranked(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");
	const struct report_row *total = report_total(r);

	(void)state;
	for (int64_t i = 100; i >= 1; i--) {
		line.ttft_ms = i;
		line.duration_ms = i + 250;
		add(r, &line);
	}
	line.stream = false; /* its tokens came all at once */
	line.ttft_ms = 1000;
	line.completion_tokens = 999999;
	add(r, &line);
	line.stream = true;
	line.ttft_ms = -1;
	add(r, &line);
	report_finish(r);
	assert_int_equal(total->ttft_p50_ms, 51);
	assert_true(llabs(total->ttft_p95_ms - 96) <= 1);
	assert_float_equal(total->tokens_per_second, 40.0, 0.001);
	report_destroy(&r);
}

static void
many_rows_are_all_found_again(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct ledger_line line = line_at("2026-01-01T00:00:00Z", "");
	char user[16], key[16];
	struct report *r;

	(void)state;
	q.by[q.by_count++] = ROLLUP_KEY;
	q.by[q.by_count++] = ROLLUP_USER;
	r = report_create(&q);
	line.user = user;
	for (int i = 0; i < 9000; i++) {
		snprintf(user, sizeof user, "u%d", i % 30);
		snprintf(key, sizeof key, "k%d", i % 50);
		line.key = i % 50 == 0 ? NULL : key;
		line.ts_ms = at("2026-01-01") + (int64_t)(i % 20) * 86400000;
		add(r, &line);
	}
	report_finish(r);
	/* i modulo 300 names the row. */
	assert_int_equal(report_row_count(r), 300);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(report_row(r, i)->sums.requests, 30);
	report_destroy(&r);
}

static void
periods_begin_in_the_local_zone(void **state)
{
	static const struct {
		enum report_period period;
		const char *when, *start;
	} cases[] = {
	    {REPORT_HOURLY, "2026-11-19T09:59:59Z", "2026-11-19T09:00:00Z"},
	    {REPORT_DAILY, "2026-11-19T22:59:59Z", "2026-11-18T23:00:00Z"},
	    {REPORT_DAILY, "2026-11-19T23:00:00Z", "2026-11-19T23:00:00Z"},
	    /* The days on which summer time begins and ends. */
	    {REPORT_DAILY, "2026-03-29T21:59:59Z", "2026-03-28T23:00:00Z"},
	    {REPORT_DAILY, "2026-03-29T22:00:00Z", "2026-03-29T22:00:00Z"},
	    {REPORT_DAILY, "2026-10-25T22:59:59Z", "2026-10-24T22:00:00Z"},
	    /* 02:00 comes twice. */
	    {REPORT_HOURLY, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z"},
	    {REPORT_HOURLY, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z"},
	    /* Monday, and a month of summer reached from winter. */
	    {REPORT_WEEKLY, "2026-11-22T22:59:59Z", "2026-11-15T23:00:00Z"},
	    {REPORT_WEEKLY, "2026-03-30T10:00:00Z", "2026-03-29T22:00:00Z"},
	    {REPORT_WEEKLY, "2026-03-29T10:00:00Z", "2026-03-22T23:00:00Z"},
	    {REPORT_MONTHLY, "2026-10-31T22:00:00Z", "2026-09-30T22:00:00Z"},
	    {REPORT_MONTHLY, "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z"},
	};
	struct report_row row = {0};

	(void)state;
	use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		row.start_ms = report_period_start(
		    cases[i].period, false, at(cases[i].when));
		assert_start(&row, cases[i].start);
	}
	use_zone("UTC");
}

static void
a_day_of_25_hours_is_one_row(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct ledger_line line = line_at("2026-10-24T22:30:00Z", "alice");
	struct report *r;

	(void)state;
	use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
	q.is_utc = false;
	r = report_create(&q);
	for (int i = 0; i < 26; i++, line.ts_ms += 3600000)
		add(r, &line);
	report_finish(r);
	assert_int_equal(report_row_count(r), 2);
	assert_int_equal(report_row(r, 0)->sums.requests, 25);
	assert_int_equal(report_row(r, 1)->sums.requests, 1);
	report_destroy(&r);
	use_zone("UTC");
}

/* Where clocks change at midnight, and by half an hour. */
static void
every_moment_is_in_one_period(void **state)
{
	static const char *const zones[] = {"Europe/Berlin", "America/Havana",
	    "Asia/Beirut", "Africa/Cairo", "Australia/Lord_Howe",
	    "Asia/Kathmandu", "America/Asuncion"};
	struct report_query q = query(REPORT_DAILY);
	struct rollup_sums sums = {.requests = 1};
	struct waits waits = {0};
	struct rollup_row row = {.sums = &sums, .waits = &waits};

	(void)state;
	q.is_utc = false;
	for (size_t z = 0; z < COUNT_OF(zones); z++) {
		int64_t ms = at("2026-01-01"), day = INT64_MIN;
		struct report *r;
		uint64_t quarters = 0;

		use_zone(zones[z]);
		for (; ms < at("2027-01-01"); ms += ROLLUP_QUARTER_MS) {
			int64_t start =
			    report_period_start(REPORT_DAILY, false, ms);

			assert_true(start <= ms && start >= day);
			assert_true(ms - start < 25 * 3600000);
			assert_int_equal(start % ROLLUP_QUARTER_MS, 0);
			assert_int_equal(
			    report_period_start(REPORT_DAILY, false, start),
			    start);
			day = start;
		}
		/* The order in which they come changes nothing. */
		r = report_create(&q);
		for (ms -= ROLLUP_QUARTER_MS; ms >= at("2026-01-01");
		     ms -= ROLLUP_QUARTER_MS, quarters++) {
			row.start_ms = ms;
			report_add_row(r, &row);
		}
		report_finish(r);
		assert_in_range(report_row_count(r), 365, 366);
		for (size_t i = 0; i < report_row_count(r); i++)
			quarters -= report_row(r, i)->sums.requests;
		assert_int_equal(quarters, 0);
		report_destroy(&r);
	}
	use_zone("UTC");
}

static void
on_row(void *arg, const struct rollup_row *row)
{
	report_add_row(arg, row);
}

static void
rows_and_lines_are_the_same_to_a_report(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct rollup *t = rollup_create();
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");
	struct report *of_lines, *of_rows, *merged;

	(void)state;
	q.by[q.by_count++] = ROLLUP_USER;
	q.filter.only[ROLLUP_MODEL] = "ds4";
	of_lines = report_create(&q);
	of_rows = report_create(&q);
	merged = report_create(&q);
	for (int i = 0; i < 500; i++) {
		const struct ledger_view *v;

		line.ts_ms += 1800000;
		line.ttft_ms = i * i % 30011;
		line.duration_ms = line.ttft_ms + 100;
		line.model = i % 5 == 0 ? "coder" : "ds4";
		line.user = i % 3 == 0 ? "alice" : "bob";
		line.cost_usd = i;
		v = view_of(&line);
		report_add_line(i % 2 == 0 ? of_lines : merged, v);
		rollup_add_line(t, rollup_start(ROLLUP_QUARTER_MS, v->ts_ms),
		    ROLLUP_ALL_NAMES, v);
	}
	rollup_each(t, &ROLLUP_EVERYTHING, on_row, of_rows);
	report_merge(of_lines, merged);
	report_finish(of_lines);
	report_finish(of_rows);
	assert_int_equal(report_row_count(of_lines), report_row_count(of_rows));
	for (size_t i = 0; i < report_row_count(of_lines); i++) {
		const struct report_row *a = report_row(of_lines, i);
		const struct report_row *b = report_row(of_rows, i);

		assert_memory_equal(&a->sums, &b->sums, sizeof a->sums);
		assert_string_equal(a->group[0], b->group[0]);
		assert_int_equal(a->start_ms, b->start_ms);
		assert_int_equal(a->ttft_p95_ms, b->ttft_p95_ms);
	}
	report_destroy(&of_lines);
	report_destroy(&of_rows);
	report_destroy(&merged);
	rollup_destroy(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_report_is_all_zeros),
	    cmocka_unit_test(rows_are_summed_by_period_and_group),
	    cmocka_unit_test(a_refused_request_is_in_no_row),
	    cmocka_unit_test(only_what_was_asked_for_is_counted),
	    cmocka_unit_test(cancelled_means_gone_before_the_first_content),
	    cmocka_unit_test(an_estimate_is_marked_only_where_it_counts),
	    cmocka_unit_test(times_to_the_first_token_are_ranked),
	    cmocka_unit_test(many_rows_are_all_found_again),
	    cmocka_unit_test(periods_begin_in_the_local_zone),
	    cmocka_unit_test(a_day_of_25_hours_is_one_row),
	    cmocka_unit_test(a_failure_is_none_of_the_client),
	    cmocka_unit_test(every_moment_is_in_one_period),
	    cmocka_unit_test(rows_and_lines_are_the_same_to_a_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
