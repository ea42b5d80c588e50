#include "metering/ledger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger_file.h"

#include "base/banned.h"

/* Time is counted in looks, ticks of a timer: no clock is read. */
#define LOOK_NS 20000000
#define LOOKS_A_SYNC 50    /* one second */
#define LOOKS_A_RETRY 12   /* 240 ms */
#define LOOKS_AT_CLOSE 150 /* 3 s, then what cannot be written is given up */

/* So many waiting lines wake the thread before its time. */
#define LINES_TO_WAKE 128
#define LEDGER_NICENESS 10

/* Above this a buffer that a long outage has filled is given back. */
#define BUFFER_KEEP_BYTES (1u << 22)

struct ledger {
	pthread_t thread;
	int timer; /* stands still while there is no traffic */
	char writer[ULID_CHARS + 1];

	pthread_mutex_t lock; /* of these four */
	struct buf queue;     /* whole lines, numbered */
	size_t queue_lines;
	uint64_t seq;
	bool is_asleep; /* the timer stands still */

	/* The thread's own. */
	struct ledger_file *file; /* owned */
	struct buf batch;         /* whole lines that are being written */
	uint64_t looks_to_sync;   /* counts down while anything is unsynced */
	uint64_t looks_to_retry;  /* above 0: the last try failed */

	atomic_bool is_writable, must_reopen, is_closing;
	atomic_uint_fast64_t count;
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

/* With nothing to do, sleeps until somebody wakes it. */
static void
maybe_sleep(struct ledger *l)
{
	if (buf_len(&l->batch) > 0 || ledger_file_is_dirty(l->file) ||
	    l->looks_to_retry > 0)
		return;
	pthread_mutex_lock(&l->lock);
	if (l->queue_lines == 0) {
		l->is_asleep = true;
		stand_still(l);
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
	struct buf empty = l->batch;

	if (buf_len(&empty) > 0)
		return;
	if (empty.room > BUFFER_KEEP_BYTES)
		buf_release(&empty);
	pthread_mutex_lock(&l->lock);
	l->batch = l->queue;
	l->queue = empty;
	l->queue_lines = 0;
	pthread_mutex_unlock(&l->lock);
}

static void
note_failure(struct ledger *l, const struct fault *why)
{
	l->looks_to_retry = LOOKS_A_RETRY;
	if (atomic_exchange(&l->is_writable, false))
		log_error("%s; no request is let in until it can be written",
		    why->text);
}

static void
note_success(struct ledger *l)
{
	l->looks_to_retry = 0;
	if (!atomic_exchange(&l->is_writable, true))
		log_info("the ledger can be written again");
}

/* Writes what waits.  A new outage is a new reason to sync. */
static bool
write_batch(struct ledger *l, struct fault *why)
{
	uint64_t count = 0;
	bool was_dirty = ledger_file_is_dirty(l->file);
	bool ok = ledger_file_append(l->file, &l->batch, &count, why);

	atomic_fetch_add(&l->count, count);
	if (!was_dirty)
		l->looks_to_sync = LOOKS_A_SYNC;
	return ok;
}

static bool
reopen_if_asked(struct ledger *l, struct fault *why)
{
	if (!atomic_exchange(&l->must_reopen, false))
		return true;
	return ledger_file_reopen(l->file, why);
}

/* Syncs once a second, at the end at once, and after a failure to see whether
 * it is over. */
static bool
sync_if_due(struct ledger *l, uint64_t looks, struct fault *why)
{
	if (l->looks_to_sync > looks && !atomic_load(&l->is_closing) &&
	    atomic_load(&l->is_writable)) {
		l->looks_to_sync -= looks;
		return true;
	}
	l->looks_to_sync = LOOKS_A_SYNC;
	return ledger_file_sync(l->file, why);
}

static void
look(struct ledger *l, uint64_t looks)
{
	struct fault why;

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
	is_empty = l->queue_lines == 0;
	pthread_mutex_unlock(&l->lock);
	return is_empty && buf_len(&l->batch) == 0 &&
	    !ledger_file_is_dirty(l->file);
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
				  "lines are lost",
			    (unsigned long long)(l->seq - l->count));
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
release(struct ledger *l)
{
	if (l->timer >= 0)
		close(l->timer);
	ledger_file_close(&l->file);
	buf_release(&l->queue);
	buf_release(&l->batch);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

struct ledger *
ledger_open(const char *path, const char *writer, struct fault *why)
{
	struct ledger *l = xcalloc(sizeof *l);

	snprintf(l->writer, sizeof l->writer, "%s", writer);
	pthread_mutex_init(&l->lock, NULL);
	l->is_asleep = true;
	atomic_init(&l->is_writable, true);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (l->timer < 0) {
		fault_errno(why, "cannot make the ledger's timer");
		goto failed;
	}
	l->file = ledger_file_open(path, why);
	if (l->file == NULL || !start_thread(l, why))
		goto failed;
	return l;
failed:
	release(l);
	return NULL;
}

void
ledger_add(struct ledger *l, const struct ledger_line *line)
{
	bool must_wake;

	/* A line takes about a microsecond to write; writing it under the lock
	 * costs less than a copy and another allocation would. */
	pthread_mutex_lock(&l->lock);
	ledger_line_write(&l->queue, line);
	ledger_line_finish(&l->queue, l->writer, ++l->seq);
	must_wake = ++l->queue_lines == LINES_TO_WAKE || l->is_asleep;
	l->is_asleep = false;
	pthread_mutex_unlock(&l->lock);
	if (must_wake)
		wake(l);
}

bool
ledger_is_writable(const struct ledger *l)
{
	return atomic_load(&l->is_writable);
}

uint64_t
ledger_count(const struct ledger *l)
{
	return atomic_load(&l->count);
}

void
ledger_reopen(struct ledger *l)
{
	atomic_store(&l->must_reopen, true);
	wake(l);
}

void
ledger_close(struct ledger **lp)
{
	struct ledger *l = *lp;

	if (l == NULL)
		return;
	*lp = NULL;
	atomic_store(&l->is_closing, true);
	wake(l);
	pthread_join(l->thread, NULL);
	release(l);
}
