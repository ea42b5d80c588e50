#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/mem.h"
#include "proxy/gate/fair_queue.h"
#include "tests/unit/seeded.h"

/* --- small stories ------------------------------------------------------- */

static enum fair_fit
all_go(void *arg, struct fair_job *job)
{
	(void)arg;
	(void)job;
	return FAIR_GOES;
}

static struct fair_job
job_of(uint64_t user, uint64_t flow, uint64_t cost)
{
	return (struct fair_job){
	    .user = user, .flow = flow, .weight = 1, .cost = cost};
}

static struct fair_job *
next(struct fair_queue *q)
{
	return fair_queue_next(q, all_go, NULL);
}

/* Takes all that wait and ends each at its estimate. */
static void
drain(struct fair_queue *q)
{
	struct fair_job *job;

	while ((job = next(q)) != NULL)
		fair_queue_finish(q, job, job->cost);
	assert_int_equal(fair_queue_waiting(q), 0);
}

static void
a_flow_goes_first_come_first_served(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[20];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = job_of(1, 1, 1 + i % 5);
		fair_queue_push(q, &jobs[i]);
		assert_int_equal(fair_queue_ahead(q, &jobs[i]), i);
	}
	assert_int_equal(fair_queue_waiting_of(q, 1), COUNT_OF(jobs));
	assert_int_equal(fair_queue_waiting_of(q, 2), 0);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		assert_ptr_equal(next(q), &jobs[i]);
	assert_null(next(q));
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		fair_queue_finish(q, &jobs[i], 1);
	fair_queue_destroy(&q);
	assert_null(q);
	fair_queue_destroy(&q);
}

static void
users_take_turns_and_so_do_a_users_flows(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job a[6], b[2], c[2];
	unsigned of_first[3] = {0}, first_flow = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(a); i++) {
		a[i] = job_of(1, i < 4 ? 1 : 2, 10);
		fair_queue_push(q, &a[i]);
	}
	for (size_t i = 0; i < COUNT_OF(b); i++) {
		b[i] = job_of(2, 1, 10);
		c[i] = job_of(3, 1, 10);
		fair_queue_push(q, &b[i]);
		fair_queue_push(q, &c[i]);
	}
	for (int i = 0; i < 6; i++) {
		struct fair_job *job = next(q);

		of_first[job->user - 1]++;
		first_flow += job->user == 1 && job->flow == 1;
		fair_queue_finish(q, job, 10);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(of_first[i], 2);
	assert_int_equal(first_flow, 1);
	drain(q);
	fair_queue_destroy(&q);
}

static void
a_user_of_twice_the_weight_gets_twice_as_much(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[60];
	unsigned heavy = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = job_of(i % 2, 1, 10);
		jobs[i].weight = i % 2 == 0 ? 2 : 1;
		fair_queue_push(q, &jobs[i]);
	}
	for (int i = 0; i < 30; i++) {
		struct fair_job *job = next(q);

		heavy += job->user == 0;
		fair_queue_finish(q, job, 10);
	}
	assert_in_range(heavy, 19, 21);
	drain(q);
	fair_queue_destroy(&q);
}

static void
nobody_saves_up_while_others_work(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job busy[100], late[4], *job;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(busy); i++) {
		busy[i] = job_of(1, 1, 100);
		fair_queue_push(q, &busy[i]);
	}
	/* One of the second user's is in flight all the time. */
	late[0] = job_of(2, 1, 1);
	fair_queue_push(q, &late[0]);
	assert_ptr_equal(next(q), &busy[0]);
	assert_ptr_equal(next(q), &late[0]);
	for (int i = 0; i < 50; i++)
		fair_queue_finish(q, next(q), 100);
	for (int i = 1; i < 4; i++) {
		late[i] = job_of(2, 1, 100);
		fair_queue_push(q, &late[i]);
	}
	/* That it took less than expected was long before: it gains nothing. */
	fair_queue_finish(q, &late[0], 0);
	for (int i = 0; i < 4; i++) {
		job = next(q);
		assert_int_equal(job->user, i % 2 == 0 ? 2 : 1);
		fair_queue_finish(q, job, 100);
	}
	drain(q);
	fair_queue_finish(q, &busy[0], 100);
	fair_queue_destroy(&q);
}

/* Two of the second user's are in flight while the first one is charged 1,000.
 * They cost 800 each: what it has forgone is set off against the one, what is
 * left of that against the other. */
