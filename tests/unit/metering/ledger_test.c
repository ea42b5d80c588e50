#include "metering/ledger.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#define WRITER "01K9W00000000000000000000A"
#define MOST_BYTES (64u << 20)

/* A folder of its own for each test. */
struct place {
	char folder[64];
	char path[96];  /* of the ledger */
	char moved[96]; /* where it may be renamed to */
};

static int
make_place(void **state)
{
	struct place *p = xcalloc(sizeof *p);

	snprintf(p->folder, sizeof p->folder, "/tmp/weir-ledger-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->path, sizeof p->path, "%s/usage.jsonl", p->folder);
	snprintf(p->moved, sizeof p->moved, "%s/usage.jsonl.1", p->folder);
	*state = p;
	return 0;
}

static int
remove_place(void **state)
{
	struct place *p = *state;
	DIR *d = opendir(p->folder);
	struct dirent *e;
	char path[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", p->folder, e->d_name);
		unlink(path);
	}
	closedir(d);
	rmdir(p->folder);
	free(p);
	return 0;
}

static struct ledger *
open_ledger(const struct place *p)
{
	struct fault why;
	struct ledger *l = ledger_open(p->path, WRITER, &why);

	if (l == NULL)
		fail_msg("%s", why.text);
	return l;
}

static void
add(struct ledger *l, const char *user, int64_t number)
{
	struct ledger_line line = {.ts_ms = 1780000000000,
	    .user = user,
	    .model = "ds4",
	    .prompt_tokens = number,
	    .end = "ok"};

	ledger_add(l, &line);
}

static void
pause_a_little(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Waits at most 30 s for a condition. */
#define WAIT_UNTIL(condition)                      \
	do {                                       \
		int left = 15000;                  \
		while (!(condition) && left-- > 0) \
			pause_a_little();          \
		assert_true(condition);            \
	} while (0)

static struct buf
content(const char *path)
{
	struct buf b = {0};
	struct fault why;

	if (!file_read(path, MOST_BYTES, false, &b, &why))
		fail_msg("%s", why.text);
	return b;
}

static void
write_file(const char *path, const char *text, size_t len)
{
	struct fault why;

	assert_true(file_replace(path, text, len, 0640, &why));
}

/* Reads a file of whole ledger lines whose numbers go on from *seq. */
static void
check_lines(const char *path, uint64_t *seq, struct ledger_entry *last)
{
	struct buf b = content(path);
	struct fault why;

	while (buf_len(&b) > 0) {
		const char *p = buf_data(&b);
		const char *end = memchr(p, '\n', buf_len(&b));

		assert_non_null(end);
		if (!ledger_line_read(
			(struct slice){p, (size_t)(end - p)}, last, &why))
			fail_msg("%s", why.text);
		assert_string_equal(last->writer, WRITER);
		assert_int_equal(last->seq, ++*seq);
		buf_drain(&b, (size_t)(end + 1 - p));
	}
	buf_release(&b);
}

static uint64_t
count_lines(const char *path)
{
	struct ledger_entry last;
	uint64_t seq = 0;

	check_lines(path, &seq, &last);
	return seq;
}

static void
a_line_is_readable_while_the_ledger_is_open(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct stat st;

	for (uint64_t i = 1; i <= 3; i++) {
		add(l, "alice", (int64_t)i);
		WAIT_UNTIL(ledger_count(l) == i);
		assert_int_equal(count_lines(p->path), i);
	}
	assert_true(ledger_is_writable(l));
	ledger_close(&l);
	assert_null(l);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void
closing_writes_what_was_added(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);

	for (int i = 0; i < 2500; i++)
		add(l, "alice", i);
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 2500);
}

#define THREADS 4
#define LINES_EACH 5000

struct adder {
	struct ledger *ledger;
	char name[8];
};

static void *
add_many(void *arg)
{
	struct adder *a = arg;

	for (int i = 0; i < LINES_EACH; i++)
		add(a->ledger, a->name, i);
	return NULL;
}

/* Each thread's lines must come in its own order. */
static void
check_order(const char *path)
{
	struct buf b = content(path);
	int64_t next[THREADS] = {0};
	struct ledger_entry e;
	uint64_t seq = 0;

	while (buf_len(&b) > 0) {
		const char *p = buf_data(&b);
		const char *end = memchr(p, '\n', buf_len(&b));
		int who;

		assert_non_null(end);
		assert_true(ledger_line_read(
		    (struct slice){p, (size_t)(end - p)}, &e, NULL));
		assert_int_equal(e.seq, ++seq);
		who = e.line.user[0] - 'a';
		assert_in_range(who, 0, THREADS - 1);
		assert_int_equal(e.line.prompt_tokens, next[who]++);
		buf_drain(&b, (size_t)(end + 1 - p));
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], LINES_EACH);
	buf_release(&b);
}

