#include "metering/ledger/segment_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/mem.h"
#include "metering/ledger/ledger_line.h"

#include "base/banned.h"

#define BLOCK_BYTES (256 * 1024)
#define BEGINNING_BYTES (64 * 1024)
#define BEGINNING_BLOCK_BYTES (8 * 1024)
#define GZIP_WINDOW (15 + 16) /* the largest window, gzip's head and end */
#define GZIP_MAGIC 0x1f
/* What tells one file from another in its place: it goes as far as the id of
 * the first line. */
#define HEAD_BYTES 320

/* Of a line so much is kept: more than any good one has. */
#define LINE_KEPT_BYTES (LEDGER_LINE_MOST_BYTES + 1)

struct segment_lines {
	char *path; /* owned */
	int fd;
	dev_t device;
	ino_t inode;
	uint64_t file_offset; /* of the next byte to read */
	segment_text_fn on_text;
	void *arg;

	/* Gzipped: */
	bool is_gzipped;
	bool is_between; /* members: before the first, or behind one */
	z_stream z;
	unsigned char *in; /* owned */

	/* What its first bytes were when it was opened. */
	char head[HEAD_BYTES];
	size_t head_len;
	bool was_at_end;

	size_t block_bytes;
	uint64_t left;    /* bytes of text that may still be read */
	char *base;       /* owned; room for a kept line and a block */
	size_t start;     /* where the next line begins */
	size_t scanned;   /* no newline stands before this */
	size_t end;       /* of what was read */
	uint64_t offset;  /* of `start` in the plain text */
	uint64_t dropped; /* bytes of the open line that were not kept */
};

static ssize_t
read_at(const struct segment_lines *l, void *to, size_t len, uint64_t offset)
{
	ssize_t n;

	do {
		n = pread(l->fd, to, len, (off_t)offset);
	} while (n < 0 && errno == EINTR);
	return n;
}

static enum lines_verdict
read_failed(const struct segment_lines *l, struct fault *why)
{
	fault_errno(why, "cannot read %s", l->path);
	return LINES_FAILED;
}

static enum lines_verdict
is_damaged(const struct segment_lines *l, const char *how, struct fault *why)
{
	fault_set(why, "%s is no whole gzip file: %s at byte %llu", l->path,
	    how, (unsigned long long)(l->file_offset - l->z.avail_in));
	return LINES_FAILED;
}

/* --- plain --------------------------------------------------------------- */

static enum lines_verdict
was_cut(const struct segment_lines *l, struct fault *why)
{
	fault_set(why,
	    "%s was cut short by somebody else; lines that were not yet read "
	    "are lost (rotate it by renaming it, not by copytruncate)",
	    l->path);
	return LINES_CUT;
}

/* The end was reached: has it come nearer? */
static enum lines_verdict
look_at_end(struct segment_lines *l, struct fault *why)
{
	struct stat st;

	if (fstat(l->fd, &st) != 0)
		return read_failed(l, why);
	if ((uint64_t)st.st_size < l->file_offset)
		return was_cut(l, why);
	l->was_at_end = true;
	return LINES_END;
}

/* A file that was cut short and has grown again past where we are begins with
 * other bytes. */
static bool
has_same_head(const struct segment_lines *l)
{
	char now[HEAD_BYTES];

	return read_at(l, now, l->head_len, 0) == (ssize_t)l->head_len &&
	    memcmp(now, l->head, l->head_len) == 0;
}

static enum lines_verdict
read_plain(struct segment_lines *l, char *to, size_t *len, struct fault *why)
{
	ssize_t n = read_at(l, to, l->block_bytes, l->file_offset);

	if (n < 0)
		return read_failed(l, why);
	if (n == 0)
		return look_at_end(l, why);
	if (l->was_at_end && !has_same_head(l))
		return was_cut(l, why);
	l->was_at_end = false;
	l->file_offset += (uint64_t)n;
	*len = (size_t)n;
	return LINES_ONE;
}

/* --- gzipped ------------------------------------------------------------- */

