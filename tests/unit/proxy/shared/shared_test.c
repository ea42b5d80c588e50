#include "proxy/shared/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

/* Nobody listens there. */
static const struct redis_options nowhere = {.is_unix = true,
    .path = "/nonexistent/redis.sock",
    .prefix = "weir",
    .name = "one"};

struct fixture {
	struct event_base *base;
	struct shared *shared;
	struct limits limits;
	struct shared_answer answer;
	unsigned answers;
};

static bool
whole(void *arg, struct redis_whole *out)
{
	(void)arg;
	(void)out;
	return false;
}

static bool
has_counted(void *arg, uint64_t ago_ms)
{
	(void)arg;
	return ago_ms == 0;
}

static int
set_up(void **state)
{
	static struct fixture f;
	struct shared_options o = {.redis = &nowhere,
	    .gateway = "one",
	    .writer = "01K9W00000000000000000000A",
	    .whole = whole,
	    .has_counted = has_counted};
	struct fault why;

	f = (struct fixture){.base = event_base_new()};
	f.limits = limits_none();
	f.shared = shared_create(f.base, &o, &why);
	*state = &f;
	return f.shared == NULL;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	shared_destroy(&f->shared);
	event_base_free(f->base);
	return 0;
}

static void
on_answer(void *arg, const struct shared_answer *a)
{
	struct fixture *f = arg;

	f->answer = *a;
	f->answers++;
	event_base_loopbreak(f->base);
}

static struct shared_claim *
admit(struct fixture *f)
{
	struct shared_ask ask = {.id = "01K9W00000000000000000000B",
	    .subjects = {{"user:alice", &f->limits}},
	    .count = 1,
	    .tokens = {.input = 10, .output = 20},
	    .day = {0, 86400000}};

	return shared_admit(f->shared, &ask, on_answer, f);
}

static void
without_redis_it_is_unknown_in_time_and_then_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t begun = clock_mono_ns();
	struct shared_claim *c;

	for (unsigned i = 1; i <= 3; i++) {
		f->limits.most[LIMIT_REQUESTS] = 10;
		c = admit(f);
		assert_int_equal(f->answers, i - 1); /* not from inside */
		event_base_dispatch(f->base);
		assert_int_equal(f->answers, i);
		assert_int_equal(f->answer.verdict, SHARED_UNKNOWN);
		assert_int_equal(f->answer.gateways, 1);
		shared_settle(&c, NULL, false);
		assert_null(c);
	}
	assert_true(
	    clock_mono_ns() - begun < 2 * SHARED_DEADLINE_MS * NS_PER_MS);
	assert_false(shared_is_up(f->shared));
}

static void
what_is_not_limited_needs_no_redis(void **state)
{
	struct fixture *f = *state;
	struct shared_price price = {.pusd = 5};
	struct shared_claim *c = admit(f);

	event_base_dispatch(f->base);
	assert_int_equal(f->answer.verdict, SHARED_OK);
	assert_int_equal(f->answer.quotas.input.limit, LIMIT_UNLIMITED);
	shared_pay(c, &price, on_answer, f);
	event_base_dispatch(f->base);
	assert_int_equal(f->answer.verdict, SHARED_OK);
	shared_slot_take(c, 0, on_answer, f);
	event_base_dispatch(f->base);
	assert_int_equal(f->answer.verdict, SHARED_OK);
	assert_int_equal(f->answers, 3);
	shared_slot_give(c);
	shared_settle(&c, NULL, true);
	assert_int_equal(shared_claims(f->shared), 0);
}

static void
money_is_unknown_as_long_as_sums_are_not_whole(void **state)
{
	struct fixture *f = *state;
	struct shared_price price = {.pusd = 5};
	struct shared_claim *c;

	f->limits.budget[PERIOD_DAY] = 1000;
	c = admit(f);
	event_base_dispatch(f->base);
	assert_int_equal(f->answer.verdict, SHARED_OK);
	shared_pay(c, &price, on_answer, f);
	assert_int_equal(f->answers, 1);
	event_base_dispatch(f->base);
	assert_int_equal(f->answers, 2);
	assert_int_equal(f->answer.verdict, SHARED_UNKNOWN);
	shared_settle(&c, NULL, false);
}

static void
who_has_gone_gets_no_answer(void **state)
{
	struct fixture *f = *state;
	struct shared_claim *c, *other;

	f->limits.most[LIMIT_REQUESTS] = 10;
	c = admit(f);
	shared_settle(&c, NULL, false);
	other = admit(f);
	event_base_dispatch(f->base);
	assert_int_equal(f->answers, 1); /* the other one's */
	shared_settle(&other, NULL, false);
}

static void
claims_that_are_left_go_with_it(void **state)
{
	struct fixture *f = *state;

	f->limits.most[LIMIT_REQUESTS] = 10;
	assert_non_null(admit(f));
	assert_int_equal(shared_claims(f->shared), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(without_redis_it_is_unknown_in_time_and_then_at_once),
	    TEST(what_is_not_limited_needs_no_redis),
	    TEST(money_is_unknown_as_long_as_sums_are_not_whole),
	    TEST(who_has_gone_gets_no_answer),
	    TEST(claims_that_are_left_go_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
