#include "metering/ledger/ledger_segments.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "metering/ledger/ledger_view.h"
#include "tests/unit/metering/ledger/ledger_folder.h"
#include "tests/unit/seeded.h"

static struct ledger_view view;

static int
set_up(void **state)
{
	*state = ledger_folder_create();
	return 0;
}

static int
tear_down(void **state)
{
	struct ledger_folder *f = *state;

	ledger_folder_destroy(&f);
	return 0;
}

/* --- which there are ----------------------------------------------------- */

static const char *
base_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

static void
assert_listed(const struct ledger_folder *f, const char *const *names)
{
	struct fault why;
	struct segments *s = segments_list(f->current, &why);
	size_t i = 0;

	assert_non_null(s);
	for (; names[i] != NULL; i++) {
		assert_true(i < segments_count(s));
		assert_string_equal(
		    base_name(segments_at(s, i)->path), names[i]);
	}
	assert_int_equal(segments_count(s), i);
	segments_destroy(&s);
}

#define ASSERT_LISTED(f, ...) \
	assert_listed(f, (const char *const[]){__VA_ARGS__, NULL})

static void
segments_stand_in_the_order_of_their_first_lines(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(f->current, 'B', 90, 99);
	append_lines(in_folder(f, "usage.jsonl.1"), 'B', 30, 89);
	append_lines(in_folder(f, "usage.jsonl.2"), 'B', 1, 29);
	gzip_file(in_folder(f, "usage.jsonl.2"));
	append_lines(in_folder(f, "usage-20261121-001.jsonl"), 'A', 7, 9);
	append_lines(in_folder(f, "usage-20261120-003.jsonl"), 'A', 1, 6);
	gzip_file(in_folder(f, "usage-20261120-003.jsonl"));
	append_lines(in_folder(f, "usage.jsonl-20261122"), 'A', 10, 11);
	ASSERT_LISTED(f, "usage-20261120-003.jsonl.gz",
	    "usage-20261121-001.jsonl", "usage.jsonl-20261122",
	    "usage.jsonl.2.gz", "usage.jsonl.1", "usage.jsonl");
}

static void
other_files_and_empty_ones_are_no_segments(void **state)
{
	static const char *const others[] = {"usage.jsonl.bak",
	    "usage.jsonl.1.gz-making", "usage.jsonl~", "usage.json",
	    "xusage.jsonl", "usage.jsonl.gz.1", "usage.jsonl.", "torn-2026",
	    "usage-daily.jsonl", "usage.jsonl.old.gz", "usage-.jsonl"};
	struct ledger_folder *f = *state;

	for (size_t i = 0; i < COUNT_OF(others); i++)
		append_lines(in_folder(f, others[i]), 'A', 1, 1);
	append_bytes(f->current, "", 0);
	append_bytes(in_folder(f, "usage.jsonl.1"), "", 0);
	mkdir(in_folder(f, "usage.jsonl.2"), 0700);
	assert_listed(f, (const char *const[]){NULL});
	rmdir(in_folder(f, "usage.jsonl.2"));
}

static void
no_folder_is_an_empty_ledger(void **state)
{
	struct fault why;
	struct segments *s =
	    segments_list("/nonexistent/weir/usage.jsonl", &why);

	(void)state;
	assert_non_null(s);
	assert_int_equal(segments_count(s), 0);
	segments_destroy(&s);
}

static void
of_a_plain_one_and_its_gzipped_double_the_plain_one_counts(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 5);
	gzip_file(in_folder(f, "usage.jsonl.1"));
	append_lines(in_folder(f, "usage-20261121-001.jsonl"), 'A', 1, 5);
	ASSERT_LISTED(f, "usage-20261121-001.jsonl");
	/* While gzip(1) is at it, what it makes has no first line yet. */
	append_lines(in_folder(f, "usage.jsonl.3"), 'A', 6, 9);
	append_bytes(in_folder(f, "usage.jsonl.3.gz"), "\x1f\x8b", 2);
	ASSERT_LISTED(f, "usage-20261121-001.jsonl", "usage.jsonl.3");
}

static void
a_damaged_first_line_does_not_move_a_segment(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 5);
	append_bytes(in_folder(f, "usage.jsonl.1"), "{garbage\n", 9);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 7, 9);
	append_lines(f->current, 'A', 10, 12);
	ASSERT_LISTED(f, "usage.jsonl.2", "usage.jsonl.1", "usage.jsonl");
}

/* --- reading ------------------------------------------------------------- */

