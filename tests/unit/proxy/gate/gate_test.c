#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proxy/gate/gate.h"
#include "tests/unit/seeded.h"

#define SECOND UINT64_C(1000000000)
#define START (1000 * SECOND)
#define WALL INT64_C(1779978121000)

/* One upstream, and a bell that counts. */
struct scene {
	struct gate *g;
	struct gate_upstream *up;
	struct gate_bell bell;
	unsigned rung;
	struct limits limits;
};

static void
on_ring(void *arg)
{
	struct scene *s = arg;

	s->rung++;
}

static void
scene_open(struct scene *s, struct gate_room room)
{
	*s = (struct scene){.g = gate_create(), .limits = limits_none()};
	s->up = gate_upstream(s->g, "spark");
	gate_set_room(s->g, s->up, &room);
	s->bell.ring = on_ring;
	s->bell.arg = s;
	list_init(&s->bell.ready);
}

static void
scene_close(struct scene *s)
{
	assert_int_equal(gate_in_flight(s->g), 0);
	gate_destroy(&s->g);
	assert_null(s->g);
}

/* A request of 10 tokens of the user "a", "b", ... */
static struct gate_place
place_of(struct scene *s, char user)
{
	const char name[] = {user, '\0'};

	return (struct gate_place){
	    .subjects = {{gate_account(s->g, SUBJECT_USER, name, NULL),
		&s->limits}},
	    .subject_count = 1,
	    .user = (uint64_t)user,
	    .flow = 1,
	    .weight = 1,
	    .tokens = 10,
	    .may_wait = true,
	    .bell = &s->bell};
}

static enum gate_verdict
enter(struct scene *s, struct gate_place *p, uint64_t now)
{
	size_t why = 99;
	enum gate_verdict v = gate_enter(s->g, s->up, p, now, &why);

	assert_int_equal(why, v == GATE_CONCURRENT ? 0 : 99);
	return v;
}

static void
leave(struct scene *s, struct gate_place *p, uint64_t now)
{
	gate_leave(s->g, p, 0, now);
	assert_int_equal(p->state, GATE_OUT);
}

/* --- places -------------------------------------------------------------- */

static void
who_waits_hears_of_it_when_a_place_is_free(void **state)
{
	struct scene s;
	struct gate_place a, b, c;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 8, 8});
	a = place_of(&s, 'a');
	b = place_of(&s, 'b');
	c = place_of(&s, 'c');
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(a.state, GATE_IN);
	assert_int_equal(enter(&s, &b, START), GATE_LATER);
	assert_int_equal(enter(&s, &c, START), GATE_LATER);
	assert_null(gate_next_ready(s.g, &s.bell));
	assert_int_equal(s.rung, 0);
	leave(&s, &a, START + SECOND);
	assert_int_equal(s.rung, 1);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &b);
	assert_int_equal(b.state, GATE_IN);
	assert_null(gate_next_ready(s.g, &s.bell));
	/* c's client leaves, then b. */
	leave(&s, &c, START + SECOND);
	leave(&s, &b, START + SECOND);
	assert_int_equal(s.rung, 1);
	leave(&s, &b, START + SECOND);
	scene_close(&s);
}

static void
a_bell_rings_once_for_many(void **state)
{
	struct gate_room room = {0, 0, 8, 8};
	struct gate_place p[4];
	struct scene s;

	(void)state;
	room.max_inflight = 1;
	scene_open(&s, room);
	for (int i = 0; i < 4; i++) {
		p[i] = place_of(&s, 'a');
		assert_int_equal(
		    enter(&s, &p[i], START), i == 0 ? GATE_GO : GATE_LATER);
	}
	room.max_inflight = LIMIT_UNLIMITED;
	gate_set_room(s.g, s.up, &room);
	assert_int_equal(s.rung, 1);
	/* One leaves before it was fetched. */
	leave(&s, &p[2], START);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &p[1]);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &p[3]);
	assert_null(gate_next_ready(s.g, &s.bell));
	for (int i = 0; i < 4; i++)
		leave(&s, &p[i], START);
	scene_close(&s);
}

