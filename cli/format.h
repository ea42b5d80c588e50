/*
 * format.h - numbers as people read them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define FORMAT_BYTES 80

/* Tokens by three digits, thousands with one decimal: 2.1K, 301K, 4.10M. */
void format_tokens(char out[FORMAT_BYTES], uint64_t n);

/* A wait: 12ms, 0.9s, 41s, 4m 10s, 2h 05m. */
void format_wait(char out[FORMAT_BYTES], int64_t ms);

/* "71%": rounded, but all of it and nothing of it are said only when they are
 * true.  Returns `out`, or NULL if there is nothing to have a share of. */
const char *format_share(char out[FORMAT_BYTES], uint64_t part, uint64_t whole);

/* A moment in the process's zone: "today 14:30", "tomorrow 14:30",
 * "2027-02-18 14:30". */
void format_moment(char out[CLOCK_TEXT_BYTES], int64_t wall_ms, int64_t now_ms);

/* How long ago that was: "just now", "4 min ago", "41 days ago". */
void format_ago(char out[FORMAT_BYTES], int64_t wall_ms, int64_t now_ms);
