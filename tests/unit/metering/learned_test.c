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
#include "metering/answer_sizes.h"

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
	const struct learned_sample s = {.prompt_bytes = bytes,
	    .prompt_tokens = tokens,
	    .answer_tokens = -1};

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
	const struct learned_sample tiny = {.prompt_bytes = 63,
	    .prompt_tokens = 60,
	    .answer_bytes = 60,
	    .answer_tokens = 15};
	const struct learned_sample unsaid = {
	    .prompt_bytes = 4000, .prompt_tokens = -1, .answer_tokens = 4000};

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
	const struct learned_sample s = {.prompt_bytes = 3000,
	    .prompt_tokens = 1000,
	    .answer_bytes = 2500,
	    .answer_tokens = 1000};
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

/* One whole streamed answer of a server that reads 1000 tokens a second and
 * writes 40. */
static const struct learned_sample answered = {
    .prompt_bytes = 30000,
    .prompt_tokens = 10000,
    .answer_bytes = 2500,
    .answer_tokens = 1001,
    .ttft_ms = 8000,
    .uncached_tokens = 8000,
    .generation_ms = 25000,
};

static struct learned_guess
guess(struct learned *l, uint64_t prompt_bytes, uint64_t known_bytes)
{
	struct learned_guess g;

	learned_guess(l, "spark", "ds4", prompt_bytes, known_bytes, &g);
	return g;
}

static void
before_anything_is_learned_a_guess_is_the_fallback(void **state)
{
	struct learned *l = open_anew();
	struct learned_guess g = guess(l, 4000, 1000);
	uint64_t ms;

	(void)state;
	assert_int_equal(g.input, 1000);
	assert_int_equal(g.uncached, 750);
	assert_int_equal(g.output_p95, LEARNED_FALLBACK_ANSWER_TOKENS);
	assert_int_equal(g.tokens_a_mb, 250000);
	assert_int_equal(g.ttft_ms, 0);
	assert_int_equal(g.decode_rate, 0);
	assert_false(learned_prefill(l, "spark", "ds4", 1000, &ms));
	assert_int_equal(learned_prefill_rate(l, "spark", "ds4"), 0);
	learned_close(&l);
}

static void
assert_learned(struct learned *l)
{
	struct learned_guess g = guess(l, 30000, 6000);
	uint64_t ms;

	assert_int_equal(g.input, 10000);
	assert_int_equal(g.uncached, 8000);
	assert_in_range(g.output_p95, 1001, 1126);
	assert_int_equal(g.tokens_a_mb, 400401);
	assert_int_equal(g.ttft_ms, 8000);
	assert_int_equal(g.decode_rate, 40000);
	/* More is known than there is: nothing is to be read. */
	assert_int_equal(guess(l, 30000, 40000).uncached, 0);
	assert_true(learned_prefill(l, "spark", "ds4", 16000, &ms));
	assert_int_equal(ms, 16000);
	assert_int_equal(learned_prefill_rate(l, "spark", "ds4"), 1000000);
	assert_false(learned_prefill(l, "mac", "ds4", 16000, &ms));
}

static void
one_look_up_says_all_and_outlives_a_restart(void **state)
{
	struct learned *l = open_anew();
	struct fault why;

	(void)state;
	for (int i = 0; i < ANSWER_SIZES_LEAST; i++)
		learned_note(l, "spark", "ds4", &answered);
	assert_learned(l);
	assert_true(learned_save(l, &why));
	learned_close(&l);
	l = learned_open(path, &why);
	assert_string_equal(why.text, "");
	assert_learned(l);
	learned_close(&l);
}

