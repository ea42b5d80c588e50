#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../folder.h"
#include "auth/key_file.h"
#include "auth/key_table.h"
#include "base/buf.h"
#include "base/mem.h"

#define NOW INT64_C(1780000000000)
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define DOCUMENT(keys) "{\"version\":1,\"keys\":[" keys "]}"
#define RECORD(id) "{\"id\":\"" id "\",\"user\":\"bob\",\"hash\":\"" HASH "\"}"

static const uint8_t pepper[PEPPER_BYTES] = {1, 2, 3};

static void
write_file(const char *path, const void *p, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
issue(const char *dir, const char *user, char key[KEY_CHARS + 1])
{
	struct key_request q = {.user = user};
	struct fault why;

	if (!key_file_issue(dir, &q, NOW, key, &why))
		fail_msg("%s", why.text);
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

static void
refused(const char *dir, const char *because)
{
	struct fault why = {""};
	struct key_table *t = key_table_load(dir, &why);

	if (t != NULL)
		fail_msg("taken, where this was due: %s", because);
	if (strstr(why.text, because) == NULL)
		fail_msg("'%s' does not say '%s'", why.text, because);
}

static enum key_verdict
judge(const struct key_table *t, const char *key, size_t len, int64_t now_ms)
{
	struct key_hasher *h = key_table_hasher(t);
	const struct key_record *r = NULL;
	enum key_verdict verdict =
	    key_table_check(t, h, (struct slice){key, len}, now_ms, &r);

	assert_int_equal(r != NULL,
	    verdict == KEY_OK || verdict == KEY_REVOKED ||
		verdict == KEY_EXPIRED);
	key_hasher_destroy(&h);
	return verdict;
}

static void
no_file_is_an_empty_table(void **state)
{
	struct key_table *t = loaded(*state);
	char key[KEY_CHARS + 1];
	struct fault why;

	assert_int_equal(key_table_count(t), 0);
	assert_null(key_table_find(t, "k00000"));
	assert_true(key_make(key, &why));
	assert_int_equal(judge(t, key, KEY_CHARS, NOW), KEY_UNKNOWN);
	key_table_unref(&t);
	assert_null(t);
	key_table_unref(&t);
}

static void
an_issued_key_is_known_and_any_other_is_not(void **state)
{
	char key[KEY_CHARS + 1], other[KEY_CHARS + 1];
	struct key_table *t;
	struct fault why;

	issue(*state, "bob", key);
	t = loaded(*state);
	assert_int_equal(judge(t, key, KEY_CHARS, NOW), KEY_OK);
	assert_true(key_make(other, &why));
	assert_int_equal(judge(t, other, KEY_CHARS, NOW), KEY_UNKNOWN);
	assert_int_equal(judge(t, "hello", 5, NOW), KEY_FOREIGN);
	assert_int_equal(judge(t, key, KEY_CHARS - 1, NOW), KEY_MISTYPED);
	key_table_unref(&t);
}

static void
every_change_of_one_character_is_refused(void **state)
{
	char key[KEY_CHARS + 1];
	struct key_table *t;

	issue(*state, "bob", key);
	t = loaded(*state);
	for (size_t i = 0; i < KEY_CHARS; i++) {
		char kept = key[i];

		for (int c = 1; c < 128; c++) {
			enum key_verdict verdict;

			if ((char)c == kept)
				continue;
			key[i] = (char)c;
			verdict = judge(t, key, KEY_CHARS, NOW);
			assert_true(
			    verdict == KEY_FOREIGN || verdict == KEY_MISTYPED);
		}
		key[i] = kept;
	}
	key_table_unref(&t);
}

/* Right id and right check, and still another secret. */
static void
a_known_id_with_another_secret_is_unknown(void **state)
{
	char key[KEY_CHARS + 1], json[512];
	const struct key_record *r;
	struct key_table *t;
	struct fault why;
	struct slice id;

	(void)state;
	assert_true(key_make(key, &why));
	id = key_id(slice_of(key));
	snprintf(json, sizeof json,
	    DOCUMENT(
		"{\"id\":\"%.6s\",\"user\":\"bob\",\"hash\":\"" HASH "\"}"),
	    id.p);
	t = key_table_parse(slice_of(json), pepper, &why);
	assert_non_null(t);
	r = key_table_at(t, 0);
	assert_memory_equal(r->id, id.p, KEY_ID_CHARS);
	assert_int_equal(judge(t, key, KEY_CHARS, NOW), KEY_UNKNOWN);
	key_table_unref(&t);
}

static void
a_stored_hash_is_no_key(void **state)
{
	char key[KEY_CHARS + 1], hex[2 * KEY_HASH_BYTES + 1];
	const struct key_record *r;
	struct key_table *t;

	issue(*state, "bob", key);
	t = loaded(*state);
	r = key_table_at(t, 0);
	for (size_t i = 0; i < KEY_HASH_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", r->hash[i]);
	assert_int_equal(judge(t, hex, sizeof hex - 1, NOW), KEY_FOREIGN);
	assert_int_equal(
	    judge(t, (const char *)r->hash, KEY_HASH_BYTES, NOW), KEY_FOREIGN);
	key_table_unref(&t);
}

static void
time_decides_to_the_millisecond(void **state)
{
	const struct key_record expires = {.expires_ms = 1000};
	const struct key_record grace = {.revoked_ms = 1000};
	const struct key_record both = {.expires_ms = 500, .revoked_ms = 1000};
	const struct key_record never = {.expires_ms = 0};

	(void)state;
	assert_int_equal(key_record_state(&expires, 999), KEY_OK);
	assert_int_equal(key_record_state(&expires, 1000), KEY_EXPIRED);
	assert_int_equal(key_record_state(&grace, 999), KEY_OK);
	assert_int_equal(key_record_state(&grace, 1000), KEY_REVOKED);
	assert_int_equal(key_record_state(&both, 999), KEY_EXPIRED);
	assert_int_equal(key_record_state(&both, 1000), KEY_REVOKED);
	assert_int_equal(key_record_state(&never, INT64_MAX), KEY_OK);
}

static void
damaged_text_is_refused_with_what_is_wrong(void **state)
{
	static const struct {
		const char *json, *because;
	} cases[] = {
	    {"", "empty"},
	    {" ", "line 1"},
	    {"[]", "not a JSON object"},
	    {"{", "line 1"},
	    {DOCUMENT("") "x", "line 1"},
	    {"{\"keys\":[]}", "\"version\" is missing"},
	    {"{\"version\":\"1\",\"keys\":[]}", "\"version\" is missing"},
	    {"{\"version\":2,\"keys\":[]}", "version 2"},
	    {"{\"version\":1}", "\"keys\" is missing"},
	    {"{\"version\":1,\"keys\":{}}", "not a list"},
	    {"{\"version\":1,\"version\":1,\"keys\":[]}", "duplicate"},
	    {"{\"version\":1,\"keys\":[],\"x\":1}", "\"x\" is not known"},
	    {DOCUMENT("1"), "key number 1: it is not an object"},
	    {DOCUMENT("{}"), "\"id\" is missing"},
	    {DOCUMENT("{\"id\":\"k0000\"}"), "not an id"},
	    {DOCUMENT("{\"id\":\"K00000\"}"), "not an id"},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"\"}"), "\"user\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"a\\nb\"}"), "\"user\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"bob\"}"), "\"hash\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"hash\":\"" HASH "\"}"),
		"\"user\" is missing"},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"hash\":\"00\"}"),
		"\"hash\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"models\":[]}"),
		"\"models\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"models\":\"a\"}"),
		"\"models\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"models\":[1]}"),
		"\"models\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\","
		      "\"expires_ms\":\"never\"}"),
		"\"expires_ms\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"revoked_ms\":0}"),
		"\"revoked_ms\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"limit\":1}"),
		"\"limit\" is not known"},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"class\":\"b\"}"),
		"\"class\" is none"},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"class\":1}"),
		"\"class\" is none"},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\",\"limits\":[]}"),
		"\"limits\""},
	    {DOCUMENT("{\"id\":\"k00000\",\"user\":\"b\","
		      "\"limits\":[\"budget=5\"]}"),
		"budget must be"},
	    {DOCUMENT(RECORD("k00000") "," RECORD("k00000")), "twice"},
	};
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct key_table *t =
		    key_table_parse(slice_of(cases[i].json), pepper, &why);

		if (t != NULL)
			fail_msg("taken: %s", cases[i].json);
		if (strstr(why.text, cases[i].because) == NULL)
			fail_msg("'%s' does not say '%s'", why.text,
			    cases[i].because);
	}
}

