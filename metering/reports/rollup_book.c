#include "metering/reports/rollup_book.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/reports/rollup_book_inner.h"
#include "metering/reports/rollup_file.h"

#include "base/banned.h"

/* --- sets of months ------------------------------------------------------ */

static bool
months_has(const struct rollup_months *m, int32_t month)
{
	for (size_t i = m->count; i > 0; i--)
		if (m->months[i - 1] == month)
			return true;
	return false;
}

void
rollup_months_add(struct rollup_months *m, int32_t month)
{
	if (months_has(m, month))
		return;
	m->months = xrealloc_array(m->months, m->count + 1, sizeof *m->months);
	m->months[m->count++] = month;
}

void
rollup_months_clear(struct rollup_months *m)
{
	free(m->months);
	*m = (struct rollup_months){0};
}

/* --- life ---------------------------------------------------------------- */

/* The sums alone, without a file. */
struct rollup_book *
rollup_book_create(void)
{
	struct rollup_book *b = xcalloc(sizeof *b);

	pthread_mutex_init(&b->mutex, NULL);
	b->lock = -1;
	b->quarters = rollup_create();
	b->days = rollup_create();
	b->since_ms = INT64_MIN;
	b->newest = b->from = INT32_MIN;
	return b;
}

void
rollup_book_close(struct rollup_book **bp)
{
	struct rollup_book *b = *bp;

	if (b == NULL)
		return;
	rollup_destroy(&b->quarters);
	rollup_destroy(&b->days);
	rollup_manifest_release(&b->manifest);
	rollup_months_clear(&b->dirty);
	rollup_months_clear(&b->late);
	pthread_mutex_destroy(&b->mutex);
	if (b->lock >= 0)
		close(b->lock);
	free(b->folder);
	free(b);
	*bp = NULL;
}

/* What root makes for a service must be the service's. */
static void
give_away(const struct rollup_book *b, const char *state_dir)
{
	struct stat st;

	if (geteuid() != 0 || stat(state_dir, &st) != 0 || st.st_uid == 0)
		return;
	if (chown(b->folder, st.st_uid, st.st_gid) != 0 ||
	    fchown(b->lock, st.st_uid, st.st_gid) != 0)
		log_warning("the gateway's user may not be able to write %s",
		    b->folder);
}

struct rollup_book *
rollup_book_open(const char *state_dir, struct fault *why)
{
	struct rollup_book *b = rollup_book_create();
	char *path;

	b->folder = xasprintf("%s/rollups", state_dir);
	path = xasprintf("%s/lock", b->folder);
	if (!folder_make(b->folder, 0700, why)) {
		rollup_book_close(&b);
		goto out;
	}
	b->lock = file_lock(path, false, why);
	if (b->lock < 0) {
		if (errno == EWOULDBLOCK)
			fault_set(why, "a running gateway keeps the sums in %s",
			    b->folder);
		rollup_book_close(&b);
	} else {
		give_away(b, state_dir);
	}
out:
	free(path);
	return b;
}

/* --- counting ------------------------------------------------------------ */

/* Adds a quarter's cell, of a file or of another book. */
void
rollup_book_add_row(
    struct rollup_book *b, const struct rollup_row *row, bool has_quarters)
{
	if (has_quarters)
		rollup_add_row(
		    b->quarters, row->start_ms, ROLLUP_ALL_NAMES, row);
	rollup_add_row(b->days, rollup_start(ROLLUP_DAY_MS, row->start_ms),
	    ROLLUP_ALL_NAMES, row);
}

/* Whom a file's rows are given to while it is loaded. */
struct loading {
	struct rollup_book *book;
	bool has_quarters;
};

static void
on_loaded_row(void *arg, const struct rollup_row *row)
{
	const struct loading *l = arg;

	pthread_mutex_lock(&l->book->mutex);
	rollup_book_add_row(l->book, row, l->has_quarters);
	pthread_mutex_unlock(&l->book->mutex);
}

