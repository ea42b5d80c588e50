/*
 * redis_script.h - the scripts that Redis runs for us, and the batch of ledger
 * lines that the chief one applies.
 *
 * A script looks at everything before it writes anything, so that it does all
 * or nothing.  All keys of a prefix begin with {prefix}: and so stand in one
 * slot of a cluster.  docs/redis.md says what stands where.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/id.h"
#include "base/text.h"
#include "metering/ledger/ledger_view.h"
#include "metering/redis/redis_args.h"
#include "metering/redis/redis_sums.h"

/* Applies a batch: see redis_batch_command(). */
extern const char redis_script_apply[];

/* Registers a gateway, and begins the first epoch.
 * KEYS epoch; ARGV tag, name, a new epoch's id, the last epoch we knew, then
 * all names we knew in it.
 * -> ok, epoch, place, writer, ms since that was seen | gone, epoch */
extern const char redis_script_enter[];

/* Says that we are alive, and whether we have caught up.
 * KEYS epoch, gateways, our record, our workers; ARGV epoch, name, writer, run
 * or "", how many workers must have joined.
 * -> ok, writer before us, ms since, then name, state, ... | epoch | gone */
extern const char redis_script_beat[];

/* Switches from one epoch to another.
 * KEYS epoch; ARGV tag, old id, new id, a name to leave out or "", our name or
 * "", our state.  -> ok | epoch */
extern const char redis_script_switch[];

/* Prepares an epoch that is filled before it is switched to.
 * KEYS epoch; ARGV tag, name, its id, an id if there is no epoch at all.
 * -> ok, the epoch in force */
extern const char redis_script_prepare[];

#define REDIS_BATCH_LINES_MOST 1000
#define REDIS_BATCH_SPANS_MOST 32

/* Consecutive lines of a writer: before + 1 ... last. */
struct redis_span {
	char writer[ULID_CHARS + 1];
	uint64_t before, last;
};

struct redis_batch {
	struct redis_sums *sums; /* owned */
	struct redis_span spans[REDIS_BATCH_SPANS_MOST];
	size_t span_count;
	struct redis_args gaps; /* the names of skipped ranges */
	uint64_t skipped;       /* lines in these */
	struct redis_args ids;  /* of the lines' requests */
	size_t lines;
};

void redis_batch_init(struct redis_batch *b);
void redis_batch_release(struct redis_batch *b);
void redis_batch_clear(struct redis_batch *b);

/* Takes the line, whose writer's mark is `mark` (the lines up to it are applied
 * or in this batch) and less than its number.  What lies between is a gap.
 * False if the batch has no room for another writer: send it first. */
MUST_CHECK bool redis_batch_take(
    struct redis_batch *b, const struct ledger_view *line, uint64_t mark);

/* The words behind EVALSHA or EVAL and the script: numbers of keys, keys,
 * arguments.  `place` is where its last line stands.
 * -> ok | epoch, id | moved, writer, mark | damaged, key, field */
void redis_batch_command(const struct redis_batch *b, const char *prefix,
    const char *epoch, const char *name, const char *place,
    struct redis_args *out);

/* Writes a key: {prefix}:epoch:rest. */
void redis_key(struct redis_args *to, const char *prefix, const char *epoch,
    const char *rest, struct slice more);