static void
every_cut_of_a_file_is_refused(void **state)
{
	static const char whole[] =
	    DOCUMENT(RECORD("k00000") "," RECORD("k00001"));
	struct key_table *t;
	struct fault why;

	(void)state;
	for (size_t len = 0; len < sizeof whole - 1; len++)
		assert_null(
		    key_table_parse((struct slice){whole, len}, pepper, &why));
	t = key_table_parse(
	    (struct slice){whole, sizeof whole - 1}, pepper, &why);
	assert_int_equal(key_table_count(t), 2);
	assert_string_equal(key_table_at(t, 0)->id, "k00000");
	assert_string_equal(key_table_find(t, "k00001")->id, "k00001");
	assert_null(key_table_find(t, "k00002"));
	assert_null(key_table_find(t, "k0000"));
	assert_null(key_table_find(t, "k000011"));
	key_table_unref(&t);
}

static void
an_empty_or_torn_file_is_damage(void **state)
{
	char key[KEY_CHARS + 1];

	issue(*state, "bob", key);
	assert_int_equal(truncate(folder_path(*state, "keys.json"), 40), 0);
	refused(*state, "keys.json");
	assert_int_equal(truncate(folder_path(*state, "keys.json"), 0), 0);
	refused(*state, "empty");
}

static void
the_pepper_is_missed_and_must_be_whole(void **state)
{
	char key[KEY_CHARS + 1];

	issue(*state, "bob", key);
	assert_int_equal(truncate(folder_path(*state, "pepper"), 31), 0);
	refused(*state, "31 bytes");
	assert_int_equal(unlink(folder_path(*state, "pepper")), 0);
	refused(*state, "no pepper");
	write_file(folder_path(*state, "pepper"), HASH, 33, 0600);
	refused(*state, "larger than 32");
}

