#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "auth/throttle.h"

#define MINUTE UINT64_C(60000000000)

static uint64_t
wrong_from(struct throttle *t, const char *text, uint64_t now_ns)
{
	struct address a;

	assert_true(address_parse(slice_of(text), &a));
	return throttle_wrong_key(t, &a, now_ns);
}

static void
wrong_keys_are_free_until_the_burst_is_used(void **state)
{
	struct throttle *t = throttle_create(8, 5);
	uint64_t wait;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(wrong_from(t, "10.0.0.1", 0), 0);
	wait = wrong_from(t, "10.0.0.1", 0);
	assert_int_equal(wait, MINUTE / 5);
	assert_int_equal(wrong_from(t, "10.0.0.1", wait), 0);
	throttle_destroy(&t);
	assert_null(t);
	throttle_destroy(&t);
}

static void
one_address_does_not_pay_for_another(void **state)
{
	struct throttle *t = throttle_create(8, 1);

	(void)state;
	assert_int_equal(wrong_from(t, "10.0.0.1", 0), 0);
	assert_true(wrong_from(t, "10.0.0.1", 0) > 0);
	assert_int_equal(wrong_from(t, "10.0.0.2", 0), 0);
	assert_int_equal(wrong_from(t, "::1", 0), 0);
	throttle_destroy(&t);
}

static void
ipv6_counts_by_household_and_mapped_ipv4_by_host(void **state)
{
	struct throttle *t = throttle_create(8, 1);

	(void)state;
	assert_int_equal(wrong_from(t, "2001:db8:0:1::1", 0), 0);
	assert_true(wrong_from(t, "2001:db8:0:1:ffff::2", 0) > 0);
	assert_int_equal(wrong_from(t, "2001:db8:0:2::1", 0), 0);
	assert_int_equal(wrong_from(t, "10.0.0.1", 0), 0);
	assert_true(wrong_from(t, "::ffff:10.0.0.1", 0) > 0);
	assert_int_equal(wrong_from(t, "::ffff:10.0.0.2", 0), 0);
	throttle_destroy(&t);
}

static void
a_full_table_forgets_who_was_seen_longest_ago(void **state)
{
	struct throttle *t = throttle_create(3, 1);

	(void)state;
	assert_int_equal(wrong_from(t, "10.0.0.1", 0), 0);
	assert_int_equal(wrong_from(t, "10.0.0.2", 0), 0);
	assert_int_equal(wrong_from(t, "10.0.0.3", 0), 0);
	assert_true(wrong_from(t, "10.0.0.1", 0) > 0);     /* seen again */
	assert_int_equal(wrong_from(t, "10.0.0.4", 0), 0); /* 2 goes */
	assert_true(wrong_from(t, "10.0.0.1", 0) > 0);
	assert_true(wrong_from(t, "10.0.0.3", 0) > 0);
	assert_true(wrong_from(t, "10.0.0.4", 0) > 0);
	assert_int_equal(wrong_from(t, "10.0.0.2", 0), 0);
	throttle_destroy(&t);
}

static void
a_flood_of_addresses_stays_within_the_table(void **state)
{
	struct throttle *t = throttle_create(64, 1);
	char text[32];

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(text, sizeof text, "10.%u.%u.%u", i >> 16 & 255,
		    i >> 8 & 255, i & 255);
		assert_int_equal(wrong_from(t, text, 0), 0);
		assert_true(wrong_from(t, text, 0) > 0);
	}
	throttle_destroy(&t);
}

static void
a_table_for_one_works(void **state)
{
	struct throttle *t = throttle_create(1, 1);

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(wrong_from(t, "10.0.0.1", 0), 0);
		assert_true(wrong_from(t, "10.0.0.1", 0) > 0);
		assert_int_equal(wrong_from(t, "10.0.0.2", 0), 0);
	}
	throttle_destroy(&t);
}

#define THREADS 8
#define ASKED_EACH 1000

struct asker {
	pthread_t thread;
	struct throttle *throttle;
	unsigned let_through;
};

/* From one address that all have, and from others that push each other out. */
static void *
ask_often(void *arg)
{
	struct asker *a = arg;
	struct address shared, other;

	if (!address_parse(SLICE("10.0.0.1"), &shared))
		return NULL;
	other = shared;
	for (unsigned i = 0; i < ASKED_EACH; i++) {
		other.bytes[14] = (uint8_t)(1 + i % 100);
		a->let_through +=
		    throttle_wrong_key(a->throttle, &shared, 0) == 0;
		(void)!throttle_wrong_key(a->throttle, &other, 0);
	}
	return NULL;
}

static void
many_threads_share_one_count(void **state)
{
	struct throttle *t = throttle_create(64, 60);
	struct asker askers[THREADS] = {0};
	unsigned let_through = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		askers[i].throttle = t;
		assert_int_equal(pthread_create(&askers[i].thread, NULL,
				     ask_often, &askers[i]),
		    0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(askers[i].thread, NULL), 0);
		let_through += askers[i].let_through;
	}
	assert_int_equal(let_through, 60);
	throttle_destroy(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wrong_keys_are_free_until_the_burst_is_used),
	    cmocka_unit_test(one_address_does_not_pay_for_another),
	    cmocka_unit_test(ipv6_counts_by_household_and_mapped_ipv4_by_host),
	    cmocka_unit_test(a_full_table_forgets_who_was_seen_longest_ago),
	    cmocka_unit_test(a_flood_of_addresses_stays_within_the_table),
	    cmocka_unit_test(a_table_for_one_works),
	    cmocka_unit_test(many_threads_share_one_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
