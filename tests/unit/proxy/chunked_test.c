#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/text.h"
#include "proxy/chunked.h"
#include "tests/unit/seeded.h"

/* What became of an input. */
struct decoded {
	enum chunked_verdict verdict;
	struct buf data;
	size_t rest;
};

/* Decodes the input in pieces of at most `most` bytes, 0: in one. */
static struct decoded
decode(struct slice input, struct seeded *random, size_t most)
{
	struct decoded d = {.verdict = CHUNKED_MORE};
	char *copy = malloc(input.len + 1);
	struct chunked c;
	size_t at = 0;

	chunked_init(&c);
	memcpy(copy, input.p, input.len);
	while (d.verdict == CHUNKED_MORE && at < input.len) {
		size_t n = input.len - at, len;

		if (most > 0 && n > most)
			n = 1 + seeded_below(random, most);
		len = n;
		d.verdict = chunked_decode(&c, copy + at, &len, &d.rest);
		buf_put(&d.data, copy + at, len);
		at += n;
	}
	/* What was not even given stands behind the end, too. */
	if (d.verdict == CHUNKED_END)
		d.rest += input.len - at;
	free(copy);
	return d;
}

static void
expect(struct slice input, enum chunked_verdict verdict, const char *data,
    size_t rest)
{
	struct decoded d = decode(input, NULL, 0);

	if (d.verdict != verdict)
		fail_msg("another verdict on: %.*s", (int)input.len, input.p);
	if (verdict != CHUNKED_BAD) {
		assert_int_equal(buf_len(&d.data), strlen(data));
		assert_memory_equal(buf_data(&d.data), data, strlen(data));
	}
	assert_int_equal(d.rest, rest);
	buf_release(&d.data);
}

