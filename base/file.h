/*
 * file.h - files that must be whole: read at once, replaced at once, locked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"

/* Reads all of a regular file into `out` (appended).  Refuses links
 * (O_NOFOLLOW) if `may_link` is false, anything but a regular file, and more
 * than `most` bytes.  False with errno ENOENT if there is none. */
MUST_CHECK bool file_read(const char *path, size_t most, bool may_link,
    struct buf *out, struct fault *why);

/* The same for what nobody else may see: refuses links, and a file whose mode
 * lets its group or others in.  Sets `*owner`, which may be NULL.  No copy of
 * the bytes is left but the one in `out`, which the caller wipes. */
MUST_CHECK bool file_read_private(const char *path, size_t most,
    struct buf *out, uid_t *owner, struct fault *why);

/* Replaces `path` by these bytes, so that a reader sees the old ones or the new
 * ones, also after a power loss: temp file beside it, fsync, rename, fsync of
 * the folder.  An existing file keeps its owner, group and mode as far as the
 * caller may set them; a new one gets `mode`, and the folder's owner and group
 * when root makes it. */
MUST_CHECK bool file_replace(const char *path, const void *p, size_t len,
    mode_t mode, struct fault *why);

/* Opens `path` (made with mode 0600 if it is not there) and takes an exclusive
 * flock(2), waiting for it if `wait`.  Returns the descriptor, which the caller
 * closes to unlock; or -1, with errno EWOULDBLOCK when another holds it. */
MUST_CHECK int file_lock(const char *path, bool wait, struct fault *why);

/* Writes everything, over short writes and EINTR. */
MUST_CHECK bool file_write_all(int fd, const void *p, size_t len);

/* Makes a folder and those above it, with `mode`.  An existing one is left as
 * it is. */
MUST_CHECK bool folder_make(const char *path, mode_t mode, struct fault *why);
