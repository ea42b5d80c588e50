#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "tests/unit/seeded.h"

static void
an_empty_buf_holds_nothing(void **state)
{
	struct buf b = {0};

	(void)state;
	assert_int_equal(buf_len(&b), 0);
	assert_non_null(buf_data(&b));
	buf_clear(&b);
	buf_release(&b);
	assert_null(b.base);
}

static void
what_was_added_is_there_in_order(void **state)
{
	struct buf b = {0};

	(void)state;
	assert_true(buf_add(&b, "hello", 5, 100));
	assert_true(buf_add(&b, " world", 6, 100));
	assert_true(buf_add(&b, "", 0, 100));
	assert_int_equal(buf_len(&b), 11);
	assert_memory_equal(buf_data(&b), "hello world", 11);
	buf_drain(&b, 6);
	assert_memory_equal(buf_data(&b), "world", 5);
	buf_drain(&b, 5);
	assert_int_equal(buf_len(&b), 0);
	buf_release(&b);
}

static void
the_cap_is_kept_to_the_byte(void **state)
{
	struct buf b = {0};

	(void)state;
	assert_true(buf_add(&b, "0123456789", 10, 10));
	assert_false(buf_add(&b, "x", 1, 10));
	assert_null(buf_reserve(&b, 1, 10));
	assert_null(buf_reserve(&b, SIZE_MAX, SIZE_MAX - 5));
	assert_int_equal(buf_len(&b), 10);
	/* What was drained counts no more. */
	buf_drain(&b, 4);
	assert_true(buf_add(&b, "abcd", 4, 10));
	assert_false(buf_add(&b, "x", 1, 10));
	assert_memory_equal(buf_data(&b), "456789abcd", 10);
	buf_release(&b);
}

static void
room_never_exceeds_the_cap(void **state)
{
	struct buf b = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_true(buf_add(&b, "x", 1, 1000));
	assert_int_equal(b.room, 1000);
	buf_release(&b);
}

static void
reserved_room_can_be_written_in_full(void **state)
{
	struct buf b = {0};
	char *to = buf_reserve(&b, 1000, 4000);

	(void)state;
	assert_non_null(to);
	memset(to, 'a', 1000);
	assert_int_equal(buf_len(&b), 0);
	buf_commit(&b, 600);
	assert_int_equal(buf_len(&b), 600);
	to = buf_reserve(&b, 3400, 4000);
	assert_non_null(to);
	memset(to, 'b', 3400);
	buf_commit(&b, 3400);
	assert_int_equal(buf_len(&b), 4000);
	assert_int_equal(buf_data(&b)[599], 'a');
	assert_int_equal(buf_data(&b)[600], 'b');
	buf_release(&b);
}

static void
a_format_may_be_longer_than_any_small_buffer(void **state)
{
	struct buf b = {0};
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	for (size_t len = 250; len < 262; len++) {
		buf_clear(&b);
		buf_printf(&b, "%.*s|%d", (int)len, text, 42);
		assert_int_equal(buf_len(&b), len + 3);
		assert_memory_equal(buf_data(&b) + len, "|42", 3);
	}
	buf_clear(&b);
	buf_puts(&b, text);
	assert_int_equal(buf_len(&b), sizeof text - 1);
	buf_release(&b);
}

static void
any_order_of_filling_and_draining_keeps_the_bytes(void **state)
{
	struct seeded random = {99};
	unsigned char in = 0, out = 0;
	struct buf b = {0};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		size_t n = seeded_below(&random, 700), len = buf_len(&b);
		char *to;

		if (seeded_below(&random, 2) == 0) {
			to = buf_reserve(&b, n, 8192);
			assert_int_equal(to == NULL, len + n > 8192);
			if (to == NULL)
				continue;
			for (size_t i = 0; i < n; i++)
				to[i] = (char)in++;
			buf_commit(&b, n);
		} else {
			if (n > len)
				n = len;
			for (size_t i = 0; i < n; i++)
				assert_int_equal(
				    (unsigned char)buf_data(&b)[i], out++);
			buf_drain(&b, n);
		}
	}
	buf_release(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_buf_holds_nothing),
	    cmocka_unit_test(what_was_added_is_there_in_order),
	    cmocka_unit_test(the_cap_is_kept_to_the_byte),
	    cmocka_unit_test(room_never_exceeds_the_cap),
	    cmocka_unit_test(reserved_room_can_be_written_in_full),
	    cmocka_unit_test(a_format_may_be_longer_than_any_small_buffer),
	    cmocka_unit_test(any_order_of_filling_and_draining_keeps_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
