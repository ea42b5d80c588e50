/*
 * report_raw.h - fills a report from the segments of the ledger, all of them,
 * by as many threads as there are cores.
 *
 * For what the rollups cannot answer, and to check them.  Files are cut into
 * parts; a line belongs to the part in which it begins.  Memory does not grow
 * with the ledger, only with the rows of the report.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/reports/report.h"

/* Told of a line that is damaged and was left out; lines count from 1. */
typedef void (*report_damage_fn)(
    void *arg, const char *path, uint64_t line, const char *why);

struct report_raw_options {
	unsigned threads;    /* 0: one a core, but no more than 8 */
	uint64_t part_bytes; /* 0: what is good */
	/* Both on the caller's thread; may be NULL. */
	report_damage_fn on_damage; /* of each part for the first few lines */
	void (*on_progress)(void *arg, uint64_t done, uint64_t all); /* bytes
	     on disk; a few times a second */
	void *arg;
};

struct report_raw_found {
	uint64_t segments; /* 0: there is no ledger yet */
	uint64_t damaged;  /* lines that were left out */
};

/* Adds all lines that the report wants.  `path` is the current file.  Closed
 * segments that were written to their end a day before the report begins are
 * not opened.  False with the reason if a segment cannot be read. */
MUST_CHECK bool report_raw(struct report *r, const char *path,
    const struct report_raw_options *o, struct report_raw_found *found,
    struct fault *why);
