#include "metering/reports/report_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/segment_lines.h"

#include "base/banned.h"

#define PART_BYTES (16u << 20)
#define BUFFER_BYTES (256u << 10)
#define THREADS_MOST 8
#define DAMAGE_KEPT 10 /* of a part */
#define PROGRESS_NS 100000000

/* How often files may be renamed under us while they are read. */
#define READ_TRIES 16

struct damage {
	uint64_t line; /* of the part, from 1 */
	char why[120];
};

/* What one thread reads in one go: the lines that begin in begin..end. */
struct part {
	const struct segment *segment; /* borrowed */
	uint64_t begin, end;           /* bytes; of a gzipped one the whole */
	uint64_t lines;                /* that it had */
	uint64_t damage_count;
	struct damage *damages; /* owned; the first DAMAGE_KEPT; NULL: none */
	char *fault;            /* owned; NULL: it could be read */
};

/* What all threads share. */
struct job {
	struct part *parts; /* owned */
	size_t count, room;
	atomic_size_t next;
	_Atomic uint64_t done_bytes;
	atomic_bool is_stale; /* a segment is not at its path any more */
	uint64_t all_bytes;
	pthread_mutex_t lock; /* over `running` */
	pthread_cond_t ended;
	unsigned running;
};

struct worker {
	struct job *job; /* borrowed */
	pthread_t thread;
	bool is_thread;        /* else the caller's did its work */
	struct report *report; /* owned */
	char *buffer;          /* owned; BUFFER_BYTES */
	struct ledger_view view;
};

/* An open segment. */
struct source {
	int fd; /* -1: none */
	gzFile gz;
	uint64_t at; /* of a plain one: where the next read begins */
};

/* --- reading ------------------------------------------------------------- */

static bool
source_open(struct source *s, const struct part *p)
{
	struct stat st;

	*s =
	    (struct source){.fd = open(p->segment->path, O_RDONLY | O_CLOEXEC)};
	if (s->fd < 0)
		return false;
	if (fstat(s->fd, &st) != 0 || st.st_dev != p->segment->device ||
	    st.st_ino != p->segment->inode) {
		close(s->fd);
		errno = ENOENT;
		return false;
	}
	/* One byte before: does a line begin here? */
	s->at = p->begin == 0 ? 0 : p->begin - 1;
	if (!p->segment->is_gzipped)
		return true;
	s->gz = gzdopen(s->fd, "rb");
	if (s->gz == NULL) {
		close(s->fd);
		return false;
	}
	gzbuffer(s->gz, BUFFER_BYTES);
	return true;
}

static void
source_close(struct source *s)
{
	if (s->gz != NULL)
		gzclose_r(s->gz);
	else
		close(s->fd);
}

/* As read(2). */
static ssize_t
source_read(struct source *s, char *to, size_t room)
{
	ssize_t n;

	if (s->gz != NULL) {
		int got = gzread(s->gz, to, (unsigned)room), code;

		if (got == 0) {
			gzerror(s->gz, &code);
			if (code == Z_BUF_ERROR)
				got = -1; /* it is cut */
		}
		if (got < 0)
			errno = EIO;
		return got;
	}
	do
		n = pread(s->fd, to, room, (off_t)s->at);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		s->at += (uint64_t)n;
	return n;
}

static void
note_damage(struct part *p, const char *why)
{
	if (p->damages == NULL)
		p->damages = xcalloc_array(DAMAGE_KEPT, sizeof *p->damages);
	if (p->damage_count < DAMAGE_KEPT) {
		struct damage *d = &p->damages[p->damage_count];

		d->line = p->lines;
		snprintf(d->why, sizeof d->why, "%s", why);
	}
	p->damage_count++;
}

static void
take_line(struct worker *w, struct part *p, struct slice line)
{
	struct fault why;

	p->lines++;
	if (line.len >= LEDGER_LINE_MOST_BYTES)
		note_damage(p, "it is too long");
	else if (ledger_view_read(&w->view, line, &why))
		report_add_line(w->report, &w->view);
	else
		note_damage(p, why.text);
}

/* How a part is gone through. */
struct scan {
	uint64_t offset; /* of the buffer's first byte in the segment */
	size_t used;     /* bytes in the buffer */
	bool is_inside;  /* of a line that is not this part's, or is told */
	bool is_over;
};

/* Takes the whole lines of the buffer, and moves what is behind them to its
 * front. */
