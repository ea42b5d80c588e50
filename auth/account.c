#include "auth/account.h"

#include <assert.h>
#include <string.h>

#include "base/banned.h"

static const struct account_use nothing = {0};

static int64_t
add_capped(int64_t a, int64_t b)
{
	int64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* --- sums of a period ---------------------------------------------------- */

/* A new period begins empty; what is still held belongs to the old one.  A
 * clock that is set back by less than a period opens none: nothing is
 * forgotten. */
static void
meter_roll(struct meter *m, enum period p, int64_t wall_ms)
{
	const struct span *s = &m->span;

	if (wall_ms < s->end_ms &&
	    wall_ms >= s->begin_ms - (s->end_ms - s->begin_ms))
		return;
	*m = (struct meter){.span = calendar_span(p, wall_ms)};
}

static void
roll(struct account *a, int64_t wall_ms)
{
	meter_roll(&a->tokens, PERIOD_DAY, wall_ms);
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		meter_roll(&a->money[p], (enum period)p, wall_ms);
		meter_roll(&a->fallback[p], (enum period)p, wall_ms);
	}
}

/* Puts `is` in the place of `was` among what is held, and counts `used`;
 * nothing if the period that began at `begin_ms` is over. */
static void
meter_change(
    struct meter *m, int64_t begin_ms, int64_t was, int64_t is, int64_t used)
{
	if (m->span.begin_ms != begin_ms)
		return;
	m->held = add_capped(larger(m->held - was, 0), is);
	m->used = add_capped(m->used, used);
}

/* Whether `needed` fits beside what is used and held; if not, *why gets all but
 * whose and which limit it is. */
static bool
fits(const struct meter *m, int64_t needed, int64_t most, struct refusal *why)
{
	int64_t alone = add_capped(m->used, needed);

	if (most == BUDGET_UNLIMITED ||
	    (m->used < most && add_capped(alone, m->held) <= most))
		return true;
	why->is_final = m->used >= most || alone > most;
	why->used = m->used;
	why->held = m->held;
	why->needed = needed;
	why->most = most;
	why->resets_ms = m->span.end_ms;
	return false;
}

/* --- requests and tokens ------------------------------------------------- */

static int64_t
tokens_of(const struct hold *h)
{
	return add_capped(h->input, h->output);
}

/* Takes one rate; a wait that is longer than that of *why replaces it. */
static void
take_rate(struct limiter *rate, const struct limits *l, enum limit which,
    int64_t cost, uint64_t now_ns, struct refusal *why)
{
	struct rate_limit limit = limits_rate(l, which);
	uint64_t wait = limiter_take(rate, limit, (uint64_t)cost, now_ns);

	if (wait <= why->wait_ns)
		return;
	why->limit = which;
	why->needed = cost;
	why->most = limit.per_minute;
	why->wait_ns = wait;
	why->is_final = wait == LIMITER_NEVER;
}

static bool
take_rates(struct account *a, const struct limits *l,
    const struct account_ask *ask, uint64_t now_ns, struct refusal *why)
{
	struct limiter rates[LIMIT_COUNT];

	memcpy(rates, a->rates, sizeof rates);
	take_rate(&rates[LIMIT_REQUESTS], l, LIMIT_REQUESTS, 1, now_ns, why);
	take_rate(&rates[LIMIT_INPUT_TOKENS], l, LIMIT_INPUT_TOKENS, ask->input,
	    now_ns, why);
	take_rate(&rates[LIMIT_OUTPUT_TOKENS], l, LIMIT_OUTPUT_TOKENS,
	    ask->output, now_ns, why);
	if (why->wait_ns > 0)
		return false;
	memcpy(a->rates, rates, sizeof rates);
	return true;
}

static bool
take_day_tokens(const struct account *a, const struct limits *l,
    const struct account_ask *ask, struct refusal *why)
{
	uint32_t most = l->most[LIMIT_DAY_TOKENS];

	why->limit = LIMIT_DAY_TOKENS;
	why->period = PERIOD_DAY;
	return fits(&a->tokens, add_capped(ask->input, ask->output),
	    most == LIMIT_UNLIMITED ? BUDGET_UNLIMITED : most, why);
}

bool
account_take(struct account *a, const struct limits *l,
    const struct account_ask *ask, uint64_t now_ns, int64_t wall_ms,
    struct hold *h, struct refusal *why)
{
	*h = (struct hold){0};
	*why = (struct refusal){.of = REFUSED_LIMIT, .account = a};
	if (ask->is_counting) {
		take_rate(&a->counting, l, LIMIT_REQUESTS, 1, now_ns, why);
		if (why->wait_ns > 0)
			return false;
		*h = (struct hold){
		    .account = a, .limits = *l, .is_counting = true};
		return true;
	}
	roll(a, wall_ms);
	if (!take_day_tokens(a, l, ask, why) ||
	    !take_rates(a, l, ask, now_ns, why))
		return false;
	*h = (struct hold){.account = a,
	    .limits = *l,
	    .has_request = true,
	    .input = ask->input,
	    .output = ask->output,
	    .day_begin_ms = a->tokens.span.begin_ms};
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		h->money_begin_ms[p] = a->money[p].span.begin_ms;
	meter_change(&a->tokens, h->day_begin_ms, 0, tokens_of(h), 0);
	return true;
}

/* --- money --------------------------------------------------------------- */

static int64_t
fallback_of(const struct hold *h)
{
	return h->is_fallback ? h->money : 0;
}

