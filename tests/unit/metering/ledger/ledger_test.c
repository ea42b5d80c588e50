#include "metering/ledger/ledger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "ledger_place.h"

/* The disk, as the tests want it: this one stands before libc's. */
static atomic_bool sync_is_held, sync_fails;
static atomic_int syncs;

int
fdatasync(int fd)
{
	while (atomic_load(&sync_is_held))
		pause_a_little();
	if (atomic_load(&sync_fails)) {
		errno = EIO;
		return -1;
	}
	atomic_fetch_add(&syncs, 1);
	return (int)syscall(SYS_fdatasync, fd);
}

static bool
is_written(struct ledger *l, uint64_t seq)
{
	return ledger_safe_seq(l) >= seq;
}

static void
a_line_is_readable_while_the_ledger_is_open(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct stat st;

	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(add(l, "alice", (int64_t)i), i);
		WAIT_UNTIL(is_written(l, i));
		assert_int_equal(count_lines(p->path), i);
	}
	assert_true(ledger_is_writable(l));
	assert_string_equal(ledger_writer(l), WRITER);
	ledger_close(&l);
	assert_null(l);
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(stat(p->board, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
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

/* Every second one as if an upstream had been asked. */
static void *
add_many(void *arg)
{
	const struct slot_rates rates = {.is_counted = true};
	struct adder *a = arg;
	struct buf scratch = {0};
	char id[ULID_CHARS + 1];

	for (int i = 0; i < LINES_EACH; i++) {
		struct slot *slot =
		    i % 2 == 0 ? ledger_take_slot(a->ledger) : NULL;
		struct ledger_line line;

		snprintf(id, sizeof id, "01K9Y%c%020d", a->name[0], i);
		line = line_of(id, a->name, i);
		if (slot != NULL)
			slot_mark_sent(slot, &line, &rates, &scratch);
		ledger_add(a->ledger, slot, &line, &scratch);
	}
	buf_release(&scratch);
	return NULL;
}

/* Each thread's lines must come in its own order. */
static void
check_order(const char *path)
{
	struct stored_lines all = read_ledger(path);
	int64_t next[THREADS] = {0};

	for (size_t i = 0; i < all.count; i++) {
		int who = all.items[i].user[0] - 'a';

		assert_int_equal(all.items[i].seq, i + 1);
		assert_in_range(who, 0, THREADS - 1);
		assert_int_equal(all.items[i].input, next[who]++);
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(next[i], LINES_EACH);
	release_lines(&all);
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
	WAIT_UNTIL(is_written(l, THREADS * LINES_EACH));
	ledger_close(&l);
	check_order(p->path);
}

/* --- the file under it --------------------------------------------------- */

static void
a_renamed_file_and_a_reopen_lose_nothing(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
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
	check_lines(p->moved, &seq);
	check_lines(p->path, &seq);
	assert_int_equal(seq, 200);
}

static void
a_rename_without_a_word_is_noticed(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	uint64_t seq = 0;

	add(l, "alice", 1);
	WAIT_UNTIL(is_written(l, 1));
	assert_int_equal(rename(p->path, p->moved), 0);
	add(l, "alice", 2);
	WAIT_UNTIL(is_written(l, 2));
	ledger_close(&l);
	check_lines(p->moved, &seq);
	assert_int_equal(seq, 1);
	check_lines(p->path, &seq);
	assert_int_equal(seq, 2);
}

static void
a_removed_folder_stops_the_ledger_only_while_it_cannot_be_made(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	char folder[128], path[160];
	uint64_t seq = 1; /* the first line goes with its file */
	struct ledger *l;

	snprintf(folder, sizeof folder, "%s/log", p->folder);
	snprintf(path, sizeof path, "%s/usage.jsonl", folder);
	o.path = path;
	l = open_with(&o);
	add(l, "alice", 1);
	WAIT_UNTIL(is_written(l, 1));
	unlink(path);
	rmdir(folder);
	write_file(folder, "in the way", 10);
	add(l, "alice", 2);
	WAIT_UNTIL(!ledger_is_writable(l));
	add(l, "alice", 3);
	unlink(folder);
	WAIT_UNTIL(ledger_is_writable(l) && is_written(l, 3));
	ledger_close(&l);
	check_lines(path, &seq);
	assert_int_equal(seq, 3);
	unlink(path);
	rmdir(folder);
}

/* Told to reopen it cannot, and there is nothing to write that would show it:
 * it must not let anybody in before it can. */
static void
a_reopen_that_fails_stops_the_ledger_until_it_succeeds(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);

	add(l, "alice", 1);
	WAIT_UNTIL(is_written(l, 1));
	assert_int_equal(rename(p->path, p->moved), 0);
	assert_int_equal(mkdir(p->path, 0700), 0);
	ledger_reopen(l);
	WAIT_UNTIL(!ledger_is_writable(l));
	/* Over several tries. */
	for (int i = 0; i < 300; i++) {
		pause_a_little();
		assert_false(ledger_is_writable(l));
	}
	assert_int_equal(rmdir(p->path), 0);
	WAIT_UNTIL(ledger_is_writable(l));
	assert_int_equal(access(p->path, F_OK), 0);
	ledger_close(&l);
}

static void
a_full_disk_stops_and_resumes_without_loss(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	uint64_t seq = 0;
	off_t size;

	add(l, "alice", 0);
	WAIT_UNTIL(is_written(l, 1));
	/* Room for two more lines and a piece of a third. */
	size = size_of(p->path);
	limit_file_size((rlim_t)(size * 7 / 2));
	for (int i = 1; i < 50; i++)
		add(l, "alice", i);
	WAIT_UNTIL(!ledger_is_writable(l));
	WAIT_UNTIL(is_written(l, 3));
	/* No piece of a line stays behind. */
	check_lines(p->path, &seq);
	assert_int_equal(seq, 3);
	add(l, "alice", 50);
	limit_file_size(RLIM_INFINITY);
	WAIT_UNTIL(ledger_is_writable(l));
	WAIT_UNTIL(is_written(l, 51));
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 51);
}

/* Every one of them takes memory, and they may come for hours. */
static void
refusals_without_end_are_not_kept_while_nothing_can_be_written(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	const int many = 12000;
	int kept = 0;

	limit_file_size(1);
	kept += add(l, "alice", 0) > 0;
	WAIT_UNTIL(!ledger_is_writable(l));
	for (int i = 1; i < many; i++)
		kept += add(l, "alice", i) > 0;
	assert_in_range(kept, 1000, 10000);
	limit_file_size(RLIM_INFINITY);
	WAIT_UNTIL(ledger_is_writable(l));
	add(l, "alice", many);
	ledger_close(&l);
	/* What is not kept has taken no number. */
	assert_int_equal(count_lines(p->path), kept + 1);
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

		write_file(p->path, text, whole + torn);
		l = open_ledger(p);
		ledger_close(&l);
		b = content(p->path);
		assert_int_equal(buf_len(&b), whole);
		assert_memory_equal(buf_data(&b), first_line, whole);
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
	uint64_t seq = 3; /* what was written before is gone */
	struct buf b;

	for (int i = 0; i < 3; i++)
		add(l, "alice", i);
	WAIT_UNTIL(is_written(l, 3));
	assert_int_equal(truncate(p->path, 10), 0);
	add(l, "alice", 3);
	ledger_close(&l);
	check_lines(p->path, &seq);
	assert_int_equal(seq, 4);
	b = take_torn(p);
	assert_int_equal(buf_len(&b), 10);
	buf_release(&b);
}

static void
a_ledger_has_one_writer(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	struct ledger *l = open_ledger(p);
	struct fault why;

	assert_null(ledger_open(&o, &why));
	assert_non_null(strstr(why.text, "another gateway"));
	ledger_close(&l);
	l = open_ledger(p);
	ledger_close(&l);
}

static void
what_is_no_file_is_refused(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	struct fault why;

	o.path = p->folder;
	assert_null(ledger_open(&o, &why));
	o.path = p->path;
	assert_int_equal(mkfifo(p->path, 0600), 0);
	assert_null(ledger_open(&o, &why));
	assert_non_null(strstr(why.text, "not a regular file"));
	unlink(p->path);
	assert_int_equal(mkdir(p->board, 0700), 0);
	assert_null(ledger_open(&o, &why));
	assert_int_equal(rmdir(p->board), 0);
	assert_int_equal(mkfifo(p->board, 0600), 0);
	assert_null(ledger_open(&o, &why));
}

/* --- how soon a line is safe --------------------------------------------- */

static void
with_never_a_line_is_safe_when_it_is_written(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	int before = atomic_load(&syncs);

	assert_false(ledger_must_wait(l));
	for (uint64_t i = 1; i <= 20; i++) {
		add(l, "alice", 1);
		WAIT_UNTIL(is_written(l, i));
	}
	ledger_close(&l);
	assert_int_equal(atomic_load(&syncs), before);
}

static void
count_up(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void
with_everysec_a_line_is_safe_once_it_was_synced(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	atomic_int told = 0;
	struct ledger *l;
	int before = atomic_load(&syncs);

	o.fsync = LEDGER_FSYNC_EVERYSEC;
	o.on_safe = count_up;
	o.arg = &told;
	l = open_with(&o);
	assert_false(ledger_must_wait(l));
	atomic_store(&sync_is_held, true);
	for (int i = 0; i < 50; i++)
		add(l, "alice", i);
	WAIT_UNTIL(count_lines(p->path) == 50);
	assert_int_equal(ledger_safe_seq(l), 0);
	assert_int_equal(atomic_load(&told), 0);
	atomic_store(&sync_is_held, false);
	WAIT_UNTIL(is_written(l, 50));
	WAIT_UNTIL(atomic_load(&told) == 1);
	/* Some dozens of lines are one sync. */
	assert_int_equal(atomic_load(&syncs), before + 1);
	assert_true(ledger_is_writable(l));
	ledger_close(&l);
}

static void
with_always_a_line_is_synced_at_once_and_then_told(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	atomic_int told = 0;
	struct ledger *l;

	o.fsync = LEDGER_FSYNC_ALWAYS;
	o.on_safe = count_up;
	o.arg = &told;
	l = open_with(&o);
	assert_true(ledger_must_wait(l));
	for (uint64_t i = 1; i <= 20; i++) {
		int before = atomic_load(&syncs);

		atomic_store(&sync_is_held, true);
		add(l, "alice", 1);
		WAIT_UNTIL(count_lines(p->path) == i);
		assert_int_equal(ledger_safe_seq(l), i - 1);
		atomic_store(&sync_is_held, false);
		WAIT_UNTIL(is_written(l, i));
		WAIT_UNTIL(atomic_load(&told) == (int)i);
		assert_int_equal(atomic_load(&syncs), before + 1);
	}
	ledger_close(&l);
}

/* Answers that wait for their lines must not wait for as long as the disk is
 * full: whoever waits is told, and nobody else begins to. */
static void
with_always_nobody_waits_for_a_disk_that_takes_nothing(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	atomic_int told = 0;
	struct ledger *l;

	o.fsync = LEDGER_FSYNC_ALWAYS;
	o.on_safe = count_up;
	o.arg = &told;
	l = open_with(&o);
	limit_file_size(1);
	add(l, "alice", 1);
	WAIT_UNTIL(atomic_load(&told) == 1);
	assert_false(ledger_is_writable(l));
	assert_false(ledger_must_wait(l));
	assert_int_equal(ledger_safe_seq(l), 0);
	limit_file_size(RLIM_INFINITY);
	WAIT_UNTIL(ledger_is_writable(l) && is_written(l, 1));
	assert_true(ledger_must_wait(l));
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 1);
}

static void
a_sync_that_fails_stops_the_ledger_and_loses_nothing(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	struct ledger *l;

	o.fsync = LEDGER_FSYNC_EVERYSEC;
	l = open_with(&o);
	add(l, "alice", 1);
	WAIT_UNTIL(is_written(l, 1));
	atomic_store(&sync_fails, true);
	add(l, "alice", 2);
	WAIT_UNTIL(!ledger_is_writable(l));
	/* It stays so over several tries. */
	for (int i = 0; i < 300; i++) {
		pause_a_little();
		assert_false(ledger_is_writable(l));
	}
	assert_int_equal(ledger_safe_seq(l), 1);
	add(l, "alice", 3);
	atomic_store(&sync_fails, false);
	WAIT_UNTIL(ledger_is_writable(l) && is_written(l, 3));
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 3);
}

