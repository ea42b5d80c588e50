#include "metering/report.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "metering/price.h"

static int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

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
	    .period = period, .is_utc = true, .until_ms = INT64_MAX};
}

static struct ledger_line
line_at(const char *when, const char *user)
{
	return (struct ledger_line){
	    .ts_ms = at(when),
	    .user = user,
	    .model = "ds4",
	    .upstream = "spark",
	    .key = "k3f8aa",
	    .end = "ok",
	    .usage_source = "upstream",
	    .stream = true,
	    .prompt_tokens = 100,
	    .cached_tokens = 40,
	    .completion_tokens = 10,
	    .duration_ms = 1500,
	    .ttft_ms = 500,
	    .attempts = {{.upstream = "spark", .result = "ok"}},
	    .attempt_count = 1,
	};
}

static void
an_empty_report_is_all_zeros(void **state)
{
	struct report_query q = query(REPORT_DAILY);
	struct report *r = report_create(&q);
	int64_t first, last;

	(void)state;
	report_finish(r);
	assert_int_equal(report_row_count(r), 0);
	assert_int_equal(report_total(r)->requests, 0);
	assert_int_equal(report_total(r)->ttft_p50_ms, -1);
	assert_false(report_span(r, &first, &last));
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
	q.by[q.by_count++] = REPORT_BY_USER;
	r = report_create(&q);
	line = line_at("2026-11-19T10:00:00Z", "alice");
	report_add(r, &line);
	line = line_at("2026-11-19T09:59:59Z", "alice");
	report_add(r, &line);
	line = line_at("2026-11-19T09:00:00Z", "hermes");
	line.paid = true;
	line.cost_usd = 5;
	report_add(r, &line);
	report_add(r, &line);
	report_finish(r);

	assert_int_equal(report_row_count(r), 3);
	row = report_row(r, 0); /* more requests than alice */
	assert_start(row, "2026-11-19T09:00:00Z");
	assert_string_equal(row->group[0], "hermes");
	assert_int_equal(row->requests, 2);
	assert_int_equal(row->input_tokens, 200);
	assert_int_equal(row->cached_tokens, 80);
	assert_int_equal(row->output_tokens, 20);
	assert_int_equal(row->local_tokens, 0);
	assert_true(row->cost_pusd == 10);
	assert_string_equal(report_row(r, 1)->group[0], "alice");
	assert_int_equal(report_row(r, 1)->local_tokens, 110);
	assert_start(report_row(r, 2), "2026-11-19T10:00:00Z");
	assert_int_equal(report_total(r)->requests, 4);
	assert_int_equal(report_total(r)->local_tokens, 220);
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
	report_add(r, &line);
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
	q.since_ms = at("2026-11-19T10:00:00Z");
	q.until_ms = at("2026-11-19T11:00:00Z");
	q.only[REPORT_BY_USER] = "alice";
	q.only[REPORT_BY_MODEL] = "ds4";
	r = report_create(&q);
	report_add(r, &line); /* this one */
	line.ts_ms = q.since_ms - 1;
	report_add(r, &line);
	line.ts_ms = q.until_ms;
	report_add(r, &line);
	line.ts_ms = q.until_ms - 1; /* and this */
	report_add(r, &line);
	line.user = "bob";
	report_add(r, &line);
	line.user = NULL;
	report_add(r, &line);
	line.user = "alice";
	line.model = "coder";
	report_add(r, &line);
	report_finish(r);
	assert_int_equal(report_total(r)->requests, 2);
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
	report_add(r, &line);
	line.ttft_ms = -1;
	report_add(r, &line);
	line.end = "timeout";
	report_add(r, &line);
	report_finish(r);
	assert_int_equal(report_total(r)->cancelled, 1);
	report_destroy(&r);
}

