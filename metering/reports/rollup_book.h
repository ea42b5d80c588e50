/*
 * rollup_book.h - the sums of the whole ledger: in memory, and in the files.
 *
 * One thread owns a book: it counts lines, saves, and makes it anew.  Any
 * thread may ask it; a mutex stands between.  In memory are quarters of an hour
 * of the last months, and days of UTC of all time; the files have all quarters.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/reports/report.h"
#include "metering/reports/rollup.h"

/* Quarters of an hour are kept in memory of the newest month and of so many
 * before it. */
#define ROLLUP_BOOK_MONTHS 1

struct rollup_book;

/* Makes the folder <state_dir>/rollups and locks it.  An empty book, which the
 * caller owns; NULL with the reason, also if another process has the lock. */
MUST_CHECK struct rollup_book *rollup_book_open(
    const char *state_dir, struct fault *why);

/* Frees *bp, without saving, and sets it to NULL.  *bp may be NULL. */
void rollup_book_close(struct rollup_book **bp);

/* --- for the owner ------------------------------------------------------- */

/* Reads the files.  False if they must be made anew: with the reason if they
 * are damaged, without if there are none. */
MUST_CHECK bool rollup_book_load(struct rollup_book *b, struct fault *why);

/* Counts a line unless it was counted before.  `place` is where the next one
 * stands. */
void rollup_book_count(struct rollup_book *b, const struct ledger_view *line,
    const struct ledger_place *place);

/* Passes over what is no line. */
void rollup_book_skip(struct rollup_book *b, const struct ledger_place *place);

/* What stands before it is counted. */
const struct ledger_place *rollup_book_place(const struct rollup_book *b);

/* Up to which number a writer's lines are counted. */
uint64_t rollup_book_seq(const struct rollup_book *b, const char *writer);

/* Whether there is anything to save. */
bool rollup_book_is_dirty(const struct rollup_book *b);

/* Saves; *bytes is how much was written.  On false, with the reason, the files
 * are as they were. */
MUST_CHECK bool rollup_book_save(
    struct rollup_book *b, uint64_t *bytes, struct fault *why);

/* Lines of which writer may be counted up to which number: see
 * struct rollup_keeper_options. */
struct rollup_limit {
	const char *writer; /* borrowed; NULL: all may be */
	uint64_t (*safe_seq)(void *arg);
	void *arg;
};

bool rollup_limit_allows(
    const struct rollup_limit *limit, const struct ledger_view *line);

struct rollup_remade {
	uint64_t lines;
	size_t months, kept_quarters;
};

/* Counts all of the ledger (`path` is the current file) into a new set of sums,
 * keeps of the files those quarters of an hour whose segments are gone, and
 * saves.  It is given up, with false, when *must_stop (may be NULL) becomes
 * true.  False with the reason; the book is then as it was. */
MUST_CHECK bool rollup_book_remake(struct rollup_book *b, const char *path,
    const struct rollup_limit *limit, const _Atomic bool *must_stop,
    struct rollup_remade *done, struct fault *why);

/* --- for everyone -------------------------------------------------------- */

/* As rollup_keeper_sum(), rollup_keeper_each() and rollup_keeper_report(). */
void rollup_book_sum(struct rollup_book *b, const struct rollup_filter *f,
    struct rollup_sums *out);
void rollup_book_each(struct rollup_book *b, const struct rollup_filter *f,
    unsigned by, rollup_row_fn on_row, void *arg);
void rollup_book_report(struct rollup_book *b, struct report *r);
