/*
 * override_file.h - changes overrides.json: under its lock, replaced whole.
 *
 * <state_dir>/overrides.json   {"version":1,"overrides":[{"user":…,
 *     "limits":["concurrent=4"],"author":…,"set_ms":…,"until_ms":…},…]}
 * <state_dir>/overrides.lock   flock(2)ed while it is changed
 *
 * Each item is one setting of one user, and always has an end.  What is over is
 * left out when the file is written next.  Both are 0600.  Needs no running
 * gateway; a running one sees the rename through inotify on the folder.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/limits.h"
#include "auth/override_table.h"
#include "base/attr.h"
#include "base/fault.h"

struct override_request {
	const char *user;            /* borrowed, like all here */
	const char *author;          /* who asks for it */
	const struct limits *limits; /* each stated setting is overridden */
	int64_t until_ms;
};

/* Overrides settings, in the place of what overrode them before. */
MUST_CHECK bool override_file_set(const char *state_dir,
    const struct override_request *request, int64_t now_ms, struct fault *why);

/* Ends those of the user's overrides whose bits are in `settings` (of
 * limits.stated; ~0u: all).  *cleared gets the bits of those that held. */
MUST_CHECK bool override_file_clear(const char *state_dir, const char *user,
    unsigned settings, int64_t now_ms, unsigned *cleared, struct fault *why);