/* LINES_ONE if there is something to inflate. */
static enum lines_verdict
read_packed(struct segment_lines *l, struct fault *why)
{
	ssize_t n;

	if (l->z.avail_in > 0)
		return LINES_ONE;
	n = read_at(l, l->in, l->block_bytes, l->file_offset);
	if (n < 0)
		return read_failed(l, why);
	if (n == 0)
		return l->is_between ? LINES_END
				     : is_damaged(l, "it ends", why);
	l->file_offset += (uint64_t)n;
	l->z.next_in = l->in;
	l->z.avail_in = (unsigned)n;
	return LINES_ONE;
}

/* Between members zeros may stand, which tapes and some tools leave. */
static enum lines_verdict
begin_member(struct segment_lines *l, struct fault *why)
{
	enum lines_verdict verdict;

	while ((verdict = read_packed(l, why)) == LINES_ONE &&
	    l->file_offset > l->z.avail_in && *l->z.next_in == 0) {
		l->z.next_in++;
		l->z.avail_in--;
	}
	if (verdict != LINES_ONE)
		return verdict;
	if (*l->z.next_in != GZIP_MAGIC)
		return is_damaged(l, "something else begins", why);
	if (inflateReset(&l->z) != Z_OK)
		return is_damaged(l, "inflating fails", why);
	l->is_between = false;
	return LINES_ONE;
}

static enum lines_verdict
read_gzipped(struct segment_lines *l, char *to, size_t *len, struct fault *why)
{
	enum lines_verdict verdict;

	l->z.next_out = (unsigned char *)to;
	l->z.avail_out = (unsigned)l->block_bytes;
	while (l->z.avail_out > 0) {
		int status;

		verdict =
		    l->is_between ? begin_member(l, why) : read_packed(l, why);
		if (verdict != LINES_ONE)
			break;
		status = inflate(&l->z, Z_NO_FLUSH);
		l->is_between = status == Z_STREAM_END;
		if (status != Z_OK && status != Z_STREAM_END) {
			verdict = is_damaged(l, "inflating fails", why);
			break;
		}
	}
	*len = l->block_bytes - l->z.avail_out;
	/* What came before the damage is given first. */
	return *len > 0 ? LINES_ONE : verdict;
}

/* --- lines --------------------------------------------------------------- */

/* Makes room for a block behind the open line, of which no more is kept than
 * shows that it is too long. */
static void
move_up(struct segment_lines *l)
{
	size_t open = l->end - l->start;

	if (open > LINE_KEPT_BYTES) {
		l->dropped += open - LINE_KEPT_BYTES;
		open = LINE_KEPT_BYTES;
	}
	memmove(l->base, l->base + l->start, open);
	l->start = 0;
	l->scanned = l->end = open;
}

static enum lines_verdict
fill(struct segment_lines *l, struct fault *why)
{
	enum lines_verdict verdict;
	size_t len = 0;

	move_up(l);
	if (l->left < l->block_bytes)
		return LINES_END;
	verdict = l->is_gzipped ? read_gzipped(l, l->base + l->end, &len, why)
				: read_plain(l, l->base + l->end, &len, why);
	if (verdict != LINES_ONE)
		return verdict;
	if (l->on_text != NULL)
		l->on_text(l->arg, l->base + l->end, len);
	l->end += len;
	l->left -= len;
	return LINES_ONE;
}

enum lines_verdict
segment_lines_next(
    struct segment_lines *l, struct slice *line, struct fault *why)
{
	for (;;) {
		const char *from = l->base + l->scanned;
		const char *newline = memchr(from, '\n', l->end - l->scanned);
		enum lines_verdict verdict;

		if (newline != NULL) {
			*line = (struct slice){l->base + l->start,
			    (size_t)(newline - l->base) - l->start};
			l->offset += line->len + 1 + l->dropped;
			l->start = l->scanned = l->start + line->len + 1;
			l->dropped = 0;
			return LINES_ONE;
		}
		l->scanned = l->end;
		if ((verdict = fill(l, why)) != LINES_ONE)
			return verdict;
	}
}

uint64_t
segment_lines_offset(const struct segment_lines *l)
{
	return l->offset;
}

struct slice
segment_lines_rest(const struct segment_lines *l)
{
	return (struct slice){l->base + l->start, l->end - l->start};
}

struct slice
segment_lines_take_rest(struct segment_lines *l)
{
	struct slice rest = segment_lines_rest(l);

	l->offset += rest.len + l->dropped;
	l->start = l->scanned = l->end;
	l->dropped = 0;
	return rest;
}

