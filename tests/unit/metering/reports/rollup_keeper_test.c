#include "metering/reports/rollup_keeper.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "../../seeded.h"
#include "base/id.h"
#include "base/mem.h"
#include "metering/reports/report_raw.h"
#include "metering/reports/report_stored.h"
#include "metering/reports/rollup_book.h"
#include "metering/reports/rollup_file.h"
#include "some_lines.h"

#define SECOND_WRITER "01K9W00000000000000000000B"
#define PATIENCE_MS 20000

/* A state folder with a ledger in it. */
struct world {
	char *folder, *path, *rollups;
	struct buf text;
	uint64_t seq;
	const char *writer;
};

static int
set_up(void **state)
{
	struct world *w = xcalloc(sizeof *w);

	w->folder = make_folder();
	w->path = xasprintf("%s/usage.jsonl", w->folder);
	w->rollups = xasprintf("%s/rollups", w->folder);
	w->writer = SOME_WRITER;
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;

	remove_folder(w->folder);
	buf_release(&w->text);
	free(w->path);
	free(w->rollups);
	free(w);
	return 0;
}

/* Appends `count` lines that arrived then. */
static void
write_lines(struct world *w, const char *when, int count)
{
	struct ledger_line line = line_at(when, "ann");

	while (count-- > 0)
		put_line(&w->text, &line, w->writer, ++w->seq);
	append_file(w->path, &w->text);
	buf_clear(&w->text);
}

/* Moves the current file away, as a rotation does. */
static char *
rotate(const struct world *w, const char *name)
{
	char *to = xasprintf("%s/%s", w->folder, name);

	assert_int_equal(rename(w->path, to), 0);
	return to;
}

static struct rollup_keeper *
start(const struct world *w)
{
	struct rollup_keeper_options o = {
	    .state_dir = w->folder, .ledger_path = w->path};
	struct fault why;
	struct rollup_keeper *k = rollup_keeper_start(&o, &why);

	assert_non_null(k);
	return k;
}

static uint64_t
requests(struct rollup_keeper *k)
{
	struct rollup_sums sums;

	rollup_keeper_sum(k, &ROLLUP_EVERYTHING, &sums);
	return sums.requests;
}

static void
nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static void
wait_for_requests(struct rollup_keeper *k, uint64_t wanted)
{
	int64_t until_ms = clock_wall_ms() + PATIENCE_MS;

	while (!rollup_keeper_is_caught_up(k) || requests(k) < wanted) {
		assert_true(clock_wall_ms() < until_ms);
		nap();
	}
	assert_int_equal(requests(k), wanted);
}

/* Starts a keeper that must find so many, and ends it. */
static void
keep_once(const struct world *w, uint64_t wanted)
{
	struct rollup_keeper *k = start(w);

	wait_for_requests(k, wanted);
	rollup_keeper_stop(&k);
	assert_null(k);
}

static struct report *
new_report(void)
{
	struct report_query q = {.period = REPORT_DAILY,
	    .is_utc = true,
	    .filter = ROLLUP_EVERYTHING,
	    .by = {ROLLUP_USER, ROLLUP_MODEL},
	    .by_count = 2};

	return report_create(&q);
}

static uint64_t
stored_requests(const struct world *w)
{
	struct report *r = new_report();
	struct fault why;
	uint64_t damaged, n;

	assert_int_equal(
	    report_stored(r, w->folder, w->path, NULL, NULL, &damaged, &why),
	    REPORT_STORED);
	report_finish(r);
	n = report_total(r)->sums.requests;
	report_destroy(&r);
	return n;
}

/* --- following ----------------------------------------------------------- */

static void
lines_are_counted_as_they_come_and_once(void **state)
{
	struct world *w = *state;
	struct rollup_keeper *k;
	char *old;

	write_lines(w, "2026-11-19T10:00:00Z", 50);
	k = start(w);
	wait_for_requests(k, 50);
	write_lines(w, "2026-11-19T10:20:00Z", 7);
	wait_for_requests(k, 57);
	old = rotate(w, "usage-20261119-001.jsonl");
	write_lines(w, "2026-11-19T11:00:00Z", 3);
	wait_for_requests(k, 60);
	rollup_keeper_stop(&k);

	keep_once(w, 60); /* nothing twice */
	write_lines(w, "2026-11-19T11:00:00Z", 5);
	assert_int_equal(stored_requests(w), 65);
	keep_once(w, 65);
	free(old);
}

