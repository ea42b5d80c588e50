#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "auth/account.h"
#include "base/clock.h"
#include "base/mem.h"

#define SECOND UINT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define DOLLAR INT64_C(1000000000000) /* pico-dollars */

static const struct account_use nothing = {0};

static int64_t
at(const char *text)
{
	int64_t ms;

	assert_true(clock_parse(slice_of(text), &ms));
	return ms;
}

static struct account_ask
tokens(int64_t input, int64_t output)
{
	return (struct account_ask){.input = input, .output = output};
}

static bool
take(struct account *a, const struct limits *l, int64_t input, int64_t output,
    int64_t wall_ms, struct hold *h, struct refusal *why)
{
	struct account_ask ask = tokens(input, output);

	return account_take(a, l, &ask, 0, wall_ms, h, why);
}

static void
of_a_thousand_that_hold_a_tenth_ten_are_let_in(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold holds[1000];
	struct refusal why;
	unsigned let_in = 0;

	(void)state;
	l.budget[PERIOD_DAY] = 10 * DOLLAR;
	for (size_t i = 0; i < COUNT_OF(holds); i++) {
		assert_true(take(&a, &l, 100, 100, 0, &holds[i], &why));
		let_in += account_take_money(&holds[i], DOLLAR, false, 0, &why);
	}
	assert_int_equal(let_in, 10);
	assert_int_equal(why.of, REFUSED_BUDGET);
	assert_int_equal(why.held, 10 * DOLLAR);
	assert_false(why.is_final);
	/* One ends, and was cheaper: one more fits. */
	account_settle(
	    &holds[0], &(struct account_use){.pusd = DOLLAR / 10}, 0, 0);
	assert_false(account_take_money(&holds[10], DOLLAR, false, 0, &why));
	account_settle(&holds[1], &nothing, 0, 0);
	assert_true(account_take_money(&holds[10], DOLLAR, false, 0, &why));
	assert_false(account_take_money(&holds[11], DOLLAR, false, 0, &why));
	assert_int_equal(why.used, DOLLAR / 10);
	assert_int_equal(why.held, 9 * DOLLAR);
	assert_int_equal(why.needed, DOLLAR);
	assert_int_equal(why.most, 10 * DOLLAR);
}

static void
tokens_of_a_day_are_held_in_the_same_way(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h[11];
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 1000;
	for (int i = 0; i < 10; i++)
		assert_true(take(&a, &l, 60, 40, 0, &h[i], &why));
	assert_false(take(&a, &l, 1, 0, 0, &h[10], &why));
	assert_int_equal(why.of, REFUSED_LIMIT);
	assert_int_equal(why.limit, LIMIT_DAY_TOKENS);
	assert_int_equal(why.wait_ns, 0);
	assert_int_equal(why.resets_ms, 86400000);
	assert_ptr_equal(why.account, &a);
	assert_null(h[10].account);
	account_settle(&h[0], &(struct account_use){50, 49, 0, 0}, 0, 0);
	assert_true(take(&a, &l, 1, 0, 0, &h[10], &why));
}

static void
a_refusal_is_final_when_use_alone_leaves_no_room(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h, other;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 1000;
	assert_false(take(&a, &l, 1001, 0, 0, &h, &why));
	assert_true(why.is_final); /* it never fits */
	account_restore_tokens(&a, 900, 0);
	assert_true(take(&a, &l, 50, 0, 0, &other, &why));
	assert_false(take(&a, &l, 100, 0, 0, &h, &why));
	assert_false(why.is_final);
	assert_false(take(&a, &l, 101, 0, 0, &h, &why));
	assert_true(why.is_final);
	/* With nothing left, not even what needs nothing. */
	assert_true(take(&a, &l, 0, 0, 0, &h, &why));
	account_settle(&other, &(struct account_use){100, 0, 0, 0}, 0, 0);
	assert_false(take(&a, &l, 0, 0, 0, &h, &why));
	assert_true(why.is_final);
}