/* --- rotation ------------------------------------------------------------ */

static void
files_are_rotated_by_size_and_gzipped_and_keep_every_line(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	struct stored_lines all;
	struct ledger *l;
	int gzipped;

	o.rotation =
	    (struct ledger_rotation){.bytes = 60000, .compresses = true};
	l = open_with(&o);
	for (int i = 0; i < 2000; i++) {
		add(l, "alice", i);
		if (i % 50 == 0)
			WAIT_UNTIL(is_written(l, (uint64_t)i + 1));
	}
	WAIT_UNTIL(is_written(l, 2000));
	/* All but the current one, and nothing half-made. */
	WAIT_UNTIL(count_files(p, "usage-", ".jsonl", NULL) == 0 &&
	    count_files(p, "usage-", "-making", NULL) == 0);
	gzipped = count_files(p, "usage-", ".jsonl.gz", NULL);
	assert_in_range(gzipped, 8, 80);
	assert_true(size_of(p->path) <= 60000);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 2000);
	for (size_t i = 0; i < all.count; i++) {
		assert_int_equal(all.items[i].seq, i + 1);
		assert_int_equal(all.items[i].input, i);
	}
	release_lines(&all);
}

static void
rotation_may_change_while_it_runs(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);

	for (int i = 0; i < 200; i++)
		add(l, "alice", i);
	WAIT_UNTIL(is_written(l, 200));
	assert_int_equal(count_files(p, "usage-", "", NULL), 0);
	ledger_set_rotation(l, &(struct ledger_rotation){.bytes = 20000});
	add(l, "alice", 200);
	WAIT_UNTIL(is_written(l, 201));
	assert_int_equal(count_files(p, "usage-", ".jsonl", NULL), 1);
	ledger_set_rotation(l, &(struct ledger_rotation){0});
	for (int i = 201; i < 500; i++)
		add(l, "alice", i);
	ledger_close(&l);
	assert_int_equal(count_files(p, "usage-", "", NULL), 1);
	assert_true(size_of(p->path) > 20000);
}

