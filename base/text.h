/*
 * text.h - small questions about pieces of text, and numbers in them.
 *
 * A `struct slice` is borrowed text that need not end in NUL.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/attr.h"

struct slice {
	const char *p; /* borrowed */
	size_t len;
};

#define SLICE(literal) ((struct slice){(literal), sizeof(literal) - 1})

static inline struct slice
slice_of(const char *s)
{
	return (struct slice){s, s == NULL ? 0 : strlen(s)};
}

static inline bool
slice_is(struct slice s, const char *literal)
{
	size_t n = strlen(literal);

	return s.len == n && memcmp(s.p, literal, n) == 0;
}

/* As slice_is(), without regard to ASCII case. */
static inline bool
slice_is_nocase(struct slice s, const char *literal)
{
	size_t n = strlen(literal);

	return s.len == n && strncasecmp(s.p, literal, n) == 0;
}

/* True if it is one of a table of texts, without regard to ASCII case.  Fill
 * the table with SLICE_OF. */
bool slice_is_among_nocase(
    struct slice s, const struct slice *table, size_t count);

/* A constant element of such a table. */
#define SLICE_OF(literal)                      \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}

bool slice_starts(struct slice s, const char *prefix);

/* Without blanks and tabs at both ends. */
struct slice slice_trim(struct slice s);

/* Reads a whole decimal number: digits only, no sign, no blanks.  False if it
 * is empty, holds anything else, or exceeds `most`. */
MUST_CHECK bool text_to_u64(struct slice s, uint64_t most, uint64_t *out);

/* FNV-1a, 64 bits.  For tables whose keys no attacker profits from colliding.
 */
uint64_t text_hash(const char *p, size_t len);

/* True if the bytes are well-formed UTF-8 without control characters. */
bool text_is_clean_utf8(const char *p, size_t len);

/* True if the bytes are well-formed UTF-8. */
bool text_is_utf8(const char *p, size_t len);

/* Edit distance (insert, delete, replace, swap of neighbours), at most `cap`:
 * anything larger is told as cap + 1.  For "did you mean". */
unsigned text_distance(const char *a, const char *b, unsigned cap);
