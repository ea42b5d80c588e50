/*
 * prefix.h - how much of a prompt a server has read before: the longest
 * beginning that it shares with the same user's prompts of late at the same
 * upstream.
 *
 * A prompt is known by a hash of each 1 KiB of it, which includes all before
 * it; no text is kept.  Of each user and upstream the last few prompts are
 * remembered, and of all together so many bytes: what was of use longest ago
 * goes first.  One user's prompts never say anything about another's.
 *
 * Locked inside: any thread may call, and hashes without the lock.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

#define PREFIX_BLOCK_BYTES 1024
#define PREFIX_BLOCKS_MOST 8192 /* what follows 8 MiB counts as never read */
#define PREFIX_PROMPTS_MOST 8   /* a user and upstream */

struct prefixes;

/* A prompt's hashes; {0} is one of nothing. */
struct prefix_mark {
	uint64_t *blocks; /* owned */
	size_t count;
	uint64_t bytes; /* of the prompt, whole */
};

/* Remembers at most so many bytes.  The caller owns it; NULL with the reason if
 * the system has no random bytes to seed the hash with. */
MUST_CHECK struct prefixes *prefixes_create(
    size_t most_bytes, struct fault *why);

/* Frees *pp and sets it to NULL.  *pp may be NULL; no mark is left over in it.
 */
void prefixes_destroy(struct prefixes **pp);

/* Hashes a prompt: `parts` in an order that is the same for every prompt of an
 * API, as if they were one text.  *m is set; the caller releases it. */
void prefix_read(const struct prefixes *p, const struct slice *parts,
    size_t count, struct prefix_mark *m);

/* How many bytes of the prompt that user's prompts at that upstream begin with;
 * a multiple of PREFIX_BLOCK_BYTES, 0 below one. */
uint64_t prefix_look(struct prefixes *p, const char *user, const char *upstream,
    const struct prefix_mark *m);

/* Remembers a prompt; to be called when the server has read it, as its first
 * content shows.  Those that it begins with are forgotten for it. */
void prefix_remember(struct prefixes *p, const char *user, const char *upstream,
    const struct prefix_mark *m);

/* Bytes that are taken now. */
size_t prefixes_bytes(struct prefixes *p);

void prefix_mark_release(struct prefix_mark *m);
