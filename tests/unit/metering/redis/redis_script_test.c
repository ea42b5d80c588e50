#include "metering/redis/redis_script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metering/redis/redis_spent.h"

#define ONE "01K9W00000000000000000000A"
#define TWO "01K9W00000000000000000000B"

/* 2026-11-21T14:00:00Z */
#define HOUR_MS INT64_C(1795269600000)

static struct ledger_view *
line(const char *writer, uint64_t seq, const char *user, const char *model)
{
	static struct ledger_view v;

	v = (struct ledger_view){.ts_ms = HOUR_MS + 1234,
	    .user = slice_of(user),
	    .model = slice_of(model),
	    .upstream = SLICE("spark"),
	    .end = SLICE("ok"),
	    .id = SLICE("id"),
	    .prompt_tokens = 10,
	    .cached_tokens = 4,
	    .completion_tokens = 3,
	    .reasoning_tokens = 1,
	    .cost_usd = 7,
	    .attempt_count = 1,
	    .writer = slice_of(writer),
	    .seq = seq};
	return &v;
}

static void
lines_are_summed_by_user_hour_model_and_upstream(void **state)
{
	static const uint64_t twice[] = {2, 20, 8, 6, 2, 14, 0};
	struct redis_sums *s = redis_sums_create();
	struct redis_row row;
	struct ledger_view *v;

	(void)state;
	redis_sums_add(s, line(ONE, 1, "alice", "ds4"));
	redis_sums_add(s, line(ONE, 2, "bob", "ds4"));
	v = line(ONE, 3, "alice", "ds4");
	v->ts_ms += REDIS_HOUR_MS;
	redis_sums_add(s, v);
	redis_sums_add(s, line(ONE, 4, "alice", "ds4"));
	assert_int_equal(redis_sums_count(s), 3);
	redis_sums_row(s, 0, &row);
	assert_true(slice_is(row.key, "use:2026-11-21T14:alice"));
	assert_true(slice_is(row.field, "ds4|spark|"));
	assert_int_equal(row.hour_ms, HOUR_MS);
	assert_memory_equal(row.counts, twice, sizeof twice);
	redis_sums_row(s, 2, &row);
	assert_true(slice_is(row.key, "use:2026-11-21T15:alice"));
	redis_sums_clear(s);
	assert_int_equal(redis_sums_count(s), 0);
	redis_sums_destroy(&s);
}

static void
rows_are_found_again_among_many(void **state)
{
	struct redis_sums *s = redis_sums_create();
	char model[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(model, sizeof model, "m%d", i);
		redis_sums_add(s, line(ONE, 1, "alice", model));
	}
	assert_int_equal(redis_sums_count(s), 1000);
	assert_int_equal(redis_sums_find(s, SLICE("use:2026-11-21T14:alice"),
			     SLICE("m777|spark|")),
	    777);
	assert_true(redis_sums_find(s, SLICE("use:2026-11-21T14:alice"),
			SLICE("m1000|spark|")) == SIZE_MAX);
	redis_sums_destroy(&s);
}

static void
names_cannot_break_out_of_their_field(void **state)
{
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "a|b", "x|y %\n");
	struct redis_row row;

	(void)state;
	v->upstream = (struct slice){NULL, 0};
	redis_sums_add(s, v);
	redis_sums_row(s, 0, &row);
	assert_true(slice_is(row.field, "x%7Cy%20%25%0A|-|"));
	redis_sums_destroy(&s);
}

static void
a_refused_line_counts_nothing_and_a_failed_one_an_error(void **state)
{
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "alice", "ds4");
	struct redis_row row;

	(void)state;
	v->attempt_count = 0;
	redis_sums_add(s, v);
	assert_int_equal(redis_sums_count(s), 0);
	v = line(ONE, 1, "alice", "ds4");
	v->end = SLICE("timeout");
	redis_sums_add(s, v);
	v->end = SLICE("client_gone");
	redis_sums_add(s, v);
	redis_sums_row(s, 0, &row);
	assert_int_equal(row.counts[REDIS_COUNT_ERRORS], 1);
	assert_int_equal(row.counts[REDIS_COUNT_REQUESTS], 2);
	redis_sums_destroy(&s);
}

static void
sums_stand_still_at_the_most(void **state)
{
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "alice", "ds4");
	struct redis_row row;

	(void)state;
	v->cost_usd = (__int128)REDIS_COUNT_MOST * 1000;
	redis_sums_add(s, v);
	v->cost_usd = 1;
	redis_sums_add(s, v);
	redis_sums_row(s, 0, &row);
	assert_true(row.counts[REDIS_COUNT_PUSD] == REDIS_COUNT_MOST);
	redis_sums_destroy(&s);
}

static void
a_time_before_1970_has_its_hour(void **state)
{
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "alice", "ds4");
	struct redis_row row;

	(void)state;
	v->ts_ms = -1;
	redis_sums_add(s, v);
	redis_sums_row(s, 0, &row);
	assert_true(slice_is(row.key, "use:1969-12-31T23:alice"));
	redis_sums_destroy(&s);
}

