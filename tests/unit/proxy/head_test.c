#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "proxy/head.h"
#include "tests/unit/seeded.h"

#define CAP 1024

static const char whole_head[] = "POST /v1/messages?beta=true HTTP/1.1\r\n"
				 "Host: weir\r\n"
				 "Connection: keep-alive\r\n"
				 "X-Empty:\r\n"
				 "X-Blanks: \t two words \t\r\n"
				 "Content-Length: 12\r\n"
				 "\r\n";

static enum head_verdict
parse(const char *text, struct head *h)
{
	return head_parse(text, strlen(text), h);
}

/* The verdict on a request with this one field line. */
static enum head_verdict
with_line(const char *line, struct head *h)
{
	struct buf text = {0};
	enum head_verdict v;

	buf_printf(&text, "GET / HTTP/1.1\r\n%s\r\n\r\n", line);
	v = head_parse(buf_data(&text), buf_len(&text), h);
	buf_release(&text);
	return v;
}

static int
status_of(const char *line)
{
	struct head h = {.start_line = slice_of(line)};
	int minor = -1, status = head_status(&h, &minor);

	return status == 0 ? 0 : minor * 1000 + status;
}

static void
a_head_is_taken_apart(void **state)
{
	struct head h;

	(void)state;
	assert_int_equal(parse(whole_head, &h), HEAD_OK);
	assert_int_equal(h.len, sizeof whole_head - 1);
	assert_int_equal(h.count, 5);
	assert_true(
	    slice_is(h.start_line, "POST /v1/messages?beta=true HTTP/1.1"));
	assert_true(slice_is(head_field(&h, "host"), "weir"));
	assert_true(slice_is(head_field(&h, "x-blanks"), "two words"));
	assert_int_equal(head_field(&h, "x-empty").len, 0);
	assert_non_null(head_field(&h, "x-empty").p);
	assert_null(head_field(&h, "x-missing").p);
	assert_int_equal(h.framing, FRAMING_LENGTH);
	assert_int_equal(h.content_length, 12);
	assert_true(h.says_keep_alive);
	assert_false(h.says_close);
}

static void
what_follows_the_empty_line_is_not_the_heads(void **state)
{
	const char text[] = "GET / HTTP/1.1\r\n\r\nGET /other HTTP/1.1\r\n\r\n";
	size_t scanned = 0;
	struct head h;

	(void)state;
	assert_int_equal(head_find(text, strlen(text), CAP, &scanned), HEAD_OK);
	assert_int_equal(scanned, 18);
	assert_int_equal(parse(text, &h), HEAD_OK);
	assert_int_equal(h.len, 18);
	assert_int_equal(h.count, 0);
}

static void
any_split_finds_the_same_end(void **state)
{
	const char tail[] = "{\"a\":\r\n\r\n1}";
	struct seeded random = {42};
	struct buf text = {0};

	(void)state;
	buf_puts(&text, whole_head);
	buf_puts(&text, tail);
	for (int round = 0; round < 2000; round++) {
		size_t scanned = 0, given = 0;
		enum head_verdict v;

		do {
			given += 1 + seeded_below(&random, 40);
			if (given > buf_len(&text))
				given = buf_len(&text);
			v = head_find(buf_data(&text), given, CAP, &scanned);
			assert_int_equal(v,
			    given < sizeof whole_head - 1 ? HEAD_MORE
							  : HEAD_OK);
		} while (v == HEAD_MORE);
		assert_int_equal(scanned, sizeof whole_head - 1);
	}
	buf_release(&text);
}

static void
a_line_that_ends_in_a_line_feed_alone_is_bad(void **state)
{
	size_t scanned = 0;

	(void)state;
	assert_int_equal(
	    head_find("GET / HTTP/1.1\nHost: a\n\n", 24, CAP, &scanned),
	    HEAD_BAD);
	scanned = 0;
	assert_int_equal(
	    head_find("GET / HTTP/1.1\r\n\n", 17, CAP, &scanned), HEAD_BAD);
}

static void
what_begins_like_no_http_is_told_at_the_first_byte(void **state)
{
	const char *firsts[] = {
	    "\x16", "\r\n", "\n", " GET", "\"", "\x80", "(", "/"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(firsts); i++) {
		size_t scanned = 0;

		assert_int_equal(
		    head_find(firsts[i], 1, CAP, &scanned), HEAD_BAD);
	}
}

