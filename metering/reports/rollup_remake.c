/* Makes a book anew from the ledger.  The door is rollup_book.h. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "metering/reports/rollup_book_inner.h"

#include "base/banned.h"

/* No request takes longer; what says so is damaged. */
#define EXCHANGE_MOST_MS (30 * ROLLUP_DAY_MS)

bool
rollup_limit_allows(
    const struct rollup_limit *limit, const struct ledger_view *line)
{
	return limit->writer == NULL || limit->safe_seq == NULL ||
	    !slice_is(line->writer, limit->writer) ||
	    line->seq <= limit->safe_seq(limit->arg);
}

/* What is read of the ledger from its beginning. */
struct recount {
	struct rollup_book *fresh; /* owned */
	int64_t whole_from_ms; /* quarters from then on have all their lines */
	uint64_t lines;
};

/* The first line that is still there was written when its exchange ended; what
 * arrived after that was written later.  Before it, lines may be missing. */
static int64_t
find_whole(const struct rollup_book *old, const struct ledger_view *first)
{
	const struct segment_id *was = &old->manifest.first;
	int64_t took_ms = first->duration_ms, end_ms;

	if (slice_is(first->writer, was->writer) && first->seq == was->seq)
		return INT64_MIN; /* nothing is gone */
	if (took_ms > EXCHANGE_MOST_MS)
		took_ms = EXCHANGE_MOST_MS;
	end_ms = first->ts_ms + took_ms;
	return rollup_start(ROLLUP_QUARTER_MS, end_ms + ROLLUP_QUARTER_MS - 1);
}

static bool
recount(struct recount *rc, const struct rollup_book *old, const char *path,
    const struct rollup_limit *limit, const _Atomic bool *must_stop,
    struct fault *why)
{
	struct ledger_view *view = xcalloc(sizeof *view);
	struct ledger_reader *reader =
	    ledger_reader_open(path, NULL, NULL, why);
	struct ledger_place at;
	struct slice line;
	bool ok = reader != NULL;

	while (ok && ledger_reader_next(reader, &line, &at, why)) {
		ok = must_stop == NULL || !*must_stop;
		if (!ok)
			fault_set(why, "it was stopped");
		ledger_reader_place(reader, &at);
		if (!ledger_view_read(view, line, NULL)) {
			rollup_book_skip(rc->fresh, &at);
			continue;
		}
		if (!rollup_limit_allows(limit, view))
			break;
		if (rc->lines++ == 0)
			rc->whole_from_ms = find_whole(old, view);
		rollup_book_count(rc->fresh, view, &at);
	}
	ok = ok && why->text[0] == '\0';
	ledger_reader_close(&reader);
	free(view);
	return ok;
}

/* How the old rows and the new ones are put together. */
struct joining {
	const struct recount *recount;
	struct rollup *old;       /* owned; what is kept of the files */
	struct rollup_book *book; /* borrowed; gets all */
};

static bool
is_kept(const struct joining *j, int64_t start_ms)
{
	return start_ms < j->recount->whole_from_ms ||
	    !rollup_has(j->recount->fresh->quarters, start_ms);
}

static void
on_old_row(void *arg, const struct rollup_row *row)
{
	struct joining *j = arg;

	if (is_kept(j, row->start_ms))
		rollup_add_row(j->old, row->start_ms, ROLLUP_ALL_NAMES, row);
}

static void
on_joined_row(void *arg, const struct rollup_row *row)
{
	struct rollup_book *b = arg;
	int32_t month = rollup_book_month_of(b, row->start_ms);

	rollup_book_add_row(b, row, true);
	rollup_months_add(&b->dirty, month);
	if (month > b->newest)
		b->newest = month;
}

static void
on_fresh_row(void *arg, const struct rollup_row *row)
{
	struct joining *j = arg;

	if (!rollup_has(j->old, row->start_ms))
		on_joined_row(j->book, row);
}