static void
a_ledger_may_come_later(void **state)
{
	struct world *w = *state;
	struct rollup_keeper *k = start(w);

	wait_for_requests(k, 0);
	write_lines(w, "2026-11-19T10:00:00Z", 4);
	wait_for_requests(k, 4);
	rollup_keeper_stop(&k);
	keep_once(w, 4);
}

static uint64_t
safe(void *arg)
{
	return atomic_load((atomic_uint_fast64_t *)arg);
}

static void
lines_that_are_not_safe_yet_wait(void **state)
{
	struct world *w = *state;
	atomic_uint_fast64_t safe_seq = 3;
	struct rollup_keeper_options o = {.state_dir = w->folder,
	    .ledger_path = w->path,
	    .writer = SECOND_WRITER,
	    .safe_seq = safe,
	    .arg = &safe_seq};
	struct rollup_keeper *k;
	struct fault why;

	write_lines(w, "2026-11-19T10:00:00Z", 9); /* another writer's */
	w->writer = SECOND_WRITER;
	w->seq = 0;
	write_lines(w, "2026-11-19T10:00:00Z", 6);
	k = rollup_keeper_start(&o, &why);
	assert_non_null(k);
	wait_for_requests(k, 9 + 3);
	atomic_store(&safe_seq, 5);
	wait_for_requests(k, 9 + 5);
	rollup_keeper_stop(&k);
	/* The sixth was never safe, but it is there at the next start. */
	keep_once(w, 9 + 6);
}

static void
only_one_keeps(void **state)
{
	struct world *w = *state;
	struct rollup_keeper *k = start(w);
	struct rollup_keeper_options o = {
	    .state_dir = w->folder, .ledger_path = w->path};
	struct rollup_rebuilt done;
	struct fault why;

	assert_null(rollup_keeper_start(&o, &why));
	assert_non_null(strstr(why.text, "a running gateway"));
	assert_false(rollup_rebuild(&o, &done, &why));
	assert_non_null(strstr(why.text, "a running gateway"));
	rollup_keeper_stop(&k);
}

static void
a_segment_that_is_met_again_is_not_counted_again(void **state)
{
	struct world *w = *state;
	char *old, *copy;
	struct buf text = {0};
	struct fault why;

	write_lines(w, "2026-11-19T10:00:00Z", 20);
	keep_once(w, 20);
	/* The place is in a file that is gone; a part of it came back behind
	 * that, with another first line. */
	old = rotate(w, "elsewhere");
	assert_true(file_read(old, 1 << 20, true, &text, &why));
	buf_drain(&text,
	    (size_t)(1 +
		(const char *)memchr(buf_data(&text), '\n', buf_len(&text)) -
		buf_data(&text)));
	append_file(w->path, &text);
	write_lines(w, "2026-11-19T10:00:00Z", 2);
	keep_once(w, 22);
	copy = rotate(w, "usage-20261119-002.jsonl");
	write_lines(w, "2026-11-19T10:00:00Z", 1);
	keep_once(w, 23);
	buf_release(&text);
	free(old);
	free(copy);
}

static void
a_ledger_that_was_cut_is_read_again_from_the_segments_begin(void **state)
{
	struct world *w = *state;

	write_lines(w, "2026-11-19T10:00:00Z", 20);
	keep_once(w, 20);
	assert_int_equal(truncate(w->path, 100), 0);
	append_file(w->path, &(struct buf){.base = "\n", .end = 1, .room = 1});
	keep_once(w, 20);
	w->writer = SECOND_WRITER;
	w->seq = 0;
	write_lines(w, "2026-11-19T10:00:00Z", 3);
	keep_once(w, 23);
}