static void
a_batch_says_what_it_continues_and_what_is_missing(void **state)
{
	static const char *const words[] = {"6", "{p}:epoch",
	    "{p}:E:gateway:forge", "{p}:E:skipped",
	    "{p}:E:use:2026-11-21T14:alice", "{p}:E:spent:20778:user:alice",
	    "{p}:E:spent:20778:model:ds4|alice", "E", "place", "2", "1", "3",
	    ONE, "5", "9", TWO, "0", "1", ONE " 7-8",
	    "1829829600",               /* 400 days later */
	    "1798675200", "1798675200", /* 40 days after its day began */
	    "id", "id", "id", "1", "ds4|spark|", "4", "40", "16", "12", "4",
	    "28", "0", "2", "all|", "0", "30", "0", "9", "0", "21", "0", "2",
	    "56|", "0", "30", "0", "9", "0", "21", "0", "3", "all|", "0", "30",
	    "0", "9", "0", "21", "0", "3", "56|", "0", "30", "0", "9", "0",
	    "21", "0"};
	struct redis_batch b;
	struct redis_args a = {0};

	(void)state;
	redis_batch_init(&b);
	assert_true(redis_batch_take(&b, line(ONE, 6, "alice", "ds4"), 5));
	assert_true(redis_batch_take(&b, line(ONE, 9, "alice", "ds4"), 6));
	assert_true(redis_batch_take(&b, line(TWO, 1, "alice", "ds4"), 0));
	redis_sums_add(b.sums, line(TWO, 2, "alice", "ds4"));
	assert_int_equal(b.lines, 3);
	assert_int_equal(b.skipped, 2);
	redis_batch_command(&b, "p", "E", "forge", "place", &a);
	assert_int_equal(a.count, COUNT_OF(words));
	for (size_t i = 0; i < a.count; i++)
		if (!slice_is(redis_args_at(&a, i), words[i]))
			fail_msg("word %zu is '%.*s', not '%s'", i,
			    (int)redis_args_at(&a, i).len,
			    redis_args_at(&a, i).p, words[i]);
	redis_args_release(&a);
	redis_batch_clear(&b);
	assert_int_equal(
	    b.lines + b.span_count + b.gaps.count + b.ids.count, 0);
	redis_batch_release(&b);
}

static void
a_batch_has_room_for_some_writers(void **state)
{
	char writer[ULID_CHARS + 1];
	struct redis_batch b;
	int i = 0;

	(void)state;
	redis_batch_init(&b);
	do {
		snprintf(writer, sizeof writer, "01K9W%021d", i++);
	} while (redis_batch_take(&b, line(writer, 1, "alice", "ds4"), 0) &&
	    i < 1000);
	assert_int_equal(i, REDIS_BATCH_SPANS_MOST + 1);
	assert_true(redis_batch_take(
	    &b, line("01K9W000000000000000000003", 2, "alice", "ds4"), 1));
	redis_batch_release(&b);
}

/* --- what subjects have spent -------------------------------------------- */

static uint64_t
spent(const struct redis_sums *s, const char *key, const char *field,
    enum redis_counter c)
{
	size_t i = redis_sums_find(s, slice_of(key), slice_of(field));
	struct redis_row row = {0};

	if (i != SIZE_MAX)
		redis_sums_row(s, i, &row);
	return row.counts[c];
}

static void
a_line_counts_for_its_subjects_by_day_and_quarter(void **state)
{
	static const char user[] = "spent:5:user:al%7Cice";
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "al|ice", "d s4");
	struct redis_row row;

	(void)state;
	v->ts_ms = 5 * REDIS_DAY_MS + 7 * REDIS_QUARTER_MS + 1;
	redis_spent_add(s, v);
	v->ts_ms = 6 * REDIS_DAY_MS - 1;
	v->key = SLICE("k3f8aa");
	v->fallback_usd = 2;
	redis_spent_add(s, v);
	assert_int_equal(spent(s, user, "all|", REDIS_COUNT_PUSD), 14);
	assert_int_equal(spent(s, user, "7|", REDIS_COUNT_INPUT), 10);
	assert_int_equal(spent(s, user, "95|", REDIS_COUNT_OUTPUT), 3);
	assert_int_equal(spent(s, "spent:5:model:d%20s4|al%7Cice", "all|",
			     REDIS_COUNT_INPUT),
	    20);
	assert_int_equal(
	    spent(s, "spent:5:key:k3f8aa", "all|", REDIS_COUNT_PUSD), 7);
	assert_int_equal(
	    spent(s, "spent:5:everyone", "fallback|95|", REDIS_COUNT_PUSD), 2);
	assert_int_equal(
	    spent(s, "spent:5:everyone", "all|", REDIS_COUNT_PUSD), 0);
	redis_sums_row(s, 0, &row);
	assert_true(row.ends_ms == 5 * REDIS_DAY_MS + REDIS_SPENT_KEEP_MS);
	redis_sums_destroy(&s);
}

static void
what_was_not_tried_or_is_before_1970_is_spent_as_it_should(void **state)
{
	struct redis_sums *s = redis_sums_create();
	struct ledger_view *v = line(ONE, 1, "alice", "ds4");

	(void)state;
	v->attempt_count = 0;
	redis_spent_add(s, v);
	assert_int_equal(redis_sums_count(s), 0);
	v->attempt_count = 1;
	v->ts_ms = -1;
	redis_spent_add(s, v);
	assert_int_equal(
	    spent(s, "spent:-1:user:alice", "95|", REDIS_COUNT_PUSD), 7);
	redis_sums_destroy(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_are_summed_by_user_hour_model_and_upstream),
	    cmocka_unit_test(rows_are_found_again_among_many),
	    cmocka_unit_test(names_cannot_break_out_of_their_field),
	    cmocka_unit_test(
		a_refused_line_counts_nothing_and_a_failed_one_an_error),
	    cmocka_unit_test(sums_stand_still_at_the_most),
	    cmocka_unit_test(a_time_before_1970_has_its_hour),
	    cmocka_unit_test(
		a_batch_says_what_it_continues_and_what_is_missing),
	    cmocka_unit_test(a_batch_has_room_for_some_writers),
	    cmocka_unit_test(a_line_counts_for_its_subjects_by_day_and_quarter),
	    cmocka_unit_test(
		what_was_not_tried_or_is_before_1970_is_spent_as_it_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
