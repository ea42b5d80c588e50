/*
 * tally.h - what one run of the load generator counted, and how it is told.
 *
 * "All" counts include warm-up and the end of the run, as processor time
 * outside does; the others only what fell into the measured window.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/bench/histogram.h"

/* What can go wrong with an answer: X(name, text in the report). */
#define LOAD_ERRORS(X)                                                        \
	X(CONNECT, "connect")       /* refused, or no socket */               \
	X(IO, "io")                 /* reset while sending or receiving */    \
	X(CUT, "cut")               /* end of file before the answer's end */ \
	X(HEAD, "head")             /* an unreadable head */                  \
	X(FRAMING, "framing")       /* broken chunks */                       \
	X(STATUS, "status")         /* anything but 200 */                    \
	X(INCOMPLETE, "incomplete") /* no [DONE], or no whole JSON object */  \
	X(EVENTS, "events")         /* not as many events as expected */      \
	X(EXTRA, "extra")           /* bytes after the answer's end */        \
	X(UNFINISHED, "unfinished") /* not done when the time was over */

enum load_error {
#define X(name, text) LOAD_ERROR_##name,
	LOAD_ERRORS(X)
#undef X
	    LOAD_ERROR_COUNT
};

struct tally {
	uint64_t requests;     /* that were answered well in the window */
	uint64_t requests_all; /* that were answered well */
	uint64_t events;       /* content events, alike */
	uint64_t events_all;
	uint64_t bytes_in_all;
	uint64_t connects_all;
	uint64_t errors[LOAD_ERROR_COUNT];
	uint64_t errors_all;
	int bad_status; /* the last one that was not 200, or 0 */
	uint64_t window_ns;
	struct histogram latency;    /* first byte sent to last received */
	struct histogram first_byte; /* first byte sent to body's first */
	struct histogram delay;      /* of a paced event behind its schedule */
};

void tally_error(struct tally *t, enum load_error e);

/* Writes one JSON object on one line. */
void tally_print(const struct tally *t, FILE *out);
