/*
 * rollup_keeper.h - the thread that sums up the ledger while it grows.
 *
 * It follows the ledger as any reader would, and keeps the sums in memory and
 * in <state_dir>/rollups (rollup_file.h).  A line is counted once it is on the
 * disk, and once only: the files say up to which place of the ledger they
 * count, and up to which number of each writer.  What a crash left uncounted is
 * counted at the next start.  In memory there are quarters of an hour of the
 * newest month (UTC) and the one before, and days for all time; the files have
 * all quarters.
 * Files that are damaged are made anew from the ledger.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/reports/report.h"
#include "metering/reports/rollup.h"

struct rollup_keeper;

struct rollup_keeper_options {
	const char *state_dir;   /* all are copied */
	const char *ledger_path; /* the current file */
	const char *writer;      /* this start's; NULL: none is writing */
	/* Lines of that writer with a greater number are not counted yet;
	 * asked from the keeper's thread.  NULL: all may be. */
	uint64_t (*safe_seq)(void *arg);
	void *arg;
};

/* Locks the rollups and starts the thread, which then reads them.  NULL with
 * the reason: another process keeps them, or the folder cannot be made. */
MUST_CHECK struct rollup_keeper *rollup_keeper_start(
    const struct rollup_keeper_options *o, struct fault *why);

/* Counts what may be counted, saves, ends the thread, frees *kp and sets it to
 * NULL.  *kp may be NULL.  Call it before what safe_seq asks goes; what is
 * synced after that is counted at the next start. */
void rollup_keeper_stop(struct rollup_keeper **kp);

/* The functions below may be called by any thread; none but the first waits for
 * the disk. */

/* Waits until all that stands in the ledger now has been counted, and of this
 * start's own lines those up to number `seq` (0: none).  For who begins with
 * what was used before: first ledger_has_recovered(), then this, then
 * rollup_keeper_each(), and only then may a request be let in.  False if it is
 * not done within `most_ms`, or if it is asked to stop. */
MUST_CHECK bool rollup_keeper_wait(
    struct rollup_keeper *k, uint64_t seq, uint64_t most_ms);

/* False until all that stood in the ledger at the start has been counted:
 * before that, sums are too small. */
bool rollup_keeper_is_caught_up(struct rollup_keeper *k);

/* Sums up what arrived from f->since_ms on and before f->until_ms; INT64_MIN
 * and INT64_MAX: all time.  Both must be quarters of an hour; before the
 * last month, days of UTC (else the day that they are in counts whole, by its
 * beginning). */
void rollup_keeper_sum(struct rollup_keeper *k, const struct rollup_filter *f,
    struct rollup_sums *out);

/* The same for everybody in one walk: calls back once for each set of the names
 * in `by` (ROLLUP_BIT) with its sums, in no order, on the caller's thread and
 * with nothing locked; the row's start_ms is 0 and its waits are empty.  What
 * limits are restored from at the start: tokens are input_tokens and
 * output_tokens, money is cost_pusd, of which failover fallback_pusd. */
void rollup_keeper_each(struct rollup_keeper *k, const struct rollup_filter *f,
    unsigned by, rollup_row_fn on_row, void *arg);

/* Adds what is in memory to a report (which picks what it was made for, by the
 * same rule of time); report_finish() it then.  For GET /v1/usage: a query
 * with REPORT_HOURLY or REPORT_DAILY, is_utc, only[ROLLUP_USER], and `by`. */
void rollup_keeper_report(struct rollup_keeper *k, struct report *r);

/* --- without a gateway --------------------------------------------------- */

struct rollup_rebuilt {
	uint64_t lines; /* that were read and counted */
	size_t months;
	size_t kept_quarters; /* whose lines are not in the ledger any more */
};

/* Makes the files anew from the segments that are still there, on the caller's
 * thread.  Quarters of an hour of which segments are gone are kept as they are.
 * False with the reason, the files unchanged: a gateway keeps them, or the
 * ledger cannot be read. */
MUST_CHECK bool rollup_rebuild(const struct rollup_keeper_options *o,
    struct rollup_rebuilt *done, struct fault *why);
