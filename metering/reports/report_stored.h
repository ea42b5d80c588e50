/*
 * report_stored.h - fills a report from the rollups on the disk and the lines
 * of the ledger behind them.  No gateway need run; one may.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/reports/report.h"
#include "metering/reports/report_raw.h"

enum report_stored {
	REPORT_STORED,
	REPORT_NOT_STORED, /* there are no rollups, or damaged ones (then *why
			      says so): use report_raw() */
	REPORT_STORED_FAILED, /* the ledger cannot be read */
};

/* Adds what the report wants; its times must be quarters of an hour.  `path` is
 * the ledger's current file.  Nothing is added on a verdict other than
 * REPORT_STORED; why->text is empty if there is nothing to say.  Damage is told
 * of the lines that were read, and *damaged counts it. */
MUST_CHECK enum report_stored report_stored(struct report *r,
    const char *state_dir, const char *path, report_damage_fn on_damage,
    void *arg, uint64_t *damaged, struct fault *why);