static void
a_long_request_in_flight_saves_nothing_up(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job busy[40], late[6], *job;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(late); i++)
		late[i] = job_of(2, 1, i < 2 ? 5000 : 100);
	for (size_t i = 0; i < 2; i++) {
		fair_queue_push(q, &late[i]);
		assert_ptr_equal(next(q), &late[i]);
	}
	for (size_t i = 0; i < COUNT_OF(busy); i++) {
		busy[i] = job_of(1, 1, 100);
		fair_queue_push(q, &busy[i]);
	}
	for (int i = 0; i < 10; i++)
		fair_queue_finish(q, next(q), 100);
	for (size_t i = 2; i < COUNT_OF(late); i++)
		fair_queue_push(q, &late[i]);
	/* What is in flight counts as it was estimated. */
	assert_ptr_equal(next(q), &busy[10]);
	fair_queue_finish(q, &busy[10], 100);
	fair_queue_finish(q, &late[0], 800);
	fair_queue_finish(q, &late[1], 800);
	for (int i = 0; i < 9; i++) {
		job = next(q);
		assert_int_equal(job->user, i >= 5 && i % 2 == 1 ? 2 : 1);
		fair_queue_finish(q, job, 100);
	}
	drain(q);
	fair_queue_destroy(&q);
}

static void
what_it_really_cost_counts(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[40], *job;
	unsigned got[2] = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = job_of(i % 2, 1, 10);
		fair_queue_push(q, &jobs[i]);
	}
	/* The first user's answers are three times as long as expected. */
	for (int i = 0; i < 24; i++) {
		job = next(q);
		got[job->user]++;
		fair_queue_finish(q, job, job->user == 0 ? 30 : 10);
	}
	assert_in_range(got[0], 5, 7);
	drain(q);
	fair_queue_destroy(&q);
}

struct blocked {
	uint64_t user, flow;
	bool stops;
};

static enum fair_fit
not_blocked(void *arg, struct fair_job *job)
{
	const struct blocked *b = arg;

	if (job->user != b->user)
		return FAIR_GOES;
	if (b->stops)
		return FAIR_STOP;
	if (b->flow == 0)
		return FAIR_USER_BLOCKED;
	return job->flow == b->flow ? FAIR_FLOW_BLOCKED : FAIR_GOES;
}

static void
who_may_not_go_is_passed_over(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job a = job_of(1, 1, 1), a2 = job_of(1, 2, 1),
			b = job_of(2, 1, 1);
	struct blocked user = {1, 0, false}, flow = {1, 1, false},
		       stop = {1, 0, true};

	(void)state;
	fair_queue_push(q, &a);
	fair_queue_push(q, &a2);
	fair_queue_push(q, &b);
	assert_null(fair_queue_next(q, not_blocked, &stop));
	assert_ptr_equal(fair_queue_next(q, not_blocked, &flow), &a2);
	assert_ptr_equal(fair_queue_next(q, not_blocked, &user), &b);
	assert_null(fair_queue_next(q, not_blocked, &user));
	assert_null(fair_queue_next(q, not_blocked, &flow));
	fair_queue_remove(q, &a);
	assert_int_equal(fair_queue_waiting(q), 0);
	fair_queue_finish(q, &a2, 1);
	fair_queue_finish(q, &b, 1);
	fair_queue_destroy(&q);
}

static void
who_was_blocked_keeps_its_turn_and_saves_up_no_other(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[3][40], *job;
	struct blocked first = {1, 0, false};
	unsigned got[3] = {0};

	(void)state;
	for (size_t i = 0; i < 80; i++) {
		job = &jobs[i % 2][i / 2];
		*job = job_of(1 + i % 2, 1, 100);
		fair_queue_push(q, job);
	}
	for (int i = 0; i < 20; i++) {
		job = fair_queue_next(q, not_blocked, &first);
		assert_int_equal(job->user, 2);
		fair_queue_finish(q, job, 100);
	}
	for (size_t i = 0; i < 5; i++) {
		jobs[2][i] = job_of(3, 1, 100);
		fair_queue_push(q, &jobs[2][i]);
	}
	for (int i = 0; i < 7; i++) {
		job = next(q);
		assert_true(i > 0 || job->user == 1);
		got[job->user - 1] += i > 0;
		fair_queue_finish(q, job, 100);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(got[i], 2);
	drain(q);
	fair_queue_destroy(&q);
}

static void
batch_gets_its_tenth_and_no_more(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[1000];
	uint64_t batch = 0, all = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = job_of(i % 7, 1, 1 + i % 13);
		jobs[i].class = i % 2 == 0 ? FAIR_BATCH : FAIR_INTERACTIVE;
		fair_queue_push(q, &jobs[i]);
	}
	for (int i = 0; i < 500; i++) {
		struct fair_job *job = next(q);

		all += job->cost;
		batch += job->class == FAIR_BATCH ? job->cost : 0;
		assert_true(10 * batch <= all);
		assert_true(10 * (batch + 13 + 2) >= all);
		fair_queue_finish(q, job, job->cost);
	}
	drain(q);
	fair_queue_destroy(&q);
}

