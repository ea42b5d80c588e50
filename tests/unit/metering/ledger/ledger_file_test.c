#include "metering/ledger/ledger_file.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "ledger_place.h"

/* These stand before libc's. */
static int sync_fails, sync_interrupts;     /* so many times */
static int overwritten;                     /* bytes that pwrite() was given */
static enum { AS_IT_IS, IS_OLD } rename_is; /* the filesystem's rename */

int
fdatasync(int fd)
{
	if (sync_interrupts > 0) {
		sync_interrupts--;
		errno = EINTR;
		return -1;
	}
	if (sync_fails > 0) {
		sync_fails--;
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t at)
{
	overwritten += (int)len;
	return syscall(SYS_pwrite64, fd, p, len, at);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to,
    unsigned int flags)
{
	if (rename_is == IS_OLD && flags != 0) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

static struct ledger_file *
open_file(const struct place *p)
{
	struct fault why;
	struct ledger_file *f = ledger_file_open(p->path, p->folder, &why);

	if (f == NULL)
		fail_msg("%s", why.text);
	return f;
}

/* Appends a text of lines; returns how many were taken. */
static uint64_t
append(struct ledger_file *f, const char *text)
{
	struct buf b = {0};
	struct fault why;
	uint64_t count = 0;

	buf_puts(&b, text);
	if (ledger_file_ready(f, &why))
		(void)!ledger_file_append(f, &b, &count, &why);
	buf_release(&b);
	return count;
}

static bool
sync_file(struct ledger_file *f)
{
	struct fault why;

	return ledger_file_sync(f, &why);
}

static void
assert_content(const char *path, const char *text)
{
	struct buf b = content(path);

	assert_int_equal(buf_len(&b), strlen(text));
	assert_memory_equal(buf_data(&b), text, strlen(text));
	buf_release(&b);
}

static void
whole_lines_are_appended_and_counted(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);
	uint64_t offset;
	dev_t device;
	ino_t inode;
	struct stat st;

	assert_false(ledger_file_is_dirty(f));
	assert_int_equal(append(f, "one\ntwo\n"), 2);
	assert_true(ledger_file_is_dirty(f));
	assert_int_equal(append(f, "three\n"), 1);
	assert_content(p->path, "one\ntwo\nthree\n");
	ledger_file_place(f, &device, &inode, &offset);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(device, st.st_dev);
	assert_int_equal(inode, st.st_ino);
	assert_int_equal(offset, 14);
	assert_true(sync_file(f));
	assert_false(ledger_file_is_dirty(f));
	ledger_file_close(&f);
	assert_null(f);
	ledger_file_close(&f);
}

static void
of_a_write_that_was_cut_whole_lines_stay(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);

	for (rlim_t most = 0; most <= 16; most++) {
		static const char text[] = "one\ntwo\nthree\n\n\n";
		uint64_t lines = 0;
		off_t whole = 0;

		assert_int_equal(truncate(p->path, 0), 0);
		for (size_t i = 0; i < sizeof text - 1 && i < most; i++)
			if (text[i] == '\n') {
				lines++;
				whole = (off_t)i + 1;
			}
		ledger_file_close(&f);
		f = open_file(p);
		limit_file_size(most == 0 ? 1 : most);
		assert_int_equal(append(f, text), lines);
		limit_file_size(RLIM_INFINITY);
		assert_int_equal(size_of(p->path), whole);
		assert_int_equal(append(f, "more\n"), 1);
		assert_int_equal(size_of(p->path), whole + 5);
	}
	ledger_file_close(&f);
}

#define LINES 10

