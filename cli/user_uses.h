/*
 * user_uses.h - what users have used in the day, week and month of now, from
 * the kept sums and the ledger.
 *
 * Periods are those of the configuration's time zone, as budgets count them.
 */
#pragma once

#include <stdint.h>

#include "auth/limits.h"
#include "conf/config.h"
#include "metering/reports/rollup.h"

struct user_uses;

/* Reads them for one user, or for all with NULL.  What cannot be read is told
 * on stderr, and NULL returned: nothing is known then.  The caller destroys
 * it. */
struct user_uses *user_uses_read(
    const struct config *config, const char *user, int64_t now_ms);

/* Frees *up and sets it to NULL.  *up may be NULL. */
void user_uses_destroy(struct user_uses **up);

/* In the period of now; `model` NULL: at all models. */
struct rollup_sums user_uses_in(const struct user_uses *u, enum period period,
    const char *user, const char *model);

/* When the last request came; 0: never. */
int64_t user_uses_last_ms(const struct user_uses *u, const char *user);