static void
read_old(struct joining *j, const struct rollup_book *old)
{
	const struct rollup_manifest *m = &old->manifest;
	struct fault why;

	for (size_t i = 0; i < m->month_count; i++) {
		enum rollup_verdict v = rollup_month_read(
		    old->folder, &m->months[i], on_old_row, j, &why);

		if (v == ROLLUP_DAMAGED || v == ROLLUP_FAILED) {
			log_error(
			    "%s; of it there is what the ledger has", why.text);
			rollup_set_aside(old->folder, &m->months[i]);
		}
	}
}

static size_t
count_quarters(const struct rollup *t)
{
	struct rollup_filter f = ROLLUP_EVERYTHING;
	size_t n = 0;

	for (int64_t at; (at = rollup_next_start(t, f.since_ms)) != INT64_MAX;
	     f.since_ms = at + 1)
		n++;
	return n;
}

/* Puts what was remade in the place of what was there. */
static void
replace(struct rollup_book *b, struct rollup_book *made)
{
	pthread_mutex_lock(&b->mutex);
	rollup_destroy(&b->quarters);
	rollup_destroy(&b->days);
	b->quarters = made->quarters;
	b->days = made->days;
	b->since_ms = INT64_MIN;
	pthread_mutex_unlock(&b->mutex);
	made->quarters = made->days = NULL;
	rollup_manifest_release(&b->manifest);
	b->manifest = made->manifest;
	made->manifest = (struct rollup_manifest){0};
	b->newest = made->newest;
	b->from = INT32_MIN;
	rollup_months_clear(&b->late);
	rollup_months_clear(&b->dirty);
	b->dirty = made->dirty;
	made->dirty = (struct rollup_months){0};
	b->has_moved = true;
}

/* Writers whose lines are gone stay marked. */
static void
join_manifests(struct rollup_manifest *to, const struct rollup_manifest *old)
{
	struct rollup_marks *marks = &to->marks;

	for (size_t i = 0; i < old->marks.count; i++)
		rollup_marks_take(marks, slice_of(old->marks.marks[i].writer),
		    old->marks.marks[i].seq);
	if (strcmp(old->marks.forgotten, marks->forgotten) > 0)
		memcpy(marks->forgotten, old->marks.forgotten,
		    sizeof marks->forgotten);
	to->generation = old->generation;
	if (old->first.writer[0] != '\0')
		to->first = old->first;
}

/* What is kept of the files, and the recount, as one book: the caller's. */
static struct rollup_book *
join(struct joining *j, struct recount *rc)
{
	struct rollup_book *made = rc->fresh;

	if (rollup_count(j->old) == 0) {
		rc->fresh = NULL;
		return made;
	}
	made = j->book = rollup_book_create();
	rollup_each(j->old, &ROLLUP_EVERYTHING, on_joined_row, made);
	rollup_each(rc->fresh->quarters, &ROLLUP_EVERYTHING, on_fresh_row, j);
	made->manifest = rc->fresh->manifest;
	rc->fresh->manifest = (struct rollup_manifest){0};
	return made;
}

bool
rollup_book_remake(struct rollup_book *b, const char *path,
    const struct rollup_limit *limit, const _Atomic bool *must_stop,
    struct rollup_remade *done, struct fault *why)
{
	struct recount rc = {
	    .fresh = rollup_book_create(), .whole_from_ms = INT64_MIN};
	struct joining j = {.recount = &rc, .old = rollup_create()};
	struct rollup_book *made;
	uint64_t bytes;
	bool ok = recount(&rc, b, path, limit, must_stop, why);

	if (ok) {
		read_old(&j, b);
		made = join(&j, &rc);
		join_manifests(&made->manifest, &b->manifest);
		done->lines = rc.lines;
		done->months = made->dirty.count;
		done->kept_quarters = count_quarters(j.old);
		replace(b, made);
		rollup_book_close(&made);
		ok = rollup_book_save(b, &bytes, why);
	}
	rollup_destroy(&j.old);
	rollup_book_close(&rc.fresh);
	return ok;
}
