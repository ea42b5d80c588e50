/* A hundred thousand arrivals against a model that is slow and obvious: it
 * keeps every open request in one list and every charge in another, and adds
 * them up whenever it is asked. */
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
#include "../seeded.h"

#define SEED UINT64_C(20261122)
#define ARRIVALS 100000
#define ACCOUNTS 3
#define OPEN_MOST 40
#define CHARGES_MOST 20000
#define MINUTE_NS UINT64_C(60000000000)

enum sum {
	SUM_TOKENS,
	SUM_MONEY, /* of PERIOD_DAY, and so on */
	SUM_FALLBACK = SUM_MONEY + PERIOD_COUNT,
	SUM_COUNT = SUM_FALLBACK + PERIOD_COUNT,
};

/* What was used, of one sum, of one account, in one period. */
struct charge {
	int account;
	enum sum sum;
	int64_t begin_ms;
	int64_t used;
};

/* An open request, as the model and the code know it. */
struct request {
	bool is_open;
	int account;
	struct limits limits; /* at its admission */
	int64_t input, output, money;
	bool is_fallback;
	int64_t begin_ms[SUM_COUNT];
	struct hold hold;
};

/* A bucket as one would explain it: what is missing in it runs back in. */
struct bucket {
	uint64_t missing_ns, seen_ns;
};

struct world {
	struct seeded random;
	int step;
	uint64_t now_ns;
	int64_t wall_ms;
	struct account accounts[ACCOUNTS];
	struct limits limits[ACCOUNTS];
	struct bucket buckets[ACCOUNTS][LIMIT_DAY_TOKENS];
	struct request requests[OPEN_MOST];
	struct charge charges[CHARGES_MOST];
	size_t charge_count;
	unsigned let_in, paid, refused, refused_money, spanned;
};