/* A crash may have ended the file anywhere. */
static void
cut_at_any_byte_it_keeps_whole_lines_and_moves_the_rest(void **state)
{
	struct place *p = *state;
	struct buf whole = {0};
	size_t ends[LINES + 1] = {0};

	for (uint64_t i = 0; i < LINES; i++) {
		char id[ULID_CHARS + 1];
		struct ledger_line line;

		make_id(id, i);
		line = line_of(id, "alice", (int64_t)i);
		ledger_line_write(&whole, &line);
		ledger_line_finish(&whole, WRITER, i + 1);
		ends[i + 1] = buf_len(&whole);
	}
	for (size_t len = 0, n = 0; len <= buf_len(&whole); len++) {
		struct ledger_file *f;
		size_t torn;

		n += n < LINES && len == ends[n + 1];
		torn = len - ends[n];
		write_file(p->path, buf_data(&whole), len);
		f = open_file(p);
		ledger_file_close(&f);
		if (n < LINES && len + 1 == ends[n + 1]) {
			/* Only the newline was missing. */
			assert_int_equal(size_of(p->path), ends[n + 1]);
			continue;
		}
		assert_int_equal(size_of(p->path), ends[n]);
		if (torn > 0) {
			struct buf b = take_torn(p);

			assert_int_equal(buf_len(&b), torn);
			assert_memory_equal(
			    buf_data(&b), buf_data(&whole) + ends[n], torn);
			buf_release(&b);
		}
		assert_int_equal(count_files(p, "torn-", "", NULL), 0);
	}
	buf_release(&whole);
}

/* The kernel tells of a failed sync once, and takes the pages for clean. */
static void
after_a_sync_that_failed_the_same_bytes_are_written_again(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);

	assert_int_equal(append(f, "one\n"), 1);
	assert_true(sync_file(f));
	assert_int_equal(append(f, "two\nthree\n"), 2);
	sync_fails = 3;
	overwritten = 0;
	assert_false(sync_file(f));
	assert_int_equal(overwritten, 0);
	assert_false(sync_file(f));
	assert_int_equal(overwritten, 10);
	/* Lines may follow before it is over. */
	assert_int_equal(append(f, "four\n"), 1);
	assert_false(sync_file(f));
	assert_true(ledger_file_is_dirty(f));
	assert_true(sync_file(f));
	assert_false(ledger_file_is_dirty(f));
	assert_in_range(overwritten, 25, 35);
	assert_content(p->path, "one\ntwo\nthree\nfour\n");
	ledger_file_close(&f);
}

static void
a_sync_that_was_interrupted_is_made_again(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);

	assert_int_equal(append(f, "one\n"), 1);
	sync_interrupts = 3;
	overwritten = 0;
	assert_true(sync_file(f));
	assert_int_equal(sync_interrupts, 0);
	assert_int_equal(overwritten, 0);
	ledger_file_close(&f);
}

static void
a_failed_sync_is_not_made_good_on_another_file(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);

	assert_int_equal(append(f, "one\n"), 1);
	sync_fails = 1;
	assert_false(sync_file(f));
	assert_int_equal(rename(p->path, p->moved), 0);
	write_file(p->path, "other\n", 6);
	overwritten = 0;
	assert_true(sync_file(f));
	assert_int_equal(overwritten, 0);
	assert_int_equal(append(f, "two\n"), 1);
	assert_content(p->path, "other\ntwo\n");
	assert_content(p->moved, "one\n");
	ledger_file_close(&f);
}

static void
it_is_due_by_size_or_by_day(void **state)
{
	struct place *p = *state;
	const int64_t day = 86400000;
	struct ledger_file *f = open_file(p);
	const struct timespec noon[2] = {
	    {.tv_sec = 100 * 86400 + 43200}, {.tv_sec = 100 * 86400 + 43200}};

	/* An empty one never is. */
	assert_false(ledger_file_is_due(f, 100, 10, true, INT64_MAX / 2));
	assert_int_equal(append(f, "123456789\n"), 1);
	ledger_file_close(&f);
	assert_int_equal(utimensat(AT_FDCWD, p->path, noon, 0), 0);
	f = open_file(p);
	assert_false(ledger_file_is_due(f, 100, 0, false, 200 * day));
	assert_false(ledger_file_is_due(f, 5, 15, false, 200 * day));
	assert_true(ledger_file_is_due(f, 6, 15, false, 200 * day));
	assert_false(ledger_file_is_due(f, 1, 0, true, 101 * day - 1));
	assert_true(ledger_file_is_due(f, 1, 0, true, 101 * day));
	/* Nor if the clock went back. */
	assert_false(ledger_file_is_due(f, 1, 0, true, 99 * day));
	ledger_file_close(&f);
}

static void
rotate(struct ledger_file *f)
{
	struct fault why;

	if (!ledger_file_rotate(f, &why))
		fail_msg("%s", why.text);
}

