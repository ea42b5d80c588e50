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
#include <sys/types.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"

struct ledger_file;

/* Opens the file, or makes it (0640; missing folders 0700).  A last line
 * without its newline is given one if it is whole; else its bytes go to
 * torn-<time of the last write> in `torn_folder`, which is told.  NULL with the
 * reason; the caller owns it. */
MUST_CHECK struct ledger_file *ledger_file_open(
    const char *path, const char *torn_folder, struct fault *why);

/* Opens the path anew if it does not name the open file any more.  After it,
 * ledger_file_place() says where the next line will stand. */
MUST_CHECK bool ledger_file_ready(struct ledger_file *f, struct fault *why);
void ledger_file_place(
    const struct ledger_file *f, dev_t *device, ino_t *inode, uint64_t *offset);

/* After ledger_file_ready(): appends as many whole lines from the front of
 * `lines` as the disk takes, drains them, and adds their number to *count.
 * False with the reason if lines are left, or the file cannot be opened: call
 * again later. */
MUST_CHECK bool ledger_file_append(struct ledger_file *f, struct buf *lines,
    uint64_t *count, struct fault *why);

/* True if something was written that has not been synced. */
bool ledger_file_is_dirty(const struct ledger_file *f);

/* Syncs what was written.  False with the reason: call again later; what was
 * written since the last good sync is then written over itself first, on a new
 * descriptor, since the kernel takes it for clean. */
MUST_CHECK bool ledger_file_sync(struct ledger_file *f, struct fault *why);

/* Syncs and closes the file, and opens its path anew.  False with the reason:
 * the next append tries again. */
MUST_CHECK bool ledger_file_reopen(struct ledger_file *f, struct fault *why);

/* True if it holds lines, and with `more` bytes would exceed `most_bytes` (0:
 * no bound), or its last line was written on an earlier day (UTC). */
bool ledger_file_is_due(const struct ledger_file *f, size_t more,
    uint64_t most_bytes, bool is_daily, int64_t now_ms);

/* Syncs the file, renames it to <name>-YYYYMMDD-NNN.<ext>, by the day of its
 * last line and the next free number, and begins a new one.  False with the
 * reason: the old one goes on. */
MUST_CHECK bool ledger_file_rotate(struct ledger_file *f, struct fault *why);

/* Closes it, frees *fp and sets it to NULL.  *fp may be NULL. */
void ledger_file_close(struct ledger_file **fp);