static void
an_estimate_is_marked_only_where_it_counts(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");

	(void)state;
	report_add(r, &line);
	report_finish(r);
	assert_false(report_total(r)->has_estimated_tokens);

	line.usage_source = "estimated";
	line.attempts[0].source = USAGE_ESTIMATED;
	report_add(r, &line);
	assert_true(report_total(r)->has_estimated_tokens);
	assert_false(report_total(r)->has_estimated_cost);
	assert_false(report_total(r)->has_estimated_avoided);

	/* An estimate of an attempt before the last is in the line's cost. */
	line.usage_source = "upstream";
	line.attempts[0].cost_pusd = 1;
	report_add(r, &line);
	assert_true(report_total(r)->has_estimated_cost);
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
		report_add(r, &line);
	}
	line.stream = false; /* its tokens came all at once */
	line.ttft_ms = 1000;
	line.completion_tokens = 999999;
	report_add(r, &line);
	line.stream = true;
	line.ttft_ms = -1;
	report_add(r, &line);
	report_finish(r);
	assert_int_equal(total->ttft_p50_ms, 51);
	assert_int_equal(total->ttft_p95_ms, 96);
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
	q.by[q.by_count++] = REPORT_BY_KEY;
	q.by[q.by_count++] = REPORT_BY_USER;
	r = report_create(&q);
	line.user = user;
	for (int i = 0; i < 9000; i++) {
		snprintf(user, sizeof user, "u%d", i % 30);
		snprintf(key, sizeof key, "k%d", i % 50);
		line.key = i % 50 == 0 ? NULL : key;
		line.ts_ms = at("2026-01-01") + (int64_t)(i % 20) * 86400000;
		report_add(r, &line);
	}
	report_finish(r);
	/* i modulo 300 names the row. */
	assert_int_equal(report_row_count(r), 300);
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(report_row(r, i)->requests, 30);
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
		report_add(r, &line);
	report_finish(r);
	assert_int_equal(report_row_count(r), 2);
	assert_int_equal(report_row(r, 0)->requests, 25);
	assert_int_equal(report_row(r, 1)->requests, 1);
	report_destroy(&r);
	use_zone("UTC");
}

struct damage {
	uint64_t numbers[8];
	size_t count;
};

static void
on_damage(void *arg, uint64_t number, const char *why)
{
	struct damage *d = arg;

	assert_int_not_equal(strlen(why), 0);
	assert_true(d->count < COUNT_OF(d->numbers));
	d->numbers[d->count++] = number;
}

/* Reads `text` as a ledger file and returns the finished report. */
static struct report *
read_text(const struct buf *text, struct damage *d)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	char path[] = "/tmp/weir-report-XXXXXX";
	struct fault why;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_true(file_write_all(fd, buf_data(text), buf_len(text)));
	close(fd);
	assert_true(report_read(r, path, on_damage, d, &why));
	unlink(path);
	report_finish(r);
	return r;
}

static void
put_line(struct buf *text, uint64_t seq)
{
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "alice");

	ledger_line_write(text, &line);
	ledger_line_finish(text, "01K9W00000000000000000000A", seq);
}

static void
damaged_lines_are_told_and_skipped(void **state)
{
	struct buf text = {0};
	struct damage d = {0};
	struct report *r;

	(void)state;
	put_line(&text, 1);
	buf_puts(&text, "{\"ts\":\"2026-11-19T10:00\n\n");
	put_line(&text, 2);
	/* Longer than what is read at once. */
	for (int i = 0; i < 100000; i++)
		buf_puts(&text, "0123456789");
	buf_puts(&text, "\n");
	put_line(&text, 3);
	buf_puts(&text, "{\"ts\":");
	r = read_text(&text, &d);
	assert_int_equal(report_total(r)->requests, 3);
	assert_int_equal(d.count, 4);
	assert_int_equal(d.numbers[0], 2);
	assert_int_equal(d.numbers[1], 3);
	assert_int_equal(d.numbers[2], 5);
	assert_int_equal(d.numbers[3], 7);
	report_destroy(&r);
	buf_release(&text);
}

static void
lines_are_whole_wherever_a_read_ends(void **state)
{
	struct buf text = {0};
	struct damage d = {0};
	struct report *r;

	(void)state;
	for (uint64_t i = 1; i <= 3000; i++)
		put_line(&text, i);
	assert_true(buf_len(&text) > 4 * 262144);
	r = read_text(&text, &d);
	assert_int_equal(d.count, 0);
	assert_int_equal(report_total(r)->requests, 3000);
	assert_int_equal(report_total(r)->input_tokens, 300000);
	report_destroy(&r);
	buf_release(&text);
}

static void
a_missing_file_is_told_by_its_errno(void **state)
{
	struct report_query q = query(REPORT_ALL);
	struct report *r = report_create(&q);
	struct damage d = {0};
	struct fault why;

	(void)state;
	assert_false(
	    report_read(r, "/tmp/weir-no-such-ledger", on_damage, &d, &why));
	assert_int_equal(errno, ENOENT);
	report_destroy(&r);
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
	    cmocka_unit_test(damaged_lines_are_told_and_skipped),
	    cmocka_unit_test(lines_are_whole_wherever_a_read_ends),
	    cmocka_unit_test(a_missing_file_is_told_by_its_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
