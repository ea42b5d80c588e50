/*
 * key_list.h - `weir key list` and `weir key show`: what is known of keys, but
 * never their secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/key_table.h"
#include "base/attr.h"
#include "base/fault.h"
#include "cli/table.h"

/* "active", "expired" or "revoked". */
const char *key_state_word(const struct key_record *r, int64_t now_ms);

bool key_list_has_user(const struct key_table *keys, const char *user);

/* Prints the keys of `user` in that state, both NULL for all, newest first. */
MUST_CHECK bool key_list_print(const struct key_table *keys, const char *user,
    const char *state, int64_t now_ms, enum table_form form, bool has_header,
    struct fault *why);

/* Prints one key, a line a fact. */
MUST_CHECK bool key_show_print(const struct key_record *r, int64_t now_ms,
    enum table_form form, struct fault *why);
