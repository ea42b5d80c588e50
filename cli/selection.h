/*
 * selection.h - which requests a command is about: the flags that report,
 * export and tail have in common, and where the ledger is.
 */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/reports/rollup.h"

/* Flags of getopt_long; a command's own ones begin at SELECTION_NEXT. */
enum selection_flag {
	SELECTION_SINCE = 256,
	SELECTION_UNTIL,
	SELECTION_USER,
	SELECTION_MODEL,
	SELECTION_UPSTREAM,
	SELECTION_KEY,
	SELECTION_TZ,
	SELECTION_LEDGER,
	SELECTION_NEXT,
};

#define SELECTION_OPTIONS                                              \
	{"since", required_argument, NULL, SELECTION_SINCE},           \
	    {"until", required_argument, NULL, SELECTION_UNTIL},       \
	    {"user", required_argument, NULL, SELECTION_USER},         \
	    {"model", required_argument, NULL, SELECTION_MODEL},       \
	    {"upstream", required_argument, NULL, SELECTION_UPSTREAM}, \
	    {"key", required_argument, NULL, SELECTION_KEY},           \
	    {"tz", required_argument, NULL, SELECTION_TZ},             \
	    {"ledger", required_argument, NULL, SELECTION_LEDGER},     \
	{                                                              \
		"config", required_argument, NULL, 'c'                 \
	}

struct selection {
	int64_t now_ms;
	struct rollup_filter filter;
	/* As given; borrowed from argv. */
	const char *since, *until, *zone, *given_ledger, *config;
	/* Found by selection_locate(). */
	bool is_utc;     /* the zone; else the process's */
	char *ledger;    /* owned; the current file */
	char *state_dir; /* owned; NULL: --ledger was given */
	char *in_config; /* owned; the configuration's path; as state_dir */
	char *zone_name; /* owned; as it was given or configured */
	bool is_user_configured; /* --user, if it was given */
};

/* Nothing is chosen, all is selected. */
void selection_init(struct selection *s, int64_t now_ms);
void selection_release(struct selection *s);

/* Takes an option with its value.  False if it is none of these flags. */
bool selection_take(struct selection *s, int option, const char *value);

/* Finds the ledger (--ledger, else the configuration's) and the zone (--tz,
 * else the configuration's), which becomes the process's.  A ledger that was
 * named by --ledger must be there.  False when that is told and *status set. */
MUST_CHECK bool selection_locate(
    struct selection *s, const char *command, int *status);

/* After selection_locate(): puts --since and --until into the filter, durations
 * being counted back to a whole multiple of `step_ms`.  False with the reason
 * if one is no time, or they are the wrong way round. */
MUST_CHECK bool selection_set_times(
    struct selection *s, int64_t step_ms, struct fault *why);

/* Whether the ledger has a file, be it the current or a closed one. */
bool selection_has_ledger(const struct selection *s);

/* Says on stderr that the ledger is not there yet. */
void selection_tell_no_ledger(const struct selection *s);

/* Says on stderr that neither configuration nor ledger knows --user. */
void selection_tell_no_user(const struct selection *s);