/* --- months -------------------------------------------------------------- */

static void
old_months_are_in_files_alone_and_take_late_lines(void **state)
{
	struct world *w = *state;
	struct rollup_filter july = {
	    .since_ms = at("2026-07-01"), .until_ms = at("2026-08-01")};
	struct rollup_sums sums;
	struct rollup_keeper *k;

	write_lines(w, "2026-07-04T10:00:00Z", 11);
	write_lines(w, "2026-08-04T10:00:00Z", 2);
	keep_once(w, 13);
	write_lines(w, "2026-11-19T10:00:00Z", 5);
	keep_once(w, 18);
	k = start(w);
	wait_for_requests(k, 18);
	/* A crash's line that was only found now. */
	write_lines(w, "2026-07-04T10:07:00Z", 1);
	wait_for_requests(k, 19);
	rollup_keeper_sum(k, &july, &sums);
	assert_int_equal(sums.requests, 12);
	rollup_keeper_stop(&k);
	assert_int_equal(stored_requests(w), 19);
	keep_once(w, 19);
}

static void
a_range_is_summed_by_quarters_and_days(void **state)
{
	struct world *w = *state;
	struct rollup_keeper *k;
	uint64_t all = 0;

	for (int day = 1; day <= 12; day++) {
		char when[32];

		snprintf(when, sizeof when, "2026-11-%02dT%02d:16:00Z", day,
		    day * 5 % 24);
		write_lines(w, when, day);
		all += (uint64_t)day;
	}
	k = start(w);
	wait_for_requests(k, all);
	for (int64_t from = at("2026-11-01"); from < at("2026-11-13");
	     from += 7 * 900000) {
		struct rollup_filter f = {.since_ms = from};

		for (f.until_ms = from; f.until_ms < at("2026-11-14");
		     f.until_ms += 31 * 900000) {
			struct rollup_sums sums;
			uint64_t wanted = 0;

			for (int day = 1; day <= 12; day++) {
				int64_t ms = at("2026-11-01") +
				    (day - 1) * ROLLUP_DAY_MS +
				    day * 5 % 24 * INT64_C(3600000) + 960000;

				if (ms >= f.since_ms && ms < f.until_ms)
					wanted += (uint64_t)day;
			}
			rollup_keeper_sum(k, &f, &sums);
			assert_int_equal(sums.requests, wanted);
		}
	}
	rollup_keeper_stop(&k);
}

/* --- restoring limits ---------------------------------------------------- */

struct restored {
	uint64_t tokens, rows;
	__int128 cost_pusd, fallback_pusd;
};

static void
on_restored_row(void *arg, const struct rollup_row *row)
{
	struct restored *r = arg;

	assert_int_equal(row->waits->used, 0);
	assert_null(row->names[ROLLUP_UPSTREAM]);
	if (row->names[ROLLUP_USER] == NULL ||
	    strcmp(row->names[ROLLUP_USER], "bob") != 0)
		return;
	r->rows++;
	r->tokens += row->sums->input_tokens + row->sums->output_tokens;
	r->cost_pusd += row->sums->cost_pusd;
	r->fallback_pusd += row->sums->fallback_pusd;
}

static void
write_paid(
    struct world *w, const char *when, const char *user, bool is_fallback)
{
	struct ledger_line line = line_at(when, user);

	line.paid = true;
	line.cost_usd = line.attempts[0].cost_pusd = 1000;
	line.fallback_usd = is_fallback ? 1000 : 0;
	put_line(&w->text, &line, w->writer, ++w->seq);
	append_file(w->path, &w->text);
	buf_clear(&w->text);
}

