/*
 * ledger_place.h - a folder with a ledger and its scoreboard, for the tests of
 * both.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "metering/ledger/ledger.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/price.h"

#define WRITER "01K9W00000000000000000000A"
#define WRITER_2 "01K9W00000000000000000000B"
#define WRITER_3 "01K9W00000000000000000000C"
#define MOST_BYTES (64u << 20)
#define ARRIVED_MS INT64_C(1780000000000)

/* A folder of its own for each test. */
struct place {
	char folder[64];
	char path[96];  /* of the ledger */
	char board[96]; /* of its scoreboard */
	char moved[96]; /* where the ledger may be renamed to */
};

static inline int
make_place(void **state)
{
	struct place *p = xcalloc(sizeof *p);

	snprintf(p->folder, sizeof p->folder, "/tmp/weir-ledger-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->path, sizeof p->path, "%s/usage.jsonl", p->folder);
	snprintf(p->board, sizeof p->board, "%s/scoreboard", p->folder);
	snprintf(p->moved, sizeof p->moved, "%s/usage.jsonl.1", p->folder);
	*state = p;
	return 0;
}

static inline int
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

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, make_place, remove_place)

static inline void
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

/* --- files --------------------------------------------------------------- */

static inline struct buf
content(const char *path)
{
	struct buf b = {0};
	struct fault why;

	if (!file_read(path, MOST_BYTES, false, &b, &why))
		fail_msg("%s", why.text);
	return b;
}

static inline void
write_file(const char *path, const char *text, size_t len)
{
	struct fault why;

	assert_true(file_replace(path, text, len, 0640, &why));
}

static inline off_t
size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_size : -1;
}

/* How many files in the folder have names that begin and end so; *found gets
 * the last one's path. */
static inline int
count_files(
    const struct place *p, const char *begin, const char *end, char found[512])
{
	DIR *d = opendir(p->folder);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		size_t len = strlen(e->d_name);

		if (strncmp(e->d_name, begin, strlen(begin)) != 0 ||
		    len < strlen(end) ||
		    strcmp(e->d_name + len - strlen(end), end) != 0)
			continue;
		if (found != NULL)
			snprintf(found, 512, "%s/%s", p->folder, e->d_name);
		n++;
	}
	closedir(d);
	return n;
}

/* Takes the one file beside the ledger that holds torn bytes. */
static inline struct buf
take_torn(const struct place *p)
{
	char path[512];
	struct buf b;

	assert_int_equal(count_files(p, "torn-", "", path), 1);
	b = content(path);
	unlink(path);
	return b;
}

static inline void
limit_file_size(rlim_t most)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* --- a ledger ------------------------------------------------------------ */

/* Lines count as safe as soon as they are written. */
static inline struct ledger_options
options_of(const struct place *p)
{
	return (struct ledger_options){
	    .path = p->path,
	    .scoreboard = p->board,
	    .writer = WRITER,
	    .fsync = LEDGER_FSYNC_NEVER,
	};
}

static inline struct ledger *
open_with(const struct ledger_options *o)
{
	struct fault why;
	struct ledger *l = ledger_open(o, &why);

	if (l == NULL)
		fail_msg("%s", why.text);
	return l;
}

static inline struct ledger *
open_ledger(const struct place *p)
{
	struct ledger_options o = options_of(p);

	return open_with(&o);
}

static inline struct ledger *
open_as(const struct place *p, const char *writer)
{
	struct ledger_options o = options_of(p);

	o.writer = writer;
	return open_with(&o);
}

/* The id of exchange `n`. */
static inline void
make_id(char out[ULID_CHARS + 1], uint64_t n)
{
	snprintf(
	    out, ULID_CHARS + 1, "01K9W0000000%014llu", (unsigned long long)n);
}

static inline struct ledger_line
line_of(const char id[ULID_CHARS + 1], const char *user, int64_t number)
{
	return (struct ledger_line){.ts_ms = ARRIVED_MS,
	    .user = user,
	    .model = "ds4",
	    .prompt_tokens = number,
	    .id = id,
	    .end = "ok",
	    .usage_source = "upstream",
	    .ttft_ms = -1};
}

/* Hands over a line of no upstream; returns its number. */
static inline uint64_t
add(struct ledger *l, const char *user, int64_t number)
{
	static _Thread_local uint64_t refusals;
	char id[ULID_CHARS + 1];
	struct ledger_line line;
	struct buf scratch = {0};
	uint64_t seq;

	snprintf(id, sizeof id, "01K9X%-8.8s%013llu", user,
	    (unsigned long long)++refusals);
	line = line_of(id, user, number);
	seq = ledger_add(l, NULL, &line, &scratch);
	buf_release(&scratch);
	return seq;
}

/* --- what stands in it --------------------------------------------------- */

