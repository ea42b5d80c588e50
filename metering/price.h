/*
 * price.h - money: integer pico-dollars a token, and what an exchange costs.
 *
 * A dollar is 10^12 pico-dollars; a price of $1.74 a million tokens is exactly
 * 1,740,000 pico-dollars a token.  Sums are 128 bits wide.  Outside the program
 * money is a decimal string, so that no reader rounds it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/usage.h"

#define PUSD_PER_USD INT64_C(1000000000000)
#define PRICE_MOST_USD_PER_MILLION 1000000

/* From a day on, perhaps only at some hours. */
struct price {
	int64_t from_ms;           /* midnight UTC of `from`; 0: always */
	int hour_begin, hour_end;  /* UTC, end exclusive, may wrap; equal: all
				      day */
	int64_t input_pusd;        /* a token */
	int64_t input_cached_pusd; /* equals input_pusd if not said */
	int64_t cache_write_pusd;  /* equals input_pusd if not said */
	int64_t output_pusd;
	int64_t request_pusd; /* a request */
};

/* The prices of one model of one upstream. */
struct price_list {
	struct price *prices; /* owned by the configuration */
	size_t count;
};

/* The price in force at that time: the one with the latest `from` that is not
 * later, an hour range before one without; NULL if none. */
const struct price *price_at(const struct price_list *l, int64_t wall_ms);

/* What these counts cost.  Counts that were not said are 0; cached and
 * cache-written tokens are never more than the input. */
__int128 price_cost(const struct price *p, const struct usage *u);

/* Reads "1.74" dollars a million tokens, with at most six decimals, as
 * pico-dollars a token.  False with the reason. */
MUST_CHECK bool price_parse(
    struct slice text, int64_t *pusd, struct fault *why);

#define MONEY_TEXT_BYTES 64

/* Writes dollars with twelve decimals, "0.002695260000". */
void money_format(char out[MONEY_TEXT_BYTES], __int128 pusd);

/* Reads what money_format() writes (any number of decimals up to twelve). */
MUST_CHECK bool money_parse(struct slice text, __int128 *pusd);

/* For people: "$0.00", "$0.0027" under a cent, "$12.34". */
void money_format_short(char out[MONEY_TEXT_BYTES], __int128 pusd);
