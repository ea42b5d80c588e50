/*
 * report.h - who used what, when, at what cost: the rows of a report.
 *
 * A report is filled with ledger lines or with rollups (rollup.h), or with
 * rollups and the lines behind them: the numbers are the same.  It needs the
 * ledger alone: what was paid and what was avoided stands in each line.  Reads
 * no clock, but the process's time zone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/ledger_view.h"
#include "metering/reports/rollup.h"

/* name, word, title of its column */
#define REPORT_PERIODS(X)           \
	X(ALL, "all", NULL)         \
	X(HOURLY, "hourly", "HOUR") \
	X(DAILY, "daily", "DAY")    \
	X(WEEKLY, "weekly", "WEEK") \
	X(MONTHLY, "monthly", "MONTH")

enum report_period {
#define X(name, word, title) REPORT_##name,
	REPORT_PERIODS(X)
#undef X
};

struct report_query {
	enum report_period period;
	bool is_utc; /* else periods begin in the local time zone */
	struct rollup_filter filter;
	enum rollup_name by[ROLLUP_NAME_COUNT]; /* each at most once */
	size_t by_count;
};

struct report_row {
	int64_t start_ms; /* of the period; 0 in the total and without one */
	const char *group[ROLLUP_NAME_COUNT]; /* as in `by`; NULL: none */
	struct rollup_sums sums;
	int64_t ttft_p50_ms, ttft_p95_ms; /* -1: there was no content; off by at
					     most 1.6 % (rollup_waits.h) */
	double tokens_per_second; /* of streams, after the first content; 0:
				     there were none */
};

struct report;

/* When the period of a moment begins, in ms since 1970 UTC. */
int64_t report_period_start(
    enum report_period period, bool is_utc, int64_t wall_ms);

/* An empty report.  `query` is copied, its texts are borrowed until
 * report_destroy().  The caller owns it; never NULL. */
struct report *report_create(const struct report_query *query);

const struct report_query *report_query(const struct report *r);

/* Adds one line, if the query wants it. */
void report_add_line(struct report *r, const struct ledger_view *line);

/* Adds a cell of a quarter of an hour (or of what never leaves its period), if
 * the query wants it. */
void report_add_row(struct report *r, const struct rollup_row *row);

/* Adds all of `from`, which was made for the same query and not finished. */
void report_merge(struct report *r, const struct report *from);

/* Sums up, after all was added.  Rows are in the order of their periods, then
 * the most requests first, then by their names. */
void report_finish(struct report *r);

/* After report_finish().  Rows live as long as the report. */
size_t report_row_count(const struct report *r);
const struct report_row *report_row(const struct report *r, size_t i);
const struct report_row *report_total(const struct report *r);

/* Frees *rp and sets it to NULL.  *rp may be NULL. */
void report_destroy(struct report **rp);
