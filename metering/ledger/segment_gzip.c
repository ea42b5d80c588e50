/* Compresses a closed segment.  The door is ledger_segments.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"

#include "base/banned.h"

#define BLOCK_BYTES (128 * 1024)
#define GZIP_WINDOW (15 + 16) /* the largest window, gzip's head and end */
#define GZIP_MEMORY 8         /* zlib's default */

/* One segment on its way. */
struct packing {
	const char *path; /* borrowed: the plain file */
	char *packed,
	    *making; /* owned: the gzipped one, and until it is good */
	int from, to;
	struct stat st;               /* of the plain file, when it was begun */
	unsigned char *plain, *other; /* owned: blocks */
};

static ssize_t
read_block(int fd, void *to, off_t at)
{
	ssize_t n;

	do {
		n = pread(fd, to, BLOCK_BYTES, at);
	} while (n < 0 && errno == EINTR);
	return n;
}

static bool
cannot_write(const struct packing *p, struct fault *why)
{
	return fault_errno(why, "cannot write %s", p->making);
}

static bool
open_both(struct packing *p, struct fault *why)
{
	p->from = open(p->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (p->from < 0 || fstat(p->from, &p->st) != 0)
		return fault_errno(why, "cannot open %s", p->path);
	if (!S_ISREG(p->st.st_mode))
		return fault_set(why, "%s is not a regular file", p->path);
	/* What a crash left there is ours, and worth nothing. */
	unlink(p->making);
	p->to = open(p->making,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return p->to >= 0 || cannot_write(p, why);
}

/* Deflates one block, or the end of all, and writes what comes of it. */
static bool
pack_block(struct packing *p, z_stream *z, size_t len, struct fault *why)
{
	int flush = len == 0 ? Z_FINISH : Z_NO_FLUSH;

	z->next_in = p->plain;
	z->avail_in = (unsigned)len;
	do {
		z->next_out = p->other;
		z->avail_out = BLOCK_BYTES;
		if (deflate(z, flush) == Z_STREAM_ERROR)
			return fault_set(
			    why, "cannot gzip %s: zlib fails", p->path);
		if (!file_write_all(
			p->to, p->other, BLOCK_BYTES - z->avail_out))
			return cannot_write(p, why);
	} while (z->avail_out == 0);
	return true;
}

static bool
pack(struct packing *p, struct fault *why)
{
	z_stream z = {0};
	off_t at = 0;
	ssize_t n;
	bool ok;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW,
		GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		return fault_set(why, "cannot gzip %s: no memory", p->path);
	do {
		n = read_block(p->from, p->plain, at);
		ok = n >= 0 ? pack_block(p, &z, (size_t)n, why)
			    : fault_errno(why, "cannot read %s", p->path);
		at += n;
	} while (ok && n > 0);
	deflateEnd(&z);
	return ok;
}

static bool
is_wrong(const struct packing *p, struct fault *why)
{
	return fault_set(why,
	    "%s does not give back what stands in %s; the latter is kept",
	    p->making, p->path);
}

/* Compares what was inflated with the plain file at *at, and moves *at on. */
static bool
is_same(struct packing *p, size_t len, off_t *at)
{
	unsigned char *theirs = p->other;

	while (len > 0) {
		ssize_t n = pread(p->from, p->plain, len, *at);

		if (n <= 0 || memcmp(p->plain, theirs, (size_t)n) != 0)
			return false;
		theirs += n;
		*at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Inflates the made file as a stranger would, from the disk. */
static bool
inflate_and_compare(struct packing *p, z_stream *z, struct fault *why)
{
	unsigned char *in = xcalloc(BLOCK_BYTES);
	off_t packed_at = 0, plain_at = 0;
	int status = Z_OK;
	ssize_t n = 1;
	bool same = true;

	while (same && status == Z_OK && n > 0) {
		if (z->avail_in == 0) {
			if ((n = read_block(p->to, in, packed_at)) <= 0)
				break;
			packed_at += n;
			z->next_in = in;
			z->avail_in = (unsigned)n;
		}
		z->next_out = p->other;
		z->avail_out = BLOCK_BYTES;
		status = inflate(z, Z_NO_FLUSH);
		same = is_same(p, BLOCK_BYTES - z->avail_out, &plain_at);
	}
	free(in);
	if (same && status == Z_STREAM_END && z->avail_in == 0 &&
	    plain_at == p->st.st_size)
		return true;
	return is_wrong(p, why);
}

static bool
verify(struct packing *p, struct fault *why)
{
	z_stream z = {0};
	struct stat now;
	bool ok;

	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
		return fault_set(why, "cannot check %s: no memory", p->making);
	ok = inflate_and_compare(p, &z, why);
	inflateEnd(&z);
	if (!ok)
		return false;
	if (fstat(p->from, &now) != 0 || now.st_size != p->st.st_size)
		return fault_set(why, "%s is still being written to", p->path);
	return true;
}

/* Who may not give files away keeps them. */
static bool
take_over_looks(struct packing *p, struct fault *why)
{
	const struct timespec times[2] = {p->st.st_atim, p->st.st_mtim};

	if (fchown(p->to, p->st.st_uid, p->st.st_gid) != 0 && errno != EPERM)
		return cannot_write(p, why);
	if (fchmod(p->to, p->st.st_mode & 0777) != 0 ||
	    futimens(p->to, times) != 0 || fsync(p->to) != 0)
		return cannot_write(p, why);
	return true;
}

static bool
sync_folder(const struct packing *p, struct fault *why)
{
	char *copy = xstrdup(p->path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		fault_errno(why, "cannot sync the folder of %s", p->path);
	if (fd >= 0)
		close(fd);
	free(copy);
	return ok;
}

/* From the rename on both are there and good, until the plain one goes. */
static bool
put_in_place(struct packing *p, struct fault *why)
{
	if (rename(p->making, p->packed) != 0)
		return fault_errno(why, "cannot make %s", p->packed);
	if (!sync_folder(p, why))
		return false;
	if (unlink(p->path) != 0)
		return fault_errno(why, "cannot remove %s", p->path);
	return sync_folder(p, why);
}

bool
segment_compress(const char *path, struct fault *why)
{
	struct packing p = {
	    .path = path,
	    .packed = xasprintf("%s.gz", path),
	    .making = xasprintf("%s.gz-making", path),
	    .from = -1,
	    .to = -1,
	    .plain = xcalloc(BLOCK_BYTES),
	    .other = xcalloc(BLOCK_BYTES),
	};
	bool ok = open_both(&p, why) && pack(&p, why) && verify(&p, why) &&
	    take_over_looks(&p, why) && put_in_place(&p, why);

	if (!ok && p.to >= 0)
		unlink(p.making);
	if (p.from >= 0)
		close(p.from);
	if (p.to >= 0)
		close(p.to);
	free(p.plain);
	free(p.other);
	free(p.packed);
	free(p.making);
	return ok;
}
