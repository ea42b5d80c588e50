/*
 * account.h - what one subject of limits has used, and what it holds open: a
 * user, a user at one model, a key; or everybody, for what failover may cost.
 *
 * Reserve, then settle.  A request takes, before it is served, what it may come
 * to (a hold); at its end what it really used stands in the hold's place.  What
 * is held counts as used meanwhile, so of a thousand that come at once only as
 * many are let in as fit, whatever order they end in; the limit is overshot at
 * most by the sum, over what is in flight, of what was used beyond its hold.
 *
 * Tokens belong to the day of admission, money to the periods in which it was
 * last taken: a request that spans midnight is yesterday's, and what then comes
 * of it changes only what has not ended, such as the month.
 *
 * Not locked; time is handed in, never read: the wall clock for the calendar's
 * periods, the monotonic one for rates.  Amounts are never negative; sums stop
 * at INT64_MAX.  What is not limited is counted all the same, because a limit
 * may be set later; but not rates.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/calendar.h"
#include "auth/limiter.h"
#include "auth/limits.h"
#include "base/attr.h"

/* A sum of one period: what was used, and what open holds may yet use. */
struct meter {
	struct span span;   /* {0}: before its first use */
	int64_t used, held; /* tokens or pico-dollars; never above INT64_MAX */
};

struct account {
	struct limiter rates[LIMIT_COUNT]; /* of the limits a minute */
	struct limiter counting;           /* of count_tokens requests */
	struct meter tokens;               /* of a day */
	struct meter money[PERIOD_COUNT];
	struct meter fallback[PERIOD_COUNT]; /* of that money */
	uint32_t in_flight;
};

/* What one request has taken from one account.  {0}: nothing.  Remembers the
 * limits that it was taken under, so that it is given back by the same. */
struct hold {
	struct account *account; /* borrowed; NULL: nothing is taken */
	struct limits limits;
	bool has_request;      /* one of the requests a minute */
	bool is_counting;      /* one of the count_tokens requests instead */
	int64_t input, output; /* tokens */
	int64_t day_begin_ms;  /* which day the tokens belong to */
	int64_t money;         /* pico-dollars, in all periods */
	int64_t money_begin_ms[PERIOD_COUNT]; /* likewise */
	bool is_fallback; /* the money counts as failover's, too */
};

/* Why something was refused; all that a sentence about it needs. */
struct refusal {
	enum refusal_of { REFUSED_LIMIT, REFUSED_BUDGET, REFUSED_FALLBACK } of;
	enum limit limit;   /* REFUSED_LIMIT */
	enum period period; /* budgets; the tokens of a day */
	bool is_final;      /* use alone leaves no room, or the rate is 0:
			       waiting for open requests is in vain */
	int64_t used, held, needed, most; /* tokens, requests, pico-dollars; a
					     rate has no `used` or `held` */
	int64_t resets_ms; /* wall: when the period is over; 0: a rate */
	uint64_t wait_ns;  /* a rate: until it may pass, or LIMITER_NEVER;
			      0: a sum */
	const struct account *account; /* whose; borrowed */
};

/* What a request may come to. */
struct account_ask {
	bool is_counting;      /* count_tokens: its own bucket, as many a minute
				  as requests, and nothing else */
	int64_t input, output; /* tokens; the output capped by the caller */
};

/* Takes a request, its tokens of the minute and of the day, all or nothing.
 * False with *why: the sum of the day before rates, of these the longest wait.
 * In either case *h is good for account_release(). */
MUST_CHECK bool account_take(struct account *a, const struct limits *l,
    const struct account_ask *ask, uint64_t now_ns, int64_t wall_ms,
    struct hold *h, struct refusal *why);

/* Holds `pusd` in all (not in addition) for a paid route, which is failover
 * from a free one or not, in the periods of now.  False, with *why and nothing
 * changed, where that does not fit: the budget that waiting does not help, and
 * of several that the one that resets last. */
MUST_CHECK bool account_take_money(struct hold *h, int64_t pusd,
    bool is_fallback, int64_t wall_ms, struct refusal *why);

/* The running counts have passed what is held: holds that much, fits or not. */
void account_grow(struct hold *h, int64_t input, int64_t output, int64_t pusd,
    uint64_t now_ns, int64_t wall_ms);

/* What was really used takes the hold's place; *h is {0} after it. */
struct account_use {
	int64_t input, output; /* tokens */
	int64_t pusd;          /* all attempts */
	int64_t fallback_pusd; /* of that, on routes taken as failover */
};
void account_settle(struct hold *h, const struct account_use *use,
    uint64_t now_ns, int64_t wall_ms);

/* Gives all back, the request too: it was refused by a later check, or joined
 * another one.  *h is {0} after it. */
void account_release(struct hold *h, uint64_t now_ns, int64_t wall_ms);

/* At the start: what the ledger says was used in the periods of now. */
void account_restore_tokens(
    struct account *a, int64_t day_tokens, int64_t wall_ms);
void account_restore_money(struct account *a, enum period p, int64_t pusd,
    int64_t fallback_pusd, int64_t wall_ms);

/* The meters as of now: an old period reads as an empty new one. */
struct meter account_tokens(const struct account *a, int64_t wall_ms);
struct meter account_money(
    const struct account *a, enum period p, int64_t wall_ms);
struct meter account_fallback(
    const struct account *a, enum period p, int64_t wall_ms);