/* A period of Kathmandu's (UTC+5:45) begins at a quarter past an hour. */
static void
what_was_used_comes_back_after_a_restart(void **state)
{
	struct world *w = *state;
	struct rollup_filter f = ROLLUP_EVERYTHING;
	struct rollup_sums sums;
	struct restored r = {0};
	struct rollup_keeper *k;

	write_paid(w, "2026-11-18T18:14:59Z", "bob", false);
	write_paid(w, "2026-11-18T18:15:00Z", "bob", false);
	write_paid(w, "2026-11-20T01:00:00Z", "bob", true);
	write_paid(w, "2026-11-20T01:00:00Z", "ann", true);
	w->writer = SECOND_WRITER;
	w->seq = 0;
	k = start(w);
	assert_true(rollup_keeper_wait(k, 0, PATIENCE_MS));
	/* What is written now is counted when it is asked for, at once. */
	write_paid(w, "2026-11-20T02:00:00Z", "bob", true);
	assert_true(rollup_keeper_wait(k, 0, PATIENCE_MS));
	f.since_ms = at("2026-11-18T18:15:00Z");
	rollup_keeper_each(k, &f,
	    ROLLUP_BIT(ROLLUP_USER) | ROLLUP_BIT(ROLLUP_MODEL), on_restored_row,
	    &r);
	assert_int_equal(r.rows, 1);
	assert_int_equal(r.tokens, 3 * 110);
	assert_true(r.cost_pusd == 3000 && r.fallback_pusd == 2000);
	f.only[ROLLUP_USER] = "bob";
	rollup_keeper_sum(k, &f, &sums);
	assert_true(sums.cost_pusd == 3000 && sums.fallback_pusd == 2000);
	rollup_keeper_stop(&k);
}

static void
own_lines_are_waited_for_until_they_are_safe(void **state)
{
	struct world *w = *state;
	atomic_uint_fast64_t safe_seq = 1;
	struct rollup_keeper_options o = {.state_dir = w->folder,
	    .ledger_path = w->path,
	    .writer = SOME_WRITER,
	    .safe_seq = safe,
	    .arg = &safe_seq};
	struct rollup_keeper *k;
	struct fault why;

	write_lines(w, "2026-11-19T10:00:00Z", 2);
	k = rollup_keeper_start(&o, &why);
	assert_non_null(k);
	assert_true(rollup_keeper_wait(k, 1, PATIENCE_MS));
	assert_false(rollup_keeper_wait(k, 2, 1));
	atomic_store(&safe_seq, 2);
	assert_true(rollup_keeper_wait(k, 2, PATIENCE_MS));
	assert_int_equal(requests(k), 2);
	rollup_keeper_stop(&k);
}

/* --- files --------------------------------------------------------------- */

static size_t
count_files(const struct world *w, const char *part)
{
	DIR *d = opendir(w->rollups);
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		n += strstr(e->d_name, part) != NULL;
	closedir(d);
	return n;
}

static void
a_save_that_was_cut_off_never_was(void **state)
{
	struct world *w = *state;
	struct rollup_manifest m;
	struct rollup_month next;
	struct rollup *t = rollup_create();
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "ann");
	struct fault why;

	write_lines(w, "2026-11-19T10:00:00Z", 20);
	keep_once(w, 20);
	assert_int_equal(rollup_manifest_read(w->rollups, &m, &why), ROLLUP_OK);
	assert_int_equal(m.month_count, 1);
	next = m.months[0];
	next.generation++;
	rollup_add_line(
	    t, at("2026-11-19T10:00:00Z"), ROLLUP_ALL_NAMES, view_of(&line));
	assert_true(rollup_month_write(w->rollups, &next, t, NULL, &why));
	assert_int_equal(stored_requests(w), 20);
	keep_once(w, 20);
	assert_int_equal(count_files(w, "2026-11."), 1);
	rollup_manifest_release(&m);
	rollup_destroy(&t);
}

/* Changes a byte in the middle of the only good file whose name has `part`. */
static void
damage_file(const struct world *w, const char *part)
{
	DIR *d = opendir(w->rollups);
	struct dirent *e;
	int done = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		struct stat st;
		int fd;

		if (strstr(e->d_name, part) == NULL ||
		    strstr(e->d_name, ".damaged") != NULL)
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(pwrite(fd, "#", 1, st.st_size / 2), 1);
		close(fd);
		done++;
	}
	closedir(d);
	assert_int_equal(done, 1);
}

