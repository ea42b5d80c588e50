/*
 * redis_marks.h - which lines Redis says that it has: the marks of all writers,
 * and the ranges that were passed over.
 *
 * Marks are read twice, before and after the counters, so that a check can run
 * while lines are counted: a line up to the first mark is in the counters for
 * sure, one behind the second is not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/id.h"
#include "metering/redis/redis_store.h"

struct redis_mark {
	char writer[ULID_CHARS + 1];
	bool is_ours; /* of the gateway of this name */
	uint64_t before, after;
	uint64_t seen; /* the checker's: the last line found in a ledger */
};

struct redis_gap {
	char writer[ULID_CHARS + 1];
	uint64_t first, last;
};

struct redis_gateway {
	char *name;  /* owned */
	char *state; /* owned; "absent", "replaying", or a run's id */
};

struct redis_marks {
	struct redis_mark *marks; /* owned */
	size_t mark_count;
	struct redis_gap *gaps; /* owned */
	size_t gap_count;
	struct redis_gateway *gateways; /* owned */
	size_t gateway_count;
};

/* {0} is a good empty one. */
void redis_marks_release(struct redis_marks *m);

/* Reads everything in the store's epoch. */
MUST_CHECK bool redis_marks_read(
    struct redis_marks *m, struct redis_store *s, struct redis_problem *p);

/* Reads the marks once more, as `after`. */
MUST_CHECK bool redis_marks_read_again(
    struct redis_marks *m, struct redis_store *s, struct redis_problem *p);

/* NULL if nothing of this writer is counted. */
struct redis_mark *redis_marks_find(
    const struct redis_marks *m, struct slice writer);

/* Whether the line was passed over. */
bool redis_marks_in_gap(
    const struct redis_marks *m, struct slice writer, uint64_t seq);
