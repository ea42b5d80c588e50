#include "metering/reports/rollup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metering/reports/rollup_marks.h"
#include "some_lines.h"

/* --- waits --------------------------------------------------------------- */

static void
a_wait_is_off_by_less_than_two_percent(void **state)
{
	(void)state;
	for (uint64_t ms = 0; ms <= UINT32_MAX; ms += 1 + ms / 997) {
		struct waits w = {0};
		int64_t shown, off;

		waits_add(&w, (int64_t)ms, 1);
		shown = waits_percentile(&w, 50);
		off = shown - (int64_t)ms;
		assert_true(llabs(off) * 1000 <= (int64_t)ms * 16);
		/* What stands for a step is in that step. */
		waits_add(&w, shown, 1);
		assert_int_equal(w.used, 1);
		waits_release(&w);
	}
}

static void
percentiles_are_of_all_that_was_merged(void **state)
{
	struct waits odd = {0}, even = {0}, none = {0};

	(void)state;
	assert_int_equal(waits_percentile(&none, 95), -1);
	for (int64_t ms = 60; ms >= 1; ms--)
		waits_add(ms % 2 == 0 ? &even : &odd, ms, 10);
	waits_merge(&even, &odd);
	waits_merge(&even, &none);
	assert_int_equal(waits_percentile(&even, 50), 30);
	assert_int_equal(waits_percentile(&even, 95), 57);
	assert_int_equal(waits_percentile(&even, 100), 60);
	waits_add(&even, -5, 1); /* no wait is shorter than none */
	assert_int_equal(even.steps[0].step, 0);
	waits_release(&odd);
	waits_release(&even);
}

static void
too_many_waits_are_the_most_that_can_be_counted(void **state)
{
	struct waits w = {0};

	(void)state;
	waits_add(&w, 5, UINT32_MAX);
	waits_add(&w, 5, 7);
	waits_add(&w, INT64_MAX, 1);
	assert_int_equal(w.steps[0].count, UINT32_MAX);
	assert_int_equal(w.used, 2);
	waits_release(&w);
}

/* --- marks --------------------------------------------------------------- */

static struct slice
writer(char text[ULID_CHARS + 1], int n)
{
	snprintf(text, ULID_CHARS + 1, "01K9W%021d", n);
	return (struct slice){text, ULID_CHARS};
}

static void
a_line_is_taken_once(void **state)
{
	struct rollup_marks m = {0};
	char a[ULID_CHARS + 1], b[ULID_CHARS + 1];

	(void)state;
	writer(a, 1);
	writer(b, 2);
	assert_true(rollup_marks_take(&m, slice_of(b), 1));
	assert_true(rollup_marks_take(&m, slice_of(b), 2));
	assert_false(rollup_marks_take(&m, slice_of(b), 2));
	assert_false(rollup_marks_take(&m, slice_of(b), 1));
	/* Of an earlier start, written after it. */
	assert_true(rollup_marks_take(&m, slice_of(a), 70));
	assert_false(rollup_marks_take(&m, slice_of(a), 70));
	assert_true(rollup_marks_take(&m, slice_of(b), 9));
	rollup_marks_release(&m);
}

static void
writers_of_long_ago_are_counted_whole(void **state)
{
	struct rollup_marks m = {0};
	char text[ULID_CHARS + 1];

	(void)state;
	for (int i = 0; i < ROLLUP_MARKS_MOST + 5; i++)
		assert_true(rollup_marks_take(&m, writer(text, i), 3));
	assert_int_equal(m.count, ROLLUP_MARKS_MOST);
	assert_false(rollup_marks_take(&m, writer(text, 4), 99));
	assert_true(rollup_marks_take(&m, writer(text, 5), 99));
	assert_false(rollup_marks_take(&m, writer(text, 5), 99));
	rollup_marks_release(&m);
}

/* --- the table ----------------------------------------------------------- */

/* What rollup_each() called back with. */
struct seen {
	int64_t starts[64];
	char users[64][16];
	uint64_t requests[64];
	size_t count;
};

static void
see(void *arg, const struct rollup_row *row)
{
	struct seen *s = arg;
	const char *user = row->names[ROLLUP_USER];

	assert_true(s->count < COUNT_OF(s->starts));
	s->starts[s->count] = row->start_ms;
	snprintf(s->users[s->count], sizeof s->users[0], "%s",
	    user == NULL ? "(none)" : user);
	s->requests[s->count++] = row->sums->requests;
}

static void
add_at(struct rollup *t, int64_t start_ms, const char *user)
{
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", user);

	rollup_add_line(t, start_ms, ROLLUP_BIT(ROLLUP_USER), view_of(&line));
}

