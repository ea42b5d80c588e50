/*
 * usage.h - what an answer says that it cost, in tokens.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

/* Counts above this are taken for damage, not for usage. */
#define USAGE_MOST_TOKENS INT64_C(1000000000)

/* Where the numbers of a ledger line come from.  name, help */
#define USAGE_SOURCES(X)                                                \
	X(NONE, "none",                                                 \
	    "nothing was counted: refused, an error without usage, or " \
	    "count_tokens")                                             \
	X(ESTIMATED, "estimated", "from the bytes seen: no usage came") \
	X(RUNNING, "running", "the last running count before the end")  \
	X(TIMINGS, "timings", "from the server's timings")              \
	X(UPSTREAM, "upstream", "what the upstream reported")

enum usage_source {
#define X(name, text, help) USAGE_##name,
	USAGE_SOURCES(X)
#undef X
};

const char *usage_source_name(enum usage_source s);

/* -1: was not said.  All counts are of the exchange, in tokens. */
struct usage {
	int64_t input;       /* total, cached and cache-written ones included */
	int64_t output;      /* total, reasoning included */
	int64_t cached;      /* of input, read from a cache */
	int64_t cache_write; /* of input, written to a cache */
	int64_t reasoning;   /* of output */
	int64_t audio;       /* in and out */
	int64_t cost_pusd;   /* what the upstream says that it costs, in
				pico-dollars */
};

#define USAGE_UNKNOWN ((struct usage){-1, -1, -1, -1, -1, -1, -1})

/* True if it can be charged: input was said, or output. */
bool usage_is_known(const struct usage *u);

/* Reads what an upstream says that it costs: dollars as JSON writes a number,
 * "0.00000495" or "4.95e-06"; finer than a pico-dollar is rounded.  False if it
 * is negative, no number, or more than anything costs. */
MUST_CHECK bool usage_read_dollars(struct slice number, int64_t *pusd);

/* The same in xAI's ticks, 10^10 to the dollar. */
MUST_CHECK bool usage_read_ticks(struct slice number, int64_t *pusd);

/* Forgets counts that cannot be: a part that exceeds its whole, a total above
 * USAGE_MOST_TOKENS.  True if there was none. */
bool usage_make_sane(struct usage *u);
