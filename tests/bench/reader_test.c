#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/bench/reader.h"

static const char plain[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json"
			    "\r\ncontent-length: 11\r\n\r\n {\"a\": \"b\"}";

static const char streamed[] =
    "HTTP/1.1 100 Continue\r\n\r\n"
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\n"
    "Connection: close\r\n\r\n"
    "3a\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\","
    "\"content\":\"\r\n"
    "8\r\n\"}}]}\n\nd\r\n"
    "24\r\nata: {\"delta\":{\"content\": \"hey\"}}\n\n:\r\n"
    "0017\r\n keep\n\ndata:{\"content\":\r\n"
    "6\r\n\"x\"}\r\n\r\n"
    "F\r\n\ndata: [DONE]\n\n\r\n"
    "0\r\n\r\n";

/* Feeds `text` as two pieces cut at `cut`; returns how much was taken. */
static size_t
feed_cut(struct reader *r, const char *text, size_t cut)
{
	size_t len = strlen(text), used = reader_feed(r, text, cut);

	if (used < cut)
		return used;
	return used + reader_feed(r, text + cut, len - cut);
}

static void
expect_state(const char *text, enum reader_state wanted)
{
	for (size_t cut = 0; cut <= strlen(text); cut++) {
		struct reader r = {0};

		feed_cut(&r, text, cut);
		if (r.state != wanted)
			fail_msg("state %d at cut %zu", (int)r.state, cut);
		reader_reset(&r);
	}
}

static void
an_answer_with_a_length_reads_the_same_at_any_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < sizeof plain; cut++) {
		struct reader r = {0};

		assert_int_equal(feed_cut(&r, plain, cut), sizeof plain - 1);
		assert_int_equal(r.state, READER_DONE);
		assert_int_equal(r.status, 200);
		assert_int_equal(r.body_bytes, 11);
		assert_false(r.will_close);
		assert_true(reader_is_whole(&r));
		reader_reset(&r);
	}
}

static void
expect_whole_stream(const struct reader *r)
{
	assert_int_equal(r->state, READER_DONE);
	assert_int_equal(r->events.contents, 2);
	assert_true(r->is_stream && r->will_close);
	assert_true(reader_is_whole(r));
}

static void
a_chunked_stream_reads_the_same_at_any_cut(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < sizeof streamed; cut++) {
		struct reader r = {0};

		assert_int_equal(
		    feed_cut(&r, streamed, cut), sizeof streamed - 1);
		expect_whole_stream(&r);
		reader_reset(&r);
	}
}

static void
a_chunked_stream_reads_the_same_byte_by_byte(void **state)
{
	struct reader r = {0};

	(void)state;
	for (size_t i = 0; i < sizeof streamed - 1; i++)
		assert_int_equal(reader_feed(&r, streamed + i, 1), 1);
	expect_whole_stream(&r);
	reader_reset(&r);
}

static void
bytes_after_the_answer_are_left(void **state)
{
	static const char two[] =
	    "HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\nHTTP";
	struct reader r = {0};

	(void)state;
	assert_int_equal(reader_feed(&r, two, sizeof two - 1), sizeof two - 5);
	assert_int_equal(r.state, READER_DONE);
	assert_false(reader_is_whole(&r));
	reader_reset(&r);
}

static void
a_head_that_is_not_exact_is_bad(void **state)
{
	(void)state;
	expect_state("HTTP/1.0 200 OK\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 20 OK\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\nA: b\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\r\nnocolon\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
		     "Transfer-Encoding: chunked\r\n\r\n",
	    READER_BAD_HEAD);
	expect_state("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
		     "Content-Length: 2\r\n\r\n",
	    READER_BAD_HEAD);
	expect_state(
	    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n", READER_BAD_HEAD);
}

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

static void
framing_that_is_not_exact_is_bad(void **state)
{
	(void)state;
	expect_state(CHUNKED "\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "2;a=b\r\n{}\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "2 \r\n{}\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "2\n{}\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "2\r\n{}x\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "0\r\nTrailer: x\r\n", READER_BAD_FRAMING);
	expect_state(CHUNKED "fffffffffffffffff\r\n", READER_BAD_FRAMING);
}

#define STREAM                                                   \
	"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
	"Content-Length: "

/* Whether a well-framed answer counts as complete. */
static bool
is_whole(const char *text)
{
	struct reader r = {0};
	bool whole;

	assert_int_equal(reader_feed(&r, text, strlen(text)), strlen(text));
	assert_int_equal(r.state, READER_DONE);
	whole = reader_is_whole(&r);
	reader_reset(&r);
	return whole;
}

static void
a_stream_is_whole_only_if_it_ends_with_done(void **state)
{
	(void)state;
	assert_true(is_whole(STREAM "14\r\n\r\ndata: [DONE]\n\n"));
	assert_false(is_whole(STREAM "12\r\n\r\ndata: [DONE]"));
	assert_false(is_whole(STREAM "9\r\n\r\ndata: {}\n"));
	assert_false(is_whole(STREAM "22\r\n\r\ndata: [DONE]\ndata: {}\n"));
}

static void
an_answer_without_its_last_brace_is_not_whole(void **state)
{
	(void)state;
	assert_true(
	    is_whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n"));
	assert_false(
	    is_whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a"));
	assert_false(is_whole(CHUNKED "0\r\n\r\n"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_answer_with_a_length_reads_the_same_at_any_cut),
	    cmocka_unit_test(a_chunked_stream_reads_the_same_at_any_cut),
	    cmocka_unit_test(a_chunked_stream_reads_the_same_byte_by_byte),
	    cmocka_unit_test(bytes_after_the_answer_are_left),
	    cmocka_unit_test(a_head_that_is_not_exact_is_bad),
	    cmocka_unit_test(framing_that_is_not_exact_is_bad),
	    cmocka_unit_test(a_stream_is_whole_only_if_it_ends_with_done),
	    cmocka_unit_test(an_answer_without_its_last_brace_is_not_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