bool
segment_lines_is(const struct segment_lines *l, dev_t device, ino_t inode)
{
	return l->device == device && l->inode == inode;
}

bool
segment_lines_describe(
    const struct segment_lines *l, struct segment *s, struct fault *why)
{
	struct stat st;

	if (fstat(l->fd, &st) != 0)
		return fault_errno(why, "cannot look at %s", l->path);
	s->file_size = (uint64_t)st.st_size;
	s->mtime_ns =
	    st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
	s->device = l->device;
	s->inode = l->inode;
	s->head_len = l->head_len;
	s->head_hash = text_hash(l->head, l->head_len);
	return true;
}

bool
segment_lines_are_of(const struct segment_lines *l, const struct segment *s)
{
	return segment_lines_is(l, s->device, s->inode) &&
	    l->head_len >= s->head_len &&
	    text_hash(l->head, s->head_len) == s->head_hash;
}

void
segment_lines_watch(struct segment_lines *l, segment_text_fn on_text, void *arg)
{
	l->on_text = on_text;
	l->arg = arg;
}

/* --- open and close ------------------------------------------------------ */

static bool
open_file(struct segment_lines *l, struct fault *why)
{
	struct stat st;
	ssize_t n;

	/* O_NONBLOCK: opening a FIFO must not wait; it is refused below. */
	l->fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (l->fd < 0 || fstat(l->fd, &st) != 0)
		return fault_errno(why, "cannot open %s", l->path);
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return fault_set(why, "%s is not a regular file", l->path);
	}
	l->device = st.st_dev;
	l->inode = st.st_ino;
	if (l->block_bytes == BLOCK_BYTES)
		posix_fadvise(l->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if ((n = read_at(l, l->head, sizeof l->head, 0)) < 0)
		return fault_errno(why, "cannot read %s", l->path);
	l->head_len = (size_t)n;
	return true;
}

static bool
begin_inflating(struct segment_lines *l, struct fault *why)
{
	l->in = xcalloc(l->block_bytes);
	l->is_between = true;
	if (inflateInit2(&l->z, GZIP_WINDOW) == Z_OK)
		return true;
	errno = ENOMEM;
	return fault_errno(why, "cannot read %s", l->path);
}

/* Passes over what was read before. */
static bool
skip_to(struct segment_lines *l, uint64_t offset, struct fault *why)
{
	uint64_t at = 0;

	l->offset = offset;
	if (!l->is_gzipped) {
		l->file_offset = offset;
		return true;
	}
	while (at < offset) {
		enum lines_verdict verdict;
		size_t len = 0;

		verdict = read_gzipped(l, l->base, &len, why);
		if (verdict == LINES_FAILED) {
			errno = EIO;
			return false;
		}
		l->start = l->scanned = l->end = len;
		if (verdict != LINES_ONE)
			return true; /* it is shorter: nothing is left */
		at += len;
	}
	/* What came too much is the first to give. */
	l->start = l->scanned = l->end - (size_t)(at - offset);
	return true;
}

struct segment_lines *
segment_lines_open(const char *path, bool is_gzipped, uint64_t offset,
    enum segment_extent extent, struct fault *why)
{
	struct segment_lines *l = xcalloc(sizeof *l);
	bool is_whole = extent == SEGMENT_WHOLE;
	int failed;

	l->path = xstrdup(path);
	l->fd = -1;
	l->block_bytes = is_whole ? BLOCK_BYTES : BEGINNING_BLOCK_BYTES;
	l->left = is_whole ? UINT64_MAX : BEGINNING_BYTES;
	l->base = xcalloc(LINE_KEPT_BYTES + l->block_bytes);
	l->is_gzipped = is_gzipped;
	if (open_file(l, why) && (!is_gzipped || begin_inflating(l, why)) &&
	    skip_to(l, offset, why))
		return l;
	failed = errno;
	segment_lines_close(&l);
	errno = failed;
	return NULL;
}

void
segment_lines_close(struct segment_lines **lp)
{
	struct segment_lines *l = *lp;

	if (l == NULL)
		return;
	if (l->is_gzipped)
		inflateEnd(&l->z);
	if (l->fd >= 0)
		close(l->fd);
	free(l->in);
	free(l->base);
	free(l->path);
	free(l);
	*lp = NULL;
}