static void
a_file_of_an_earlier_day_is_rotated_under_the_name_of_that_day(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	/* 2026-05-28T20:26:40Z */
	const struct timespec then[2] = {
	    {.tv_sec = 1780000000}, {.tv_sec = 1780000000}};
	char path[512];
	struct ledger *l;
	uint64_t seq = 0;

	write_file(p->path, first_line, sizeof first_line - 1);
	assert_int_equal(utimensat(AT_FDCWD, p->path, then, 0), 0);
	/* Only if it is asked for. */
	l = open_as(p, WRITER_2);
	add(l, "alice", 1);
	ledger_close(&l);
	assert_int_equal(count_files(p, "usage-", "", NULL), 0);
	write_file(p->path, first_line, sizeof first_line - 1);
	assert_int_equal(utimensat(AT_FDCWD, p->path, then, 0), 0);
	o.rotation.is_daily = true;
	o.writer = WRITER_2;
	l = open_with(&o);
	add(l, "alice", 1);
	add(l, "alice", 2);
	ledger_close(&l);
	assert_int_equal(count_files(p, "usage-", "", path), 1);
	assert_string_equal(
	    path + strlen(p->folder), "/usage-20260528-001.jsonl");
	check_lines(path, &seq);
	assert_int_equal(seq, 1);
	assert_true(size_of(p->path) > 0);
}

