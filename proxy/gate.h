/*
 * gate.h - now, or not: what is in flight, over all workers.
 *
 * Counts belong to the names of users and upstreams, not to a configuration, so
 * they survive a reload.  One mutex, held for a few additions at a time and
 * never over I/O.  Decisions only count here; a queue in front of a full
 * upstream has its place in gate_take_slot(), which would then answer
 * GATE_WAIT.
 */
#pragma once

#include <stdint.h>

#include "auth/limiter.h"
#include "base/attr.h"

struct gate;
struct gate_user;     /* live counts of a user; lives as long as the gate */
struct gate_upstream; /* live counts of an upstream; likewise */

/* Never NULL. */
struct gate *gate_create(void);
void gate_destroy(struct gate **gp);

/* Finds the counts of that name, or makes them. */
struct gate_user *gate_user(struct gate *g, const char *name);
struct gate_upstream *gate_upstream(struct gate *g, const char *name);

enum gate_verdict { GATE_OK, GATE_RATE, GATE_CONCURRENT, GATE_FULL };

/* What a client is told of its request limit. */
struct gate_quota {
	uint32_t limit, remaining;
	uint64_t reset_ns; /* until the bucket is full again */
	uint64_t wait_ns;  /* GATE_RATE: until it may pass; else 0 */
};

/* Lets one more request of the user in, against both of its limits.  Unless it
 * returns GATE_OK nothing was taken.  After GATE_OK, gate_user_leave() must
 * follow. */
MUST_CHECK enum gate_verdict gate_user_enter(struct gate *g,
    struct gate_user *u, struct rate_limit requests, uint32_t concurrent,
    uint64_t now_ns, struct gate_quota *quota);

void gate_user_leave(struct gate *g, struct gate_user *u);

/* Takes one of the upstream's `most` places: GATE_OK or GATE_FULL.  After
 * GATE_OK, gate_give_slot() must follow. */
MUST_CHECK enum gate_verdict gate_take_slot(
    struct gate *g, struct gate_upstream *up, uint32_t most);

void gate_give_slot(struct gate *g, struct gate_upstream *up);

/* Requests in flight in all: 0 when nothing leaks. */
uint64_t gate_in_flight(struct gate *g);
