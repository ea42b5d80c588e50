/*
 * override_table.h - limits that were set for a while, as they were when the
 * file was read: immutable, in the order in which they were set.
 *
 * What is over stays in the table until the next change of the file, so every
 * question takes the time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/limits.h"
#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

/* One setting of one user.  Strings are owned by whoever owns the record. */
struct override {
	char *user;
	char *author;         /* who set it */
	struct limits limits; /* exactly one setting is stated */
	int64_t set_ms;
	int64_t until_ms; /* from then on it does not hold */
};

#define OVERRIDE_FILE_NAME "overrides.json"
#define OVERRIDE_FILE_MOST_BYTES ((size_t)1 << 20)

struct override_table;

/* Reads overrides.json (format: override_file.h).  No file, no overrides: an
 * empty table.  NULL with the reason for a file that cannot be read whole, as
 * key_table_load() has it.  The caller owns it. */
MUST_CHECK struct override_table *override_table_load(
    const char *state_dir, struct fault *why);

/* The same for an administrator's command: a file of any owner. */
MUST_CHECK struct override_table *override_table_load_as_admin(
    const char *state_dir, struct fault *why);

/* Reads the text of an overrides.json.  NULL with the reason. */
MUST_CHECK struct override_table *override_table_parse(
    struct slice json, struct fault *why);

/* Frees *tp and sets it to NULL.  *tp may be NULL. */
void override_table_destroy(struct override_table **tp);

size_t override_table_count(const struct override_table *t);
const struct override *override_table_at(
    const struct override_table *t, size_t i);

/* Whether it holds at `wall_ms`. */
bool override_holds(const struct override *o, int64_t wall_ms);

/* What holds for this setting of the user (its number: limits_text.h); NULL if
 * nothing does. */
const struct override *override_table_find(const struct override_table *t,
    const char *user, unsigned setting, int64_t wall_ms);

/* All that holds for the user, in one: *over states exactly that, and
 * *until_ms is when the last of it ends.  False, with nothing stated, if
 * nothing holds.
 *
 * Settings may end at different times: whoever acts on the sum makes it anew at
 * override_table_changes_ms(), and `*until_ms` is only for the case that this
 * comes late. */
bool override_table_merge(const struct override_table *t, const char *user,
    int64_t wall_ms, struct limits *over, int64_t *until_ms);

/* When the next one of all users' ends; INT64_MAX: none holds. */
int64_t override_table_changes_ms(
    const struct override_table *t, int64_t wall_ms);
