/*
 * gate_inner.h - what the files of the gate share: the gate itself.
 *
 * Everything in it is behind its mutex, but for what never changes: the names.
 */
#pragma once

#include <pthread.h>

#include "base/clock.h"
#include "proxy/gate/gate.h"
#include "proxy/gate/table.h"

struct gate {
	pthread_mutex_t mutex;
	struct table accounts;           /* owned; one a name ever configured */
	struct gate_account *fresh;      /* of these, those not yet restored */
	struct gate_upstream *upstreams; /* owned; likewise */
	size_t waiting;                  /* places in GATE_WAITS */
	uint64_t claims;                 /* open ones */
	uint64_t seen_ns;                /* the time, when it was last told */
	/* The wall clock when the monotonic one was 0, as of the last claim:
	 * overrides end by the former, places know the latter. */
	int64_t wall_at_zero_ms;
};

struct gate_account {
	struct table_link link;
	struct gate_account *next_fresh;
	enum subject subject;
	char *name, *model; /* owned; `model` may be NULL */
	struct account account;
	struct limits over;
	int64_t over_until_ms; /* 0: nothing overrides */
	bool has_concurrent;   /* gate_set_concurrent() has said, */
	uint32_t concurrent;   /* this */
};

struct gate_upstream {
	struct gate_upstream *next;
	char *name; /* owned */
	struct gate_room room;
	struct fair_queue *queue; /* owned */
	uint32_t in_flight;       /* places taken */
	uint64_t tokens;          /* in them */
	uint32_t abandoned;       /* of those: see gate_leave_user() */
	uint64_t held_ns;  /* how long places were held of late; 0: unknown */
	uint64_t moved_ns; /* when a place was last taken or given
			      back */
};

/* The limits that hold now: as configured, and what overrides them. */
struct limits gate_limits(const struct gate_subject *s, int64_t wall_ms);

/* How many requests at once it may have now, and whether it has them. */
uint32_t gate_concurrent(
    const struct gate *g, const struct gate_subject *s, uint64_t now_ns);
bool gate_is_subject_full(
    const struct gate *g, const struct gate_subject *s, uint64_t now_ns);

void gate_accounts_release(struct gate *g);
void gate_upstreams_release(struct gate *g);

/* Sums for gate_in_flight(). */
uint64_t gate_accounts_in_flight(const struct gate *g);
uint64_t gate_upstreams_in_flight(const struct gate *g);
