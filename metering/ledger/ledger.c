#include "metering/ledger/ledger.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger/ledger_compress.h"
#include "metering/ledger/ledger_file.h"
#include "metering/ledger/ledger_recover.h"

#include "base/banned.h"

/* Time is counted in looks, ticks of a timer. */
#define LOOK_NS 20000000
#define LOOKS_A_SYNC 50       /* one second */
#define LOOKS_A_RETRY 12      /* 240 ms */
#define LOOKS_AT_CLOSE 150    /* 3 s, then what cannot be written is left */
#define LOOKS_A_ROTATION 3000 /* a minute, after one that failed */

/* So many waiting lines wake the thread before its time. */
#define LINES_TO_WAKE 128

/* While nothing can be written every request is refused, and somebody may ask
 * for hours: of these so many lines are kept.  It is 64 MiB. */
#define REFUSALS_MOST 8192
#define LEDGER_NICENESS 10

/* What goes out in one write: a long one would keep the processor from the
 * workers. */
#define WRITE_BYTES 32768

struct ledger {
	pthread_t thread;
	int timer;  /* stands still while there is no traffic */
	char *path; /* owned */
	char writer[ULID_CHARS + 1];
	enum ledger_fsync fsync;
	void (*on_safe)(void *arg);
	void *arg;
	struct scoreboard *board; /* owned */

	pthread_mutex_t lock;      /* of what follows */
	struct slot *first, *last; /* finished lines, in order */
	size_t waiting;            /* how many */
	uint64_t dropped;          /* refusals, in this outage */
	uint64_t seq;
	bool is_asleep; /* the timer stands still */
	struct ledger_rotation rotation;

	/* The thread's own. */
	struct ledger_file *file; /* owned */
	struct slot *batch;       /* lines that are being written */
	struct buf text;          /* of some of them */
	uint64_t looks_to_sync;   /* counts down while anything is unsynced */
	uint64_t looks_to_retry;  /* above 0: the last try failed */
	uint64_t looks_to_rotate; /* above 0: the last rotation failed */
	uint64_t foreign;         /* lines of earlier writers, still to write */
	uint64_t written;         /* the last number that is in the file */

	uint64_t recovered; /* this start's lines that recovery made */

	atomic_bool is_writable, must_reopen, is_closing, has_recovered;
	atomic_uint_fast64_t safe;
};

/* Lets the thread look at once, and every 20 ms from then on. */
static void
wake(const struct ledger *l)
{
	static const struct itimerspec now_and_on = {
	    .it_value = {.tv_nsec = 1},
	    .it_interval = {.tv_nsec = LOOK_NS},
	};

	timerfd_settime(l->timer, 0, &now_and_on, NULL);
}

static void
stand_still(const struct ledger *l)
{
	static const struct itimerspec never;

	timerfd_settime(l->timer, 0, &never, NULL);
}

/* Waits for the timer; returns how often it has ticked. */
static uint64_t
wait_for_look(const struct ledger *l)
{
	uint64_t looks;

	if (read(l->timer, &looks, sizeof looks) != (ssize_t)sizeof looks)
		return 0;
	return looks;
}

static bool
is_asked(const struct ledger *l)
{
	return atomic_load(&l->must_reopen) || atomic_load(&l->is_closing);
}

static bool
has_work(const struct ledger *l)
{
	return l->batch != NULL || l->looks_to_retry > 0 ||
	    (l->fsync != LEDGER_FSYNC_NEVER && ledger_file_is_dirty(l->file));
}

/* With nothing to do, sleeps until somebody wakes it. */
static void
maybe_sleep(struct ledger *l)
{
	if (has_work(l))
		return;
	pthread_mutex_lock(&l->lock);
	if (l->first == NULL) {
		l->is_asleep = true;
		stand_still(l);
	} else if (l->fsync == LEDGER_FSYNC_ALWAYS) {
		wake(l); /* clients wait: the next group follows at once */
	}
	pthread_mutex_unlock(&l->lock);
	/* Who asked before the timer stood still would wait for ever. */
	if (is_asked(l))
		wake(l);
}