static void
batch_goes_when_nothing_else_may(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job a = job_of(1, 1, 5), b = job_of(2, 1, 5),
			c = job_of(3, 1, 5);
	struct blocked user = {1, 0, false};

	(void)state;
	b.class = c.class = FAIR_BATCH;
	fair_queue_push(q, &b);
	fair_queue_push(q, &c);
	assert_ptr_equal(next(q), &b);
	fair_queue_push(q, &a);
	assert_int_equal(fair_queue_ahead(q, &c), 1);
	assert_ptr_equal(fair_queue_next(q, not_blocked, &user), &c);
	assert_ptr_equal(next(q), &a);
	fair_queue_finish(q, &a, 5);
	fair_queue_finish(q, &b, 5);
	fair_queue_finish(q, &c, 5);
	fair_queue_destroy(&q);
}

static void
a_newcomer_takes_the_newest_place_of_the_largest_holder(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job a[4], b[2], c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(a); i++) {
		a[i] = job_of(1, i % 2, 1);
		a[i].class = i < 2 ? FAIR_BATCH : FAIR_INTERACTIVE;
		fair_queue_push(q, &a[i]);
	}
	b[0] = job_of(2, 1, 1);
	fair_queue_push(q, &b[0]);
	assert_ptr_equal(fair_queue_victim(q, 2), &a[3]);
	a[3].is_committed = true;
	assert_ptr_equal(fair_queue_victim(q, 2), &a[2]);
	assert_null(fair_queue_victim(q, 1));
	fair_queue_remove(q, &a[2]);
	fair_queue_remove(q, &a[3]);
	/* Two and two: nobody has more than the other. */
	b[1] = job_of(2, 1, 1);
	fair_queue_push(q, &b[1]);
	assert_null(fair_queue_victim(q, 2));
	assert_null(fair_queue_victim(q, 1));
	c = job_of(3, 1, 1);
	fair_queue_push(q, &c);
	b[0].is_committed = b[1].is_committed = true;
	assert_ptr_equal(fair_queue_victim(q, 3), &a[1]);
	drain(q);
	fair_queue_destroy(&q);
}

static void
people_are_told_how_many_go_before_them(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job busy[50], quiet, other_session;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(busy); i++) {
		busy[i] = job_of(1, 1, 10);
		fair_queue_push(q, &busy[i]);
	}
	assert_ptr_equal(next(q), &busy[0]);
	quiet = job_of(2, 1, 10);
	fair_queue_push(q, &quiet);
	assert_int_equal(fair_queue_ahead(q, &quiet), 0);
	assert_int_equal(fair_queue_ahead(q, &busy[1]), 1);
	assert_int_equal(fair_queue_ahead(q, &busy[49]), 49);
	other_session = job_of(1, 2, 10);
	fair_queue_push(q, &other_session);
	assert_in_range(fair_queue_ahead(q, &other_session), 1, 2);
	assert_ptr_equal(next(q), &quiet);
	fair_queue_finish(q, &busy[0], 10);
	fair_queue_finish(q, &quiet, 10);
	drain(q);
	fair_queue_destroy(&q);
}

/* --- properties, with a simulated clock ---------------------------------- */

#define USERS 8
#define ROWS 400 /* of users: one may take the place of another */
#define FLOWS 3
#define SLOTS_MOST 16

/* By what factor what a request will cost is misjudged. */
struct guess {
	uint64_t times, parts;
};

static const struct guess right = {1, 1}, high = {400, 1}, low = {1, 50};

struct item {
	struct fair_job job;
	uint64_t real, pushed_at, ends_at;
	uint64_t number; /* within its flow */
	/* A new user, or a new session: how many of all, or of its user's, may
	 * still go before it. */
	bool is_new_user, is_new_flow;
	uint64_t last_turn, last_turn_of_user;
};

struct house {
	struct fair_queue *q;
	struct seeded dice;
	size_t slots, in_flight;
	struct item *inside[SLOTS_MOST];
	uint64_t now;
	uint64_t next_number[ROWS][FLOWS][FAIR_CLASS_COUNT];
	uint64_t expected[ROWS][FLOWS][FAIR_CLASS_COUNT];
	size_t waiting[ROWS], inside_of[ROWS];
	uint64_t turns, turns_of[ROWS]; /* how many have been let in */
	unsigned mask;                  /* users who are blocked now */
};

static void
house_open(struct house *h, uint64_t seed, size_t slots)
{
	*h = (struct house){.q = fair_queue_create(), .slots = slots};
	h->dice.state = seed;
	print_message(
	    "seed %llu, %zu slots\n", (unsigned long long)seed, slots);
}

