/* What is wrong is shown with its line, in order, and without any secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "conf/config.h"
#include "conf/diagnostic.h"

static const char *
env(const char *name)
{
	(void)name;
	return NULL;
}

static const struct config_env test_env = {
    .default_state_dir = "/tmp/state", .env = env};

static void
print(const struct diagnostics *d, const char *text, struct buf *out)
{
	diagnostics_print(d, "weir.yaml", slice_of(text), out);
	buf_put(out, "", 1);
}

static void
an_error_is_shown_with_its_line_and_carets(void **state)
{
	struct diagnostics d = {0};
	struct buf out = {0};

	(void)state;
	diagnostics_add(&d, SEVERITY_WARNING, 1, 1, 1, "a %s", "warning");
	diagnostics_add(&d, SEVERITY_ERROR, 2, 9, 4, "not %d", 1);
	diagnostics_add(&d, SEVERITY_ERROR, 0, 0, 1, "of the file");
	diagnostics_sort(&d);
	print(&d, "one\r\n  two: four five\n", &out);
	assert_string_equal(buf_data(&out),
	    "weir.yaml: error: of the file\n"
	    "weir.yaml:1:1: warning: a warning\n"
	    "weir.yaml:2:9: error: not 1\n"
	    "     2 |   two: four five\n"
	    "       |         ^~~~\n");
	buf_release(&out);
	diagnostics_release(&d);
}

static void
columns_are_characters_and_tabs_stay_tabs(void **state)
{
	struct diagnostics d = {0};
	struct buf out = {0};

	(void)state;
	diagnostics_add(&d, SEVERITY_ERROR, 1, 4, 2, "x");
	diagnostics_add(&d, SEVERITY_ERROR, 2, 3, 1, "y");
	diagnostics_sort(&d);
	print(&d, "ë€a bc\n\tab\n", &out);
	assert_string_equal(buf_data(&out),
	    "weir.yaml:1:4: error: x\n"
	    "     1 | ë€a bc\n"
	    "       |    ^~\n"
	    "weir.yaml:2:3: error: y\n"
	    "     2 | \tab\n"
	    "       | \t ^\n");
	buf_release(&out);
	diagnostics_release(&d);
}

static void
a_message_cannot_move_the_readers_cursor(void **state)
{
	struct diagnostics d = {0};
	struct buf out = {0};

	(void)state;
	diagnostics_add(&d, SEVERITY_ERROR, 1, 1, 1, "a\x1b[2J\nb\xc2\x9b");
	print(&d, "x\x1b[2Jy\x7fz\xffz\n", &out);
	assert_string_equal(buf_data(&out),
	    "weir.yaml:1:1: error: a?[2J?b??\n"
	    "     1 | x?[2Jy?z?z\n"
	    "       | ^\n");
	buf_release(&out);
	diagnostics_release(&d);
}

static void
the_same_thing_is_said_once(void **state)
{
	struct diagnostics d = {0};

	(void)state;
	for (int i = 0; i < 3; i++)
		diagnostics_add(&d, SEVERITY_ERROR, 3, 1, 1, "again");
	diagnostics_add(&d, SEVERITY_ERROR, 3, 1, 1, "other");
	diagnostics_sort(&d);
	assert_int_equal(d.count, 2);
	assert_int_equal(d.errors, 2);
	diagnostics_release(&d);
}

static void
too_many_are_counted_and_not_kept(void **state)
{
	struct diagnostics d = {0};
	struct buf out = {0};

	(void)state;
	for (unsigned i = 0; i < DIAGNOSTICS_MOST + 7; i++)
		diagnostics_add(&d, SEVERITY_ERROR, 0, 0, 1, "%u", i);
	diagnostics_sort(&d);
	assert_int_equal(d.count, DIAGNOSTICS_MOST);
	assert_int_equal(d.errors, DIAGNOSTICS_MOST + 7);
	print(&d, "", &out);
	assert_non_null(strstr(buf_data(&out), "7 more are not shown"));
	buf_release(&out);
	diagnostics_release(&d);
}

static void
a_long_line_is_cut_around_the_mistake(void **state)
{
	struct diagnostics d = {0};
	struct buf out = {0};
	char text[4001];

	(void)state;
	memset(text, 'a', 4000);
	memcpy(text + 2000, "HERE", 4);
	text[4000] = '\0';
	diagnostics_add(&d, SEVERITY_ERROR, 1, 2001, 4, "x");
	print(&d, text, &out);
	assert_non_null(strstr(buf_data(&out), "aHEREa"));
	assert_non_null(strstr(buf_data(&out), " ^~~~\n"));
	assert_true(buf_len(&out) < 500);
	buf_release(&out);
	diagnostics_release(&d);
}

/* In each of these there is a mistake, and HUNTER2 somewhere near it. */
static void
no_secret_is_ever_shown(void **state)
{
	static const char *const all[] = {
	    "upstreams: {a: {url: http://h, api_key: HUNTER2}}\n",
	    "upstreams: {a: {url: http://h, api_key: sk-HUNTER2, b: 1}}\n",
	    "upstreams: {a: {url: http://h, apikey: HUNTER2}}\n",
	    "upstreams: {a: {url: http://h, apiKey: HUNTER2}}\n",
	    "upstreams: {a: {url: http://h, bearer: HUNTER2}}\n",
	    "upstreams: {a: {url: http://h, bearer: [x, HUNTER2]}}\n",
	    "upstreams:\n  a:\n    url: http://h\n    secrets:\n      x: y\n"
	    "      z: HUNTER2\n      z: HUNTER2\n",
	    "upstreams: {a: {url: http://h, api_key: [HUNTER2]}}\n",
	    "upstreams: {a: {url: http://h, api_key: {x: HUNTER2}}}\n",
	    "upstreams: {a: {url: \"http://u:HUNTER2@h\"}}\n",
	    "upstreams: {a: {url: \"u:HUNTER2@h\"}}\n",
	    "upstreams: {a: {url: \"http://h/?key=HUNTER2\"}}\n",
	    "upstreams: {a: {kind: x, url: \"http://h/?key=HUNTER2\"}}\n",
	    "upstreams: {a: {url: http://h, api_key: \"HUNTER2}}\n",
	    "upstreams: {a: {url: http://h, api_key: a b: HUNTER2}}\n",
	    "upstreams:\n  a:\n    api_key: @HUNTER2\n",
	    "upstreams:\n  a:\n    api_key: abc,HUNTER2: d\n",
	    "upstreams:\n  a:\n    api_key:\n      \"HUNTER2\n",
	    "upstreams:\n  a:\n    api_key: |\n      HUNTER2\n\tx\n",
	    "users: {bob: {models: [], key: HUNTER2}}\n",
	    "users: {bob: {models: [], key: sk-weir-HUNTER2}}\n",
	    "users: {bob: {models: [], keys: HUNTER2}}\n",
	    "redis: {url: redis://h, password: HUNTER2}\n",
	    "redis: {url: \"redis://:HUNTER2@h\"}\n",
	    "sk-HUNTER2: 1\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct diagnostics d = {0};
		struct buf out = {0};

		assert_null(
		    config_parse("weir.yaml", slice_of(all[i]), &test_env, &d));
		print(&d, all[i], &out);
		if (strstr(buf_data(&out), "HUNTER2") != NULL)
			print_message("%s%s", all[i], buf_data(&out));
		assert_null(strstr(buf_data(&out), "HUNTER2"));
		buf_release(&out);
		diagnostics_release(&d);
	}
}