static void
cells_come_in_the_order_of_time_however_they_were_added(void **state)
{
	static const int64_t starts[] = {50, 30, 40, 30, 50, 10, 30};
	struct rollup *t = rollup_create();
	struct rollup_filter f = {.since_ms = 11, .until_ms = 50};
	struct seen all = {0}, some = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(starts); i++)
		add_at(t, starts[i], i % 2 == 0 ? "ann" : "bob");
	rollup_each(t, &ROLLUP_EVERYTHING, see, &all);
	assert_int_equal(all.count, 5);
	assert_int_equal(rollup_count(t), 5);
	for (size_t i = 1; i < all.count; i++)
		assert_true(all.starts[i - 1] <= all.starts[i]);
	rollup_each(t, &f, see, &some);
	assert_int_equal(some.count, 3);
	assert_int_equal(some.starts[0], 30);
	assert_int_equal(some.starts[2], 40);
	assert_true(rollup_has(t, 40));
	assert_false(rollup_has(t, 41));
	assert_int_equal(rollup_next_start(t, 41), 50);
	assert_true(rollup_next_start(t, 51) == INT64_MAX);
	rollup_destroy(&t);
	assert_null(t);
}

static void
a_name_that_is_none_is_its_own(void **state)
{
	struct rollup *t = rollup_create();
	struct rollup_filter f = ROLLUP_EVERYTHING;
	struct rollup_sums sums;

	(void)state;
	add_at(t, 0, NULL);
	add_at(t, 0, "");
	add_at(t, 0, "ann");
	add_at(t, 0, NULL);
	assert_int_equal(rollup_count(t), 3);
	f.only[ROLLUP_USER] = "";
	rollup_sum(t, &f, &sums);
	assert_int_equal(sums.requests, 1);
	f.only[ROLLUP_USER] = "nobody";
	rollup_sum(t, &f, &sums);
	assert_int_equal(sums.requests, 0);
	f.only[ROLLUP_USER] = NULL;
	rollup_sum(t, &f, &sums);
	assert_int_equal(sums.requests, 4);
	rollup_destroy(&t);
}

static void
many_cells_are_found_again(void **state)
{
	struct rollup *t = rollup_create();
	struct rollup_filter f = ROLLUP_EVERYTHING;
	struct rollup_sums sums;
	char user[16];

	(void)state;
	for (int i = 0; i < 30000; i++) {
		snprintf(user, sizeof user, "u%d", i % 300);
		add_at(t, i % 77 * 900000, user);
	}
	/* Each pair comes: 300 and 77 have no common factor. */
	assert_int_equal(rollup_count(t), 300 * 77);
	f.only[ROLLUP_USER] = "u7";
	rollup_sum(t, &f, &sums);
	assert_int_equal(sums.requests, 100);
	rollup_destroy(&t);
}

static void
sums_of_sums_are_those_of_the_lines(void **state)
{
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "ann");
	struct rollup_sums a = {0}, none = {0};
	struct rollup *t = rollup_create();

	(void)state;
	line.cost_usd = ((__int128)INT64_MAX) * 1000;
	line.attempts[0].cost_pusd = line.cost_usd;
	rollup_add_line(t, 0, 0, view_of(&line));
	line.ts_ms += 5000;
	rollup_add_line(t, 0, 0, view_of(&line));
	rollup_sum(t, &ROLLUP_EVERYTHING, &a);
	rollup_sums_add(&a, &none);
	assert_true(a.cost_pusd == ((__int128)INT64_MAX) * 2000);
	assert_int_equal(a.first_ms, at("2026-11-19T10:00:00Z"));
	assert_int_equal(a.last_ms, a.first_ms + 5000);
	rollup_sums_add(&none, &a);
	assert_memory_equal(&none, &a, sizeof a);
	rollup_destroy(&t);
}

static void
starts_are_found_also_before_1970(void **state)
{
	(void)state;
	assert_int_equal(rollup_start(900000, 900001), 900000);
	assert_int_equal(rollup_start(900000, 900000), 900000);
	assert_int_equal(rollup_start(900000, -1), -900000);
	assert_int_equal(rollup_start(900000, -900000), -900000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_wait_is_off_by_less_than_two_percent),
	    cmocka_unit_test(percentiles_are_of_all_that_was_merged),
	    cmocka_unit_test(too_many_waits_are_the_most_that_can_be_counted),
	    cmocka_unit_test(a_line_is_taken_once),
	    cmocka_unit_test(writers_of_long_ago_are_counted_whole),
	    cmocka_unit_test(
		cells_come_in_the_order_of_time_however_they_were_added),
	    cmocka_unit_test(a_name_that_is_none_is_its_own),
	    cmocka_unit_test(many_cells_are_found_again),
	    cmocka_unit_test(sums_of_sums_are_those_of_the_lines),
	    cmocka_unit_test(starts_are_found_also_before_1970),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