/* User u stands in row u % ROWS, flow f in lane f % FLOWS. */
static struct item *
arrive_at(struct house *h, uint64_t user, uint64_t flow, enum fair_class class,
    uint64_t cost, uint64_t real, uint32_t weight)
{
	struct item *it = xcalloc(sizeof *it);

	it->job = job_of(user, flow, cost);
	it->job.weight = weight;
	it->job.class = class;
	it->real = real;
	it->pushed_at = h->now;
	it->number = h->next_number[user % ROWS][flow % FLOWS][class]++;
	fair_queue_push(h->q, &it->job);
	h->waiting[user % ROWS]++;
	return it;
}

/* Most are estimated right. */
static struct item *
arrive(struct house *h, size_t user, size_t flow, enum fair_class class,
    uint64_t cost_most, uint32_t weight)
{
	uint64_t cost = 1 + seeded_below(&h->dice, cost_most);
	uint64_t real = seeded_below(&h->dice, 3) == 0
	    ? seeded_below(&h->dice, cost_most + 1)
	    : cost;

	return arrive_at(h, user, flow, class, cost, real, weight);
}

static uint64_t
guess_of(struct guess guess, uint64_t real)
{
	uint64_t cost = real * guess.times / guess.parts;

	return cost > 0 ? cost : 1;
}

static struct item *
arrive_misjudged(struct house *h, uint64_t user, uint64_t flow, uint64_t real,
    struct guess guess, uint32_t weight)
{
	return arrive_at(h, user, flow, FAIR_INTERACTIVE, guess_of(guess, real),
	    real, weight);
}

static bool
is_blocked(const struct house *h, const struct fair_job *job)
{
	return job->user < USERS && (h->mask >> job->user & 1) != 0;
}

static enum fair_fit
house_fits(void *arg, struct fair_job *job)
{
	return is_blocked(arg, job) ? FAIR_USER_BLOCKED : FAIR_GOES;
}

static struct item *
let_in(struct house *h)
{
	struct fair_job *job = fair_queue_next(h->q, house_fits, h);
	struct item *it;
	size_t row;

	if (job == NULL)
		return NULL;
	it = CONTAINER_OF(job, struct item, job);
	row = job->user % ROWS;
	/* First come first served, within a flow of one class. */
	assert_int_equal(
	    it->number, h->expected[row][job->flow % FLOWS][job->class]++);
	assert_false(is_blocked(h, job));
	assert_true(!it->is_new_user || h->turns <= it->last_turn);
	assert_true(
	    !it->is_new_flow || h->turns_of[row] <= it->last_turn_of_user);
	h->turns++;
	h->turns_of[row]++;
	h->waiting[row]--;
	h->inside_of[row]++;
	it->ends_at = h->now + 1 + it->real;
	h->inside[h->in_flight++] = it;
	return it;
}

static size_t
first_that_ends(const struct house *h)
{
	size_t first = 0;

	for (size_t i = 1; i < h->in_flight; i++)
		if (h->inside[i]->ends_at < h->inside[first]->ends_at)
			first = i;
	return first;
}

/* Waits for the first that ends. */
static void
let_out(struct house *h)
{
	size_t first = first_that_ends(h);
	struct item *it = h->inside[first];

	h->inside[first] = h->inside[--h->in_flight];
	h->now = it->ends_at;
	h->inside_of[it->job.user % ROWS]--;
	fair_queue_finish(h->q, &it->job, it->real);
	free(it);
}

static void
house_close(struct house *h)
{
	h->mask = 0;
	for (;;) {
		while (h->in_flight < h->slots && let_in(h) != NULL)
			;
		if (h->in_flight == 0)
			break;
		let_out(h);
	}
	assert_int_equal(fair_queue_waiting(h->q), 0);
	fair_queue_destroy(&h->q);
}

#define ARRIVALS 100000

/* What two users were charged / weight, in units of 1/65536 token. */
struct account {
	uint64_t charged[2], settled[2];
	uint64_t widest;
};

static uint64_t
apart(const uint64_t of[2])
{
	return of[0] > of[1] ? of[0] - of[1] : of[1] - of[0];
}

static void
enter_in(struct account *a, const struct item *in, const struct item *out)
{
	if (out != NULL && out->job.user < 2) {
		uint64_t real = (out->real << 16) / out->job.weight;

		a->settled[out->job.user] += real;
		a->charged[out->job.user] +=
		    real - (out->job.cost << 16) / out->job.weight;
	}
	if (in != NULL && in->job.user < 2)
		a->charged[in->job.user] +=
		    (in->job.cost << 16) / in->job.weight;
	if (apart(a->charged) > a->widest)
		a->widest = apart(a->charged);
}

struct kin {
	uint64_t cost_most;
	uint32_t weight;
	struct guess guess;
};

