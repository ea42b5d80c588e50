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
#include "metering/reports/report.h"

#define KEY_IDLE_DAYS 30

/* How keys are shown. */
struct key_look {
	int64_t now_ms;
	enum table_form form;
	bool has_header;
	const struct report *uses; /* borrowed; NULL: not known */
};

bool key_list_has_user(const struct key_table *keys, const char *user);

/* Prints the keys of `user` in that state ("active", "idle": not used for
 * KEY_IDLE_DAYS, "expired", "revoked"), both NULL for all, newest first. */
MUST_CHECK bool key_list_print(const struct key_table *keys, const char *user,
    const char *state, const struct key_look *look, struct fault *why);

/* Prints one key, a line a fact. */
MUST_CHECK bool key_show_print(
    const struct key_record *r, const struct key_look *look, struct fault *why);