struct stored {
	char id[ULID_CHARS + 1], writer[ULID_CHARS + 1], user[16], end[24];
	char source[16], cost[MONEY_TEXT_BYTES], avoided[MONEY_TEXT_BYTES];
	char fallback[MONEY_TEXT_BYTES];
	uint64_t seq;
	int64_t input, output, ms;
	size_t attempts;
};

struct stored_lines {
	struct stored *items; /* owned */
	size_t count, room;
};

static inline void
keep_text(char *to, size_t room, struct slice text)
{
	snprintf(to, room, "%.*s", (int)text.len, text.p == NULL ? "" : text.p);
}

static inline void
keep_stored(struct stored_lines *all, struct slice text)
{
	struct ledger_view *e = xcalloc(sizeof *e);
	struct stored s = {0};
	struct fault why;

	if (!ledger_view_read(e, text, &why))
		fail_msg("%s: %.*s", why.text, (int)text.len, text.p);
	keep_text(s.id, sizeof s.id, e->id);
	keep_text(s.writer, sizeof s.writer, e->writer);
	keep_text(s.user, sizeof s.user, e->user);
	keep_text(s.end, sizeof s.end, e->end);
	keep_text(s.source, sizeof s.source, e->usage_source);
	money_format(s.cost, e->cost_usd);
	money_format(s.avoided, e->avoided_usd);
	money_format(s.fallback, e->fallback_usd);
	s.seq = e->seq;
	s.input = e->prompt_tokens;
	s.output = e->completion_tokens;
	s.ms = e->duration_ms;
	s.attempts = e->attempt_count;
	free(e);
	if (all->count == all->room) {
		all->room = all->room * 2 + 64;
		all->items =
		    xrealloc_array(all->items, all->room, sizeof *all->items);
	}
	all->items[all->count++] = s;
}

/* All lines of all segments. */
static inline struct stored_lines
read_ledger(const char *path)
{
	struct stored_lines all = {0};
	struct ledger_place at;
	struct slice line;
	struct fault why;
	bool is_gone;
	struct ledger_reader *r =
	    ledger_reader_open(path, NULL, &is_gone, &why);

	if (r == NULL)
		fail_msg("%s", why.text);
	while (ledger_reader_next(r, &line, &at, &why))
		keep_stored(&all, line);
	assert_string_equal(why.text, "");
	ledger_reader_close(&r);
	return all;
}

static inline void
release_lines(struct stored_lines *all)
{
	free(all->items);
	*all = (struct stored_lines){0};
}

static inline int
compare_stored_ids(const void *a, const void *b)
{
	return strcmp(
	    ((const struct stored *)a)->id, ((const struct stored *)b)->id);
}

static inline int
compare_stored_numbers(const void *a, const void *b)
{
	const struct stored *x = a, *y = b;
	int by_writer = strcmp(x->writer, y->writer);

	if (by_writer != 0)
		return by_writer;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Each writer's numbers run from 1 without a gap, in the order of the file; no
 * id stands there twice.  Leaves them in the order of their ids. */
static inline void
check_numbers(struct stored_lines *all)
{
	struct stored *s = all->items;

	if (all->count == 0)
		return;
	qsort(s, all->count, sizeof *s, compare_stored_numbers);
	for (size_t i = 0; i < all->count; i++) {
		bool is_first =
		    i == 0 || strcmp(s[i].writer, s[i - 1].writer) != 0;

		assert_int_equal(s[i].seq, is_first ? 1 : s[i - 1].seq + 1);
	}
	qsort(s, all->count, sizeof *s, compare_stored_ids);
	for (size_t i = 1; i < all->count; i++)
		assert_string_not_equal(s[i].id, s[i - 1].id);
}

/* NULL if it is not there; after check_numbers(). */
static inline const struct stored *
find_stored(const struct stored_lines *all, const char *id)
{
	struct stored key;

	keep_text(key.id, sizeof key.id, slice_of(id));
	return all->count == 0 ? NULL
			       : bsearch(&key, all->items, all->count,
				     sizeof key, compare_stored_ids);
}

/* Reads a file of whole lines of WRITER whose numbers go on from *seq. */
static inline void
check_lines(const char *path, uint64_t *seq)
{
	struct ledger_view *e = xcalloc(sizeof *e);
	struct buf b = content(path);
	struct fault why;

	while (buf_len(&b) > 0) {
		const char *p = buf_data(&b);
		const char *end = memchr(p, '\n', buf_len(&b));

		assert_non_null(end);
		if (!ledger_view_read(
			e, (struct slice){p, (size_t)(end - p)}, &why))
			fail_msg("%s", why.text);
		assert_true(slice_is(e->writer, WRITER));
		assert_int_equal(e->seq, ++*seq);
		buf_drain(&b, (size_t)(end + 1 - p));
	}
	buf_release(&b);
	free(e);
}

static inline uint64_t
count_lines(const char *path)
{
	uint64_t seq = 0;

	check_lines(path, &seq);
	return seq;
}
