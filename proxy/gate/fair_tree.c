#include "proxy/gate/fair_tree.h"

#include "proxy/gate/table.h"

#include "base/banned.h"

/* A tree by (time, order), and at the same time a heap by this: it has the
 * shape that insertions in a random order would have given it. */
static uint64_t
rank(const struct fair_leaf *leaf)
{
	return table_mix(leaf->order);
}

static bool
is_before(const struct fair_leaf *a, const struct fair_leaf *b)
{
	if (a->time != b->time)
		return fair_is_ahead(b->time, a->time);
	return a->order < b->order;
}

void
fair_tree_insert(struct fair_tree *t, struct fair_leaf *leaf)
{
	struct fair_leaf **at = &t->root, **left, **right, *rest;

	while (*at != NULL && rank(*at) > rank(leaf))
		at = is_before(leaf, *at) ? &(*at)->left : &(*at)->right;
	/* What hangs here is split into what comes before it and after it. */
	rest = *at;
	*at = leaf;
	left = &leaf->left;
	right = &leaf->right;
	while (rest != NULL) {
		if (is_before(rest, leaf)) {
			*left = rest;
			left = &rest->right;
			rest = *left;
		} else {
			*right = rest;
			right = &rest->left;
			rest = *right;
		}
	}
	*left = *right = NULL;
}

void
fair_tree_remove(struct fair_tree *t, struct fair_leaf *leaf)
{
	struct fair_leaf **at = &t->root, *left = leaf->left,
			 *right = leaf->right;

	while (*at != leaf)
		at = is_before(leaf, *at) ? &(*at)->left : &(*at)->right;
	while (left != NULL && right != NULL) {
		if (rank(left) > rank(right)) {
			*at = left;
			at = &left->right;
			left = *at;
		} else {
			*at = right;
			at = &right->left;
			right = *at;
		}
	}
	*at = left != NULL ? left : right;
}

struct fair_leaf *
fair_tree_first(const struct fair_tree *t)
{
	struct fair_leaf *leaf = t->root;

	while (leaf != NULL && leaf->left != NULL)
		leaf = leaf->left;
	return leaf;
}

struct fair_leaf *
fair_tree_next(const struct fair_tree *t, const struct fair_leaf *leaf)
{
	struct fair_leaf *at = t->root, *best = NULL;

	while (at != NULL) {
		if (is_before(leaf, at)) {
			best = at;
			at = at->left;
		} else {
			at = at->right;
		}
	}
	return best;
}
