/*
 * deadline.h - a timer that moves without cost.
 *
 * A connection's deadline changes with every request and every byte.  Moving
 * it later is one store: the libevent timer stays where it is, fires early, and
 * is then set anew.  Only moving it earlier touches libevent.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>

#include "base/attr.h"

#define DEADLINE_NONE UINT64_MAX

typedef void (*deadline_fn)(void *arg);

struct deadline {
	struct event timer;
	uint64_t at_ns;    /* when it is due, or DEADLINE_NONE */
	uint64_t armed_ns; /* when the timer fires, or DEADLINE_NONE */
	deadline_fn on_due;
	void *arg; /* borrowed */
};

void deadline_init(
    struct deadline *d, struct event_base *base, deadline_fn on_due, void *arg);

/* Forgets it; on_due will not be called. */
void deadline_release(struct deadline *d);

/* Sets when it is due (monotonic ns), or DEADLINE_NONE.  on_due is called once,
 * from the loop, never from here. */
void deadline_set(struct deadline *d, uint64_t at_ns, uint64_t now_ns);
