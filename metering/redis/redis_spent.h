/*
 * redis_spent.h - what subjects of shared limits have used: by day of UTC, and
 * in it by quarter of an hour, so that any time zone's days, weeks and months
 * can be added up from it.
 *
 * Rows of redis_sums whose key is "spent:20778:user:alice" (days since 1970)
 * and whose fields begin with "57|", a quarter of the day, or "all|"; behind
 * "fallback|" what failover has cost.  They stay for 40 days.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/text.h"
#include "metering/ledger/ledger_view.h"
#include "metering/redis/redis_sums.h"

#define REDIS_QUARTER_MS INT64_C(900000)
#define REDIS_DAY_MS (96 * REDIS_QUARTER_MS)

/* Names of subjects: what lines are counted under and scripts ask for. */
#define REDIS_EVERYONE "everyone" /* what failover costs in all */
void redis_subject_user(struct buf *to, struct slice user);
void redis_subject_user_at_model(
    struct buf *to, struct slice user, struct slice model);
void redis_subject_key(struct buf *to, struct slice key_id);

/* Adds a line to all of its subjects; one for which no upstream was tried
 * changes nothing. */
void redis_spent_add(struct redis_sums *s, const struct ledger_view *line);
