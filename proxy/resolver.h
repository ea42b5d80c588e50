/*
 * resolver.h - names to addresses, on a thread of its own: getaddrinfo(3) may
 * take its time, a worker may not.
 *
 * Addresses written as such are known at once.  Names are looked up when they
 * are first watched and every 30 s after; when a look-up fails the last good
 * addresses stay.  169.254.169.254 (the clouds' metadata service) is never
 * given out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/fault.h"
#include "conf/config.h"

#define RESOLVER_ADDRESSES_MOST 8

struct resolver;

/* Starts the thread.  NULL with the reason. */
MUST_CHECK struct resolver *resolver_create(struct fault *why);
void resolver_destroy(struct resolver **rp);

/* Takes up the hosts of a configuration; never waits. */
void resolver_watch(struct resolver *r, const struct config *c);

/* Waits until each watched name has been looked up once, at most `ms`. */
void resolver_wait(struct resolver *r, uint64_t ms);

/* Copies the addresses of an upstream with their ports set, at most
 * RESOLVER_ADDRESSES_MOST.  Returns how many; 0 if none is known.  Any thread.
 */
size_t resolver_find(struct resolver *r, const struct upstream_config *up,
    struct sockaddr_storage out[RESOLVER_ADDRESSES_MOST]);
