#include "metering/ledger_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger_line.h"

#include "base/banned.h"

#define WRITE_BYTES 32768 /* many times the longest line */
#define FILE_MODE 0640
#define FOLDER_MODE 0700

struct ledger_file {
	char *path;   /* owned */
	char *folder; /* owned */
	int fd;       /* -1: must be opened before the next use */
	dev_t device;
	ino_t inode;
	off_t size; /* after our last write */
	bool is_dirty;
};

static void
let_go(struct ledger_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static bool
sync_folder(const struct ledger_file *f, struct fault *why)
{
	int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		fault_errno(why, "cannot sync the folder %s", f->folder);
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Finds where the last line begins that has no newline; `size` if the file ends
 * in one. */
static bool
find_tail(const struct ledger_file *f, off_t size, off_t *tail)
{
	char block[4096];
	off_t at = size;

	while (at > 0) {
		size_t want =
		    at < (off_t)sizeof block ? (size_t)at : sizeof block;
		const char *newline;

		if (pread(f->fd, block, want, at - (off_t)want) !=
		    (ssize_t)want)
			return false;
		newline = memrchr(block, '\n', want);
		at -= (off_t)want;
		if (newline != NULL) {
			at += newline + 1 - block;
			break;
		}
	}
	*tail = at;
	return true;
}

/* True if only the newline is missing. */
static bool
is_whole_line(const struct ledger_file *f, off_t tail, off_t size)
{
	char text[LEDGER_LINE_MOST_BYTES];
	struct ledger_entry entry;
	ssize_t len = size - tail;

	return len <= (ssize_t)sizeof text &&
	    pread(f->fd, text, (size_t)len, tail) == len &&
	    ledger_line_read((struct slice){text, (size_t)len}, &entry, NULL) &&
	    entry.seq > 0;
}

static bool
copy_tail(const struct ledger_file *f, off_t tail, off_t size, int to)
{
	char block[4096];

	while (tail < size) {
		ssize_t n = pread(f->fd, block, sizeof block, tail);

		if (n <= 0 || !file_write_all(to, block, (size_t)n))
			return false;
		tail += n;
	}
	return true;
}

/* Moves the bytes from `tail` on into a file of their own.  They are cut off
 * only when they are safe there. */
static bool
move_tail(const struct ledger_file *f, off_t tail, const struct stat *st,
    struct fault *why)
{
	char when[32], *path;
	struct tm tm;
	bool ok = false;
	int to;

	gmtime_r(&st->st_mtime, &tm);
	strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm);
	path = xasprintf("%s/torn-%s", f->folder, when);
	to = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
	    FILE_MODE);
	if (to < 0) {
		fault_errno(why, "cannot make %s for a torn line", path);
		goto out;
	}
	if (!copy_tail(f, tail, st->st_size, to) || fsync(to) != 0) {
		fault_errno(why, "cannot write a torn line to %s", path);
		goto out;
	}
	if (!sync_folder(f, why))
		goto out;
	if (ftruncate(f->fd, tail) != 0) {
		fault_errno(why, "cannot cut a torn line off %s", f->path);
		goto out;
	}
	log_warning("the last line of the ledger %s was torn; its %lld bytes "
		    "are now in %s",
	    f->path, (long long)(st->st_size - tail), path);
	ok = true;
out:
	if (to >= 0)
		close(to);
	free(path);
	return ok;
}

/* Makes the file end in a newline.  At the start a line without one may have
 * been written whole; later it is one that will be written again. */
static bool
mend_tail(struct ledger_file *f, const struct stat *st, bool is_start,
    struct fault *why)
{
	off_t tail;

	if (!find_tail(f, st->st_size, &tail))
		return fault_errno(why, "cannot read the ledger %s", f->path);
	f->size = st->st_size;
	if (tail == st->st_size)
		return true;
	if (!is_start || !is_whole_line(f, tail, st->st_size)) {
		f->size = tail;
		return move_tail(f, tail, st, why);
	}
	if (!file_write_all(f->fd, "\n", 1))
		return fault_errno(why, "cannot write the ledger %s", f->path);
	f->size++;
	return true;
}

static bool
open_path(struct ledger_file *f, struct fault *why)
{
	/* O_NONBLOCK: opening a FIFO must not wait; it is refused below. */
	int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NONBLOCK;

	f->fd = open(f->path, flags);
	if (f->fd < 0 && errno == ENOENT) {
		if (!folder_make(f->folder, FOLDER_MODE, why))
			return false;
		f->fd = open(f->path, flags | O_CREAT, FILE_MODE);
		/* The umask is for secrets; the group may read the ledger. */
		if (f->fd >= 0 && fchmod(f->fd, FILE_MODE) != 0)
			let_go(f);
	}
	if (f->fd < 0)
		return fault_errno(why, "cannot open the ledger %s", f->path);
	return true;
}

