#include "metering/prefix.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../seeded.h"
#include "base/mem.h"

#define KIB PREFIX_BLOCK_BYTES
#define ROOM ((size_t)1 << 20)

static struct prefixes *
create(size_t most_bytes)
{
	struct fault why;
	struct prefixes *p = prefixes_create(most_bytes, &why);

	assert_non_null(p);
	return p;
}

static char *
random_text(struct seeded *random, size_t len)
{
	char *text = xcalloc(len + 1);

	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + seeded_below(random, 26));
	return text;
}

static struct prefix_mark
mark_of(const struct prefixes *p, const char *text, size_t len)
{
	const struct slice parts[] = {
	    {NULL, 0}, {text, len / 3}, {text + len / 3, len - len / 3}};
	struct prefix_mark m;

	prefix_read(p, parts, COUNT_OF(parts), &m);
	assert_int_equal(m.bytes, len);
	return m;
}

static uint64_t
look(struct prefixes *p, const char *user, const char *text, size_t len)
{
	struct prefix_mark m = mark_of(p, text, len);
	uint64_t common = prefix_look(p, user, "spark", &m);

	prefix_mark_release(&m);
	return common;
}

static void
remember(struct prefixes *p, const char *user, const char *text, size_t len)
{
	struct prefix_mark m = mark_of(p, text, len);

	prefix_remember(p, user, "spark", &m);
	prefix_mark_release(&m);
}

static void
a_conversation_is_known_up_to_its_last_whole_block(void **state)
{
	struct seeded random = {0x11};
	char *text = random_text(&random, 100 * KIB);
	struct prefixes *p = create(ROOM);
	struct prefix_mark m;

	(void)state;
	assert_int_equal(look(p, "ann", text, 10 * KIB), 0);
	remember(p, "ann", text, 10 * KIB + 100);
	assert_int_equal(look(p, "ann", text, 100 * KIB), 10 * KIB);
	assert_int_equal(look(p, "ann", text, 5 * KIB + 7), 5 * KIB);
	assert_int_equal(look(p, "ann", text + 1, 50 * KIB), 0);
	text[3 * KIB + 5] ^= 1;
	assert_int_equal(look(p, "ann", text, 100 * KIB), 3 * KIB);
	/* Of another user, or elsewhere, nothing is known. */
	assert_int_equal(look(p, "bob", text, 100 * KIB), 0);
	m = mark_of(p, text, 10 * KIB);
	assert_int_equal(prefix_look(p, "ann", "mac", &m), 0);
	prefix_mark_release(&m);
	assert_null(m.blocks);
	prefixes_destroy(&p);
	assert_null(p);
	free(text);
}

static void
short_prompts_are_not_remembered(void **state)
{
	struct seeded random = {0x12};
	char *text = random_text(&random, KIB);
	struct prefixes *p = create(ROOM);

	(void)state;
	remember(p, "ann", text, KIB - 1);
	remember(p, "ann", text, 0);
	assert_int_equal(prefixes_bytes(p), 0);
	assert_int_equal(look(p, "ann", text, KIB - 1), 0);
	remember(p, "ann", text, KIB);
	assert_int_equal(look(p, "ann", text, KIB), KIB);
	prefixes_destroy(&p);
	free(text);
}

/* What grows takes one place, and what repeats takes none. */
static void
a_prompt_that_goes_on_takes_the_place_of_what_it_begins_with(void **state)
{
	struct seeded random = {0x13};
	char *other = random_text(&random, 4 * KIB);
	char *text = random_text(&random, 100 * KIB);
	struct prefixes *p = create(ROOM);
	size_t bytes;

	(void)state;
	remember(p, "ann", other, 4 * KIB);
	for (size_t len = KIB; len <= 100 * KIB; len += 333)
		remember(p, "ann", text, len);
	remember(p, "ann", text, 100 * KIB);
	bytes = prefixes_bytes(p);
	assert_in_range(bytes, 104 * 8, 104 * 8 + 600);
	remember(p, "ann", text, 100 * KIB);
	remember(p, "ann", text, 50 * KIB);
	assert_int_equal(prefixes_bytes(p), bytes);
	assert_int_equal(look(p, "ann", text, 100 * KIB), 100 * KIB);
	assert_int_equal(look(p, "ann", other, 4 * KIB), 4 * KIB);
	prefixes_destroy(&p);
	free(text);
	free(other);
}

static void
of_a_users_prompts_those_of_use_last_stay(void **state)
{
	struct seeded random = {0x14};
	char *texts[PREFIX_PROMPTS_MOST + 1];
	struct prefixes *p = create(ROOM);

	(void)state;
	for (size_t i = 0; i <= PREFIX_PROMPTS_MOST; i++)
		texts[i] = random_text(&random, 2 * KIB);
	for (size_t i = 0; i < PREFIX_PROMPTS_MOST; i++)
		remember(p, "ann", texts[i], 2 * KIB);
	assert_int_equal(look(p, "ann", texts[0], 2 * KIB), 2 * KIB);
	remember(p, "ann", texts[PREFIX_PROMPTS_MOST], 2 * KIB);
	assert_int_equal(look(p, "ann", texts[1], 2 * KIB), 0);
	for (size_t i = 0; i <= PREFIX_PROMPTS_MOST; i++) {
		if (i != 1)
			assert_int_equal(
			    look(p, "ann", texts[i], 2 * KIB), 2 * KIB);
		free(texts[i]);
	}
	prefixes_destroy(&p);
}

