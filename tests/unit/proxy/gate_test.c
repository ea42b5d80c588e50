#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "proxy/gate.h"

#define SECOND UINT64_C(1000000000)

static const struct rate_limit unlimited = {LIMIT_UNLIMITED, 0};
static const struct rate_limit two = {2, 2};

static void
a_name_has_the_same_counts_for_ever(void **state)
{
	struct gate *g = gate_create();
	struct gate_user *ann = gate_user(g, "ann");
	struct gate_upstream *spark = gate_upstream(g, "spark");

	(void)state;
	assert_ptr_not_equal(gate_user(g, "bob"), ann);
	assert_ptr_equal(gate_user(g, "ann"), ann);
	assert_ptr_not_equal(gate_upstream(g, "mac"), spark);
	assert_ptr_equal(gate_upstream(g, "spark"), spark);
	gate_destroy(&g);
	assert_null(g);
	gate_destroy(&g);
}

static void
a_user_has_so_many_requests_at_once(void **state)
{
	struct gate *g = gate_create();
	struct gate_user *u = gate_user(g, "ann");
	struct gate_quota q;

	(void)state;
	assert_int_equal(gate_user_enter(g, u, unlimited, 2, 0, &q), GATE_OK);
	assert_int_equal(gate_user_enter(g, u, unlimited, 2, 0, &q), GATE_OK);
	assert_int_equal(
	    gate_user_enter(g, u, unlimited, 2, 0, &q), GATE_CONCURRENT);
	assert_int_equal(gate_in_flight(g), 2);
	/* Nobody else is in the way, nor is a higher limit. */
	assert_int_equal(
	    gate_user_enter(g, gate_user(g, "bob"), unlimited, 1, 0, &q),
	    GATE_OK);
	assert_int_equal(gate_user_enter(g, u, unlimited, 3, 0, &q), GATE_OK);
	gate_user_leave(g, u);
	gate_user_leave(g, u);
	assert_int_equal(gate_user_enter(g, u, unlimited, 2, 0, &q), GATE_OK);
	assert_int_equal(
	    gate_user_enter(g, u, unlimited, 0, 0, &q), GATE_CONCURRENT);
	gate_destroy(&g);
}

static void
a_user_has_so_many_requests_a_minute(void **state)
{
	struct gate *g = gate_create();
	struct gate_user *u = gate_user(g, "ann");
	struct gate_quota q;

	(void)state;
	for (uint32_t left = 2; left-- > 0;) {
		assert_int_equal(
		    gate_user_enter(g, u, two, LIMIT_UNLIMITED, 0, &q),
		    GATE_OK);
		assert_int_equal(q.limit, 2);
		assert_int_equal(q.remaining, left);
		assert_int_equal(q.wait_ns, 0);
	}
	assert_int_equal(q.reset_ns, 60 * SECOND);
	assert_int_equal(
	    gate_user_enter(g, u, two, LIMIT_UNLIMITED, 0, &q), GATE_RATE);
	assert_int_equal(q.remaining, 0);
	assert_int_equal(q.wait_ns, 30 * SECOND);
	assert_int_equal(gate_in_flight(g), 2);
	assert_int_equal(
	    gate_user_enter(g, u, two, LIMIT_UNLIMITED, 30 * SECOND, &q),
	    GATE_OK);
	gate_destroy(&g);
}

static void
a_refusal_for_want_of_a_place_costs_no_quota(void **state)
{
	struct gate *g = gate_create();
	struct gate_user *u = gate_user(g, "ann");
	struct gate_quota q;

	(void)state;
	assert_int_equal(gate_user_enter(g, u, two, 1, 0, &q), GATE_OK);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(
		    gate_user_enter(g, u, two, 1, 0, &q), GATE_CONCURRENT);
		assert_int_equal(q.remaining, 1);
	}
	gate_user_leave(g, u);
	assert_int_equal(gate_user_enter(g, u, two, 1, 0, &q), GATE_OK);
	gate_destroy(&g);
}

static void
an_unlimited_user_is_told_of_no_limit(void **state)
{
	struct gate *g = gate_create();
	struct gate_quota q;

	(void)state;
	assert_int_equal(gate_user_enter(g, gate_user(g, "ann"), unlimited,
			     LIMIT_UNLIMITED, 0, &q),
	    GATE_OK);
	assert_int_equal(q.limit, LIMIT_UNLIMITED);
	assert_int_equal(q.remaining, LIMIT_UNLIMITED);
	assert_int_equal(q.reset_ns, 0);
	gate_destroy(&g);
}

