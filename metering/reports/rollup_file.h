/*
 * rollup_file.h - the rollups on the disk: <state_dir>/rollups.
 *
 * One file a month of UTC, `2026-11.57.jsonl`, with one line a cell, and
 * `manifest.jsonl`: which file of each month counts, up to which place of the
 * ledger, and up to which number of each writer.  The manifest is replaced
 * last, at once, and month files are never changed: so sums and place always
 * belong together, whenever the power fails.  Every file ends in a line with
 * its checksum.  All of it can be made anew from the ledger.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/reports/rollup.h"
#include "metering/reports/rollup_marks.h"

#define ROLLUP_VERSION 1

/* A month of UTC, counted from January of the year 0. */
int32_t rollup_month_of(int64_t wall_ms);
int64_t rollup_month_start(int32_t month); /* ms since 1970 */

struct rollup_month {
	int32_t month;
	uint64_t generation; /* its file's number */
};

/* {0} is a good empty one. */
struct rollup_manifest {
	uint64_t generation;         /* the highest of all files */
	struct rollup_month *months; /* owned; ascending */
	size_t month_count;
	/* What stands before it is counted; segment.writer "": nothing is.
	 * Its path is NULL. */
	struct ledger_place place;
	/* The first line that ever was counted, which tells whether the
	 * ledger's oldest segments are gone by now. */
	struct segment_id first;
	struct rollup_marks marks;
};

enum rollup_verdict {
	ROLLUP_OK,
	ROLLUP_ABSENT,  /* no such file; of a month: replaced in between */
	ROLLUP_DAMAGED, /* or of another version */
	ROLLUP_FAILED,  /* it cannot be read */
};

/* Reads the manifest of a folder.  On any verdict *m can be released, and is
 * empty unless it is OK. */
MUST_CHECK enum rollup_verdict rollup_manifest_read(
    const char *folder, struct rollup_manifest *m, struct fault *why);

/* The same for text that was read already. */
MUST_CHECK enum rollup_verdict rollup_manifest_parse(
    struct slice text, struct rollup_manifest *m, struct fault *why);

/* Where the manifest cannot be read: names the newest file of each month that
 * is there.  No place, and nothing is marked. */
void rollup_manifest_guess(const char *folder, struct rollup_manifest *m);

/* Replaces it. */
MUST_CHECK bool rollup_manifest_write(
    const char *folder, const struct rollup_manifest *m, struct fault *why);

/* Sets which file a month has. */
void rollup_manifest_set(
    struct rollup_manifest *m, int32_t month, uint64_t generation);

void rollup_manifest_release(struct rollup_manifest *m);

/* Calls back for every cell of a month's file.  Nothing is given of a file that
 * is not whole; of one that is whole and has a line that is none, what stands
 * before that. */
MUST_CHECK enum rollup_verdict rollup_month_read(const char *folder,
    const struct rollup_month *month, rollup_row_fn on_row, void *arg,
    struct fault *why);

/* The same for text that was read already. */
MUST_CHECK enum rollup_verdict rollup_month_parse(
    struct slice text, rollup_row_fn on_row, void *arg, struct fault *why);

/* Writes the cells that begin in that month, as a new file; *bytes (may be
 * NULL) is its size. */
MUST_CHECK bool rollup_month_write(const char *folder,
    const struct rollup_month *month, const struct rollup *cells,
    uint64_t *bytes, struct fault *why);

/* Renames a damaged file of a month, or the manifest (month NULL), so that it
 * is out of the way and not lost. */
void rollup_set_aside(const char *folder, const struct rollup_month *month);

/* Removes what no manifest names any more. */
void rollup_sweep(const char *folder, const struct rollup_manifest *m);
