/*
 * ledger_view.h - reads one ledger line in place, fast.
 *
 * Our own writer puts the members in one order; a line in that order is read
 * with a few comparisons a member.  Any other line of JSON (older, edited, with
 * members that are unknown here) is read by the general reader to the same
 * result.  Nothing is allocated.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/ledger/ledger_line.h"

#define VIEW_TYPE_TEXT struct slice /* p is NULL: null, or not there */
#define VIEW_TYPE_MONEY __int128
#define VIEW_TYPE_INT int64_t
#define VIEW_TYPE_BOOL bool
#define VIEW_TYPE_TIME int64_t

struct ledger_view_attempt {
	struct slice upstream, result;
	struct usage usage; /* USAGE_UNKNOWN if it brought none */
	enum usage_source source;
	__int128 cost_pusd;
};

/* Texts are decoded; they point into the line, or into `memory` where the line
 * has them escaped.  Numbers that are missing or null are 0, but for ttft_ms
 * and predicted_ttft_ms: -1. */
struct ledger_view {
#define X(member, name, type, help) VIEW_TYPE_##type member;
	LEDGER_FIELDS(X)
#undef X
	struct ledger_view_attempt attempts[LEDGER_ATTEMPTS_MOST];
	size_t attempt_count;
	struct slice writer;
	uint64_t seq;
	/* Members, also of attempts, that are not there, and that are unknown
	 * here.  An older line has only the former, a newer one the latter. */
	unsigned missing, unknown;
	size_t memory_used;
	char memory[LEDGER_LINE_MOST_BYTES];
};

/* Reads one line, without its newline; `line` must outlive the view.  False
 * with the reason if it is no ledger line: not JSON, a member twice, a member
 * of the wrong type, ts, writer or seq missing. */
MUST_CHECK bool ledger_view_read(
    struct ledger_view *v, struct slice line, struct fault *why);