static void
a_head_as_long_as_the_cap_is_the_longest(void **state)
{
	size_t len = sizeof whole_head - 1, scanned = 0;

	(void)state;
	assert_int_equal(head_find(whole_head, len, len, &scanned), HEAD_OK);
	scanned = 0;
	assert_int_equal(
	    head_find(whole_head, len, len - 1, &scanned), HEAD_TOO_LARGE);
	scanned = 0;
	assert_int_equal(
	    head_find(whole_head, len - 1, len, &scanned), HEAD_MORE);
}

static void
damaged_field_lines_are_bad(void **state)
{
	const char *lines[] = {"Host", ": value", "Host : a", " Host: a",
	    "Host: a\r\n folded", "Host: a\r\n\tfolded", "H\tst: a",
	    "Host: a\rb", "Host: a\x01", "Host: \x7f", "H\xc3\xa4: a",
	    "Host(x): a", "\"Host\": a"};
	struct head h;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		if (with_line(lines[i], &h) != HEAD_BAD)
			fail_msg("accepted: %s", lines[i]);
}

static void
a_nul_byte_is_bad_wherever_it_stands(void **state)
{
	char text[sizeof whole_head];
	struct head h;

	(void)state;
	for (size_t i = 38; i < sizeof whole_head - 5; i++) {
		memcpy(text, whole_head, sizeof text);
		text[i] = '\0';
		assert_int_equal(
		    head_parse(text, sizeof text - 1, &h), HEAD_BAD);
	}
}

static void
values_may_hold_tabs_and_bytes_above_ascii(void **state)
{
	struct head h;

	(void)state;
	assert_int_equal(
	    with_line("X-Title: caf\xc3\xa9\tbar \xff", &h), HEAD_OK);
	assert_true(is_field_text("caf\xc3\xa9\tbar"));
	assert_false(is_field_text("a\r\nSet-Cookie: b"));
}

static void
a_body_is_framed_in_one_plain_way_or_the_head_is_bad(void **state)
{
	static const struct {
		const char *lines;
		enum head_verdict verdict;
		enum framing framing;
		uint64_t length;
	} rows[] = {
	    {"X: y", HEAD_OK, FRAMING_NONE, 0},
	    {"Content-Length: 0", HEAD_OK, FRAMING_LENGTH, 0},
	    {"content-length: 007", HEAD_OK, FRAMING_LENGTH, 7},
	    {"Content-Length: 9223372036854775807", HEAD_OK, FRAMING_LENGTH,
		INT64_MAX},
	    {"Content-Length: 9223372036854775808", HEAD_BAD, 0, 0},
	    {"Content-Length: 99999999999999999999999", HEAD_BAD, 0, 0},
	    {"Content-Length:", HEAD_BAD, 0, 0},
	    {"Content-Length: +5", HEAD_BAD, 0, 0},
	    {"Content-Length: -5", HEAD_BAD, 0, 0},
	    {"Content-Length: 0x5", HEAD_BAD, 0, 0},
	    {"Content-Length: 5 5", HEAD_BAD, 0, 0},
	    {"Content-Length: 5, 5", HEAD_BAD, 0, 0},
	    {"Content-Length: 5\r\nContent-Length: 5", HEAD_BAD, 0, 0},
	    {"Content-Length: 5\r\nContent-Length: 6", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: chunked", HEAD_OK, FRAMING_CHUNKED, 0},
	    {"TRANSFER-ENCODING: Chunked", HEAD_OK, FRAMING_CHUNKED, 0},
	    {"Transfer-Encoding: gzip, chunked", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: chunked, chunked", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: identity", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: xchunked", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: chunked\x0b", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding:", HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
		HEAD_BAD, 0, 0},
	    {"Transfer-Encoding: chunked\r\nContent-Length: 5", HEAD_BAD, 0, 0},
	    {"Content-Length: 5\r\nTransfer-Encoding: chunked", HEAD_BAD, 0, 0},
	};
	struct head h;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (with_line(rows[i].lines, &h) != rows[i].verdict)
			fail_msg("another verdict on: %s", rows[i].lines);
		if (rows[i].verdict != HEAD_OK)
			continue;
		assert_int_equal(h.framing, rows[i].framing);
		assert_int_equal(h.content_length, rows[i].length);
	}
}

