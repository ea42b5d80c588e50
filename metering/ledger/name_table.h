/*
 * name_table.h - names, each with the number in which order it came.
 *
 * For sums a name: keep them in an array, and find a name's place in it here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

struct name_table {
	struct slice
	    *names;    /* owned, with their texts; in the order they came */
	size_t *slots; /* owned; a power of two: 0, or a name's number + 1 */
	size_t count, slot_count;
};

/* The number of a name; adds it if it is not there.  Numbers count from 0 and
 * stay as they are. */
size_t name_table_find(struct name_table *t, struct slice name);

/* Frees everything; the table is empty and may be used again. */
void name_table_release(struct name_table *t);
