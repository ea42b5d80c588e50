/*
 * ledger_check.h - is the ledger whole?  Every line, every number.
 *
 * Checks, over all segments in their order: each line is a ledger line; the
 * lines of each writer are numbered from 1, without a gap and without one twice
 * (before the first 1 of the oldest segment they may go on: what was before it
 * was removed, see ledger_check_beginning()); no closed file is empty; the
 * costs of its attempts make a line's cost, its counts
 * are those of its last attempt, and parts are not more than their whole.
 *
 * A closed segment that was found good can be remembered by its size and hash,
 * with its sums, and is then not read again.  It is hashed as plain text, so
 * that it may be gzipped later.  If it is not there the next time, while an
 * older one is, that is a finding.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/check_sums.h"

struct ledger_check;

/* Told of each finding; `line` counts from 1, 0 is the whole file.  `path` is
 * that of the current file for a closed one that is gone.  The texts live until
 * it returns. */
typedef void (*check_finding_fn)(
    void *arg, const char *path, uint64_t line, const char *text);

struct check_query {
	const char *path;        /* the current file */
	const char *memory_path; /* NULL: nothing is remembered */
	bool reads_all;          /* also what is remembered */
	check_finding_fn on_finding;
	void *arg;
};

struct check_counts {
	size_t segments, remembered; /* remembered ones were not read */
	uint64_t findings;
};

/* Which line the ledger begins with: its first good one. */
struct check_beginning {
	char writer[ULID_CHARS + 1];
	uint64_t seq;    /* 0: there is none */
	uint64_t before; /* so many lines of the writer are not here; most
			    likely they stood in files that were removed */
};

/* `query` is copied, its texts are borrowed.  The caller owns it; never NULL.
 */
struct ledger_check *ledger_check_create(const struct check_query *query);

/* Reads the segments that are there now, each to its end.  False with the
 * reason if they cannot be listed. */
MUST_CHECK bool ledger_check_read(struct ledger_check *c, struct fault *why);

/* After that: whether the current file ends inside a line.  A gateway may be
 * writing it: wait a moment, and call this again, which reads on. */
bool ledger_check_is_torn(struct ledger_check *c);

/* Takes a torn end for a finding, and remembers what was found good.  False
 * with the reason if that could not be written. */
MUST_CHECK bool ledger_check_finish(struct ledger_check *c, struct fault *why);

/* The sums of all users over all good lines. */
const struct check_sums *ledger_check_sums(const struct ledger_check *c);
struct check_counts ledger_check_counts(const struct ledger_check *c);

/* Lives as long as `c`. */
const struct check_beginning *ledger_check_beginning(
    const struct ledger_check *c);

/* Frees *cp and sets it to NULL.  *cp may be NULL. */
void ledger_check_destroy(struct ledger_check **cp);
