/* The JSON reader: the grammar, and that no split changes what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_scan.h"
#include "base/mem.h"

struct reading {
	struct json_scan scan;
	struct buf tokens; /* owned: one line a token */
	enum json_verdict verdict;
	unsigned stop_after; /* tokens; 0: never */
	unsigned count;
};

static bool
on_token(void *arg, const struct json_token *t)
{
	struct reading *r = arg;

	buf_printf(&r->tokens, "%c%u %llu-%llu %llu%s%s ",
	    "{}[]ksntf0"[t->kind], t -> depth, (unsigned long long)t -> begin,
	    (unsigned long long)t -> end, (unsigned long long)t -> size,
	    t -> is_cut ? " cut" : "", t->has_escapes ? " esc" : "");
	buf_put(&r->tokens, t->text.p, t->text.len);
	buf_puts(&r->tokens, "\n");
	return ++r->count != r->stop_after;
}

/* `piece` holds exactly the bytes, so that reading past them is found. */
static void
feed(struct reading *r, const char *p, size_t len)
{
	char *piece = xcalloc(len + (len == 0));

	memcpy(piece, p, len);
	if (r->verdict == JSON_MORE || r->verdict == JSON_DONE)
		r->verdict = json_scan_feed(&r->scan, piece, len);
	free(piece);
}

static void
finish(struct reading *r)
{
	if (r->verdict == JSON_MORE || r->verdict == JSON_DONE)
		r->verdict = json_scan_end(&r->scan);
	buf_printf(&r->tokens, "%d at %llu", (int)r->verdict,
	    (unsigned long long)json_scan_offset(&r->scan));
	buf_put(&r->tokens, "", 1);
}

static void
begin(struct reading *r)
{
	*r = (struct reading){.verdict = JSON_MORE};
	json_scan_init(&r->scan, on_token, r, UINT_MAX);
}

static enum json_verdict
read_whole(const char *doc, size_t len, char **tokens)
{
	struct reading r;

	begin(&r);
	feed(&r, doc, len);
	finish(&r);
	if (tokens != NULL)
		*tokens = r.tokens.base;
	else
		buf_release(&r.tokens);
	return r.verdict;
}

static enum json_verdict
verdict_of(const char *doc)
{
	return read_whole(doc, strlen(doc), NULL);
}

static void
assert_same_in_every_split(const char *doc, size_t len)
{
	struct reading r;
	char *whole;

	read_whole(doc, len, &whole);
	for (size_t at = 0; at <= len; at++) {
		begin(&r);
		feed(&r, doc, at);
		feed(&r, doc + at, len - at);
		finish(&r);
		assert_string_equal(r.tokens.base, whole);
		buf_release(&r.tokens);
	}
	begin(&r);
	for (size_t at = 0; at < len; at++)
		feed(&r, doc + at, 1);
	finish(&r);
	assert_string_equal(r.tokens.base, whole);
	buf_release(&r.tokens);
	free(whole);
}

static const char *const valid[] = {
    "{}",
    "[]",
    "null",
    "true",
    "false",
    "\"\"",
    "0",
    "-0",
    "12",
    " 1 ",
    "\t\r\n [ ] \n",
    "[1,2]",
    "[[],{},[[]]]",
    "{\"a\":1}",
    "{ \"a\" : [ 1 , 2 ] , \"b\" : null }",
    "{\"\":\"\"}",
    "{\"a\":1,\"a\":2}",
    "[0.5,-0.5,1e5,1E+5,1e-5,1.25e+10,0e0,-0.0]",
    "1e999",
    "123456789012345678901234567890",
    "[true,false,null]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0041\\u00e4\\u20AC\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00\\ud83d\"",
    "\"\\ud83dx\\ude00\"",
    "\"\\ud83d\\n\\ude00\"",
    "\"\\u0000\"",
    "\"\xc3\xa4\xe2\x82\xac\"",
    "\"\xff\x80\"",
    "\"\x7f\"",
    "\"a long string without anything in it that needs to be escaped\"",
};