/* Puts what `held` has, and what was used, in the place of what *h has. */
static void
replace(const struct hold *h, const struct hold *held,
    const struct account_use *used)
{
	struct account *a = h->account;

	meter_change(&a->tokens, h->day_begin_ms, tokens_of(h), tokens_of(held),
	    add_capped(used->input, used->output));
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		meter_change(&a->money[p], h->money_begin_ms[p], h->money,
		    held->money, used->pusd);
		meter_change(&a->fallback[p], h->money_begin_ms[p],
		    fallback_of(h), fallback_of(held), used->fallback_pusd);
	}
}

/* Keeps in *worst the refusal that says most about when to come again. */
static void
keep_worse(struct refusal *worst, const struct refusal *r)
{
	if (worst->account == NULL || r->is_final > worst->is_final ||
	    (r->is_final == worst->is_final && r->resets_ms > worst->resets_ms))
		*worst = *r;
}

static bool
money_fits(const struct account *a, const struct limits *l, int64_t pusd,
    bool is_fallback, struct refusal *worst)
{
	*worst = (struct refusal){0};
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		struct refusal r = {.of = REFUSED_BUDGET,
		    .period = (enum period)p,
		    .account = a};

		if (!fits(&a->money[p], pusd, l->budget[p], &r))
			keep_worse(worst, &r);
		r.of = REFUSED_FALLBACK;
		if (is_fallback &&
		    !fits(&a->fallback[p], pusd, l->fallback[p], &r))
			keep_worse(worst, &r);
	}
	return worst->account == NULL;
}

bool
account_take_money(struct hold *h, int64_t pusd, bool is_fallback,
    int64_t wall_ms, struct refusal *why)
{
	struct account *a = h->account;
	struct hold without = *h;

	assert(a != NULL && !h->is_counting);
	roll(a, wall_ms);
	without.money = 0;
	replace(h, &without, &nothing);
	if (!money_fits(a, &h->limits, pusd, is_fallback, why)) {
		replace(&without, h, &nothing);
		return false;
	}
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		without.money_begin_ms[p] = a->money[p].span.begin_ms;
	*h = without;
	h->money = pusd;
	h->is_fallback = is_fallback;
	replace(&without, h, &nothing);
	return true;
}

/* --- what becomes of a hold ---------------------------------------------- */

static void
adjust_rate(
    const struct hold *h, enum limit which, int64_t delta, uint64_t now_ns)
{
	limiter_adjust(&h->account->rates[which],
	    limits_rate(&h->limits, which), delta, now_ns);
}

/* The tokens of the minute: so many instead of what *h has. */
static void
adjust_tokens(
    const struct hold *h, int64_t input, int64_t output, uint64_t now_ns)
{
	adjust_rate(h, LIMIT_INPUT_TOKENS, input - h->input, now_ns);
	adjust_rate(h, LIMIT_OUTPUT_TOKENS, output - h->output, now_ns);
}

void
account_grow(struct hold *h, int64_t input, int64_t output, int64_t pusd,
    uint64_t now_ns, int64_t wall_ms)
{
	struct hold grown = *h;

	if (h->account == NULL || h->is_counting)
		return;
	grown.input = larger(h->input, input);
	grown.output = larger(h->output, output);
	grown.money = larger(h->money, pusd);
	adjust_tokens(h, grown.input, grown.output, now_ns);
	roll(h->account, wall_ms);
	replace(h, &grown, &nothing);
	*h = grown;
}

void
account_settle(struct hold *h, const struct account_use *use, uint64_t now_ns,
    int64_t wall_ms)
{
	if (h->account != NULL && !h->is_counting) {
		adjust_tokens(h, use->input, use->output, now_ns);
		roll(h->account, wall_ms);
		replace(h, &(struct hold){0}, use);
	}
	*h = (struct hold){0};
}

void
account_release(struct hold *h, uint64_t now_ns, int64_t wall_ms)
{
	if (h->has_request)
		adjust_rate(h, LIMIT_REQUESTS, -1, now_ns);
	if (h->is_counting)
		limiter_adjust(&h->account->counting,
		    limits_rate(&h->limits, LIMIT_REQUESTS), -1, now_ns);
	account_settle(h, &nothing, now_ns, wall_ms);
}

/* --- what the ledger and people want ------------------------------------- */

void
account_restore_tokens(struct account *a, int64_t day_tokens, int64_t wall_ms)
{
	roll(a, wall_ms);
	a->tokens.used = larger(a->tokens.used, day_tokens);
}

void
account_restore_money(struct account *a, enum period p, int64_t pusd,
    int64_t fallback_pusd, int64_t wall_ms)
{
	roll(a, wall_ms);
	a->money[p].used = larger(a->money[p].used, pusd);
	a->fallback[p].used = larger(a->fallback[p].used, fallback_pusd);
}

struct meter
account_tokens(const struct account *a, int64_t wall_ms)
{
	struct meter m = a->tokens;

	meter_roll(&m, PERIOD_DAY, wall_ms);
	return m;
}

struct meter
account_money(const struct account *a, enum period p, int64_t wall_ms)
{
	struct meter m = a->money[p];

	meter_roll(&m, p, wall_ms);
	return m;
}

struct meter
account_fallback(const struct account *a, enum period p, int64_t wall_ms)
{
	struct meter m = a->fallback[p];

	meter_roll(&m, p, wall_ms);
	return m;
}
