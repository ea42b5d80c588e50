/*
 * key_request.h - what a key is asked for, held against the configuration: the
 * user must be in it, and may narrow a key to models that it may use.
 *
 * What is wrong goes to stderr, with what to do about it.
 */
#pragma once

#include <stddef.h>

#include "auth/key_file.h"
#include "base/attr.h"
#include "base/buf.h"
#include "conf/config.h"

/* Models of a key; their names are borrowed from the configuration. */
struct key_models {
	const char *names[KEY_FILE_MODELS_MOST];
	size_t count;
};

/* Sets `*user`, borrowed from `c`, if keys may be made for it.  Returns
 * EXIT_OK, EXIT_NOT_FOUND after printing the line that the configuration needs,
 * or EXIT_FAILED for a user who comes without a key. */
MUST_CHECK int key_user_find(
    const struct config *c, const char *name, const struct user_config **user);

/* Reads "a,b" into names as the configuration writes them, aliases resolved.
 * Returns EXIT_OK, EXIT_USAGE, EXIT_NOT_FOUND for a model that does not exist,
 * or EXIT_FAILED for one that the user may not use. */
MUST_CHECK int key_models_read(const struct config *c,
    const struct user_config *user, const char *text,
    struct key_models *models);

/* Reads --class and the --limit of a key.  Returns EXIT_OK or EXIT_USAGE. */
MUST_CHECK int key_class_read(const char *text, enum key_class *out);
MUST_CHECK int key_limits_read(
    const char *const *texts, size_t count, struct limits *out);

/* "concurrent=4 budget=5.00/day": what is stated. */
void key_limits_describe(const struct limits *l, struct buf *out);

/* The user of the configuration whose name is a typo away, or NULL. */
const char *key_nearest_user(const struct config *c, const char *name);

/* "models ds4 coder", "all models": the key's own, or if there are none the
 * user's. */
void key_models_describe(const struct key_models *models,
    const struct user_config *user, struct buf *out);
