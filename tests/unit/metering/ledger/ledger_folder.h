/*
 * ledger_folder.h - a folder of its own with a ledger in it, for a test.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "metering/ledger/ledger_line.h"

struct ledger_folder {
	char path[64];    /* of the folder */
	char current[80]; /* of usage.jsonl in it */
};

static inline void
folder_must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static inline struct ledger_folder *
ledger_folder_create(void)
{
	struct ledger_folder *f = xcalloc(sizeof *f);

	snprintf(f->path, sizeof f->path, "/tmp/weir-ledger-XXXXXX");
	folder_must(mkdtemp(f->path) != NULL, f->path);
	snprintf(f->current, sizeof f->current, "%s/usage.jsonl", f->path);
	return f;
}

/* The path of a file in it; good until four more were asked for. */
static inline const char *
in_folder(const struct ledger_folder *f, const char *name)
{
	static char paths[4][384];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", f->path, name);
	return path;
}

static inline void
ledger_folder_destroy(struct ledger_folder **fp)
{
	DIR *d = opendir((*fp)->path);
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		unlink(in_folder(*fp, e->d_name));
	closedir(d);
	rmdir((*fp)->path);
	free(*fp);
	*fp = NULL;
}

static inline void
append_bytes(const char *path, const void *p, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0640);

	folder_must(fd >= 0 && write(fd, p, len) == (ssize_t)len, path);
	close(fd);
}

/* Replaces the file by what `b` holds. */
static inline void
write_file(const char *path, const struct buf *b)
{
	unlink(path);
	append_bytes(path, buf_data(b), buf_len(b));
}

static inline void
read_whole(const char *path, struct buf *b)
{
	int fd = open(path, O_RDONLY);
	char block[4096];
	ssize_t n;

	folder_must(fd >= 0, path);
	while ((n = read(fd, block, sizeof block)) > 0)
		buf_put(b, block, (size_t)n);
	close(fd);
}

/* The writers of tests: one letter each. */
static inline const char *
writer_name(char letter)
{
	static char name[ULID_CHARS + 1] = "01K9W00000000000000000000A";

	name[ULID_CHARS - 1] = letter;
	return name;
}

/* A good line of `user`, who used 10 tokens for half a dollar. */
static inline void
put_line(struct buf *b, char writer, uint64_t seq, const char *user)
{
	struct ledger_line line = {
	    .ts_ms = 1779978121000 + (int64_t)seq * 1000,
	    .user = user,
	    .model = "ds4",
	    .id = "01K9X40000000000000000000B",
	    .end = "ok",
	};
	struct ledger_attempt a = {
	    .upstream = "spark",
	    .result = "ok",
	    .usage = USAGE_UNKNOWN,
	    .source = USAGE_UPSTREAM,
	    .cost_pusd = 500000000000,
	};

	a.usage.input = 8;
	a.usage.cached = 3;
	a.usage.output = 2;
	a.usage.reasoning = 1;
	ledger_line_take_attempt(&line, &a);
	ledger_line_write(b, &line);
	ledger_line_finish(b, writer_name(writer), seq);
}

/* Appends the writer's lines from `first` to `last` to a file. */
static inline void
append_lines(const char *path, char writer, uint64_t first, uint64_t last)
{
	struct buf b = {0};

	for (uint64_t seq = first; seq <= last; seq++)
		put_line(&b, writer, seq, "bob");
	append_bytes(path, buf_data(&b), buf_len(&b));
	buf_release(&b);
}

/* Appends a gzip member; the file may have some already. */
static inline void
append_gzipped(const char *path, const char *p, size_t len)
{
	gzFile out = gzopen(path, "ab6");

	folder_must(out != NULL && gzwrite(out, p, (unsigned)len) == (int)len &&
		gzclose(out) == Z_OK,
	    path);
}

/* Does what gzip(1) does: path becomes path.gz. */
static inline void
gzip_file(const char *path)
{
	struct buf b = {0};
	char packed[400];

	snprintf(packed, sizeof packed, "%s.gz", path);
	read_whole(path, &b);
	append_gzipped(packed, buf_data(&b), buf_len(&b));
	unlink(path);
	buf_release(&b);
}
