/*
 * clock.h - the two clocks, and times as text.
 *
 * Only base/, proxy/ and cli/ read a clock; auth/ and metering/ are handed the
 * time, so that their tests own it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* Nanoseconds on CLOCK_MONOTONIC: for durations and deadlines. */
uint64_t clock_mono_ns(void);

/* Milliseconds since 1970 UTC: for what people read. */
int64_t clock_wall_ms(void);

#define CLOCK_TEXT_BYTES 32

/* Writes RFC 3339 in UTC with whole seconds, "2026-05-28T14:22:01Z". */
void clock_format(char out[CLOCK_TEXT_BYTES], int64_t wall_ms);

/* Reads what clock_format() writes, also with a fraction, an offset (+02:00),
 * or the date alone (midnight UTC).  False if it is anything else. */
MUST_CHECK bool clock_parse(struct slice s, int64_t *wall_ms);

/* Reads a duration with its unit: ms, s, m, h, d, as in 250ms, 2h, 90d.
 * False without a unit, with anything else, or above 10 years. */
MUST_CHECK bool duration_parse(struct slice s, uint64_t *ms);

/* Writes a duration as a person says it: "45 s", "3 h 12 min", "90 days". */
void duration_format(char out[CLOCK_TEXT_BYTES], uint64_t ms);
