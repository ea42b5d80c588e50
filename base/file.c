#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#include "base/banned.h"

/* Reads to the end.  Room for a file of `size` bytes is made at once, so that a
 * secret is not left behind in memory that was outgrown. */
static bool
read_all(int fd, size_t size, size_t most, struct buf *out)
{
	size_t room = size < most ? size + 1 : most + 1;

	for (;;) {
		char *to = buf_reserve(out, room, SIZE_MAX / 4);
		ssize_t n;

		if (to == NULL) {
			errno = ENOMEM;
			return false;
		}
		n = read(fd, to, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		buf_commit(out, (size_t)n);
		if (buf_len(out) > most) {
			errno = EFBIG;
			return false;
		}
		room -= (size_t)n;
		if (room == 0)
			room = 65536; /* it has grown meanwhile */
	}
}

/* What may be read as what; errno as the caller is told. */
static bool
may_read(
    const char *path, const struct stat *st, bool is_private, struct fault *why)
{
	if (!S_ISREG(st->st_mode)) {
		errno = EINVAL;
		return fault_set(why, "%s is not a regular file", path);
	}
	if (is_private && (st->st_mode & 077) != 0) {
		errno = EPERM;
		return fault_set(why,
		    "%s is open to others (mode %04o); set it right with: "
		    "chmod 600 %s",
		    path, (unsigned)st->st_mode & 07777, path);
	}
	return true;
}

static bool
read_opened(int fd, const char *path, size_t most, bool is_private,
    struct buf *out, uid_t *owner, struct fault *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return fault_errno(why, "cannot look at %s", path);
	if (!may_read(path, &st, is_private, why))
		return false;
	if (owner != NULL)
		*owner = st.st_uid;
	if (read_all(fd, (size_t)st.st_size, most, out))
		return true;
	if (errno == EFBIG)
		return fault_set(
		    why, "%s is larger than %zu bytes", path, most);
	return fault_errno(why, "cannot read %s", path);
}

/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
static int
open_to_read(const char *path, bool may_link, struct fault *why)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
	int fd = open(path, may_link ? flags : flags | O_NOFOLLOW);

	if (fd >= 0)
		return fd;
	if (errno == ELOOP && !may_link)
		fault_set(
		    why, "%s is a symbolic link; it must be a file", path);
	else
		fault_errno(why, "cannot open %s", path);
	return -1;
}

static bool
open_and_read(const char *path, size_t most, bool may_link, bool is_private,
    struct buf *out, uid_t *owner, struct fault *why)
{
	int fd = open_to_read(path, may_link, why), failed;
	bool ok;

	if (fd < 0)
		return false;
	ok = read_opened(fd, path, most, is_private, out, owner, why);
	failed = errno;
	close(fd);
	errno = failed;
	return ok;
}

bool
file_read(const char *path, size_t most, bool may_link, struct buf *out,
    struct fault *why)
{
	return open_and_read(path, most, may_link, false, out, NULL, why);
}

bool
file_read_private(const char *path, size_t most, struct buf *out, uid_t *owner,
    struct fault *why)
{
	return open_and_read(path, most, false, true, out, owner, why);
}

bool
file_write_all(int fd, const void *p, size_t len)
{
	const char *from = p;

	while (len > 0) {
		ssize_t n = write(fd, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
sync_folder(const char *path)
{
	char *copy = xstrdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	free(copy);
	return ok;
}

static bool
stat_folder_of(const char *path, struct stat *st)
{
	char *copy = xstrdup(path);
	bool ok = stat(dirname(copy), st) == 0;

	free(copy);
	return ok;
}

/* Gives the new file the owner and mode of the one that it replaces; if there
 * is none, the owner of the folder, for which only root needs to do anything.
 */
static bool
take_over_owner(int fd, const char *path, mode_t mode)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
		mode = st.st_mode & 0777;
	else if (!stat_folder_of(path, &st))
		return false;
	if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) != 0)
		return false;
	return fchmod(fd, mode) == 0;
}

bool
file_replace(
    const char *path, const void *p, size_t len, mode_t mode, struct fault *why)
{
	char *temp = xasprintf("%s.new-%ld", path, (long)getpid());
	int fd, failed;
	bool ok;

	unlink(temp); /* left by a crash of a process with our number */
	fd = open(
	    temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		fault_errno(why, "cannot make %s", temp);
		free(temp);
		return false;
	}
	ok = take_over_owner(fd, path, mode) && file_write_all(fd, p, len) &&
	    fsync(fd) == 0;
	failed = errno;
	if (close(fd) != 0 && ok) {
		failed = errno;
		ok = false;
	}
	if (ok && rename(temp, path) != 0) {
		failed = errno;
		ok = false;
	}
	if (!ok) {
		unlink(temp);
		errno = failed;
		fault_errno(why, "cannot replace %s", path);
	} else if (!sync_folder(path)) {
		ok = fault_errno(why, "cannot sync the folder of %s", path);
	}
	free(temp);
	return ok;
}

/* What root makes in somebody else's folder is theirs.  A file with a second
 * name is left alone: its owner may have put it there to be given it. */
static bool
adopt_lock_file(int fd, const char *path)
{
	struct stat st, folder;

	if (geteuid() != 0)
		return true;
	if (fstat(fd, &st) != 0 || !stat_folder_of(path, &folder))
		return false;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || st.st_uid != 0)
		return true;
	return fchown(fd, folder.st_uid, folder.st_gid) == 0;
}

int
file_lock(const char *path, bool wait, struct fault *why)
{
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int failed;

	if (fd < 0) {
		fault_errno(why, "cannot open %s", path);
		return -1;
	}
	if (!adopt_lock_file(fd, path)) {
		fault_errno(why, "cannot set the owner of %s", path);
		close(fd);
		return -1;
	}
	do {
		failed = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
	} while (failed != 0 && errno == EINTR);
	if (failed != 0) {
		int saved = errno;

		fault_errno(why, "cannot lock %s", path);
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Leaves errno alone if it is one or cannot be looked at. */
static bool
is_folder(const char *path)
{
	int saved = errno;
	struct stat st;
	bool is = stat(path, &st) == 0 && S_ISDIR(st.st_mode);

	errno = saved;
	return is;
}

bool
folder_make(const char *path, mode_t mode, struct fault *why)
{
	char *copy = xstrdup(path);
	bool ok = true;

	for (char *p = copy + 1; ok; p++) {
		char kept = *p;

		if (kept != '/' && kept != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) != 0 && !is_folder(copy))
			ok =
			    fault_errno(why, "cannot make the folder %s", copy);
		*p = kept;
		if (kept == '\0')
			break;
	}
	free(copy);
	return ok;
}
