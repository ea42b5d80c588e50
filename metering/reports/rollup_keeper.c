#include "metering/reports/rollup_keeper.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/reports/rollup_book.h"

#include "base/banned.h"

#define LOOK_NS (250 * NS_PER_MS)
#define RETRY_NS (60 * NS_PER_SECOND)
/* Saved once a minute, but so that no more is written than this a second. */
#define SAVE_NS (60 * NS_PER_SECOND)
#define SAVE_BYTES_A_SECOND 4096

struct rollup_keeper {
	pthread_t thread;
	char *ledger_path; /* owned */
	char writer[ULID_CHARS + 1];
	struct rollup_limit limit;
	struct rollup_book *book; /* owned */
	atomic_bool must_stop, is_caught_up;
	pthread_mutex_t lock;   /* of what follows, and of `must_stop` */
	pthread_cond_t wake;    /* it must stop, or look at once */
	pthread_cond_t counted; /* a look is over */
	uint64_t looks_begun, looks_done;
	uint64_t own_seq; /* of this start's lines, the last counted */
	bool is_asked;    /* to look at once */

	/* The thread's own. */
	struct ledger_reader *reader; /* owned; NULL: not open */
	struct slice
	    held; /* a line that may not be counted yet; p NULL: none */
	struct ledger_view view;
	uint64_t next_save_ns;
	bool is_failing; /* the last save did: told once */
	uint64_t damaged;
};

static struct timespec
time_after(uint64_t ns)
{
	uint64_t at_ns = clock_mono_ns() + ns;

	return (struct timespec){
	    .tv_sec = (time_t)(at_ns / NS_PER_SECOND),
	    .tv_nsec = (long)(at_ns % NS_PER_SECOND),
	};
}

/* Sleeps so long, or until it must stop. */
static void
pause_for(struct rollup_keeper *k, uint64_t ns)
{
	struct timespec until = time_after(ns);

	pthread_mutex_lock(&k->lock);
	while (!k->must_stop && !k->is_asked &&
	    pthread_cond_timedwait(&k->wake, &k->lock, &until) == 0)
		;
	k->is_asked = false;
	pthread_mutex_unlock(&k->lock);
}

static void
save(struct rollup_keeper *k)
{
	uint64_t bytes = 0, ns = SAVE_NS;
	struct fault why;

	if (!rollup_book_is_dirty(k->book))
		return;
	if (rollup_book_save(k->book, &bytes, &why)) {
		if (k->is_failing)
			log_info("the sums of the ledger can be saved again");
		k->is_failing = false;
	} else if (!k->is_failing) {
		log_error("the sums of the ledger cannot be saved: %s; they "
			  "are kept in memory and tried again",
		    why.text);
		k->is_failing = true;
	}
	if (bytes / SAVE_BYTES_A_SECOND * NS_PER_SECOND > ns)
		ns = bytes / SAVE_BYTES_A_SECOND * NS_PER_SECOND;
	k->next_save_ns = clock_mono_ns() + ns;
}

/* --- following ----------------------------------------------------------- */

/* If the segment is shorter than it was when it was read, it is read again from
 * its first line: what was counted is known by its number. */
static void
check_place(const struct segments *all, struct ledger_place *from)
{
	for (size_t i = 0; i < segments_count(all); i++) {
		const struct segment *s = segments_at(all, i);

		if (segment_id_compare(&s->id, &from->segment) != 0 ||
		    s->is_gzipped || s->file_size >= from->offset)
			continue;
		log_warning("the ledger's %s is shorter than it was; it is "
			    "read again",
		    s->path);
		from->offset = 0;
		from->line = 1;
	}
}

static bool
open_reader(struct rollup_keeper *k, struct fault *why)
{
	struct ledger_place from = *rollup_book_place(k->book);
	struct segments *all = segments_list(k->ledger_path, why);
	bool is_gone = false;

	if (all == NULL)
		return false;
	check_place(all, &from);
	segments_destroy(&all);
	k->reader = ledger_reader_open(k->ledger_path,
	    from.segment.writer[0] == '\0' ? NULL : &from, &is_gone, why);
	if (k->reader != NULL && is_gone)
		log_warning("the part of the ledger that was counted last is "
			    "gone; the sums go on with what is behind it");
	return k->reader != NULL;
}