/* Most of those of a user who is estimated right are: the others not at all. */
static void
arrive_of(struct house *h, const struct kin *kin, size_t u)
{
	size_t flow = seeded_below(&h->dice, FLOWS);

	if (kin[u].guess.times == kin[u].guess.parts)
		arrive(h, u, flow, FAIR_INTERACTIVE, kin[u].cost_most,
		    kin[u].weight);
	else
		arrive_misjudged(h, u, flow,
		    1 + seeded_below(&h->dice, kin[u].cost_most), kin[u].guess,
		    kin[u].weight);
}

static uint64_t
largest(const struct kin *kin)
{
	uint64_t guess = guess_of(kin->guess, kin->cost_most);

	return ((guess > kin->cost_most ? guess : kin->cost_most) << 16) /
	    kin->weight;
}

/* Users 0 and 1 always wait, the others come and go. */
static void
check_bound(uint64_t seed, size_t slots, const struct guess guess[2])
{
	struct house h;
	struct kin kin[USERS];
	struct account account = {0};
	uint64_t bound;

	house_open(&h, seed, slots);
	for (size_t u = 0; u < USERS; u++)
		kin[u] = (struct kin){1 + seeded_below(&h.dice, 5000),
		    1 + (uint32_t)seeded_below(&h.dice, 5), guess[u % 2]};
	bound = largest(&kin[0]) > largest(&kin[1]) ? largest(&kin[0])
						    : largest(&kin[1]);
	bound *= slots;
	for (size_t n = 0; n < ARRIVALS / 2;) {
		for (size_t u = 0; u < 2; u++)
			for (; h.waiting[u] < 2; n++)
				arrive_of(&h, kin, u);
		if (seeded_below(&h.dice, 3) == 0) {
			arrive_of(
			    &h, kin, 2 + seeded_below(&h.dice, USERS - 2));
			n++;
		}
		if (h.in_flight == h.slots) {
			enter_in(&account, NULL, h.inside[first_that_ends(&h)]);
			let_out(&h);
		}
		enter_in(&account, let_in(&h), NULL);
		assert_true(apart(account.charged) <= bound);
		assert_true(apart(account.settled) <= bound);
	}
	print_message("  widest %llu of %llu tokens a weight\n",
	    (unsigned long long)(account.widest >> 16),
	    (unsigned long long)(bound >> 16));
	house_close(&h);
}

static void
two_users_who_wait_get_the_same_within_the_bound(void **state)
{
	static const size_t slots[] = {1, 2, 4, 16};
	const struct guess guesses[][2] = {{right, right}, {high, high},
	    {low, low}, {high, right}, {low, right}, {high, low}};

	(void)state;
	for (size_t g = 0; g < COUNT_OF(guesses); g++)
		for (size_t i = 0; i < COUNT_OF(slots); i++)
			check_bound(20260528 + g * 7919, slots[i], guesses[g]);
}

static void
keep_waiting(struct house *h, size_t most, struct guess guess, uint32_t weight)
{
	while (h->waiting[0] < most)
		arrive_misjudged(h, 0, seeded_below(&h->dice, FLOWS),
		    900 + seeded_below(&h->dice, 200), guess, weight);
}

/* Fills all slots, over and over, until that one is let in.  Returns how many
 * of user 0, who has 50 waiting all the time, were let in before it. */
static size_t
wait_beside_a_crowd(
    struct house *h, const struct item *it, struct guess guess, uint32_t weight)
{
	uint64_t before = h->turns;

	for (;;) {
		while (h->in_flight < h->slots && !it->job.is_dispatched) {
			keep_waiting(h, 50, guess, weight);
			assert_non_null(let_in(h));
		}
		if (it->job.is_dispatched)
			return h->turns - before - 1;
		let_out(h);
	}
}

/* One user has 50 waiting all the time.  Others come for the first time, and
 * stay for some requests, one after the other; all cost about the same. */
static void
check_newcomers(uint64_t seed, size_t slots, const struct guess guess[2],
    const uint32_t weight[2])
{
	enum { NEWCOMERS = 40, REQUESTS = 10 };
	struct house h;
	size_t first = 0, later = 0, before;

	house_open(&h, seed, slots);
	for (uint64_t n = 0; n < NEWCOMERS * REQUESTS; n++) {
		uint64_t user = 1 + n / REQUESTS;
		struct item *it;

		/* As long as it likes since the last one. */
		for (size_t i = seeded_below(&h.dice, 20); i > 0; i--) {
			keep_waiting(&h, 50, guess[0], weight[0]);
			if (h.in_flight == h.slots)
				let_out(&h);
			let_in(&h);
		}
		keep_waiting(&h, 50, guess[0], weight[0]);
		it = arrive_misjudged(&h, user, 0,
		    900 + seeded_below(&h.dice, 200), guess[1], weight[1]);
		before = wait_beside_a_crowd(&h, it, guess[0], weight[0]);
		if (n % REQUESTS == 0 && before > first)
			first = before;
		if (before > later)
			later = before;
		while (h.inside_of[user] > 0) {
			let_out(&h);
			keep_waiting(&h, 50, guess[0], weight[0]);
			if (h.inside_of[user] > 0)
				let_in(&h);
		}
	}
	print_message(
	    "  before a newcomer's first %zu, before any %zu\n", first, later);
	assert_true(first <= 1);
	/* Its own last one counts; what it cost, others get as well. */
	assert_true(later <= slots + 1 + 2 * weight[0] / weight[1]);
	house_close(&h);
}