static void
zero_admits_nothing(void **state)
{
	static const enum limit some[] = {LIMIT_REQUESTS, LIMIT_INPUT_TOKENS,
	    LIMIT_OUTPUT_TOKENS, LIMIT_DAY_TOKENS};
	struct limits l;
	struct hold h;
	struct refusal why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(some); i++) {
		struct account a = {0};

		l = limits_none();
		l.most[some[i]] = 0;
		assert_false(take(&a, &l, 0, 0, 0, &h, &why));
		assert_int_equal(why.limit, some[i]);
		assert_true(why.is_final);
		account_release(&h, 0, 0); /* does nothing */
	}
	for (int p = 0; p < PERIOD_COUNT; p++) {
		struct account a = {0};

		l = limits_none();
		l.budget[p] = 0;
		assert_true(take(&a, &l, 0, 0, 0, &h, &why));
		assert_false(account_take_money(&h, 0, false, 0, &why));
		assert_true(why.is_final);
		assert_int_equal(why.period, p);
	}
}

static void
a_limit_that_appears_later_knows_what_was_used(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	assert_true(take(&a, &l, 10, 10, 0, &h, &why));
	assert_true(account_take_money(&h, DOLLAR, true, 0, &why));
	account_settle(
	    &h, &(struct account_use){500, 499, DOLLAR, DOLLAR}, 0, 0);
	l.most[LIMIT_DAY_TOKENS] = 1000;
	l.fallback[PERIOD_WEEK] = DOLLAR;
	assert_false(take(&a, &l, 2, 0, 0, &h, &why));
	assert_true(take(&a, &l, 1, 0, 0, &h, &why));
	assert_true(account_take_money(&h, DOLLAR, false, 0, &why));
	assert_false(account_take_money(&h, DOLLAR, true, 0, &why));
	assert_int_equal(why.of, REFUSED_FALLBACK);
	assert_int_equal(why.period, PERIOD_WEEK);
}

static void
a_limit_lowered_under_what_is_used_holds_at_once(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h, running;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 1000;
	account_restore_tokens(&a, 600, 0);
	assert_true(take(&a, &l, 100, 0, 0, &running, &why));
	l.most[LIMIT_DAY_TOKENS] = 700;
	assert_false(take(&a, &l, 1, 0, 0, &h, &why));
	assert_false(why.is_final);
	l.most[LIMIT_DAY_TOKENS] = 500;
	assert_false(take(&a, &l, 0, 0, 0, &h, &why));
	assert_true(why.is_final);
	assert_int_equal(why.used, 600);
	account_settle(&running, &(struct account_use){100, 0, 0, 0}, 0, 0);
	l.most[LIMIT_DAY_TOKENS] = 701;
	assert_true(take(&a, &l, 1, 0, 0, &h, &why));
	l.most[LIMIT_DAY_TOKENS] = LIMIT_UNLIMITED;
	assert_true(take(&a, &l, 1000000, 0, 0, &h, &why));
}

static void
a_rate_is_given_back_as_it_was_taken(void **state)
{
	struct limits l = limits_none(), other = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_OUTPUT_TOKENS] = 1000;
	other.most[LIMIT_OUTPUT_TOKENS] = 10;
	assert_true(take(&a, &l, 0, 1000, 0, &h, &why));
	l = other; /* a reload */
	account_settle(&h, &(struct account_use){0, 500, 0, 0}, 0, 0);
	assert_int_equal(limiter_reset_ns(&a.rates[LIMIT_OUTPUT_TOKENS],
			     limits_rate(&l, LIMIT_OUTPUT_TOKENS), 0),
	    30 * SECOND);
	/* What was not taken is not given back. */
	l = limits_none();
	assert_true(take(&a, &l, 0, 1000, 0, &h, &why));
	l = other;
	account_settle(&h, &nothing, 0, 0);
	assert_int_equal(limiter_reset_ns(&a.rates[LIMIT_OUTPUT_TOKENS],
			     limits_rate(&l, LIMIT_OUTPUT_TOKENS), 0),
	    30 * SECOND);
}

