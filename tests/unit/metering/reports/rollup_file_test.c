#include "metering/reports/rollup_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "metering/reports/rollup_line.h"
#include "some_lines.h"

static void
months_are_those_of_utc(void **state)
{
	static const struct {
		const char *when, *start;
	} cases[] = {
	    {"2026-11-30T23:59:59Z", "2026-11-01"},
	    {"2026-12-01T00:00:00Z", "2026-12-01"},
	    {"2027-01-31T12:00:00Z", "2027-01-01"},
	    {"1969-12-31T12:00:00Z", "1969-12-01"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int32_t month = rollup_month_of(at(cases[i].when));

		assert_int_equal(rollup_month_start(month), at(cases[i].start));
	}
}

static void
a_manifest_is_read_as_it_was_written(void **state)
{
	char *folder = make_folder();
	struct rollup_manifest m = {.generation = 12}, back;
	struct fault why;

	(void)state;
	assert_int_equal(
	    rollup_manifest_read(folder, &back, &why), ROLLUP_ABSENT);
	rollup_manifest_set(&m, rollup_month_of(at("2026-11-01")), 12);
	rollup_manifest_set(&m, rollup_month_of(at("2026-09-01")), 3);
	rollup_manifest_set(&m, rollup_month_of(at("2026-10-01")), 4);
	rollup_manifest_set(&m, rollup_month_of(at("2026-10-01")), 5);
	m.place.segment.seq = UINT64_MAX;
	memcpy(m.place.segment.writer, SOME_WRITER, sizeof SOME_WRITER);
	m.place.offset = 77;
	m.place.line = 2;
	assert_true(rollup_marks_take(&m.marks, slice_of(SOME_WRITER), 99));
	assert_true(rollup_manifest_write(folder, &m, &why));
	assert_int_equal(rollup_manifest_read(folder, &back, &why), ROLLUP_OK);
	assert_int_equal(back.generation, 12);
	assert_int_equal(back.month_count, 3);
	assert_memory_equal(back.months, m.months, 3 * sizeof *m.months);
	assert_int_equal(back.months[1].generation, 5);
	assert_memory_equal(
	    &back.place.segment, &m.place.segment, sizeof m.place.segment);
	assert_int_equal(back.place.offset, 77);
	assert_int_equal(back.marks.count, 1);
	assert_false(rollup_marks_take(&back.marks, slice_of(SOME_WRITER), 99));
	rollup_manifest_release(&m);
	rollup_manifest_release(&back);
	remove_folder(folder);
}

static enum rollup_verdict
parse(const char *body, struct fault *why)
{
	struct rollup_manifest m;
	struct buf text = {0};
	enum rollup_verdict v;

	buf_puts(&text, body);
	rollup_seal(&text, 0);
	v = rollup_manifest_parse(
	    (struct slice){buf_data(&text), buf_len(&text)}, &m, why);
	rollup_manifest_release(&m);
	buf_release(&text);
	return v;
}

static void
another_version_is_not_taken_for_this_one(void **state)
{
	struct fault why;

	(void)state;
	assert_int_equal(parse("{\"rollups\":1}\n", &why), ROLLUP_OK);
	assert_int_equal(parse("{\"rollups\":2}\n", &why), ROLLUP_DAMAGED);
	assert_string_equal(why.text, "it is of another version");
	/* But what a later one adds is passed over. */
	assert_int_equal(
	    parse("{\"rollups\":1,\"new\":[{\"x\":1}]}\n", &why), ROLLUP_OK);
}

static void
what_makes_no_sense_is_damage(void **state)
{
	static const char *const bodies[] = {
	    "",
	    "{}\n",
	    "[]\n",
	    "{\"rollups\":1\n",
	    "{\"rollups\":1,\"segment_writer\":\"short\"}\n",
	    "{\"rollups\":1}\n{\"month\":\"2026-13\",\"generation\":0}\n",
	    "{\"rollups\":1}\n{\"month\":\"2026-11\",\"generation\":1}\n",
	    "{\"rollups\":-1}\n",
	};
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bodies); i++) {
		why.text[0] = '\0';
		assert_int_equal(parse(bodies[i], &why), ROLLUP_DAMAGED);
	}
}

static void
count_row(void *arg, const struct rollup_row *row)
{
	*(uint64_t *)arg += row->sums->requests;
}

static void
write_row(void *arg, const struct rollup_row *row)
{
	rollup_row_write(arg, row);
}

/* Any byte that changes, and any end that is missing, is seen. */
static void
a_damaged_month_gives_nothing(void **state)
{
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "ann");
	struct rollup *t = rollup_create();
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	struct fault why;
	uint64_t rows = 0;

	(void)state;
	rollup_add_line(
	    t, at("2026-11-19T10:00:00Z"), ROLLUP_ALL_NAMES, view_of(&line));
	buf_puts(&text, "{\"rollup\":1,\"month\":\"2026-11\"}\n");
	rollup_each(t, &ROLLUP_EVERYTHING, write_row, &o);
	rollup_seal(&text, 1);
	for (size_t i = 0; i < buf_len(&text); i++) {
		char was = text.base[i];

		text.base[i] = (char)(was ^ 1);
		/* The number of rows is for people. */
		if (i < 8 || memcmp(text.base + i - 8, "{\"rows\":", 8) != 0)
			assert_int_equal(
			    rollup_month_parse(
				(struct slice){text.base, buf_len(&text)},
				count_row, &rows, &why),
			    ROLLUP_DAMAGED);
		text.base[i] = was;
		assert_int_equal(
		    rollup_month_parse(
			(struct slice){text.base, i}, count_row, &rows, &why),
		    ROLLUP_DAMAGED);
	}
	assert_int_equal(rows, 0);
	assert_int_equal(
	    rollup_month_parse((struct slice){text.base, buf_len(&text)},
		count_row, &rows, &why),
	    ROLLUP_OK);
	assert_int_equal(rows, 1);
	buf_release(&text);
	rollup_destroy(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(months_are_those_of_utc),
	    cmocka_unit_test(a_manifest_is_read_as_it_was_written),
	    cmocka_unit_test(another_version_is_not_taken_for_this_one),
	    cmocka_unit_test(what_makes_no_sense_is_damage),
	    cmocka_unit_test(a_damaged_month_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
