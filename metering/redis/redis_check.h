/*
 * redis_check.h - does Redis hold what the ledger says, and the ledger what
 * Redis has counted?
 *
 * Compares every counter that has not expired, and looks for every line that a
 * mark covers.  It may run while lines are counted: then a counter that moved
 * meanwhile may be anything between before and after.  Where other gateways
 * count too and their ledgers are not given, Redis may have more, never less.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/redis/redis_marks.h"
#include "metering/redis/redis_store.h"

/* Told of each finding; the text lives until it returns. */
typedef void (*redis_finding_fn)(void *arg, const char *text);

struct redis_check_query {
	const char *const *ledgers; /* ours, then those of other gateways */
	size_t ledger_count;
	bool removed_is_fine; /* lines before the ledger's first one */
	redis_finding_fn on_finding;
	void *arg;
};

struct redis_check_result {
	struct redis_marks marks; /* released by the caller */
	uint64_t counted;         /* lines of the ledgers that Redis has */
	uint64_t waiting;         /* and those that it has not yet */
	uint64_t removed; /* lines that it has, from before the ledger begins */
	uint64_t compared; /* rows: user, hour, model and upstream */
	uint64_t findings;
	bool is_exact; /* all gateways' ledgers were given */
};

/* `s` is open, in the epoch to check; `out` is set.  False with the problem if
 * it could not be done. */
MUST_CHECK bool redis_check_run(struct redis_store *s,
    const struct redis_check_query *q, struct redis_check_result *out,
    struct redis_problem *p);
