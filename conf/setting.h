/*
 * setting.h - takes values out of the tree of a file, for those who build the
 * configuration from it.
 *
 * A value is asked for by its path in the table of keys, of which the last part
 * is the key in `map`.  A map that is NULL has nothing in it.  Where nothing,
 * or nothing valid, is said, the table's default counts; without one 0, false
 * or NULL.  What is returned lives as long as the configuration.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/address.h"
#include "base/attr.h"
#include "conf/build.h"
#include "conf/yaml_tree.h"

uint64_t setting_number(const struct node *map, const char *path);
bool setting_flag(const struct node *map, const char *path);
const char *setting_text(const struct node *map, const char *path);

/* The items of a list, or a list of nothing.  They may be of any kind. */
const struct node *setting_list(const struct node *map, const char *path);

/* True if the node is a text that its key may hold. */
bool setting_is_valid(const struct node *n, const char *path);

/* `path` itself, or, if it is relative, from the configuration's folder. */
const char *path_absolute(const struct build *b, const char *path);

/* A path, made absolute. */
const char *setting_path(
    const struct build *b, const struct node *map, const char *path);

/* A secret or a url, with what it refers to put in; in memory that is wiped.
 * NULL if it is not there, or cannot be had: then the error has been added. */
const char *setting_secret(
    struct build *b, const struct node *map, const char *path);

/* A sealed list of ranges, which the caller owns. */
struct address_list *setting_ranges(const struct node *map, const char *path);
