#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"

static void
slices_are_compared_by_all_of_their_bytes(void **state)
{
	(void)state;
	assert_true(slice_is(SLICE("abc"), "abc"));
	assert_false(slice_is(SLICE("abc"), "ab"));
	assert_false(slice_is(SLICE("ab"), "abc"));
	assert_false(slice_is(SLICE("abC"), "abc"));
	assert_false(slice_is(SLICE("a\0c"), "a"));
	assert_true(slice_is_nocase(SLICE("AbC"), "aBc"));
	assert_false(slice_is_nocase(SLICE("AbCd"), "aBc"));
	assert_true(slice_starts(SLICE("abc"), "ab"));
	assert_true(slice_starts(SLICE("abc"), ""));
	assert_false(slice_starts(SLICE("a"), "ab"));
	assert_int_equal(slice_of(NULL).len, 0);
}

static void
trimming_takes_blanks_and_tabs_from_both_ends(void **state)
{
	(void)state;
	assert_true(slice_is(slice_trim(SLICE(" \t a b\t ")), "a b"));
	assert_true(slice_is(slice_trim(SLICE("a")), "a"));
	assert_int_equal(slice_trim(SLICE(" \t ")).len, 0);
	assert_int_equal(slice_trim(SLICE("")).len, 0);
	assert_true(slice_is(slice_trim(SLICE("\r\n")), "\r\n"));
}

static void
a_number_is_digits_up_to_the_most(void **state)
{
	static const struct {
		const char *text;
		uint64_t most;
		bool ok;
		uint64_t value;
	} rows[] = {
	    {"0", 0, true, 0},
	    {"00042", 42, true, 42},
	    {"43", 42, false, 0},
	    {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
	    {"18446744073709551616", UINT64_MAX, false, 0},
	    {"18446744073709551620", UINT64_MAX, false, 0},
	    {"99999999999999999999", UINT64_MAX, false, 0},
	    {"000000000000000000000000000007", 9, true, 7},
	    {"", 9, false, 0},
	    {"-1", 9, false, 0},
	    {"+1", 9, false, 0},
	    {" 1", 9, false, 0},
	    {"1 ", 9, false, 0},
	    {"1.0", 9, false, 0},
	    {"0x1", 99, false, 0},
	    {"\xb1", 999, false, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t v = 77;

		if (text_to_u64(slice_of(rows[i].text), rows[i].most, &v) !=
		    rows[i].ok)
			fail_msg("misread: '%s'", rows[i].text);
		assert_true(v == (rows[i].ok ? rows[i].value : 77));
	}
}

static void
the_hash_is_fnv_1a(void **state)
{
	(void)state;
	assert_true(text_hash("", 0) == UINT64_C(0xcbf29ce484222325));
	assert_true(text_hash("a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(text_hash("foobar", 6) == UINT64_C(0x85944171f73967e8));
}

static void
clean_text_is_utf8_without_controls(void **state)
{
	static const struct {
		struct slice text;
		bool is_clean;
	} rows[] = {
	    {SLICE(""), true},
	    {SLICE("plain"), true},
	    {SLICE("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), true},
	    {SLICE("\xf4\x8f\xbf\xbf"), true},
	    {SLICE("\xed\x9f\xbf\xee\x80\x80"), true},
	    {SLICE("\xc2\xa0"), true},
	    {SLICE("a\nb"), false},
	    {SLICE("a\tb"), false},
	    {SLICE("a\0b"), false},
	    {SLICE("\x1b[31m"), false},
	    {SLICE("\x7f"), false},
	    {SLICE("\xc2\x80"), false}, /* C1 controls */
	    {SLICE("\xc2\x9f"), false},
	    {SLICE("\x80"), false}, /* no beginning */
	    {SLICE("\xc3"), false}, /* no end */
	    {SLICE("\xe2\x82"), false},
	    {SLICE("\xf0\x9f\x98"), false},
	    {SLICE("\xe2\x82x"), false},
	    {SLICE("\xc0\xaf"), false}, /* overlong */
	    {SLICE("\xe0\x9f\xbf"), false},
	    {SLICE("\xf0\x8f\xbf\xbf"), false},
	    {SLICE("\xed\xa0\x80"), false},     /* a surrogate */
	    {SLICE("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
	    {SLICE("\xf5\x80\x80\x80"), false},
	    {SLICE("\xff"), false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (text_is_clean_utf8(rows[i].text.p, rows[i].text.len) !=
		    rows[i].is_clean)
			fail_msg("row %zu", i);
}

static void
utf8_is_well_formed_wherever_it_stands(void **state)
{
	static const char *const bad[] = {"\x80", "\xc3", "\xe2\x82",
	    "\xf0\x9f\x98", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	    "\xff"};
	char text[24];

	(void)state;
	for (size_t at = 0; at < 16; at++) {
		size_t good = 4;

		memset(text, 'a', sizeof text);
		memcpy(text + at, "\xf0\x9f\x98\x80", good);
		assert_true(text_is_utf8(text, at + good));
		assert_true(text_is_utf8(text, sizeof text));
		/* Its end is outside. */
		assert_false(text_is_utf8(text, at + good - 1));
		for (size_t i = 0; i < COUNT_OF(bad); i++) {
			memset(text, 'a', sizeof text);
			memcpy(text + at, bad[i], strlen(bad[i]));
			assert_false(text_is_utf8(text, sizeof text));
		}
	}
	assert_true(text_is_utf8("\0\n\x7f", 3)); /* controls are UTF-8 */
	assert_true(text_is_utf8("", 0));
}

static void
a_distance_counts_slips_of_the_finger(void **state)
{
	(void)state;
	assert_int_equal(text_distance("model", "model", 3), 0);
	assert_int_equal(text_distance("model", "models", 3), 1);
	assert_int_equal(text_distance("model", "mdel", 3), 1);
	assert_int_equal(text_distance("model", "modle", 3), 1);
	assert_int_equal(text_distance("model", "nodel", 3), 1);
	assert_int_equal(text_distance("model", "mosels", 3), 2);
	assert_int_equal(text_distance("", "ab", 3), 2);
	assert_int_equal(text_distance("", "", 3), 0);
}

static void
a_distance_above_the_cap_is_told_as_one_more(void **state)
{
	char huge[200];

	(void)state;
	assert_int_equal(text_distance("abc", "xyz", 2), 3);
	assert_int_equal(text_distance("abc", "xyz", 3), 3);
	memset(huge, 'a', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	assert_int_equal(text_distance(huge, huge, 2), 3);
	huge[64] = '\0';
	assert_int_equal(text_distance(huge, huge, 2), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(slices_are_compared_by_all_of_their_bytes),
	    cmocka_unit_test(trimming_takes_blanks_and_tabs_from_both_ends),
	    cmocka_unit_test(a_number_is_digits_up_to_the_most),
	    cmocka_unit_test(the_hash_is_fnv_1a),
	    cmocka_unit_test(clean_text_is_utf8_without_controls),
	    cmocka_unit_test(utf8_is_well_formed_wherever_it_stands),
	    cmocka_unit_test(a_distance_counts_slips_of_the_finger),
	    cmocka_unit_test(a_distance_above_the_cap_is_told_as_one_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
