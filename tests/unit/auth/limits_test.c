/* What may be set as a limit, and which of two statements holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "auth/limits.h"
#include "metering/price.h"

static struct limits
set(const char *name, const char *value)
{
	struct limits l = limits_none();
	struct fault why = {""};
	bool ok = limits_set(&l, slice_of(name), slice_of(value), &why);

	if (!ok)
		print_message("%s: %s\n", name, why.text);
	assert_true(ok);
	return l;
}

static void
expect_refusal(const char *name, const char *value, const char *reason)
{
	struct limits before = limits_none(), l = before;
	struct fault why = {""};

	assert_false(limits_set(&l, slice_of(name), slice_of(value), &why));
	if (strstr(why.text, reason) == NULL)
		print_message("%s=%s: %s\n", name, value, why.text);
	assert_non_null(strstr(why.text, reason));
	assert_memory_equal(&l, &before, sizeof l);
	/* Who does not ask for the reason is told no more than no. */
	assert_false(limits_set(&l, slice_of(name), slice_of(value), NULL));
}

static void
nothing_stated_limits_nothing_and_pays_nothing(void **state)
{
	struct limits l = limits_none();

	(void)state;
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		assert_int_equal(l.most[i], LIMIT_UNLIMITED);
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		assert_true(l.budget[p] == BUDGET_UNLIMITED);
		assert_true(l.fallback[p] == BUDGET_UNLIMITED);
	}
	assert_int_equal(l.reserve_cap, RESERVE_CAP_DEFAULT);
	assert_false(l.paid_routes);
	assert_int_equal(l.stated, 0);
}

static void
every_statement_has_a_bit_of_its_own(void **state)
{
	unsigned all = 0, count = LIMIT_COUNT + 2 * PERIOD_COUNT + 2;

	(void)state;
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		all |= STATED_LIMIT(i);
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		all |= STATED_BUDGET(p) | STATED_FALLBACK(p);
	all |= STATED_RESERVE_CAP | STATED_PAID_ROUTES;
	assert_int_equal(__builtin_popcount(all), count);
	assert_int_equal(all, (1u << count) - 1);
}

static void
each_limit_is_set_by_its_name(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		struct limits l = set(limit_name((enum limit)i), "7");

		for (unsigned j = 0; j < LIMIT_COUNT; j++)
			assert_int_equal(
			    l.most[j], j == i ? 7 : LIMIT_UNLIMITED);
		assert_int_equal(l.stated, STATED_LIMIT(i));
	}
	assert_string_equal(limit_name(LIMIT_REQUESTS), "requests_per_minute");
	assert_string_equal(period_name(PERIOD_WEEK), "week");
}

static void
a_number_may_be_thousands_or_millions_or_unlimited(void **state)
{
	static const struct {
		const char *text;
		uint32_t most;
	} all[] = {{"0", 0}, {"1", 1}, {"200K", 200000}, {"200k", 200000},
	    {"2M", 2000000}, {"1000M", 1000000000}, {"1000000000", 1000000000},
	    {"unlimited", LIMIT_UNLIMITED}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct limits l = set("tokens_per_day", all[i].text);

		assert_int_equal(l.most[LIMIT_DAY_TOKENS], all[i].most);
		assert_int_equal(l.stated, STATED_LIMIT(LIMIT_DAY_TOKENS));
	}
	assert_int_equal(set("reserve_cap", "4K").reserve_cap, 4000);
	assert_int_equal(set("reserve_cap", "0").stated, STATED_RESERVE_CAP);
}

