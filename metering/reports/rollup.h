/*
 * rollup.h - sums over ledger lines: a table of when x user x model x upstream
 * x key.
 *
 * One cell holds what the lines of one stretch of time have in common: a
 * quarter of an hour in what is kept for long (a day of any time zone is made
 * of those), an hour, a day or a month in a report.  A line counts by its
 * arrival, and if an upstream was tried for it; a refused request is in no
 * cell.  Its tokens are those of the line, under the upstream that the line
 * names; its cost is the sum over its attempts.  Adding knows no order: lines
 * may come late.  Not locked; reads no clock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"
#include "metering/ledger/ledger_view.h"
#include "metering/reports/rollup_waits.h"

#define ROLLUP_QUARTER_MS INT64_C(900000)
#define ROLLUP_DAY_MS INT64_C(86400000)

/* name, member of the ledger line and of JSON, title of its column */
#define ROLLUP_NAMES(X)                   \
	X(USER, user, "USER")             \
	X(MODEL, model, "MODEL")          \
	X(UPSTREAM, upstream, "UPSTREAM") \
	X(KEY, key, "KEY")

enum rollup_name {
#define X(name, member, title) ROLLUP_##name,
	ROLLUP_NAMES(X)
#undef X
	    ROLLUP_NAME_COUNT,
};

/* A set of names: which of them tell cells apart. */
#define ROLLUP_BIT(name) (1u << (name))
#define ROLLUP_ALL_NAMES (ROLLUP_BIT(ROLLUP_NAME_COUNT) - 1)

/* member, name in JSON, help */
#define ROLLUP_COUNTS(X)                                                      \
	X(requests, "requests", "lines for which an upstream was tried")      \
	X(cancelled, "cancelled", "the client left before the first content") \
	X(failed, "failed", "the gateway or the upstream could not do it")    \
	X(input_tokens, "prompt_tokens", "tokens in, cached ones included")   \
	X(cached_tokens, "cached_tokens", "of those, read from a cache")      \
	X(cache_write_tokens, "cache_write_tokens", "written to a cache")     \
	X(output_tokens, "completion_tokens", "tokens out")                   \
	X(reasoning_tokens, "reasoning_tokens", "of those, reasoning")        \
	X(local_tokens, "local_tokens",                                       \
	    "in and out, from upstreams that cost nothing")                   \
	X(stream_tokens, "stream_tokens",                                     \
	    "out, of streams that had content: for the speed")                \
	X(stream_ms, "stream_ms", "how long these took after that")           \
	X(estimated, "estimated", "lines whose counts are estimates")         \
	X(estimated_cost, "estimated_cost",                                   \
	    "lines whose cost is one, at least in part")                      \
	X(estimated_avoided, "estimated_avoided",                             \
	    "lines whose avoided cost is one")

struct rollup_sums {
#define X(member, name, help) uint64_t member;
	ROLLUP_COUNTS(X)
#undef X
	__int128 cost_pusd, avoided_pusd;
	__int128 fallback_pusd;    /* of cost_pusd, because free routes failed
				    */
	int64_t first_ms, last_ms; /* arrivals; 0 if there were no requests */
};

/* Adds `from` to `to`. */
void rollup_sums_add(struct rollup_sums *to, const struct rollup_sums *from);

/* One cell, as it is read. */
struct rollup_row {
	int64_t start_ms;
	const char *names[ROLLUP_NAME_COUNT]; /* borrowed; NULL: none */
	const struct rollup_sums *sums;       /* borrowed */
	const struct waits *waits;            /* borrowed */
};

/* What is wanted of it: cells that begin from `since_ms` on and before
 * `until_ms`, with these names. */
struct rollup_filter {
	int64_t since_ms, until_ms;
	const char *only[ROLLUP_NAME_COUNT]; /* borrowed; NULL: all */
};

/* Everything. */
#define ROLLUP_EVERYTHING ((struct rollup_filter){INT64_MIN, INT64_MAX, {NULL}})

/* The time aside: whether a line or a row has the names that are asked for. */
bool rollup_filter_takes_line(
    const struct rollup_filter *f, const struct ledger_view *line);
bool rollup_filter_takes_row(
    const struct rollup_filter *f, const struct rollup_row *row);

/* When the quarter of an hour, or the day (UTC), of a moment begins. */
int64_t rollup_start(int64_t step_ms, int64_t wall_ms);

/* Whether a line is in any cell. */
bool rollup_counts(const struct ledger_view *line);

struct rollup;

/* An empty table.  The caller owns it; never NULL. */
struct rollup *rollup_create(void);

/* Frees *tp and sets it to NULL.  *tp may be NULL. */
void rollup_destroy(struct rollup **tp);

size_t rollup_count(const struct rollup *t); /* cells */

/* When the first cells from `since_ms` on begin; INT64_MAX: there are none. */
int64_t rollup_next_start(const struct rollup *t, int64_t since_ms);

/* Whether any cell begins then. */
bool rollup_has(const struct rollup *t, int64_t start_ms);

/* Adds a line that rollup_counts(), to the cell that begins at `start_ms`; the
 * names outside of the set `by` are left out. */
void rollup_add_line(struct rollup *t, int64_t start_ms, unsigned by,
    const struct ledger_view *line);

/* Adds a whole cell of another table in the same way. */
void rollup_add_row(struct rollup *t, int64_t start_ms, unsigned by,
    const struct rollup_row *row);

/* What is borrowed in `row` lives until the next change of the table. */
typedef void (*rollup_row_fn)(void *arg, const struct rollup_row *row);

/* Calls back for every cell that fits; from the earliest to the latest. */
void rollup_each(const struct rollup *t, const struct rollup_filter *f,
    rollup_row_fn on_row, void *arg);

/* Sums up what fits into *out, which is set. */
void rollup_sum(const struct rollup *t, const struct rollup_filter *f,
    struct rollup_sums *out);