/* Reads to the end of what is there and expects these numbers of 'A'. */
static void
expect_lines(struct ledger_reader *r, uint64_t first, uint64_t last)
{
	struct ledger_place at;
	struct slice line;
	struct fault why;

	for (uint64_t seq = first; seq <= last; seq++) {
		if (!ledger_reader_next(r, &line, &at, &why))
			fail_msg("no line %llu: %s", (unsigned long long)seq,
			    why.text);
		assert_true(ledger_view_read(&view, line, NULL));
		assert_int_equal(view.seq, seq);
	}
	assert_false(ledger_reader_next(r, &line, &at, &why));
	assert_string_equal(why.text, "");
}

static struct ledger_reader *
open_reader(const struct ledger_folder *f, const struct ledger_place *from)
{
	struct fault why;
	bool is_gone;
	struct ledger_reader *r =
	    ledger_reader_open(f->current, from, &is_gone, &why);

	assert_non_null(r);
	assert_false(is_gone);
	return r;
}

static void
plain_and_gzipped_segments_are_read_as_one(void **state)
{
	struct ledger_folder *f = *state;
	struct buf b = {0};
	struct ledger_reader *r;

	/* Two gzip members, with a line across them. */
	for (uint64_t seq = 1; seq <= 4; seq++)
		put_line(&b, 'A', seq, "bob");
	append_gzipped(in_folder(f, "usage.jsonl.3.gz"), buf_data(&b), 700);
	append_gzipped(in_folder(f, "usage.jsonl.3.gz"), buf_data(&b) + 700,
	    buf_len(&b) - 700);
	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 5, 1000);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1001, 1001);
	append_lines(f->current, 'A', 1002, 1100);
	r = open_reader(f, NULL);
	expect_lines(r, 1, 1100);
	ledger_reader_close(&r);
	buf_release(&b);
}

static void
reading_can_begin_at_any_place(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_place places[40], at;
	struct ledger_reader *r;
	struct slice line;
	struct fault why;

	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 10);
	gzip_file(in_folder(f, "usage.jsonl.2"));
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 11, 20);
	append_lines(f->current, 'A', 21, 30);
	r = open_reader(f, NULL);
	for (size_t i = 0; i < 30; i++) {
		ledger_reader_place(r, &places[i]);
		assert_true(ledger_reader_next(r, &line, &at, &why));
		assert_int_equal(at.line, i % 10 + 1);
	}
	ledger_reader_place(r, &places[30]);
	ledger_reader_close(&r);
	/* A place names its segment, not its file. */
	gzip_file(in_folder(f, "usage.jsonl.1"));
	rename(f->current, in_folder(f, "usage.jsonl-20261121"));
	for (size_t i = 0; i <= 30; i++) {
		r = open_reader(f, i == 0 ? NULL : &places[i]);
		expect_lines(r, i + 1, 30);
		ledger_reader_close(&r);
	}
}

static void
a_place_in_a_removed_segment_leads_to_the_one_behind_it(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_place place = {.offset = 5, .line = 1};
	struct ledger_reader *r;
	struct fault why;
	bool is_gone = false;

	memcpy(place.segment.writer, writer_name('A'), ULID_CHARS);
	place.segment.seq = 4;
	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 3);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 8, 10);
	append_lines(f->current, 'A', 11, 12);
	r = ledger_reader_open(f->current, &place, &is_gone, &why);
	assert_non_null(r);
	assert_true(is_gone);
	expect_lines(r, 8, 12);
	ledger_reader_close(&r);
}

static void
a_line_in_the_making_is_not_given_before_it_is_whole(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_reader *r = open_reader(f, NULL);
	struct buf b = {0};

	expect_lines(r, 1, 0);
	put_line(&b, 'A', 1, "bob");
	for (size_t i = 0; i + 1 < buf_len(&b); i += 100) {
		size_t len = buf_len(&b) - 1 - i;

		append_bytes(
		    f->current, buf_data(&b) + i, len < 100 ? len : 100);
		expect_lines(r, 1, 0);
		assert_int_equal(
		    ledger_reader_rest(r).len, i + (len < 100 ? len : 100));
	}
	append_bytes(f->current, "\n", 1);
	expect_lines(r, 1, 1);
	assert_int_equal(ledger_reader_rest(r).len, 0);
	ledger_reader_close(&r);
	buf_release(&b);
}