static void
memory_has_a_cap_and_what_was_of_use_longest_ago_goes(void **state)
{
	struct seeded random = {0x15};
	char *text = random_text(&random, 64 * KIB), name[32];
	struct prefixes *p = create(16 * KIB);

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "user %d", i);
		remember(
		    p, name, text, 1 * KIB + seeded_below(&random, 63 * KIB));
		assert_true(prefixes_bytes(p) <= 16 * KIB);
		/* The first one is asked for again and again. */
		assert_true(look(p, "user 0", text, 64 * KIB) > 0);
		assert_true(look(p, name, text, 64 * KIB) > 0);
	}
	assert_int_equal(look(p, "user 1", text, 64 * KIB), 0);
	prefixes_destroy(&p);
	/* One that is too large for it is not kept, and nothing is left. */
	p = create(100);
	remember(p, "ann", text, 64 * KIB);
	assert_int_equal(prefixes_bytes(p), 0);
	prefixes_destroy(&p);
	free(text);
}

static void
what_follows_the_most_blocks_counts_as_new(void **state)
{
	size_t len = (size_t)(PREFIX_BLOCKS_MOST + 5) * KIB;
	char *text = xcalloc(len);
	struct prefixes *p = create(ROOM);

	(void)state;
	remember(p, "ann", text, len);
	assert_int_equal(
	    look(p, "ann", text, len), (uint64_t)PREFIX_BLOCKS_MOST * KIB);
	prefixes_destroy(&p);
	free(text);
}

static void
any_split_into_parts_is_the_same_prompt(void **state)
{
	struct seeded random = {0x16};
	char *text = random_text(&random, 20 * KIB);
	struct prefixes *p = create(ROOM);

	(void)state;
	for (int run = 0; run < 300; run++) {
		size_t len = seeded_below(&random, 20 * KIB);
		struct prefix_mark whole = mark_of(p, text, len), split;
		struct slice parts[40];
		size_t at = 0, count = 0;

		while (count < COUNT_OF(parts) - 1 && at < len) {
			size_t n = seeded_below(&random, 3 * KIB);

			n = n > len - at ? len - at : n;
			parts[count++] = (struct slice){text + at, n};
			at += n;
		}
		parts[count++] = (struct slice){text + at, len - at};
		prefix_read(p, parts, count, &split);
		assert_int_equal(split.count, whole.count);
		assert_int_equal(split.bytes, whole.bytes);
		if (whole.count > 0)
			assert_memory_equal(split.blocks, whole.blocks,
			    whole.count * sizeof *whole.blocks);
		prefix_mark_release(&split);
		prefix_mark_release(&whole);
	}
	prefixes_destroy(&p);
	free(text);
}

/* --- against the texts themselves ---------------------------------------- */

#define TURNS 400

static uint64_t
common_of(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t most = a_len < b_len ? a_len : b_len, n = 0;

	while (n < most && a[n] == b[n])
		n++;
	return n / KIB * KIB;
}

/* Prompts that branch off from each other at any place: what is said is never
 * more than the truth, and not less than what the last one shares. */
static void
it_never_says_more_than_the_texts_share(void **state)
{
	struct seeded random = {0x17};
	struct prefixes *p = create(ROOM);
	char *texts[TURNS];
	size_t lens[TURNS];

	(void)state;
	for (size_t i = 0; i < TURNS; i++) {
		uint64_t most = 0, said;

		lens[i] = seeded_below(&random, 30 * KIB);
		texts[i] = random_text(&random, lens[i]);
		if (i > 0) {
			size_t of = seeded_below(&random, i);
			size_t len = seeded_below(&random, 30 * KIB);

			len = len < lens[i] ? len : lens[i];
			len = len < lens[of] ? len : lens[of];
			if (len > 0)
				memcpy(texts[i], texts[of], len);
		}
		said = look(p, "ann", texts[i], lens[i]);
		for (size_t j = 0; j < i; j++) {
			uint64_t common =
			    common_of(texts[i], lens[i], texts[j], lens[j]);

			most = common > most ? common : most;
			if (j + 1 == i)
				assert_true(said >= common);
		}
		assert_true(said <= most);
		remember(p, "ann", texts[i], lens[i]);
	}
	for (size_t i = 0; i < TURNS; i++)
		free(texts[i]);
	prefixes_destroy(&p);
}

static void *
talk(void *arg)
{
	struct prefixes *p = arg;
	struct seeded random = {0x18};
	char *text = random_text(&random, 30 * KIB), name[32];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "user %d", i % 20);
		(void)look(p, name, text, 30 * KIB);
		remember(p, name, text, 30 * KIB - (size_t)i);
	}
	free(text);
	return NULL;
}

static void
any_thread_may_call(void **state)
{
	struct prefixes *p = create(8 * KIB);
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, talk, p), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_in_range(prefixes_bytes(p), 1, 8 * KIB);
	prefixes_destroy(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		a_conversation_is_known_up_to_its_last_whole_block),
	    cmocka_unit_test(short_prompts_are_not_remembered),
	    cmocka_unit_test(
		a_prompt_that_goes_on_takes_the_place_of_what_it_begins_with),
	    cmocka_unit_test(of_a_users_prompts_those_of_use_last_stay),
	    cmocka_unit_test(
		memory_has_a_cap_and_what_was_of_use_longest_ago_goes),
	    cmocka_unit_test(what_follows_the_most_blocks_counts_as_new),
	    cmocka_unit_test(any_split_into_parts_is_the_same_prompt),
	    cmocka_unit_test(it_never_says_more_than_the_texts_share),
	    cmocka_unit_test(any_thread_may_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