static const char *const invalid[] = {
    "",
    " ",
    "{",
    "[",
    "}",
    "]",
    "{]",
    "[}",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1:2}",
    "[\"a\":1]",
    "1 2",
    "{}{}",
    "[]]",
    "nul",
    "nulL",
    "True",
    "truefalse",
    "nullx",
    "01",
    "-01",
    "00",
    "+1",
    ".5",
    "1.",
    "-",
    "-.5",
    "1.e5",
    "1e",
    "1e+",
    "1.5e",
    "0x1",
    "1_0",
    "NaN",
    "Infinity",
    "-Infinity",
    "--1",
    "1-",
    "\"",
    "\"a",
    "\"\\",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\U0041\"",
    "\"\n\"",
    "\"\t\"",
    "\"\x01\"",
    "\"\x1f\"",
    "'a'",
    "/* */1",
    "1 // x",
    "\xef\xbb\xbf{}",
    "\x0b{}",
    "{\"a\n\":1}",
    "\"sixteen bytes and then\n\"",
};

static void
what_the_grammar_allows_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(valid); i++) {
		if (verdict_of(valid[i]) != JSON_DONE)
			fail_msg("refused: %s", valid[i]);
	}
}

static void
all_else_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(invalid); i++) {
		if (verdict_of(invalid[i]) != JSON_BAD)
			fail_msg("taken: %s", invalid[i]);
	}
	assert_int_equal(read_whole("\"\0\"", 3, NULL), JSON_BAD);
	assert_int_equal(read_whole("\"\\\0\"", 4, NULL), JSON_BAD);
	assert_int_equal(read_whole("{}\0", 3, NULL), JSON_BAD);
}

static void
no_split_changes_what_is_reported(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(valid); i++)
		assert_same_in_every_split(valid[i], strlen(valid[i]));
	for (size_t i = 0; i < COUNT_OF(invalid); i++)
		assert_same_in_every_split(invalid[i], strlen(invalid[i]));
}

static void
tokens_tell_their_place_depth_and_text(void **state)
{
	char *tokens;

	(void)state;
	read_whole("{\"k\": [-1.5e3, \"a\\nb\"], \"z\":true}", 33, &tokens);
	assert_string_equal(tokens,
	    "{0 0-1 0 \n"
	    "k1 1-4 1 k\n"
	    "[1 6-7 0 \n"
	    "n2 7-13 6 -1.5e3\n"
	    "s2 15-21 3 esc a\\nb\n"
	    "]1 21-22 0 \n"
	    "k1 24-27 1 z\n"
	    "t1 28-32 0 \n"
	    "}0 32-33 0 \n"
	    "1 at 33");
	free(tokens);
}

/* -- strings -- */

struct decoded {
	uint64_t size;
	size_t len;
	char text[JSON_TEXT_BYTES];
};

static bool
on_string(void *arg, const struct json_token *t)
{
	struct decoded *d = arg;

	d->size = t->size;
	d->len = json_decode(t->text, d->text, sizeof d->text);
	return true;
}

static void
assert_decodes(const char *doc, const char *text, size_t len)
{
	struct json_scan s;
	struct decoded d;

	json_scan_init(&s, on_string, &d, UINT_MAX);
	assert_int_equal(json_scan_feed(&s, doc, strlen(doc)), JSON_DONE);
	assert_int_equal(d.len, len);
	assert_memory_equal(d.text, text, len);
	assert_int_equal(d.size, len);
}