static void
what_is_not_known_teaches_no_times(void **state)
{
	struct learned *l = open_anew();
	struct learned_sample s = answered;
	struct learned_guess g;

	(void)state;
	s.uncached_tokens = -1;
	s.generation_ms = 0;
	s.answers = 4;
	for (int i = 0; i < ANSWER_SIZES_LEAST; i++)
		learned_note(l, "spark", "ds4", &s);
	g = guess(l, 30000, 0);
	assert_int_equal(g.ttft_ms, 0);
	assert_int_equal(g.decode_rate, 0);
	assert_in_range(g.output_p95, 251, 285); /* each of the four */
	learned_close(&l);
}

static void
broken_lists_do_no_harm(void **state)
{
	struct learned *l;
	struct fault why;
	uint64_t ms;

	(void)state;
	write_file("{\"schema\":1,\"models\":[{\"upstream\":\"spark\","
		   "\"model\":\"ds4\",\"prefill_ms\":[100,-5,-1,7,[3],\"x\","
		   "1e9,99999999999,2000,4000,77],"
		   "\"answer_tokens\":[5,70000,9],\"decode_rates\":[0,-1],"
		   "\"prompt\":[4000000,9]},"
		   "{\"upstream\":\"spark\",\"model\":\"odd\","
		   "\"prefill_ms\":{\"a\":100,\"b\":200}}]}");
	l = learned_open(path, &why);
	assert_string_equal(why.text, "");
	assert_true(learned_prefill(l, "spark", "ds4", 2000, &ms));
	assert_int_equal(ms, 4000);
	assert_int_equal(
	    guess(l, 400, 0).output_p95, LEARNED_FALLBACK_ANSWER_TOKENS);
	assert_int_equal(guess(l, 400, 0).decode_rate, 0);
	assert_false(learned_prefill(l, "spark", "odd", 2000, &ms));
	learned_close(&l);
}

static void
append_name(char *seen, const char *model)
{
	snprintf(seen + strlen(seen), 32 - strlen(seen), "%s ", model);
}

static void
on_facts(void *arg, const struct learned_facts *f)
{
	char *seen = arg;

	append_name(seen, f->model);
	if (strcmp(f->model, "ds4") != 0)
		return;
	assert_string_equal(f->upstream, "spark");
	assert_int_equal(f->prompt_microbytes, 3000000);
	assert_int_equal(f->prefill_samples, 1);
	assert_int_equal(f->prefill_rate, 1000000);
	assert_int_equal(f->decode_rate, 40000);
	assert_int_equal(f->output_p95, 0);
}

static void
every_model_is_told_in_the_order_of_learning(void **state)
{
	struct learned *l = open_anew();
	char seen[32] = "";

	(void)state;
	note(l, "b", 3000, 1000);
	note(l, "a", 3000, 1000);
	learned_note(l, "spark", "ds4", &answered);
	note(l, "b", 3000, 1000);
	learned_each(l, on_facts, seen);
	assert_string_equal(seen, "a ds4 b ");
	learned_close(&l);
}

/* More come and go than there is room for; each is found, or is not there. */
static void
the_index_follows_the_table(void **state)
{
	struct learned *l = open_anew();
	struct learned_guess g;
	char name[32];

	(void)state;
	for (int i = 0; i < 3 * LEARNED_MODELS_MOST; i++) {
		snprintf(name, sizeof name, "m%d", i);
		note(l, name, 3000, 1000);
	}
	for (int i = 0; i < 3 * LEARNED_MODELS_MOST; i++) {
		snprintf(name, sizeof name, "m%d", i);
		learned_guess(l, "spark", name, 3000, 0, &g);
		assert_int_equal(
		    g.input, i < 2 * LEARNED_MODELS_MOST ? 750 : 1000);
	}
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
	    cmocka_unit_test(
		before_anything_is_learned_a_guess_is_the_fallback),
	    cmocka_unit_test(one_look_up_says_all_and_outlives_a_restart),
	    cmocka_unit_test(what_is_not_known_teaches_no_times),
	    cmocka_unit_test(broken_lists_do_no_harm),
	    cmocka_unit_test(every_model_is_told_in_the_order_of_learning),
	    cmocka_unit_test(the_index_follows_the_table),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
