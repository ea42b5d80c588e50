/*
 * ledger_segments.h - the ledger as one row of segments, plain and gzipped.
 *
 * The current file (ledger.path, usage.jsonl) and, in the same folder, the
 * closed ones: usage-YYYYMMDD-NNN.jsonl[.gz] that the gateway makes, and what
 * logrotate makes of it: usage.jsonl.1, usage.jsonl-20261121, both also .gz.
 * A segment is known by the writer and the sequence number of its first good
 * line, whatever its name is now.  Segments stand in the order of these (a
 * writer is a ULID, so later starts sort behind earlier ones), the current one
 * last.  If a plain one and a gzipped one have the same first line (a crash
 * while it was gzipped), only the plain one is there.  Empty files are not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/id.h"
#include "base/text.h"

/* Which segment: what its first good line says. */
struct segment_id {
	char writer[ULID_CHARS + 1]; /* "": no line of its beginning is good */
	uint64_t seq;
};

struct segment {
	const char *path; /* owned by the list */
	struct segment_id id;
	bool is_gzipped;
	bool is_current;    /* it is the file at ledger.path */
	uint64_t file_size; /* bytes on disk */
	int64_t mtime_ns;
	dev_t device;
	ino_t inode;
	/* Of its first bytes: a file may have got the path, and even the inode,
	 * of one that is gone. */
	uint64_t head_hash;
	size_t head_len;
};

struct segments; /* a list */

/* Looks into the folder of `path` (the current file).  A missing folder or file
 * is an empty list.  NULL with the reason if it cannot be read.  The caller
 * owns it. */
MUST_CHECK struct segments *segments_list(const char *path, struct fault *why);
size_t segments_count(const struct segments *s);
const struct segment *segments_at(const struct segments *s, size_t i);
void segments_destroy(struct segments **sp);

/* Calls for each empty file with a closed segment's name.  It is no segment,
 * since no line says which; and the gateway closes none, so that something else
 * has emptied it.  A .gz beside its plain file is in the making, and left out:
 * gzip(1) begins with an empty one. */
void segments_each_empty(
    const char *path, void (*on_empty)(void *arg, const char *path), void *arg);

/* As strcmp(): which comes first. */
int segment_id_compare(const struct segment_id *a, const struct segment_id *b);

/* --- reading lines ------------------------------------------------------- */

/* Where a line stands: its segment, and the byte (of the plain text) at which
 * it begins; `line` counts from 1. */
struct ledger_place {
	struct segment_id segment;
	const char *path; /* borrowed: until the next call */
	uint64_t offset, line;
};

struct ledger_reader;

/* Begins at the first segment; or, if `from` is not NULL, at that place of that
 * segment (from->line may be 0: not known).  If that segment is gone, at the
 * first one behind it, and *is_gone (which may be NULL) is set.  Never waits.
 * NULL with the reason.  The caller owns it. */
MUST_CHECK struct ledger_reader *ledger_reader_open(const char *path,
    const struct ledger_place *from, bool *is_gone, struct fault *why);

/* The next whole line, without its newline; it lives until the next call.
 * False at the end of what is there now: call again later, and lines written
 * since come, also over rotations (the old file is read to its end before the
 * new one is begun; what stands there behind the last newline is given as a
 * line then).  Of a line that is longer than any good one only the beginning is
 * given.  `at` says where the line stands.  False with why->text not empty if a
 * file could not be read, or was cut short by somebody else; the next call goes
 * on behind it. */
MUST_CHECK bool ledger_reader_next(struct ledger_reader *r, struct slice *line,
    struct ledger_place *at, struct fault *why);

/* Where the next line will begin. */
void ledger_reader_place(
    const struct ledger_reader *r, struct ledger_place *out);

/* A last line without its newline, when ledger_reader_next() has said false:
 * it is being written, or torn.  Empty if there is none. */
struct slice ledger_reader_rest(const struct ledger_reader *r);

/* Frees *rp and sets it to NULL.  *rp may be NULL. */
void ledger_reader_close(struct ledger_reader **rp);

/* --- gzip ---------------------------------------------------------------- */

/* Makes `path`.gz of a closed segment and removes it: into a temporary file,
 * read back and compared, synced, renamed, the folder synced.  What a crash
 * left of an earlier try is made anew.  Keeps mode, owner and time.  False
 * with the reason, the segment unchanged. */
MUST_CHECK bool segment_compress(const char *path, struct fault *why);