static void
escapes_decode_and_the_size_is_that_of_the_decoded_text(void **state)
{
	(void)state;
	assert_decodes("\"plain\"", "plain", 5);
	assert_decodes("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8);
	assert_decodes("\"\\u0041\\u00e4\\u20AC\"", "A\xc3\xa4\xe2\x82\xac", 6);
	assert_decodes("\"\\u0000\"", "", 1);
	assert_decodes("\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!", 5);
	assert_decodes("\"\xf0\x9f\x98\x80\"", "\xf0\x9f\x98\x80", 4);
}

static void
lone_surrogates_stay_apart_from_each_other(void **state)
{
	(void)state;
	assert_decodes("\"\\ud83d\"", "\xed\xa0\xbd", 3);
	assert_decodes("\"\\ude00\"", "\xed\xb8\x80", 3);
	assert_decodes("\"\\ude00\\ud83d\"", "\xed\xb8\x80\xed\xa0\xbd", 6);
	assert_decodes(
	    "\"\\ud83d\\ud83d\\ude00\"", "\xed\xa0\xbd\xf0\x9f\x98\x80", 7);
	assert_decodes("\"\\ud83dx\\ude00\"", "\xed\xa0\xbdx\xed\xb8\x80", 7);
	assert_decodes(
	    "\"\\ud83d\\n\\ude00\"", "\xed\xa0\xbd\n\xed\xb8\x80", 7);
}

static void
decoding_never_writes_past_its_room(void **state)
{
	char out[4] = "....";

	(void)state;
	assert_int_equal(json_decode(SLICE("abc"), out, 3), 3);
	assert_memory_equal(out, "abc.", 4);
	assert_int_equal(json_decode(SLICE("abc"), out, 2), SIZE_MAX);
	assert_int_equal(json_decode(SLICE("\\u20ac"), out, 2), SIZE_MAX);
	assert_int_equal(json_decode(SLICE("a\\"), out, 4), SIZE_MAX);
	assert_int_equal(json_decode(SLICE("\\u12"), out, 4), SIZE_MAX);
}

static void
long_texts_are_cut_and_their_size_is_told(void **state)
{
	enum { LONGEST = JSON_TEXT_BYTES + 2 };
	char doc[LONGEST + 3];

	(void)state;
	for (size_t len = JSON_TEXT_BYTES - 1; len <= LONGEST; len++) {
		char *tokens, expected[64];
		bool is_cut = len > JSON_TEXT_BYTES;

		memset(doc, 'a', len + 1);
		doc[0] = doc[len + 1] = '"';
		doc[len + 2] = '\0';
		snprintf(expected, sizeof expected, "s0 0-%zu %zu%s a", len + 2,
		    len, is_cut ? " cut" : "");
		read_whole(doc, len + 2, &tokens);
		assert_memory_equal(tokens, expected, strlen(expected));
		free(tokens);
		assert_same_in_every_split(doc, len + 2);
	}
}

static bool
on_compared(void *arg, const struct json_token *t)
{
	*(bool *)arg = json_token_is(t, "usage");
	return true;
}

static bool
is_usage(const char *doc)
{
	struct json_scan s;
	bool is = false;

	json_scan_init(&s, on_compared, &is, UINT_MAX);
	assert_int_equal(json_scan_feed(&s, doc, strlen(doc)), JSON_DONE);
	return is;
}

static void
a_token_is_compared_decoded(void **state)
{
	(void)state;
	assert_true(is_usage("\"usage\""));
	assert_true(is_usage("\"us\\u0061ge\""));
	assert_false(is_usage("\"usag\""));
	assert_false(is_usage("\"usages\""));
	assert_false(is_usage("\"usage\\u0000\""));
}

/* -- limits -- */

static enum json_verdict
verdict_of_nesting(unsigned depth)
{
	char doc[2 * (JSON_DEPTH_MOST + 2)];

	memset(doc, '[', depth);
	memset(doc + depth, ']', depth);
	return read_whole(doc, 2 * (size_t)depth, NULL);
}

static void
nesting_has_a_limit(void **state)
{
	(void)state;
	assert_int_equal(verdict_of_nesting(JSON_DEPTH_MOST), JSON_DONE);
	assert_int_equal(verdict_of_nesting(JSON_DEPTH_MOST + 1), JSON_BAD);
}

static void
brackets_match_at_every_depth(void **state)
{
	char doc[4 * JSON_DEPTH_MOST + 1];
	size_t n = 0;

	(void)state;
	for (unsigned i = 0; i < JSON_DEPTH_MOST / 4; i++) {
		memcpy(doc + n, "[{\"\":", 5);
		n += 5;
	}
	doc[n++] = '0';
	for (unsigned i = 0; i < JSON_DEPTH_MOST / 4; i++) {
		memcpy(doc + n, "}]", 2);
		n += 2;
	}
	assert_int_equal(read_whole(doc, n, NULL), JSON_DONE);
	doc[n - 1] = '}';
	assert_int_equal(read_whole(doc, n, NULL), JSON_BAD);
}

static void
deep_tokens_are_left_out_but_large_strings(void **state)
{
	static const char doc[] =
	    "{\"a\":{\"b\":\"cc\",\"dddd\":[\"eeee\",1]},\"f\":2}";
	struct reading r;

	(void)state;
	begin(&r);
	r.scan.report_depth = 1;
	r.scan.report_size = 4;
	feed(&r, doc, strlen(doc));
	finish(&r);
	assert_string_equal(r.tokens.base,
	    "{0 0-1 0 \n"
	    "k1 1-4 1 a\n"
	    "{1 5-6 0 \n"
	    "k2 15-21 4 dddd\n"
	    "s3 23-29 4 eeee\n"
	    "}1 32-33 0 \n"
	    "k1 34-37 1 f\n"
	    "n1 38-39 1 2\n"
	    "}0 39-40 0 \n"
	    "1 at 40");
	buf_release(&r.tokens);
}

static void
a_callback_can_stop_behind_any_token(void **state)
{
	static const char doc[] = "[{\"a\":\"b\"},true,1 ]x";
	static const uint64_t stops[] = {1, 2, 5, 9, 10, 15, 17, 19};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(stops); i++) {
		struct reading r;

		begin(&r);
		r.stop_after = i + 1;
		feed(&r, doc, strlen(doc));
		assert_int_equal(r.verdict, JSON_STOP);
		assert_int_equal(json_scan_offset(&r.scan), stops[i]);
		buf_release(&r.tokens);
	}
}