static void
files_that_are_open_to_others_are_refused(void **state)
{
	static const char *const names[] = {"keys.json", "pepper"};
	char key[KEY_CHARS + 1];
	struct key_table *t;

	issue(*state, "bob", key);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char *path = folder_path(*state, names[i]);

		for (mode_t bit = 1; bit < 0100; bit <<= 1) {
			assert_int_equal(chmod(path, 0600 | bit), 0);
			refused(*state, "open to others");
		}
		assert_int_equal(chmod(path, 0600), 0);
		t = loaded(*state);
		key_table_unref(&t);
	}
}

static void
links_pipes_and_folders_are_refused(void **state)
{
	static const char *const names[] = {"keys.json", "pepper"};
	char key[KEY_CHARS + 1], aside[256];

	issue(*state, "bob", key);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char *path;

		snprintf(
		    aside, sizeof aside, "%s", folder_path(*state, "aside"));
		path = folder_path(*state, names[i]);
		assert_int_equal(rename(path, aside), 0);
		assert_int_equal(symlink(aside, path), 0);
		refused(*state, "symbolic link");
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkfifo(path, 0600), 0);
		refused(*state, "not a regular file");
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkdir(path, 0700), 0);
		refused(*state, "not a regular file");
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(rename(aside, path), 0);
	}
}

static void
a_file_that_is_too_large_is_refused(void **state)
{
	const char *path = folder_path(*state, "keys.json");

	write_file(path, "{", 1, 0600);
	assert_int_equal(truncate(path, (off_t)KEY_FILE_MOST_BYTES + 1), 0);
	refused(*state, "larger than");
}

static void
a_file_of_a_stranger_is_refused_but_to_an_administrator(void **state)
{
	char key[KEY_CHARS + 1];
	struct key_table *t;
	struct fault why;

	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	issue(*state, "bob", key);
	assert_int_equal(
	    chown(folder_path(*state, "keys.json"), 12345, 12345), 0);
	refused(*state, "belongs to user number 12345");
	t = key_table_load_as_admin(*state, &why);
	assert_non_null(t);
	key_table_unref(&t);
	assert_int_equal(chown(*state, 12345, 12345), 0);
	t = loaded(*state);
	key_table_unref(&t);
}

static void
a_table_lives_until_its_last_reference(void **state)
{
	char key[KEY_CHARS + 1];
	struct key_table *t, *other;

	issue(*state, "bob", key);
	t = loaded(*state);
	other = key_table_ref(t);
	key_table_unref(&t);
	assert_int_equal(judge(other, key, KEY_CHARS, NOW), KEY_OK);
	assert_string_equal(key_table_at(other, 0)->user, "bob");
	key_table_unref(&other);
}

static void
many_keys_are_all_found(void **state)
{
	enum { KEYS = 5000 };
	struct buf json = {0};
	struct key_table *t;
	struct fault why;
	char id[16];

	(void)state;
	buf_puts(&json, "{\"version\":1,\"keys\":[");
	for (int i = 0; i < KEYS; i++)
		buf_printf(&json,
		    "%s{\"id\":\"k%05d\",\"user\":\"u%d\",\"hash\":\"" HASH
		    "\"}",
		    i == 0 ? "" : ",", i, i);
	buf_puts(&json, "]}");
	t = key_table_parse(
	    (struct slice){buf_data(&json), buf_len(&json)}, pepper, &why);
	assert_non_null(t);
	for (int i = 0; i < KEYS; i++) {
		snprintf(id, sizeof id, "k%05d", i);
		assert_ptr_equal(
		    key_table_find(t, id), key_table_at(t, (size_t)i));
	}
	key_table_unref(&t);
	buf_release(&json);
}

#define IN_FOLDER(test) \
	cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_FOLDER(no_file_is_an_empty_table),
	    IN_FOLDER(an_issued_key_is_known_and_any_other_is_not),
	    IN_FOLDER(every_change_of_one_character_is_refused),
	    cmocka_unit_test(a_known_id_with_another_secret_is_unknown),
	    IN_FOLDER(a_stored_hash_is_no_key),
	    cmocka_unit_test(time_decides_to_the_millisecond),
	    cmocka_unit_test(damaged_text_is_refused_with_what_is_wrong),
	    cmocka_unit_test(every_cut_of_a_file_is_refused),
	    IN_FOLDER(an_empty_or_torn_file_is_damage),
	    IN_FOLDER(the_pepper_is_missed_and_must_be_whole),
	    IN_FOLDER(files_that_are_open_to_others_are_refused),
	    IN_FOLDER(links_pipes_and_folders_are_refused),
	    IN_FOLDER(a_file_that_is_too_large_is_refused),
	    IN_FOLDER(a_file_of_a_stranger_is_refused_but_to_an_administrator),
	    IN_FOLDER(a_table_lives_until_its_last_reference),
	    cmocka_unit_test(many_keys_are_all_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
