/*
 * build.h - from the tree of a file to the struct config, section by section.
 *
 * keys_check() has told what is wrong with single values; here a wrong value
 * simply counts as not said, so that what depends on several keys can be
 * checked in the same run.  The result is used only if no error was found.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/mem.h"
#include "conf/config.h"
#include "conf/name_index.h"
#include "conf/yaml_tree.h"

struct secret {
	struct secret *next;
	size_t len;
	char text[]; /* ends in NUL */
};

/* What a configuration owns beside itself. */
struct config_memory {
	struct arena arena;
	struct secret *secrets; /* owned; wiped when they go */
	struct name_index upstreams, models, users; /* ranks: their arrays' */
};

struct build {
	struct config *c; /* all below borrowed */
	struct arena *arena;
	const struct config_env *env;
	const struct node *root;
	const char *folder; /* of the file: absolute */
	struct diagnostics *found;
};

/* The sections, in the order in which they need each other. */
void build_server(struct build *b);
void build_ledger(struct build *b); /* with redis */
void build_upstreams(struct build *b);
void build_models(struct build *b); /* with prices */
void build_users(struct build *b);  /* with limits */

/* What one place in the file says about limits: the section limits, or a user.
 */
struct limits_said {
	struct limits general;
	struct limits_at *at; /* single models, in the order of their ranks */
	size_t at_count;
};

/* The section limits, and what else holds for all users together. */
struct limits_said build_limits(struct build *b);

/* Sets the limits of a user whose models are set. */
void build_user_limits(struct build *b, struct user_config *u,
    const struct node *user, const struct limits_said *common);

/* The prices of one upstream's model, after build_all_prices(); an empty list
 * if there are none.  `needs_output`: an entry without an output price is an
 * error. */
struct price_list build_prices(struct build *b, const char *upstream,
    const char *model, bool needs_output);

/* Reads a list of prices, which lives in `a`; values that are not valid count
 * as not said. */
struct price_list prices_read(struct arena *a, const struct node *entries);

/* Takes the whole section, and tells of prices that belong to no upstream. */
void build_all_prices(struct build *b);

/* Sets what a model's and a route's params come to. */
struct params_config build_params(
    struct build *b, const struct node *model, const struct node *route);

/* Adds an error or a warning under a node. */
void build_error(struct build *b, const struct node *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void build_warning(struct build *b, const struct node *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Adds the error that a `what` of this name is not in `known`, and which one
 * may be meant. */
void build_undefined(struct build *b, const struct node *at, const char *what,
    const struct name_index *known);

/* The key node of an entry of the top-level map `section`, by its rank there.
 */
const struct node *build_key_node(
    const struct build *b, const char *section, size_t rank);
