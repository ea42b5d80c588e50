#include "metering/reports/report_raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/mem.h"
#include "some_lines.h"

/* A ledger in a folder of its own. */
struct ledger_files {
	char *folder;
	char *path;
	struct buf text; /* of the current file, while it is made */
	uint64_t seq;
};

static int
set_up(void **state)
{
	struct ledger_files *l = xcalloc(sizeof *l);

	l->folder = make_folder();
	l->path = xasprintf("%s/usage.jsonl", l->folder);
	*state = l;
	return 0;
}

static int
tear_down(void **state)
{
	struct ledger_files *l = *state;

	remove_folder(l->folder);
	buf_release(&l->text);
	free(l->path);
	free(l);
	return 0;
}

static void
add_lines(struct ledger_files *l, int count)
{
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "ann");

	while (count-- > 0) {
		/* Of many lengths, so that parts end everywhere. */
		line.prompt_tokens = (int64_t)l->seq * 37 % 1000003;
		put_line(&l->text, &line, SOME_WRITER, ++l->seq);
	}
}

struct damage {
	uint64_t lines[16];
	size_t count;
};

static void
on_damage(void *arg, const char *path, uint64_t line, const char *why)
{
	struct damage *d = arg;

	assert_non_null(strstr(path, "usage"));
	assert_int_not_equal(strlen(why), 0);
	assert_true(d->count < COUNT_OF(d->lines));
	d->lines[d->count++] = line;
}

/* The total of all lines; the sums live until the next call. */
static const struct rollup_sums *
read_ledger(const struct ledger_files *l, unsigned threads, uint64_t part_bytes,
    struct damage *d, struct report_raw_found *found)
{
	static struct rollup_sums sums;
	struct report_query q = {.is_utc = true, .filter = ROLLUP_EVERYTHING};
	struct report_raw_options o = {.threads = threads,
	    .part_bytes = part_bytes,
	    .on_damage = on_damage,
	    .arg = d};
	struct report *r = report_create(&q);
	struct fault why;

	assert_true(report_raw(r, l->path, &o, found, &why));
	report_finish(r);
	sums = report_total(r)->sums;
	report_destroy(&r);
	return &sums;
}

static void
assert_same_in_parts(const struct ledger_files *l, uint64_t lines,
    const uint64_t *sizes, size_t count)
{
	struct report_raw_found found;
	struct rollup_sums whole;
	struct damage d = {0};

	whole = *read_ledger(l, 1, UINT64_MAX, &d, &found);
	assert_int_equal(whole.requests, lines);
	for (size_t i = 0; i < count; i++)
		for (unsigned threads = 1; threads <= 3; threads += 2)
			assert_memory_equal(
			    read_ledger(l, threads, sizes[i], &d, &found),
			    &whole, sizeof whole);
	assert_int_equal(d.count, 0);
}

static void
parts_of_any_size_give_the_same(void **state)
{
	static const uint64_t tiny[] = {1, 2, 7, 100, 583, 584, 585};
	static const uint64_t sizes[] = {1000, 4096, 65536, 1000000};
	struct ledger_files *l = *state;

	add_lines(l, 3);
	write_file(l->path, &l->text);
	assert_same_in_parts(l, 3, tiny, COUNT_OF(tiny));
	add_lines(l, 697);
	write_file(l->path, &l->text);
	assert_same_in_parts(l, 700, sizes, COUNT_OF(sizes));
}

static void
damaged_lines_are_told_by_their_number_and_left_out(void **state)
{
	static const uint64_t expected[] = {2, 3, 5, 7};
	struct ledger_files *l = *state;
	struct report_raw_found found;

	add_lines(l, 1);
	buf_puts(&l->text, "{\"ts\":\"2026-11-19T10:00\n\n");
	add_lines(l, 1);
	/* Longer than what is read at once. */
	for (int i = 0; i < 100000; i++)
		buf_puts(&l->text, "0123456789");
	buf_puts(&l->text, "\n");
	add_lines(l, 1);
	buf_puts(&l->text, "{\"ts\":");
	write_file(l->path, &l->text);
	for (uint64_t part = 5000; part < 3000000; part *= 11) {
		struct damage d = {0};

		assert_int_equal(
		    read_ledger(l, 2, part, &d, &found)->requests, 3);
		assert_int_equal(found.damaged, 4);
		assert_int_equal(d.count, 4);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(d.lines[i], expected[i]);
	}
}

static void
a_last_line_without_its_newline_counts_if_it_is_whole(void **state)
{
	struct ledger_files *l = *state;
	struct report_raw_found found;
	struct damage d = {0};

	add_lines(l, 5);
	l->text.end--;
	write_file(l->path, &l->text);
	assert_int_equal(read_ledger(l, 2, 100, &d, &found)->requests, 5);
}

static void
segments_are_read_plain_and_gzipped(void **state)
{
	struct ledger_files *l = *state;
	char *old = xasprintf("%s/usage-20261118-001.jsonl.gz", l->folder);
	struct report_raw_found found;
	struct damage d = {0};
	gzFile gz;

	add_lines(l, 900);
	gz = gzopen(old, "wb");
	assert_non_null(gz);
	assert_int_equal(
	    gzwrite(gz, buf_data(&l->text), (unsigned)buf_len(&l->text)),
	    buf_len(&l->text));
	gzclose(gz);
	buf_clear(&l->text);
	add_lines(l, 100);
	write_file(l->path, &l->text);
	assert_int_equal(read_ledger(l, 0, 1000, &d, &found)->requests, 1000);
	assert_int_equal(found.segments, 2);
	free(old);
}

static void
segments_that_end_long_before_are_not_opened(void **state)
{
	struct ledger_files *l = *state;
	char *old = xasprintf("%s/usage-20260118-001.jsonl", l->folder);
	struct timespec times[2] = {{.tv_sec = at("2026-01-18") / 1000},
	    {.tv_sec = at("2026-01-18") / 1000}};
	struct report_query q = {.is_utc = true,
	    .filter = {.since_ms = at("2026-11-01"), .until_ms = INT64_MAX}};
	struct report_raw_options o = {0};
	struct report_raw_found found;
	struct report *r = report_create(&q);
	struct fault why;

	add_lines(l, 3);
	/* It would count, if it were read. */
	write_file(old, &l->text);
	assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
	buf_clear(&l->text);
	add_lines(l, 4);
	write_file(l->path, &l->text);
	assert_true(report_raw(r, l->path, &o, &found, &why));
	report_finish(r);
	assert_int_equal(report_total(r)->sums.requests, 4);
	report_destroy(&r);
	free(old);
}

static void
a_ledger_that_is_not_there_is_empty(void **state)
{
	struct ledger_files *l = *state;
	struct report_raw_found found;
	struct damage d = {0};

	assert_int_equal(read_ledger(l, 0, 0, &d, &found)->requests, 0);
	assert_int_equal(found.segments, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(parts_of_any_size_give_the_same),
	    TEST(damaged_lines_are_told_by_their_number_and_left_out),
	    TEST(a_last_line_without_its_newline_counts_if_it_is_whole),
	    TEST(segments_are_read_plain_and_gzipped),
	    TEST(segments_that_end_long_before_are_not_opened),
	    TEST(a_ledger_that_is_not_there_is_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