static void
the_coding_is_taken_off(void **state)
{
	(void)state;
	expect(SLICE("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), CHUNKED_END,
	    "hello world", 0);
	expect(SLICE("0\r\n\r\n"), CHUNKED_END, "", 0);
	expect(SLICE("00b\r\nhello world\r\n000\r\n\r\n"), CHUNKED_END,
	    "hello world", 0);
	expect(SLICE("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
	    CHUNKED_END, "01234567890123456789", 0);
}

static void
bytes_behind_the_end_are_counted_and_left_alone(void **state)
{
	char text[] = "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1";
	size_t len = sizeof text - 1, rest;
	struct chunked c;

	(void)state;
	chunked_init(&c);
	assert_int_equal(chunked_decode(&c, text, &len, &rest), CHUNKED_END);
	assert_int_equal(len, 3);
	assert_memory_equal(text, "abc", 3);
	assert_int_equal(rest, 14);
	assert_string_equal(text + sizeof text - 1 - rest, "GET / HTTP/1.1");
}

static void
what_is_not_whole_waits_for_more(void **state)
{
	const char text[] = "5;x=y\r\nhello\r\n0\r\nTrailer: z\r\n\r\n";

	(void)state;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		struct decoded d = decode((struct slice){text, n}, NULL, 0);

		assert_int_equal(d.verdict, CHUNKED_MORE);
		buf_release(&d.data);
	}
}

static void
extensions_and_trailers_are_dropped(void **state)
{
	(void)state;
	expect(SLICE("3;name=\"a b\";c\r\nabc\r\n0;last\r\n"
		     "X-Sum: 1\r\nY:\r\n\r\n"),
	    CHUNKED_END, "abc", 0);
}

static void
damaged_coding_is_bad(void **state)
{
	const struct slice inputs[] = {
	    SLICE("\r\nabc"),
	    SLICE("g\r\n"),
	    SLICE("0x5\r\nhello\r\n"),
	    SLICE("-5\r\nhello\r\n"),
	    SLICE("+5\r\nhello\r\n"),
	    SLICE(" 5\r\nhello\r\n"),
	    SLICE("5 \r\nhello\r\n"),
	    SLICE("5\nhello\n"),
	    SLICE("5\rhello"),
	    SLICE("5\r\nhelloX\r\n"),
	    SLICE("5\r\nhello\n0\r\n\r\n"),
	    SLICE("5\r\nhello\r\r\n"),
	    SLICE("5\r\nhello\r\n\r\n"),
	    SLICE(";ext\r\n"),
	    SLICE("5;a\nb\r\nhello\r\n"),
	    SLICE("5;a\x01\r\nhello\r\n"),
	    SLICE("5;a\0b\r\nhello\r\n"),
	    SLICE("0\r\n\n"),
	    SLICE("0\r\n\rX"),
	    SLICE("0\r\nTrailer: a\nb\r\n\r\n"),
	    SLICE("0\r\nTrailer\rX: a\r\n\r\n"),
	    SLICE("00000000000000005\r\nhello\r\n"),
	    SLICE("10000000000000000\r\n"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(inputs); i++)
		expect(inputs[i], CHUNKED_BAD, "", 0);
}

static void
a_size_has_at_most_sixteen_digits(void **state)
{
	(void)state;
	expect(
	    SLICE("0000000000000005\r\nhello\r\n"), CHUNKED_MORE, "hello", 0);
	expect(SLICE("ffffffffffffffff\r\nall"), CHUNKED_MORE, "all", 0);
}

/* A chunk whose extension, and a trailer, have so many bytes. */
static enum chunked_verdict
verdict_on(size_t extension, size_t trailer)
{
	struct buf text = {0};
	struct decoded d;

	buf_puts(&text, "1;");
	for (size_t i = 0; i < extension; i++)
		buf_puts(&text, "e");
	buf_puts(&text, "\r\nx\r\n0\r\n");
	for (size_t i = 0; i < trailer; i++)
		buf_puts(&text, "t");
	buf_puts(&text, trailer > 0 ? "\r\n\r\n" : "\r\n");
	d = decode((struct slice){buf_data(&text), buf_len(&text)}, NULL, 0);
	buf_release(&d.data);
	buf_release(&text);
	return d.verdict;
}

static void
extensions_and_trailers_are_bounded(void **state)
{
	(void)state;
	assert_int_equal(
	    verdict_on(CHUNK_EXTENSION_MOST_BYTES, 0), CHUNKED_END);
	assert_int_equal(
	    verdict_on(CHUNK_EXTENSION_MOST_BYTES + 1, 0), CHUNKED_BAD);
	assert_int_equal(verdict_on(0, CHUNK_TRAILERS_MOST_BYTES), CHUNKED_END);
	assert_int_equal(
	    verdict_on(0, CHUNK_TRAILERS_MOST_BYTES + 1), CHUNKED_BAD);
}

/* Some body in chunks, here and there with a byte changed. */
static void
make_input(struct seeded *random, struct buf *to)
{
	size_t chunks = seeded_below(random, 6);

	buf_clear(to);
	for (size_t i = 0; i < chunks; i++) {
		size_t len = 1 + seeded_below(random, 40);

		buf_printf(to,
		    seeded_below(random, 4) == 0 ? "%zX;e=f\r\n" : "%zx\r\n",
		    len);
		for (size_t k = 0; k < len; k++) {
			char byte = (char)seeded_below(random, 256);

			buf_put(to, &byte, 1);
		}
		buf_puts(to, "\r\n");
	}
	buf_puts(to,
	    seeded_below(random, 3) == 0 ? "0\r\nA: b\r\n\r\nrest"
					 : "0\r\n\r\n");
	if (seeded_below(random, 2) == 0)
		to->base[to->start + seeded_below(random, buf_len(to))] =
		    "0\r\n;f\0x"[seeded_below(random, 7)];
}

static void
any_split_decodes_alike(void **state)
{
	struct seeded random = {7};
	struct buf input = {0};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct decoded whole, split;
		struct slice text;

		make_input(&random, &input);
		text = (struct slice){buf_data(&input), buf_len(&input)};
		whole = decode(text, NULL, 0);
		split = decode(text, &random, 1 + seeded_below(&random, 9));
		assert_int_equal(split.verdict, whole.verdict);
		assert_int_equal(split.rest, whole.rest);
		if (whole.verdict != CHUNKED_BAD) {
			assert_int_equal(
			    buf_len(&split.data), buf_len(&whole.data));
			assert_memory_equal(buf_data(&split.data),
			    buf_data(&whole.data), buf_len(&whole.data));
		}
		buf_release(&whole.data);
		buf_release(&split.data);
	}
	buf_release(&input);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_coding_is_taken_off),
	    cmocka_unit_test(bytes_behind_the_end_are_counted_and_left_alone),
	    cmocka_unit_test(what_is_not_whole_waits_for_more),
	    cmocka_unit_test(extensions_and_trailers_are_dropped),
	    cmocka_unit_test(damaged_coding_is_bad),
	    cmocka_unit_test(a_size_has_at_most_sixteen_digits),
	    cmocka_unit_test(extensions_and_trailers_are_bounded),
	    cmocka_unit_test(any_split_decodes_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
