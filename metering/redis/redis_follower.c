#include "metering/redis/redis_follower.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/redis/redis_feed.h"
#include "metering/redis/redis_store.h"

#include "base/banned.h"

#define FOLLOWER_NICENESS 10
#define LOOK_MS 100                     /* how often new lines are looked for */
#define LAST_LINES_NS (250 * NS_PER_MS) /* how long the end waits for them */
#define BEAT_SECONDS 1

#define BACK_OFF_FIRST_MS 100u
#define BACK_OFF_MOST_MS 5000u
#define BACK_OFF_DOUBLINGS 6

/* So many beats in a row, and an outage is over. */
#define BEATS_TO_TRUST 3

/* So many epochs in a row without a beat are nobody's doing but a fool's. */
#define ENTRIES_MOST 20

struct redis_follower {
	pthread_t thread;
	int stop_fd; /* eventfd: readable when the thread must end */
	int beat_fd; /* timerfd */
	struct redis_options redis;     /* its texts are owned */
	char *ledger_path, *peers_path; /* owned */
	char writer[ULID_CHARS + 1];
	uint64_t (*safe_seq)(void *arg);
	void *arg;

	/* The thread's own. */
	struct redis_store *store; /* owned */
	struct redis_feed *feed;   /* owned */
	struct redis_peers peers;
	uint64_t safe;    /* as last asked */
	bool is_ready;    /* caught up, in this run and epoch */
	unsigned beats;   /* since the last trouble */
	unsigned entries; /* into epochs, since the last beat */
	unsigned failures;
	bool has_beaten; /* ever */
	bool has_told_policy;
	char run[REDIS_RUN_CHARS + 1]; /* where, and how far we were */
	char epoch[ULID_CHARS + 1];
	struct redis_span reached;
	unsigned workers;

	pthread_mutex_t lock; /* of `whole` */
	struct redis_whole whole;
	atomic_uint_fast64_t caught_up_ms; /* monotonic; 0: never */
	atomic_int trouble;
	atomic_bool is_whole;
	atomic_uint_fast64_t applied, skipped, last_seq;
};

static bool
must_stop(const struct redis_follower *f)
{
	struct pollfd stop = {.fd = f->stop_fd, .events = POLLIN};

	return poll(&stop, 1, 0) > 0;
}

/* Lines of earlier starts are on the disk; of our own, up to the safe one. */
static bool
may_feed(
    void *arg, const struct ledger_view *line, const struct ledger_place *at)
{
	struct redis_follower *f = arg;

	(void)at;
	if (!slice_is(line->writer, f->writer) || line->seq <= f->safe)
		return true;
	f->safe = f->safe_seq(f->arg);
	return line->seq <= f->safe;
}

/* --- entering an epoch --------------------------------------------------- */

/* Where we were, so that we notice when a mark has gone back. */
static void
note_reached(struct redis_follower *f)
{
	const struct redis_span *last = redis_feed_last(f->feed);

	atomic_store(&f->applied, redis_feed_applied(f->feed));
	atomic_store(&f->skipped, redis_feed_skipped(f->feed));
	if (last->writer[0] == '\0')
		return;
	f->reached = *last;
	snprintf(f->run, sizeof f->run, "%s", redis_store_run(f->store));
	snprintf(f->epoch, sizeof f->epoch, "%s", redis_store_epoch(f->store));
	if (strcmp(last->writer, f->writer) == 0)
		atomic_store(&f->last_seq, last->last);
}

/* The same server in the same epoch must still know what we have counted. */
static enum store_verdict
check_reached(struct redis_follower *f, struct redis_problem *p)
{
	uint64_t mark;

	if (f->reached.writer[0] == '\0' ||
	    strcmp(f->run, redis_store_run(f->store)) != 0 ||
	    strcmp(f->epoch, redis_store_epoch(f->store)) != 0)
		return STORE_OK;
	if (!redis_store_mark(f->store, slice_of(f->reached.writer), &mark, p))
		return STORE_FAILED;
	return mark < f->reached.last ? STORE_GONE : STORE_OK;
}

static void
tell_epoch(struct redis_follower *f)
{
	const char *epoch = redis_store_epoch(f->store);

	if (f->peers.epoch[0] != '\0' && strcmp(f->peers.epoch, epoch) != 0)
		log_warning("Redis (%s) has a new epoch %s: the ledger is "
			    "replayed into it",
		    redis_store_place(f->store), epoch);
}

