/*
 * gate.h - now, later or elsewhere: what all workers must agree on.
 *
 * Two things stand behind its one mutex, which is held for a few additions at a
 * time and never over I/O: accounts (what users and keys have used and hold,
 * auth/account.h), and the upstreams' places with the queue before them.  Both
 * belong to names, not to a configuration, so they survive a reload.
 *
 *     gate_admit()   rates and tokens are taken: a claim
 *     gate_pay()     money is taken for a paid route
 *     gate_enter()   a place at the upstream, now or after a wait
 *     gate_leave()   the place is free; who waits longest by right gets it
 *     gate_settle()  what was really used takes the claim's place
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/account.h"
#include "base/attr.h"
#include "base/list.h"
#include "proxy/gate/fair_queue.h"

struct gate;
struct gate_account;  /* of one name; lives as long as the gate */
struct gate_upstream; /* likewise */

/* Never NULL. */
struct gate *gate_create(void);
void gate_destroy(struct gate **gp);

/* --- accounts ------------------------------------------------------------ */

enum subject {
	SUBJECT_USER,
	SUBJECT_USER_AT_MODEL, /* whose limits at it are stated */
	SUBJECT_KEY,           /* by its public id */
	SUBJECT_EVERYONE,      /* what failover may cost in all */
};

/* Finds the account of that name, or makes it; `model` is NULL but for
 * SUBJECT_USER_AT_MODEL.  Names are copied. */
struct gate_account *gate_account(
    struct gate *g, enum subject s, const char *name, const char *model);

/* What the ledger knows of one account, for the periods of now. */
struct gate_sums {
	int64_t day_tokens;
	int64_t money[PERIOD_COUNT], fallback[PERIOD_COUNT]; /* pico-dollars */
};
typedef void (*gate_sums_fn)(void *arg, enum subject s, const char *name,
    const char *model, struct gate_sums *out);

/* Restores the accounts that were made since the last call, so that no budget
 * begins anew because the process did.  `sums` is called without the lock. */
void gate_restore(
    struct gate *g, gate_sums_fn sums, void *arg, int64_t wall_ms);

/* Until then, what `over` states holds in the place of the account's limits,
 * also where those were lifted because they count elsewhere (a user's, for a
 * model that states its own): then it counts in both.  NULL ends it.  Who waits
 * for a count goes by the new one from the next tick on. */
void gate_override(struct gate_account *a, struct gate *g,
    const struct limits *over, int64_t until_ms);

/* What the account may have at once, as configured now: also for requests that
 * wait since before a reload.  They hear of it with the next tick. */
void gate_set_concurrent(struct gate *g, struct gate_account *a, uint32_t most);

/* One account and the limits that it is held to, as configured. */
struct gate_subject {
	struct gate_account *account; /* borrowed */
	const struct limits *limits;  /* borrowed */
};
#define GATE_SUBJECTS_MOST 3 /* user, user at model, key */

/* For GET /v1/key and commands: a copy, and the limits with what overrides
 * them; override_until_ms is 0 where nothing does. */
struct gate_status {
	struct account account;
	struct limits limits;
	int64_t override_until_ms;
};
void gate_look(struct gate *g, const struct gate_subject *s, int64_t wall_ms,
    struct gate_status *out);

/* What a request has taken. {0}: nothing. */
struct gate_claim {
	struct hold holds[GATE_SUBJECTS_MOST];
	size_t count;
	struct hold everyone; /* SUBJECT_EVERYONE */
};

/* What is left of a rate, for the client's headers. */
struct gate_quota {
	uint32_t limit, remaining; /* LIMIT_UNLIMITED: there is none */
	uint64_t reset_ns;         /* until the bucket is full again */
};
struct gate_quotas {
	struct gate_quota requests, input, output; /* of the tightest subject */
};

/* Takes a request's rates and tokens from all subjects, or from none.  False
 * with *why; *refused is then the index of the subject.  *quotas is set in
 * either case. */
MUST_CHECK bool gate_admit(struct gate *g, const struct gate_subject *subjects,
    size_t count, const struct account_ask *ask, uint64_t now_ns,
    int64_t wall_ms, struct gate_claim *claim, struct gate_quotas *quotas,
    struct refusal *why, size_t *refused);

/* What is left now, where that has changed since. */
void gate_look_at_quotas(struct gate *g, const struct gate_subject *subjects,
    size_t count, bool is_counting, uint64_t now_ns, int64_t wall_ms,
    struct gate_quotas *quotas);

/* Holds `pusd` in all for a paid route.  `everyone` is the account and limits
 * of what failover may cost in all; used if is_fallback.  False with *why, and
 * what was held before stays; *refused as above, or `count` for everyone's. */
MUST_CHECK bool gate_pay(struct gate *g, struct gate_claim *claim,
    const struct gate_subject *everyone, int64_t pusd, bool is_fallback,
    int64_t wall_ms, struct refusal *why, size_t *refused);

/* The running counts have passed what is held. */
void gate_grow(struct gate *g, struct gate_claim *claim, int64_t input,
    int64_t output, int64_t pusd, uint64_t now_ns, int64_t wall_ms);

/* Ends a claim; without `use` everything is given back.  It is {0} after it,
 * and ending that does nothing. */
void gate_settle(struct gate *g, struct gate_claim *claim,
    const struct account_use *use, uint64_t now_ns, int64_t wall_ms);

/* --- places -------------------------------------------------------------- */

