/*
 * throttle.h - wrong keys cost their sender time, and nobody else.
 *
 * A bounded table of addresses (the least recently seen is forgotten when it is
 * full) with a bucket each.  Only a request whose key is wrong is ever slowed
 * down for it: a valid key from the same address never asks here, because many
 * agents share one address.  One for all threads: its mutex is held for a
 * look-up.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/address.h"
#include "base/attr.h"

struct throttle;

/* Remembers at most `capacity` addresses; each may be wrong `per_minute` times
 * a minute, with that burst.  Never NULL. */
struct throttle *throttle_create(uint32_t capacity, uint32_t per_minute);

void throttle_destroy(struct throttle **tp);

/* Any thread.  Counts a wrong key from `a`.  Returns 0 if the address may be
 * told 401, else the ns after which it may try again (429).  IPv6 counts by
 * /64. */
MUST_CHECK uint64_t throttle_wrong_key(
    struct throttle *t, const struct address *a, uint64_t now_ns);
