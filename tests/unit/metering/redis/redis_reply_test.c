#include "metering/redis/redis_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

/* Feeds all but the last `rest` bytes, which come in a second piece. */
static enum redis_read
feed(struct slice text, size_t rest, struct redis_reply **out)
{
	struct redis_reader *r = redis_reader_create();
	enum redis_read verdict;
	struct fault why;

	verdict = redis_reader_feed(r, text.p, text.len - rest, out, &why);
	if (verdict == REDIS_READ_MORE && rest > 0)
		verdict = redis_reader_feed(
		    r, text.p + text.len - rest, rest, out, &why);
	redis_reader_destroy(&r);
	return verdict;
}

static void
an_answer_is_the_same_however_it_is_split(void **state)
{
	static const char text[] =
	    "*5\r\n$2\r\nok\r\n:12\r\n$-1\r\n$3\r\na\0b\r\n*1\r\n+fine\r\n";
	struct slice all = {text, sizeof text - 1};

	(void)state;
	for (size_t rest = 0; rest < all.len; rest++) {
		struct redis_reply *r = NULL;
		uint64_t n;

		assert_int_equal(feed(all, rest, &r), REDIS_READ_DONE);
		assert_int_equal(r->kind, REDIS_ARRAY);
		assert_int_equal(r->count, 5);
		assert_true(slice_is(redis_reply_text(r, 0), "ok"));
		assert_true(redis_reply_number(r, 1, &n));
		assert_int_equal(n, 12);
		assert_int_equal(r->items[2]->kind, REDIS_NIL);
		assert_int_equal(redis_reply_text(r, 3).len, 3);
		assert_memory_equal(redis_reply_text(r, 3).p, "a\0b", 4);
		assert_true(slice_is(redis_reply_text(r->items[4], 0), "fine"));
		redis_reply_destroy(&r);
		assert_null(r);
	}
}

static void
items_that_are_not_there_are_no_text_and_no_number(void **state)
{
	struct redis_reply *r = NULL;
	uint64_t n;

	(void)state;
	assert_int_equal(feed(SLICE("*3\r\n$1\r\nx\r\n:-1\r\n*0\r\n"), 0, &r),
	    REDIS_READ_DONE);
	assert_false(redis_reply_number(r, 0, &n));
	assert_false(redis_reply_number(r, 1, &n));
	assert_false(redis_reply_number(r, 2, &n));
	assert_false(redis_reply_number(r, 3, &n));
	assert_null(redis_reply_text(r, 1).p);
	assert_null(redis_reply_text(r, 3).p);
	redis_reply_destroy(&r);
}

static void
what_is_no_single_answer_is_bad(void **state)
{
	static const struct slice bad[] = {SLICE_OF("HTTP/1.1 200 OK\r\n"),
	    SLICE_OF("+OK\r\n+OK\r\n"),
	    SLICE_OF("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n"
		     "*1\r\n*1\r\n*1\r\n*1\r\n"
		     "*1\r\n*1\r\n"),
	    SLICE_OF("*2000000\r\n"), SLICE_OF("*-7\r\n"), SLICE_OF("$x\r\n"),
	    SLICE_OF(":999999999999999999999999999999\r\n")};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct redis_reply *r = NULL;

		if (feed(bad[i], 0, &r) != REDIS_READ_BAD)
			fail_msg("%s is taken", bad[i].p);
		assert_null(r);
	}
}

static void
an_answer_has_a_cap(void **state)
{
	struct redis_reader *r = redis_reader_create();
	static char piece[1 << 20];
	struct redis_reply *out = NULL;
	enum redis_read verdict;
	struct fault why;
	size_t fed = 0;

	(void)state;
	verdict = redis_reader_feed(r, "$999999999\r\n", 12, &out, &why);
	while (verdict == REDIS_READ_MORE && fed <= REDIS_REPLY_MOST_BYTES) {
		verdict = redis_reader_feed(r, piece, sizeof piece, &out, &why);
		fed += sizeof piece;
	}
	assert_int_equal(verdict, REDIS_READ_BAD);
	assert_non_null(strstr(why.text, "longer than"));
	redis_reader_destroy(&r);
}

static void
half_an_answer_is_freed_with_its_reader(void **state)
{
	struct redis_reply *r = NULL;

	(void)state;
	assert_int_equal(
	    feed(SLICE("*3\r\n*2\r\n$1\r\nx\r\n"), 0, &r), REDIS_READ_MORE);
	assert_null(r);
}

static void
every_error_has_its_meaning(void **state)
{
	static const struct {
		const char *error;
		enum redis_trouble trouble;
	} all[] = {
	    {"LOADING Redis is loading the dataset in memory", REDIS_LOADING},
	    {"READONLY You can't write against a read only replica.",
		REDIS_READONLY},
	    {"MISCONF Errors writing to the AOF file", REDIS_DISK},
	    {"BUSY Redis is busy running a script.", REDIS_BUSY},
	    {"MOVED 866 127.0.0.1:7001", REDIS_MOVED},
	    {"NOAUTH Authentication required.", REDIS_NO_PASSWORD},
	    {"WRONGPASS invalid username-password pair or user is disabled.",
		REDIS_PASSWORD},
	    {"ERR invalid password", REDIS_PASSWORD},
	    {"ERR AUTH <password> called without any password configured",
		REDIS_PASSWORD},
	    {"NOPERM this user has no permissions to run 'eval'",
		REDIS_PERMISSION},
	    {"OOM command not allowed when used memory > 'maxmemory'.",
		REDIS_FULL},
	    {"WRONGTYPE Operation against a key", REDIS_DAMAGED},
	    {"ERR Error running script (call to f_ab): @user_script:7: "
	     "-READONLY You can't write",
		REDIS_READONLY},
	    {"NOSCRIPT No matching script.", REDIS_NO_SCRIPT},
	    {"BUSYKEY Target key name already exists.", REDIS_REFUSED},
	    {"ERR unknown command 'EVAL'", REDIS_REFUSED},
	    {"", REDIS_REFUSED},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		enum redis_trouble t = redis_trouble_of(slice_of(all[i].error));

		if (t != all[i].trouble)
			fail_msg("'%s' is taken for '%s'", all[i].error,
			    redis_trouble_meaning(t));
		assert_true(strlen(redis_trouble_meaning(t)) > 5);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_answer_is_the_same_however_it_is_split),
	    cmocka_unit_test(
		items_that_are_not_there_are_no_text_and_no_number),
	    cmocka_unit_test(what_is_no_single_answer_is_bad),
	    cmocka_unit_test(an_answer_has_a_cap),
	    cmocka_unit_test(half_an_answer_is_freed_with_its_reader),
	    cmocka_unit_test(every_error_has_its_meaning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
