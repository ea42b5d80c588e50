/* The grammar of event streams: each stream is read in every split, and shown
 * as a transcript: d, e, o and c for the lines of data, event, other and
 * comment, "." behind each event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "metering/sse.h"

struct reading {
	struct sse sse;
	struct buf transcript;
	bool in_line;
};

static void
on_value(
    void *arg, enum sse_field field, const char *p, size_t len, bool is_end)
{
	static const char *const names[] = {
	    [SSE_DATA] = "d",
	    [SSE_EVENT] = "e",
	    [SSE_OTHER] = "o",
	    [SSE_COMMENT] = "c",
	};
	struct reading *r = arg;

	if (!r->in_line)
		buf_printf(&r->transcript, "%s(", names[field]);
	buf_put(&r->transcript, p, len);
	if (is_end)
		buf_puts(&r->transcript, ")");
	r->in_line = !is_end;
}

static void
feed(struct reading *r, const char *p, size_t len)
{
	while (len > 0) {
		char *piece = xcalloc(len); /* its end is guarded */
		bool is_event;
		size_t n;

		memcpy(piece, p, len);
		n = sse_next(&r->sse, piece, len, &is_event);
		free(piece);
		assert_true(n > 0 && n <= len);
		assert_true(is_event || n == len);
		if (is_event)
			buf_puts(&r->transcript, ".");
		p += n;
		len -= n;
	}
}

/* The stream in two pieces, of which `at` bytes are the first; or in single
 * bytes if `at` is 0. */
static char *
transcript_of(const char *stream, size_t at)
{
	struct reading r = {0};
	size_t len = strlen(stream);

	sse_init(&r.sse, on_value, &r);
	if (at > 0) {
		feed(&r, stream, at);
		feed(&r, stream + at, len - at);
	} else {
		for (size_t i = 0; i < len; i++)
			feed(&r, stream + i, 1);
	}
	if (sse_end(&r.sse))
		buf_puts(&r.transcript, "~");
	buf_put(&r.transcript, "", 1);
	return r.transcript.base; /* the caller frees it */
}

static void
assert_reads(const char *stream, const char *expected)
{
	for (size_t at = 0; at <= strlen(stream); at++) {
		char *text = transcript_of(stream, at);

		assert_string_equal(text, expected);
		free(text);
	}
}

static void
lines_end_in_lf_cr_or_crlf(void **state)
{
	(void)state;
	assert_reads("data: a\n\ndata: b\n\n", "d(a).d(b).");
	assert_reads("data: a\r\rdata: b\r\r", "d(a).d(b).");
	assert_reads("data: a\r\n\r\ndata: b\r\n\r\n", "d(a).d(b).");
	assert_reads("data: a\r\n\ndata: b\n\r\n", "d(a).d(b).");
	assert_reads("data: a\n\rdata: b\r\n\r", "d(a).d(b).");
	assert_reads("data: a\rdata: b\ndata: c\r\n\n", "d(a)d(b)d(c).");
}

static void
one_blank_after_the_colon_is_left_out(void **state)
{
	(void)state;
	assert_reads("data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n",
	    "d(a).d(a).d( a).d(\ta).");
	assert_reads("data:\n\ndata: \n\ndata\n\n", "d().d().d().");
}

static void
fields_are_told_by_their_whole_name(void **state)
{
	(void)state;
	assert_reads(
	    "event: x\nid: 1\nretry: 2\ndata: a\n\n", "e(x)o(1)o(2)d(a).");
	assert_reads("dat: a\ndataa: a\nDATA: a\n data: a\ndata : a\n\n",
	    "o(a)o(a)o(a)o(a)o(a).");
	assert_reads("eventually long name: a\nevent\n\n", "o(a)e().");
	assert_reads("data: a: b\ndata:: c\n\n", "d(a: b)d(: c).");
}

static void
comments_begin_with_a_colon(void **state)
{
	(void)state;
	assert_reads(":\n\n: ping\n\n:data: a\n\n", "c().c(ping).c(data: a).");
	assert_reads(": ping\ndata: a\n\n", "c(ping)d(a).");
}

static void
empty_lines_alone_are_no_event(void **state)
{
	(void)state;
	assert_reads("\n\n\ndata: a\n\n\n\r\n\r\rdata: b\n\n\n", "d(a).d(b).");
	assert_reads("\r\n", "");
}

static void
a_byte_order_mark_comes_once_and_first(void **state)
{
	(void)state;
	assert_reads("\xef\xbb\xbf"
		     "data: a\n\n",
	    "d(a).");
	assert_reads("\xef\xbb\xbf\n\xef\xbb\xbf"
		     "data: a\n\n",
	    "o(a).");
	assert_reads("\xef\xbb"
		     "data: a\n\n",
	    "o(a).");
	assert_reads("\xef\n\n", "o().");
}

static void
what_no_empty_line_ends_is_told_at_the_end(void **state)
{
	(void)state;
	assert_reads("data: a\n\ndata: b\n", "d(a).d(b)~");
	assert_reads("data: a\n\ndata: b", "d(a).d(b)~");
	assert_reads("data", "d()~");
	assert_reads("data:", "d()~");
	assert_reads("data: a\n\n\n", "d(a).");
}

static void
an_events_bytes_are_counted_the_same_in_every_split(void **state)
{
	static const char stream[] =
	    "\r\n: x\r\ndata: abc\r\n\r\ndata:d\r\n\r\n";
	size_t len = strlen(stream);

	(void)state;
	for (size_t at = 0; at <= len; at++) {
		struct reading r = {0};
		uint64_t sizes[2] = {0, 0};
		size_t events = 0;

		sse_init(&r.sse, on_value, &r);
		for (size_t i = 0; i < len;) {
			bool is_event;
			size_t n = (i < at ? at : len) - i;

			i += sse_next(&r.sse, stream + i, n, &is_event);
			if (is_event)
				sizes[events++] = r.sse.event_bytes;
		}
		assert_int_equal(events, 2);
		assert_int_equal(sizes[0], strlen(": x") + strlen("data: abc"));
		assert_int_equal(sizes[1], strlen("data:d"));
		buf_release(&r.transcript);
	}
}

static void
long_lines_that_end_in_cr_are_found(void **state)
{
	size_t len = 3000;
	char *stream = xcalloc(len + 20);
	struct reading r = {0};

	(void)state;
	memset(stream, 'x', len);
	memcpy(stream, "data: ", 6);
	memcpy(stream + len, "\r\rdata: y\n\n", 11);
	sse_init(&r.sse, on_value, &r);
	feed(&r, stream, len + 11);
	buf_put(&r.transcript, "", 1);
	assert_string_equal(buf_data(&r.transcript) + 2 + len - 6, ").d(y).");
	buf_release(&r.transcript);
	free(stream);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_end_in_lf_cr_or_crlf),
	    cmocka_unit_test(one_blank_after_the_colon_is_left_out),
	    cmocka_unit_test(fields_are_told_by_their_whole_name),
	    cmocka_unit_test(comments_begin_with_a_colon),
	    cmocka_unit_test(empty_lines_alone_are_no_event),
	    cmocka_unit_test(a_byte_order_mark_comes_once_and_first),
	    cmocka_unit_test(what_no_empty_line_ends_is_told_at_the_end),
	    cmocka_unit_test(
		an_events_bytes_are_counted_the_same_in_every_split),
	    cmocka_unit_test(long_lines_that_end_in_cr_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
