/*
 * driver.h - many connections, one thread: sends, reads, measures.
 *
 * Each connection sends the same request again as soon as its answer is
 * complete ("closed loop"), so the load is as much as the target can take.
 * After the end no request begins; those that run may finish.
 */
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "tests/bench/tally.h"

/* A run gives up after so many errors: the target is broken. */
#define DRIVER_MOST_ERRORS 1000

struct driver_spec {
	struct sockaddr_in target;
	struct slice request; /* borrowed */
	uint32_t connections;
	uint64_t requests;        /* begin at most so many; 0: no such limit */
	uint64_t expected_events; /* in each answer; 0: any number */
	uint64_t ramp_ns;         /* connections are opened over this time */
	uint64_t warmup_ns;       /* of which nothing is measured */
	uint64_t duration_ns;     /* of the window after that */
	uint64_t drain_ns;        /* then answers may take this to end */
	uint64_t interval_ns;     /* between paced events; 0: not paced */
	bool open_only;           /* open one stream each, and hold them */
	volatile sig_atomic_t *stop; /* borrowed; set by a signal */
};

struct driver;

/* Makes the connections' state.  The caller owns it.  NULL on failure. */
MUST_CHECK struct driver *driver_create(
    const struct driver_spec *spec, struct fault *why);

void driver_destroy(struct driver **dp);

/* Runs to the end and fills in *out.  With open_only, returns once every
 * stream has had its first content or has failed. */
void driver_run(struct driver *d, struct tally *out);

/* With open_only: reads on until *stop, or until the window is over. */
void driver_hold(struct driver *d, struct tally *out);