static void
a_newcomer_goes_before_a_crowd_whatever_was_estimated(void **state)
{
	static const size_t slots[] = {1, 4, 16};
	static const uint32_t weights[][2] = {{1, 1}, {5, 1}, {1, 5}};
	const struct guess guesses[][2] = {{right, right}, {high, high},
	    {low, low}, {high, right}, {right, high}, {low, right},
	    {right, low}, {high, low}, {low, high}};

	(void)state;
	for (size_t g = 0; g < COUNT_OF(guesses); g++)
		for (size_t w = 0; w < COUNT_OF(weights); w++)
			for (size_t i = 0; i < COUNT_OF(slots); i++)
				check_newcomers(31337 + 7919 * g, slots[i],
				    guesses[g], weights[w]);
}

/* Who comes for the first time goes before all but those others who wait, once
 * each; and so does a user's new session between that user's. */
static void
see_who_is_new(struct house *h, struct item *it, bool is_new_user)
{
	size_t row = it->job.user % ROWS, lane = it->job.flow % FLOWS;

	it->is_new_user = is_new_user;
	it->last_turn = h->turns;
	for (size_t r = 0; r < ROWS; r++)
		it->last_turn += r != row && h->waiting[r] > 0;
	it->is_new_flow = it->number == h->expected[row][lane][0];
	it->last_turn_of_user = h->turns_of[row];
	for (size_t l = 0; l < FLOWS; l++)
		it->last_turn_of_user += l != lane &&
		    h->next_number[row][l][0] != h->expected[row][l][0];
}

static void
check_coming_and_going(uint64_t seed, size_t slots)
{
	const struct guess guesses[] = {right, high, low};
	struct house h;
	uint64_t user[ROWS] = {0}, session[ROWS][FLOWS] = {0}, number = 0;
	size_t newcomers = 0;

	house_open(&h, seed, slots);
	for (size_t n = 0; n < ARRIVALS / 2; n++) {
		size_t row = seeded_below(&h.dice, ROWS);
		size_t lane = seeded_below(&h.dice, FLOWS);
		bool is_new = h.waiting[row] + h.inside_of[row] == 0;
		struct item *it;

		if (is_new)
			user[row] = row + ROWS * ++number;
		if (h.next_number[row][lane][0] == h.expected[row][lane][0])
			session[row][lane] = lane + FLOWS * ++number;
		it = arrive_misjudged(&h, user[row], session[row][lane],
		    seeded_below(&h.dice, 1 + 50 * (row % 90)),
		    guesses[row % COUNT_OF(guesses)], 1 + (uint32_t)row % 5);
		see_who_is_new(&h, it, is_new);
		newcomers += is_new;
		while (fair_queue_waiting(h.q) > n % 1500) {
			if (h.in_flight == h.slots)
				let_out(&h);
			let_in(&h);
		}
	}
	print_message("  %zu newcomers\n", newcomers);
	assert_true(newcomers > ARRIVALS / 20);
	house_close(&h);
}

static void
each_new_user_and_session_has_a_turn_in_the_first_round(void **state)
{
	(void)state;
	for (size_t slots = 1; slots <= SLOTS_MOST; slots *= 4)
		check_coming_and_going(65537 * slots, slots);
}

/* Anything: classes, blocked users, cancels. */
static void
check_crowd(uint64_t seed, size_t slots)
{
	struct house h;
	struct item *cancelled;
	size_t gone = 0;

	house_open(&h, seed, slots);
	for (size_t n = 0; n < ARRIVALS; n++) {
		size_t user = seeded_below(&h.dice, USERS);
		size_t busy;

		h.mask = seeded_below(&h.dice, 4) == 0
		    ? (unsigned)seeded_below(&h.dice, 1u << USERS)
		    : 0;
		cancelled = arrive(&h, user, seeded_below(&h.dice, FLOWS),
		    seeded_below(&h.dice, 3) == 0 ? FAIR_BATCH
						  : FAIR_INTERACTIVE,
		    1 + seeded_below(&h.dice, 1000), 1);
		if (seeded_below(&h.dice, 10) == 0) {
			/* The newest of its flow leaves: the order stays. */
			fair_queue_remove(h.q, &cancelled->job);
			h.waiting[user]--;
			h.next_number[user][cancelled->job.flow]
				     [cancelled->job.class]--;
			free(cancelled);
			gone++;
		}
		while (h.in_flight < h.slots && let_in(&h) != NULL)
			;
		/* No slot stays free while somebody may go. */
		busy = 0;
		for (size_t u = 0; u < USERS; u++)
			if ((h.mask >> u & 1) == 0)
				busy += h.waiting[u];
		assert_true(h.in_flight == h.slots || busy == 0);
		while (h.in_flight > 0 &&
		    (h.in_flight == h.slots || fair_queue_waiting(h.q) > 200))
			let_out(&h);
	}
	assert_true(gone > ARRIVALS / 20);
	house_close(&h);
}

