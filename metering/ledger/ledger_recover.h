/*
 * ledger_recover.h - what an earlier run left in the scoreboard.
 *
 * A slot whose line stands in the ledger is freed.  A finished one keeps its
 * line and its number; one that was SENT becomes a finished one that ends in
 * `gateway_crashed`, with the counts so far.  Both are to be written.  Being
 * killed in the middle of this changes nothing: the next start does the same.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/scoreboard.h"

#define LEDGER_END_CRASHED "gateway_crashed"

/* Looks through the ledger at `path`, whose torn tail is mended already.
 * Returns by *first the slots to be written, linked in the order of their
 * lines; NULL if there are none.  Lines of crashed exchanges get `writer` and
 * numbers from 1 on; *seq is the last one.  False with the reason if the ledger
 * cannot be read: nothing has changed then. */
MUST_CHECK bool ledger_recover(struct scoreboard *board, const char *path,
    const char *writer, struct slot **first, uint64_t *seq, struct fault *why);
