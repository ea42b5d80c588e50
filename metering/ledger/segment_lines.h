/*
 * segment_lines.h - one segment of the ledger as lines, plain or gzipped.
 *
 * A plain one may grow while it is read: at its end, call again later.  Memory
 * is one block, whatever stands in the file: of a line that is too long only so
 * much is kept as shows it.  For the ledger's readers behind
 * ledger_segments.h and ledger_check.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/ledger/ledger_segments.h"

enum segment_extent {
	SEGMENT_WHOLE,
	SEGMENT_BEGINNING, /* 64 KiB of text, in small pieces */
};

enum lines_verdict {
	LINES_ONE,    /* here it is */
	LINES_END,    /* no whole line more, as of now */
	LINES_FAILED, /* it cannot be read any further */
	LINES_CUT,    /* somebody has cut the file short, or overwritten it */
};

struct segment_lines;

/* Opens it at a byte of its plain text.  NULL with the reason, and errno.  The
 * caller owns it. */
MUST_CHECK struct segment_lines *segment_lines_open(const char *path,
    bool is_gzipped, uint64_t offset, enum segment_extent extent,
    struct fault *why);

/* Is given the plain text, piece by piece, as it is read. */
typedef void (*segment_text_fn)(void *arg, const char *p, size_t len);
void segment_lines_watch(
    struct segment_lines *l, segment_text_fn on_text, void *arg);

/* The next line without its newline; it lives until the next call.  The reason
 * is set for LINES_FAILED and LINES_CUT. */
MUST_CHECK enum lines_verdict segment_lines_next(
    struct segment_lines *l, struct slice *line, struct fault *why);

/* Where the next line begins, in bytes of plain text. */
uint64_t segment_lines_offset(const struct segment_lines *l);

/* After LINES_END: what stands behind the last newline. */
struct slice segment_lines_rest(const struct segment_lines *l);

/* The same, and passes over it.  Empty if there is none. */
struct slice segment_lines_take_rest(struct segment_lines *l);

/* True if that is the file which is open, whatever its name is now. */
bool segment_lines_is(const struct segment_lines *l, dev_t device, ino_t inode);

/* Sets what the open file says of itself: size, time, inode, first bytes. */
MUST_CHECK bool segment_lines_describe(
    const struct segment_lines *l, struct segment *s, struct fault *why);

/* True if the open file is the one that was described. */
bool segment_lines_are_of(
    const struct segment_lines *l, const struct segment *s);

/* Closes it, frees *lp and sets it to NULL.  *lp may be NULL. */
void segment_lines_close(struct segment_lines **lp);
