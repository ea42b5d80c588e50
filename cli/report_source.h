/*
 * report_source.h - where a report's numbers come from: the kept sums and the
 * ledger behind them, or all of the ledger.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "cli/selection.h"
#include "metering/reports/report.h"

struct report_found {
	bool has_ledger;
	uint64_t damaged; /* lines that were read and are not counted */
};

/* Fills a report that was made for this selection.  What cannot be answered
 * from the rollups (there are none, `is_raw`, a time that is no quarter of an
 * hour) is read from the segments, with a line about the progress if stderr is
 * a terminal.  What is odd is told on stderr.  False with the reason if the
 * ledger cannot be read; one that is not there is empty. */
MUST_CHECK bool report_fill(struct report *r, const struct selection *s,
    bool is_raw, struct report_found *found, struct fault *why);

/* How many requests a filter would find, and in *last_ms when the last of them
 * came.  Reads as report_fill() does, but tells nobody anything; 0 if it cannot
 * be read. */
uint64_t report_look_for(const struct selection *s,
    const struct rollup_filter *f, bool is_raw, int64_t *last_ms);

/* Makes the rollups anew; returns the exit status. */
int report_rebuild(const struct selection *s);