/* Takes over what is waiting, unless older lines are still unwritten. */
static void
take_queue(struct ledger *l)
{
	if (l->batch != NULL)
		return;
	pthread_mutex_lock(&l->lock);
	l->batch = l->first;
	l->first = l->last = NULL;
	l->waiting = 0;
	pthread_mutex_unlock(&l->lock);
}

static void
tell(const struct ledger *l)
{
	if (l->on_safe != NULL)
		l->on_safe(l->arg);
}

static void
note_failure(struct ledger *l, const struct fault *why)
{
	l->looks_to_retry = LOOKS_A_RETRY;
	if (!atomic_exchange(&l->is_writable, false))
		return;
	log_error(
	    "%s; no request is let in until it can be written", why->text);
	tell(l);
}

static void
note_success(struct ledger *l)
{
	uint64_t dropped;

	l->looks_to_retry = 0;
	if (atomic_exchange(&l->is_writable, true))
		return;
	pthread_mutex_lock(&l->lock);
	dropped = l->dropped;
	l->dropped = 0;
	pthread_mutex_unlock(&l->lock);
	log_info("the ledger can be written again");
	if (dropped > 0)
		log_warning("%llu requests that were refused meanwhile have no "
			    "line in it",
		    (unsigned long long)dropped);
}

static void
note_safe(struct ledger *l)
{
	if (l->foreign == 0 && l->written >= l->recovered)
		atomic_store(&l->has_recovered, true);
	if (atomic_exchange(&l->safe, l->written) != l->written)
		tell(l);
}

/* Collects the text of as many lines as go out in one write. */
static void
collect(struct ledger *l)
{
	buf_clear(&l->text);
	for (const struct slot *slot = l->batch; slot != NULL;
	     slot = slot_next(slot)) {
		struct slice line = slot_text(slot);

		if (buf_len(&l->text) > 0 &&
		    buf_len(&l->text) + line.len > WRITE_BYTES)
			break;
		buf_put(&l->text, line.p, line.len);
	}
}

/* The first `count` lines are in the file: their slots are free. */
static void
let_go(struct ledger *l, uint64_t count)
{
	for (; count > 0; count--) {
		struct slot *slot = l->batch;

		l->batch = slot_next(slot);
		scoreboard_give(l->board, slot);
		if (l->foreign > 0)
			l->foreign--;
		else
			l->written++;
	}
}

/* Begins a new file when it is time.  If that cannot be, the old one grows.
 * True if it was time. */
static bool
rotate_if_due(struct ledger *l)
{
	struct ledger_rotation r;
	struct fault why;

	if (l->looks_to_rotate > 0)
		return false;
	pthread_mutex_lock(&l->lock);
	r = l->rotation;
	pthread_mutex_unlock(&l->lock);
	if (!ledger_file_is_due(l->file, buf_len(&l->text), r.bytes, r.is_daily,
		clock_wall_ms()))
		return false;
	if (!ledger_file_rotate(l->file, &why)) {
		l->looks_to_rotate = LOOKS_A_ROTATION;
		log_error("%s", why.text);
		return true;
	}
	if (l->fsync == LEDGER_FSYNC_EVERYSEC)
		note_safe(l); /* what is in the old file was synced */
	if (r.compresses)
		ledger_compress_start(l->path);
	return true;
}

/* Writes what waits, some dozen lines at a time.  Where each write begins is
 * noted first, for the case that it is the last one. */
static bool
write_batch(struct ledger *l, struct fault *why)
{
	bool was_dirty = ledger_file_is_dirty(l->file), ok = true;

	while (ok && l->batch != NULL) {
		uint64_t count = 0, offset;
		dev_t device;
		ino_t inode;

		collect(l);
		if (!ledger_file_ready(l->file, why))
			return false;
		if (rotate_if_due(l) && !ledger_file_ready(l->file, why))
			return false;
		ledger_file_place(l->file, &device, &inode, &offset);
		scoreboard_note_batch(l->board, device, inode, offset);
		ok = ledger_file_append(l->file, &l->text, &count, why);
		let_go(l, count);
	}
	/* A new outage is a new reason to sync. */
	if (!was_dirty)
		l->looks_to_sync = LOOKS_A_SYNC;
	if (l->fsync == LEDGER_FSYNC_NEVER)
		note_safe(l);
	return ok;
}