static void
lines_of_many_threads_are_there_once_and_in_order(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct adder adders[THREADS];
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++) {
		adders[i] = (struct adder){l, {(char)('a' + i)}};
		assert_int_equal(
		    pthread_create(&threads[i], NULL, add_many, &adders[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	WAIT_UNTIL(ledger_count(l) == THREADS * LINES_EACH);
	ledger_close(&l);
	check_order(p->path);
}

static void
a_renamed_file_and_a_reopen_lose_nothing(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct ledger_entry last;
	uint64_t seq = 0;

	for (int i = 0; i < 100; i++)
		add(l, "alice", i);
	assert_int_equal(rename(p->path, p->moved), 0);
	ledger_reopen(l);
	/* It is opened anew although nothing more is added. */
	WAIT_UNTIL(access(p->path, F_OK) == 0);
	for (int i = 0; i < 100; i++)
		add(l, "alice", i);
	ledger_close(&l);
	check_lines(p->moved, &seq, &last);
	check_lines(p->path, &seq, &last);
	assert_int_equal(seq, 200);
}

static void
a_rename_without_a_word_is_noticed(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct ledger_entry last;
	uint64_t seq = 0;

	add(l, "alice", 1);
	WAIT_UNTIL(ledger_count(l) == 1);
	assert_int_equal(rename(p->path, p->moved), 0);
	add(l, "alice", 2);
	WAIT_UNTIL(ledger_count(l) == 2);
	ledger_close(&l);
	check_lines(p->moved, &seq, &last);
	assert_int_equal(seq, 1);
	check_lines(p->path, &seq, &last);
	assert_int_equal(seq, 2);
}

static void
a_removed_folder_stops_the_ledger_only_while_it_cannot_be_made(void **state)
{
	struct place *p = *state;
	struct ledger *l;
	char folder[128], path[160];
	struct fault why;
	struct ledger_entry last;
	uint64_t seq = 1; /* the first line goes with its file */

	snprintf(folder, sizeof folder, "%s/log", p->folder);
	snprintf(path, sizeof path, "%s/usage.jsonl", folder);
	l = ledger_open(path, WRITER, &why);
	assert_non_null(l);
	add(l, "alice", 1);
	WAIT_UNTIL(ledger_count(l) == 1);
	unlink(path);
	rmdir(folder);
	write_file(folder, "in the way", 10);
	add(l, "alice", 2);
	WAIT_UNTIL(!ledger_is_writable(l));
	add(l, "alice", 3);
	unlink(folder);
	WAIT_UNTIL(ledger_is_writable(l) && ledger_count(l) == 3);
	ledger_close(&l);
	check_lines(path, &seq, &last);
	assert_int_equal(seq, 3);
	unlink(path);
	rmdir(folder);
}

static void
limit_file_size(rlim_t most)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static off_t
size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

static void
a_full_disk_stops_and_resumes_without_loss(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct ledger_entry last;
	uint64_t seq = 0;
	off_t size;

	add(l, "alice", 0);
	WAIT_UNTIL(ledger_count(l) == 1);
	/* Room for two more lines and a piece of a third. */
	size = size_of(p->path);
	limit_file_size((rlim_t)(size * 7 / 2));
	for (int i = 1; i < 50; i++)
		add(l, "alice", i);
	WAIT_UNTIL(!ledger_is_writable(l));
	WAIT_UNTIL(ledger_count(l) == 3);
	/* No piece of a line stays behind. */
	check_lines(p->path, &seq, &last);
	assert_int_equal(seq, 3);
	add(l, "alice", 50);
	limit_file_size(RLIM_INFINITY);
	WAIT_UNTIL(ledger_is_writable(l));
	WAIT_UNTIL(ledger_count(l) == 51);
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 51);
}

/* Takes the one file beside the ledger that holds torn bytes. */
static struct buf
take_torn(const struct place *p)
{
	DIR *d = opendir(p->folder);
	struct buf b = {0};
	struct dirent *e;
	struct fault why;
	char path[512];
	int found = 0;

	while ((e = readdir(d)) != NULL) {
		if (strncmp(e->d_name, "torn-", 5) != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", p->folder, e->d_name);
		assert_true(file_read(path, MOST_BYTES, false, &b, &why));
		unlink(path);
		found++;
	}
	closedir(d);
	assert_int_equal(found, 1);
	return b;
}

static const char first_line[] =
    "{\"ts\":\"2026-05-28T14:22:01Z\",\"user\":\"bob\",\"attempts\":[],"
    "\"writer\":\"" WRITER "\",\"seq\":1}\n";

static void
a_torn_tail_is_moved_aside(void **state)
{
	struct place *p = *state;
	size_t whole = sizeof first_line - 1;
	char text[2 * sizeof first_line];
	struct ledger *l;

	memcpy(text, first_line, whole);
	memcpy(text + whole, first_line, whole);
	/* The tail lacks its newline and at least a byte more. */
	for (size_t torn = 1; torn < whole - 1; torn += 7) {
		struct buf b;
		struct ledger_entry e;

		write_file(p->path, text, whole + torn);
		l = open_ledger(p);
		ledger_close(&l);
		b = content(p->path);
		assert_int_equal(buf_len(&b), whole);
		assert_memory_equal(buf_data(&b), first_line, whole);
		assert_true(ledger_line_read(
		    (struct slice){buf_data(&b), whole - 1}, &e, NULL));
		buf_release(&b);
		b = take_torn(p);
		assert_int_equal(buf_len(&b), torn);
		assert_memory_equal(buf_data(&b), first_line, torn);
		buf_release(&b);
	}
}

static void
a_last_line_that_lacks_only_its_newline_is_kept(void **state)
{
	struct place *p = *state;
	struct ledger *l;
	struct buf b;

	write_file(p->path, first_line, sizeof first_line - 2);
	l = open_ledger(p);
	ledger_close(&l);
	b = content(p->path);
	assert_int_equal(buf_len(&b), sizeof first_line - 1);
	assert_memory_equal(buf_data(&b), first_line, sizeof first_line - 1);
	buf_release(&b);
}

static void
a_tail_of_zeros_is_moved_aside(void **state)
{
	struct place *p = *state;
	size_t whole = sizeof first_line - 1;
	char *text = xcalloc(whole + 10000);
	struct ledger *l;
	struct buf b;

	memcpy(text, first_line, whole);
	write_file(p->path, text, whole + 10000);
	l = open_ledger(p);
	add(l, "alice", 1);
	ledger_close(&l);
	assert_true(size_of(p->path) > (off_t)whole);
	b = content(p->path);
	assert_null(memchr(buf_data(&b), '\0', buf_len(&b)));
	assert_memory_equal(buf_data(&b), first_line, whole);
	buf_release(&b);
	b = take_torn(p);
	assert_int_equal(buf_len(&b), 10000);
	buf_release(&b);
	free(text);
}

static void
a_file_cut_short_by_others_goes_on_with_whole_lines(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct ledger_entry last;
	uint64_t seq = 3; /* what was written before is gone */
	struct buf b;

	for (int i = 0; i < 3; i++)
		add(l, "alice", i);
	WAIT_UNTIL(ledger_count(l) == 3);
	assert_int_equal(truncate(p->path, 10), 0);
	add(l, "alice", 3);
	ledger_close(&l);
	check_lines(p->path, &seq, &last);
	assert_int_equal(seq, 4);
	b = take_torn(p);
	assert_int_equal(buf_len(&b), 10);
	buf_release(&b);
}

static void
a_ledger_has_one_writer(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct fault why;

	assert_null(ledger_open(p->path, WRITER, &why));
	assert_non_null(strstr(why.text, "another gateway"));
	ledger_close(&l);
	l = open_ledger(p);
	ledger_close(&l);
}

static void
what_is_no_file_is_refused(void **state)
{
	struct place *p = *state;
	struct fault why;

	assert_null(ledger_open(p->folder, WRITER, &why));
	assert_int_equal(mkfifo(p->path, 0600), 0);
	assert_null(ledger_open(p->path, WRITER, &why));
	assert_non_null(strstr(why.text, "not a regular file"));
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_line_is_readable_while_the_ledger_is_open),
	    TEST(closing_writes_what_was_added),
	    TEST(lines_of_many_threads_are_there_once_and_in_order),
	    TEST(a_renamed_file_and_a_reopen_lose_nothing),
	    TEST(a_rename_without_a_word_is_noticed),
	    TEST(
		a_removed_folder_stops_the_ledger_only_while_it_cannot_be_made),
	    TEST(a_full_disk_stops_and_resumes_without_loss),
	    TEST(a_torn_tail_is_moved_aside),
	    TEST(a_last_line_that_lacks_only_its_newline_is_kept),
	    TEST(a_tail_of_zeros_is_moved_aside),
	    TEST(a_file_cut_short_by_others_goes_on_with_whole_lines),
	    TEST(a_ledger_has_one_writer),
	    TEST(what_is_no_file_is_refused),
	};

	signal(SIGXFSZ, SIG_IGN);
	umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
