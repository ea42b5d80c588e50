/* Packed bodies come out as they went in, however they are split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "metering/inflate.h"

#define GZIP (15 + 16)
#define ZLIB 15
#define RAW (-15)

static const char text[] =
    "data: {\"choices\":[{\"delta\":{\"content\":\"Tea\"}}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5}}\n\n"
    "data: [DONE]\n\n";

static void
pack(struct buf *to, int window, const void *p, size_t len)
{
	z_stream z = {0};
	size_t room;

	assert_int_equal(
	    deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY),
	    Z_OK);
	room = deflateBound(&z, len);
	z.next_in = (unsigned char *)(uintptr_t)p;
	z.avail_in = (unsigned)len;
	z.next_out = (unsigned char *)buf_reserve(to, room, SIZE_MAX);
	z.avail_out = (unsigned)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	buf_commit(to, room - z.avail_out);
	deflateEnd(&z);
}

static void
on_piece(void *arg, const char *p, size_t len)
{
	buf_put(arg, p, len);
}

/* Feeds in pieces of `piece` bytes after a first one of `first`. */
static bool
unpack(struct buf *out, const struct buf *packed, size_t first, size_t piece,
    bool *is_whole)
{
	struct inflater *f = inflater_create();
	size_t len = buf_len(packed), at = 0;
	bool ok = true;

	buf_clear(out);
	while (at < len) {
		size_t n = at == 0 && first > 0 ? first : piece;

		if (n > len - at)
			n = len - at;
		ok &= inflater_feed(f, buf_data(packed) + at, n, on_piece, out);
		at += n;
	}
	*is_whole = inflater_is_whole(f);
	inflater_destroy(&f);
	inflater_destroy(&f);
	return ok;
}

static void
assert_unpacks_to(const struct buf *packed, const char *p, size_t len)
{
	struct buf out = {0};
	bool is_whole;

	for (size_t first = 1; first <= buf_len(packed); first++) {
		assert_true(unpack(&out, packed, first, SIZE_MAX, &is_whole));
		assert_true(is_whole);
		assert_int_equal(buf_len(&out), len);
		assert_memory_equal(buf_data(&out), p, len);
	}
	assert_true(unpack(&out, packed, 0, 1, &is_whole));
	assert_true(is_whole);
	assert_int_equal(buf_len(&out), len);
	assert_memory_equal(buf_data(&out), p, len);
	buf_release(&out);
}

static void
every_format_is_told_from_its_first_bytes(void **state)
{
	static const int windows[] = {GZIP, ZLIB, RAW};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(windows); i++) {
		struct buf packed = {0};

		pack(&packed, windows[i], text, sizeof text);
		assert_unpacks_to(&packed, text, sizeof text);
		buf_release(&packed);
	}
}

static void
gzip_members_follow_each_other(void **state)
{
	struct buf packed = {0};
	char twice[2 * sizeof text];

	(void)state;
	memcpy(twice, text, sizeof text);
	memcpy(twice + sizeof text, text, sizeof text);
	pack(&packed, GZIP, text, sizeof text);
	pack(&packed, GZIP, text, sizeof text);
	assert_unpacks_to(&packed, twice, sizeof twice);
	buf_release(&packed);
}

static void
what_follows_the_end_is_ignored(void **state)
{
	static const int windows[] = {GZIP, ZLIB};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(windows); i++) {
		struct buf packed = {0}, out = {0};
		bool is_whole;

		pack(&packed, windows[i], text, sizeof text);
		buf_puts(&packed, "more\n");
		assert_true(unpack(&out, &packed, 0, 1, &is_whole));
		assert_true(is_whole);
		assert_int_equal(buf_len(&out), sizeof text);
		buf_release(&packed);
		buf_release(&out);
	}
}

static void
a_cut_body_gives_what_there_is_and_is_not_whole(void **state)
{
	struct buf packed = {0}, out = {0};
	bool is_whole;

	(void)state;
	pack(&packed, GZIP, text, sizeof text);
	packed.end -= 8; /* the checksum and the size */
	assert_true(unpack(&out, &packed, 0, 7, &is_whole));
	assert_false(is_whole);
	assert_int_equal(buf_len(&out), sizeof text);
	buf_release(&packed);
	buf_release(&out);
}

static void
damage_is_told(void **state)
{
	struct buf packed = {0}, out = {0};
	bool is_whole;

	(void)state;
	pack(&packed, GZIP, text, sizeof text);
	packed.base[packed.start + 20] ^= 0x55;
	assert_false(unpack(&out, &packed, 0, SIZE_MAX, &is_whole));
	assert_false(is_whole);
	buf_clear(&packed);
	buf_puts(&packed, "\x1f\x8bno gzip at all");
	assert_false(unpack(&out, &packed, 0, 1, &is_whole));
	buf_release(&packed);
	buf_release(&out);
}

static void
on_counted_piece(void *arg, const char *p, size_t len)
{
	(void)p;
	*(uint64_t *)arg += len;
}

static void
a_bomb_is_given_up(void **state)
{
	size_t len = 96 << 20;
	char *zeros = xcalloc(len);
	struct buf packed = {0};
	struct inflater *f = inflater_create();
	uint64_t out = 0;

	(void)state;
	pack(&packed, GZIP, zeros, len);
	assert_true(buf_len(&packed) < len / INFLATE_RATIO_MOST);
	assert_false(inflater_feed(
	    f, buf_data(&packed), buf_len(&packed), on_counted_piece, &out));
	assert_true(inflater_is_spent(f));
	assert_false(inflater_is_whole(f));
	assert_true(out <= INFLATE_BYTES_FREE);
	assert_false(inflater_feed(f, "x", 1, on_counted_piece, &out));
	inflater_destroy(&f);
	buf_release(&packed);
	free(zeros);
}

static void
a_long_body_of_plain_text_is_not_given_up(void **state)
{
	size_t len = 80 << 20;
	char *noise = xcalloc(len);
	struct buf packed = {0};
	struct inflater *f = inflater_create();
	uint64_t out = 0;
	uint32_t x = 1;

	(void)state;
	for (size_t i = 0; i < len; i += 100) {
		x = x * 1664525 + 1013904223;
		noise[i] = (char)(x >> 24);
	}
	pack(&packed, GZIP, noise, len);
	assert_true(inflater_feed(
	    f, buf_data(&packed), buf_len(&packed), on_counted_piece, &out));
	assert_true(inflater_is_whole(f));
	assert_int_equal(out, len);
	inflater_destroy(&f);
	buf_release(&packed);
	free(noise);
}

static void
encodings_are_known_by_name(void **state)
{
	(void)state;
	assert_true(inflate_knows(SLICE("gzip")));
	assert_true(inflate_knows(SLICE(" GZip ")));
	assert_true(inflate_knows(SLICE("deflate")));
	assert_false(inflate_knows(SLICE("identity")));
	assert_false(inflate_knows(SLICE("br")));
	assert_false(inflate_knows(SLICE("gzip, gzip")));
	assert_false(inflate_knows(SLICE("")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_format_is_told_from_its_first_bytes),
	    cmocka_unit_test(gzip_members_follow_each_other),
	    cmocka_unit_test(what_follows_the_end_is_ignored),
	    cmocka_unit_test(a_cut_body_gives_what_there_is_and_is_not_whole),
	    cmocka_unit_test(damage_is_told),
	    cmocka_unit_test(a_bomb_is_given_up),
	    cmocka_unit_test(a_long_body_of_plain_text_is_not_given_up),
	    cmocka_unit_test(encodings_are_known_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
