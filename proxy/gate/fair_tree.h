/*
 * fair_tree.h - what waits, sorted by virtual time.
 *
 * A treap of links inside the structs that it sorts: no memory of its own, and
 * in the order of the times it can be walked past those that may not go.  Times
 * are compared by their difference, so that they may wrap (see fair_node.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct fair_leaf {
	struct fair_leaf *left, *right;
	uint64_t time;  /* not to be changed while it stands in a tree */
	uint64_t order; /* who is first of the same time; each but once */
};

struct fair_tree {
	struct fair_leaf *root;
};

static inline bool
fair_is_ahead(uint64_t time, uint64_t of)
{
	return (int64_t)(time - of) > 0;
}

void fair_tree_insert(struct fair_tree *t, struct fair_leaf *leaf);

/* Takes out what stands in it. */
void fair_tree_remove(struct fair_tree *t, struct fair_leaf *leaf);

/* The one with the least time, and the one after it.  NULL: no more. */
struct fair_leaf *fair_tree_first(const struct fair_tree *t);
struct fair_leaf *fair_tree_next(
    const struct fair_tree *t, const struct fair_leaf *leaf);