static void
on_late_row(void *arg, const struct rollup_row *row)
{
	struct rollup_book *b = arg;

	pthread_mutex_lock(&b->mutex);
	rollup_add_row(b->quarters, row->start_ms, ROLLUP_ALL_NAMES, row);
	pthread_mutex_unlock(&b->mutex);
}

/* Reads a month back that is in its file alone. */
static void
read_back(struct rollup_book *b, int32_t month)
{
	const struct rollup_manifest *m = &b->manifest;
	struct fault why;

	rollup_months_add(&b->late, month);
	for (size_t i = 0; i < m->month_count; i++) {
		if (m->months[i].month != month)
			continue;
		if (rollup_month_read(b->folder, &m->months[i], on_late_row, b,
			&why) != ROLLUP_OK) {
			log_error("%s; what it held is missing in reports "
				  "until `weir report rebuild`",
			    why.text);
			rollup_set_aside(b->folder, &m->months[i]);
		}
	}
}

int32_t
rollup_book_month_of(struct rollup_book *b, int64_t wall_ms)
{
	struct month_span *s = &b->recent;

	if (s->end_ms == 0 || wall_ms < s->begin_ms || wall_ms >= s->end_ms) {
		s->month = rollup_month_of(wall_ms);
		s->begin_ms = rollup_month_start(s->month);
		s->end_ms = rollup_month_start(s->month + 1);
	}
	return s->month;
}

static void
set_place(struct rollup_book *b, const struct ledger_place *place)
{
	b->manifest.place = *place;
	b->manifest.place.path = NULL;
	b->has_moved = true;
}

void
rollup_book_skip(struct rollup_book *b, const struct ledger_place *place)
{
	set_place(b, place);
}

static void
note_first(struct rollup_book *b, const struct ledger_view *line)
{
	struct segment_id *first = &b->manifest.first;

	if (first->writer[0] != '\0')
		return;
	memcpy(first->writer, line->writer.p, ULID_CHARS);
	first->seq = line->seq;
}

void
rollup_book_count(struct rollup_book *b, const struct ledger_view *line,
    const struct ledger_place *place)
{
	int32_t month;

	set_place(b, place);
	note_first(b, line);
	if (!rollup_marks_take(&b->manifest.marks, line->writer, line->seq) ||
	    !rollup_counts(line))
		return;
	month = rollup_book_month_of(b, line->ts_ms);
	if (month < b->from && !months_has(&b->late, month))
		read_back(b, month);
	rollup_months_add(&b->dirty, month);
	if (month > b->newest)
		b->newest = month;
	pthread_mutex_lock(&b->mutex);
	rollup_add_line(b->quarters,
	    rollup_start(ROLLUP_QUARTER_MS, line->ts_ms), ROLLUP_ALL_NAMES,
	    line);
	rollup_add_line(b->days, rollup_start(ROLLUP_DAY_MS, line->ts_ms),
	    ROLLUP_ALL_NAMES, line);
	pthread_mutex_unlock(&b->mutex);
}

const struct ledger_place *
rollup_book_place(const struct rollup_book *b)
{
	return &b->manifest.place;
}

uint64_t
rollup_book_seq(const struct rollup_book *b, const char *writer)
{
	return rollup_marks_seq(&b->manifest.marks, slice_of(writer));
}

bool
rollup_book_is_dirty(const struct rollup_book *b)
{
	return b->has_moved;
}

/* --- the files ----------------------------------------------------------- */

static int32_t
first_kept(int32_t newest)
{
	return newest == INT32_MIN ? INT32_MIN : newest - ROLLUP_BOOK_MONTHS;
}

