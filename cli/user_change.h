/*
 * user_change.h - `weir user limits NAME --set` and `--clear`: limits that hold
 * for a while.
 */
#pragma once

#include "base/attr.h"
#include "cli/user_run.h"

/* Finds the user that was named.  Returns EXIT_OK or EXIT_NOT_FOUND. */
MUST_CHECK int user_find(
    const struct user_run *r, const struct user_config **user);

/* Sets or clears overrides as the line says, and tells what has changed.
 * Returns the exit status. */
MUST_CHECK int user_run_change(const struct user_run *r);