static void
all_rates_are_taken_or_none_and_the_longest_wait_is_told(void **state)
{
	struct limits l = limits_none();
	struct account a = {0}, before;
	struct hold h, refused;
	struct refusal why;

	(void)state;
	l.most[LIMIT_REQUESTS] = 2;
	l.most[LIMIT_INPUT_TOKENS] = 100;
	l.most[LIMIT_OUTPUT_TOKENS] = 10;
	assert_true(take(&a, &l, 100, 10, 0, &h, &why));
	before = a;
	assert_false(take(&a, &l, 60, 5, 0, &refused, &why));
	assert_int_equal(why.limit, LIMIT_INPUT_TOKENS);
	assert_int_equal(why.wait_ns, 36 * SECOND);
	assert_int_equal(why.needed, 60);
	assert_int_equal(why.most, 100);
	assert_int_equal(why.resets_ms, 0);
	assert_false(why.is_final);
	assert_false(take(&a, &l, 60, 10, 0, &refused, &why));
	assert_int_equal(why.limit, LIMIT_OUTPUT_TOKENS);
	assert_int_equal(why.wait_ns, MINUTE);
	assert_memory_equal(&a, &before, sizeof a);
	account_release(&refused, 0, 0);
	assert_memory_equal(&a, &before, sizeof a);
}

static void
what_is_released_was_never_there(void **state)
{
	struct limits l = limits_none();
	struct account a = {0}, before;
	struct hold h, other;
	struct refusal why;

	(void)state;
	l.most[LIMIT_REQUESTS] = l.most[LIMIT_INPUT_TOKENS] =
	    l.most[LIMIT_OUTPUT_TOKENS] = 1000;
	assert_true(take(&a, &l, 10, 20, 0, &other, &why));
	before = a;
	assert_true(take(&a, &l, 30, 40, 0, &h, &why));
	assert_true(account_take_money(&h, DOLLAR, true, 0, &why));
	account_grow(&h, 50, 60, 2 * DOLLAR, 0, 0);
	account_release(&h, 0, 0);
	assert_null(h.account);
	assert_memory_equal(&a, &before, sizeof a);
	account_release(&h, 0, 0);
	assert_memory_equal(&a, &before, sizeof a);
}

static void
a_settled_request_keeps_its_place_among_requests(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_REQUESTS] = 1;
	assert_true(take(&a, &l, 10, 10, 0, &h, &why));
	account_settle(&h, &nothing, 0, 0);
	assert_false(take(&a, &l, 10, 10, 0, &h, &why));
	assert_int_equal(why.limit, LIMIT_REQUESTS);
	assert_int_equal(why.wait_ns, MINUTE);
}

static void
counting_tokens_has_a_bucket_of_its_own(void **state)
{
	const struct account_ask count = {.is_counting = true, .input = 1000};
	struct limits l = limits_none();
	struct account a = {0}, before;
	struct hold h, other;
	struct refusal why;

	(void)state;
	l.most[LIMIT_REQUESTS] = 1;
	l.most[LIMIT_DAY_TOKENS] = 10;
	assert_true(take(&a, &l, 1, 1, 0, &other, &why));
	before = a;
	assert_true(account_take(&a, &l, &count, 0, 0, &h, &why));
	account_release(&h, 0, 0);
	assert_memory_equal(&a, &before, sizeof a);
	assert_true(account_take(&a, &l, &count, 0, 0, &h, &why));
	account_grow(&h, 10, 10, 10, 0, 0);
	account_settle(&h, &(struct account_use){1000, 0, 0, 0}, 0, 0);
	assert_int_equal(account_tokens(&a, 0).used, 0);
	assert_int_equal(account_tokens(&a, 0).held, 2);
	assert_false(account_take(&a, &l, &count, 0, 0, &h, &why));
	assert_int_equal(why.limit, LIMIT_REQUESTS);
	assert_int_equal(why.wait_ns, MINUTE);
}