static void
a_renamed_file_is_read_to_its_end_before_the_new_one(void **state)
{
	struct ledger_folder *f = *state;
	const char *old = in_folder(f, "usage.jsonl.1");
	struct ledger_reader *r = open_reader(f, NULL);

	append_lines(f->current, 'A', 1, 3);
	expect_lines(r, 1, 3);
	rename(f->current, old);
	expect_lines(r, 4, 3);
	append_lines(old, 'A', 4, 5); /* the gateway has not noticed */
	expect_lines(r, 4, 5);
	append_bytes(f->current, "", 0); /* logrotate's create */
	append_lines(old, 'A', 6, 6);
	expect_lines(r, 6, 6);
	append_lines(old, 'A', 7, 8);
	append_lines(f->current, 'A', 9, 10);
	expect_lines(r, 7, 10);
	ledger_reader_close(&r);
}

static void
a_torn_end_of_a_closed_file_is_given_as_a_line(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_reader *r;
	struct ledger_place at;
	struct slice line;
	struct fault why;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 1);
	append_bytes(in_folder(f, "usage.jsonl.1"), "{\"ts\":", 6);
	append_lines(f->current, 'A', 2, 2);
	r = open_reader(f, NULL);
	assert_true(ledger_reader_next(r, &line, &at, &why));
	assert_true(ledger_reader_next(r, &line, &at, &why));
	assert_true(slice_is(line, "{\"ts\":"));
	assert_int_equal(at.line, 2);
	expect_lines(r, 2, 2);
	ledger_reader_close(&r);
}

static void
a_file_that_is_cut_short_is_told_and_then_followed(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_reader *r = open_reader(f, NULL);
	struct ledger_place at;
	struct slice line;
	struct fault why;
	struct buf b = {0};

	/* copytruncate: a copy, and then an empty file. */
	append_lines(f->current, 'A', 1, 3);
	expect_lines(r, 1, 3);
	append_lines(f->current, 'A', 4, 5);
	read_whole(f->current, &b);
	write_file(in_folder(f, "usage.jsonl.1"), &b);
	folder_must(truncate(f->current, 0) == 0, "truncate");
	append_lines(f->current, 'A', 6, 6);
	assert_false(ledger_reader_next(r, &line, &at, &why));
	assert_non_null(strstr(why.text, "cut short"));
	expect_lines(r, 4, 6); /* what the copy has is not lost */

	/* The same, and the file has grown past our place since. */
	folder_must(truncate(f->current, 0) == 0, "truncate");
	append_lines(f->current, 'A', 7, 9);
	assert_false(ledger_reader_next(r, &line, &at, &why));
	assert_non_null(strstr(why.text, "cut short"));
	expect_lines(r, 7, 9);
	append_lines(f->current, 'A', 10, 10);
	expect_lines(r, 10, 10);
	ledger_reader_close(&r);
	buf_release(&b);
}

static void
of_an_endless_line_only_the_beginning_is_given(void **state)
{
	struct ledger_folder *f = *state;
	struct ledger_reader *r;
	struct ledger_place at;
	struct slice line;
	struct fault why;

	/* What a power loss leaves: a size, and nothing in it. */
	append_lines(f->current, 'A', 1, 1);
	folder_must(truncate(f->current, 5000000) == 0, "truncate");
	append_bytes(f->current, "\n", 1);
	append_lines(f->current, 'A', 2, 2);
	r = open_reader(f, NULL);
	assert_true(ledger_reader_next(r, &line, &at, &why));
	assert_true(ledger_reader_next(r, &line, &at, &why));
	assert_true(line.len > LEDGER_LINE_MOST_BYTES);
	assert_false(ledger_view_read(&view, line, &why));
	expect_lines(r, 2, 2);
	ledger_reader_place(r, &at);
	assert_true(at.offset > 5000000);
	assert_int_equal(at.line, 4);
	ledger_reader_close(&r);
}

/* Reads all; returns how many good lines there were, and whether a file could
 * not be read. */
static uint64_t
count_lines(const struct ledger_folder *f, bool *has_failed)
{
	struct ledger_reader *r = open_reader(f, NULL);
	struct ledger_place at;
	struct slice line;
	struct fault why;
	uint64_t count = 0;

	*has_failed = false;
	for (;;) {
		if (ledger_reader_next(r, &line, &at, &why)) {
			count += ledger_view_read(&view, line, NULL);
		} else if (why.text[0] != '\0') {
			assert_false(*has_failed);
			*has_failed = true;
		} else {
			break;
		}
	}
	ledger_reader_close(&r);
	return count;
}

