/*
 * rollup_names.h - names, each kept once and known by its number.
 *
 * 0 is no name (NULL), which is not the empty one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/text.h"

struct rollup_names {
	struct slice *texts; /* owned; each ends in NUL; [0] is none */
	uint32_t *slots;     /* owned; by hash, 0: free; half are */
	size_t count, room, slot_count;
	struct arena arena; /* the bytes */
};

void rollup_names_init(struct rollup_names *n);
void rollup_names_release(struct rollup_names *n);

/* The number of a name; 0 if it is not there. */
uint32_t rollup_names_find(const struct rollup_names *n, struct slice s);

/* The same; it is added if it is not there. */
uint32_t rollup_names_put(struct rollup_names *n, struct slice s);
