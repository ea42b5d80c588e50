/*
 * estimate.h - what a request may come to at a route, before it is served.
 */
#pragma once

#include <stdint.h>

#include "base/attr.h"
#include "metering/learned.h"

struct exchange;
struct route_config;

/* In tokens. */
struct estimate {
	const struct route_config *route; /* where; NULL: not made yet */
	struct learned_guess guess;
	int64_t input;    /* of the prompt, by its bytes and what was learned */
	int64_t output;   /* what the answer may have: n times max_tokens, or,
			     where that was not said, what 95 of 100 answers of
			     the model stay under */
	int64_t expected; /* what it will probably have: the lesser of both */
};

/* Makes x->estimate for that route, unless it is there. */
void estimate_make(struct exchange *x, const struct route_config *r);

/* What that costs at its route at most, in pico-dollars: 0 if it is free. */
int64_t estimate_cost(const struct exchange *x);

/* The same if the answer has so many tokens. */
int64_t estimate_cost_of(const struct exchange *x, int64_t output);

/* What so many bytes of answer text come to at its route. */
int64_t estimate_output(const struct estimate *e, uint64_t text_bytes);