static void
who_may_not_wait_goes_at_once_or_leaves_nothing_behind(void **state)
{
	struct gate_place a, b, c;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 8, 8});
	a = place_of(&s, 'a');
	b = place_of(&s, 'b');
	c = place_of(&s, 'c');
	a.may_wait = b.may_wait = false;
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &b, START), GATE_FULL);
	assert_int_equal(b.state, GATE_OUT);
	/* Nor does it overtake one that waits for room among the tokens. */
	leave(&s, &a, START);
	assert_null(gate_next_ready(s.g, &s.bell));
	gate_set_room(s.g, s.up, &(struct gate_room){4, 25, 8, 8});
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	c.tokens = 20;
	assert_int_equal(enter(&s, &c, START), GATE_LATER);
	gate_tick(s.g, START + 3 * SECOND);
	assert_int_equal(enter(&s, &b, START + 3 * SECOND), GATE_FULL);
	leave(&s, &a, START + 3 * SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &c);
	leave(&s, &c, START + 3 * SECOND);
	scene_close(&s);
}

static void
places_to_wait_in_are_counted(void **state)
{
	struct gate_place a, b, b2, c;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 0, 8});
	a = place_of(&s, 'a');
	b = place_of(&s, 'b');
	b2 = place_of(&s, 'b');
	c = place_of(&s, 'c');
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &b, START), GATE_FULL);
	gate_set_room(s.g, s.up, &(struct gate_room){1, 0, 2, 1});
	assert_int_equal(enter(&s, &b, START), GATE_LATER);
	assert_int_equal(enter(&s, &b2, START), GATE_FULL);
	assert_int_equal(enter(&s, &c, START), GATE_LATER);
	leave(&s, &a, START);
	leave(&s, &b, START);
	leave(&s, &c, START);
	/* 0 admits nothing, and nobody waits for it. */
	gate_set_room(s.g, s.up, &(struct gate_room){0, 0, 2, 1});
	assert_int_equal(enter(&s, &a, START), GATE_FULL);
	scene_close(&s);
}

static void
one_user_cannot_fill_the_house(void **state)
{
	struct gate_place a[5], b, c;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 4, 4});
	for (int i = 0; i < 5; i++) {
		a[i] = place_of(&s, 'a');
		assert_int_equal(
		    enter(&s, &a[i], START), i == 0 ? GATE_GO : GATE_LATER);
	}
	gate_commit(s.g, &a[4]);
	b = place_of(&s, 'b');
	assert_int_equal(enter(&s, &b, START), GATE_LATER);
	assert_int_equal(s.rung, 1);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a[3]);
	assert_int_equal(a[3].state, GATE_PUSHED_OUT);
	leave(&s, &a[3], START);
	/* Its owner does not get the place back in the same way. */
	assert_int_equal(enter(&s, &a[3], START), GATE_FULL);
	/* Pushed out, and its client leaves before that was fetched. */
	c = place_of(&s, 'c');
	assert_int_equal(enter(&s, &c, START), GATE_LATER);
	assert_int_equal(a[2].state, GATE_PUSHED_OUT);
	leave(&s, &a[2], START);
	assert_null(gate_next_ready(s.g, &s.bell));
	leave(&s, &b, START);
	leave(&s, &c, START);
	for (int i = 0; i < 5; i++)
		leave(&s, &a[i], START);
	scene_close(&s);
}

static void
a_user_over_concurrent_waits_and_others_pass(void **state)
{
	struct gate_place a, a2, a3, b;
	struct gate_outlook look;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){4, 0, 8, 8});
	s.limits.most[LIMIT_CONCURRENT] = 1;
	a = place_of(&s, 'a');
	a2 = place_of(&s, 'a');
	a3 = place_of(&s, 'a');
	b = place_of(&s, 'b');
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &a2, START), GATE_LATER);
	assert_int_equal(enter(&s, &b, START), GATE_GO);
	gate_outlook(s.g, s.up, &a2, START, &look);
	assert_true(look.is_user_full);
	assert_int_equal(look.full_subject, 0);
	assert_int_equal(look.in_flight, 2);
	assert_int_equal(look.waiting, 1);
	assert_true(look.wait_ns == UINT64_MAX);
	a3.may_wait = false;
	assert_int_equal(enter(&s, &a3, START), GATE_CONCURRENT);
	leave(&s, &b, START);
	assert_null(gate_next_ready(s.g, &s.bell));
	leave(&s, &a, START);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a2);
	leave(&s, &a2, START);
	/* 0 admits nothing. */
	s.limits.most[LIMIT_CONCURRENT] = 0;
	assert_int_equal(enter(&s, &a3, START), GATE_CONCURRENT);
	a2.may_wait = true;
	assert_int_equal(enter(&s, &a2, START), GATE_CONCURRENT);
	scene_close(&s);
}

