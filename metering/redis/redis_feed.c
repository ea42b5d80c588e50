#include "metering/redis/redis_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#include "base/banned.h"

/* Lines read in one step, if none of them has to be counted. */
#define READ_MOST (20u * REDIS_BATCH_LINES_MOST)

/* A Redis that is too slow for a batch gets smaller ones. */
#define BATCH_LINES_LEAST 16

struct redis_feed {
	struct redis_store *store; /* borrowed */
	char *path;                /* owned */
	redis_may_feed_fn may;
	void *arg;

	struct ledger_reader *reader; /* owned; NULL before it has begun */
	struct ledger_view view;      /* of the line at hand */
	struct ledger_place at;
	bool is_held; /* the line at hand waits */

	struct redis_batch batch;
	size_t lines_most;             /* of a batch, now */
	char place[REDIS_PLACE_BYTES]; /* of the batch's last line */
	struct redis_span mark; /* `last` counts; of the writer at hand */

	struct redis_span last;
	uint64_t applied, skipped;
	uint64_t damaged; /* lines since that was last told */
	struct fault damage;
};

struct redis_feed *
redis_feed_create(
    struct redis_store *s, const char *path, redis_may_feed_fn may, void *arg)
{
	struct redis_feed *f = xcalloc(sizeof *f);

	f->store = s;
	f->path = xstrdup(path);
	f->may = may;
	f->arg = arg;
	f->lines_most = REDIS_BATCH_LINES_MOST;
	redis_batch_init(&f->batch);
	return f;
}

void
redis_feed_destroy(struct redis_feed **fp)
{
	struct redis_feed *f = *fp;

	*fp = NULL;
	if (f == NULL)
		return;
	ledger_reader_close(&f->reader);
	redis_batch_release(&f->batch);
	free(f->path);
	free(f);
}

uint64_t
redis_feed_applied(const struct redis_feed *f)
{
	return f->applied;
}

uint64_t
redis_feed_skipped(const struct redis_feed *f)
{
	return f->skipped;
}

const struct redis_span *
redis_feed_last(const struct redis_feed *f)
{
	return &f->last;
}

/* --- beginning ----------------------------------------------------------- */

/* A place is its segment's writer and number, the offset, and the line's writer
 * and number: by these it is known again. */
static void
write_place(struct redis_feed *f)
{
	const struct segment_id *id = &f->at.segment;

	snprintf(f->place, sizeof f->place,
	    "%s %" PRIu64 " %" PRIu64 " %.*s %" PRIu64,
	    id->writer[0] == '\0' ? "-" : id->writer, id->seq, f->at.offset,
	    (int)f->view.writer.len, f->view.writer.p, f->view.seq);
}

static bool
next_word(struct slice *rest, struct slice *word)
{
	const char *space =
	    rest->len == 0 ? NULL : memchr(rest->p, ' ', rest->len);

	*word = *rest;
	if (space != NULL)
		word->len = (size_t)(space - rest->p);
	rest->p += word->len + (space != NULL);
	rest->len -= word->len + (space != NULL);
	return word->len > 0;
}

static bool
read_place(const char *text, struct ledger_place *at, struct segment_id *line)
{
	struct slice rest = slice_of(text), word[5];

	*at = (struct ledger_place){0};
	*line = (struct segment_id){0};
	for (size_t i = 0; i < COUNT_OF(word); i++)
		if (!next_word(&rest, &word[i]))
			return false;
	if (rest.len > 0 || word[0].len != ULID_CHARS ||
	    word[3].len != ULID_CHARS ||
	    !text_to_u64(word[1], UINT64_MAX, &at->segment.seq) ||
	    !text_to_u64(word[2], INT64_MAX, &at->offset) ||
	    !text_to_u64(word[4], UINT64_MAX, &line->seq))
		return false;
	memcpy(at->segment.writer, word[0].p, ULID_CHARS);
	memcpy(line->writer, word[3].p, ULID_CHARS);
	return true;
}

/* Whether the line that we are about to read is that one. */
static bool
finds_line(struct redis_feed *f, const struct segment_id *wanted)
{
	struct slice line;
	struct fault why;

	return ledger_reader_next(f->reader, &line, &f->at, &why) &&
	    ledger_view_read(&f->view, line, &why) &&
	    slice_is(f->view.writer, wanted->writer) &&
	    f->view.seq == wanted->seq;
}

static bool
open_at(struct redis_feed *f, const struct ledger_place *at, bool *is_gone,
    struct redis_problem *p)
{
	ledger_reader_close(&f->reader);
	f->reader = ledger_reader_open(f->path, at, is_gone, &p->why);
	if (f->reader == NULL)
		p->trouble = REDIS_LEDGER;
	return f->reader != NULL;
}

/* Behind the line; else, if the file is another than it was, from the beginning
 * of its segment; else from the beginning of all. */
static bool
open_behind(struct redis_feed *f, const char *place, bool *is_ours,
    struct redis_problem *p)
{
	struct ledger_place at;
	struct segment_id line;
	bool is_gone = false;

	*is_ours = false;
	if (!read_place(place, &at, &line))
		return open_at(f, NULL, NULL, p);
	if (!open_at(f, &at, &is_gone, p))
		return false;
	*is_ours = !is_gone;
	if (is_gone)
		return open_at(f, NULL, NULL, p);
	if (finds_line(f, &line))
		return true;
	at.offset = 0;
	if (!open_at(f, &at, &is_gone, p))
		return false;
	return !is_gone || open_at(f, NULL, NULL, p);
}