/* Another gateway of our name is alive, and its ledger is not ours. */
static bool
is_taken(
    const struct redis_follower *f, const struct store_entry *e, bool is_ours)
{
	return e->writer[0] != '\0' && strcmp(e->writer, f->writer) != 0 &&
	    e->age_ms < REDIS_ALIVE_MS && e->place[0] != '\0' && !is_ours;
}

static enum store_verdict
enter(struct redis_follower *f, struct redis_problem *p)
{
	struct store_entry entry;
	enum store_verdict v;
	bool is_ours;

	if (++f->entries > ENTRIES_MOST) {
		redis_problem_set(
		    p, REDIS_HOSTILE, "its epochs change all the time");
		return STORE_FAILED;
	}
	f->is_ready = false;
	atomic_store(&f->is_whole, false);
	v = redis_store_enter(f->store, &f->peers, &entry, p);
	if (v != STORE_OK || (v = check_reached(f, p)) != STORE_OK)
		return v;
	if (!redis_feed_begin(f->feed, entry.place, &is_ours, p))
		return STORE_FAILED;
	if (is_taken(f, &entry, is_ours)) {
		redis_problem_set(p, REDIS_NAME_TAKEN,
		    "'%s' was seen %llu ms ago, with another ledger",
		    redis_store_name(f->store),
		    (unsigned long long)entry.age_ms);
		return STORE_FAILED;
	}
	tell_epoch(f);
	return STORE_OK;
}

/* --- beats --------------------------------------------------------------- */

static void
take_peers(struct redis_follower *f, struct redis_peers *now)
{
	struct fault why;

	if (redis_peers_equal(&f->peers, now)) {
		redis_peers_release(now);
		return;
	}
	redis_peers_release(&f->peers);
	f->peers = *now;
	*now = (struct redis_peers){0};
	if (!redis_peers_save(&f->peers, f->peers_path, &why))
		log_error("%s; after a loss of Redis's data and a restart, "
			  "gateways that are away would not be waited for",
		    why.text);
}

static void
tell_success(struct redis_follower *f)
{
	const char *place = redis_store_place(f->store);

	if (!redis_store_knows_policy(f->store) && !f->has_told_policy) {
		log_warning("Redis (%s) does not tell its maxmemory-policy; it "
			    "must be noeviction",
		    place);
		f->has_told_policy = true;
	}
	if (atomic_exchange(&f->trouble, REDIS_NONE) == REDIS_NONE &&
	    f->has_beaten)
		return;
	log_info("Redis (%s): %s as %s", place,
	    f->has_beaten ? "is there again, counting" : "counting",
	    redis_store_name(f->store));
	f->has_beaten = true;
}

static void
note_whole(struct redis_follower *f, bool is_whole)
{
	pthread_mutex_lock(&f->lock);
	snprintf(f->whole.epoch, sizeof f->whole.epoch, "%s",
	    redis_store_epoch(f->store));
	snprintf(
	    f->whole.run, sizeof f->whole.run, "%s", redis_store_run(f->store));
	atomic_store(&f->is_whole, is_whole);
	pthread_mutex_unlock(&f->lock);
}

static enum store_verdict
beat(struct redis_follower *f, struct redis_problem *p)
{
	struct redis_peers now = {0};
	struct store_entry before;
	bool is_whole;
	enum store_verdict v = redis_store_beat(
	    f->store, f->is_ready, f->workers, &now, &is_whole, &before, p);

	if (v != STORE_OK) {
		redis_peers_release(&now);
		return v;
	}
	note_whole(f, is_whole);
	take_peers(f, &now);
	f->entries = 0;
	if (++f->beats >= BEATS_TO_TRUST)
		f->failures = 0;
	tell_success(f);
	/* Two of one name take turns: which of them goes, enter() says. */
	if (f->beats > 1 && before.age_ms < REDIS_ALIVE_MS &&
	    strcmp(before.writer, f->writer) != 0)
		return STORE_MOVED;
	return STORE_OK;
}

