/*
 * limits_show.h - limits as people read them, and as JSON.
 */
#pragma once

#include "auth/limits.h"
#include "auth/limits_text.h"
#include "base/buf.h"

/* Appends an object of what is stated, as the configuration has it:
 * {"concurrent":4,"budget":[{"usd":"5.00","per":"day"}]}. */
void limits_write_json(struct buf *to, const struct limits *l);

/* Appends one setting's value in JSON: 4, "unlimited", "5.00", true. */
void limits_write_json_value(
    struct buf *to, const struct limits *l, unsigned setting);

/* "4", "2.0M", "unlimited", "$5/day", "yes". */
void limits_format_value(
    char out[LIMITS_VALUE_BYTES], const struct limits *l, unsigned setting);

/* Of a budget or of what failover may cost: its period and its dollars, with
 * *is_fallback saying which.  False for other settings. */
bool limits_is_budget(const struct limits *l, unsigned setting,
    enum period *period, int64_t *pusd, bool *is_fallback);
