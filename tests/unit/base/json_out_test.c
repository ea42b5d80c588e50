/* What is written is one line of valid JSON, whatever went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <limits.h>
#include <string.h>

#include "base/json_out.h"
#include "base/json_scan.h"

static void
assert_escapes(const char *in, size_t len, const char *expected)
{
	struct buf b = {0};

	json_escape(&b, (struct slice){in, len});
	buf_put(&b, "", 1);
	assert_string_equal(buf_data(&b), expected);
	buf_release(&b);
}

static void
commas_stand_between_values_and_nowhere_else(void **state)
{
	struct buf b = {0};
	struct json_out o = json_out_to(&b);

	(void)state;
	json_open(&o, '{');
	json_member_string(&o, "s", SLICE("a\"b"));
	json_member_int(&o, "n", INT64_MIN);
	json_member_bool(&o, "yes", true);
	json_member_bool(&o, "no", false);
	json_key(&o, "list");
	json_open(&o, '[');
	json_int(&o, 1);
	json_null(&o);
	json_open(&o, '{');
	json_close(&o, '}');
	json_open(&o, '[');
	json_close(&o, ']');
	json_raw(&o, SLICE("{\"x\":0}"));
	json_string(&o, SLICE(""));
	json_close(&o, ']');
	json_key(&o, "\n");
	json_null(&o);
	json_close(&o, '}');
	buf_put(&b, "", 1);
	assert_string_equal(buf_data(&b),
	    "{\"s\":\"a\\\"b\",\"n\":-9223372036854775808,\"yes\":true,"
	    "\"no\":false,\"list\":[1,null,{},[],{\"x\":0},\"\"],"
	    "\"\\n\":null}");
	buf_release(&b);
}

static void
what_could_end_a_string_or_a_line_is_escaped(void **state)
{
	(void)state;
	assert_escapes("\"\\/", 3, "\\\"\\\\/");
	assert_escapes("a\n\r\tb", 5, "a\\n\\r\\tb");
	assert_escapes("\0\x01\x1f\x7f", 4, "\\u0000\\u0001\\u001f\\u007f");
	assert_escapes("x\xe2\x80\xa8y\xe2\x80\xa9", 8, "x\\u2028y\\u2029");
	assert_escapes(
	    "\xe2\x80\xa7\xe2\x80\xaa", 6, "\xe2\x80\xa7\xe2\x80\xaa");
}

static void
utf8_goes_out_as_it_is(void **state)
{
	static const char text[] =
	    "\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf "
	    "\xee\x80\x80 \xef\xbf\xbf "
	    "\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf";

	(void)state;
	assert_escapes(text, strlen(text), text);
}

static void
what_is_no_utf8_becomes_a_replacement_a_byte(void **state)
{
	static const char *const bad[] = {
	    "\x80",
	    "\xbf",
	    "\xc0\xaf",
	    "\xc1\xbf",
	    "\xe0\x9f\xbf",
	    "\xed\xa0\x80",
	    "\xf0\x8f\xbf\xbf",
	    "\xf4\x90\x80\x80",
	    "\xf5\x80\x80\x80",
	    "\xff",
	    "\xc3",
	    "\xe2\x82",
	    "\xf0\x9f\x98",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct buf expected = {0};

		for (size_t n = 0; n < strlen(bad[i]); n++)
			buf_puts(&expected, "\\ufffd");
		buf_put(&expected, "", 1);
		assert_escapes(bad[i], strlen(bad[i]), buf_data(&expected));
		buf_release(&expected);
	}
	assert_escapes("a\xff"
		       "b\xc3(",
	    5, "a\\ufffdb\\ufffd(");
}

static bool
on_token(void *arg, const struct json_token *t)
{
	*(struct json_token *)arg = *t;
	return true;
}

static void
any_byte_comes_out_as_a_valid_string(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char in[3] = {'a', (char)c, 'z'};
		struct buf b = {0};
		struct json_out o = json_out_to(&b);
		struct json_token t;
		struct json_scan s;

		json_string(&o, (struct slice){in, sizeof in});
		assert_null(memchr(buf_data(&b), '\n', buf_len(&b)));
		json_scan_init(&s, on_token, &t, UINT_MAX);
		assert_int_equal(
		    json_scan_feed(&s, buf_data(&b), buf_len(&b)), JSON_DONE);
		assert_int_equal(t.size, c < 0x80 ? 3 : 5);
		buf_release(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(commas_stand_between_values_and_nowhere_else),
	    cmocka_unit_test(what_could_end_a_string_or_a_line_is_escaped),
	    cmocka_unit_test(utf8_goes_out_as_it_is),
	    cmocka_unit_test(what_is_no_utf8_becomes_a_replacement_a_byte),
	    cmocka_unit_test(any_byte_comes_out_as_a_valid_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
