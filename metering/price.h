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

/* The price in force at that time: of those for that hour the one with the
 * latest `from` that is not later, an hour range before one without.  Before
 * any has begun it is the first that will: what costs money is never free.
 * NULL if the list is empty, or has nothing for that hour. */
const struct price *price_at(const struct price_list *l, int64_t wall_ms);

/* True if both are from the same day on and for the same hours, at least one:
 * then nobody can say which is meant. */
bool price_conflicts(const struct price *a, const struct price *b);

/* What these counts cost.  Counts that were not said are 0; cached and
 * cache-written tokens are never more than the input. */
__int128 price_cost(const struct price *p, const struct usage *u);

/* Reads "1.74" dollars a million tokens as pico-dollars a token; behind six
 * decimals only zeros may follow.  False with the reason. */
MUST_CHECK bool price_parse(
    struct slice text, int64_t *pusd, struct fault *why);

/* Reads a number as JSON has it, "1.74e-06", and scales it by 10^power: 12 for
 * dollars a token, 6 for dollars a million tokens.  The text itself is read,
 * exactly.  Only where it is off by less than a thousandth of a pico-dollar,
 * as numbers that went through a binary fraction are, it is rounded.  False
 * with the reason: negative, finer than a pico-dollar, too much. */
MUST_CHECK bool price_parse_json(
    struct slice number, int power, int64_t *pusd, struct fault *why);

#define MONEY_TEXT_BYTES 64

/* Writes a price as price_parse() reads it, with at least two decimals:
 * "1.74", "0.145", "3.00". */
void price_format(char out[MONEY_TEXT_BYTES], int64_t pusd);

/* Writes dollars with twelve decimals, "0.002695260000". */
void money_format(char out[MONEY_TEXT_BYTES], __int128 pusd);

/* Reads what money_format() writes (any number of decimals up to twelve). */
MUST_CHECK bool money_parse(struct slice text, __int128 *pusd);

/* Writes dollars with as many decimals as it takes, at least two: "0.005". */
void money_format_plain(char out[MONEY_TEXT_BYTES], __int128 pusd);

/* For people: "$0.00", "$0.0027" under a cent, "$12.34". */
void money_format_short(char out[MONEY_TEXT_BYTES], __int128 pusd);