static void
no_slot_is_idle_while_somebody_may_go(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		check_crowd(seed * 104729, 1 + seed * seed);
}

/* While all others push as much as they can, a batch job of cost c goes before
 * interactive was given 9 * c + what one user of its own class may get before
 * it. */
static void
nobody_starves(void **state)
{
	enum { COST = 100, OTHERS = 6 };
	struct house h;
	size_t dispatched, worst = 0;

	(void)state;
	house_open(&h, 42, 4);
	for (size_t n = 0; n < 500; n++) {
		struct item *it;

		for (size_t u = 0; u < OTHERS; u++)
			while (h.waiting[u] < 10)
				arrive(&h, u, 0,
				    u == 0 ? FAIR_BATCH : FAIR_INTERACTIVE,
				    COST, 1);
		it = arrive(&h, 7, 0, FAIR_BATCH, COST, 1);
		for (dispatched = 0; !it->job.is_dispatched; dispatched++) {
			for (size_t u = 1; u < OTHERS; u++)
				while (h.waiting[u] < 10)
					arrive(&h, u, 0, FAIR_INTERACTIVE, COST,
					    1);
			if (h.in_flight == h.slots)
				let_out(&h);
			assert_non_null(let_in(&h));
		}
		if (dispatched > worst)
			worst = dispatched;
		/* In tokens: its own and at most (slots + 1) * 2 of its rival,
		 * ten times that in all; a job costs 50 on average. */
		assert_true(dispatched <= 10 * 11 * 3);
	}
	print_message("  at most %zu went before it\n", worst);
	house_close(&h);
}

/* The noisy neighbour: 50 wait all the time, and one comes when its last one is
 * over; each takes about as long. */
static void
a_quiet_user_waits_about_one_service_time(void **state)
{
	enum { SERVICE = 1000 };
	struct house h;

	(void)state;
	for (size_t slots = 1; slots <= 4; slots *= 2) {
		uint64_t waited = 0, worst = 0;

		house_open(&h, 4711, slots);
		for (size_t n = 0; n < 2000; n++) {
			struct item *it;
			uint64_t wait;

			while (h.waiting[0] < 50) {
				it = arrive(&h, 0, 0, FAIR_INTERACTIVE, 1, 1);
				it->job.cost = SERVICE;
				it->real =
				    SERVICE - 50 + seeded_below(&h.dice, 100);
			}
			it = arrive(&h, 1, 0, FAIR_INTERACTIVE, 1, 1);
			it->job.cost = it->real = SERVICE;
			for (;;) {
				while (
				    h.in_flight < h.slots && let_in(&h) != NULL)
					;
				if (it->job.is_dispatched)
					break;
				let_out(&h);
			}
			wait = h.now - it->pushed_at;
			waited += wait;
			worst = wait > worst ? wait : worst;
			/* And until it is over. */
			while (h.waiting[0] > 1 && h.now < it->ends_at) {
				uint64_t ends = it->ends_at;

				let_out(&h);
				let_in(&h);
				if (h.now >= ends)
					break;
			}
		}
		print_message(
		    "  %zu slots: mean wait %.2f, worst %.2f services\n", slots,
		    (double)waited / 2000 / SERVICE, (double)worst / SERVICE);
		assert_true(waited / 2000 <= SERVICE + SERVICE / 10);
		assert_true(worst <= 2 * SERVICE);
		house_close(&h);
	}
}

/* Sessions are a client's to name: what is remembered of them is bounded. */
static void
ever_new_sessions_are_forgotten(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job held = job_of(1, 0, 1000), job;

	(void)state;
	fair_queue_push(q, &held);
	assert_ptr_equal(next(q), &held);
	for (uint64_t i = 1; i <= ARRIVALS; i++) {
		job = job_of(i % 1000 + 1, i, 1 + i % 10);
		fair_queue_push(q, &job);
		assert_ptr_equal(next(q), &job);
		fair_queue_finish(q, &job, 5);
	}
	assert_true(fair_queue_remembered(q) <= 2 * 256 + 2);
	fair_queue_finish(q, &held, 1000);
	assert_int_equal(fair_queue_remembered(q), 0);
	fair_queue_destroy(&q);
}