static void
without_a_free_name_the_old_file_grows(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	char day[16], path[256];
	time_t now = time(NULL);
	struct tm tm;
	struct ledger *l;

	gmtime_r(&now, &tm);
	strftime(day, sizeof day, "%Y%m%d", &tm);
	for (int i = 1; i <= 999; i++) {
		snprintf(path, sizeof path, "%s/usage-%s-%03d.jsonl%s",
		    p->folder, day, i, i % 2 == 0 ? ".gz" : "");
		write_file(path, "", 0);
	}
	o.rotation.bytes = 5000;
	l = open_with(&o);
	for (int i = 0; i < 100; i++)
		add(l, "alice", i);
	WAIT_UNTIL(is_written(l, 100));
	assert_true(ledger_is_writable(l));
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), 100);
}

/* --- what the scoreboard keeps ------------------------------------------- */

static void
what_a_dead_disk_did_not_take_the_next_start_writes(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct stored_lines all;

	add(l, "alice", 1);
	WAIT_UNTIL(is_written(l, 1));
	limit_file_size((rlim_t)size_of(p->path) + 10);
	for (int i = 2; i <= 100; i++)
		add(l, "alice", i);
	ledger_close(&l); /* gives up after three seconds */
	assert_int_equal(count_lines(p->path), 1);
	limit_file_size(RLIM_INFINITY);
	l = open_as(p, WRITER_2);
	add(l, "bob", 1);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 101);
	for (size_t i = 0; i < 100; i++) {
		assert_string_equal(all.items[i].writer, WRITER);
		assert_int_equal(all.items[i].seq, i + 1);
		assert_int_equal(all.items[i].input, i + 1);
		assert_string_equal(all.items[i].end, "ok");
	}
	assert_string_equal(all.items[100].writer, WRITER_2);
	assert_int_equal(all.items[100].seq, 1);
	release_lines(&all);
}

