#include "metering/ledger/ledger_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/ledger/ledger_line.h"
#include "metering/ledger/ledger_view.h"

#include "base/banned.h"

#define WRITE_BYTES 32768 /* many times the longest line */
#define FILE_MODE 0640
#define FOLDER_MODE 0700

struct ledger_file {
	char *path;        /* owned */
	char *folder;      /* owned */
	char *torn_folder; /* owned */
	int fd;            /* -1: must be opened before the next use */
	dev_t device;
	ino_t inode;
	off_t size;         /* after our last write */
	off_t synced;       /* of that, what is on the disk */
	int64_t written_ms; /* the last write, or what the file says of it */
	bool is_dirty;
	bool has_failed; /* a sync: what is behind `synced` may be nowhere */
};

static void
let_go(struct ledger_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static bool
sync_folder(const char *folder, struct fault *why)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		fault_errno(why, "cannot sync the folder %s", folder);
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
	struct ledger_view v;
	struct fault why;
	ssize_t len = size - tail;

	return len <= (ssize_t)sizeof text &&
	    pread(f->fd, text, (size_t)len, tail) == len &&
	    ledger_view_read(&v, (struct slice){text, (size_t)len}, &why);
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
	path = xasprintf("%s/torn-%s", f->torn_folder, when);
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
	if (!sync_folder(f->torn_folder, why))
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

/* Writes what was not synced over itself: the kernel took it for clean when it
 * told the error, and still has it. */
static bool
write_over(struct ledger_file *f, struct fault *why)
{
	/* In append mode a write ignores its place. */
	int fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	char block[4096];
	off_t at = f->synced;
	ssize_t n = 0;

	while (fd >= 0 && at < f->size &&
	    (n = pread(f->fd, block, sizeof block, at)) > 0 &&
	    pwrite(fd, block, (size_t)n, at) == n)
		at += n;
	if (fd >= 0)
		close(fd);
	if (at < f->size)
		return fault_errno(
		    why, "cannot write the ledger %s again", f->path);
	f->has_failed = false;
	f->is_dirty = true;
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
	/* After a failed sync it is the same file. */
	if (f->device != st.st_dev || f->inode != st.st_ino ||
	    f->synced > st.st_size) {
		f->has_failed = false;
		f->synced = st.st_size;
	}
	f->device = st.st_dev;
	f->inode = st.st_ino;
	f->written_ms = st.st_mtime * INT64_C(1000);
	if (!mend_tail(f, &st, is_start, why) ||
	    (st.st_size == 0 && !sync_folder(f->folder, why)) ||
	    (f->has_failed && !write_over(f, why)))
		goto failed;
	return true;
failed:
	let_go(f);
	return false;
}

struct ledger_file *
ledger_file_open(const char *path, const char *torn_folder, struct fault *why)
{
	struct ledger_file *f = xcalloc(sizeof *f);
	char *copy = xstrdup(path);

	f->path = xstrdup(path);
	f->torn_folder = xstrdup(torn_folder);
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
	f->written_ms = clock_wall_ms();
	*count += count_lines(buf_data(lines), whole);
	buf_drain(lines, whole);
	return true;
}

bool
ledger_file_ready(struct ledger_file *f, struct fault *why)
{
	if (f->fd >= 0 && !is_as_left(f))
		part_with(f);
	return f->fd >= 0 || open_end(f, false, why);
}

void
ledger_file_place(
    const struct ledger_file *f, dev_t *device, ino_t *inode, uint64_t *offset)
{
	*device = f->device;
	*inode = f->inode;
	*offset = (uint64_t)f->size;
}

bool
ledger_file_append(struct ledger_file *f, struct buf *lines, uint64_t *count,
    struct fault *why)
{
	while (buf_len(lines) > 0) {
		if (f->fd < 0)
			return fault_set(
			    why, "the ledger %s must be opened again", f->path);
		if (!write_some(f, lines, count, why))
			return false;
	}
	return true;
}

bool
ledger_file_is_dirty(const struct ledger_file *f)
{
	return f->is_dirty;
}

bool
ledger_file_sync(struct ledger_file *f, struct fault *why)
{
	int failed;

	if (!f->is_dirty)
		return true;
	if (f->fd < 0 && !open_end(f, false, why))
		return false;
	do {
		failed = fdatasync(f->fd);
	} while (failed != 0 && errno == EINTR);
	if (failed != 0) {
		fault_errno(why, "cannot sync the ledger %s", f->path);
		f->has_failed = true;
		let_go(f);
		return false;
	}
	f->is_dirty = false;
	f->synced = f->size;
	/* Nobody reads these pages soon; others can have their memory. */
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	return true;
}

/* --- rotation ------------------------------------------------------------ */

#define MS_PER_DAY INT64_C(86400000)
#define NUMBER_MOST 999

bool
ledger_file_is_due(const struct ledger_file *f, size_t more,
    uint64_t most_bytes, bool is_daily, int64_t now_ms)
{
	if (f->fd < 0 || f->size == 0)
		return false;
	if (most_bytes > 0 && (uint64_t)f->size + more > most_bytes)
		return true;
	return is_daily && now_ms / MS_PER_DAY > f->written_ms / MS_PER_DAY;
}

/* <name>-YYYYMMDD-NNN.<ext>, of which neither it nor its .gz is there.  The
 * caller frees it; NULL if all numbers of that day are taken. */
static char *
free_name(const struct ledger_file *f)
{
	const char *base = strrchr(f->path, '/');
	const char *dot = strrchr(base == NULL ? f->path : base, '.');
	size_t stem = dot == NULL ? strlen(f->path) : (size_t)(dot - f->path);
	time_t t = (time_t)(f->written_ms / 1000);
	char day[16];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(day, sizeof day, "%Y%m%d", &tm);
	for (int i = 1; i <= NUMBER_MOST; i++) {
		char *plain = xasprintf("%.*s-%s-%03d%s", (int)stem, f->path,
		    day, i, dot == NULL ? "" : dot);
		char *gz = xasprintf("%s.gz", plain);
		bool is_free =
		    access(plain, F_OK) != 0 && access(gz, F_OK) != 0;

		free(gz);
		if (is_free)
			return plain;
		free(plain);
	}
	return NULL;
}

/* Not over another file.  Where the filesystem cannot promise that (NFS, old
 * ZFS) the name was free a moment ago, and nobody else makes such names. */
static bool
rename_to(const struct ledger_file *f, const char *name, struct fault *why)
{
	if (renameat2(AT_FDCWD, f->path, AT_FDCWD, name, RENAME_NOREPLACE) ==
		0 ||
	    (errno == EINVAL && rename(f->path, name) == 0))
		return true;
	return fault_errno(
	    why, "cannot rename the ledger %s to %s", f->path, name);
}

bool
ledger_file_rotate(struct ledger_file *f, struct fault *why)
{
	char *name = free_name(f);
	bool ok;

	if (name == NULL)
		return fault_set(why,
		    "the ledger %s cannot be rotated: there are %d files of "
		    "that day",
		    f->path, NUMBER_MOST);
	ok = ledger_file_sync(f, why) && rename_to(f, name, why) &&
	    sync_folder(f->folder, why);
	free(name);
	if (ok)
		let_go(f);
	return ok && open_end(f, false, why);
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
	free(f->torn_folder);
	free(f);
	*fp = NULL;
}