static void
a_users_count_is_the_same_at_all_upstreams(void **state)
{
	struct gate_place a, a2;
	struct scene s;
	size_t why;

	(void)state;
	scene_open(&s, (struct gate_room){4, 0, 8, 8});
	s.limits.most[LIMIT_CONCURRENT] = 1;
	a = place_of(&s, 'a');
	a2 = place_of(&s, 'a');
	assert_int_equal(
	    gate_enter(s.g, gate_upstream(s.g, "mac"), &a, START, &why),
	    GATE_GO);
	assert_int_equal(enter(&s, &a2, START), GATE_LATER);
	/* Read on after the client has gone: the user is free, mac is not. */
	gate_leave_user(s.g, &a, START);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a2);
	assert_int_equal(gate_in_flight(s.g), 3);
	leave(&s, &a, START);
	leave(&s, &a2, START);
	scene_close(&s);
}

static void
a_keys_own_count_blocks_that_key_alone(void **state)
{
	struct gate_place a, a2, other;
	struct limits one = limits_none();
	struct scene s;
	size_t why;

	(void)state;
	one.most[LIMIT_CONCURRENT] = 1;
	scene_open(&s, (struct gate_room){4, 0, 8, 8});
	a = place_of(&s, 'a');
	a.subjects[1] = (struct gate_subject){
	    gate_account(s.g, SUBJECT_KEY, "k7q2m9", NULL), &one};
	a.subject_count = 2;
	a2 = a;
	other = place_of(&s, 'a');
	other.flow = 2;
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &a2, START), GATE_LATER);
	assert_int_equal(enter(&s, &other, START), GATE_GO);
	leave(&s, &a2, START);
	a2.may_wait = false;
	assert_int_equal(
	    gate_enter(s.g, s.up, &a2, START, &why), GATE_CONCURRENT);
	assert_int_equal(why, 1);
	leave(&s, &a, START);
	leave(&s, &other, START);
	scene_close(&s);
}

static void
an_override_acts_at_the_next_tick_and_ends_by_itself(void **state)
{
	struct limits over = limits_none();
	struct gate_claim claim;
	struct gate_quotas quotas;
	struct gate_status status;
	struct gate_place a, a2;
	struct refusal refusal;
	struct scene s;
	size_t refused;

	(void)state;
	scene_open(&s, (struct gate_room){4, 0, 8, 8});
	s.limits.most[LIMIT_CONCURRENT] = 1;
	a = place_of(&s, 'a');
	a2 = place_of(&s, 'a');
	over.most[LIMIT_CONCURRENT] = 2;
	over.stated = STATED_LIMIT(LIMIT_CONCURRENT);
	/* A claim tells the gate what the wall clock says. */
	assert_true(gate_admit(s.g, a.subjects, 1, &(struct account_ask){0},
	    START, WALL, &claim, &quotas, &refusal, &refused));
	gate_settle(s.g, &claim, NULL, START, WALL);
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &a2, START), GATE_LATER);
	gate_override(a.subjects[0].account, s.g, &over, WALL + 60000);
	gate_tick(s.g, START + SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a2);
	gate_look(s.g, &a.subjects[0], WALL, &status);
	assert_int_equal(status.limits.most[LIMIT_CONCURRENT], 2);
	assert_int_equal(status.override_until_ms, WALL + 60000);
	assert_int_equal(status.account.in_flight, 2);
	leave(&s, &a2, START + SECOND);
	assert_int_equal(enter(&s, &a2, START + 61 * SECOND), GATE_LATER);
	gate_look(s.g, &a.subjects[0], WALL + 60000, &status);
	assert_int_equal(status.limits.most[LIMIT_CONCURRENT], 1);
	assert_int_equal(status.override_until_ms, 0);
	leave(&s, &a2, START + 61 * SECOND);
	gate_override(a.subjects[0].account, s.g, &over, WALL + 3600000);
	gate_override(a.subjects[0].account, s.g, NULL, 0);
	assert_int_equal(enter(&s, &a2, START + 61 * SECOND), GATE_LATER);
	leave(&s, &a2, START + 62 * SECOND);
	leave(&s, &a, START + 62 * SECOND);
	scene_close(&s);
}

