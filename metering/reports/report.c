#include "metering/reports/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#include "base/banned.h"

#define SECONDS_PER_DAY (24 * 3600)

struct stretch {
	int64_t period_ms;        /* when its period begins */
	int64_t begin_ms, end_ms; /* of itself */
};

struct report {
	struct report_query query;
	unsigned by;             /* the set of query.by */
	struct rollup *cells;    /* owned; one a row */
	struct report_row *rows; /* owned; made by report_finish() */
	size_t count;
	struct report_row total;
	struct waits total_waits; /* owned */
	struct stretch recent;    /* what was added last is in it */
};

static time_t
to_seconds(int64_t wall_ms)
{
	return (time_t)(wall_ms / 1000 - (wall_ms % 1000 < 0));
}

static struct tm
split(time_t t, bool is_utc)
{
	struct tm tm;

	if (is_utc)
		gmtime_r(&t, &tm);
	else
		localtime_r(&t, &tm);
	return tm;
}

static long
offset_at(time_t t)
{
	return split(t, false).tm_gmtoff;
}

static bool
is_midnight(time_t t, time_t date)
{
	return t + offset_at(t) == date;
}

/* The first moment in `low`..`high` with the offset of `high`. */
static time_t
find_change(time_t low, time_t high)
{
	long after = offset_at(high);

	while (low < high) {
		time_t middle = low + (high - low) / 2;

		if (offset_at(middle) == after)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* When a day begins, `date` being its midnight as if it were in UTC.  mktime()
 * would do, but where a clock is put forward or back at midnight its answer
 * depends on what it was asked before. */
static time_t
midnight(time_t date, bool is_utc)
{
	time_t before, after;

	if (is_utc)
		return date;
	before = date - offset_at(date - SECONDS_PER_DAY);
	after = date - offset_at(date + SECONDS_PER_DAY);
	if (before == after)
		return before;
	if (is_midnight(before, date))
		return before;
	if (is_midnight(after, date))
		return after;
	return find_change(after, before); /* this day has no midnight */
}

/* A stretch of time, and the period that all of it is in. */
static void
find_period(enum report_period period, bool is_utc, int64_t wall_ms,
    struct stretch *out)
{
	time_t t = to_seconds(wall_ms), start, next;
	struct tm tm = split(t, is_utc), end;

	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	end = tm;
	switch (period) {
	case REPORT_ALL:
		*out = (struct stretch){0, INT64_MIN, INT64_MAX};
		return;
	case REPORT_HOURLY:
		/* Clocks are put forward and back between quarters. */
		tm = split(t, is_utc);
		start = t - tm.tm_min * 60 - tm.tm_sec;
		out->period_ms = start * INT64_C(1000);
		out->begin_ms = rollup_start(ROLLUP_QUARTER_MS, wall_ms);
		out->end_ms = out->begin_ms + ROLLUP_QUARTER_MS;
		return;
	case REPORT_DAILY:
		end.tm_mday += 1;
		break;
	case REPORT_WEEKLY:
		tm.tm_mday -= (tm.tm_wday + 6) % 7;
		end.tm_mday = tm.tm_mday + 7;
		break;
	case REPORT_MONTHLY:
		tm.tm_mday = end.tm_mday = 1;
		end.tm_mon += 1;
		break;
	}
	start = midnight(timegm(&tm), is_utc);
	next = midnight(timegm(&end), is_utc);
	out->period_ms = out->begin_ms = start * INT64_C(1000);
	out->end_ms = next * INT64_C(1000);
}

int64_t
report_period_start(enum report_period period, bool is_utc, int64_t wall_ms)
{
	struct stretch s;

	find_period(period, is_utc, wall_ms, &s);
	return s.period_ms;
}

struct report *
report_create(const struct report_query *query)
{
	struct report *r = xcalloc(sizeof *r);

	r->query = *query;
	for (size_t i = 0; i < query->by_count; i++)
		r->by |= ROLLUP_BIT(query->by[i]);
	r->cells = rollup_create();
	return r;
}

const struct report_query *
report_query(const struct report *r)
{
	return &r->query;
}

static bool
is_in_time(const struct report *r, int64_t wall_ms)
{
	return wall_ms >= r->query.filter.since_ms &&
	    wall_ms < r->query.filter.until_ms;
}

static int64_t
period_of(struct report *r, int64_t wall_ms)
{
	if (wall_ms < r->recent.begin_ms || wall_ms >= r->recent.end_ms)
		find_period(
		    r->query.period, r->query.is_utc, wall_ms, &r->recent);
	return r->recent.period_ms;
}

void
report_add_line(struct report *r, const struct ledger_view *line)
{
	if (rollup_counts(line) && is_in_time(r, line->ts_ms) &&
	    rollup_filter_takes_line(&r->query.filter, line))
		rollup_add_line(
		    r->cells, period_of(r, line->ts_ms), r->by, line);
}

void
report_add_row(struct report *r, const struct rollup_row *row)
{
	if (is_in_time(r, row->start_ms) &&
	    rollup_filter_takes_row(&r->query.filter, row))
		rollup_add_row(
		    r->cells, period_of(r, row->start_ms), r->by, row);
}

static void
on_merged_row(void *arg, const struct rollup_row *row)
{
	struct report *r = arg;

	rollup_add_row(r->cells, row->start_ms, r->by, row);
}

void
report_merge(struct report *r, const struct report *from)
{
	rollup_each(from->cells, &ROLLUP_EVERYTHING, on_merged_row, r);
}

static void
set_speed(struct report_row *row, const struct waits *w)
{
	row->ttft_p50_ms = waits_percentile(w, 50);
	row->ttft_p95_ms = waits_percentile(w, 95);
	if (row->sums.stream_ms > 0)
		row->tokens_per_second = (double)row->sums.stream_tokens *
		    1000 / (double)row->sums.stream_ms;
}

static void
on_row(void *arg, const struct rollup_row *cell)
{
	struct report *r = arg;
	struct report_row *row = &r->rows[r->count++];

	row->start_ms = cell->start_ms;
	for (size_t i = 0; i < r->query.by_count; i++)
		row->group[i] = cell->names[r->query.by[i]];
	row->sums = *cell->sums;
	set_speed(row, cell->waits);
	rollup_sums_add(&r->total.sums, cell->sums);
	waits_merge(&r->total_waits, cell->waits);
}

/* No name comes first, before one that is empty. */
static int
compare_names(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int
by_period_and_requests(const void *pa, const void *pb)
{
	const struct report_row *a = pa, *b = pb;
	int order = 0;

	if (a->start_ms != b->start_ms)
		return a->start_ms < b->start_ms ? -1 : 1;
	if (a->sums.requests != b->sums.requests)
		return a->sums.requests > b->sums.requests ? -1 : 1;
	for (size_t i = 0; order == 0 && i < ROLLUP_NAME_COUNT; i++)
		order = compare_names(a->group[i], b->group[i]);
	return order;
}

void
report_finish(struct report *r)
{
	size_t count = rollup_count(r->cells);

	if (count > 0) {
		r->rows = xcalloc_array(count, sizeof *r->rows);
		rollup_each(r->cells, &ROLLUP_EVERYTHING, on_row, r);
		qsort(
		    r->rows, r->count, sizeof *r->rows, by_period_and_requests);
	}
	set_speed(&r->total, &r->total_waits);
}

size_t
report_row_count(const struct report *r)
{
	return r->count;
}

const struct report_row *
report_row(const struct report *r, size_t i)
{
	return &r->rows[i];
}

const struct report_row *
report_total(const struct report *r)
{
	return &r->total;
}

void
report_destroy(struct report **rp)
{
	struct report *r = *rp;

	if (r == NULL)
		return;
	rollup_destroy(&r->cells);
	waits_release(&r->total_waits);
	free(r->rows);
	free(r);
	*rp = NULL;
}