/* Lines of earlier starts are not among those that are counted as safe. */
static void
only_lines_of_this_start_are_counted(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);

	limit_file_size(1);
	for (int i = 0; i < 5; i++)
		add(l, "alice", i);
	ledger_close(&l);
	limit_file_size(RLIM_INFINITY);
	l = open_as(p, WRITER_2);
	WAIT_UNTIL(count_lines(p->path) == 5);
	assert_int_equal(ledger_safe_seq(l), 0);
	assert_int_equal(add(l, "bob", 1), 1);
	WAIT_UNTIL(ledger_safe_seq(l) == 1);
	ledger_close(&l);
}

static void
without_room_for_a_slot_no_request_goes_out_but_refusals_are_kept(void **state)
{
	struct place *p = *state;
	struct ledger *l = open_ledger(p);
	struct slot *slots[1024];
	const struct slot_rates rates = {0};
	struct buf scratch = {0};
	char id[ULID_CHARS + 1];
	size_t n = 0;

	/* The scoreboard may not grow; the ledger is far from that. */
	limit_file_size((rlim_t)size_of(p->board));
	while (n < 1024 && (slots[n] = ledger_take_slot(l)) != NULL)
		n++;
	assert_in_range(n, 1, 1023);
	assert_int_equal(add(l, "refused", 1), 1);
	WAIT_UNTIL(is_written(l, 1));
	/* With one back, one goes out. */
	make_id(id, 1);
	struct ledger_line line = line_of(id, "alice", 1);

	slot_mark_sent(slots[0], &line, &rates, &scratch);
	ledger_add(l, slots[0], &line, &scratch);
	WAIT_UNTIL(is_written(l, 2));
	assert_non_null(slots[0] = ledger_take_slot(l));
	assert_null(ledger_take_slot(l));
	limit_file_size(RLIM_INFINITY);
	assert_non_null(slots[n] = ledger_take_slot(l));
	n++;
	for (size_t i = 0; i < n; i++) {
		make_id(id, i + 2);
		line = line_of(id, "alice", 1);
		ledger_add(l, slots[i], &line, &scratch);
	}
	buf_release(&scratch);
	ledger_close(&l);
	assert_int_equal(count_lines(p->path), n + 2);
}

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
	    TEST(a_reopen_that_fails_stops_the_ledger_until_it_succeeds),
	    TEST(a_full_disk_stops_and_resumes_without_loss),
	    TEST(
		refusals_without_end_are_not_kept_while_nothing_can_be_written),
	    TEST(a_torn_tail_is_moved_aside),
	    TEST(a_last_line_that_lacks_only_its_newline_is_kept),
	    TEST(a_tail_of_zeros_is_moved_aside),
	    TEST(a_file_cut_short_by_others_goes_on_with_whole_lines),
	    TEST(a_ledger_has_one_writer),
	    TEST(what_is_no_file_is_refused),
	    TEST(with_never_a_line_is_safe_when_it_is_written),
	    TEST(with_everysec_a_line_is_safe_once_it_was_synced),
	    TEST(with_always_a_line_is_synced_at_once_and_then_told),
	    TEST(with_always_nobody_waits_for_a_disk_that_takes_nothing),
	    TEST(a_sync_that_fails_stops_the_ledger_and_loses_nothing),
	    TEST(files_are_rotated_by_size_and_gzipped_and_keep_every_line),
	    TEST(rotation_may_change_while_it_runs),
	    TEST(
		a_file_of_an_earlier_day_is_rotated_under_the_name_of_that_day),
	    TEST(without_a_free_name_the_old_file_grows),
	    TEST(what_a_dead_disk_did_not_take_the_next_start_writes),
	    TEST(only_lines_of_this_start_are_counted),
	    TEST(
		without_room_for_a_slot_no_request_goes_out_but_refusals_are_kept),
	};

	signal(SIGXFSZ, SIG_IGN);
	umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