static void
a_large_one_is_passed_over_for_two_seconds(void **state)
{
	struct gate_place a, big, small, late;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){4, 100, 8, 8});
	a = place_of(&s, 'a');
	big = place_of(&s, 'b');
	small = place_of(&s, 'c');
	late = place_of(&s, 'd');
	a.tokens = 50;
	big.tokens = 101;
	assert_int_equal(enter(&s, &big, START), GATE_TOO_LARGE);
	big.tokens = 60;
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &big, START), GATE_LATER);
	assert_int_equal(enter(&s, &small, START + SECOND), GATE_GO);
	leave(&s, &small, START + SECOND);
	/* From then on all wait for it, though there would be room. */
	assert_int_equal(enter(&s, &late, START + 2 * SECOND), GATE_LATER);
	gate_tick(s.g, START + 3 * SECOND);
	assert_null(gate_next_ready(s.g, &s.bell));
	leave(&s, &a, START + 3 * SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &big);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &late);
	/* Room that shrinks under one that waits does not shut it out. */
	assert_int_equal(enter(&s, &a, START + 3 * SECOND), GATE_LATER);
	gate_set_room(s.g, s.up, &(struct gate_room){4, 20, 8, 8});
	leave(&s, &big, START + 4 * SECOND);
	assert_null(gate_next_ready(s.g, &s.bell));
	leave(&s, &late, START + 4 * SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a);
	leave(&s, &a, START + 4 * SECOND);
	scene_close(&s);
}

static void
the_large_one_leaves_and_those_behind_it_go(void **state)
{
	struct gate_place a, big, late;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){4, 100, 8, 8});
	a = place_of(&s, 'a');
	big = place_of(&s, 'b');
	late = place_of(&s, 'c');
	big.tokens = 95;
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	assert_int_equal(enter(&s, &big, START), GATE_LATER);
	assert_int_equal(enter(&s, &late, START + 2 * SECOND), GATE_LATER);
	leave(&s, &big, START + 2 * SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &late);
	leave(&s, &late, START + 2 * SECOND);
	leave(&s, &a, START + 2 * SECOND);
	scene_close(&s);
}

static void
an_abandoned_place_is_the_upstreams_alone(void **state)
{
	struct gate_place a, a2;
	struct gate_outlook look;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 8, 8});
	s.limits.most[LIMIT_CONCURRENT] = 1;
	a = place_of(&s, 'a');
	a2 = place_of(&s, 'a');
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	gate_leave_user(s.g, &a, START + SECOND);
	gate_leave_user(s.g, &a, START + SECOND); /* once is enough */
	gate_outlook(s.g, s.up, NULL, START + SECOND, &look);
	assert_int_equal(look.in_flight, 1);
	assert_int_equal(look.abandoned, 1);
	assert_false(look.is_user_full);
	assert_int_equal(enter(&s, &a2, START + SECOND), GATE_LATER);
	leave(&s, &a, START + 5 * SECOND);
	assert_ptr_equal(gate_next_ready(s.g, &s.bell), &a2);
	gate_outlook(s.g, s.up, NULL, START + 5 * SECOND, &look);
	assert_int_equal(look.abandoned, 0);
	leave(&s, &a2, START + 6 * SECOND);
	assert_int_equal(gate_in_flight(s.g), 0);
	scene_close(&s);
}

static void
the_wait_is_told_from_what_places_took_of_late(void **state)
{
	struct gate_place a, b, c, newcomer;
	struct gate_outlook look;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 8, 8});
	a = place_of(&s, 'a');
	b = place_of(&s, 'b');
	c = place_of(&s, 'b');
	newcomer = place_of(&s, 'c');
	gate_outlook(s.g, s.up, &newcomer, START, &look);
	assert_int_equal(look.wait_ns, 0);
	assert_int_equal(enter(&s, &a, START), GATE_GO);
	gate_outlook(s.g, s.up, &newcomer, START, &look);
	assert_true(look.wait_ns == UINT64_MAX);
	leave(&s, &a, START + 8 * SECOND);
	assert_int_equal(enter(&s, &a, START + 8 * SECOND), GATE_GO);
	assert_int_equal(enter(&s, &b, START + 8 * SECOND), GATE_LATER);
	assert_int_equal(enter(&s, &c, START + 8 * SECOND), GATE_LATER);
	gate_outlook(s.g, s.up, &b, START + 8 * SECOND, &look);
	assert_int_equal(look.ahead, 0);
	assert_int_equal(look.wait_ns, 8 * SECOND);
	gate_outlook(s.g, s.up, &c, START + 8 * SECOND, &look);
	assert_int_equal(look.ahead, 1);
	assert_int_equal(look.wait_ns, 16 * SECOND);
	/* Someone who knows nobody goes last; another user goes before c. */
	gate_outlook(s.g, s.up, NULL, START + 8 * SECOND, &look);
	assert_int_equal(look.ahead, 2);
	gate_outlook(s.g, s.up, &newcomer, START + 8 * SECOND, &look);
	assert_in_range(look.ahead, 0, 1);
	assert_int_equal(look.waiting, 2);
	assert_int_equal(newcomer.state, GATE_OUT);
	leave(&s, &c, START + 8 * SECOND);
	leave(&s, &b, START + 8 * SECOND);
	leave(&s, &a, START + 8 * SECOND);
	scene_close(&s);
}