static void
rotated_files_get_the_day_of_their_last_line_and_the_next_number(void **state)
{
	struct place *p = *state;
	const struct timespec then[2] = {
	    {.tv_sec = 1780000000}, {.tv_sec = 1780000000}};
	char path[160], line[16], text[16];
	struct ledger_file *f;

	/* One that is gzipped already is taken, too. */
	snprintf(
	    path, sizeof path, "%s/usage-20260528-002.jsonl.gz", p->folder);
	write_file(path, "", 0);
	for (int i = 1; i <= 4; i++) {
		snprintf(line, sizeof line, "%d\n", i);
		write_file(p->path, line, strlen(line));
		assert_int_equal(utimensat(AT_FDCWD, p->path, then, 0), 0);
		f = open_file(p);
		rename_is = i % 2 == 0 ? IS_OLD : AS_IT_IS;
		rotate(f);
		assert_int_equal(size_of(p->path), 0);
		assert_int_equal(append(f, "next\n"), 1);
		assert_content(p->path, "next\n");
		ledger_file_close(&f);
		snprintf(path, sizeof path, "%s/usage-20260528-%03d.jsonl",
		    p->folder, i == 1 ? 1 : i + 1);
		snprintf(text, sizeof text, "%d\n", i);
		assert_content(path, text);
	}
	rename_is = AS_IT_IS;
}

static void
a_name_without_an_extension_is_rotated_too(void **state)
{
	struct place *p = *state;
	struct ledger_file *f;
	struct fault why;

	snprintf(p->path, sizeof p->path, "%s/ledger", p->folder);
	f = ledger_file_open(p->path, p->folder, &why);
	assert_non_null(f);
	assert_int_equal(append(f, "one\n"), 1);
	rotate(f);
	assert_int_equal(count_files(p, "ledger-", "-001", NULL), 1);
	ledger_file_close(&f);
}

static void
what_was_rotated_is_synced_and_a_sync_that_fails_rotates_nothing(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);
	struct fault why;

	assert_int_equal(append(f, "one\n"), 1);
	sync_fails = 1;
	assert_false(ledger_file_rotate(f, &why));
	assert_int_equal(count_files(p, "usage-", "", NULL), 0);
	assert_int_equal(append(f, "two\n"), 1);
	rotate(f);
	assert_false(ledger_file_is_dirty(f));
	assert_int_equal(count_files(p, "usage-", ".jsonl", NULL), 1);
	assert_int_equal(append(f, "three\n"), 1);
	assert_content(p->path, "three\n");
	ledger_file_close(&f);
}

/* A kill between the rename and the new file. */
static void
without_the_file_a_new_one_is_begun(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p);

	assert_int_equal(append(f, "one\n"), 1);
	ledger_file_close(&f);
	assert_int_equal(rename(p->path, p->moved), 0);
	f = open_file(p);
	assert_int_equal(append(f, "two\n"), 1);
	assert_content(p->moved, "one\n");
	assert_content(p->path, "two\n");
	ledger_file_close(&f);
}

static void
the_lock_goes_over_to_the_file_that_is_begun(void **state)
{
	struct place *p = *state;
	struct ledger_file *f = open_file(p), *other;
	struct fault why;

	assert_int_equal(append(f, "one\n"), 1);
	rotate(f);
	other = ledger_file_open(p->path, p->folder, &why);
	assert_null(other);
	assert_non_null(strstr(why.text, "another gateway"));
	ledger_file_close(&f);
	f = open_file(p);
	ledger_file_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(whole_lines_are_appended_and_counted),
	    TEST(of_a_write_that_was_cut_whole_lines_stay),
	    TEST(cut_at_any_byte_it_keeps_whole_lines_and_moves_the_rest),
	    TEST(after_a_sync_that_failed_the_same_bytes_are_written_again),
	    TEST(a_sync_that_was_interrupted_is_made_again),
	    TEST(a_failed_sync_is_not_made_good_on_another_file),
	    TEST(it_is_due_by_size_or_by_day),
	    TEST(
		rotated_files_get_the_day_of_their_last_line_and_the_next_number),
	    TEST(a_name_without_an_extension_is_rotated_too),
	    TEST(
		what_was_rotated_is_synced_and_a_sync_that_fails_rotates_nothing),
	    TEST(without_the_file_a_new_one_is_begun),
	    TEST(the_lock_goes_over_to_the_file_that_is_begun),
	};

	signal(SIGXFSZ, SIG_IGN);
	umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
