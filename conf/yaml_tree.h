/*
 * yaml_tree.h - a YAML file as a tree of nodes that know where they stand.
 *
 * Every scalar is text: what it means is for whoever knows the key.  What YAML
 * allows and a configuration has no use for is refused here, with a message:
 * duplicate keys, merge keys, tags, several documents, keys that are not text,
 * nesting deeper than CONFIG_DEPTH_MOST.  An alias is the anchored node itself,
 * so the tree may share branches; it is never cyclic, and counting shared
 * branches as often as they are reached it has at most YAML_NODES_MOST nodes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/mem.h"
#include "base/text.h"
#include "conf/diagnostic.h"

#define YAML_NODES_MOST 500000
#define YAML_ANCHORS_MOST 1000

enum node_kind { NODE_TEXT, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	bool is_quoted;
	unsigned line, column, width; /* as in a diagnostic */
	unsigned end_line, end_column;
	struct slice text;   /* of a NODE_TEXT; a NUL follows it */
	struct node **keys;  /* of a NODE_MAP, in the file's order, all text */
	struct node **items; /* its values, or a list's items */
	size_t count;
	size_t weight;   /* nodes in it, shared ones as often as reached */
	unsigned height; /* levels of lists and maps in it */
};

/* Reads a whole file.  The tree lives in `a`.  NULL, with an error in `found`,
 * if it is not YAML; mistakes that leave a tree to look at go into `found`, and
 * the tree is returned without them. */
MUST_CHECK const struct node *yaml_tree_read(
    struct slice text, struct arena *a, struct diagnostics *found);

/* The value of a key; NULL if there is none, or `map` is no map, or NULL. */
const struct node *node_get(const struct node *map, const char *key);

/* The key itself, where it stands; NULL if it is not there. */
const struct node *node_key(const struct node *map, const char *key);

/* A key without anything behind it. */
bool node_is_empty(const struct node *n);