static void
take_lines(struct worker *w, struct part *p, struct scan *s)
{
	size_t at = 0;

	while (at < s->used) {
		const char *line = w->buffer + at;
		const char *newline = memchr(line, '\n', s->used - at);
		size_t len;

		if (!s->is_inside && s->offset + at >= p->end) {
			s->is_over = true;
			return;
		}
		if (newline == NULL)
			break;
		len = (size_t)(newline - line);
		if (!s->is_inside)
			take_line(w, p, (struct slice){line, len});
		s->is_inside = false;
		at += len + 1;
	}
	if (s->is_inside || s->used - at >= BUFFER_BYTES / 2) {
		/* No line of ours: what is left of it is passed over. */
		if (!s->is_inside) {
			p->lines++;
			note_damage(p, "it is too long");
		}
		s->is_inside = true;
		at = s->used;
	}
	memmove(w->buffer, w->buffer + at, s->used - at);
	s->offset += at;
	s->used -= at;
}

/* False, with errno, if it cannot be read. */
static bool
scan_part(struct worker *w, struct part *p, struct source *from)
{
	struct scan s = {.offset = from->at, .is_inside = p->begin > 0};
	ssize_t n;

	while (!s.is_over) {
		uint64_t before = s.offset + s.used, told;

		n = source_read(
		    from, w->buffer + s.used, BUFFER_BYTES - s.used);
		if (n < 0)
			return false;
		if (n == 0)
			break;
		s.used += (size_t)n;
		take_lines(w, p, &s);
		told = p->segment->is_gzipped ? 0 : (uint64_t)n;
		if (before + told > p->end) /* a neighbour's, read in vain */
			told = before > p->end ? 0 : p->end - before;
		atomic_fetch_add_explicit(
		    &w->job->done_bytes, told, memory_order_relaxed);
	}
	/* A last line without its newline: it may be whole all the same. */
	if (!s.is_over && !s.is_inside && s.used > 0)
		take_line(w, p, (struct slice){w->buffer, s.used});
	return true;
}

/* Says of a gzipped segment that cannot be read what is wrong with it: in the
 * words of all who read the ledger, who count the bytes. */
static void
explain_gzip(const struct part *p, struct fault *why)
{
	struct segment_lines *l =
	    segment_lines_open(p->segment->path, true, 0, SEGMENT_WHOLE, why);
	enum lines_verdict v = LINES_FAILED;
	struct slice line;

	if (l == NULL)
		return;
	do
		v = segment_lines_next(l, &line, why);
	while (v == LINES_ONE);
	if (v == LINES_END) /* somebody has put it right meanwhile */
		fault_set(
		    why, "%s was changed while it was read", p->segment->path);
	segment_lines_close(&l);
}

static void
read_part(struct worker *w, struct part *p)
{
	struct source from;
	struct fault why;

	if (!source_open(&from, p)) {
		if (errno == ENOENT)
			atomic_store(&w->job->is_stale, true);
		fault_errno(
		    &why, "cannot open the ledger %s", p->segment->path);
		p->fault = xstrdup(why.text);
		return;
	}
	if (!scan_part(w, p, &from)) {
		if (p->segment->is_gzipped)
			explain_gzip(p, &why);
		else
			fault_errno(&why, "cannot read the ledger %s",
			    p->segment->path);
		p->fault = xstrdup(why.text);
	}
	source_close(&from);
	if (p->segment->is_gzipped)
		atomic_fetch_add_explicit(&w->job->done_bytes,
		    p->segment->file_size, memory_order_relaxed);
}

static void *
run(void *arg)
{
	struct worker *w = arg;
	struct job *j = w->job;
	size_t i;

	while (!atomic_load(&j->is_stale) &&
	    (i = atomic_fetch_add(&j->next, 1)) < j->count)
		read_part(w, &j->parts[i]);
	pthread_mutex_lock(&j->lock);
	j->running--;
	pthread_cond_signal(&j->ended);
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* --- the parts ----------------------------------------------------------- */

static void
add_part(struct job *j, const struct segment *s, uint64_t begin, uint64_t end)
{
	if (j->count == j->room) {
		j->room = j->room == 0 ? 16 : 2 * j->room;
		j->parts = xrealloc_array(j->parts, j->room, sizeof *j->parts);
	}
	j->parts[j->count++] =
	    (struct part){.segment = s, .begin = begin, .end = end};
}

/* The last part goes to the end of the file, wherever that is by then. */
static void
cut_segment(struct job *j, const struct segment *s, uint64_t part_bytes)
{
	uint64_t begin = 0;

	j->all_bytes += s->file_size;
	if (!s->is_gzipped)
		for (; s->file_size - begin > part_bytes; begin += part_bytes)
			add_part(j, s, begin, begin + part_bytes);
	add_part(j, s, begin, UINT64_MAX);
}

/* Whether all of its lines are older than what is asked for. */
static bool
is_before(const struct segment *s, int64_t since_ms)
{
	return !s->is_current && since_ms > INT64_MIN + ROLLUP_DAY_MS &&
	    s->mtime_ns / 1000000 < since_ms - ROLLUP_DAY_MS;
}

static void
cut(struct job *j, const struct segments *all, int64_t since_ms,
    uint64_t part_bytes)
{
	for (size_t i = 0; i < segments_count(all); i++) {
		const struct segment *s = segments_at(all, i);

		if (!is_before(s, since_ms))
			cut_segment(j, s, part_bytes);
	}
}

/* --- the whole ----------------------------------------------------------- */

static unsigned
thread_count(const struct report_raw_options *o, size_t parts)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = o->threads;

	if (n == 0)
		n = cores < 1 ? 1 : (size_t)cores;
	if (n > THREADS_MOST)
		n = THREADS_MOST;
	return (unsigned)(n > parts ? parts : n);
}

