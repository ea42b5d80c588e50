#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../folder.h"
#include "auth/key_file.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#define NOW INT64_C(1780000000000)
#define DAY INT64_C(86400000)

static struct stat
stat_of(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		fail_msg("%s is missing", path);
	return st;
}

static struct buf
content(const char *path)
{
	struct buf b = {0};
	struct fault why;

	if (!file_read(path, 1 << 20, false, &b, &why))
		fail_msg("%s", why.text);
	return b;
}

/* Issues a key for bob; its id goes into `id`. */
static void
issue(const char *dir, char key[KEY_CHARS + 1], char id[KEY_ID_CHARS + 1])
{
	struct key_request q = {.user = "bob"};
	struct fault why;

	if (!key_file_issue(dir, &q, NOW, key, &why))
		fail_msg("%s", why.text);
	memcpy(id, key_id(slice_of(key)).p, KEY_ID_CHARS);
	id[KEY_ID_CHARS] = '\0';
}

static struct key_table *
loaded(const char *dir)
{
	struct fault why;
	struct key_table *t = key_table_load(dir, &why);

	if (t == NULL)
		fail_msg("%s", why.text);
	return t;
}

static enum key_verdict
judge(const char *dir, const char *key, int64_t now_ms)
{
	struct key_table *t = loaded(dir);
	struct key_hasher *h = key_table_hasher(t);
	const struct key_record *r;
	enum key_verdict verdict =
	    key_table_check(t, h, slice_of(key), now_ms, &r);

	key_hasher_destroy(&h);
	key_table_unref(&t);
	return verdict;
}

static void
a_key_keeps_all_that_was_said_of_it(void **state)
{
	static const char *const models[] = {"ds4", "org/mödel:8b \"x\""};
	const struct key_request q = {.user = "bob",
	    .name = "laptop, \"the old one\"",
	    .models = models,
	    .model_count = 2,
	    .expires_ms = NOW + DAY};
	char key[KEY_CHARS + 1];
	const struct key_record *r;
	struct key_table *t;
	struct fault why;

	assert_true(key_file_issue(*state, &q, NOW, key, &why));
	t = loaded(*state);
	assert_int_equal(key_table_count(t), 1);
	r = key_table_at(t, 0);
	assert_string_equal(r->user, "bob");
	assert_string_equal(r->name, "laptop, \"the old one\"");
	assert_int_equal(r->model_count, 2);
	assert_string_equal(r->models[0], models[0]);
	assert_string_equal(r->models[1], models[1]);
	assert_int_equal(r->created_ms, NOW);
	assert_int_equal(r->expires_ms, NOW + DAY);
	assert_int_equal(r->revoked_ms, 0);
	key_table_unref(&t);
	assert_int_equal(judge(*state, key, NOW), KEY_OK);
	assert_int_equal(judge(*state, key, NOW + DAY), KEY_EXPIRED);
}

static void
a_key_keeps_its_class_and_limits_over_rotation(void **state)
{
	struct limits l = limits_none();
	const struct key_request q = {
	    .user = "bob", .class = KEY_CLASS_BATCH, .limits = &l};
	char old[KEY_CHARS + 1], new[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct key_table *t;
	struct fault why;

	assert_true(
	    limits_set(&l, SLICE("requests_per_minute"), SLICE("10"), &why));
	assert_true(limits_set(&l, SLICE("budget"), SLICE("5/day"), &why));
	assert_true(key_file_issue(*state, &q, NOW, old, &why));
	issue(*state, new, id);
	snprintf(id, sizeof id, "%.6s", key_id(slice_of(old)).p);
	assert_int_equal(
	    key_file_rotate(*state, id, DAY, NOW, new, &why), KEY_CHANGED);
	t = loaded(*state);
	assert_int_equal(key_table_count(t), 3);
	for (size_t i = 0; i < 3; i += 2) {
		const struct key_record *r = key_table_at(t, i);

		assert_int_equal(r->class, KEY_CLASS_BATCH);
		assert_int_equal(r->limits.stated, l.stated);
		assert_int_equal(r->limits.most[LIMIT_REQUESTS], 10);
		assert_true(
		    r->limits.budget[PERIOD_DAY] == l.budget[PERIOD_DAY]);
		assert_int_equal(
		    r->limits.most[LIMIT_CONCURRENT], LIMIT_UNLIMITED);
	}
	assert_int_equal(key_table_at(t, 1)->class, KEY_CLASS_UNSAID);
	assert_int_equal(key_table_at(t, 1)->limits.stated, 0);
	key_table_unref(&t);
}

static void
files_and_a_missing_folder_are_made_private(void **state)
{
	static const char *const names[] = {"keys.json", "pepper", "keys.lock"};
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1], dir[128];

	snprintf(dir, sizeof dir, "%s/deep/state", (char *)*state);
	umask(0);
	issue(dir, key, id);
	assert_int_equal(stat_of(dir).st_mode & 07777, 0700);
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(
		    stat_of(folder_path(dir, names[i])).st_mode & 07777, 0600);
}