/* --- accounts ------------------------------------------------------------ */

static void
a_name_has_the_same_account_for_ever(void **state)
{
	struct gate *g = gate_create();
	struct gate_account *ann = gate_account(g, SUBJECT_USER, "ann", NULL);
	struct gate_account *at_model =
	    gate_account(g, SUBJECT_USER_AT_MODEL, "ann", "flash");

	(void)state;
	assert_ptr_not_equal(gate_account(g, SUBJECT_USER, "bob", NULL), ann);
	assert_ptr_not_equal(gate_account(g, SUBJECT_KEY, "ann", NULL), ann);
	assert_ptr_not_equal(
	    gate_account(g, SUBJECT_USER_AT_MODEL, "ann", "pro"), at_model);
	for (int i = 0; i < 1000; i++) {
		char *name = xasprintf("user%d", i);

		assert_non_null(gate_account(g, SUBJECT_USER, name, NULL));
		free(name);
	}
	assert_ptr_equal(gate_account(g, SUBJECT_USER, "ann", NULL), ann);
	assert_ptr_equal(
	    gate_account(g, SUBJECT_USER_AT_MODEL, "ann", "flash"), at_model);
	assert_ptr_equal(gate_upstream(g, "mac"), gate_upstream(g, "mac"));
	assert_ptr_not_equal(
	    gate_upstream(g, "mac"), gate_upstream(g, "spark"));
	gate_destroy(&g);
	gate_destroy(&g);
}

static void
a_request_takes_from_all_its_subjects_or_from_none(void **state)
{
	const struct account_ask ask = {.input = 10, .output = 10};
	struct limits user = limits_none(), key = limits_none();
	struct gate *g = gate_create();
	struct gate_subject subjects[2] = {
	    {gate_account(g, SUBJECT_USER, "ann", NULL), &user},
	    {gate_account(g, SUBJECT_KEY, "k", NULL), &key}};
	struct gate_claim claim, second;
	struct gate_quotas q;
	struct gate_status status;
	struct refusal why;
	size_t refused;

	(void)state;
	user.most[LIMIT_REQUESTS] = 5;
	key.most[LIMIT_REQUESTS] = 3;
	key.most[LIMIT_DAY_TOKENS] = 35;
	assert_true(gate_admit(
	    g, subjects, 2, &ask, START, WALL, &claim, &q, &why, &refused));
	assert_int_equal(q.requests.limit, 3);
	assert_int_equal(q.requests.remaining, 2);
	assert_int_equal(q.input.limit, LIMIT_UNLIMITED);
	assert_int_equal(gate_in_flight(g), 1);
	assert_false(gate_admit(
	    g, subjects, 2, &ask, START, WALL, &second, &q, &why, &refused));
	assert_int_equal(refused, 1);
	assert_int_equal(why.limit, LIMIT_DAY_TOKENS);
	assert_int_equal(second.count, 0);
	assert_int_equal(q.requests.remaining, 2);
	gate_settle(g, &second, NULL, START, WALL);
	gate_look(g, &subjects[0], WALL, &status);
	assert_int_equal(status.account.tokens.held, 20);
	gate_grow(g, &claim, 10, 30, 0, START, WALL);
	gate_look(g, &subjects[1], WALL, &status);
	assert_int_equal(status.account.tokens.held, 40);
	gate_settle(g, &claim, &(struct account_use){.input = 9, .output = 5},
	    START, WALL);
	gate_settle(g, &claim, NULL, START, WALL);
	gate_look(g, &subjects[1], WALL, &status);
	assert_int_equal(status.account.tokens.held, 0);
	assert_int_equal(status.account.tokens.used, 14);
	assert_int_equal(gate_in_flight(g), 0);
	gate_destroy(&g);
}

