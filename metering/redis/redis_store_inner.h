/*
 * redis_store_inner.h - a store from inside: for redis_store.c, which runs the
 * scripts, and redis_store_open.c, which looks whom it talks to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metering/redis/redis_store.h"

#define SHA_CHARS 40
#define VERSION_CHARS 31
#define TAG_BYTES 300

struct redis_store {
	const struct redis_options *options; /* borrowed */
	struct redis_link *link;             /* owned */
	struct redis_args args;
	struct ulid_source ids;
	char writer[ULID_CHARS + 1];
	char *name;          /* owned; ours */
	char tag[TAG_BYTES]; /* "{weir}" */
	char epoch[ULID_CHARS + 1];
	char old_epoch[ULID_CHARS + 1]; /* in force while `epoch` is prepared */
	char run[REDIS_RUN_CHARS + 1];
	char version[VERSION_CHARS + 1];
	char sha[SHA_CHARS + 1]; /* of the script that applies; "": unknown */
	uint64_t time_ms;
	bool knows_policy;
};

/* An answer of the wrong shape: whoever speaks there is no Redis.  Frees it,
 * closes the link and sets the problem.  Always returns false. */
bool store_not_redis(struct redis_store *s, struct redis_reply **r,
    const char *command, struct redis_problem *p);