static void
a_hold_grows_with_the_running_count_and_never_shrinks(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = l.most[LIMIT_OUTPUT_TOKENS] = 600;
	l.budget[PERIOD_MONTH] = DOLLAR;
	assert_true(take(&a, &l, 100, 100, 0, &h, &why));
	assert_true(account_take_money(&h, DOLLAR / 2, false, 0, &why));
	account_grow(&h, 90, 1200, DOLLAR / 4, 0, 0);
	assert_int_equal(account_tokens(&a, 0).held, 1300);
	assert_int_equal(account_money(&a, PERIOD_DAY, 0).held, DOLLAR / 2);
	assert_int_equal(limiter_reset_ns(&a.rates[LIMIT_OUTPUT_TOKENS],
			     limits_rate(&l, LIMIT_OUTPUT_TOKENS), 0),
	    2 * MINUTE);
	account_grow(&h, 100, 1200, 2 * DOLLAR, 0, 0);
	assert_int_equal(account_money(&a, PERIOD_MONTH, 0).held, 2 * DOLLAR);
	account_settle(
	    &h, &(struct account_use){100, 1300, 3 * DOLLAR, 0}, 0, 0);
	assert_int_equal(account_tokens(&a, 0).held, 0);
	assert_int_equal(account_tokens(&a, 0).used, 1400);
	assert_int_equal(account_money(&a, PERIOD_WEEK, 0).held, 0);
	assert_int_equal(account_money(&a, PERIOD_WEEK, 0).used, 3 * DOLLAR);
	assert_int_equal(account_fallback(&a, PERIOD_WEEK, 0).used, 0);
}

static void
a_second_route_takes_the_place_of_the_first_ones_money(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.budget[PERIOD_DAY] = 10 * DOLLAR;
	l.fallback[PERIOD_DAY] = 5 * DOLLAR;
	assert_true(take(&a, &l, 1, 1, 0, &h, &why));
	assert_true(account_take_money(&h, 7 * DOLLAR, false, 0, &why));
	assert_false(account_take_money(&h, 6 * DOLLAR, true, 0, &why));
	assert_int_equal(why.of, REFUSED_FALLBACK);
	assert_int_equal(why.held, 0);
	assert_int_equal(account_money(&a, PERIOD_DAY, 0).held, 7 * DOLLAR);
	assert_true(account_take_money(&h, 5 * DOLLAR, true, 0, &why));
	assert_int_equal(account_money(&a, PERIOD_DAY, 0).held, 5 * DOLLAR);
	assert_int_equal(account_fallback(&a, PERIOD_DAY, 0).held, 5 * DOLLAR);
	assert_true(account_take_money(&h, 9 * DOLLAR, false, 0, &why));
	assert_int_equal(account_fallback(&a, PERIOD_DAY, 0).held, 0);
	account_settle(
	    &h, &(struct account_use){1, 1, 8 * DOLLAR, 3 * DOLLAR}, 0, 0);
	assert_int_equal(account_money(&a, PERIOD_DAY, 0).used, 8 * DOLLAR);
	assert_int_equal(account_fallback(&a, PERIOD_DAY, 0).used, 3 * DOLLAR);
}

static void
the_budget_that_says_most_about_when_to_come_again_is_named(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h, other;
	struct refusal why;
	int64_t wall = at("2026-05-28T14:00:00Z");

	(void)state;
	l.budget[PERIOD_DAY] = l.budget[PERIOD_WEEK] = 2 * DOLLAR;
	l.budget[PERIOD_MONTH] = 9 * DOLLAR;
	assert_true(take(&a, &l, 1, 1, wall, &other, &why));
	assert_true(account_take_money(&other, DOLLAR, false, wall, &why));
	assert_true(take(&a, &l, 1, 1, wall, &h, &why));
	assert_false(account_take_money(&h, 2 * DOLLAR, false, wall, &why));
	assert_int_equal(why.period, PERIOD_WEEK); /* it ends later */
	assert_false(why.is_final);
	/* What waiting for the open one does not help, if it ends sooner. */
	account_restore_money(&a, PERIOD_DAY, DOLLAR, 0, wall);
	assert_false(account_take_money(&h, 2 * DOLLAR, false, wall, &why));
	assert_int_equal(why.period, PERIOD_DAY);
	assert_true(why.is_final);
	assert_int_equal(why.resets_ms, at("2026-05-29T00:00:00Z"));
}

