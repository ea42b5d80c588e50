/*
 * forecast.h - how long until the first token, known before it is asked for.
 *
 * By the rate at which the upstream has read prompts of late, by what of this
 * prompt it has probably kept from the user's last ones, and by the queue.  A
 * guess: it is told and written down, and refuses only where the model's owner
 * has said so (`prefill: refuse`).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "metering/prefix.h"

struct exchange;
struct route_config;

struct forecast {
	bool is_looked_at; /* the prompt was compared, */
	bool knows_prefix; /* some of the prompt was sent there before */
	bool has_prompt;   /* `prompt` was made */
	int64_t ttft_ms;   /* from arrival to first token; -1: not known */
	uint64_t limit_ms; /* that this is over; 0: none */
	const char *mark;  /* for the ledger: "warned", "refused"; NULL */
	struct prefix_mark prompt; /* hashes of it; owned */
};

/* How many bytes of the prompt the route's upstream has probably kept from what
 * this user asked before: of `prompt_bytes` at most. */
uint64_t forecast_known_bytes(
    struct exchange *x, const struct route_config *r, uint64_t prompt_bytes);

/* Looks ahead at the route that x->estimate is for, into x->forecast.  False,
 * with the sentence (without its end) in the exchange's arena, if the request
 * must not go there. */
MUST_CHECK bool forecast_allows(struct exchange *x, const char **text);

/* The first content has come: the upstream has read the prompt. */
void forecast_note_read(struct exchange *x);

/* Tokens of the prompt that the upstream had to read, if that is sure: for what
 * is learned from an answer whose usage said `input` and `cached` (-1: it did
 * not say).  -1: not sure. */
int64_t forecast_uncached(
    const struct exchange *x, int64_t input, int64_t cached);

/* Frees what it holds. */
void forecast_release(struct forecast *f);
