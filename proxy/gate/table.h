/*
 * table.h - a hash table of structs that hold its link.
 *
 * Grows with what is in it and never shrinks.  It compares hashes alone: who
 * looks something up walks those of the same hash and compares the rest.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct table_link {
	struct table_link *next;
	uint64_t hash;
};

struct table {
	struct table_link **buckets; /* owned; a power of two of them */
	size_t bucket_count, count;
};

/* Frees the table's own memory; what stood in it is its owner's. */
void table_release(struct table *t);

void table_insert(struct table *t, struct table_link *l, uint64_t hash);

/* Takes out what stands in it. */
void table_remove(struct table *t, struct table_link *l);

/* The first, and each next, with that hash.  NULL: no more. */
struct table_link *table_find(const struct table *t, uint64_t hash);
struct table_link *table_find_next(const struct table_link *l);

/* Spreads the bits of a number over all of a hash. */
static inline uint64_t
table_mix(uint64_t n)
{
	n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
	return n ^ (n >> 31);
}