static bool
reopen_if_asked(struct ledger *l, struct fault *why)
{
	if (!atomic_exchange(&l->must_reopen, false) ||
	    ledger_file_reopen(l->file, why))
		return true;
	atomic_store(&l->must_reopen, true);
	return false;
}

/* Syncs once a second or at once, as the policy says; and after a failure, to
 * see whether it is over. */
static bool
sync_if_due(struct ledger *l, uint64_t looks, struct fault *why)
{
	if (l->fsync == LEDGER_FSYNC_NEVER)
		return true;
	if (l->fsync == LEDGER_FSYNC_EVERYSEC && l->looks_to_sync > looks &&
	    !atomic_load(&l->is_closing) && atomic_load(&l->is_writable)) {
		l->looks_to_sync -= looks;
		return true;
	}
	l->looks_to_sync = LOOKS_A_SYNC;
	if (!ledger_file_sync(l->file, why))
		return false;
	note_safe(l);
	return true;
}

static void
look(struct ledger *l, uint64_t looks)
{
	struct fault why;

	l->looks_to_rotate -=
	    l->looks_to_rotate > looks ? looks : l->looks_to_rotate;
	if (l->looks_to_retry > looks) {
		l->looks_to_retry -= looks;
		return;
	}
	take_queue(l);
	if (reopen_if_asked(l, &why) && write_batch(l, &why) &&
	    sync_if_due(l, looks, &why))
		note_success(l);
	else
		note_failure(l, &why);
}

static bool
is_all_done(struct ledger *l)
{
	bool is_empty;

	pthread_mutex_lock(&l->lock);
	is_empty = l->first == NULL;
	pthread_mutex_unlock(&l->lock);
	return is_empty && !has_work(l);
}

static void *
run(void *arg)
{
	struct ledger *l = arg;
	uint64_t looks_closing = 0;

	/* A line may wait 100 ms, a client's first byte may not: on a busy core
	 * the workers go first. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), LEDGER_NICENESS);
	for (;;) {
		uint64_t looks = wait_for_look(l);

		look(l, looks);
		if (!atomic_load(&l->is_closing)) {
			maybe_sleep(l);
			continue;
		}
		looks_closing += looks;
		if (is_all_done(l))
			return NULL;
		if (looks_closing >= LOOKS_AT_CLOSE) {
			log_error("the ledger cannot be written: its last %llu "
				  "lines are kept in the scoreboard, and the "
				  "next start writes them",
			    (unsigned long long)(l->seq - l->written));
			return NULL;
		}
	}
}

/* Signals are for the main thread. */
static bool
start_thread(struct ledger *l, struct fault *why)
{
	sigset_t all, before;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0) {
		errno = failed;
		return fault_errno(why, "cannot start the ledger's thread");
	}
	pthread_setname_np(l->thread, "weir-ledger");
	return true;
}

static void
leave_slots(struct slot *first)
{
	while (first != NULL) {
		struct slot *slot = first;

		first = slot_next(slot);
		scoreboard_leave(slot);
	}
}

static void
release(struct ledger *l)
{
	leave_slots(l->batch);
	leave_slots(l->first);
	if (l->timer >= 0)
		close(l->timer);
	ledger_file_close(&l->file);
	scoreboard_close(&l->board);
	buf_release(&l->text);
	pthread_mutex_destroy(&l->lock);
	free(l->path);
	free(l);
}

/* Puts what an earlier run left at the head of the queue. */
static bool
recover(struct ledger *l, struct fault *why)
{
	uint64_t offset, count = 0;
	dev_t device;
	ino_t inode;

	if (!ledger_recover(
		l->board, l->path, l->writer, &l->first, &l->seq, why))
		return false;
	for (struct slot *slot = l->first; slot != NULL;
	     slot = slot_next(slot)) {
		l->last = slot;
		count++;
	}
	l->waiting = count;
	l->foreign = count - l->seq;
	l->recovered = l->seq;
	l->has_recovered = count == 0;
	/* None of them stands before this. */
	ledger_file_place(l->file, &device, &inode, &offset);
	scoreboard_note_batch(l->board, device, inode, offset);
	scoreboard_trust(l->board);
	return true;
}

