/*
 * calendar.h - days, weeks and months of the process's time zone.
 *
 * Pure but for the zone, which is set once at the start (TZ, tzset(3)) and
 * never while threads run.  Weeks begin on Monday.
 */
#pragma once

#include <stdint.h>

#include "auth/limits.h"

/* A period of time: [begin_ms, end_ms) of the wall clock. */
struct span {
	int64_t begin_ms, end_ms;
};

/* The day, week or month in which `wall_ms` lies: from its first moment on,
 * also where clocks are changed at midnight, to the first of the next one. */
struct span calendar_span(enum period p, int64_t wall_ms);
