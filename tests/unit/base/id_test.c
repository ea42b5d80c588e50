#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

#define COUNT 20000

static int
by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
an_id_is_26_characters_of_crockfords_base_32(void **state)
{
	struct ulid_source s;
	char id[ULID_CHARS + 1];

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	for (int i = 0; i < 1000; i++) {
		ulid_make(&s, 1779978121000 + i, id);
		assert_int_equal(strlen(id), ULID_CHARS);
		assert_int_equal(
		    strspn(id, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"), ULID_CHARS);
	}
}

static void
an_id_begins_with_its_time(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = {
	    /* The example of the specification, and the ends of the range. */
	    {0, "0000000000"},
	    {1469918176385, "01ARYZ6S41"},
	    {INT64_C(281474976710655), "7ZZZZZZZZZ"},
	};
	char id[ULID_CHARS + 1];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct ulid_source s;

		assert_true(ulid_source_init(&s, NULL));
		ulid_make(&s, rows[i].ms, id);
		assert_memory_equal(id, rows[i].text, 10);
	}
}

static void
ids_of_one_source_never_repeat(void **state)
{
	static char ids[COUNT][ULID_CHARS + 1];
	struct ulid_source s;

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	for (int i = 0; i < COUNT; i++)
		ulid_make(&s, 1000, ids[i]);
	qsort(ids, COUNT, sizeof ids[0], by_text);
	for (int i = 1; i < COUNT; i++)
		assert_string_not_equal(ids[i - 1], ids[i]);
}

static void
later_ids_sort_behind_earlier_ones(void **state)
{
	char before[ULID_CHARS + 1], after[ULID_CHARS + 1];
	struct ulid_source s;

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	ulid_make(&s, 1000, before);
	for (int64_t ms = 1001; ms < 3000; ms++) {
		ulid_make(&s, ms, after);
		assert_true(strcmp(before, after) < 0);
		memcpy(before, after, sizeof before);
	}
}

static void
a_clock_that_is_set_back_does_not_set_ids_back(void **state)
{
	char before[ULID_CHARS + 1], after[ULID_CHARS + 1];
	struct ulid_source s;

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	ulid_make(&s, 5000, before);
	ulid_make(&s, 4000, after);
	assert_memory_equal(before, after, 10);
	ulid_make(&s, -1, after);
	assert_memory_equal(before, after, 10);
}

static void
two_sources_make_different_ids(void **state)
{
	char one[ULID_CHARS + 1], other[ULID_CHARS + 1];
	struct ulid_source s, t;

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	assert_true(ulid_source_init(&t, NULL));
	ulid_make(&s, 1000, one);
	ulid_make(&t, 1000, other);
	assert_string_not_equal(one, other);
}

static void
random_bytes_fill_all_of_the_room_and_no_more(void **state)
{
	unsigned char seen[66] = {0};

	(void)state;
	for (int round = 0; round < 64; round++) {
		unsigned char bytes[66] = {0};

		assert_true(random_fill(bytes + 1, 64, NULL));
		assert_int_equal(bytes[0], 0);
		assert_int_equal(bytes[65], 0);
		for (size_t i = 0; i < sizeof bytes; i++)
			seen[i] |= bytes[i];
	}
	for (size_t i = 1; i < 65; i++)
		assert_int_not_equal(seen[i], 0);
}

static void
an_id_tells_its_time(void **state)
{
	struct ulid_source s;
	char id[ULID_CHARS + 1];

	(void)state;
	assert_true(ulid_source_init(&s, NULL));
	ulid_make(&s, 1780000000123, id);
	assert_true(ulid_time(id) == 1780000000123);
	assert_true(ulid_time("") == -1);
	assert_true(ulid_time("01K9W0000") == -1);
	assert_true(ulid_time("01K9W0000u0000000000000000") == -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_id_is_26_characters_of_crockfords_base_32),
	    cmocka_unit_test(an_id_begins_with_its_time),
	    cmocka_unit_test(an_id_tells_its_time),
	    cmocka_unit_test(ids_of_one_source_never_repeat),
	    cmocka_unit_test(later_ids_sort_behind_earlier_ones),
	    cmocka_unit_test(a_clock_that_is_set_back_does_not_set_ids_back),
	    cmocka_unit_test(two_sources_make_different_ids),
	    cmocka_unit_test(random_bytes_fill_all_of_the_room_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