static void
note_damage(
    struct rollup_keeper *k, const struct ledger_place *at, const char *why)
{
	if (k->damaged++ == 0)
		log_warning("%s:%llu: not counted: %s (and no more is said of "
			    "such lines; all: weir ledger check)",
		    at->path, (unsigned long long)at->line, why);
}

/* Counts a line; false if that must wait until it is safe. */
static bool
take_line(
    struct rollup_keeper *k, struct slice line, const struct ledger_place *at)
{
	struct ledger_place next;
	struct fault why;
	bool is_line = ledger_view_read(&k->view, line, &why);

	if (is_line && !rollup_limit_allows(&k->limit, &k->view)) {
		k->held = line;
		return false;
	}
	k->held.p = NULL;
	ledger_reader_place(k->reader, &next);
	if (is_line) {
		rollup_book_count(k->book, &k->view, &next);
	} else {
		note_damage(k, at, why.text);
		rollup_book_skip(k->book, &next);
	}
	return true;
}

/* Counts what is there, and saves in between when it takes long.  True if all
 * has been read. */
static bool
follow(struct rollup_keeper *k, bool may_be_long)
{
	struct ledger_place at = {.path = k->ledger_path};
	struct slice line = k->held;
	struct fault why = {.text = ""};

	if (k->held.p != NULL && !take_line(k, line, &at))
		return true;
	while (may_be_long || !k->must_stop) {
		if (!ledger_reader_next(k->reader, &line, &at, &why)) {
			if (why.text[0] != '\0')
				log_warning("%s", why.text);
			return why.text[0] == '\0';
		}
		if (!take_line(k, line, &at))
			return true;
		if (clock_mono_ns() >= k->next_save_ns)
			save(k);
	}
	return false;
}

/* --- the thread ---------------------------------------------------------- */

static bool
remake(struct rollup_keeper *k)
{
	struct rollup_remade done;
	struct fault why;

	if (rollup_book_remake(k->book, k->ledger_path, &k->limit,
		&k->must_stop, &done, &why)) {
		if (done.lines > 0)
			log_info("the sums were made of %llu lines of the "
				 "ledger; %zu quarters of an hour whose lines "
				 "are gone were kept",
			    (unsigned long long)done.lines, done.kept_quarters);
		return true;
	}
	if (!k->must_stop)
		log_error("the sums cannot be made: %s", why.text);
	return false;
}

/* False if it must stop. */
static bool
prepare(struct rollup_keeper *k)
{
	struct fault why;
	bool is_ready = rollup_book_load(k->book, &why);

	if (!is_ready && why.text[0] != '\0')
		log_error(
		    "%s; the sums are made anew from the ledger", why.text);
	while (!is_ready && !k->must_stop) {
		is_ready = remake(k);
		if (!is_ready)
			pause_for(k, RETRY_NS);
	}
	while (is_ready && !k->must_stop && !open_reader(k, &why)) {
		log_error("the ledger cannot be followed: %s", why.text);
		pause_for(k, RETRY_NS);
	}
	return k->reader != NULL;
}

/* Counts what has come, and tells who waits for that. */
static void
look(struct rollup_keeper *k)
{
	bool is_whole;

	pthread_mutex_lock(&k->lock);
	k->looks_begun++;
	pthread_mutex_unlock(&k->lock);
	is_whole = follow(k, false);
	pthread_mutex_lock(&k->lock);
	if (is_whole) {
		k->is_caught_up = true;
		k->looks_done = k->looks_begun;
	}
	if (k->limit.writer != NULL)
		k->own_seq = rollup_book_seq(k->book, k->writer);
	pthread_cond_broadcast(&k->counted);
	pthread_mutex_unlock(&k->lock);
}

static void *
run(void *arg)
{
	struct rollup_keeper *k = arg;

	if (!prepare(k))
		return NULL;
	k->next_save_ns = clock_mono_ns() + SAVE_NS;
	while (!k->must_stop) {
		look(k);
		if (clock_mono_ns() >= k->next_save_ns)
			save(k);
		pause_for(k, LOOK_NS);
	}
	if (k->is_caught_up)
		follow(k, true);
	save(k);
	ledger_reader_close(&k->reader);
	return NULL;
}