static void
a_budget_that_is_used_up_is_named_before_one_that_is_held(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h, other;
	struct refusal why;

	(void)state;
	l.budget[PERIOD_DAY] = 2 * DOLLAR;
	l.fallback[PERIOD_DAY] = DOLLAR;
	assert_true(take(&a, &l, 1, 1, 0, &other, &why));
	assert_true(account_take_money(&other, DOLLAR, false, 0, &why));
	assert_true(take(&a, &l, 1, 1, 0, &h, &why));
	assert_false(account_take_money(&h, 2 * DOLLAR, true, 0, &why));
	assert_int_equal(why.of, REFUSED_FALLBACK);
	assert_true(why.is_final);
	assert_false(account_take_money(&h, 2 * DOLLAR, false, 0, &why));
	assert_int_equal(why.of, REFUSED_BUDGET);
	assert_false(why.is_final);
}

static void
a_request_that_spans_midnight_is_yesterdays(void **state)
{
	const int64_t before = at("2026-05-28T23:59:59Z"),
		      after = at("2026-05-29T00:00:00Z");
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 1000;
	assert_true(take(&a, &l, 400, 600, before, &h, &why));
	assert_true(account_take_money(&h, DOLLAR, false, before, &why));
	assert_int_equal(account_tokens(&a, before).held, 1000);
	/* Read as of the new day without having been touched. */
	assert_int_equal(account_tokens(&a, after).held, 0);
	assert_int_equal(account_money(&a, PERIOD_DAY, after).held, 0);
	assert_int_equal(account_money(&a, PERIOD_MONTH, after).held, DOLLAR);
	account_grow(&h, 400, 800, 2 * DOLLAR, 0, after);
	assert_int_equal(account_tokens(&a, after).held, 0);
	assert_int_equal(account_money(&a, PERIOD_DAY, after).held, 0);
	assert_int_equal(
	    account_money(&a, PERIOD_WEEK, after).held, 2 * DOLLAR);
	account_settle(
	    &h, &(struct account_use){400, 900, 3 * DOLLAR, 0}, 0, after);
	assert_int_equal(account_tokens(&a, after).used, 0);
	assert_int_equal(account_money(&a, PERIOD_DAY, after).used, 0);
	assert_int_equal(
	    account_money(&a, PERIOD_WEEK, after).used, 3 * DOLLAR);
	assert_int_equal(
	    account_money(&a, PERIOD_MONTH, after).used, 3 * DOLLAR);
	assert_int_equal(account_money(&a, PERIOD_MONTH, after).held, 0);
	assert_true(take(&a, &l, 1000, 0, after, &h, &why));
}

/* The route is chosen after midnight: the old day's budget cannot be asked any
 * more, so that it is the new day's. */
static void
money_belongs_to_the_day_in_which_it_was_last_taken(void **state)
{
	const int64_t before = at("2026-05-31T23:59:59Z"),
		      after = at("2026-06-01T00:00:01Z");
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.budget[PERIOD_DAY] = DOLLAR;
	assert_true(take(&a, &l, 1, 1, before, &h, &why));
	assert_true(account_take_money(&h, DOLLAR, false, before, &why));
	assert_false(account_take_money(&h, 2 * DOLLAR, false, after, &why));
	assert_true(account_take_money(&h, DOLLAR, false, after, &why));
	for (int p = 0; p < PERIOD_COUNT; p++)
		assert_int_equal(
		    account_money(&a, (enum period)p, after).held, DOLLAR);
	account_settle(&h, &(struct account_use){1, 1, DOLLAR, 0}, 0, after);
	for (int p = 0; p < PERIOD_COUNT; p++)
		assert_int_equal(
		    account_money(&a, (enum period)p, after).used, DOLLAR);
	assert_int_equal(account_tokens(&a, after).used, 0);
}

static void
a_clock_that_is_set_back_forgets_nothing(void **state)
{
	const int64_t before = at("2026-05-31T23:59:59Z"),
		      after = at("2026-06-01T00:00:01Z");
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 10;
	assert_true(take(&a, &l, 10, 0, after, &h, &why));
	assert_false(take(&a, &l, 1, 0, before, &h, &why));
	assert_false(take(&a, &l, 1, 0, after, &h, &why));
	/* A clock that was years ahead is another matter. */
	assert_true(take(&a, &l, 10, 0, at("2020-01-01"), &h, &why));
}