static void
an_upstream_has_so_many_places(void **state)
{
	struct gate *g = gate_create();
	struct gate_upstream *up = gate_upstream(g, "spark");

	(void)state;
	assert_int_equal(gate_take_slot(g, up, 0), GATE_FULL);
	assert_int_equal(gate_take_slot(g, up, 1), GATE_OK);
	assert_int_equal(gate_take_slot(g, up, 1), GATE_FULL);
	assert_int_equal(gate_take_slot(g, up, LIMIT_UNLIMITED), GATE_OK);
	/* A reload lowers the limit under what is in flight. */
	assert_int_equal(gate_take_slot(g, up, 1), GATE_FULL);
	gate_give_slot(g, up);
	assert_int_equal(gate_take_slot(g, up, 1), GATE_FULL);
	gate_give_slot(g, up);
	assert_int_equal(gate_take_slot(g, up, 1), GATE_OK);
	assert_int_equal(gate_in_flight(g), 1);
	gate_destroy(&g);
}

/* --- from many threads --------------------------------------------------- */

#define THREADS 4
#define ROUNDS 20000
#define PLACES 2

struct crowd {
	struct gate *g;
	unsigned inside[2]; /* atomic: of the user, of the upstream */
	unsigned most[2];   /* atomic */
	unsigned passed;    /* atomic */
};

static void
go_in(struct crowd *c, int which)
{
	unsigned n = __atomic_add_fetch(&c->inside[which], 1, __ATOMIC_SEQ_CST);
	unsigned most = __atomic_load_n(&c->most[which], __ATOMIC_SEQ_CST);

	while (n > most &&
	    !__atomic_compare_exchange_n(&c->most[which], &most, n, false,
		__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static void
go_out(struct crowd *c, int which)
{
	__atomic_sub_fetch(&c->inside[which], 1, __ATOMIC_SEQ_CST);
}

static void *
push(void *arg)
{
	struct crowd *c = arg;
	struct gate_user *u = gate_user(c->g, "ann");
	struct gate_upstream *up = gate_upstream(c->g, "spark");
	struct gate_quota q;

	for (int i = 0; i < ROUNDS; i++) {
		if (gate_user_enter(c->g, u, unlimited, PLACES + 1, 0, &q) !=
		    GATE_OK)
			continue;
		go_in(c, 0);
		if (gate_take_slot(c->g, up, PLACES) == GATE_OK) {
			go_in(c, 1);
			__atomic_add_fetch(&c->passed, 1, __ATOMIC_RELAXED);
			go_out(c, 1);
			gate_give_slot(c->g, up);
		}
		go_out(c, 0);
		gate_user_leave(c->g, u);
	}
	return NULL;
}

static void
threads_never_hold_more_places_than_there_are(void **state)
{
	struct crowd c = {.g = gate_create()};
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, push, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(c.most[0], 1, PLACES + 1);
	assert_in_range(c.most[1], 1, PLACES);
	assert_true(c.passed > 0);
	assert_int_equal(gate_in_flight(c.g), 0);
	gate_destroy(&c.g);
}

/* Takes from one bucket until it is empty. */
static void *
drink(void *arg)
{
	struct crowd *c = arg;
	struct gate_user *u = gate_user(c->g, "ann");
	const struct rate_limit thousand = {1000, 1000};
	struct gate_quota q;

	while (gate_user_enter(c->g, u, thousand, LIMIT_UNLIMITED, 0, &q) ==
	    GATE_OK) {
		__atomic_add_fetch(&c->passed, 1, __ATOMIC_RELAXED);
		gate_user_leave(c->g, u);
	}
	return NULL;
}

static void
threads_share_one_quota(void **state)
{
	struct crowd c = {.g = gate_create()};
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, drink, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.passed, 1000);
	gate_destroy(&c.g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_name_has_the_same_counts_for_ever),
	    cmocka_unit_test(a_user_has_so_many_requests_at_once),
	    cmocka_unit_test(a_user_has_so_many_requests_a_minute),
	    cmocka_unit_test(a_refusal_for_want_of_a_place_costs_no_quota),
	    cmocka_unit_test(an_unlimited_user_is_told_of_no_limit),
	    cmocka_unit_test(an_upstream_has_so_many_places),
	    cmocka_unit_test(threads_never_hold_more_places_than_there_are),
	    cmocka_unit_test(threads_share_one_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