struct gate_room {
	uint32_t max_inflight; /* LIMIT_UNLIMITED */
	uint64_t kv_tokens;    /* 0: not said */
	uint32_t queue_size;   /* places to wait in */
	uint32_t queue_per_user;
};

/* Finds the upstream of that name, or makes it. */
struct gate_upstream *gate_upstream(struct gate *g, const char *name);

/* Its room from now on; who waits may go at once if it has grown. */
void gate_set_room(
    struct gate *g, struct gate_upstream *up, const struct gate_room *room);

/* How a thread hears of what became of its places that wait: gate_next_ready()
 * after `ring`, which is called from any thread and without the lock. */
struct gate_bell {
	void (*ring)(void *arg);
	void *arg;
	struct link ready; /* the gate's; list_init() it */
};

enum gate_state {
	GATE_OUT, /* neither waits nor has anything */
	GATE_WAITS,
	GATE_IN,         /* has a place at the upstream */
	GATE_PUSHED_OUT, /* waited, and had to make room for another user */
};

/* A place at an upstream, or the wait for it: part of the exchange.  {0} is
 * GATE_OUT.  What is above the line is set by the caller before gate_enter().
 */
struct gate_place {
	struct gate_subject subjects[GATE_SUBJECTS_MOST];
	size_t subject_count; /* whose `concurrent` counts */
	uint64_t user, flow;  /* identities, see fair_queue.h */
	uint32_t weight;
	enum fair_class class;
	uint64_t tokens; /* prompt and expected answer: its cost, and its
			    room among kv_tokens */
	bool may_wait;   /* false: now or elsewhere */
	struct gate_bell *bell;
	const char *model; /* for who looks at the queue; borrowed; or NULL */
	/* --- */
	enum gate_state state; /* read by its thread after gate_next_ready() */
	struct fair_job job;
	struct gate_upstream *upstream;
	struct link ready; /* of the bell, while `is_told` */
	bool is_told;
	bool has_user; /* counted in its subjects' in_flight */
	uint64_t entered_ns, granted_ns;
	uint64_t passed_ns; /* when it was first passed over for kv_tokens;
			       0: it was not */
};

enum gate_verdict {
	GATE_GO,         /* it has a place */
	GATE_LATER,      /* it waits: the bell will ring */
	GATE_FULL,       /* no place, and none to wait in */
	GATE_CONCURRENT, /* the same, because the user has as many as may be */
	GATE_TOO_LARGE,  /* more tokens than kv_tokens in all */
};

/* Asks for a place.  Who came first by right goes first, also while one is
 * free. *why_subject: whose `concurrent` it was (GATE_CONCURRENT).  Where the
 * most is 0, nobody waits for it.  After GO and LATER, gate_leave() must
 * follow. */
MUST_CHECK enum gate_verdict gate_enter(struct gate *g,
    struct gate_upstream *up, struct gate_place *p, uint64_t now_ns,
    size_t *why_subject);

/* On the bell's thread: the next of its places that was let in or pushed out;
 * NULL: no more. */
struct gate_place *gate_next_ready(struct gate *g, struct gate_bell *bell);

/* Gives back whatever it has, waiting or not; `tokens` is what it really came
 * to (0: as estimated).  GATE_OUT after it. */
void gate_leave(
    struct gate *g, struct gate_place *p, uint64_t tokens, uint64_t now_ns);

/* Its client's answer has begun: it is not pushed out any more, also where it
 * enters next. */
void gate_commit(struct gate *g, struct gate_place *p);

/* The user's own counts alone: the upstream's place is kept, as `abandoned`,
 * until gate_leave(), for a request that goes on after its client has gone. */
void gate_leave_user(struct gate *g, struct gate_place *p, uint64_t now_ns);

/* What a waiter must reckon with; or a newcomer, which is GATE_OUT and filled
 * in as for gate_enter(), or NULL: one that goes last. */
struct gate_outlook {
	uint32_t in_flight, waiting;
	uint32_t abandoned; /* of in_flight: see gate_leave_user() */
	uint64_t tokens;    /* in flight */
	size_t ahead;       /* that go before it */
	uint64_t wait_ns;   /* expected, by how long places were held of late;
			       UINT64_MAX: nobody knows yet */
	bool is_user_full;  /* it is the user's own count that it waits for */
	size_t full_subject;
};
void gate_outlook(struct gate *g, struct gate_upstream *up,
    const struct gate_place *p, uint64_t now_ns, struct gate_outlook *out);

/* One that waits, as it is told to people. */
#define GATE_MODEL_BYTES 128
struct gate_waiter {
	const char *user; /* borrowed from the gate, for its life; or NULL */
	char model[GATE_MODEL_BYTES]; /* cut; "": not said */
	enum fair_class class;
	uint64_t tokens, waited_ns;
	bool is_user_full; /* it waits for the user's own count, too */
};

/* Copies those that wait at an upstream, in the order in which they would go if
 * all could; at most `most`.  Of more than GATE_WAITERS_MOST some are left out,
 * and it may be any of them.  Locks only for the copy.  *out is the caller's to
 * free(), NULL if nobody waits.  Returns how many. */
#define GATE_WAITERS_MOST 4096
size_t gate_waiters(struct gate *g, struct gate_upstream *up, uint64_t now_ns,
    struct gate_waiter **out, size_t most);

/* To be called some times a second, from any thread: lets in who may go since a
 * limit was changed. */
void gate_tick(struct gate *g, uint64_t now_ns);

/* Places taken, of all upstreams and users, and claims open: 0 when nothing
 * leaks. */
uint64_t gate_in_flight(struct gate *g);