static bool
open_files(struct ledger *l, const struct ledger_options *o, struct fault *why)
{
	char *copy = xstrdup(o->scoreboard);

	l->file = ledger_file_open(o->path, dirname(copy), why);
	free(copy);
	if (l->file == NULL)
		return false;
	l->board = scoreboard_open(o->scoreboard, why);
	return l->board != NULL && recover(l, why);
}

struct ledger *
ledger_open(const struct ledger_options *o, struct fault *why)
{
	struct ledger *l = xcalloc(sizeof *l);

	snprintf(l->writer, sizeof l->writer, "%s", o->writer);
	l->path = xstrdup(o->path);
	l->fsync = o->fsync;
	l->rotation = o->rotation;
	l->on_safe = o->on_safe;
	l->arg = o->arg;
	pthread_mutex_init(&l->lock, NULL);
	atomic_init(&l->is_writable, true);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (l->timer < 0) {
		fault_errno(why, "cannot make the ledger's timer");
		goto failed;
	}
	if (!open_files(l, o, why) || !start_thread(l, why))
		goto failed;
	wake(l);
	if (o->rotation.compresses)
		ledger_compress_start(l->path); /* what a crash left undone */
	return l;
failed:
	release(l);
	return NULL;
}

struct slot *
ledger_take_slot(struct ledger *l)
{
	return scoreboard_take(l->board, true);
}

/* A slot for what no upstream was asked; NULL if too many wait already. */
static struct slot *
take_for_refusal(struct ledger *l)
{
	bool is_kept = true;

	if (!atomic_load(&l->is_writable)) {
		pthread_mutex_lock(&l->lock);
		is_kept = l->waiting < REFUSALS_MOST;
		l->dropped += !is_kept;
		pthread_mutex_unlock(&l->lock);
	}
	return is_kept ? scoreboard_take(l->board, false) : NULL;
}

uint64_t
ledger_add(struct ledger *l, struct slot *slot, const struct ledger_line *line,
    struct buf *scratch)
{
	bool must_wake;
	uint64_t seq;

	if (slot == NULL && (slot = take_for_refusal(l)) == NULL)
		return 0;
	slot_prepare(slot, line, scratch);
	slot_link(slot, NULL);
	/* Numbers are given in the order of the queue. */
	pthread_mutex_lock(&l->lock);
	seq = ++l->seq;
	slot_finish(slot, l->writer, seq);
	if (l->first == NULL)
		l->first = slot;
	else
		slot_link(l->last, slot);
	l->last = slot;
	must_wake = ++l->waiting == LINES_TO_WAKE || l->is_asleep;
	l->is_asleep = false;
	pthread_mutex_unlock(&l->lock);
	if (must_wake)
		wake(l);
	return seq;
}

bool
ledger_has_recovered(const struct ledger *l, uint64_t *seq)
{
	*seq = l->recovered;
	return atomic_load(&l->has_recovered);
}

uint64_t
ledger_safe_seq(const struct ledger *l)
{
	return atomic_load(&l->safe);
}

const char *
ledger_writer(const struct ledger *l)
{
	return l->writer;
}

bool
ledger_is_writable(const struct ledger *l)
{
	return atomic_load(&l->is_writable);
}

bool
ledger_must_wait(const struct ledger *l)
{
	return l->fsync == LEDGER_FSYNC_ALWAYS && ledger_is_writable(l);
}

void
ledger_set_rotation(struct ledger *l, const struct ledger_rotation *r)
{
	pthread_mutex_lock(&l->lock);
	l->rotation = *r;
	pthread_mutex_unlock(&l->lock);
}

void
ledger_reopen(struct ledger *l)
{
	atomic_store(&l->must_reopen, true);
	wake(l);
}

void
ledger_finish(struct ledger *l)
{
	if (atomic_exchange(&l->is_closing, true))
		return;
	wake(l);
	pthread_join(l->thread, NULL);
}

void
ledger_close(struct ledger **lp)
{
	struct ledger *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	ledger_finish(l);
	release(l);
}
