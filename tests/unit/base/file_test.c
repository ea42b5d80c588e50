#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"

static char folder[64];

static int
start(void **state)
{
	const char *temp = "/tmp/weir-file-test-XXXXXX";

	(void)state;
	snprintf(folder, sizeof folder, "%s", temp);
	umask(022);
	return mkdtemp(folder) == NULL ? -1 : 0;
}

/* Takes away all that a test left. */
static void
empty_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *name = xasprintf("%s/%s", path, e->d_name);

		if (strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 && unlink(name) != 0) {
			empty_folder(name);
			rmdir(name);
		}
		free(name);
	}
	if (d != NULL)
		closedir(d);
}

static int
after_each(void **state)
{
	(void)state;
	empty_folder(folder);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	return rmdir(folder);
}

/* A path in the folder; valid until the fourth call after. */
static const char *
path_of(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static void
write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_true(file_write_all(fd, text, strlen(text)));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
assert_file(const char *name, const char *text)
{
	struct buf b = {0};
	struct fault why = {""};

	if (!file_read(path_of(name), 1 << 20, false, &b, &why))
		fail_msg("%s", why.text);
	assert_true(slice_is((struct slice){buf_data(&b), buf_len(&b)}, text));
	buf_release(&b);
}

static mode_t
mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(lstat(path_of(name), &st), 0);
	return st.st_mode & 07777;
}

static size_t
files_in_folder(void)
{
	DIR *d = opendir(folder);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2; /* . and .. */
}

static void
a_file_is_read_whole_and_appended(void **state)
{
	struct fault why;
	struct buf b = {0};

	(void)state;
	write_file("a", "hello", 0600);
	buf_puts(&b, "> ");
	assert_true(file_read(path_of("a"), 100, false, &b, &why));
	assert_int_equal(buf_len(&b), 7);
	assert_memory_equal(buf_data(&b), "> hello", 7);
	buf_release(&b);
	write_file("a", "", 0600);
	assert_file("a", "");
}

static void
a_file_of_the_most_bytes_is_the_largest(void **state)
{
	struct fault why;
	struct buf b = {0};

	(void)state;
	write_file("a", "12345", 0600);
	assert_true(file_read(path_of("a"), 5, false, &b, &why));
	assert_int_equal(buf_len(&b), 5);
	buf_release(&b);
	assert_false(file_read(path_of("a"), 4, false, &b, &why));
	assert_non_null(strstr(why.text, "larger than 4 bytes"));
	buf_release(&b);
	/* A file that does not tell its size. */
	assert_false(file_read("/proc/self/status", 10, false, &b, &why));
	buf_release(&b);
	assert_true(file_read("/proc/self/status", 1 << 20, false, &b, &why));
	assert_true(buf_len(&b) > 100);
	buf_release(&b);
}

static void
a_file_that_is_not_there_is_told_by_errno(void **state)
{
	struct fault why;
	struct buf b = {0};

	(void)state;
	assert_false(file_read(path_of("a"), 5, false, &b, &why));
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(why.text, "/a"));
	buf_release(&b);
}

static void
links_and_what_is_no_file_are_refused(void **state)
{
	struct fault why;
	struct buf b = {0};

	(void)state;
	write_file("a", "hello", 0600);
	assert_int_equal(symlink("a", path_of("link")), 0);
	assert_false(file_read(path_of("link"), 100, false, &b, &why));
	assert_non_null(strstr(why.text, "symbolic link"));
	assert_false(file_read_private(path_of("link"), 100, &b, NULL, &why));
	assert_true(file_read(path_of("link"), 100, true, &b, &why));
	assert_int_equal(buf_len(&b), 5);
	assert_false(file_read(folder, 100, true, &b, &why));
	assert_non_null(strstr(why.text, "not a regular file"));
	/* Nor is it waited for. */
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_false(file_read(path_of("fifo"), 100, true, &b, &why));
	assert_false(file_read("/dev/zero", 100, true, &b, &why));
	buf_release(&b);
}

static void
a_private_file_is_its_owners_alone(void **state)
{
	static const mode_t open_modes[] = {0640, 0604, 0610, 0601, 0620, 0602};
	struct fault why;
	struct buf b = {0};
	uid_t owner = (uid_t)-1;

	(void)state;
	write_file("a", "secret", 0600);
	assert_true(file_read_private(path_of("a"), 100, &b, &owner, &why));
	assert_int_equal(owner, geteuid());
	assert_int_equal(buf_len(&b), 6);
	write_file("a", "secret", 0400);
	buf_clear(&b);
	assert_true(file_read_private(path_of("a"), 100, &b, NULL, &why));
	for (size_t i = 0; i < COUNT_OF(open_modes); i++) {
		assert_int_equal(chmod(path_of("a"), open_modes[i]), 0);
		assert_false(
		    file_read_private(path_of("a"), 100, &b, NULL, &why));
		assert_non_null(strstr(why.text, "open to others"));
	}
	buf_release(&b);
}