static void
money_is_held_by_all_or_stays_as_it_was(void **state)
{
	struct limits user = limits_none(), key = limits_none(),
		      all = limits_none();
	struct gate *g = gate_create();
	struct gate_subject subjects[2] = {
	    {gate_account(g, SUBJECT_USER, "ann", NULL), &user},
	    {gate_account(g, SUBJECT_KEY, "k", NULL), &key}};
	struct gate_subject everyone = {
	    gate_account(g, SUBJECT_EVERYONE, "", NULL), &all};
	struct gate_claim claim;
	struct gate_quotas q;
	struct gate_status status;
	struct refusal why;
	size_t refused;

	(void)state;
	key.budget[PERIOD_DAY] = 1000;
	all.fallback[PERIOD_MONTH] = 500;
	assert_true(gate_admit(g, subjects, 2, &(struct account_ask){0}, START,
	    WALL, &claim, &q, &why, &refused));
	assert_false(
	    gate_pay(g, &claim, &everyone, 1001, false, WALL, &why, &refused));
	assert_int_equal(refused, 1);
	assert_int_equal(why.of, REFUSED_BUDGET);
	gate_look(g, &subjects[0], WALL, &status);
	assert_int_equal(status.account.money[PERIOD_DAY].held, 0);
	assert_true(
	    gate_pay(g, &claim, &everyone, 400, true, WALL, &why, &refused));
	assert_false(
	    gate_pay(g, &claim, &everyone, 600, true, WALL, &why, &refused));
	assert_int_equal(refused, 2);
	assert_int_equal(why.of, REFUSED_FALLBACK);
	gate_look(g, &subjects[1], WALL, &status);
	assert_int_equal(status.account.money[PERIOD_DAY].held, 400);
	gate_look(g, &everyone, WALL, &status);
	assert_int_equal(status.account.fallback[PERIOD_MONTH].held, 400);
	assert_true(
	    gate_pay(g, &claim, &everyone, 600, false, WALL, &why, &refused));
	gate_settle(g, &claim,
	    &(struct account_use){.pusd = 500, .fallback_pusd = 100}, START,
	    WALL);
	gate_look(g, &everyone, WALL, &status);
	assert_int_equal(status.account.fallback[PERIOD_MONTH].used, 100);
	assert_int_equal(status.account.fallback[PERIOD_MONTH].held, 0);
	gate_look(g, &subjects[1], WALL, &status);
	assert_int_equal(status.account.money[PERIOD_DAY].used, 500);
	assert_int_equal(status.account.money[PERIOD_DAY].held, 0);
	assert_int_equal(gate_in_flight(g), 0);
	gate_destroy(&g);
}

static void
sums_of(void *arg, enum subject s, const char *name, const char *model,
    struct gate_sums *out)
{
	unsigned *calls = arg;

	(void)s;
	(void)model;
	++*calls;
	if (strcmp(name, "ann") == 0) {
		out->day_tokens = 77;
		out->money[PERIOD_WEEK] = 5;
		out->fallback[PERIOD_MONTH] = 3;
	}
}

static void
what_was_used_before_the_start_comes_back_once(void **state)
{
	struct limits limits = limits_none();
	struct gate *g = gate_create();
	struct gate_subject ann = {
	    gate_account(g, SUBJECT_USER, "ann", NULL), &limits};
	struct gate_status status;
	unsigned calls = 0;

	(void)state;
	gate_account(g, SUBJECT_USER, "bob", NULL);
	gate_restore(g, sums_of, &calls, WALL);
	gate_restore(g, sums_of, &calls, WALL);
	assert_int_equal(calls, 2);
	gate_look(g, &ann, WALL, &status);
	assert_int_equal(status.account.tokens.used, 77);
	assert_int_equal(status.account.money[PERIOD_WEEK].used, 5);
	assert_int_equal(status.account.fallback[PERIOD_MONTH].used, 3);
	gate_destroy(&g);
}

/* --- from many threads --------------------------------------------------- */

#define THREADS 4
#define AT_ONCE 8
#define VISITS 20000
#define ROOM 3

struct crowd {
	struct gate *g;
	struct gate_upstream *up[2];
	struct limits limits;
	unsigned passed, turned_away; /* atomic */
	unsigned inside[2], most;     /* atomic */
};

struct walker {
	struct crowd *c;
	struct gate_bell bell;
	struct seeded dice;
	bool is_rung; /* atomic */
	struct gate_place places[AT_ONCE];
	bool is_inside[AT_ONCE];
	uint64_t now;
};

static void
on_walker_ring(void *arg)
{
	struct walker *w = arg;

	__atomic_store_n(&w->is_rung, true, __ATOMIC_SEQ_CST);
}

static size_t
which(const struct walker *w, const struct gate_place *p)
{
	return p->upstream == w->c->up[0] ? 0 : 1;
}

