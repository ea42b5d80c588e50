/*
 * key_file.h - changes keys.json: under its lock, replaced whole.
 *
 * <state_dir>/keys.json   {"version":1,"keys":[{"id":…,"user":…,…},…]}
 * <state_dir>/pepper      32 random bytes, made by whoever first needs them
 * <state_dir>/keys.lock   flock(2)ed while either is changed
 *
 * A key has id, user, name, models, class, limits (["concurrent=4",…]),
 * created_ms, expires_ms, revoked_ms and hash (64 hexadecimal digits); what is
 * not said is left out.  All are 0600.  Needs no running gateway; a running one
 * sees the rename through inotify on the folder.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/key.h"
#include "auth/key_table.h"
#include "auth/state_file.h"
#include "base/attr.h"
#include "base/fault.h"

struct key_request {
	const char *user;          /* borrowed, like all here */
	const char *name;          /* or NULL */
	const char *const *models; /* or NULL */
	size_t model_count;
	enum key_class class;
	const struct limits *limits; /* what is stated counts; or NULL */
	int64_t expires_ms;          /* 0: never */
};

/* Adds a key.  `out` is the only place where it is ever in clear; the caller
 * shows and wipes it. */
MUST_CHECK bool key_file_issue(const char *state_dir,
    const struct key_request *request, int64_t now_ms, char out[KEY_CHARS + 1],
    struct fault *why);

enum key_change { KEY_CHANGED, KEY_NOT_FOUND, KEY_WAS_REVOKED, KEY_FAILED };

/* Revokes from `now_ms` on.  KEY_WAS_REVOKED changes nothing. */
MUST_CHECK enum key_change key_file_revoke(
    const char *state_dir, const char *id, int64_t now_ms, struct fault *why);

/* Issues a new key with all that is said of the old one, its expiry too; the
 * old one stops at now_ms + grace_ms. */
MUST_CHECK enum key_change key_file_rotate(const char *state_dir,
    const char *id, uint64_t grace_ms, int64_t now_ms, char out[KEY_CHARS + 1],
    struct fault *why);
