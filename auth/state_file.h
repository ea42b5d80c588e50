/*
 * state_file.h - the small JSON files of the state folder that commands change
 * and a running gateway reads: keys.json, overrides.json.
 *
 *     {"version":1,"<list>":[{…},…]}
 *
 * They are 0600, changed under a lock of their own and replaced whole, so that
 * a reader (state_read.h) sees the old or the new.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "auth/limits.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/json_out.h"

/* False, with a sentence for a warning, if `state_dir` lets others look into
 * it.  One that is not there yet is private. */
MUST_CHECK bool state_dir_is_private(const char *state_dir, struct fault *why);

/* Makes the folder if it is not there and takes the lock; returns the
 * descriptor, which the caller closes to let go of it, or -1. */
MUST_CHECK int state_file_lock(
    const char *state_dir, const char *lock_name, struct fault *why);

/* Refuses a text that could not be read back; `what` names it in the reason. */
MUST_CHECK bool state_check_text(
    const char *what, const char *text, struct fault *why);

/* Begins the document in `text` and its list; the items follow. */
struct json_out state_file_begin(struct buf *text, const char *list);

/* The member "limits" with what is stated, if anything is. */
void state_write_limits(struct json_out *o, const struct limits *l);

/* Ends the document and puts it in the file's place, whole; it must not have
 * more than `most` bytes. */
MUST_CHECK bool state_file_replace(struct json_out *o, const char *state_dir,
    const char *name, size_t most, struct fault *why);
