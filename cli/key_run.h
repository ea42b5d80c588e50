/*
 * key_run.h - one run of `weir key`: what was asked for, and how its verbs
 * talk.
 *
 * key.c reads the line and has the verbs that look, key_change.c those that
 * change keys.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/key_table.h"
#include "base/attr.h"
#include "conf/config.h"

/* The options of the line, as bits. */
enum {
	OPTION_CONFIG = 1 << 0,
	OPTION_QUIET = 1 << 1,
	OPTION_NAME = 1 << 2,
	OPTION_EXPIRES = 1 << 3,
	OPTION_MODELS = 1 << 4,
	OPTION_USER = 1 << 5,
	OPTION_STATE = 1 << 6,
	OPTION_JSON = 1 << 7,
	OPTION_NO_HEADER = 1 << 8,
	OPTION_GRACE = 1 << 9,
	OPTION_YES = 1 << 10,
	OPTION_HELP = 1 << 11,
	OPTION_CLASS = 1 << 12,
	OPTION_LIMIT = 1 << 13,
};

#define KEY_LIMIT_OPTIONS_MOST 32

struct key_run {
	int given;           /* OPTION_…, or-ed */
	const char *operand; /* borrowed, like all texts: USER or ID */
	const char *config_file, *name, *expires, *models, *user, *state;
	const char *grace, *class;
	const char *limits[KEY_LIMIT_OPTIONS_MOST]; /* "concurrent=4" */
	size_t limit_count;    /* as given, also above the most */
	struct config *config; /* owned: a reference */
	const char *state_dir;
	int64_t now_ms;
};

/* Talk on stderr, which -q silences. */
void key_say(const struct key_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* An error on stderr.  Returns `status`. */
int key_fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Whether the state directory may be used with `mode` of access(2); warns if
 * others may look into it.  Returns EXIT_OK, or 4 after saying what to try. */
MUST_CHECK int key_check_access(const struct key_run *r, int mode);

/* Says that there is no such id.  Returns EXIT_NOT_FOUND. */
int key_not_found(const char *id);

/* Finds the key that the operand names.  The caller drops the table, also when
 * this does not return EXIT_OK. */
MUST_CHECK int key_find(const struct key_run *r, struct key_table **keys,
    const struct key_record **record);

/* The verbs that change keys.  Each returns an exit status. */
int key_run_issue(const struct key_run *r);
int key_run_rotate(const struct key_run *r);
int key_run_revoke(const struct key_run *r);