static void
the_secret_is_nowhere_in_the_folder(void **state)
{
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct dirent *entry;
	int files = 0;
	DIR *d;

	issue(*state, key, id);
	assert_non_null(d = opendir(*state));
	while ((entry = readdir(d)) != NULL) {
		struct buf b;

		if (entry->d_name[0] == '.')
			continue;
		b = content(folder_path(*state, entry->d_name));
		if (buf_len(&b) > 0)
			assert_null(
			    memmem(buf_data(&b), buf_len(&b), key + 15, 32));
		buf_release(&b);
		files++;
	}
	closedir(d);
	assert_int_equal(files, 3); /* and no temporary one is left */
}

static void
a_revoked_key_stops_at_once(void **state)
{
	char key[KEY_CHARS + 1], other[KEY_CHARS + 1];
	char id[KEY_ID_CHARS + 1], other_id[KEY_ID_CHARS + 1];
	struct fault why;

	issue(*state, key, id);
	issue(*state, other, other_id);
	assert_int_equal(key_file_revoke(*state, id, NOW, &why), KEY_CHANGED);
	assert_int_equal(judge(*state, key, NOW), KEY_REVOKED);
	assert_int_equal(judge(*state, other, NOW), KEY_OK);
	assert_int_equal(
	    key_file_revoke(*state, id, NOW + 5, &why), KEY_WAS_REVOKED);
	assert_int_equal(
	    key_file_revoke(*state, "k?????", NOW, &why), KEY_NOT_FOUND);
	assert_int_equal(key_file_revoke(*state, "", NOW, &why), KEY_NOT_FOUND);
}

