#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auth/key.h"

#define BASE62 "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static void
made(char key[KEY_CHARS + 1])
{
	struct fault why;

	if (!key_make(key, &why))
		fail_msg("%s", why.text);
}

static void
a_made_key_has_the_form_that_people_know(void **state)
{
	char key[KEY_CHARS + 1];
	struct slice id;

	(void)state;
	for (int i = 0; i < 200; i++) {
		made(key);
		assert_int_equal(strlen(key), KEY_CHARS);
		assert_int_equal(key_form(slice_of(key)), KEY_FORM_OK);
		assert_memory_equal(key, "sk-weir-k", 9);
		assert_int_equal(key[14], '-');
		id = key_id(slice_of(key));
		assert_ptr_equal(id.p, key + 8);
		assert_int_equal(id.len, KEY_ID_CHARS);
	}
}

/* The check is part of the published form: it must not drift. */
static void
the_check_is_the_crc_of_all_before_it(void **state)
{
	(void)state;
	assert_int_equal(key_form(SLICE("sk-weir-k00000-"
					"00000000000000000000000000000000"
					"4BbN8h")),
	    KEY_FORM_OK);
	assert_int_equal(key_form(SLICE("sk-weir-k7q2m9-"
					"9tXwGf3VnQ4hYb6KzR1cJ8sM2pLd0EuA"
					"3lbcOo")),
	    KEY_FORM_OK);
}

static void
every_change_of_one_character_is_seen(void **state)
{
	char key[KEY_CHARS + 1];

	(void)state;
	made(key);
	for (size_t i = 0; i < KEY_CHARS; i++) {
		char kept = key[i];

		for (int c = 0; c < 256; c++) {
			if ((char)c == kept)
				continue;
			key[i] = (char)c;
			assert_int_not_equal(
			    key_form((struct slice){key, KEY_CHARS}),
			    KEY_FORM_OK);
		}
		key[i] = kept;
	}
	assert_int_equal(key_form(slice_of(key)), KEY_FORM_OK);
}

static void
neighbours_swapped_are_seen(void **state)
{
	char key[KEY_CHARS + 1];

	(void)state;
	made(key);
	for (size_t i = 0; i + 1 < KEY_CHARS; i++) {
		char kept = key[i];

		if (key[i + 1] == kept)
			continue;
		key[i] = key[i + 1];
		key[i + 1] = kept;
		assert_int_not_equal(key_form(slice_of(key)), KEY_FORM_OK);
		key[i + 1] = key[i];
		key[i] = kept;
	}
}

static void
other_lengths_are_mistyped_and_other_prefixes_foreign(void **state)
{
	char key[KEY_CHARS + 2];

	(void)state;
	made(key);
	key[KEY_CHARS] = '0';
	for (size_t len = 0; len < KEY_CHARS + 2; len++) {
		enum key_form form = key_form((struct slice){key, len});

		if (len < 8)
			assert_int_equal(form, KEY_FORM_FOREIGN);
		else if (len == KEY_CHARS)
			assert_int_equal(form, KEY_FORM_OK);
		else
			assert_int_equal(form, KEY_FORM_MISTYPED);
	}
	assert_int_equal(key_form(SLICE("sk-proj-abc")), KEY_FORM_FOREIGN);
	assert_int_equal(key_form(SLICE("SK-WEIR-abc")), KEY_FORM_FOREIGN);
	assert_int_equal(key_form(slice_of(NULL)), KEY_FORM_FOREIGN);
}

/* 400 keys give 12,800 secret characters, 206 of each expected; a letter that
 * were half or twice as likely would stand out by far. */
static void
every_character_is_about_as_likely(void **state)
{
	unsigned seen[256] = {0};
	char key[KEY_CHARS + 1];

	(void)state;
	for (int i = 0; i < 400; i++) {
		made(key);
		for (size_t k = 15; k < 47; k++)
			seen[(unsigned char)key[k]]++;
	}
	for (const char *c = BASE62; *c != '\0'; c++)
		assert_in_range(seen[(unsigned char)*c], 110, 320);
}

static void
keys_differ(void **state)
{
	char a[KEY_CHARS + 1], b[KEY_CHARS + 1];

	(void)state;
	made(a);
	made(b);
	assert_memory_not_equal(a + 15, b + 15, 32);
}

static void
the_hash_is_hmac_sha_256_again_and_again(void **state)
{
	uint8_t pepper[PEPPER_BYTES], ours[KEY_HASH_BYTES];
	uint8_t theirs[KEY_HASH_BYTES];
	struct key_hasher *h;
	char text[200];

	(void)state;
	for (size_t i = 0; i < sizeof pepper; i++)
		pepper[i] = (uint8_t)(7 * i + 1);
	memset(text, 'x', sizeof text);
	h = key_hasher_create(pepper);
	for (int len = 0; len < 200; len++) {
		key_hash(h, (struct slice){text, (size_t)len}, ours);
		HMAC(EVP_sha256(), pepper, sizeof pepper,
		    (const unsigned char *)text, (size_t)len, theirs, NULL);
		assert_memory_equal(ours, theirs, sizeof ours);
	}
	key_hasher_destroy(&h);
	assert_null(h);
	key_hasher_destroy(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_made_key_has_the_form_that_people_know),
	    cmocka_unit_test(the_check_is_the_crc_of_all_before_it),
	    cmocka_unit_test(every_change_of_one_character_is_seen),
	    cmocka_unit_test(neighbours_swapped_are_seen),
	    cmocka_unit_test(
		other_lengths_are_mistyped_and_other_prefixes_foreign),
	    cmocka_unit_test(every_character_is_about_as_likely),
	    cmocka_unit_test(keys_differ),
	    cmocka_unit_test(the_hash_is_hmac_sha_256_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
