/*
 * id.h - random bytes, and ULIDs made of them.
 *
 * A ULID is 48 bits of milliseconds and 80 random bits in 26 characters of
 * Crockford's base 32: it sorts by time.  (github.com/ulid/spec)
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"

#define ULID_CHARS 26

/* Fills `out` from getrandom(2).  False if the system has none to give: nothing
 * that needs to be unguessable may then be made. */
MUST_CHECK _Bool random_fill(void *out, size_t len, struct fault *why);

/* A source of ULIDs for one thread; its random part comes from the system once
 * and is counted up after that, so that making an id costs no system call.  Ids
 * name things, they are no secrets. */
struct ulid_source {
	uint64_t last_ms;
	uint64_t high, low; /* 16 and 64 random bits */
};

MUST_CHECK _Bool ulid_source_init(struct ulid_source *s, struct fault *why);

/* When it was made, in ms since 1970; -1 if it is none. */
int64_t ulid_time(const char *ulid);

/* Writes 26 characters and a NUL.  Ids of one source never repeat. */
void ulid_make(
    struct ulid_source *s, int64_t wall_ms, char out[ULID_CHARS + 1]);