static void
a_torn_gzip_file_is_told_and_the_others_are_read(void **state)
{
	struct ledger_folder *f = *state;
	const char *packed = in_folder(f, "usage.jsonl.1.gz");
	struct buf b = {0};
	uint64_t last = 0;
	bool has_failed;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 20);
	gzip_file(in_folder(f, "usage.jsonl.1"));
	append_lines(f->current, 'A', 21, 25);
	read_whole(packed, &b);
	for (size_t len = buf_len(&b); len > 0; len--) {
		folder_must(truncate(packed, (off_t)len) == 0, packed);
		last = count_lines(f, &has_failed);
		assert_true(last >= 5 && last <= 25);
		assert_int_equal(has_failed, len < buf_len(&b));
	}
	assert_int_equal(last, 5);
	write_file(packed, &b);
	append_bytes(packed, "\0\0\0\0", 4); /* padding is nothing */
	assert_int_equal(count_lines(f, &has_failed), 25);
	assert_false(has_failed);
	append_bytes(packed, "x", 1);
	assert_int_equal(count_lines(f, &has_failed), 25);
	assert_true(has_failed);
	buf_release(&b);
}

/* --- a gateway, logrotate and a reader at once --------------------------- */

struct play {
	struct ledger_folder *folder;
	struct seeded seeded;
	char open_path[384]; /* the file that the gateway writes to */
	unsigned next_file;
	uint64_t written, read; /* numbers of lines */
	struct buf pending;     /* of a line that is half written */
	struct ledger_reader *reader;
};

static void
write_some(struct play *p)
{
	size_t len;

	if (buf_len(&p->pending) == 0) {
		for (size_t n = seeded_below(&p->seeded, 4); n > 0; n--)
			put_line(&p->pending, 'A', ++p->written, "bob");
	}
	len = buf_len(&p->pending);
	if (seeded_below(&p->seeded, 3) == 0)
		len = seeded_below(&p->seeded, len + 1);
	append_bytes(p->open_path, buf_data(&p->pending), len);
	buf_drain(&p->pending, len);
}

/* The file goes away under the gateway, which writes on there. */
static void
rename_current(struct play *p)
{
	char name[40];

	if (strcmp(p->open_path, p->folder->current) != 0 ||
	    access(p->open_path, F_OK) != 0)
		return;
	snprintf(name, sizeof name,
	    seeded_below(&p->seeded, 2) == 0 ? "usage.jsonl.%u"
					     : "usage-20261121-%03u.jsonl",
	    ++p->next_file);
	snprintf(p->open_path, sizeof p->open_path, "%s",
	    in_folder(p->folder, name));
	rename(p->folder->current, p->open_path);
}

/* The gateway has noticed: what is half written it ends in the old file. */
static void
reopen(struct play *p)
{
	if (strcmp(p->open_path, p->folder->current) == 0)
		return;
	append_bytes(p->open_path, buf_data(&p->pending), buf_len(&p->pending));
	buf_clear(&p->pending);
	if (seeded_below(&p->seeded, 2) == 0) {
		struct fault why;

		if (!segment_compress(p->open_path, &why))
			fail_msg("%s", why.text);
	}
	snprintf(p->open_path, sizeof p->open_path, "%s", p->folder->current);
}

static void
read_on(struct play *p)
{
	size_t most = seeded_below(&p->seeded, 6);
	struct ledger_place at;
	struct slice line;
	struct fault why;

	while (most-- > 0) {
		if (!ledger_reader_next(p->reader, &line, &at, &why)) {
			assert_string_equal(why.text, "");
			return;
		}
		assert_true(ledger_view_read(&view, line, &why));
		assert_int_equal(view.seq, ++p->read);
	}
}

static void
read_elsewhere(struct play *p)
{
	struct ledger_place place;

	ledger_reader_place(p->reader, &place);
	/* The path is the reader's own, and the place does without it. */
	place.path = NULL;
	ledger_reader_close(&p->reader);
	p->reader = open_reader(p->folder, p->read == 0 ? NULL : &place);
}

static void
every_line_comes_once_whatever_happens_to_the_files(void **state)
{
	struct ledger_folder *f = *state;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct play p = {.folder = f, .seeded = {seed * 77}};

		snprintf(p.open_path, sizeof p.open_path, "%s", f->current);
		p.reader = open_reader(f, NULL);
		for (int i = 0; i < 300; i++) {
			switch (seeded_below(&p.seeded, 12)) {
			case 0:
				rename_current(&p);
				break;
			case 1:
				reopen(&p);
				break;
			case 2:
				read_elsewhere(&p);
				break;
			case 3:
			case 4:
			case 5:
			case 6:
				read_on(&p);
				break;
			default:
				write_some(&p);
				break;
			}
		}
		append_bytes(
		    p.open_path, buf_data(&p.pending), buf_len(&p.pending));
		expect_lines(p.reader, p.read + 1, p.written);
		ledger_reader_close(&p.reader);
		buf_release(&p.pending);
		tear_down(state);
		set_up(state);
		f = *state;
	}
}

