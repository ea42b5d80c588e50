/* Ledger lines for tests that sum them up. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "metering/ledger/ledger_line.h"
#include "metering/ledger/ledger_view.h"

#define SOME_WRITER "01K9W00000000000000000000A"

static inline int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

static inline struct ledger_line
line_at(const char *when, const char *user)
{
	return (struct ledger_line){
	    .ts_ms = at(when),
	    .user = user,
	    .model = "ds4",
	    .upstream = "spark",
	    .key = "k3f8aa",
	    .end = "ok",
	    .usage_source = "upstream",
	    .stream = true,
	    .prompt_tokens = 100,
	    .cached_tokens = 40,
	    .completion_tokens = 10,
	    .duration_ms = 1500,
	    .ttft_ms = 500,
	    .attempts = {{.upstream = "spark", .result = "ok"}},
	    .attempt_count = 1,
	};
}

static inline void
put_line(struct buf *text, const struct ledger_line *line, const char *writer,
    uint64_t seq)
{
	ledger_line_write(text, line);
	ledger_line_finish(text, writer, seq);
}

/* What a reader sees of the line; it lives until the next call. */
static inline const struct ledger_view *
view_of(const struct ledger_line *line)
{
	static struct ledger_view view;
	static char memory[LEDGER_LINE_MOST_BYTES];
	struct buf text = {0};
	struct fault why;
	size_t len;

	put_line(&text, line, SOME_WRITER, 1);
	len = buf_len(&text) - 1;
	memcpy(memory, buf_data(&text), len);
	buf_release(&text);
	assert_true(ledger_view_read(&view, (struct slice){memory, len}, &why));
	return &view;
}

static inline void
write_file(const char *path, const struct buf *text)
{
	struct fault why;

	assert_true(
	    file_replace(path, buf_data(text), buf_len(text), 0600, &why));
}

static inline void
append_file(const char *path, const struct buf *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_true(file_write_all(fd, buf_data(text), buf_len(text)));
	close(fd);
}

/* A folder of one's own; the caller frees it. */
static inline char *
make_folder(void)
{
	char *path = strdup("/tmp/weir-test-XXXXXX");

	assert_non_null(path);
	assert_non_null(mkdtemp(path));
	return path;
}

/* Removes it with the files in it, and in the folders in it. */
static inline void
remove_folder(char *path)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		execlp("rm", "rm", "-rf", path, (char *)NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	free(path);
}
