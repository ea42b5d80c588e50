/*
 * rollup_marks.h - up to which number each writer's lines have been counted.
 *
 * Each start of the gateway is a writer, and its lines stand in the ledger in
 * the order of their numbers; so one number a writer tells whether a line was
 * counted before, wherever it is met again.  Of the last thousand writers the
 * number is known; an earlier one has ended long ago and is counted whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/id.h"
#include "base/text.h"

#define ROLLUP_MARKS_MOST 1000

struct rollup_mark {
	char writer[ULID_CHARS + 1];
	uint64_t seq; /* this line and those before it are counted */
};

/* {0} is a good empty one. */
struct rollup_marks {
	struct rollup_mark *marks; /* owned; by writer, ascending */
	size_t count;
	/* The last writer that was forgotten; "": none was. */
	char forgotten[ULID_CHARS + 1];
};

/* Whether a line is not counted yet; from then on it is.  `writer` must have
 * ULID_CHARS characters. */
bool rollup_marks_take(
    struct rollup_marks *m, struct slice writer, uint64_t seq);

/* Up to which number a writer's lines are counted; 0: none is known to be. */
uint64_t rollup_marks_seq(const struct rollup_marks *m, struct slice writer);

void rollup_marks_release(struct rollup_marks *m);