static void
a_file_is_replaced_and_keeps_its_mode(void **state)
{
	struct fault why;

	(void)state;
	assert_true(file_replace(path_of("a"), "one", 3, 0640, &why));
	assert_file("a", "one");
	assert_int_equal(mode_of("a"), 0640);
	assert_int_equal(chmod(path_of("a"), 0600), 0);
	assert_true(file_replace(path_of("a"), "two!", 4, 0640, &why));
	assert_file("a", "two!");
	assert_int_equal(mode_of("a"), 0600);
	assert_int_equal(files_in_folder(), 1);
}

static void
a_file_that_cannot_be_replaced_is_left_as_it_was(void **state)
{
	struct fault why;

	(void)state;
	assert_false(file_replace(path_of("none/a"), "x", 1, 0600, &why));
	assert_non_null(strstr(why.text, "cannot make"));
	/* A folder is in the way. */
	assert_int_equal(mkdir(path_of("a"), 0700), 0);
	write_file("a/kept", "kept", 0600);
	assert_false(file_replace(path_of("a"), "x", 1, 0600, &why));
	assert_non_null(strstr(why.text, "cannot replace"));
	assert_file("a/kept", "kept");
	assert_int_equal(files_in_folder(), 1);
}

static void
a_link_is_replaced_and_not_followed(void **state)
{
	struct fault why;

	(void)state;
	write_file("target", "kept", 0600);
	assert_int_equal(symlink("target", path_of("a")), 0);
	assert_true(file_replace(path_of("a"), "new", 3, 0600, &why));
	assert_file("target", "kept");
	assert_file("a", "new");
}

static void
a_reader_sees_the_old_file_or_the_new_one(void **state)
{
	char old[5000], new[9000];
	struct fault why;
	pid_t writer;
	int status;

	(void)state;
	memset(old, 'o', sizeof old);
	memset(new, 'n', sizeof new);
	assert_true(file_replace(path_of("a"), old, sizeof old, 0600, &why));
	writer = fork();
	if (writer == 0) {
		bool ok = true;

		for (int i = 0; i < 50; i++)
			ok = ok &&
			    file_replace(path_of("a"), i % 2 ? old : new,
				i % 2 ? sizeof old : sizeof new, 0600, NULL);
		_exit(ok ? 0 : 1);
	}
	do {
		struct buf b = {0};

		assert_true(file_read(path_of("a"), 1 << 20, false, &b, &why));
		if (buf_data(&b)[0] == 'o')
			assert_int_equal(buf_len(&b), sizeof old);
		else
			assert_int_equal(buf_len(&b), sizeof new);
		assert_int_equal(
		    buf_data(&b)[0], buf_data(&b)[buf_len(&b) - 1]);
		buf_release(&b);
	} while (waitpid(writer, &status, WNOHANG) == 0);
	assert_int_equal(status, 0);
}

static void
a_lock_is_held_until_it_is_closed(void **state)
{
	struct fault why;
	int held = file_lock(path_of("lock"), false, &why);

	(void)state;
	assert_true(held >= 0);
	assert_int_equal(mode_of("lock"), 0600);
	errno = 0;
	assert_int_equal(file_lock(path_of("lock"), false, &why), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	close(held);
	held = file_lock(path_of("lock"), true, &why);
	assert_true(held >= 0);
	close(held);
	assert_int_equal(symlink("lock", path_of("link")), 0);
	assert_int_equal(file_lock(path_of("link"), false, &why), -1);
}

static void
folders_are_made_down_to_the_last(void **state)
{
	struct fault why;
	struct stat st;

	(void)state;
	assert_true(folder_make(path_of("a/b/c"), 0700, &why));
	assert_int_equal(stat(path_of("a/b/c"), &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(mode_of("a/b/c"), 0700);
	assert_int_equal(chmod(path_of("a"), 0750), 0);
	assert_true(folder_make(path_of("a"), 0700, &why));
	assert_int_equal(mode_of("a"), 0750);
	write_file("file", "", 0600);
	assert_false(folder_make(path_of("file/b"), 0700, &why));
}

static void
writing_to_a_full_disk_fails(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_false(file_write_all(fd, "x", 1));
	assert_int_equal(errno, ENOSPC);
	assert_true(file_write_all(fd, "", 0));
	close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, after_each)
	const struct CMUnitTest tests[] = {
	    TEST(a_file_is_read_whole_and_appended),
	    TEST(a_file_of_the_most_bytes_is_the_largest),
	    TEST(a_file_that_is_not_there_is_told_by_errno),
	    TEST(links_and_what_is_no_file_are_refused),
	    TEST(a_private_file_is_its_owners_alone),
	    TEST(a_file_is_replaced_and_keeps_its_mode),
	    TEST(a_file_that_cannot_be_replaced_is_left_as_it_was),
	    TEST(a_link_is_replaced_and_not_followed),
	    TEST(a_reader_sees_the_old_file_or_the_new_one),
	    TEST(a_lock_is_held_until_it_is_closed),
	    TEST(folders_are_made_down_to_the_last),
	    TEST(writing_to_a_full_disk_fails),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
