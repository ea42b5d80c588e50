/*
 * report.h - sums over the ledger: who used what, when, at what cost.
 *
 * Needs the ledger alone: what was paid and what was avoided stands in each
 * line. A line counts by its arrival and if an upstream was tried for it; a
 * refused request is in no row.  Its tokens and its cost are those of the line,
 * under the upstream that the line names.  Reads no clock, but the time zone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger_line.h"

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

/* name, member of struct ledger_line and of JSON, title of its column */
#define REPORT_GROUPS(X)                  \
	X(USER, user, "USER")             \
	X(MODEL, model, "MODEL")          \
	X(UPSTREAM, upstream, "UPSTREAM") \
	X(KEY, key, "KEY")

enum report_group {
#define X(name, member, title) REPORT_BY_##name,
	REPORT_GROUPS(X)
#undef X
	    REPORT_GROUP_COUNT,
};

struct report_query {
	enum report_period period;
	bool is_utc; /* else periods begin in the local time zone */
	int64_t since_ms, until_ms; /* arrivals from since on, before until */
	enum report_group by[REPORT_GROUP_COUNT];
	size_t by_count;
	const char *only[REPORT_GROUP_COUNT]; /* NULL: all.  Borrowed */
};

struct report_row {
	int64_t start_ms; /* of the period; 0 in the total and without one */
	const char *group[REPORT_GROUP_COUNT]; /* as in `by`; NULL: none */
	uint64_t requests;
	uint64_t cancelled; /* the client left before the first content */
	uint64_t input_tokens, cached_tokens, output_tokens;
	uint64_t local_tokens; /* of both, from upstreams that cost nothing */
	__int128 cost_pusd, avoided_pusd;
	/* Whether some of it is an estimate. */
	bool has_estimated_tokens, has_estimated_cost, has_estimated_avoided;
	int64_t ttft_p50_ms, ttft_p95_ms; /* -1: there was no content */
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

/* Adds one line, if the query wants it. */
void report_add(struct report *r, const struct ledger_line *line);

/* Told of each line that is damaged; lines count from 1.  It is skipped. */
typedef void (*report_damage_fn)(void *arg, uint64_t number, const char *why);

/* Adds all lines of a ledger file; a last one without its newline is damaged
 * unless it is whole.  False with the reason, and errno, if the file cannot be
 * read. */
MUST_CHECK bool report_read(struct report *r, const char *path,
    report_damage_fn on_damage, void *arg, struct fault *why);

/* Sums up, after all was added.  Rows are in the order of their periods, then
 * the most requests first. */
void report_finish(struct report *r);

/* After report_finish().  Rows live as long as the report. */
size_t report_row_count(const struct report *r);
const struct report_row *report_row(const struct report *r, size_t i);
const struct report_row *report_total(const struct report *r);

/* Arrivals of the first and the last line that was counted.  False if there was
 * none. */
bool report_span(const struct report *r, int64_t *first_ms, int64_t *last_ms);

/* Frees *rp and sets it to NULL.  *rp may be NULL. */
void report_destroy(struct report **rp);