bool
rollup_book_load(struct rollup_book *b, struct fault *why)
{
	struct rollup_manifest *m = &b->manifest;
	enum rollup_verdict v = rollup_manifest_read(b->folder, m, why);

	if (v == ROLLUP_ABSENT) {
		rollup_manifest_guess(b->folder, m);
		why->text[0] = '\0';
		if (m->month_count > 0)
			fault_set(why, "%s has no manifest", b->folder);
		return false;
	}
	if (v != ROLLUP_OK) {
		rollup_manifest_guess(b->folder, m);
		rollup_set_aside(b->folder, NULL);
		return false;
	}
	if (m->month_count > 0)
		b->newest = m->months[m->month_count - 1].month;
	b->from = first_kept(b->newest);
	b->since_ms =
	    b->from == INT32_MIN ? INT64_MIN : rollup_month_start(b->from);
	for (size_t i = 0; i < m->month_count; i++) {
		struct loading l = {b, m->months[i].month >= b->from};

		if (rollup_month_read(b->folder, &m->months[i], on_loaded_row,
			&l, why) == ROLLUP_OK)
			continue;
		rollup_set_aside(b->folder, &m->months[i]);
		return false;
	}
	rollup_sweep(b->folder, m);
	return true;
}

static void
on_kept_row(void *arg, const struct rollup_row *row)
{
	rollup_add_row(arg, row->start_ms, ROLLUP_ALL_NAMES, row);
}

/* Lets go of quarters that are in their files and old. */
static void
trim(struct rollup_book *b)
{
	int32_t from = first_kept(b->newest);
	struct rollup_filter f = ROLLUP_EVERYTHING;
	struct rollup *kept, *gone;

	if (from == b->from && b->late.count == 0)
		return;
	kept = rollup_create();
	f.since_ms = from == INT32_MIN ? INT64_MIN : rollup_month_start(from);
	rollup_each(b->quarters, &f, on_kept_row, kept);
	pthread_mutex_lock(&b->mutex);
	gone = b->quarters;
	b->quarters = kept;
	b->since_ms = f.since_ms;
	pthread_mutex_unlock(&b->mutex);
	b->from = from;
	rollup_months_clear(&b->late);
	rollup_destroy(&gone);
}

/* A copy that can be changed and thrown away: its months are its own, all else
 * is borrowed. */
static struct rollup_manifest
copy_months(const struct rollup_manifest *m)
{
	struct rollup_manifest copy = *m;

	copy.months = xcalloc_array(m->month_count + 1, sizeof *copy.months);
	if (m->month_count > 0)
		memcpy(copy.months, m->months,
		    m->month_count * sizeof *copy.months);
	return copy;
}

bool
rollup_book_save(struct rollup_book *b, uint64_t *bytes, struct fault *why)
{
	struct rollup_manifest next = copy_months(&b->manifest);
	bool ok = true;

	*bytes = 0;
	next.generation++;
	for (size_t i = 0; ok && i < b->dirty.count; i++) {
		struct rollup_month m = {b->dirty.months[i], next.generation};
		uint64_t written = 0;

		ok = rollup_month_write(
		    b->folder, &m, b->quarters, &written, why);
		*bytes += written;
		rollup_manifest_set(&next, m.month, m.generation);
	}
	if (!ok || !rollup_manifest_write(b->folder, &next, why)) {
		free(next.months);
		return false;
	}
	free(b->manifest.months);
	b->manifest = next;
	if (b->dirty.count > 0)
		rollup_sweep(b->folder, &b->manifest);
	rollup_months_clear(&b->dirty);
	b->has_moved = false;
	trim(b);
	return true;
}

/* --- for everyone -------------------------------------------------------- */

static bool
is_day(int64_t ms)
{
	return ms == INT64_MIN || ms == INT64_MAX || ms % ROLLUP_DAY_MS == 0;
}

static void
on_report_row(void *arg, const struct rollup_row *row)
{
	report_add_row(arg, row);
}

