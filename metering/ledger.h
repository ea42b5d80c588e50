/*
 * ledger.h - the ledger file and its thread.
 *
 * Workers hand over finished lines; the thread numbers them, appends them whole
 * (one write for all that wait) and syncs them once a second.  It looks every
 * 20 ms while there is traffic and sleeps when there is none, so that a line
 * costs no context switch and is readable within 100 ms.  A line is never lost
 * while the process lives: one that cannot be written is kept and tried again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger_line.h"

struct ledger;

/* Opens (makes, 0640) the file at `path` for appending and starts the thread. A
 * last line that is torn is moved into a file torn-… beside it, and told; a
 * whole one that lacks its newline gets it.  `writer` is this start's ULID.
 * NULL with the reason, also if another process writes there. */
MUST_CHECK struct ledger *ledger_open(
    const char *path, const char *writer, struct fault *why);

/* Takes a line; the texts in it may go afterwards.  Any thread; does no I/O. */
void ledger_add(struct ledger *l, const struct ledger_line *line);

/* False while lines cannot be written: no request may then be let in. */
bool ledger_is_writable(const struct ledger *l);

/* Lines written since the start. */
uint64_t ledger_count(const struct ledger *l);

/* Asks the thread to open the path anew before its next write (the file was
 * renamed).  Async-signal-safe. */
void ledger_reopen(struct ledger *l);

/* Writes and syncs all that was added, ends the thread, frees *lp and sets it
 * to NULL.  Gives up after three seconds on a disk that takes nothing, and says
 * how many lines that lost.  *lp may be NULL. */
void ledger_close(struct ledger **lp);
