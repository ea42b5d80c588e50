/* The tables of kinds and of APIs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metering/kind.h"

static void
each_kind_is_known_by_its_name(void **state)
{
	enum server_kind k = KIND_OPENAI;

	(void)state;
	for (unsigned i = 0; i < KIND_COUNT; i++) {
		const char *name = kind_name((enum server_kind)i);

		assert_true(kind_parse(slice_of(name), &k));
		assert_int_equal(k, i);
	}
	assert_false(kind_parse(slice_of("OpenAI"), &k));
	assert_false(kind_parse(slice_of("openai "), &k));
	assert_false(kind_parse(slice_of(""), &k));
}

static void
paths_begin_with_a_slash_and_do_not_end_with_one(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KIND_COUNT; i++) {
		enum server_kind k = (enum server_kind)i;
		const char *base = kind_base(k), *health = kind_health(k);

		assert_true(base[0] == '\0' || base[0] == '/');
		assert_true(base[0] == '\0' || base[strlen(base) - 1] != '/');
		assert_int_equal(health[0], '/');
		for (unsigned a = 0; a < API_COUNT; a++) {
			enum server_api api = (enum server_api)a;
			const char *path = kind_path(k, api);

			assert_true(path == NULL || path[0] == '/');
			assert_int_equal(api_path(api)[0], '/');
		}
	}
	assert_string_equal(kind_path(KIND_TEI, API_RERANK), "/rerank");
	assert_null(kind_path(KIND_TEI, API_EMBEDDINGS));
	assert_string_equal(kind_base(KIND_INFINITY), "");
}

static void
what_costs_money_and_what_is_asked_for_is_in_the_table(void **state)
{
	static const enum server_kind clouds[] = {KIND_ANTHROPIC,
	    KIND_FIREWORKS, KIND_XAI, KIND_DEEPSEEK, KIND_OPENROUTER};
	unsigned count = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(clouds); i++)
		assert_true(kind_has(clouds[i], KIND_IS_CLOUD));
	for (unsigned i = 0; i < KIND_COUNT; i++) {
		enum server_kind k = (enum server_kind)i;

		count += kind_has(k, KIND_IS_CLOUD);
		/* Counts on the way are never asked for alone. */
		assert_true(!kind_has(k, KIND_RUNS_USAGE) ||
		    kind_has(k, KIND_ASKS_USAGE));
	}
	assert_int_equal(count, COUNT_OF(clouds));
	assert_true(kind_has(KIND_VLLM, KIND_ASKS_USAGE | KIND_RUNS_USAGE));
	assert_false(kind_has(KIND_OPENAI, KIND_ASKS_USAGE | KIND_RUNS_USAGE));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_kind_is_known_by_its_name),
	    cmocka_unit_test(paths_begin_with_a_slash_and_do_not_end_with_one),
	    cmocka_unit_test(
		what_costs_money_and_what_is_asked_for_is_in_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