void
rollup_book_report(struct rollup_book *b, struct report *r)
{
	const struct report_query *q = report_query(r);
	bool is_of_days = is_day(q->filter.since_ms) &&
	    is_day(q->filter.until_ms) &&
	    (q->period == REPORT_ALL ||
		(q->is_utc && q->period != REPORT_HOURLY));
	struct rollup_filter f = q->filter;

	pthread_mutex_lock(&b->mutex);
	if (is_of_days) {
		rollup_each(b->days, &f, on_report_row, r);
	} else {
		if (f.until_ms > b->since_ms)
			f.until_ms = b->since_ms;
		rollup_each(b->days, &f, on_report_row, r);
		f = q->filter;
		if (f.since_ms < b->since_ms)
			f.since_ms = b->since_ms;
		rollup_each(b->quarters, &f, on_report_row, r);
	}
	pthread_mutex_unlock(&b->mutex);
}

/* Whoever a stretch of one of the tables is given to. */
struct part_taker {
	void (*on_part)(void *arg, const struct rollup *t,
	    const struct rollup_filter *part);
	void *arg;
	const struct rollup_filter *filter; /* whose names count */
};

static void
give(const struct part_taker *to, const struct rollup *t, int64_t since_ms,
    int64_t until_ms)
{
	struct rollup_filter part = *to->filter;

	part.since_ms = since_ms;
	part.until_ms = until_ms;
	if (since_ms < until_ms)
		to->on_part(to->arg, t, &part);
}

/* Whole days by days, the rest by quarters. */
static void
give_recent(
    const struct rollup_book *b, const struct part_taker *to, int64_t since_ms)
{
	int64_t first = since_ms, last = to->filter->until_ms;

	if (!is_day(first))
		first = rollup_start(ROLLUP_DAY_MS, first) + ROLLUP_DAY_MS;
	if (!is_day(last))
		last = rollup_start(ROLLUP_DAY_MS, last);
	if (first >= last) {
		give(to, b->quarters, since_ms, to->filter->until_ms);
		return;
	}
	give(to, b->quarters, since_ms, first);
	give(to, b->days, first, last);
	give(to, b->quarters, last, to->filter->until_ms);
}

static void
give_all(struct rollup_book *b, const struct part_taker *to)
{
	const struct rollup_filter *f = to->filter;

	pthread_mutex_lock(&b->mutex);
	if (f->since_ms < b->since_ms) {
		give(to, b->days, f->since_ms,
		    f->until_ms < b->since_ms ? f->until_ms : b->since_ms);
		give_recent(b, to, b->since_ms);
	} else {
		give_recent(b, to, f->since_ms);
	}
	pthread_mutex_unlock(&b->mutex);
}

static void
on_summed_part(
    void *arg, const struct rollup *t, const struct rollup_filter *part)
{
	struct rollup_sums sums;

	rollup_sum(t, part, &sums);
	rollup_sums_add(arg, &sums);
}

void
rollup_book_sum(struct rollup_book *b, const struct rollup_filter *f,
    struct rollup_sums *out)
{
	struct part_taker to = {on_summed_part, out, f};

	*out = (struct rollup_sums){0};
	give_all(b, &to);
}

/* What is summed up by some of the names. */
struct grouping {
	struct rollup *sums; /* owned; all in one cell a set of names */
	unsigned by;
};

/* How long things took is not asked for, and costs the most to add. */
static void
on_grouped_row(void *arg, const struct rollup_row *row)
{
	static const struct waits none;
	const struct grouping *g = arg;
	struct rollup_row sums_alone = *row;

	sums_alone.waits = &none;
	rollup_add_row(g->sums, 0, g->by, &sums_alone);
}

static void
on_grouped_part(
    void *arg, const struct rollup *t, const struct rollup_filter *part)
{
	rollup_each(t, part, on_grouped_row, arg);
}

void
rollup_book_each(struct rollup_book *b, const struct rollup_filter *f,
    unsigned by, rollup_row_fn on_row, void *arg)
{
	struct grouping g = {rollup_create(), by};
	struct part_taker to = {on_grouped_part, &g, f};

	give_all(b, &to);
	rollup_each(g.sums, &ROLLUP_EVERYTHING, on_row, arg);
	rollup_destroy(&g.sums);
}
