/*
 * check_sums.h - what checked lines come to: sums a user, and who wrote which.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/text.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/name_table.h"

struct check_user {
	uint64_t requests; /* lines with attempts */
	uint64_t input_tokens, cached_tokens, output_tokens, reasoning_tokens;
	__int128 cost_pusd;
};

/* Consecutive lines of one writer, with consecutive numbers. */
struct check_run {
	char writer[ULID_CHARS + 1];
	uint64_t first, last;
};

/* {0} is a good empty one. */
struct check_sums {
	uint64_t lines;
	struct name_table names;  /* of users; "": a line names none */
	struct check_user *users; /* owned; in the order of `names` */
	size_t user_room;
	struct check_run *runs; /* owned */
	size_t run_count, run_room;
};

/* A user's sums, zeros for a new one; good until the next call. */
struct check_user *check_sums_user(struct check_sums *s, struct slice name);

/* Adds a run at the end. */
void check_sums_add_run(struct check_sums *s, const struct check_run *run);

/* Adds a good line. */
void check_sums_add_line(struct check_sums *s, const struct ledger_view *v);

/* Adds the lines and the users of another. */
void check_sums_add(struct check_sums *s, const struct check_sums *other);

/* Frees everything; it is empty and may be used again. */
void check_sums_release(struct check_sums *s);