static void
what_the_ledger_knows_is_used(void **state)
{
	const int64_t now = at("2026-05-28T14:00:00Z");
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h;
	struct refusal why;

	(void)state;
	l.most[LIMIT_DAY_TOKENS] = 1000;
	l.budget[PERIOD_MONTH] = 10 * DOLLAR;
	l.fallback[PERIOD_MONTH] = 2 * DOLLAR;
	account_restore_tokens(&a, 999, now);
	account_restore_money(&a, PERIOD_MONTH, 8 * DOLLAR, DOLLAR, now);
	assert_false(take(&a, &l, 1, 1, now, &h, &why));
	assert_true(take(&a, &l, 1, 0, now, &h, &why));
	assert_false(account_take_money(&h, 2 * DOLLAR, true, now, &why));
	assert_int_equal(why.of, REFUSED_FALLBACK);
	assert_true(account_take_money(&h, 2 * DOLLAR, false, now, &why));
}

static void
the_largest_numbers_stop_at_the_largest_number(void **state)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct hold h[2];
	struct refusal why;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(take(&a, &l, INT64_MAX, INT64_MAX, 0, &h[i], &why));
		assert_true(
		    account_take_money(&h[i], INT64_MAX, true, 0, &why));
	}
	assert_int_equal(account_tokens(&a, 0).held, INT64_MAX);
	for (int i = 0; i < 2; i++)
		account_settle(&h[i],
		    &(struct account_use){
			INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
		    0, 0);
	assert_int_equal(account_tokens(&a, 0).held, 0);
	assert_int_equal(account_tokens(&a, 0).used, INT64_MAX);
	assert_int_equal(account_fallback(&a, PERIOD_DAY, 0).used, INT64_MAX);
	assert_true(take(&a, &l, 1, 1, 0, &h[0], &why));
	l.budget[PERIOD_DAY] = INT64_MAX - 1;
	account_release(&h[0], 0, 0);
	assert_true(take(&a, &l, 1, 1, 0, &h[0], &why));
	assert_false(account_take_money(&h[0], INT64_MAX, false, 0, &why));
	assert_true(why.is_final);
}

static int
in_utc(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(of_a_thousand_that_hold_a_tenth_ten_are_let_in),
	    cmocka_unit_test(tokens_of_a_day_are_held_in_the_same_way),
	    cmocka_unit_test(a_refusal_is_final_when_use_alone_leaves_no_room),
	    cmocka_unit_test(zero_admits_nothing),
	    cmocka_unit_test(a_limit_that_appears_later_knows_what_was_used),
	    cmocka_unit_test(a_limit_lowered_under_what_is_used_holds_at_once),
	    cmocka_unit_test(a_rate_is_given_back_as_it_was_taken),
	    cmocka_unit_test(
		all_rates_are_taken_or_none_and_the_longest_wait_is_told),
	    cmocka_unit_test(what_is_released_was_never_there),
	    cmocka_unit_test(a_settled_request_keeps_its_place_among_requests),
	    cmocka_unit_test(counting_tokens_has_a_bucket_of_its_own),
	    cmocka_unit_test(
		a_hold_grows_with_the_running_count_and_never_shrinks),
	    cmocka_unit_test(
		a_second_route_takes_the_place_of_the_first_ones_money),
	    cmocka_unit_test(
		the_budget_that_says_most_about_when_to_come_again_is_named),
	    cmocka_unit_test(
		a_budget_that_is_used_up_is_named_before_one_that_is_held),
	    cmocka_unit_test(a_request_that_spans_midnight_is_yesterdays),
	    cmocka_unit_test(
		money_belongs_to_the_day_in_which_it_was_last_taken),
	    cmocka_unit_test(a_clock_that_is_set_back_forgets_nothing),
	    cmocka_unit_test(what_the_ledger_knows_is_used),
	    cmocka_unit_test(the_largest_numbers_stop_at_the_largest_number),
	};

	return cmocka_run_group_tests(tests, in_utc, NULL);
}