static void
after_rotation_both_keys_work_until_the_grace_is_over(void **state)
{
	const struct key_request q = {
	    .user = "bob", .name = "laptop", .expires_ms = NOW + 9 * DAY};
	char old[KEY_CHARS + 1], new[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	const struct key_record *r;
	struct key_table *t;
	struct fault why;

	assert_true(key_file_issue(*state, &q, NOW, old, &why));
	snprintf(id, sizeof id, "%.6s", key_id(slice_of(old)).p);
	assert_int_equal(
	    key_file_rotate(*state, id, DAY, NOW + 1, new, &why), KEY_CHANGED);
	assert_int_equal(judge(*state, old, NOW + DAY), KEY_OK);
	assert_int_equal(judge(*state, old, NOW + 1 + DAY), KEY_REVOKED);
	assert_int_equal(judge(*state, new, NOW + 1 + DAY), KEY_OK);
	assert_int_equal(judge(*state, new, NOW + 9 * DAY), KEY_EXPIRED);
	t = loaded(*state);
	r = key_table_at(t, 1);
	assert_string_equal(r->user, "bob");
	assert_string_equal(r->name, "laptop");
	assert_int_equal(r->created_ms, NOW + 1);
	key_table_unref(&t);

	assert_int_equal(key_file_rotate(*state, id, DAY, NOW + 2, new, &why),
	    KEY_WAS_REVOKED);
	assert_int_equal(key_file_revoke(*state, id, NOW + 3, &why),
	    KEY_CHANGED); /* the grace may be cut short */
	assert_int_equal(judge(*state, old, NOW + 3), KEY_REVOKED);
}

static void
rotation_without_grace_stops_the_old_key_now(void **state)
{
	char old[KEY_CHARS + 1], new[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct fault why;

	issue(*state, old, id);
	assert_int_equal(
	    key_file_rotate(*state, id, 0, NOW, new, &why), KEY_CHANGED);
	assert_int_equal(judge(*state, old, NOW), KEY_REVOKED);
	assert_int_equal(judge(*state, new, NOW), KEY_OK);
}

static void
an_expired_key_has_no_successor(void **state)
{
	const struct key_request q = {.user = "bob", .expires_ms = NOW + 1};
	char old[KEY_CHARS + 1], new[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct key_table *t;
	struct fault why;

	assert_true(key_file_issue(*state, &q, NOW, old, &why));
	snprintf(id, sizeof id, "%.6s", key_id(slice_of(old)).p);
	assert_int_equal(
	    key_file_rotate(*state, id, DAY, NOW + 1, new, &why), KEY_FAILED);
	assert_non_null(strstr(why.text, "expired"));
	t = loaded(*state);
	assert_int_equal(key_table_count(t), 1);
	key_table_unref(&t);
}

static void
what_could_not_be_read_back_is_not_written(void **state)
{
	static const char *const no_models[1] = {""};
	static const struct key_request bad[] = {
	    {.user = ""},
	    {.user = "a\nb"},
	    {.user = "\xff"},
	    {.user = "bob", .name = ""},
	    {.user = "bob", .name = "\x1b[2J"},
	    {.user = "bob", .models = no_models, .model_count = 0},
	    {.user = "bob", .models = no_models, .model_count = 1},
	    {.user = "bob", .models = no_models, .model_count = 65},
	};
	char key[KEY_CHARS + 1];
	struct fault why;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		memset(key, 'x', sizeof key);
		assert_false(key_file_issue(*state, &bad[i], NOW, key, &why));
		assert_int_equal(key[0], '\0');
	}
	assert_int_not_equal(access(folder_path(*state, "keys.json"), F_OK), 0);
}

static void
a_damaged_file_is_not_written_over(void **state)
{
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct key_request q = {.user = "bob"};
	struct stat before, after;
	struct fault why;

	issue(*state, key, id);
	assert_int_equal(truncate(folder_path(*state, "keys.json"), 20), 0);
	before = stat_of(folder_path(*state, "keys.json"));
	assert_false(key_file_issue(*state, &q, NOW, key, &why));
	assert_non_null(strstr(why.text, "keys.json"));
	assert_int_equal(key_file_revoke(*state, id, NOW, &why), KEY_FAILED);
	after = stat_of(folder_path(*state, "keys.json"));
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_size, 20);
}

static void
a_lost_pepper_is_not_replaced_under_keys(void **state)
{
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];
	struct key_request q = {.user = "bob"};
	struct fault why;

	issue(*state, key, id);
	assert_int_equal(unlink(folder_path(*state, "pepper")), 0);
	assert_false(key_file_issue(*state, &q, NOW, key, &why));
	assert_non_null(strstr(why.text, "no pepper"));
	assert_int_not_equal(access(folder_path(*state, "pepper"), F_OK), 0);
}

/* As on a full disk: a write beyond the limit fails. */
static void
a_failed_write_leaves_the_old_file_whole(void **state)
{
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1], lost[KEY_CHARS + 1];
	struct key_request q = {.user = "bob"};
	struct rlimit before, small;
	struct dirent *entry;
	struct fault why;
	int files = 0;
	DIR *d;

	issue(*state, key, id);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = 64;
	setrlimit(RLIMIT_FSIZE, &small);
	assert_false(key_file_issue(*state, &q, NOW, lost, &why));
	assert_int_equal(key_file_revoke(*state, id, NOW, &why), KEY_FAILED);
	setrlimit(RLIMIT_FSIZE, &before);

	assert_non_null(strstr(why.text, "cannot replace"));
	assert_int_equal(lost[0], '\0');
	assert_int_equal(judge(*state, key, NOW), KEY_OK);
	assert_non_null(d = opendir(*state));
	while ((entry = readdir(d)) != NULL)
		files += entry->d_name[0] != '.';
	closedir(d);
	assert_int_equal(files, 3);
}

