/*
 * redis_peers.h - which gateways count together, as last seen, on our own disk.
 *
 * When Redis has lost everything, it has also lost who else counted there;
 * whoever comes back first says it again, so that nobody takes a part of the
 * sums for the whole.  A small file: the epoch's id, then a name a line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/id.h"
#include "base/text.h"

#define REDIS_PEERS_MOST 1000
#define REDIS_PEERS_FILE "redis-peers" /* in the state directory */

struct redis_peers {
	char epoch[ULID_CHARS + 1]; /* "": nothing is known */
	char **names;               /* owned, as are the texts */
	size_t count;
};

/* {0} is a good empty list. */
void redis_peers_release(struct redis_peers *p);

/* Adds a name; more than REDIS_PEERS_MOST are not kept, nor one that is no
 * clean text. */
void redis_peers_add(struct redis_peers *p, struct slice name);

bool redis_peers_equal(
    const struct redis_peers *a, const struct redis_peers *b);

/* Reads the file; a missing or damaged one is an empty list. */
void redis_peers_load(struct redis_peers *p, const char *path);

MUST_CHECK bool redis_peers_save(
    const struct redis_peers *p, const char *path, struct fault *why);