static void
damaged_files_are_made_anew(void **state)
{
	struct world *w = *state;
	struct report *r = new_report();
	struct fault why;
	uint64_t damaged;

	write_lines(w, "2026-10-19T10:00:00Z", 20);
	write_lines(w, "2026-11-19T10:00:00Z", 3);
	keep_once(w, 23);
	damage_file(w, "2026-10.");
	assert_int_equal(
	    report_stored(r, w->folder, w->path, NULL, NULL, &damaged, &why),
	    REPORT_NOT_STORED);
	assert_non_null(strstr(why.text, "2026-10."));
	keep_once(w, 23);
	assert_int_equal(stored_requests(w), 23);
	damage_file(w, "manifest.jsonl");
	keep_once(w, 23);
	assert_int_equal(stored_requests(w), 23);
	report_destroy(&r);
}

static void
quarters_whose_segments_are_gone_are_kept(void **state)
{
	struct world *w = *state;
	struct rollup_keeper_options o = {
	    .state_dir = w->folder, .ledger_path = w->path};
	struct rollup_rebuilt done;
	struct fault why;
	char *old;

	write_lines(w, "2026-11-19T10:00:00Z", 20);
	write_lines(w, "2026-11-19T10:16:00Z", 5);
	old = rotate(w, "usage-20261119-001.jsonl");
	write_lines(w, "2026-11-19T10:17:00Z", 7); /* the same quarter */
	write_lines(w, "2026-11-19T10:31:00Z", 2);
	keep_once(w, 34);
	unlink(old);
	assert_true(rollup_rebuild(&o, &done, &why));
	assert_int_equal(done.lines, 9);
	assert_int_equal(done.kept_quarters, 2);
	keep_once(w, 34);
	/* What the manifest knows is lost; the months are there. */
	damage_file(w, "manifest.jsonl");
	keep_once(w, 34);
	write_lines(w, "2026-11-19T10:32:00Z", 1);
	keep_once(w, 35);
	free(old);
}

static void
a_rebuild_corrects_what_was_counted_wrong(void **state)
{
	struct world *w = *state;
	struct rollup_keeper_options o = {
	    .state_dir = w->folder, .ledger_path = w->path};
	struct rollup_book *b;
	struct rollup_rebuilt done;
	struct ledger_line line = line_at("2026-11-19T10:00:00Z", "ann");
	struct ledger_place place;
	struct fault why;
	uint64_t bytes;

	write_lines(w, "2026-11-19T10:00:00Z", 20);
	keep_once(w, 20);
	b = rollup_book_open(w->folder, &why);
	assert_non_null(b);
	assert_true(rollup_book_load(b, &why));
	place = *rollup_book_place(b);
	line.id = "one that is in no ledger";
	{
		struct ledger_view v = *view_of(&line);

		v.writer = SLICE(SECOND_WRITER);
		rollup_book_count(b, &v, &place);
	}
	assert_true(rollup_book_save(b, &bytes, &why));
	rollup_book_close(&b);
	assert_int_equal(stored_requests(w), 21);
	assert_true(rollup_rebuild(&o, &done, &why));
	assert_int_equal(stored_requests(w), 20);
	keep_once(w, 20);
}

/* --- all at random ------------------------------------------------------- */

static void
add_random_line(struct world *w, struct seeded *s)
{
	static const char *const users[] = {"ann", "bob", "", NULL};
	static const char *const ends[] = {"ok", "client_gone", "timeout"};
	struct ledger_line line = line_at("2026-08-30T00:00:00Z", NULL);

	line.ts_ms += (int64_t)seeded_below(s, 70 * 86400) * 1000;
	line.user = users[seeded_below(s, 4)];
	line.model = seeded_below(s, 2) == 0 ? "ds4" : "a \"model\"\n";
	line.end = ends[seeded_below(s, 3)];
	line.prompt_tokens = (int64_t)seeded_below(s, 100000);
	line.completion_tokens = (int64_t)seeded_below(s, 1000);
	line.ttft_ms = (int64_t)seeded_below(s, 900000) - 1;
	line.duration_ms = line.ttft_ms + 500;
	line.paid = seeded_below(s, 2) == 0;
	line.cost_usd = line.paid ? (__int128)seeded_below(s, 1u << 30) : 0;
	line.fallback_usd = seeded_below(s, 3) == 0 ? line.cost_usd : 0;
	line.avoided_usd = (__int128)seeded_below(s, 1u << 30);
	line.attempt_count = seeded_below(s, 5) == 0 ? 0 : 1;
	put_line(&w->text, &line, w->writer, ++w->seq);
}

