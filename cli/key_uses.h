/*
 * key_uses.h - what each key was used for, from the kept sums and the ledger.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/config.h"
#include "metering/reports/report.h"

/* Reads the sums of all keys, by their ids.  What cannot be read is told on
 * stderr, and NULL returned: nothing is known then.  The caller destroys it. */
struct report *key_uses_read(const struct config *config, int64_t now_ms);

/* NULL: it was never used. */
const struct rollup_sums *key_uses_find(
    const struct report *uses, const char *id);