static void
what_is_no_number_is_refused_with_what_would_be(void **state)
{
	static const char *const wrong[] = {"", "K", "-1", "1.5", "2G", "2MM",
	    " 2", "2 ", "many", "Unlimited", "1000000001", "1001M",
	    "4294967295", "99999999999999999999", "18446744073709551616K"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		expect_refusal("concurrent", wrong[i],
		    "a whole number up to 1000000000, also as 200K or 2M, or "
		    "unlimited");
	expect_refusal("reserve_cap", "unlimited", "a whole number up to");
	expect_refusal("paid_routes", "yes", "must be true or false");
	expect_refusal("paid_routes", "", "must be true or false");
	expect_refusal("concurent", "1",
	    "the limits are: requests_per_minute, input_tokens_per_minute, "
	    "output_tokens_per_minute, tokens_per_day, concurrent, "
	    "reserve_cap, paid_routes, budget, cloud_fallback");
	expect_refusal("", "1", "is not a limit");
}

static void
money_is_dollars_and_a_period(void **state)
{
	struct limits l = set("budget", "10/day");

	(void)state;
	assert_true(l.budget[PERIOD_DAY] == 10 * PUSD_PER_USD);
	assert_true(l.budget[PERIOD_WEEK] == BUDGET_UNLIMITED);
	assert_true(l.fallback[PERIOD_DAY] == BUDGET_UNLIMITED);
	assert_int_equal(l.stated, STATED_BUDGET(PERIOD_DAY));
	l = set("budget", "0.000000000001/week");
	assert_true(l.budget[PERIOD_WEEK] == 1);
	l = set("budget", "0/month");
	assert_true(l.budget[PERIOD_MONTH] == 0);
	l = set("budget", "unlimited/month");
	assert_true(l.budget[PERIOD_MONTH] == BUDGET_UNLIMITED);
	assert_int_equal(l.stated, STATED_BUDGET(PERIOD_MONTH));
	l = set("budget", "1000000/day");
	assert_true(l.budget[PERIOD_DAY] == INT64_C(1000000000000000000));
	l = set("cloud_fallback", "0.50/week");
	assert_true(l.fallback[PERIOD_WEEK] == PUSD_PER_USD / 2);
	assert_true(l.budget[PERIOD_WEEK] == BUDGET_UNLIMITED);
	assert_int_equal(l.stated, STATED_FALLBACK(PERIOD_WEEK));
}

static void
money_that_is_unclear_or_too_much_is_refused(void **state)
{
	static const char *const wrong[] = {"", "/", "10", "/day", "10/",
	    "10/year", "10/day/day", "$10/day", "10 /day", "-1/day", "1e3/day",
	    "1000000.000000000001/day", "9223373/day",
	    "99999999999999999999/day", "0.0000000000001/day", "unlimited"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		expect_refusal("budget", wrong[i], "as in 10/day");
		expect_refusal("cloud_fallback", wrong[i], "as in 10/day");
	}
}

static void
settings_add_up(void **state)
{
	struct limits l = set("budget", "10/day");

	(void)state;
	assert_true(limits_set(&l, SLICE("budget"), SLICE("50/month"), NULL));
	assert_true(limits_set(&l, SLICE("paid_routes"), SLICE("true"), NULL));
	assert_true(limits_set(&l, SLICE("budget"), SLICE("20/day"), NULL));
	assert_true(l.budget[PERIOD_DAY] == 20 * PUSD_PER_USD);
	assert_true(l.budget[PERIOD_MONTH] == 50 * PUSD_PER_USD);
	assert_true(l.paid_routes);
	assert_int_equal(l.stated,
	    STATED_BUDGET(PERIOD_DAY) | STATED_BUDGET(PERIOD_MONTH) |
		STATED_PAID_ROUTES);
}

/* All that can be stated, each with a value that differs by `n`. */
static struct limits
everything(uint32_t n, bool paid_routes)
{
	struct limits l = limits_none();

	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		l.most[i] = n + i;
		l.stated |= STATED_LIMIT(i);
	}
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		l.budget[p] = n + 10 + p;
		l.fallback[p] = n + 20 + p;
		l.stated |= STATED_BUDGET(p) | STATED_FALLBACK(p);
	}
	l.reserve_cap = n + 30;
	l.paid_routes = paid_routes;
	l.stated |= STATED_RESERVE_CAP | STATED_PAID_ROUTES;
	return l;
}