static uint64_t
count_raw(const struct world *w)
{
	struct report *r = new_report();
	struct report_raw_options o = {0};
	struct report_raw_found found;
	struct fault why;
	uint64_t n;

	assert_true(report_raw(r, w->path, &o, &found, &why));
	report_finish(r);
	n = report_total(r)->sums.requests;
	report_destroy(&r);
	return n;
}

static void
assert_same_reports(struct report *a, struct report *b)
{
	report_finish(a);
	report_finish(b);
	assert_int_equal(report_row_count(a), report_row_count(b));
	for (size_t i = 0; i < report_row_count(a); i++) {
		const struct report_row *ra = report_row(a, i);
		const struct report_row *rb = report_row(b, i);

		assert_int_equal(ra->start_ms, rb->start_ms);
		assert_memory_equal(&ra->sums, &rb->sums, sizeof ra->sums);
		assert_int_equal(ra->ttft_p95_ms, rb->ttft_p95_ms);
	}
	assert_memory_equal(&report_total(a)->sums, &report_total(b)->sums,
	    sizeof report_total(a)->sums);
	report_destroy(&a);
	report_destroy(&b);
}

/* Writes, rotates, saves, loses unsaved sums, makes anew, in any order. */
static void
sums_equal_the_ledger_whatever_happens(void **state)
{
	struct world *w = *state;
	struct seeded s = {0x5075};
	struct report_raw_options o = {0};
	struct report_raw_found found;
	struct fault why;
	uint64_t damaged;

	for (int turn = 0; turn < 60; turn++) {
		struct report *raw = new_report(), *stored = new_report();
		uint64_t total;

		for (size_t n = seeded_below(&s, 40) + 1; n > 0; n--)
			add_random_line(w, &s);
		append_file(w->path, &w->text);
		buf_clear(&w->text);
		if (turn == 0)
			keep_once(w, count_raw(w));
		assert_true(report_raw(raw, w->path, &o, &found, &why));
		assert_int_equal(report_stored(stored, w->folder, w->path, NULL,
				     NULL, &damaged, &why),
		    REPORT_STORED);
		assert_same_reports(raw, stored);
		total = count_raw(w);
		if (seeded_below(&s, 4) == 0) {
			char name[64];

			snprintf(name, sizeof name, "usage-20261119-%03d.jsonl",
			    turn + 1);
			free(rotate(w, name));
			w->writer = SECOND_WRITER;
		}
		if (seeded_below(&s, 4) == 0)
			damage_file(w, "2026-09.");
		keep_once(w, total);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(lines_are_counted_as_they_come_and_once),
	    TEST(a_ledger_may_come_later),
	    TEST(lines_that_are_not_safe_yet_wait),
	    TEST(only_one_keeps),
	    TEST(a_segment_that_is_met_again_is_not_counted_again),
	    TEST(a_ledger_that_was_cut_is_read_again_from_the_segments_begin),
	    TEST(old_months_are_in_files_alone_and_take_late_lines),
	    TEST(a_range_is_summed_by_quarters_and_days),
	    TEST(what_was_used_comes_back_after_a_restart),
	    TEST(own_lines_are_waited_for_until_they_are_safe),
	    TEST(a_save_that_was_cut_off_never_was),
	    TEST(damaged_files_are_made_anew),
	    TEST(quarters_whose_segments_are_gone_are_kept),
	    TEST(a_rebuild_corrects_what_was_counted_wrong),
	    TEST(sums_equal_the_ledger_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