static void
connection_is_a_list_of_options(void **state)
{
	static const struct {
		const char *line;
		bool close, keep_alive;
	} rows[] = {
	    {"Connection: close", true, false},
	    {"Connection: Keep-Alive", false, true},
	    {"Connection: upgrade, close", true, false},
	    {"Connection: ,, close ,keep-alive,", true, true},
	    {"Connection: closed", false, false},
	    {"Connection: close keep-alive", false, false},
	    {"Connection: a\r\nConnection: close", true, false},
	    {"Connection:", false, false},
	    {"X-Connection: close", false, false},
	};
	struct head h;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(with_line(rows[i].line, &h), HEAD_OK);
		if (h.says_close != rows[i].close ||
		    h.says_keep_alive != rows[i].keep_alive)
			fail_msg("misread: %s", rows[i].line);
	}
}

static void
a_hundred_fields_fit_and_one_more_is_too_many(void **state)
{
	struct buf text = {0};
	struct head h;

	(void)state;
	buf_puts(&text, "GET / HTTP/1.1\r\n");
	for (int i = 0; i < HEAD_FIELDS_MOST; i++)
		buf_printf(&text, "a%d: b\r\n", i);
	buf_puts(&text, "\r\n");
	assert_int_equal(
	    head_parse(buf_data(&text), buf_len(&text), &h), HEAD_OK);
	assert_int_equal(h.count, HEAD_FIELDS_MOST);
	text.end -= 2;
	buf_puts(&text, "one: more\r\n\r\n");
	assert_int_equal(
	    head_parse(buf_data(&text), buf_len(&text), &h), HEAD_TOO_LARGE);
	buf_release(&text);
}

static void
a_status_line_is_version_status_and_perhaps_a_reason(void **state)
{
	(void)state;
	assert_int_equal(status_of("HTTP/1.1 200 OK"), 1200);
	assert_int_equal(status_of("HTTP/1.0 404 Not Found"), 404);
	assert_int_equal(status_of("HTTP/1.1 529"), 1529);
	assert_int_equal(status_of("HTTP/1.1 200 "), 1200);
	assert_int_equal(status_of("HTTP/1.1 599 \xe4"), 1599);
	assert_int_equal(status_of("HTTP/1.1 099 Low"), 0);
	assert_int_equal(status_of("HTTP/1.1 600 High"), 0);
	assert_int_equal(status_of("HTTP/1.1 20"), 0);
	assert_int_equal(status_of("HTTP/1.1 2000"), 0);
	assert_int_equal(status_of("HTTP/1.1  200 OK"), 0);
	assert_int_equal(status_of("HTTP/1.1 2x0 OK"), 0);
	assert_int_equal(status_of("HTTP/2.0 200 OK"), 0);
	assert_int_equal(status_of("HTTP/1.2 200 OK"), 0);
	assert_int_equal(status_of("http/1.1 200 OK"), 0);
	assert_int_equal(status_of("ICY 200 OK"), 0);
	assert_int_equal(status_of("HTTP/1.1 200 O\x01K"), 0);
}

static void
a_token_is_visible_ascii_without_separators(void **state)
{
	(void)state;
	assert_true(is_token(SLICE("X-Api_Key.1~")));
	assert_false(is_token(SLICE("")));
	assert_false(is_token(SLICE("a b")));
	assert_false(is_token(SLICE("a:b")));
	assert_false(is_token(SLICE("a/b")));
	assert_false(is_token(SLICE("\xc3\xa4")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_head_is_taken_apart),
	    cmocka_unit_test(what_follows_the_empty_line_is_not_the_heads),
	    cmocka_unit_test(any_split_finds_the_same_end),
	    cmocka_unit_test(a_line_that_ends_in_a_line_feed_alone_is_bad),
	    cmocka_unit_test(
		what_begins_like_no_http_is_told_at_the_first_byte),
	    cmocka_unit_test(a_head_as_long_as_the_cap_is_the_longest),
	    cmocka_unit_test(damaged_field_lines_are_bad),
	    cmocka_unit_test(a_nul_byte_is_bad_wherever_it_stands),
	    cmocka_unit_test(values_may_hold_tabs_and_bytes_above_ascii),
	    cmocka_unit_test(
		a_body_is_framed_in_one_plain_way_or_the_head_is_bad),
	    cmocka_unit_test(connection_is_a_list_of_options),
	    cmocka_unit_test(a_hundred_fields_fit_and_one_more_is_too_many),
	    cmocka_unit_test(
		a_status_line_is_version_status_and_perhaps_a_reason),
	    cmocka_unit_test(a_token_is_visible_ascii_without_separators),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
