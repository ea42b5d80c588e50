/*
 * when.h - times and time zones as people give them to a command.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"

/* Makes a zone the process's own: "UTC", "local" (what the machine says), or a
 * name of the system's table of zones, like Europe/Berlin.  *is_utc says
 * whether it is UTC.  False with the reason, and the name that may have been
 * meant. */
MUST_CHECK bool zone_use(const char *name, bool *is_utc, struct fault *why);

/* Whether all that happens in this zone at `wall_ms` does so at whole quarters
 * of an hour from UTC, as it does everywhere today. */
bool zone_is_in_quarters(bool is_utc, int64_t wall_ms);

/* Reads a duration (24h, 7d: so long before now; *is_ago is set), a date
 * (midnight in the process's zone) or a time with its zone.  `flag` is for the
 * reason. */
MUST_CHECK bool when_parse(const char *flag, const char *text, bool is_utc,
    int64_t now_ms, int64_t *ms, bool *is_ago, struct fault *why);