static void
walk_in(struct walker *w, size_t i)
{
	struct crowd *c = w->c;
	unsigned n = __atomic_add_fetch(
	    &c->inside[which(w, &w->places[i])], 1, __ATOMIC_SEQ_CST);
	unsigned most = __atomic_load_n(&c->most, __ATOMIC_SEQ_CST);

	while (n > most &&
	    !__atomic_compare_exchange_n(
		&c->most, &most, n, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	w->is_inside[i] = true;
	__atomic_add_fetch(&c->passed, 1, __ATOMIC_RELAXED);
}

static void
walk_out(struct walker *w, size_t i)
{
	if (w->is_inside[i])
		__atomic_sub_fetch(&w->c->inside[which(w, &w->places[i])], 1,
		    __ATOMIC_SEQ_CST);
	w->is_inside[i] = false;
	gate_leave(w->c->g, &w->places[i], seeded_below(&w->dice, 50), w->now);
}

static void
fetch_ready(struct walker *w)
{
	struct gate_place *p;

	if (!__atomic_exchange_n(&w->is_rung, false, __ATOMIC_SEQ_CST))
		return;
	while ((p = gate_next_ready(w->c->g, &w->bell)) != NULL) {
		size_t i = (size_t)(p - w->places);

		if (p->state == GATE_IN)
			walk_in(w, i);
		else
			walk_out(w, i);
	}
}

static void
walk_to_the_gate(struct walker *w, size_t i)
{
	struct gate_place *p = &w->places[i];
	size_t n = seeded_below(&w->dice, 6), why;
	const char name[] = {(char)('a' + n), '\0'};
	enum gate_verdict v;

	*p = (struct gate_place){
	    .subjects = {{gate_account(w->c->g, SUBJECT_USER, name, NULL),
		&w->c->limits}},
	    .subject_count = 1,
	    .user = n,
	    .flow = seeded_below(&w->dice, 3),
	    .weight = 1 + (uint32_t)n % 2,
	    .class = n % 3 == 0 ? FAIR_BATCH : FAIR_INTERACTIVE,
	    .tokens = 1 + seeded_below(&w->dice, 40),
	    .may_wait = seeded_below(&w->dice, 4) > 0,
	    .bell = &w->bell};
	v = gate_enter(
	    w->c->g, w->c->up[seeded_below(&w->dice, 2)], p, w->now, &why);
	if (v == GATE_GO)
		walk_in(w, i);
	else if (v != GATE_LATER)
		__atomic_add_fetch(&w->c->turned_away, 1, __ATOMIC_RELAXED);
}

static void *
walk(void *arg)
{
	struct walker *w = arg;
	struct gate_outlook look;

	for (size_t n = 0; n < VISITS; n++) {
		size_t i = seeded_below(&w->dice, AT_ONCE);

		w->now = START + n * 1000000;
		if (w->places[i].upstream == NULL) {
			walk_to_the_gate(w, i);
		} else if (seeded_below(&w->dice, 8) == 0) {
			gate_outlook(w->c->g, w->places[i].upstream,
			    &w->places[i], w->now, &look);
		} else if (seeded_below(&w->dice, 8) == 0) {
			gate_commit(w->c->g, &w->places[i]);
		} else {
			/* In, waiting, or pushed out: its client goes. */
			walk_out(w, i);
			w->places[i].upstream = NULL;
		}
		if (n % 100 == 0)
			gate_tick(w->c->g, w->now);
		if (n % 16 == 0)
			sched_yield();
		fetch_ready(w);
	}
	for (size_t i = 0; i < AT_ONCE; i++)
		walk_out(w, i);
	return NULL;
}

static void
threads_never_hold_more_places_than_there_are(void **state)
{
	struct crowd c = {.g = gate_create(), .limits = limits_none()};
	struct walker *walkers = xcalloc_array(THREADS, sizeof *walkers);
	pthread_t threads[THREADS];

	(void)state;
	c.limits.most[LIMIT_CONCURRENT] = 2;
	for (size_t i = 0; i < 2; i++) {
		c.up[i] = gate_upstream(c.g, i == 0 ? "spark" : "mac");
		gate_set_room(
		    c.g, c.up[i], &(struct gate_room){ROOM, 60, 10, 5});
	}
	for (size_t i = 0; i < THREADS; i++) {
		walkers[i].c = &c;
		walkers[i].dice.state = 31337 + i;
		walkers[i].bell.ring = on_walker_ring;
		walkers[i].bell.arg = &walkers[i];
		list_init(&walkers[i].bell.ready);
		assert_int_equal(
		    pthread_create(&threads[i], NULL, walk, &walkers[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(c.most, 1, ROOM);
	assert_true(c.passed > VISITS / 10);
	assert_true(c.turned_away > 0);
	assert_int_equal(gate_in_flight(c.g), 0);
	gate_destroy(&c.g);
	free(walkers);
}

/* Takes from one day's tokens until they are held. */
static void *
drink(void *arg)
{
	struct crowd *c = arg;
	struct gate_subject ann = {
	    gate_account(c->g, SUBJECT_USER, "ann", NULL), &c->limits};
	struct gate_claim claim;
	struct gate_quotas q;
	struct refusal why;
	size_t refused;

	while (gate_admit(c->g, &ann, 1, &(struct account_ask){.input = 10},
	    START, WALL, &claim, &q, &why, &refused)) {
		__atomic_add_fetch(&c->passed, 1, __ATOMIC_RELAXED);
		gate_settle(c->g, &claim, &(struct account_use){.input = 10},
		    START, WALL);
	}
	return NULL;
}

static void
threads_share_one_account(void **state)
{
	struct crowd c = {.g = gate_create(), .limits = limits_none()};
	pthread_t threads[THREADS];

	(void)state;
	c.limits.most[LIMIT_DAY_TOKENS] = 10000;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, drink, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(c.passed, 1000);
	assert_int_equal(gate_in_flight(c.g), 0);
	gate_destroy(&c.g);
}

/* --- who waits ----------------------------------------------------------- */

static void
those_that_wait_are_told_by_name_in_their_order(void **state)
{
	struct gate_place in, waits[3];
	struct gate_waiter *told;
	struct scene s;

	(void)state;
	scene_open(&s, (struct gate_room){1, 0, 8, 8});
	assert_int_equal(gate_waiters(s.g, s.up, START, &told, 10), 0);
	assert_null(told);
	in = place_of(&s, 'a');
	assert_int_equal(enter(&s, &in, START), GATE_GO);
	for (size_t i = 0; i < 3; i++) {
		waits[i] = place_of(&s, i < 2 ? 'a' : 'b');
		waits[i].model = i == 0 ? NULL : "ds4";
		assert_int_equal(
		    enter(&s, &waits[i], START + i * SECOND), GATE_LATER);
	}
	assert_int_equal(
	    gate_waiters(s.g, s.up, START + 3 * SECOND, &told, 10), 3);
	/* a has had its turn. */
	assert_string_equal(told[0].user, "b");
	assert_string_equal(told[0].model, "ds4");
	assert_true(told[0].waited_ns == SECOND);
	assert_string_equal(told[1].user, "a");
	assert_string_equal(told[1].model, "");
	assert_true(told[1].waited_ns == 3 * SECOND);
	assert_false(told[1].is_user_full);
	assert_string_equal(told[2].user, "a");
	assert_int_equal(told[2].tokens, 10);
	free(told);
	assert_int_equal(gate_waiters(s.g, s.up, START, &told, 2), 2);
	free(told);
	for (size_t i = 0; i < 3; i++)
		gate_leave(s.g, &waits[i], 0, START);
	gate_leave(s.g, &in, 0, START);
	scene_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(who_waits_hears_of_it_when_a_place_is_free),
	    cmocka_unit_test(a_bell_rings_once_for_many),
	    cmocka_unit_test(
		who_may_not_wait_goes_at_once_or_leaves_nothing_behind),
	    cmocka_unit_test(places_to_wait_in_are_counted),
	    cmocka_unit_test(one_user_cannot_fill_the_house),
	    cmocka_unit_test(a_user_over_concurrent_waits_and_others_pass),
	    cmocka_unit_test(a_users_count_is_the_same_at_all_upstreams),
	    cmocka_unit_test(a_keys_own_count_blocks_that_key_alone),
	    cmocka_unit_test(
		an_override_acts_at_the_next_tick_and_ends_by_itself),
	    cmocka_unit_test(a_large_one_is_passed_over_for_two_seconds),
	    cmocka_unit_test(the_large_one_leaves_and_those_behind_it_go),
	    cmocka_unit_test(an_abandoned_place_is_the_upstreams_alone),
	    cmocka_unit_test(the_wait_is_told_from_what_places_took_of_late),
	    cmocka_unit_test(a_name_has_the_same_account_for_ever),
	    cmocka_unit_test(
		a_request_takes_from_all_its_subjects_or_from_none),
	    cmocka_unit_test(money_is_held_by_all_or_stays_as_it_was),
	    cmocka_unit_test(what_was_used_before_the_start_comes_back_once),
	    cmocka_unit_test(threads_never_hold_more_places_than_there_are),
	    cmocka_unit_test(threads_share_one_account),
	    cmocka_unit_test(those_that_wait_are_told_by_name_in_their_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
