#include "auth/limits.h"

#include <assert.h>
#include <string.h>

#include "metering/price.h"

#include "base/banned.h"

static const char *const limit_names[] = {
#define X(name, text, what) text,
    LIMITS(X)
#undef X
};

static const char *const period_names[] = {
#define X(name, text, now) text,
    PERIODS(X)
#undef X
};

const char *
limit_name(enum limit l)
{
	return limit_names[l];
}

const char *
period_name(enum period p)
{
	return period_names[p];
}

struct limits
limits_none(void)
{
	struct limits l = {.reserve_cap = RESERVE_CAP_DEFAULT};

	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		l.most[i] = LIMIT_UNLIMITED;
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		l.budget[p] = l.fallback[p] = BUDGET_UNLIMITED;
	return l;
}

void
limits_replace(struct limits *l, const struct limits *over)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		if (over->stated & STATED_LIMIT(i))
			l->most[i] = over->most[i];
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		if (over->stated & STATED_BUDGET(p))
			l->budget[p] = over->budget[p];
		if (over->stated & STATED_FALLBACK(p))
			l->fallback[p] = over->fallback[p];
	}
	if (over->stated & STATED_RESERVE_CAP)
		l->reserve_cap = over->reserve_cap;
	if (over->stated & STATED_PAID_ROUTES)
		l->paid_routes = over->paid_routes;
	l->stated |= over->stated;
}

struct limits
limits_beside(const struct limits *user, const struct limits *own)
{
	struct limits lifted = limits_none(), l = *user;

	lifted.reserve_cap = own->reserve_cap;
	lifted.paid_routes = own->paid_routes;
	lifted.stated = own->stated;
	limits_replace(&l, &lifted);
	l.stated = user->stated & ~own->stated;
	return l;
}

struct rate_limit
limits_rate(const struct limits *l, enum limit which)
{
	assert(which < LIMIT_DAY_TOKENS);
	return (struct rate_limit){l->most[which], l->most[which]};
}

/* A whole number, also as "200K" or "2M", or "unlimited". */
static bool
read_count(
    struct slice value, bool may_be_unlimited, uint32_t *out, struct fault *why)
{
	struct slice digits = value;
	char last = value.len > 1 ? value.p[value.len - 1] : '\0';
	uint64_t scale = last == 'k' || last == 'K' ? 1000
	    : last == 'M'                           ? 1000000
						    : 1;
	uint64_t n;

	if (may_be_unlimited && slice_is(value, "unlimited")) {
		*out = LIMIT_UNLIMITED;
		return true;
	}
	digits.len -= scale > 1;
	if (!text_to_u64(digits, LIMIT_MOST / scale, &n))
		return fault_set(why,
		    "must be a whole number up to %d, also as 200K or 2M%s",
		    LIMIT_MOST, may_be_unlimited ? ", or unlimited" : "");
	*out = (uint32_t)(n * scale);
	return true;
}

static bool
read_usd(struct slice value, int64_t *out)
{
	__int128 pusd;

	if (slice_is(value, "unlimited")) {
		*out = BUDGET_UNLIMITED;
		return true;
	}
	if (!money_parse(value, &pusd) || pusd < 0 ||
	    pusd > (__int128)BUDGET_MOST_USD * PUSD_PER_USD)
		return false;
	*out = (int64_t)pusd;
	return true;
}

/* "10/day": dollars, and in which time. */
static bool
set_budget(
    struct limits *l, bool is_fallback, struct slice value, struct fault *why)
{
	const char *slash =
	    value.len == 0 ? NULL : memchr(value.p, '/', value.len);
	int64_t *budget = is_fallback ? l->fallback : l->budget;

	for (unsigned p = 0; slash != NULL && p < PERIOD_COUNT; p++) {
		size_t n = (size_t)(slash - value.p);
		struct slice usd = {value.p, n},
			     per = {slash + 1, value.len - n - 1};

		if (slice_is(per, period_names[p]) &&
		    read_usd(usd, &budget[p])) {
			l->stated |=
			    is_fallback ? STATED_FALLBACK(p) : STATED_BUDGET(p);
			return true;
		}
	}
	return fault_set(why,
	    "must be dollars up to %d or unlimited, and day, week or month, "
	    "as in 10/day or 0.50/week",
	    BUDGET_MOST_USD);
}

static bool
set_paid_routes(struct limits *l, struct slice value, struct fault *why)
{
	if (!slice_is(value, "true") && !slice_is(value, "false"))
		return fault_set(why, "must be true or false");
	l->paid_routes = slice_is(value, "true");
	l->stated |= STATED_PAID_ROUTES;
	return true;
}

/* The settings that are no row of LIMITS. */
static bool
set_other(
    struct limits *l, struct slice name, struct slice value, struct fault *why)
{
	if (slice_is(name, "paid_routes"))
		return set_paid_routes(l, value, why);
	if (slice_is(name, "budget"))
		return set_budget(l, false, value, why);
	if (slice_is(name, "cloud_fallback"))
		return set_budget(l, true, value, why);
	if (slice_is(name, "reserve_cap")) {
		if (!read_count(value, false, &l->reserve_cap, why))
			return false;
		l->stated |= STATED_RESERVE_CAP;
		return true;
	}
	return fault_set(why,
	    "is not a limit; the limits are: "
#define X(limit, text, what) text ", "
	    LIMITS(X)
#undef X
		"reserve_cap, paid_routes, budget, cloud_fallback");
}

bool
limits_set(
    struct limits *l, struct slice name, struct slice value, struct fault *why)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		if (!slice_is(name, limit_names[i]))
			continue;
		if (!read_count(value, true, &l->most[i], why))
			return false;
		l->stated |= STATED_LIMIT(i);
		return true;
	}
	return set_other(l, name, value, why);
}