/* --- gzip ---------------------------------------------------------------- */

static void
a_compressed_segment_holds_the_same_and_looks_the_same(void **state)
{
	struct ledger_folder *f = *state;
	const char *path = in_folder(f, "usage-20261121-001.jsonl");
	const char *packed = in_folder(f, "usage-20261121-001.jsonl.gz");
	const struct timespec times[2] = {{1700000000, 5}, {1600000000, 7}};
	struct fault why;
	struct stat st;
	bool has_failed;

	append_lines(path, 'A', 1, 3000);
	folder_must(
	    chmod(path, 0604) == 0 && utimensat(AT_FDCWD, path, times, 0) == 0,
	    path);
	/* What a crash left of an earlier try is worth nothing. */
	append_bytes(in_folder(f, "usage-20261121-001.jsonl.gz-making"),
	    "\x1f\x8bxxx", 5);
	append_bytes(packed, "half", 4);
	if (!segment_compress(path, &why))
		fail_msg("%s", why.text);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(
	    access(in_folder(f, "usage-20261121-001.jsonl.gz-making"), F_OK),
	    -1);
	assert_int_equal(stat(packed, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0604);
	assert_int_equal(st.st_mtim.tv_sec, 1600000000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	assert_int_equal(count_lines(f, &has_failed), 3000);
	assert_false(has_failed);
}

static void
a_segment_that_is_not_there_is_not_compressed(void **state)
{
	struct ledger_folder *f = *state;
	struct fault why;

	assert_false(segment_compress(in_folder(f, "usage.jsonl.1"), &why));
	assert_non_null(strstr(why.text, "usage.jsonl.1"));
	symlink("usage.jsonl", in_folder(f, "usage.jsonl.2"));
	append_lines(f->current, 'A', 1, 1);
	assert_false(segment_compress(in_folder(f, "usage.jsonl.2"), &why));
}

/* Starts compressing in a process of its own and kills it a moment later. */
static void
compress_and_kill(const char *path, long after_ns)
{
	const struct timespec moment = {.tv_nsec = after_ns};
	struct fault why;
	pid_t pid = fork();

	if (pid == 0)
		_exit(segment_compress(path, &why) ? 0 : 1);
	assert_true(pid > 0);
	nanosleep(&moment, NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void
a_kill_at_any_moment_loses_and_doubles_nothing(void **state)
{
	struct ledger_folder *f = *state;
	struct seeded s = {.state = 9};
	char path[384];
	bool has_failed;
	int finished = 0;

	snprintf(path, sizeof path, "%s", in_folder(f, "usage.jsonl.1"));

	append_lines(f->current, 'A', 2001, 2010);
	append_lines(path, 'A', 1, 2000);
	for (int i = 0; i < 150; i++) {
		if (access(path, F_OK) != 0) {
			finished++;
			unlink(in_folder(f, "usage.jsonl.1.gz"));
			append_lines(path, 'A', 1, 2000);
		}
		compress_and_kill(path, (long)seeded_below(&s, 60000000));
		assert_int_equal(count_lines(f, &has_failed), 2010);
		assert_false(has_failed);
	}
	assert_true(finished > 0 && finished < 150);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(segments_stand_in_the_order_of_their_first_lines),
	    TEST(other_files_and_empty_ones_are_no_segments),
	    TEST(no_folder_is_an_empty_ledger),
	    TEST(of_a_plain_one_and_its_gzipped_double_the_plain_one_counts),
	    TEST(a_damaged_first_line_does_not_move_a_segment),
	    TEST(plain_and_gzipped_segments_are_read_as_one),
	    TEST(reading_can_begin_at_any_place),
	    TEST(a_place_in_a_removed_segment_leads_to_the_one_behind_it),
	    TEST(a_line_in_the_making_is_not_given_before_it_is_whole),
	    TEST(a_renamed_file_is_read_to_its_end_before_the_new_one),
	    TEST(a_torn_end_of_a_closed_file_is_given_as_a_line),
	    TEST(a_file_that_is_cut_short_is_told_and_then_followed),
	    TEST(of_an_endless_line_only_the_beginning_is_given),
	    TEST(a_torn_gzip_file_is_told_and_the_others_are_read),
	    TEST(every_line_comes_once_whatever_happens_to_the_files),
	    TEST(a_compressed_segment_holds_the_same_and_looks_the_same),
	    TEST(a_segment_that_is_not_there_is_not_compressed),
	    TEST(a_kill_at_any_moment_loses_and_doubles_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