static bool
is_beat_due(const struct redis_follower *f)
{
	uint64_t ticks;

	return read(f->beat_fd, &ticks, sizeof ticks) == (ssize_t)sizeof ticks;
}

/* --- following ----------------------------------------------------------- */

/* Until there may be new lines, or it is time for a beat or to stop. */
static void
wait_for_lines(struct redis_follower *f)
{
	struct pollfd fds[] = {{.fd = f->stop_fd, .events = POLLIN},
	    {.fd = f->beat_fd, .events = POLLIN}};
	uint64_t before = f->safe;

	while (poll(fds, COUNT_OF(fds), LOOK_MS) == 0)
		if ((f->safe = f->safe_seq(f->arg)) != before)
			return;
}

/* Counts lines as they come, until something is not as it should be. */
static enum store_verdict
feed(struct redis_follower *f, struct redis_problem *p)
{
	bool must_beat = true, is_done;
	enum store_verdict v;

	while (!must_stop(f)) {
		uint64_t now_ms = clock_mono_ns() / NS_PER_MS;

		v = redis_feed_step(f->feed, &is_done, p);
		if (v != STORE_OK)
			return v;
		if (is_done)
			atomic_store(&f->caught_up_ms, now_ms);
		note_reached(f);
		must_beat |= is_beat_due(f) || (is_done && !f->is_ready);
		f->is_ready |= is_done;
		if (must_beat && (v = beat(f, p)) != STORE_OK)
			return v;
		must_beat = false;
		if (is_done)
			wait_for_lines(f);
	}
	redis_problem_set(p, REDIS_STOPPED, "the gateway stops");
	return STORE_FAILED;
}

/* One connection's life; ends with a problem. */
static void
follow(struct redis_follower *f, struct redis_problem *p)
{
	if (!redis_store_open(f->store, p))
		return;
	for (;;) {
		enum store_verdict v = enter(f, p);

		if (v == STORE_OK)
			v = feed(f, p);
		if (v == STORE_GONE) {
			log_warning("Redis (%s) has lost or changed what was "
				    "counted: it is counted anew",
			    redis_store_place(f->store));
			v = redis_store_renew(f->store, p);
		}
		if (v == STORE_FAILED)
			return;
	}
}

static void
note_trouble(struct redis_follower *f, const struct redis_problem *p)
{
	atomic_store(&f->is_whole, false);
	f->beats = 0;
	if (atomic_exchange(&f->trouble, (int)p->trouble) == (int)p->trouble)
		return;
	log_error("Redis (%s) %s: %s.  %s%sRequests go on; what is not counted "
		  "there now will be.",
	    redis_store_place(f->store), redis_trouble_meaning(p->trouble),
	    p->why.text, redis_trouble_advice(p->trouble),
	    redis_trouble_advice(p->trouble)[0] == '\0' ? "" : "  ");
}

/* Twice as long each time, and never all gateways at once. */
static int
back_off_ms(struct redis_follower *f)
{
	unsigned doublings =
	    f->failures > BACK_OFF_DOUBLINGS ? BACK_OFF_DOUBLINGS : f->failures;
	unsigned most = BACK_OFF_FIRST_MS << doublings, half;
	uint32_t random = 0;

	f->failures++;
	if (most > BACK_OFF_MOST_MS)
		most = BACK_OFF_MOST_MS;
	half = most / 2;
	if (!random_fill(&random, sizeof random, NULL))
		random = 0;
	return (int)(half + random % (half + 1));
}

static void *
run(void *arg)
{
	struct redis_follower *f = arg;
	struct redis_problem p;

	setpriority(PRIO_PROCESS, (id_t)gettid(), FOLLOWER_NICENESS);
	redis_peers_load(&f->peers, f->peers_path);
	while (!must_stop(f)) {
		struct pollfd stop = {.fd = f->stop_fd, .events = POLLIN};

		follow(f, &p);
		redis_store_close(f->store);
		if (p.trouble == REDIS_STOPPED)
			break;
		note_trouble(f, &p);
		poll(&stop, 1, back_off_ms(f));
	}
	return NULL;
}

/* --- its life ------------------------------------------------------------ */