static void
the_offset_names_the_byte_that_does_not_belong(void **state)
{
	static const struct {
		const char *doc;
		uint64_t offset;
	} bad[] = {
	    {"{} x", 3},
	    {"[1,]", 3},
	    {"{\"a\":tru}", 8},
	    {"[01]", 2},
	    {"\"a\nb\"", 2},
	    {"\"\\q\"", 2},
	    {"[1}", 2},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct reading r;

		begin(&r);
		feed(&r, bad[i].doc, strlen(bad[i].doc));
		assert_int_equal(r.verdict, JSON_BAD);
		assert_int_equal(json_scan_offset(&r.scan), bad[i].offset);
		buf_release(&r.tokens);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_the_grammar_allows_is_read),
	    cmocka_unit_test(all_else_is_refused),
	    cmocka_unit_test(no_split_changes_what_is_reported),
	    cmocka_unit_test(tokens_tell_their_place_depth_and_text),
	    cmocka_unit_test(
		escapes_decode_and_the_size_is_that_of_the_decoded_text),
	    cmocka_unit_test(lone_surrogates_stay_apart_from_each_other),
	    cmocka_unit_test(decoding_never_writes_past_its_room),
	    cmocka_unit_test(long_texts_are_cut_and_their_size_is_told),
	    cmocka_unit_test(a_token_is_compared_decoded),
	    cmocka_unit_test(nesting_has_a_limit),
	    cmocka_unit_test(brackets_match_at_every_depth),
	    cmocka_unit_test(deep_tokens_are_left_out_but_large_strings),
	    cmocka_unit_test(a_callback_can_stop_behind_any_token),
	    cmocka_unit_test(the_offset_names_the_byte_that_does_not_belong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
