/*
 * events.h - counts the events of one streamed chat answer.
 *
 * An event counts as content if its data holds a non-empty "content" string;
 * the role, the finish reason, usage and comments do not, so that a gateway
 * that hides or adds such events is measured by the same events as one that
 * does not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/line.h"

struct events {
	struct line line;
	uint64_t contents;
	bool is_ended; /* data: [DONE] has come */
	bool is_bad;   /* a line was too long, or data came after [DONE] */
};

/* Reads bytes of the body, cut anywhere. */
void events_feed(struct events *e, struct slice bytes);

/* True if the stream ended with [DONE] and an empty line, and nothing came
 * after. */
MUST_CHECK bool events_are_whole(const struct events *e);

/* Makes it ready for the next answer; keeps no memory. */
void events_reset(struct events *e);
