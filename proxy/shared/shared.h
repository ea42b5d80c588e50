/*
 * shared.h - limits that hold over all gateways which count in one Redis.
 *
 * One object a worker, on its loop.  A request makes a claim: rates and tokens
 * when it arrives, money when a paid route is chosen, a slot of its user's
 * `concurrent` when it wants to begin.  What a claim holds counts as used until
 * its ledger line is counted (metering/redis/redis_open.h), whatever dies
 * before.
 *
 *     shared_admit()      rates, and tokens of the day
 *     shared_pay()        money for a paid route
 *     shared_slot_take()  and _give(): one of the user's `concurrent`
 *     shared_settle()     it has ended; before its line is given to the ledger
 *
 * Answers come from the loop, never from inside a call, and within
 * SHARED_DEADLINE_MS; at once where Redis is known to be unknown.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/account.h"
#include "base/attr.h"
#include "base/fault.h"
#include "metering/redis/redis_follower.h"
#include "metering/redis/redis_options.h"
#include "proxy/gate/gate.h"

#define SHARED_DEADLINE_MS 250
#define SHARED_LEASE_MS 30000

struct shared;
struct shared_claim;

struct shared_options {
	const struct redis_options *redis; /* copied */
	const char *gateway;               /* our name there; copied */
	const char *writer;                /* this start's ULID; copied */
	unsigned worker;                   /* 0, 1, ... */
	unsigned lease_ms;                 /* 0: SHARED_LEASE_MS */
	unsigned sweep_ms;                 /* 0: REDIS_SWEEP_MS */
	/* redis_follower_whole() and redis_follower_has_counted(). */
	bool (*whole)(void *arg, struct redis_whole *out);
	bool (*has_counted)(void *arg, uint64_t ago_ms);
	void *arg;
};

/* Connects by itself, again and again.  `base` is borrowed.  NULL with the
 * reason.  The caller owns it. */
MUST_CHECK struct shared *shared_create(
    struct event_base *base, const struct shared_options *o, struct fault *why);

/* Frees the claims that are left, too, without their callbacks.  *sp may be
 * NULL.  Not from inside a callback. */
void shared_destroy(struct shared **sp);

/* --- answers ------------------------------------------------------------- */

enum shared_verdict {
	SHARED_OK,
	SHARED_REFUSED, /* `why`, and whose limit; nothing was taken */
	SHARED_UNKNOWN, /* Redis is gone, slow, or its sums are not whole: the
			   caller's own limits decide */
};

struct shared_answer {
	enum shared_verdict verdict;
	size_t
	    subject; /* REFUSED: the index; the count of subjects: everyone */
	struct refusal why;        /* its `account` is NULL */
	struct gate_quotas quotas; /* of an admission that is not UNKNOWN */
	bool is_free;      /* OK, as nothing is limited: Redis was not asked */
	unsigned gateways; /* last seen alive, at least 1 */
};
typedef void (*shared_fn)(void *arg, const struct shared_answer *a);

/* --- claims -------------------------------------------------------------- */

/* Whose limits: the name as redis_subject_user() and its like make it. */
struct shared_subject {
	const char *name;            /* copied */
	const struct limits *limits; /* copied */
};

struct shared_ask {
	const char *id; /* the request's ULID, which its line will have */
	struct shared_subject subjects[GATE_SUBJECTS_MOST];
	size_t count;
	struct account_ask tokens;
	struct span day; /* that its tokens belong to */
};

/* Takes rates and tokens from all subjects, or from none.  The claim is the
 * caller's until shared_settle(), whatever the answer.  Limits that are not set
 * take nothing.  After UNKNOWN no rate is given back at the end, because nobody
 * knows whether it was taken.  Never NULL. */
MUST_CHECK struct shared_claim *shared_admit(struct shared *s,
    const struct shared_ask *ask, shared_fn on_answer, void *arg);

struct shared_price {
	int64_t pusd; /* in all, not in addition */
	bool is_fallback;
	struct span periods[PERIOD_COUNT];
	const struct limits *everyone; /* for fallback; NULL: none */
};

/* Holds money.  After REFUSED what was held before stays; after UNKNOWN it may
 * be held, and will be once Redis is back, until shared_unpay() or the end. */
void shared_pay(struct shared_claim *c, const struct shared_price *p,
    shared_fn on_answer, void *arg);

/* The paid route is not taken after all: no money is held any more. */
void shared_unpay(struct shared_claim *c);

/* The running counts have passed what is held: holds that much, fits or not.
 * To be called now and then, not for each token. */
void shared_grow(struct shared_claim *c, int64_t tokens, int64_t pusd);

/* Takes one of the subject's `concurrent`.  REFUSED names in `why.used` how
 * many are taken: ask again when one comes back, or after 500 ms. */
void shared_slot_take(
    struct shared_claim *c, size_t subject, shared_fn on_answer, void *arg);
void shared_slot_give(struct shared_claim *c);

/* What it holds is held for that id from now on, whose line will come; the line
 * of the old one takes away what was held for that.  Not while an answer is
 * under way, nor with a slot. */
void shared_rename(struct shared_claim *c, const char *id);

/* The answer that is under way is not wanted any more. */
void shared_forget_answer(struct shared_claim *c);

/* Ends a claim, its slot too, and sets *cp to NULL.  With `use` what the rates
 * were not used for is given back, without everything is, the request too.
 * `has_line`: a line with its id will come; else what it holds is given back
 * now.  An answer under way is not given any more.  *cp may be NULL. */
void shared_settle(
    struct shared_claim **cp, const struct account_use *use, bool has_line);

/* --- facts --------------------------------------------------------------- */

/* Whether Redis answers; and gateways last seen alive, at least 1. */
bool shared_is_up(const struct shared *s);
unsigned shared_gateways(const struct shared *s);

/* Claims that are open, or whose end Redis has not heard of yet. */
size_t shared_claims(const struct shared *s);