/* Opens the path and leaves the file ready for the next line. */
static bool
open_end(struct ledger_file *f, bool is_start, struct fault *why)
{
	struct stat st;

	if (!open_path(f, why))
		return false;
	if (fstat(f->fd, &st) != 0) {
		fault_errno(why, "cannot look at the ledger %s", f->path);
		goto failed;
	}
	if (!S_ISREG(st.st_mode)) {
		fault_set(why, "the ledger %s is not a regular file", f->path);
		goto failed;
	}
	/* Filesystems without locks are taken as they are. */
	if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		fault_set(why,
		    "the ledger %s is being written by another gateway; is "
		    "weir running already?",
		    f->path);
		goto failed;
	}
	f->device = st.st_dev;
	f->inode = st.st_ino;
	if (!mend_tail(f, &st, is_start, why) ||
	    (st.st_size == 0 && !sync_folder(f, why)))
		goto failed;
	return true;
failed:
	let_go(f);
	return false;
}

struct ledger_file *
ledger_file_open(const char *path, struct fault *why)
{
	struct ledger_file *f = xcalloc(sizeof *f);
	char *copy = xstrdup(path);

	f->path = xstrdup(path);
	f->folder = xstrdup(dirname(copy));
	free(copy);
	f->fd = -1;
	if (!open_end(f, true, why))
		ledger_file_close(&f);
	return f;
}

/* True if the path still names the file that is open, as we left it. */
static bool
is_as_left(struct ledger_file *f)
{
	struct stat st;

	if (stat(f->path, &st) != 0 || st.st_dev != f->device ||
	    st.st_ino != f->inode) {
		log_info("the ledger %s was moved away; a new one is begun",
		    f->path);
		return false;
	}
	if (st.st_size < f->size) {
		log_warning("the ledger %s was cut short from %lld to %lld "
			    "bytes by somebody else; what it held is lost "
			    "(rotate it by renaming it, not by copytruncate)",
		    f->path, (long long)f->size, (long long)st.st_size);
		return false;
	}
	f->size = st.st_size;
	return true;
}

/* Syncs what will be out of reach.  There is nothing to try again on: the error
 * is only told. */
static void
part_with(struct ledger_file *f)
{
	if (f->fd >= 0 && f->is_dirty && fdatasync(f->fd) != 0)
		log_error("cannot sync the ledger that was %s: %s", f->path,
		    strerror(errno));
	f->is_dirty = false;
	let_go(f);
}

/* Cuts off the piece of a line that stands behind f->size.  If even that fails,
 * opening the file again moves it aside. */
static void
cut_back(struct ledger_file *f)
{
	if (ftruncate(f->fd, f->size) != 0)
		let_go(f);
}

static uint64_t
count_lines(const char *p, size_t len)
{
	const char *end = p + len;
	uint64_t n = 0;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		n++;
		p++;
	}
	return n;
}

/* How many bytes of whole lines go out at once: a long write would keep the
 * processor from the workers. */
static size_t
one_write(const struct buf *lines)
{
	const char *first = lines->base + lines->start, *newline;
	size_t len = buf_len(lines);

	if (len <= WRITE_BYTES)
		return len;
	newline = memrchr(first, '\n', WRITE_BYTES);
	return newline == NULL ? len : (size_t)(newline + 1 - first);
}

/* Writes once.  False if no whole line could be written. */
static bool
write_some(struct ledger_file *f, struct buf *lines, uint64_t *count,
    struct fault *why)
{
	const char *newline;
	size_t whole;
	ssize_t n;

	do {
		n = write(f->fd, buf_data(lines), one_write(lines));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return fault_errno(why, "cannot write the ledger %s", f->path);
	newline = n == 0 ? NULL : memrchr(buf_data(lines), '\n', (size_t)n);
	whole = newline == NULL ? 0 : (size_t)(newline + 1 - buf_data(lines));
	f->size += (off_t)whole;
	if (whole < (size_t)n)
		cut_back(f);
	if (whole == 0)
		return fault_set(why,
		    "cannot write the ledger %s: no room for a whole line",
		    f->path);
	f->is_dirty = true;
	*count += count_lines(buf_data(lines), whole);
	buf_drain(lines, whole);
	return true;
}

bool
ledger_file_append(struct ledger_file *f, struct buf *lines, uint64_t *count,
    struct fault *why)
{
	if (buf_len(lines) > 0 && f->fd >= 0 && !is_as_left(f))
		part_with(f);
	for (;;) {
		if (f->fd < 0 && !open_end(f, false, why))
			return false;
		if (buf_len(lines) == 0)
			return true;
		if (!write_some(f, lines, count, why))
			return false;
	}
}

bool
ledger_file_is_dirty(const struct ledger_file *f)
{
	return f->is_dirty;
}

bool
ledger_file_sync(struct ledger_file *f, struct fault *why)
{
	if (!f->is_dirty)
		return true;
	if (f->fd < 0 && !open_end(f, false, why))
		return false;
	if (fdatasync(f->fd) != 0) {
		fault_errno(why, "cannot sync the ledger %s", f->path);
		let_go(f);
		return false;
	}
	f->is_dirty = false;
	/* Nobody reads these pages soon; others can have their memory. */
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	return true;
}

bool
ledger_file_reopen(struct ledger_file *f, struct fault *why)
{
	part_with(f);
	return open_end(f, false, why);
}

void
ledger_file_close(struct ledger_file **fp)
{
	struct ledger_file *f = *fp;

	if (f == NULL)
		return;
	let_go(f);
	free(f->path);
	free(f->folder);
	free(f);
	*fp = NULL;
}
