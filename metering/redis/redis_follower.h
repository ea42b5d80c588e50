/*
 * redis_follower.h - the thread that counts the ledger's lines in Redis.
 *
 * It reads the ledger like any reader, and never holds anybody up: when Redis
 * is gone it falls behind, and catches up later.  What Redis has lost it counts
 * again.  Whatever is wrong is told once, when it begins and when it is over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/id.h"
#include "metering/redis/redis_options.h"
#include "metering/redis/redis_reply.h"
#include "metering/redis/redis_store.h"

struct redis_follower;

struct redis_follower_options {
	const struct redis_options *redis; /* copied, like all texts here */
	const char *ledger_path;
	const char *peers_path; /* of a small file of its own */
	const char *writer;     /* this start's ULID */
	/* Lines of this start with a greater number must wait; called on the
	 * follower's thread. */
	uint64_t (*safe_seq)(void *arg);
	void *arg;
	unsigned workers; /* that share limits, and must have joined before
			     our part counts as whole; 0: limits are local */
};

/* In which counters of which server sums are whole. */
struct redis_whole {
	char epoch[ULID_CHARS + 1];
	char run[REDIS_RUN_CHARS + 1];
};

struct redis_follower_status {
	enum redis_trouble trouble; /* REDIS_NONE: it counts */
	bool is_whole;              /* see redis_follower_is_whole() */
	uint64_t applied, skipped;  /* lines, since the start */
	uint64_t last_seq;          /* of this start's lines, in Redis */
};

/* Starts the thread; does not wait for Redis.  NULL with the reason. */
MUST_CHECK struct redis_follower *redis_follower_start(
    const struct redis_follower_options *o, struct fault *why);

/* True if Redis's sums are whole: every gateway that is registered there had
 * replayed its ledger when we last looked, at most about a second ago.  Shared
 * limits on money hold only then.  Any thread. */
bool redis_follower_is_whole(const struct redis_follower *f);

/* The same, and where: a script that asks for this epoch, sent to this run of
 * the server, is never answered from counters that have since been lost.  Any
 * thread. */
MUST_CHECK bool redis_follower_whole(
    struct redis_follower *f, struct redis_whole *out);

/* True if all lines that stood in the ledger `ago_ms` before are counted.  Any
 * thread. */
bool redis_follower_has_counted(
    const struct redis_follower *f, uint64_t ago_ms, uint64_t now_ms);

/* Any thread. */
void redis_follower_status(
    const struct redis_follower *f, struct redis_follower_status *out);

/* Waits at most 250 ms until all lines that are safe are counted, if Redis
 * answers.  Then ends the thread within 300 ms, frees *fp and sets it to NULL.
 * *fp may be NULL. */
void redis_follower_stop(struct redis_follower **fp);