/* What earlier starts wrote may not be on the disk yet. */
static void
sync_ledger(const struct redis_feed *f)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fdatasync(fd) != 0)
		log_warning("cannot sync %s: %s", f->path, strerror(errno));
	close(fd);
}

bool
redis_feed_begin(struct redis_feed *f, const char *place, bool *is_ours,
    struct redis_problem *p)
{
	redis_batch_clear(&f->batch);
	f->mark.writer[0] = '\0';
	f->is_held = false;
	f->damaged = 0;
	sync_ledger(f);
	return open_behind(f, place, is_ours, p);
}

/* --- a batch ------------------------------------------------------------- */

static void
note_damage(struct redis_feed *f, const struct fault *why)
{
	if (f->damaged++ > 0)
		return;
	fault_set(&f->damage, "%s:%" PRIu64 ": %s",
	    f->at.path == NULL ? f->path : f->at.path, f->at.line, why->text);
}

/* Gets the next line that can be read into `view`.  False at the end. */
static bool
next_line(struct redis_feed *f, size_t *reads)
{
	struct slice line;
	struct fault why;

	if (f->is_held)
		return true;
	for (; *reads < READ_MOST; ++*reads) {
		if (!ledger_reader_next(f->reader, &line, &f->at, &why)) {
			if (why.text[0] == '\0')
				return false;
			log_error("%s; its lines are not counted", why.text);
		} else if (ledger_view_read(&f->view, line, &why)) {
			++*reads;
			return true;
		} else {
			note_damage(f, &why);
		}
	}
	return false;
}

/* Sets f->mark to that of the line's writer. */
static bool
find_mark(struct redis_feed *f, struct redis_problem *p)
{
	const struct slice writer = f->view.writer;

	if (slice_is(writer, f->mark.writer))
		return true;
	for (size_t i = 0; i < f->batch.span_count; i++)
		if (slice_is(writer, f->batch.spans[i].writer)) {
			f->mark = f->batch.spans[i];
			return true;
		}
	if (!redis_store_mark(f->store, writer, &f->mark.last, p))
		return false;
	memcpy(f->mark.writer, writer.p, ULID_CHARS);
	f->mark.writer[ULID_CHARS] = '\0';
	return true;
}

/* Puts lines into the batch until it is full, or there are no more. */
static bool
fill(struct redis_feed *f, bool *is_done, struct redis_problem *p)
{
	size_t reads = 0;

	*is_done = false;
	while (f->batch.lines < f->lines_most && reads < READ_MOST) {
		if (!next_line(f, &reads)) {
			*is_done = reads < READ_MOST;
			return true;
		}
		f->is_held = true;
		if (!f->may(f->arg, &f->view, &f->at)) {
			*is_done = true;
			return true;
		}
		if (!find_mark(f, p))
			return false;
		if (f->view.seq > f->mark.last) {
			if (!redis_batch_take(
				&f->batch, &f->view, f->mark.last))
				return true;
			f->mark.last = f->view.seq;
			write_place(f);
		}
		f->is_held = false;
	}
	return true;
}

/* What is not as it should be in the ledger is told once, when Redis has it. */
static void
tell(struct redis_feed *f)
{
	for (size_t i = 0; i < f->batch.gaps.count; i++) {
		struct slice gap = redis_args_at(&f->batch.gaps, i);

		log_warning("the ledger has a gap: the lines %.*s (writer, "
			    "first-last) are not in it, and are passed over",
		    (int)gap.len, gap.p);
	}
	if (f->damaged > 0)
		log_warning("of the ledger %" PRIu64 " damaged line%s not "
			    "counted in Redis; the first: %s",
		    f->damaged, f->damaged == 1 ? " is" : "s are",
		    f->damage.text);
	f->damaged = 0;
}

/* A mark that went back under our feet: somebody has touched it. */
static enum store_verdict
judge_move(struct redis_feed *f, struct redis_problem *p)
{
	for (size_t i = 0; i < f->batch.span_count; i++) {
		const struct redis_span *s = &f->batch.spans[i];
		uint64_t mark;

		if (!redis_store_mark(f->store, slice_of(s->writer), &mark, p))
			return STORE_FAILED;
		if (mark < s->before)
			return STORE_GONE;
	}
	return STORE_MOVED;
}

static void
note_applied(struct redis_feed *f)
{
	f->applied += f->batch.lines;
	f->skipped += f->batch.skipped;
	f->last = f->batch.spans[f->batch.span_count - 1];
	tell(f);
	redis_batch_clear(&f->batch);
	f->lines_most *= 2;
	if (f->lines_most > REDIS_BATCH_LINES_MOST)
		f->lines_most = REDIS_BATCH_LINES_MOST;
}

enum store_verdict
redis_feed_step(struct redis_feed *f, bool *is_done, struct redis_problem *p)
{
	enum store_verdict v;

	if (!fill(f, is_done, p))
		return STORE_FAILED;
	if (f->batch.lines == 0) {
		tell(f);
		return STORE_OK;
	}
	v = redis_store_apply(f->store, &f->batch, f->place, p);
	if (v == STORE_OK)
		note_applied(f);
	else if (v == STORE_MOVED)
		v = judge_move(f, p);
	else if (v == STORE_FAILED && p->trouble == REDIS_TOO_SLOW &&
	    f->lines_most / 2 >= BATCH_LINES_LEAST)
		f->lines_most /= 2;
	return v;
}
