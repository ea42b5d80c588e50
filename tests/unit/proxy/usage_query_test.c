#include "proxy/usage_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

/* It is a Thursday afternoon. */
#define NOW "2026-11-19T14:22:01Z"

static struct usage_query
parse(const char *text)
{
	struct usage_query q;
	struct fault why;

	if (!usage_query_parse(slice_of(text), at(NOW), &q, &why))
		fail_msg("%s: %s", text, why.text);
	return q;
}

static void
nothing_said_is_the_last_seven_days(void **state)
{
	struct usage_query q = parse("");

	(void)state;
	assert_int_equal(q.period, REPORT_DAILY);
	assert_int_equal(q.begin_ms, at("2026-11-13"));
	assert_int_equal(q.end_ms, at("2026-11-20"));
	assert_false(q.has_more);
	for (int i = 0; i < ROLLUP_NAME_COUNT; i++)
		assert_false(q.by[i]);
	assert_string_equal(q.model, "");
	q = parse("bucket_width=1h");
	assert_int_equal(q.period, REPORT_HOURLY);
	assert_int_equal(q.begin_ms, at("2026-11-18T15:00:00Z"));
	assert_int_equal(q.end_ms, at("2026-11-19T15:00:00Z"));
}

static void
a_bucket_asked_for_in_part_is_given_whole(void **state)
{
	/* 2026-11-17T10:30:00Z to 2026-11-18T00:00:01Z */
	struct usage_query q =
	    parse("start_time=1794911400&end_time=1794960001");

	(void)state;
	assert_int_equal(q.begin_ms, at("2026-11-17"));
	assert_int_equal(q.end_ms, at("2026-11-19"));
	/* ...to 2026-11-18T00:00:00Z, which belongs to the day before. */
	q = parse("start_time=1794911400&end_time=1794960000");
	assert_int_equal(q.end_ms, at("2026-11-18"));
	q = parse("start_time=1794911400&end_time=1794913200&bucket_width=1h");
	assert_int_equal(q.begin_ms, at("2026-11-17T10:00:00Z"));
	assert_int_equal(q.end_ms, at("2026-11-17T11:00:00Z"));
	/* What has not begun has no bucket. */
	q = parse("start_time=1794911400&end_time=4000000000");
	assert_int_equal(q.end_ms, at("2026-11-20"));
	q = parse("start_time=4000000000");
	assert_int_equal(q.begin_ms, q.end_ms);
	assert_false(q.has_more);
}

static void
pages_follow_each_other_without_a_gap(void **state)
{
	/* From 2026-11-01 on. */
	struct usage_query q = parse("start_time=1793491200&limit=10");

	(void)state;
	assert_int_equal(q.begin_ms, at("2026-11-01"));
	assert_int_equal(q.end_ms, at("2026-11-11"));
	assert_true(q.has_more);
	q = parse("start_time=1793491200&limit=10&page=page_1794355200");
	assert_int_equal(q.begin_ms, at("2026-11-11"));
	assert_int_equal(q.end_ms, at("2026-11-20"));
	assert_false(q.has_more);
	/* One page for all is as many as there may be. */
	q = parse("start_time=0&limit=31");
	assert_int_equal(q.begin_ms, 0);
	assert_int_equal(q.end_ms, at("1970-02-01"));
	assert_true(q.has_more);
}

static void
lists_may_be_written_in_three_ways(void **state)
{
	static const char *const ways[] = {"group_by=model,api_key_id",
	    "group_by=model&group_by=api_key_id",
	    "group_by[]=model&group_by%5B%5D=api_key_id",
	    "&group_by=api_key_id&&group_by=model&group_by=model&"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		struct usage_query q = parse(ways[i]);

		assert_true(q.by[ROLLUP_MODEL]);
		assert_true(q.by[ROLLUP_KEY]);
		assert_false(q.by[ROLLUP_USER]);
		assert_false(q.by[ROLLUP_UPSTREAM]);
	}
}

static void
names_are_decoded(void **state)
{
	struct usage_query q =
	    parse("models=org%2Fmodel+x%c3%A9&api_key_ids[]=k3f8aa");

	(void)state;
	assert_string_equal(q.model, "org/model x\xc3\xa9");
	assert_string_equal(q.key, "k3f8aa");
}

static void
what_is_wrong_is_said_in_a_sentence(void **state)
{
	static const struct {
		const char *query, *part;
	} cases[] = {
	    {"start_time=now", "whole seconds"},
	    {"start_time=-1", "whole seconds"},
	    {"start_time=1.5", "whole seconds"},
	    {"start_time=", "whole seconds"},
	    {"start_time", "whole seconds"},
	    {"start_time=99999999999999999999", "whole seconds"},
	    {"start_time=1&start_time=2", "once"},
	    {"start_time=2&end_time=2", "after start_time"},
	    {"bucket_width=1m", "1h or 1d"},
	    {"bucket_width=1d&bucket_width=1d", "once"},
	    {"group_by=project_id", "group_by takes"},
	    {"group_by=model,", "group_by takes"},
	    {"limit=0", "from 1 on"},
	    {"limit=32", "at most 31"},
	    {"limit=169&bucket_width=1h", "at most 168"},
	    {"limit=ten", "from 1 on"},
	    {"page=2", "next_page"},
	    {"start_time=1793491200&page=page_1793404800", "start_time"},
	    {"start_time=1793491200&page=page_1793491201", "start_time"},
	    {"models=a&models=b", "one at a time"},
	    {"models=", "empty"},
	    {"user=bob", "may have start_time"},
	    {"=1", "may have start_time"},
	    {"models=%4", "damaged"},
	    {"models=%zz", "damaged"},
	    {"models=%00", "damaged"},
	    {"models=%ff", "damaged"},
	    {"models=%0a", "damaged"},
	};
	struct usage_query q;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (usage_query_parse(
			slice_of(cases[i].query), at(NOW), &q, &why))
			fail_msg("'%s' was taken", cases[i].query);
		if (strstr(why.text, cases[i].part) == NULL)
			fail_msg("'%s': %s", cases[i].query, why.text);
		assert_int_equal(why.text[strlen(why.text) - 1], '.');
	}
}

static void
a_name_that_is_too_long_is_refused(void **state)
{
	char text[USAGE_QUERY_TEXT_BYTES + 16] = "models=";
	struct usage_query q;
	struct fault why;

	(void)state;
	memset(text + 7, 'a', USAGE_QUERY_TEXT_BYTES - 1);
	assert_true(usage_query_parse(slice_of(text), at(NOW), &q, &why));
	memset(text + 7, 'a', USAGE_QUERY_TEXT_BYTES);
	assert_false(usage_query_parse(slice_of(text), at(NOW), &q, &why));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_said_is_the_last_seven_days),
	    cmocka_unit_test(a_bucket_asked_for_in_part_is_given_whole),
	    cmocka_unit_test(pages_follow_each_other_without_a_gap),
	    cmocka_unit_test(lists_may_be_written_in_three_ways),
	    cmocka_unit_test(names_are_decoded),
	    cmocka_unit_test(what_is_wrong_is_said_in_a_sentence),
	    cmocka_unit_test(a_name_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