static void
owner_group_and_mode_survive_when_root_writes(void **state)
{
	static const char *const names[] = {"keys.json", "pepper", "keys.lock"};
	char key[KEY_CHARS + 1], id[KEY_ID_CHARS + 1];

	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	assert_int_equal(chown(*state, 12345, 23456), 0);
	issue(*state, key, id); /* new files belong to the folder's owner */
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct stat st = stat_of(folder_path(*state, names[i]));

		assert_int_equal(st.st_uid, 12345);
		assert_int_equal(st.st_gid, 23456);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	assert_int_equal(chown(folder_path(*state, "keys.json"), 11, 22), 0);
	assert_int_equal(chmod(folder_path(*state, "keys.json"), 0400), 0);
	issue(*state, key, id); /* replaced ones keep theirs */
	assert_int_equal(stat_of(folder_path(*state, "keys.json")).st_uid, 11);
	assert_int_equal(stat_of(folder_path(*state, "keys.json")).st_gid, 22);
	assert_int_equal(
	    stat_of(folder_path(*state, "keys.json")).st_mode & 07777, 0400);
}

/* In a child: issues `count` keys and writes them to `fd`. */
static void
issue_many(const char *dir, int count, int fd)
{
	struct key_request q = {.user = "bob"};
	char key[KEY_CHARS + 1];

	for (int i = 0; i < count; i++)
		if (!key_file_issue(dir, &q, NOW, key, NULL) ||
		    !file_write_all(fd, key, KEY_CHARS))
			_exit(1);
	_exit(0);
}

static void
two_processes_lose_no_key_and_a_reader_sees_none_torn(void **state)
{
	enum { EACH = 100 };
	int pipes[2], status, left = 2;
	char key[KEY_CHARS + 1];
	struct key_hasher *h;
	struct key_table *t;
	size_t seen = 0;

	assert_int_equal(pipe(pipes), 0);
	for (int i = 0; i < 2; i++) {
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			issue_many(*state, EACH, pipes[1]);
	}
	close(pipes[1]);
	while (left > 0) {
		t = loaded(*state); /* fails the test if it cannot */
		assert_true(key_table_count(t) >= seen);
		seen = key_table_count(t);
		key_table_unref(&t);
		if (waitpid(-1, &status, WNOHANG) > 0) {
			assert_int_equal(status, 0);
			left--;
		}
	}
	t = loaded(*state);
	h = key_table_hasher(t);
	assert_int_equal(key_table_count(t), 2 * EACH);
	for (int i = 0; i < 2 * EACH; i++) {
		const struct key_record *r;

		assert_int_equal(read(pipes[0], key, KEY_CHARS), KEY_CHARS);
		assert_int_equal(key_table_check(t, h,
				     (struct slice){key, KEY_CHARS}, NOW, &r),
		    KEY_OK);
	}
	close(pipes[0]);
	key_hasher_destroy(&h);
	key_table_unref(&t);
}

static void
a_folder_open_to_others_is_told(void **state)
{
	char missing[128];
	struct fault why;

	assert_true(state_dir_is_private(*state, &why));
	snprintf(missing, sizeof missing, "%s/none", (char *)*state);
	assert_true(state_dir_is_private(missing, &why));
	assert_int_equal(chmod(*state, 0750), 0);
	assert_false(state_dir_is_private(*state, &why));
	assert_non_null(strstr(why.text, "0750"));
	assert_false(state_dir_is_private("/dev/null", &why));
}

#define IN_FOLDER(test) \
	cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_FOLDER(a_key_keeps_all_that_was_said_of_it),
	    IN_FOLDER(a_key_keeps_its_class_and_limits_over_rotation),
	    IN_FOLDER(files_and_a_missing_folder_are_made_private),
	    IN_FOLDER(the_secret_is_nowhere_in_the_folder),
	    IN_FOLDER(a_revoked_key_stops_at_once),
	    IN_FOLDER(after_rotation_both_keys_work_until_the_grace_is_over),
	    IN_FOLDER(rotation_without_grace_stops_the_old_key_now),
	    IN_FOLDER(an_expired_key_has_no_successor),
	    IN_FOLDER(what_could_not_be_read_back_is_not_written),
	    IN_FOLDER(a_damaged_file_is_not_written_over),
	    IN_FOLDER(a_lost_pepper_is_not_replaced_under_keys),
	    IN_FOLDER(a_failed_write_leaves_the_old_file_whole),
	    IN_FOLDER(owner_group_and_mode_survive_when_root_writes),
	    IN_FOLDER(two_processes_lose_no_key_and_a_reader_sees_none_torn),
	    IN_FOLDER(a_folder_open_to_others_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