#define HOLDS(w, what)                                                   \
	do {                                                             \
		if (!(what))                                             \
			fail_msg("seed %llu, step %d: not: %s",          \
			    (unsigned long long)SEED, (w)->step, #what); \
	} while (0)

static size_t
below(struct world *w, size_t n)
{
	return seeded_below(&w->random, n);
}

static int64_t
amount(struct world *w)
{
	return (int64_t)below(w, below(w, 20) == 0 ? 6000 : 300);
}

/* --- the model ----------------------------------------------------------- */

static enum period
period_of(enum sum s)
{
	return s == SUM_TOKENS ? PERIOD_DAY
			       : (enum period)((s - SUM_MONEY) % PERIOD_COUNT);
}

static int64_t
held_by(const struct request *r, enum sum s)
{
	if (s == SUM_TOKENS)
		return r->input + r->output;
	return s < SUM_FALLBACK || r->is_fallback ? r->money : 0;
}

static int64_t
begin_now(const struct world *w, enum sum s)
{
	return calendar_span(period_of(s), w->wall_ms).begin_ms;
}

static int64_t
model_used(const struct world *w, int account, enum sum s)
{
	int64_t begin = begin_now(w, s);

	for (size_t i = w->charge_count; i > 0; i--) {
		const struct charge *c = &w->charges[i - 1];

		if (c->account == account && c->sum == s &&
		    c->begin_ms == begin)
			return c->used;
	}
	return 0;
}

/* By all but `but`, which may be NULL. */
static int64_t
model_held(
    const struct world *w, int account, enum sum s, const struct request *but)
{
	int64_t held = 0, begin = begin_now(w, s);

	for (size_t i = 0; i < OPEN_MOST; i++) {
		const struct request *r = &w->requests[i];

		if (r->is_open && r != but && r->account == account &&
		    r->begin_ms[s] == begin)
			held += held_by(r, s);
	}
	return held;
}

static void
model_charge(
    struct world *w, int account, enum sum s, int64_t begin_ms, int64_t used)
{
	for (size_t i = w->charge_count; i > 0; i--) {
		struct charge *c = &w->charges[i - 1];

		if (c->account == account && c->sum == s &&
		    c->begin_ms == begin_ms) {
			c->used += used;
			return;
		}
	}
	HOLDS(w, w->charge_count < CHARGES_MOST);
	w->charges[w->charge_count++] =
	    (struct charge){account, s, begin_ms, used};
}

static bool
model_fits(const struct world *w, int account, enum sum s,
    const struct request *but, int64_t needed, int64_t most)
{
	int64_t used = model_used(w, account, s);

	return most == BUDGET_UNLIMITED ||
	    (used < most &&
		used + model_held(w, account, s, but) + needed <= most);
}

static uint64_t
model_cells(uint32_t per_minute, int64_t count)
{
	uint64_t one = MINUTE_NS / per_minute + (MINUTE_NS % per_minute != 0);

	return one * (uint64_t)count;
}

static uint64_t
model_missing(const struct world *w, int account, int which)
{
	const struct bucket *b = &w->buckets[account][which];
	uint64_t back = w->now_ns - b->seen_ns;

	return b->missing_ns > back ? b->missing_ns - back : 0;
}

static bool
model_may(const struct world *w, int account, int which, int64_t cost)
{
	uint32_t rate = w->limits[account].most[which];
	uint64_t missing = model_missing(w, account, which);

	if (rate == LIMIT_UNLIMITED)
		return true;
	if (cost > rate)
		return rate != 0 && missing == 0;
	return rate != 0 &&
	    (cost == 0 ||
		missing + model_cells(rate, cost) <= model_cells(rate, rate));
}

static void
model_pour(
    struct world *w, int account, int which, uint32_t rate, int64_t delta)
{
	uint64_t missing = model_missing(w, account, which), change;

	if (rate == LIMIT_UNLIMITED || rate == 0)
		return;
	change = model_cells(rate, delta < 0 ? -delta : delta);
	if (delta >= 0)
		missing += change;
	else
		missing -= change < missing ? change : missing;
	w->buckets[account][which] = (struct bucket){missing, w->now_ns};
}

/* --- what happens -------------------------------------------------------- */

static void
pass_time(struct world *w)
{
	uint64_t ms = 0;
	int64_t end;

	switch (below(w, 200)) {
	case 0: /* to the first moment of a period, or the last of one */
		end =
		    calendar_span((enum period)below(w, 2), w->wall_ms).end_ms;
		ms = (uint64_t)(end - w->wall_ms) - below(w, 2);
		break;
	case 1:
		ms = below(w, 6 * 3600 * 1000);
		break;
	default:
		ms = below(w, 4) == 0 ? below(w, 5000) : 0;
		break;
	}
	w->wall_ms += (int64_t)ms;
	w->now_ns += ms * NS_PER_MS + (ms == 0 ? 0 : below(w, NS_PER_MS));
}

/* Limits come, go, are raised and lowered while requests run. */
static void
reload(struct world *w)
{
	static const uint32_t rates[] = {
	    LIMIT_UNLIMITED, 0, 7, 60, 1000, 20000};
	static const uint32_t days[] = {LIMIT_UNLIMITED, 0, 4000, 40000};
	static const int64_t budgets[] = {
	    BUDGET_UNLIMITED, 0, 3000, 30000, 300000};
	struct limits l = limits_none();

	for (int i = 0; i < LIMIT_DAY_TOKENS; i++)
		if (below(w, 2) == 0)
			l.most[i] = rates[below(w, COUNT_OF(rates))];
	l.most[LIMIT_DAY_TOKENS] = days[below(w, COUNT_OF(days))];
	for (int p = 0; p < PERIOD_COUNT; p++) {
		l.budget[p] = budgets[below(w, COUNT_OF(budgets))];
		l.fallback[p] = budgets[below(w, COUNT_OF(budgets))];
	}
	w->limits[below(w, ACCOUNTS)] = l;
}

static void
check_account(const struct world *w, int account)
{
	const struct account *a = &w->accounts[account];

	for (int i = 0; i < SUM_COUNT; i++) {
		enum sum s = (enum sum)i;
		enum period p = period_of(s);
		struct meter m = s == SUM_TOKENS ? account_tokens(a, w->wall_ms)
		    : s < SUM_FALLBACK ? account_money(a, p, w->wall_ms)
				       : account_fallback(a, p, w->wall_ms);

		HOLDS(w, m.span.begin_ms == begin_now(w, s));
		HOLDS(w, m.used == model_used(w, account, s));
		HOLDS(w, m.held == model_held(w, account, s, NULL));
	}
	for (int i = 0; i < LIMIT_DAY_TOKENS; i++) {
		struct rate_limit some = {60, 60};

		HOLDS(w,
		    limiter_reset_ns(&a->rates[i], some, w->now_ns) ==
			model_missing(w, account, i));
	}
}

static void
arrive(struct world *w, struct request *r)
{
	int who = (int)below(w, ACCOUNTS);
	struct account_ask ask = {.input = amount(w), .output = amount(w)};
	const struct limits *l = &w->limits[who];
	uint32_t day = l->most[LIMIT_DAY_TOKENS];
	bool fits = model_fits(w, who, SUM_TOKENS, NULL, ask.input + ask.output,
	    day == LIMIT_UNLIMITED ? BUDGET_UNLIMITED : day);
	bool may = fits && model_may(w, who, LIMIT_REQUESTS, 1) &&
	    model_may(w, who, LIMIT_INPUT_TOKENS, ask.input) &&
	    model_may(w, who, LIMIT_OUTPUT_TOKENS, ask.output);
	struct refusal why;

	HOLDS(w,
	    account_take(&w->accounts[who], l, &ask, w->now_ns, w->wall_ms,
		&r->hold, &why) == may);
	if (!may) {
		HOLDS(w, why.account == &w->accounts[who]);
		HOLDS(w, (why.limit == LIMIT_DAY_TOKENS) == !fits);
		HOLDS(w, fits == (why.wait_ns > 0));
		w->refused++;
		return;
	}
	w->let_in++;
	*r = (struct request){.is_open = true,
	    .account = who,
	    .limits = *l,
	    .input = ask.input,
	    .output = ask.output,
	    .hold = r->hold};
	for (int s = 0; s < SUM_COUNT; s++)
		r->begin_ms[s] = begin_now(w, (enum sum)s);
	model_pour(w, who, LIMIT_REQUESTS, l->most[LIMIT_REQUESTS], 1);
	model_pour(
	    w, who, LIMIT_INPUT_TOKENS, l->most[LIMIT_INPUT_TOKENS], ask.input);
	model_pour(w, who, LIMIT_OUTPUT_TOKENS, l->most[LIMIT_OUTPUT_TOKENS],
	    ask.output);
}

static void
pay(struct world *w, struct request *r)
{
	int64_t pusd = amount(w);
	bool is_fallback = below(w, 2) == 0, fits = true;
	struct refusal why;

	for (int p = 0; p < PERIOD_COUNT; p++) {
		fits = fits &&
		    model_fits(w, r->account, (enum sum)(SUM_MONEY + p), r,
			pusd, r->limits.budget[p]);
		fits = fits &&
		    (!is_fallback ||
			model_fits(w, r->account, (enum sum)(SUM_FALLBACK + p),
			    r, pusd, r->limits.fallback[p]));
	}
	HOLDS(w,
	    account_take_money(&r->hold, pusd, is_fallback, w->wall_ms, &why) ==
		fits);
	if (!fits) {
		enum sum s = (enum sum)(why.period +
		    (why.of == REFUSED_BUDGET ? SUM_MONEY : SUM_FALLBACK));
		int64_t used = model_used(w, r->account, s);

		HOLDS(w, why.used == used && why.needed == pusd);
		HOLDS(w, why.held == model_held(w, r->account, s, r));
		HOLDS(w,
		    why.is_final ==
			(used >= why.most || used + pusd > why.most));
		w->refused_money++;
		return;
	}
	w->paid++;
	r->money = pusd;
	r->is_fallback = is_fallback;
	for (int s = SUM_MONEY; s < SUM_COUNT; s++)
		r->begin_ms[s] = begin_now(w, (enum sum)s);
}

static void
pour_tokens(
    struct world *w, const struct request *r, int64_t input, int64_t output)
{
	model_pour(w, r->account, LIMIT_INPUT_TOKENS,
	    r->limits.most[LIMIT_INPUT_TOKENS], input - r->input);
	model_pour(w, r->account, LIMIT_OUTPUT_TOKENS,
	    r->limits.most[LIMIT_OUTPUT_TOKENS], output - r->output);
}

static void
grow(struct world *w, struct request *r)
{
	int64_t input = r->input + (int64_t)below(w, 50);
	int64_t output = r->output + (int64_t)below(w, 500);
	int64_t money = r->money + (int64_t)below(w, 50);

	account_grow(&r->hold, input, output, money, w->now_ns, w->wall_ms);
	pour_tokens(w, r, input, output);
	r->input = input;
	r->output = output;
	r->money = money;
}

static void
settle(struct world *w, struct request *r)
{
	struct account_use use = {amount(w), amount(w), amount(w), 0};

	use.fallback_pusd = (int64_t)below(w, (size_t)use.pusd + 1);
	account_settle(&r->hold, &use, w->now_ns, w->wall_ms);
	HOLDS(w, r->hold.account == NULL);
	pour_tokens(w, r, use.input, use.output);
	w->spanned += r->begin_ms[SUM_TOKENS] != begin_now(w, SUM_TOKENS);
	for (int i = 0; i < SUM_COUNT; i++)
		model_charge(w, r->account, (enum sum)i, r->begin_ms[i],
		    i == SUM_TOKENS        ? use.input + use.output
			: i < SUM_FALLBACK ? use.pusd
					   : use.fallback_pusd);
	r->is_open = false;
}

static void
release(struct world *w, struct request *r)
{
	account_release(&r->hold, w->now_ns, w->wall_ms);
	model_pour(
	    w, r->account, LIMIT_REQUESTS, r->limits.most[LIMIT_REQUESTS], -1);
	pour_tokens(w, r, 0, 0);
	r->is_open = false;
}

static void
happen(struct world *w)
{
	struct request *r = &w->requests[below(w, OPEN_MOST)];

	if (!r->is_open) {
		arrive(w, r);
		return;
	}
	switch (below(w, 8)) {
	case 0:
	case 1:
	case 2:
		pay(w, r);
		break;
	case 3:
		grow(w, r);
		break;
	case 4:
		release(w, r);
		break;
	default:
		settle(w, r);
		break;
	}
}

static void
accounts_are_what_adding_up_everything_gives(void **state)
{
	struct world *w = xcalloc(sizeof *w);

	(void)state;
	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	w->random.state = SEED;
	HOLDS(w, clock_parse(slice_of("2026-01-30T12:00:00Z"), &w->wall_ms));
	w->now_ns = MINUTE_NS;
	for (int i = 0; i < ACCOUNTS; i++)
		w->limits[i] = limits_none();
	while (w->let_in + w->refused < ARRIVALS) {
		w->step++;
		pass_time(w);
		if (below(w, 100) == 0)
			reload(w);
		happen(w);
		check_account(w, (int)below(w, ACCOUNTS));
	}
	for (size_t i = 0; i < OPEN_MOST; i++)
		if (w->requests[i].is_open)
			settle(w, &w->requests[i]);
	for (int i = 0; i < ACCOUNTS; i++) {
		check_account(w, i);
		for (int s = 0; s < SUM_COUNT; s++)
			HOLDS(w, model_held(w, i, (enum sum)s, NULL) == 0);
	}
	/* It has met what it is about. */
	HOLDS(w, w->let_in > ARRIVALS / 10 && w->refused > ARRIVALS / 10);
	HOLDS(w, w->paid > 1000 && w->refused_money > 1000);
	HOLDS(w, w->spanned > 100);
	free(w);
}

/* --- the bound ----------------------------------------------------------- */

struct open {
	struct hold hold;
	int64_t then; /* what it held when one was let in last */
};

static int64_t
excess(int64_t actual, int64_t held)
{
	return actual > held ? actual - held : 0;
}

/* One budget in one period, and answers that mostly cost more than was held for
 * them: it is overrun at most by that much, of what was in flight when the last
 * one was let in. */
static void
check_overshoot(struct seeded *random, int64_t most, unsigned *overshot)
{
	struct limits l = limits_none();
	struct account a = {0};
	struct open open[OPEN_MOST] = {0};
	int64_t over = 0, used = 0;

	l.budget[PERIOD_MONTH] = most;
	for (int i = 0; i < 2000; i++) {
		struct open *o = &open[seeded_below(random, OPEN_MOST)];
		int64_t pusd = (int64_t)seeded_below(random, 1000);
		struct account_ask ask = {.input = 1};
		struct refusal why;

		if (o->hold.account == NULL) {
			assert_true(
			    account_take(&a, &l, &ask, 0, 0, &o->hold, &why));
			if (!account_take_money(
				&o->hold, pusd, false, 0, &why)) {
				account_release(&o->hold, 0, 0);
				continue;
			}
			over = 0;
			for (size_t k = 0; k < OPEN_MOST; k++)
				open[k].then = open[k].hold.money;
		} else if (seeded_below(random, 3) == 0) {
			account_grow(&o->hold, 1, 1, pusd, 0, 0);
		} else {
			int64_t actual = pusd * 2;

			over += excess(actual, o->then);
			used += actual;
			account_settle(&o->hold,
			    &(struct account_use){1, 1, actual, 0}, 0, 0);
		}
		if (used > most + over)
			fail_msg("seed %llu, budget %lld, step %d: overrun",
			    (unsigned long long)SEED, (long long)most, i);
		assert_int_equal(account_money(&a, PERIOD_MONTH, 0).used, used);
	}
	*overshot += used > most;
}

static void
a_budget_is_overrun_at_most_by_what_was_in_flight(void **state)
{
	struct seeded random = {SEED};
	unsigned overshot = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		check_overshoot(&random,
		    1 + (int64_t)seeded_below(&random, 200000), &overshot);
	assert_true(overshot > 10);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accounts_are_what_adding_up_everything_gives),
	    cmocka_unit_test(a_budget_is_overrun_at_most_by_what_was_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