/* Of `l`, what the statement with this bit says. */
static int64_t
value(const struct limits *l, unsigned bit)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		if (bit == STATED_LIMIT(i))
			return l->most[i];
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		if (bit == STATED_BUDGET(p))
			return l->budget[p];
		if (bit == STATED_FALLBACK(p))
			return l->fallback[p];
	}
	return bit == STATED_RESERVE_CAP ? l->reserve_cap : l->paid_routes;
}

static void
only_what_is_stated_replaces(void **state)
{
	const struct limits old = everything(100, false),
			    new = everything(200, true), none = limits_none();
	struct limits l = old;

	(void)state;
	limits_replace(&l, &none);
	assert_memory_equal(&l, &old, sizeof l);
	for (unsigned bit = 1; bit <= STATED_PAID_ROUTES; bit <<= 1) {
		struct limits over = new;

		l = old;
		l.stated = 0;
		over.stated = bit;
		limits_replace(&l, &over);
		assert_int_equal(l.stated, bit);
		for (unsigned b = 1; b <= STATED_PAID_ROUTES; b <<= 1)
			assert_true(
			    value(&l, b) == value(b == bit ? &new : &old, b));
	}
}

static void
a_models_statement_lifts_the_users_and_no_other(void **state)
{
	const struct limits user = everything(100, true), none = limits_none();

	(void)state;
	for (unsigned bit = 1; bit < STATED_RESERVE_CAP; bit <<= 1) {
		struct limits own = everything(200, false), l;

		own.stated = bit;
		l = limits_beside(&user, &own);
		assert_int_equal(l.stated, user.stated & ~bit);
		for (unsigned b = 1; b <= STATED_PAID_ROUTES; b <<= 1)
			assert_true(
			    value(&l, b) == value(b == bit ? &none : &user, b));
	}
}

static void
what_counts_nothing_is_as_it_holds_at_the_model(void **state)
{
	const struct limits user = everything(100, true);
	struct limits own = everything(200, false), l;

	(void)state;
	l = limits_beside(&user, &own);
	assert_int_equal(l.reserve_cap, 230);
	assert_false(l.paid_routes);
	own.stated = 0;
	l = limits_beside(&user, &own);
	assert_int_equal(l.reserve_cap, 130);
	assert_true(l.paid_routes);
}

static void
a_rate_is_that_many_a_minute_and_at_once(void **state)
{
	struct limits l = set("input_tokens_per_minute", "10K");
	struct rate_limit r = limits_rate(&l, LIMIT_INPUT_TOKENS);

	(void)state;
	assert_int_equal(r.per_minute, 10000);
	assert_int_equal(r.burst, 10000);
	r = limits_rate(&l, LIMIT_REQUESTS);
	assert_int_equal(r.per_minute, LIMIT_UNLIMITED);
	l = set("requests_per_minute", "0");
	assert_int_equal(limits_rate(&l, LIMIT_REQUESTS).per_minute, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_stated_limits_nothing_and_pays_nothing),
	    cmocka_unit_test(every_statement_has_a_bit_of_its_own),
	    cmocka_unit_test(each_limit_is_set_by_its_name),
	    cmocka_unit_test(
		a_number_may_be_thousands_or_millions_or_unlimited),
	    cmocka_unit_test(what_is_no_number_is_refused_with_what_would_be),
	    cmocka_unit_test(money_is_dollars_and_a_period),
	    cmocka_unit_test(money_that_is_unclear_or_too_much_is_refused),
	    cmocka_unit_test(settings_add_up),
	    cmocka_unit_test(only_what_is_stated_replaces),
	    cmocka_unit_test(a_models_statement_lifts_the_users_and_no_other),
	    cmocka_unit_test(what_counts_nothing_is_as_it_holds_at_the_model),
	    cmocka_unit_test(a_rate_is_that_many_a_minute_and_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
