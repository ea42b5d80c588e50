#include "metering/learned.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

static char folder[] = "/tmp/weir-learned-XXXXXX";
static char path[sizeof folder + 32];

static int
make_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/%s", folder, LEARNED_FILE_NAME);
	return 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

static struct learned *
open_anew(void)
{
	struct fault why;
	struct learned *l;

	unlink(path);
	l = learned_open(path, &why);
	assert_string_equal(why.text, "");
	return l;
}

static void
note(struct learned *l, const char *model, uint64_t bytes, int64_t tokens)
{
	const struct learned_sample s = {bytes, tokens, 0, -1};

	learned_note(l, "spark", model, &s);
}

static void
nothing_known_is_four_bytes_a_token(void **state)
{
	struct learned *l = open_anew();

	(void)state;
	assert_int_equal(learned_input(l, "spark", "ds4", 4000), 1000);
	assert_int_equal(learned_output(l, "spark", "ds4", 401), 101);
	assert_int_equal(learned_input(l, "spark", "ds4", 0), 0);
	assert_int_equal(learned_input(l, "spark", "ds4", 1), 1);
	assert_int_equal(learned_output(l, "spark", "ds4", 1), 1);
	learned_close(&l);
	assert_null(l);
}

static void
the_average_follows_the_samples(void **state)
{
	struct learned *l = open_anew();

	(void)state;
	note(l, "ds4", 3000, 1000);
	assert_int_equal(learned_input(l, "spark", "ds4", 3000), 1000);
	note(l, "ds4", 5000, 1000);
	assert_int_equal(learned_input(l, "spark", "ds4", 4000), 1000);
	for (int i = 0; i < 300; i++)
		note(l, "ds4", 5000, 1000);
	assert_in_range(learned_input(l, "spark", "ds4", 5000), 1000, 1001);
	/* Others have learned nothing of it, nor have answers. */
	assert_int_equal(learned_input(l, "spark", "coder", 4000), 1000);
	assert_int_equal(learned_input(l, "mac", "ds4", 4000), 1000);
	assert_int_equal(learned_output(l, "spark", "ds4", 4000), 1000);
	learned_close(&l);
}

static void
absurd_and_tiny_samples_do_no_harm(void **state)
{
	struct learned *l = open_anew();
	const struct learned_sample tiny = {63, 60, 60, 15};
	const struct learned_sample unsaid = {4000, -1, 0, 4000};

	(void)state;
	learned_note(l, "spark", "ds4", &tiny);
	learned_note(l, "spark", "ds4", &unsaid);
	note(l, "ds4", 4000, INT64_MAX);
	note(l, "ds4", UINT64_MAX, 1000);
	assert_int_equal(learned_input(l, "spark", "ds4", 4000), 1000);
	assert_int_equal(learned_output(l, "spark", "ds4", 4000), 1000);
	note(l, "ds4", 64, 1000000);
	assert_int_equal(learned_input(l, "spark", "ds4", 500), 1000);
	note(l, "coder", 1000000000, 16);
	assert_int_equal(learned_input(l, "spark", "coder", 16000), 1000);
	assert_true(learned_input(l, "spark", "coder", UINT64_MAX) > 0);
	learned_close(&l);
}

static void
what_was_learned_outlives_a_restart(void **state)
{
	const struct learned_sample s = {3000, 1000, 2500, 1000};
	struct learned *l = open_anew();
	struct fault why;

	(void)state;
	learned_note(l, "spark", "a \"quoted\" name/\xc3\xa9", &s);
	assert_true(learned_save(l, &why));
	learned_close(&l);

	l = learned_open(path, &why);
	assert_string_equal(why.text, "");
	assert_int_equal(
	    learned_input(l, "spark", "a \"quoted\" name/\xc3\xa9", 3000),
	    1000);
	assert_int_equal(
	    learned_output(l, "spark", "a \"quoted\" name/\xc3\xa9", 2500),
	    1000);
	/* Nothing new: the file is not written again. */
	assert_int_equal(unlink(path), 0);
	assert_true(learned_save(l, &why));
	assert_int_not_equal(access(path, F_OK), 0);
	learned_close(&l);
}

static void
write_file(const char *text)
{
	struct fault why;

	assert_true(file_replace(path, text, strlen(text), 0600, &why));
}

static void
a_damaged_file_is_told_and_begun_anew(void **state)
{
	static const char *const bad[] = {"", "{\"schema\":1,\"mod", "[1,2]",
	    "{\"schema\":2,\"models\":[]}", "{\"schema\":1}"};
	struct learned *l;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		write_file(bad[i]);
		l = learned_open(path, &why);
		assert_string_not_equal(why.text, "");
		assert_int_equal(learned_input(l, "spark", "ds4", 400), 100);
		note(l, "ds4", 3000, 1000);
		assert_true(learned_save(l, &why));
		learned_close(&l);
		l = learned_open(path, &why);
		assert_string_equal(why.text, "");
		assert_int_equal(learned_input(l, "spark", "ds4", 300), 100);
		learned_close(&l);
	}
}

static void
what_a_later_version_added_is_passed_over(void **state)
{
	struct learned *l;
	struct fault why;

	(void)state;
	write_file("{\"schema\":1,\"made_by\":\"9.0\",\"models\":["
		   "{\"upstream\":\"spark\",\"model\":\"ds4\","
		   "\"prefill\":{\"tokens_per_second\":[1,2]},"
		   "\"prompt\":{\"microbytes_a_token\":3000000,\"samples\":99,"
		   "\"p95\":7}},"
		   "{\"model\":\"ownerless\"},7,"
		   "{\"upstream\":\"spark\",\"model\":\"odd\","
		   "\"prompt\":{\"microbytes_a_token\":-1,\"samples\":1}}]}");
	l = learned_open(path, &why);
	assert_string_equal(why.text, "");
	assert_int_equal(learned_input(l, "spark", "ds4", 3000), 1000);
	assert_int_equal(learned_input(l, "spark", "odd", 4000), 1000);
	learned_close(&l);
}

static void
the_model_taught_longest_ago_is_forgotten(void **state)
{
	struct learned *l = open_anew();
	struct fault why;
	char name[32];

	(void)state;
	for (int i = 0; i < LEARNED_MODELS_MOST; i++) {
		snprintf(name, sizeof name, "m%d", i);
		note(l, name, 3000, 1000);
	}
	note(l, "m0", 3000, 1000);
	/* The order outlives a restart too. */
	assert_true(learned_save(l, &why));
	learned_close(&l);
	l = learned_open(path, &why);
	note(l, "one more", 3000, 1000);
	assert_int_equal(learned_input(l, "spark", "m0", 3000), 1000);
	assert_int_equal(learned_input(l, "spark", "m1", 3000), 750);
	assert_int_equal(learned_input(l, "spark", "m2", 3000), 1000);
	assert_int_equal(learned_input(l, "spark", "one more", 3000), 1000);
	learned_close(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_known_is_four_bytes_a_token),
	    cmocka_unit_test(the_average_follows_the_samples),
	    cmocka_unit_test(absurd_and_tiny_samples_do_no_harm),
	    cmocka_unit_test(what_was_learned_outlives_a_restart),
	    cmocka_unit_test(a_damaged_file_is_told_and_begun_anew),
	    cmocka_unit_test(what_a_later_version_added_is_passed_over),
	    cmocka_unit_test(the_model_taught_longest_ago_is_forgotten),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
