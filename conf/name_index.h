/*
 * name_index.h - finds what has a name: sorted once, searched by halving.
 *
 * Names are borrowed, and are any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/mem.h"
#include "base/text.h"

struct named {
	struct slice name;
	size_t rank; /* where it stands in its owner's array */
};

struct name_index {
	struct named *all; /* owned by an arena */
	size_t count;
};

/* Makes room for `most` names. */
void name_index_init(struct name_index *x, struct arena *a, size_t most);

void name_index_add(struct name_index *x, struct slice name, size_t rank);

/* Call once after the last name_index_add().  Of equal names the one with the
 * lower rank is found. */
void name_index_sort(struct name_index *x);

/* The rank of a name; SIZE_MAX if it is not there. */
size_t name_index_find(const struct name_index *x, struct slice name);

/* The name nearest to `wrong`, within two edits; NULL if none is.  Looks at so
 * many names that it takes no noticeable time. */
const struct named *name_index_nearest(
    const struct name_index *x, struct slice wrong);