static void
a_hidden_value_is_six_stars_and_its_neighbours_are_shown(void **state)
{
	static const char yaml[] =
	    "version: 1\n"
	    "upstreams: {a: {url: http://h, api_key: fw_3ZaXYZ, kind: vlm}}\n";
	struct diagnostics d = {0};
	struct buf out = {0};

	(void)state;
	assert_null(config_parse("weir.yaml", slice_of(yaml), &test_env, &d));
	print(&d, yaml, &out);
	assert_non_null(strstr(buf_data(&out),
	    "api_key: ******, kind: vlm}}\n"
	    "       |                                         ^~~~~~\n"));
	assert_non_null(strstr(buf_data(&out),
	    "api_key: ******, kind: vlm}}\n"
	    "       |                                                       "
	    "^~~\n"));
	buf_release(&out);
	diagnostics_release(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_error_is_shown_with_its_line_and_carets),
	    cmocka_unit_test(columns_are_characters_and_tabs_stay_tabs),
	    cmocka_unit_test(a_message_cannot_move_the_readers_cursor),
	    cmocka_unit_test(the_same_thing_is_said_once),
	    cmocka_unit_test(too_many_are_counted_and_not_kept),
	    cmocka_unit_test(a_long_line_is_cut_around_the_mistake),
	    cmocka_unit_test(no_secret_is_ever_shown),
	    cmocka_unit_test(
		a_hidden_value_is_six_stars_and_its_neighbours_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