static void
release(struct redis_follower *f)
{
	redis_feed_destroy(&f->feed);
	redis_store_destroy(&f->store);
	redis_peers_release(&f->peers);
	if (f->stop_fd >= 0)
		close(f->stop_fd);
	if (f->beat_fd >= 0)
		close(f->beat_fd);
	redis_options_release(&f->redis);
	pthread_mutex_destroy(&f->lock);
	free(f->ledger_path);
	free(f->peers_path);
	free(f);
}

static bool
make_clocks(struct redis_follower *f, struct fault *why)
{
	static const struct itimerspec beats = {
	    .it_value = {.tv_sec = BEAT_SECONDS},
	    .it_interval = {.tv_sec = BEAT_SECONDS},
	};

	f->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->beat_fd =
	    timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (f->stop_fd < 0 || f->beat_fd < 0)
		return fault_errno(why, "cannot make Redis's timers");
	timerfd_settime(f->beat_fd, 0, &beats, NULL);
	return true;
}

/* Signals are for the main thread. */
static bool
start_thread(struct redis_follower *f, struct fault *why)
{
	sigset_t all, before;
	int failed;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&f->thread, NULL, run, f);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed != 0) {
		errno = failed;
		return fault_errno(why, "cannot start the thread for Redis");
	}
	pthread_setname_np(f->thread, "weir-redis");
	return true;
}

struct redis_follower *
redis_follower_start(const struct redis_follower_options *o, struct fault *why)
{
	struct redis_follower *f = xcalloc(sizeof *f);

	redis_options_copy(&f->redis, o->redis);
	f->ledger_path = xstrdup(o->ledger_path);
	f->peers_path = xstrdup(o->peers_path);
	snprintf(f->writer, sizeof f->writer, "%s", o->writer);
	f->safe_seq = o->safe_seq;
	f->arg = o->arg;
	f->workers = o->workers;
	pthread_mutex_init(&f->lock, NULL);
	f->stop_fd = f->beat_fd = -1;
	atomic_init(&f->trouble, REDIS_NONE);
	if (make_clocks(f, why))
		f->store =
		    redis_store_create(&f->redis, f->writer, f->stop_fd, why);
	if (f->store == NULL)
		goto failed;
	f->feed = redis_feed_create(f->store, f->ledger_path, may_feed, f);
	if (!start_thread(f, why))
		goto failed;
	return f;
failed:
	release(f);
	return NULL;
}

bool
redis_follower_is_whole(const struct redis_follower *f)
{
	return atomic_load(&f->is_whole);
}

bool
redis_follower_whole(struct redis_follower *f, struct redis_whole *out)
{
	bool is_whole;

	pthread_mutex_lock(&f->lock);
	is_whole = atomic_load(&f->is_whole);
	*out = f->whole;
	pthread_mutex_unlock(&f->lock);
	return is_whole;
}

bool
redis_follower_has_counted(
    const struct redis_follower *f, uint64_t ago_ms, uint64_t now_ms)
{
	uint64_t at_ms = atomic_load(&f->caught_up_ms);

	return at_ms > 0 && at_ms + ago_ms >= now_ms;
}

void
redis_follower_status(
    const struct redis_follower *f, struct redis_follower_status *out)
{
	out->trouble = (enum redis_trouble)atomic_load(&f->trouble);
	out->is_whole = atomic_load(&f->is_whole);
	out->applied = atomic_load(&f->applied);
	out->skipped = atomic_load(&f->skipped);
	out->last_seq = atomic_load(&f->last_seq);
}

/* The last lines, so that what others may spend does not wait for our next
 * start; unless Redis is away, or slow. */
static void
wait_for_last_lines(const struct redis_follower *f)
{
	uint64_t until_ns = clock_mono_ns() + LAST_LINES_NS;

	while (atomic_load(&f->trouble) == REDIS_NONE &&
	    atomic_load(&f->last_seq) < f->safe_seq(f->arg) &&
	    clock_mono_ns() < until_ns)
		poll(NULL, 0, 1);
}

void
redis_follower_stop(struct redis_follower **fp)
{
	struct redis_follower *f = *fp;
	uint64_t one = 1;
	ssize_t written;

	*fp = NULL;
	if (f == NULL)
		return;
	wait_for_last_lines(f);
	written = write(f->stop_fd, &one, sizeof one);
	(void)written; /* an eventfd at 0 takes it */
	pthread_join(f->thread, NULL);
	release(f);
}
