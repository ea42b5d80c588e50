/*
 * ledger_file.h - the ledger on disk: whole lines at its end, and nothing else.
 *
 * What a crash tore is moved aside when the file is opened; what a full disk
 * tore is cut off before the next write.  When the file is renamed, removed or
 * cut short by somebody else, the next write notices and opens the path anew.
 * A descriptor on which a sync has failed is never used again: the kernel has
 * told its error and forgotten it.  Holds a flock(2) on the file, so that there
 * is one writer.  Not locked: the ledger's thread alone uses it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"

struct ledger_file;

/* Opens the file, or makes it (0640; missing folders 0700).  A last line
 * without its newline is given one if it is whole; else its bytes go to
 * torn-<time of the last write> in the same folder, which is told.  NULL with
 * the reason; the caller owns it. */
MUST_CHECK struct ledger_file *ledger_file_open(
    const char *path, struct fault *why);

/* Appends as many whole lines from the front of `lines` as the disk takes,
 * drains them, and adds their number to *count.  False with the reason if lines
 * are left, or the file cannot be opened: call again later. */
MUST_CHECK bool ledger_file_append(struct ledger_file *f, struct buf *lines,
    uint64_t *count, struct fault *why);

/* True if something was written that has not been synced. */
bool ledger_file_is_dirty(const struct ledger_file *f);

/* Syncs what was written.  False with the reason: call again later. */
MUST_CHECK bool ledger_file_sync(struct ledger_file *f, struct fault *why);

/* Syncs and closes the file, and opens its path anew.  False with the reason:
 * the next append tries again. */
MUST_CHECK bool ledger_file_reopen(struct ledger_file *f, struct fault *why);

/* Closes it, frees *fp and sets it to NULL.  *fp may be NULL. */
void ledger_file_close(struct ledger_file **fp);
