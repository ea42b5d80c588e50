/*
 * user_run.h - one run of `weir user`: what was asked for, and how its verbs
 * talk.
 *
 * user.c reads the line; user_list.c and user_limits.c have the verbs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/key_table.h"
#include "auth/override_table.h"
#include "base/attr.h"
#include "cli/table.h"
#include "conf/config.h"

/* The options of the line, as bits. */
enum {
	USER_CONFIG = 1 << 0,
	USER_QUIET = 1 << 1,
	USER_JSON = 1 << 2,
	USER_NO_HEADER = 1 << 3,
	USER_SET = 1 << 4,
	USER_FOR = 1 << 5,
	USER_CLEAR = 1 << 6,
	USER_HELP = 1 << 7,
};

#define USER_SETS_MOST 32

struct user_run {
	int given;          /* USER_…, or-ed */
	const char *name;   /* borrowed, like all texts; NULL: list */
	char *const *words; /* what stands behind the name */
	size_t word_count;
	const char *config_file, *lasts;
	const char *sets[USER_SETS_MOST]; /* "concurrent=4" */
	size_t set_count;                 /* as given, also above the most */
	struct config *config;            /* owned: a reference */
	const char *state_dir;
	int64_t now_ms;
	enum table_form form;
};

/* Talk on stderr, which -q silences. */
void user_say(const struct user_run *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* An error on stderr.  Returns `status`. */
int user_fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Whether the state directory may be used with `mode` of access(2).  Returns
 * EXIT_OK, or 4 after saying what to try. */
MUST_CHECK int user_check_access(const struct user_run *r, int mode);

/* The verbs.  Each returns an exit status. */
int user_run_list(const struct user_run *r);
int user_run_limits(const struct user_run *r);
