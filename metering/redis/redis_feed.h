/*
 * redis_feed.h - the ledger into Redis, a batch at a time.
 *
 * Used by the follower for as long as the gateway runs, and by a command once.
 * It begins where Redis says that it stopped; what is counted already is
 * passed over by the writers' marks, so reading anything twice does no harm.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/redis/redis_store.h"

struct redis_feed;

/* Whether the line may be counted already; if not, it and all behind it wait.
 */
typedef bool (*redis_may_feed_fn)(
    void *arg, const struct ledger_view *line, const struct ledger_place *at);

/* `s` is borrowed, `path` (the ledger's) copied.  The caller owns it; never
 * NULL. */
struct redis_feed *redis_feed_create(
    struct redis_store *s, const char *path, redis_may_feed_fn may, void *arg);
void redis_feed_destroy(struct redis_feed **fp);

/* Begins behind the line at `place` (as Redis keeps it; "": at the first).  If
 * that line is not there any more, begins earlier.  *is_ours says whether the
 * place was one of this ledger.  Also makes sure that what earlier starts wrote
 * is on the disk. */
MUST_CHECK bool redis_feed_begin(struct redis_feed *f, const char *place,
    bool *is_ours, struct redis_problem *p);

/* Reads some lines and counts them.  *is_done says that there are no more now.
 * After anything but STORE_OK it must be begun again; GONE also if a mark has
 * gone back. */
enum store_verdict redis_feed_step(
    struct redis_feed *f, bool *is_done, struct redis_problem *p);

/* Since it was created. */
uint64_t redis_feed_applied(const struct redis_feed *f); /* lines */
uint64_t redis_feed_skipped(const struct redis_feed *f); /* lines in gaps */

/* The last span that was counted; its writer is "" before the first one. */
const struct redis_span *redis_feed_last(const struct redis_feed *f);
