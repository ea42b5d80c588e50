/*
 * redis_sums.h - ledger lines, summed as they stand in Redis: by user and hour,
 * and in that by model and upstream.
 *
 * A row is what one HINCRBY a counter adds: its key ends in
 * "use:2026-11-21T14:alice", its fields begin with "ds4|spark|".  Lines count
 * by their arrival, and if an upstream was tried for them.  Sums stand still at
 * REDIS_COUNT_MOST, here as in Redis, so that both agree for ever: 10^18
 * pico-dollars are a million dollars an hour of one user and model.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/text.h"
#include "metering/ledger/ledger_view.h"

#define REDIS_COUNT_MOST UINT64_C(999999999999999999)
#define REDIS_HOUR_MS INT64_C(3600000)

/* How long counters stay after their hour, or their day, has begun. */
#define REDIS_KEEP_MS (INT64_C(400) * 24 * 3600 * 1000)
#define REDIS_SPENT_KEEP_MS (INT64_C(40) * 24 * 3600 * 1000)

/* member, name of the field, help */
#define REDIS_COUNTERS(X)                                                \
	X(REQUESTS, "requests", "lines for which an upstream was tried") \
	X(INPUT, "input", "tokens in, cached ones included")             \
	X(CACHED, "cached", "of those, read from a cache")               \
	X(OUTPUT, "output", "tokens out, reasoning included")            \
	X(REASONING, "reasoning", "of those, reasoning")                 \
	X(PUSD, "pusd", "cost in pico-dollars")                          \
	X(ERRORS, "errors", "of the requests, those that could not be done")

enum redis_counter {
#define X(name, field, help) REDIS_COUNT_##name,
	REDIS_COUNTERS(X)
#undef X
	    REDIS_COUNTER_COUNT,
};

/* Beside pusd: the same in whole micro-dollars, rounded up. */
#define REDIS_FIELD_MICRO "micro_usd"

const char *redis_counter_field(enum redis_counter c);

struct redis_row {
	struct slice key;   /* without prefix and epoch */
	struct slice field; /* how its fields begin */
	int64_t hour_ms;    /* when the hour, or the day, begins */
	int64_t ends_ms;    /* when it expires */
	uint64_t counts[REDIS_COUNTER_COUNT];
};

struct redis_sums;

/* The caller owns it; never NULL. */
struct redis_sums *redis_sums_create(void);
void redis_sums_destroy(struct redis_sums **sp);

/* Forgets the rows and keeps the memory. */
void redis_sums_clear(struct redis_sums *s);

/* Adds a line; one for which no upstream was tried changes nothing. */
void redis_sums_add(struct redis_sums *s, const struct ledger_view *line);

/* Adds to a row's tokens and cost, as long as one of them is above 0.  The row
 * is made if it is not there; its day begins at `begin_ms`. */
void redis_sums_more(struct redis_sums *s, struct slice key, struct slice field,
    int64_t begin_ms, int64_t input, int64_t output, __int128 pusd);

/* Appends a name as it stands between the bars of a field: a blank, a bar, a
 * percent sign and control bytes as %XX; none at all as "-". */
void redis_sums_put_name(struct buf *to, struct slice name);

/* Sets one counter of a row, which is made if it is not there. */
void redis_sums_set(struct redis_sums *s, struct slice key, struct slice field,
    int64_t hour_ms, enum redis_counter c, uint64_t n);

size_t redis_sums_count(const struct redis_sums *s);

/* In the order in which they came; `out` lives until the next change. */
void redis_sums_row(
    const struct redis_sums *s, size_t i, struct redis_row *out);

/* The row with this key and beginning of its fields; its number, or SIZE_MAX.
 */
size_t redis_sums_find(
    const struct redis_sums *s, struct slice key, struct slice field);