/* Waits for the threads, and tells how far they are. */
static void
wait_for(struct job *j, const struct report_raw_options *o)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	pthread_mutex_lock(&j->lock);
	while (j->running > 0) {
		until.tv_nsec += PROGRESS_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		while (j->running > 0 &&
		    pthread_cond_timedwait(&j->ended, &j->lock, &until) == 0)
			;
		if (o->on_progress == NULL || j->running == 0)
			continue;
		pthread_mutex_unlock(&j->lock);
		o->on_progress(
		    o->arg, atomic_load(&j->done_bytes), j->all_bytes);
		pthread_mutex_lock(&j->lock);
	}
	pthread_mutex_unlock(&j->lock);
}

static void
start_worker(struct worker *w, struct job *j, const struct report *r)
{
	w->job = j;
	w->report = report_create(report_query(r));
	w->buffer = xcalloc(BUFFER_BYTES);
	w->is_thread = pthread_create(&w->thread, NULL, run, w) == 0;
	if (!w->is_thread)
		run(w);
}

static void
run_all(struct job *j, struct report *r, const struct report_raw_options *o)
{
	unsigned count = thread_count(o, j->count);
	struct worker *workers;

	if (count == 0)
		return;
	workers = xcalloc_array(count, sizeof *workers);
	j->running = count;
	for (unsigned i = 0; i < count; i++)
		start_worker(&workers[i], j, r);
	wait_for(j, o);
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = &workers[i];

		if (w->is_thread)
			pthread_join(w->thread, NULL);
		if (!atomic_load(&j->is_stale))
			report_merge(r, w->report);
		report_destroy(&w->report);
		free(w->buffer);
	}
	free(workers);
}

/* Tells of damage by the lines' numbers in their segments. */
static bool
conclude(const struct job *j, const struct report_raw_options *o,
    struct report_raw_found *found, struct fault *why)
{
	const struct segment *segment = NULL;
	uint64_t lines = 0;

	for (size_t i = 0; i < j->count; i++) {
		const struct part *p = &j->parts[i];

		if (p->segment != segment)
			lines = 0;
		segment = p->segment;
		if (p->fault != NULL)
			return fault_set(why, "%s", p->fault);
		for (size_t d = 0; d < p->damage_count && d < DAMAGE_KEPT; d++)
			if (o->on_damage != NULL)
				o->on_damage(o->arg, segment->path,
				    lines + p->damages[d].line,
				    p->damages[d].why);
		found->damaged += p->damage_count;
		lines += p->lines;
	}
	return true;
}

/* False, with the reason, if something cannot be read; *is_stale if that is
 * because files were renamed, and nothing was added to the report. */
static bool
read_once(struct report *r, const char *path,
    const struct report_raw_options *o, struct report_raw_found *found,
    bool *is_stale, struct fault *why)
{
	struct segments *all = segments_list(path, why);
	struct job j = {0};
	bool ok;

	*found = (struct report_raw_found){0};
	*is_stale = false;
	if (all == NULL)
		return false;
	found->segments = segments_count(all);
	cut(&j, all, report_query(r)->filter.since_ms,
	    o->part_bytes == 0 ? PART_BYTES : o->part_bytes);
	pthread_mutex_init(&j.lock, NULL);
	pthread_cond_init(&j.ended, NULL);
	run_all(&j, r, o);
	*is_stale = atomic_load(&j.is_stale);
	ok = *is_stale ? fault_set(why,
			     "the files of the ledger %s are renamed again and "
			     "again while they are read",
			     path)
		       : conclude(&j, o, found, why);
	for (size_t i = 0; i < j.count; i++) {
		free(j.parts[i].damages);
		free(j.parts[i].fault);
	}
	free(j.parts);
	pthread_cond_destroy(&j.ended);
	pthread_mutex_destroy(&j.lock);
	segments_destroy(&all);
	return ok;
}

bool
report_raw(struct report *r, const char *path,
    const struct report_raw_options *o, struct report_raw_found *found,
    struct fault *why)
{
	bool is_stale = true, ok = false;

	for (int tries = 0; is_stale && tries < READ_TRIES; tries++)
		ok = read_once(r, path, o, found, &is_stale, why);
	return ok;
}
