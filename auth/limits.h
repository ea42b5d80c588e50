/*
 * limits.h - what a user, a user at one model, or a key may: one table.
 *
 * The configuration, the key file, overrides, `weir user limits` and
 * GET /v1/key all read and print what is in it.  0 admits nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/limiter.h"
#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

/* name, text, what is counted, in a sentence: "3 of 30 requests a minute" */
#define LIMITS(X)                                                              \
	X(REQUESTS, "requests_per_minute", "requests a minute")                \
	X(INPUT_TOKENS, "input_tokens_per_minute", "prompt tokens a minute")   \
	X(OUTPUT_TOKENS, "output_tokens_per_minute", "answer tokens a minute") \
	X(DAY_TOKENS, "tokens_per_day", "tokens a day")                        \
	X(CONCURRENT, "concurrent", "requests at once")

enum limit {
#define X(name, text, what) LIMIT_##name,
	LIMITS(X)
#undef X
	    LIMIT_COUNT
};

/* name, text as in `per:`, how a sentence has it */
#define PERIODS(X)                   \
	X(DAY, "day", "today")       \
	X(WEEK, "week", "this week") \
	X(MONTH, "month", "this month")

enum period {
#define X(name, text, now) PERIOD_##name,
	PERIODS(X)
#undef X
	    PERIOD_COUNT
};

#define LIMIT_MOST 1000000000 /* more is not meant, but `unlimited` */
#define BUDGET_UNLIMITED INT64_MAX
#define BUDGET_MOST_USD 1000000

struct limits {
	uint32_t most[LIMIT_COUNT];     /* LIMIT_UNLIMITED: no limit */
	int64_t budget[PERIOD_COUNT];   /* pico-dollars; BUDGET_UNLIMITED */
	int64_t fallback[PERIOD_COUNT]; /* of that, what failover from a free
					   route may cost */
	uint32_t reserve_cap;           /* tokens */
	bool paid_routes;
	unsigned stated; /* bits of STATED_…: what the source of these limits
			    itself says; the rest is its default */
};

/* Bits of limits.stated. */
#define STATED_LIMIT(l) (1u << (unsigned)(l))
#define STATED_BUDGET(p) (1u << (LIMIT_COUNT + (unsigned)(p)))
#define STATED_FALLBACK(p) (1u << (LIMIT_COUNT + PERIOD_COUNT + (unsigned)(p)))
#define STATED_RESERVE_CAP (1u << (LIMIT_COUNT + 2 * PERIOD_COUNT))
#define STATED_PAID_ROUTES (1u << (LIMIT_COUNT + 2 * PERIOD_COUNT + 1))

#define RESERVE_CAP_DEFAULT 8192

/* Everything unlimited, nothing stated, no paid routes. */
struct limits limits_none(void);

/* Puts what `over` states in the place of what `l` says. */
void limits_replace(struct limits *l, const struct limits *over);

/* Of a user's limits, what still counts for requests that `own` (the same
 * user's limits at one model) speaks of: what it states is lifted here, because
 * it counts there.  What counts nothing, reserve_cap and paid_routes, is as it
 * holds at that model. */
struct limits limits_beside(
    const struct limits *user, const struct limits *own);

const char *limit_name(enum limit l);   /* "requests_per_minute" */
const char *period_name(enum period p); /* "day" */

/* The rate of one of the limits a minute; its burst is a minute's worth. */
struct rate_limit limits_rate(const struct limits *l, enum limit which);

/* Reads one setting as a person writes it: "concurrent" "4";
 * "tokens_per_day" "2M"; "requests_per_minute" "unlimited"; "budget" "10/day"
 * (dollars); "cloud_fallback" "1/day"; "paid_routes" "true".  Sets it in *l and
 * its bit in l->stated.  False with the reason, which names what is allowed and
 * continues "NAME: "; then *l is as it was. */
MUST_CHECK bool limits_set(
    struct limits *l, struct slice name, struct slice value, struct fault *why);
