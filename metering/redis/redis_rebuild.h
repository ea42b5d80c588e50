/*
 * redis_rebuild.h - counts a whole ledger anew in Redis.
 *
 * Into an epoch of its own, while the old one stays in force; then it switches,
 * and removes what is left of older ones.  Gateways that run notice, and those
 * with other ledgers replay these.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "metering/redis/redis_store.h"

struct redis_rebuild_result {
	uint64_t lines;   /* counted */
	uint64_t skipped; /* in gaps of the ledger */
	uint64_t removed; /* keys of older epochs */
};

/* `s` is open.  The gateway `without` (NULL: none) does not count any more.
 * False with the problem; the old epoch is then still in force. */
MUST_CHECK bool redis_rebuild_run(struct redis_store *s, const char *ledger,
    const char *without, struct redis_rebuild_result *out,
    struct redis_problem *p);