static void
keeper_free(struct rollup_keeper *k)
{
	rollup_book_close(&k->book);
	pthread_cond_destroy(&k->wake);
	pthread_cond_destroy(&k->counted);
	pthread_mutex_destroy(&k->lock);
	free(k->ledger_path);
	free(k);
}

static void
keeper_init(struct rollup_keeper *k, const struct rollup_keeper_options *o)
{
	pthread_condattr_t attr;

	k->ledger_path = xstrdup(o->ledger_path);
	if (o->writer != NULL && strlen(o->writer) == ULID_CHARS) {
		memcpy(k->writer, o->writer, ULID_CHARS);
		k->limit.writer = k->writer;
	}
	k->limit.safe_seq = o->safe_seq;
	k->limit.arg = o->arg;
	pthread_mutex_init(&k->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->wake, &attr);
	pthread_cond_init(&k->counted, &attr);
	pthread_condattr_destroy(&attr);
}

struct rollup_keeper *
rollup_keeper_start(const struct rollup_keeper_options *o, struct fault *why)
{
	struct rollup_book *book = rollup_book_open(o->state_dir, why);
	struct rollup_keeper *k;
	int failed;

	if (book == NULL)
		return NULL;
	k = xcalloc(sizeof *k);
	keeper_init(k, o);
	k->book = book;
	failed = pthread_create(&k->thread, NULL, run, k);
	if (failed != 0) {
		fault_set(why,
		    "cannot start the thread that keeps the sums: %s",
		    strerror(failed));
		keeper_free(k);
		return NULL;
	}
	pthread_setname_np(k->thread, "rollups");
	return k;
}

void
rollup_keeper_stop(struct rollup_keeper **kp)
{
	struct rollup_keeper *k = *kp;

	if (k == NULL)
		return;
	pthread_mutex_lock(&k->lock);
	k->must_stop = true;
	pthread_cond_signal(&k->wake);
	pthread_cond_broadcast(&k->counted);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	keeper_free(k);
	*kp = NULL;
}

bool
rollup_keeper_wait(struct rollup_keeper *k, uint64_t seq, uint64_t most_ms)
{
	struct timespec until = time_after(most_ms * NS_PER_MS);
	bool is_done, is_late = false;
	uint64_t before;

	pthread_mutex_lock(&k->lock);
	before = k->looks_begun;
	k->is_asked = true;
	pthread_cond_signal(&k->wake);
	for (;;) {
		is_done = k->looks_done > before && k->own_seq >= seq;
		if (is_done || is_late || k->must_stop)
			break;
		is_late =
		    pthread_cond_timedwait(&k->counted, &k->lock, &until) != 0;
	}
	pthread_mutex_unlock(&k->lock);
	return is_done;
}

bool
rollup_keeper_is_caught_up(struct rollup_keeper *k)
{
	return k->is_caught_up;
}

void
rollup_keeper_sum(struct rollup_keeper *k, const struct rollup_filter *f,
    struct rollup_sums *out)
{
	rollup_book_sum(k->book, f, out);
}

void
rollup_keeper_each(struct rollup_keeper *k, const struct rollup_filter *f,
    unsigned by, rollup_row_fn on_row, void *arg)
{
	rollup_book_each(k->book, f, by, on_row, arg);
}

void
rollup_keeper_report(struct rollup_keeper *k, struct report *r)
{
	rollup_book_report(k->book, r);
}

/* --- without a gateway --------------------------------------------------- */

bool
rollup_rebuild(const struct rollup_keeper_options *o,
    struct rollup_rebuilt *done, struct fault *why)
{
	struct rollup_book *b = rollup_book_open(o->state_dir, why);
	struct rollup_limit limit = {NULL, NULL, NULL};
	struct rollup_remade remade;
	struct fault ignored;
	bool ok;

	if (b == NULL)
		return false;
	if (!rollup_book_load(b, &ignored) && ignored.text[0] != '\0')
		log_warning("%s", ignored.text);
	ok = rollup_book_remake(b, o->ledger_path, &limit, NULL, &remade, why);
	if (ok)
		*done = (struct rollup_rebuilt){
		    remade.lines, remade.months, remade.kept_quarters};
	rollup_book_close(&b);
	return ok;
}
