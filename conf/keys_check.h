/*
 * keys_check.h - holds a file against the table of keys: unknown keys, missing
 * keys, values that are not what the key is declared to be, and keys that this
 * version does not act on.
 */
#pragma once

#include "conf/diagnostic.h"
#include "conf/yaml_tree.h"

/* Adds everything that it finds, and hides what may be a secret. */
void keys_check(const struct node *root, struct diagnostics *found);
