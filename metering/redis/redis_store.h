/*
 * redis_store.h - what a gateway has in Redis, and the scripts as functions.
 *
 * Counters live in an epoch: a ULID that begins their keys.  An epoch ends when
 * its counters can no longer be what the ledgers say (they were lost, touched,
 * or are counted anew); each gateway then replays its ledger into the next.
 * Beside the counters, in the same script, moves the mark of each writer: the
 * number of its last line that is in them.  Not locked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/id.h"
#include "metering/redis/redis_link.h"
#include "metering/redis/redis_peers.h"
#include "metering/redis/redis_script.h"

#define REDIS_RUN_CHARS 40
#define REDIS_PLACE_BYTES 192

/* Seen within this time, a gateway is alive. */
#define REDIS_ALIVE_MS 10000

struct redis_store;

enum store_verdict {
	STORE_OK,
	STORE_EPOCH, /* another epoch is in force: enter it */
	STORE_GONE,  /* our own record is gone from the epoch: renew it */
	STORE_MOVED, /* a writer's mark is not where we thought */
	STORE_FAILED /* the problem says why */
};

/* Where we are in an epoch, as Redis knows. */
struct store_entry {
	char place[REDIS_PLACE_BYTES]; /* of the last line; "": none */
	char writer[ULID_CHARS + 1];   /* who was here last; "": nobody */
	uint64_t age_ms;               /* since that one was seen */
};

/* A store that is not open.  `o` is borrowed for its life; `writer` is copied,
 * "" for a command.  NULL with the reason.  The caller owns it. */
MUST_CHECK struct redis_store *redis_store_create(const struct redis_options *o,
    const char *writer, int stop_fd, struct fault *why);
void redis_store_destroy(struct redis_store **sp);

/* Connects, and looks whether this Redis can be trusted with counters. */
MUST_CHECK bool redis_store_open(
    struct redis_store *s, struct redis_problem *p);
void redis_store_close(struct redis_store *s);
bool redis_store_is_open(const struct redis_store *s);

/* What this gateway is called in Redis: as configured, or the machine's name.
 * The caller frees it. */
char *redis_own_name(const struct redis_options *o);

/* Facts, once open. */
const char *redis_store_place(const struct redis_store *s);
const char *redis_store_name(const struct redis_store *s);
const char *redis_store_epoch(const struct redis_store *s); /* "": none yet */
const char *redis_store_run(const struct redis_store *s);   /* of the server */
const char *redis_store_version(const struct redis_store *s);
uint64_t redis_store_time_ms(const struct redis_store *s); /* when opened */
bool redis_store_knows_policy(const struct redis_store *s);

/* Registers us in the epoch in force, which is begun if there is none; `known`
 * is what we knew of an earlier one. */
enum store_verdict redis_store_enter(struct redis_store *s,
    const struct redis_peers *known, struct store_entry *out,
    struct redis_problem *p);

/* Makes the epoch in force the store's, without registering.  GONE if there is
 * none. */
enum store_verdict redis_store_look(
    struct redis_store *s, struct redis_problem *p);

/* The number of the writer's last line that is counted; 0: none. */
MUST_CHECK bool redis_store_mark(struct redis_store *s, struct slice writer,
    uint64_t *mark, struct redis_problem *p);

/* Counts the lines of a batch, or none of them.  `place` is where the last
 * one stands. */
enum store_verdict redis_store_apply(struct redis_store *s,
    const struct redis_batch *b, const char *place, struct redis_problem *p);

/* Says that we are alive, and whether we have caught up; in Redis's eyes not
 * before so many of our workers have joined (0: none do).  Sets who counts
 * here, whether all of them have caught up, and who was here before us. */
enum store_verdict redis_store_beat(struct redis_store *s, bool is_ready,
    unsigned workers, struct redis_peers *peers, bool *is_whole,
    struct store_entry *before, struct redis_problem *p);

/* Ends the epoch: every gateway, we too, has to replay into a new one.  EPOCH
 * if somebody else has done so. */
enum store_verdict redis_store_renew(
    struct redis_store *s, struct redis_problem *p);

/* Prepares an epoch to be filled while the old one is in force, and makes it
 * the store's. */
MUST_CHECK bool redis_store_prepare(
    struct redis_store *s, struct redis_problem *p);

/* Switches to the prepared epoch, in which we have caught up; the gateway
 * `without` (NULL: nobody) does not count any more. */
enum store_verdict redis_store_switch(
    struct redis_store *s, const char *without, struct redis_problem *p);

/* Gives up what a gateway that does not come back holds of shared limits; sets
 * how many requests of it that were.  MOVED, with the ms that its lease lasts,
 * if it is alive. */
enum store_verdict redis_store_forget(struct redis_store *s,
    const char *gateway, uint64_t *count, uint64_t *alive_ms,
    struct redis_problem *p);

/* One command of the caller's own. */
MUST_CHECK struct redis_reply *redis_store_ask(struct redis_store *s,
    const struct redis_args *command, struct redis_problem *p);

/* Calls back for every key of the prefix that begins with `rest` in the store's
 * epoch; for all keys of the prefix, of any epoch, if `rest` is NULL.  Maybe
 * more than once for one.  False with the problem, or when on_key() says so. */
typedef bool (*redis_key_fn)(
    void *arg, struct slice key, struct redis_problem *p);
MUST_CHECK bool redis_store_each_key(struct redis_store *s, const char *rest,
    redis_key_fn on_key, void *arg, struct redis_problem *p);

/* Appends a key of the store's epoch. */
void redis_store_key(const struct redis_store *s, struct redis_args *to,
    const char *rest, struct slice more);
