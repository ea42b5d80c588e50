/*
 * check_memory.h - which closed segments were found good, and what they hold.
 *
 * A file of JSON in the state folder.  It saves reading: what is lost or broken
 * of it is read again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/ledger/check_sums.h"
#include "metering/ledger/ledger_segments.h"

#define CHECK_HASH_BYTES 32 /* SHA-256 */
#define CHECK_MEMORY_SCHEMA 1

struct checked_segment {
	struct segment_id id;
	uint64_t file_size; /* on disk, with inode and time: is it the same? */
	int64_t mtime_ns;
	ino_t inode;
	uint64_t text_size; /* inflated; with the hash: is it still the same? */
	unsigned char hash[CHECK_HASH_BYTES];
	struct check_sums sums; /* owned */
};

struct check_memory {
	struct checked_segment *items; /* owned */
	size_t count, room;
};

/* Reads the file; {0} if there is none that can be read. */
void check_memory_load(struct check_memory *m, const char *path);

/* NULL: it was not found good before. */
const struct checked_segment *check_memory_find(
    const struct check_memory *m, const struct segment_id *id);

/* Adds one; takes what `sums` owns, and leaves it empty. */
void check_memory_add(struct check_memory *m, struct checked_segment *one);

/* The same of what another memory knows; a copy. */
void check_memory_copy(
    struct check_memory *m, const struct checked_segment *from);

/* Which entry is the first, from `i` on, whose segment is gone while an older
 * one is there: only the oldest ones may be removed.  `count` if none is. */
size_t check_memory_next_gone(
    const struct check_memory *m, const struct segments *list, size_t i);

/* Replaces the file. */
MUST_CHECK bool check_memory_save(
    const struct check_memory *m, const char *path, struct fault *why);

/* Frees everything; it is empty and may be used again. */
void check_memory_release(struct check_memory *m);