/* --- for people ---------------------------------------------------------- */

/* What is copied, told apart by the addresses of its jobs. */
static void
assert_goes_as_told(struct fair_queue *q, size_t count)
{
	struct fair_turn *turns = xcalloc_array(count, sizeof *turns);

	assert_int_equal(fair_queue_turns(q, turns, count), count);
	fair_turns_sort(turns, count);
	for (size_t i = 0; i < count; i++) {
		struct fair_job *job = next(q);

		assert_ptr_equal(turns[i].job, job);
		fair_queue_finish(q, job, job->cost);
	}
	assert_null(next(q));
	free(turns);
}

/* Costs are odd and large, so that no two begin at the same time. */
static void
those_that_wait_are_told_in_the_order_in_which_they_go(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_job jobs[120];
	struct seeded seed = {7};

	(void)state;
	for (int round = 0; round < 200; round++) {
		size_t count = 1 + seeded_below(&seed, COUNT_OF(jobs));
		size_t gone = seeded_below(&seed, count);

		for (size_t i = 0; i < count; i++) {
			jobs[i] = job_of(1 + seeded_below(&seed, 5),
			    1 + seeded_below(&seed, 4),
			    1 + seeded_below(&seed, 1000000));
			jobs[i].weight = 1 + (uint32_t)seeded_below(&seed, 3);
			fair_queue_push(q, &jobs[i]);
		}
		/* Some have gone, which moves the clocks. */
		for (size_t i = 0; i < gone; i++) {
			struct fair_job *job = next(q);

			fair_queue_finish(q, job, job->cost);
		}
		assert_goes_as_told(q, count - gone);
	}
	fair_queue_destroy(&q);
}

static void
a_copy_is_no_longer_than_asked_for_and_batch_comes_last(void **state)
{
	struct fair_queue *q = fair_queue_create();
	struct fair_turn turns[8];
	struct fair_job jobs[6];

	(void)state;
	assert_int_equal(fair_queue_turns(q, turns, COUNT_OF(turns)), 0);
	fair_turns_sort(turns, 0);
	for (size_t i = 0; i < COUNT_OF(jobs); i++) {
		jobs[i] = job_of(i % 3, i, 10);
		jobs[i].class = i < 2 ? FAIR_BATCH : FAIR_INTERACTIVE;
		fair_queue_push(q, &jobs[i]);
	}
	assert_int_equal(fair_queue_turns(q, turns, 4), 4);
	assert_int_equal(fair_queue_turns(q, turns, COUNT_OF(turns)), 6);
	fair_turns_sort(turns, 6);
	for (size_t i = 0; i < COUNT_OF(jobs); i++)
		assert_int_equal(
		    turns[i].class, i < 4 ? FAIR_INTERACTIVE : FAIR_BATCH);
	drain(q);
	fair_queue_destroy(&q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_flow_goes_first_come_first_served),
	    cmocka_unit_test(users_take_turns_and_so_do_a_users_flows),
	    cmocka_unit_test(a_user_of_twice_the_weight_gets_twice_as_much),
	    cmocka_unit_test(nobody_saves_up_while_others_work),
	    cmocka_unit_test(a_long_request_in_flight_saves_nothing_up),
	    cmocka_unit_test(what_it_really_cost_counts),
	    cmocka_unit_test(who_may_not_go_is_passed_over),
	    cmocka_unit_test(
		who_was_blocked_keeps_its_turn_and_saves_up_no_other),
	    cmocka_unit_test(batch_gets_its_tenth_and_no_more),
	    cmocka_unit_test(batch_goes_when_nothing_else_may),
	    cmocka_unit_test(
		a_newcomer_takes_the_newest_place_of_the_largest_holder),
	    cmocka_unit_test(people_are_told_how_many_go_before_them),
	    cmocka_unit_test(two_users_who_wait_get_the_same_within_the_bound),
	    cmocka_unit_test(
		a_newcomer_goes_before_a_crowd_whatever_was_estimated),
	    cmocka_unit_test(
		each_new_user_and_session_has_a_turn_in_the_first_round),
	    cmocka_unit_test(no_slot_is_idle_while_somebody_may_go),
	    cmocka_unit_test(nobody_starves),
	    cmocka_unit_test(a_quiet_user_waits_about_one_service_time),
	    cmocka_unit_test(ever_new_sessions_are_forgotten),
	    cmocka_unit_test(
		those_that_wait_are_told_in_the_order_in_which_they_go),
	    cmocka_unit_test(
		a_copy_is_no_longer_than_asked_for_and_batch_comes_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
