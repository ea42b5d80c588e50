#include "proxy/gate/gate_inner.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#include "base/banned.h"

/* --- by name ------------------------------------------------------------- */

static uint64_t
hash_of(enum subject s, const char *name, const char *model)
{
	uint64_t h = text_hash(name, strlen(name));

	if (model != NULL)
		h ^= table_mix(text_hash(model, strlen(model)));
	return table_mix(h + s);
}

static bool
is_same(const struct gate_account *a, enum subject s, const char *name,
    const char *model)
{
	if (a->subject != s || strcmp(a->name, name) != 0)
		return false;
	if (a->model == NULL || model == NULL)
		return a->model == model;
	return strcmp(a->model, model) == 0;
}

static struct gate_account *
account_at(struct table_link *l)
{
	return CONTAINER_OF(l, struct gate_account, link);
}

struct gate_account *
gate_account(
    struct gate *g, enum subject s, const char *name, const char *model)
{
	uint64_t hash = hash_of(s, name, model);
	struct gate_account *a = NULL;
	struct table_link *l;

	pthread_mutex_lock(&g->mutex);
	l = table_find(&g->accounts, hash);
	while (l != NULL && !is_same(account_at(l), s, name, model))
		l = table_find_next(l);
	if (l != NULL) {
		a = account_at(l);
	} else {
		a = xcalloc(sizeof *a);
		a->subject = s;
		a->name = xstrdup(name);
		a->model = model == NULL ? NULL : xstrdup(model);
		a->next_fresh = g->fresh;
		g->fresh = a;
		table_insert(&g->accounts, &a->link, hash);
	}
	pthread_mutex_unlock(&g->mutex);
	return a;
}

void
gate_accounts_release(struct gate *g)
{
	for (size_t i = 0; i < g->accounts.bucket_count; i++) {
		while (g->accounts.buckets[i] != NULL) {
			struct gate_account *a =
			    account_at(g->accounts.buckets[i]);

			table_remove(&g->accounts, &a->link);
			free(a->name);
			free(a->model);
			free(a);
		}
	}
	table_release(&g->accounts);
}

uint64_t
gate_accounts_in_flight(const struct gate *g)
{
	uint64_t n = 0;

	for (size_t i = 0; i < g->accounts.bucket_count; i++) {
		struct table_link *l = g->accounts.buckets[i];

		for (; l != NULL; l = l->next)
			n += account_at(l)->account.in_flight;
	}
	return n;
}

void
gate_restore(struct gate *g, gate_sums_fn sums, void *arg, int64_t wall_ms)
{
	struct gate_account *a;

	pthread_mutex_lock(&g->mutex);
	a = g->fresh;
	g->fresh = NULL;
	pthread_mutex_unlock(&g->mutex);
	while (a != NULL) {
		struct gate_account *next = a->next_fresh;
		struct gate_sums sum = {0};

		sums(arg, a->subject, a->name, a->model, &sum);
		pthread_mutex_lock(&g->mutex);
		account_restore_tokens(&a->account, sum.day_tokens, wall_ms);
		for (unsigned p = 0; p < PERIOD_COUNT; p++)
			account_restore_money(&a->account, (enum period)p,
			    sum.money[p], sum.fallback[p], wall_ms);
		pthread_mutex_unlock(&g->mutex);
		a = next;
	}
}

/* --- limits -------------------------------------------------------------- */

void
gate_override(struct gate_account *a, struct gate *g, const struct limits *over,
    int64_t until_ms)
{
	pthread_mutex_lock(&g->mutex);
	a->over_until_ms = over == NULL ? 0 : until_ms;
	if (over != NULL)
		a->over = *over;
	pthread_mutex_unlock(&g->mutex);
}

struct limits
gate_limits(const struct gate_subject *s, int64_t wall_ms)
{
	struct limits l = *s->limits;

	if (wall_ms < s->account->over_until_ms)
		limits_replace(&l, &s->account->over);
	return l;
}

uint32_t
gate_concurrent(
    const struct gate *g, const struct gate_subject *s, uint64_t now_ns)
{
	const struct gate_account *a = s->account;
	int64_t wall_ms = g->wall_at_zero_ms + (int64_t)(now_ns / NS_PER_MS);

	if (wall_ms < a->over_until_ms &&
	    (a->over.stated & STATED_LIMIT(LIMIT_CONCURRENT)) != 0)
		return a->over.most[LIMIT_CONCURRENT];
	/* Who asked before a reload goes by what holds now, unless their count
	 * is lifted here because it is held elsewhere. */
	if (a->has_concurrent &&
	    s->limits->most[LIMIT_CONCURRENT] != LIMIT_UNLIMITED)
		return a->concurrent;
	return s->limits->most[LIMIT_CONCURRENT];
}

void
gate_set_concurrent(struct gate *g, struct gate_account *a, uint32_t most)
{
	pthread_mutex_lock(&g->mutex);
	a->has_concurrent = true;
	a->concurrent = most;
	pthread_mutex_unlock(&g->mutex);
}

bool
gate_is_subject_full(
    const struct gate *g, const struct gate_subject *s, uint64_t now_ns)
{
	uint32_t most = gate_concurrent(g, s, now_ns);

	return most != LIMIT_UNLIMITED && s->account->account.in_flight >= most;
}

void
gate_look(struct gate *g, const struct gate_subject *s, int64_t wall_ms,
    struct gate_status *out)
{
	pthread_mutex_lock(&g->mutex);
	out->account = s->account->account;
	out->limits = gate_limits(s, wall_ms);
	out->override_until_ms =
	    wall_ms < s->account->over_until_ms ? s->account->over_until_ms : 0;
	pthread_mutex_unlock(&g->mutex);
}

/* --- claims -------------------------------------------------------------- */

static const struct gate_quotas no_quotas = {
    .requests = {LIMIT_UNLIMITED, LIMIT_UNLIMITED, 0},
    .input = {LIMIT_UNLIMITED, LIMIT_UNLIMITED, 0},
    .output = {LIMIT_UNLIMITED, LIMIT_UNLIMITED, 0},
};

static void
tighten(struct gate_quota *q, const struct limiter *bucket,
    const struct limits *l, enum limit which, uint64_t now_ns)
{
	struct rate_limit limit = limits_rate(l, which);
	uint32_t remaining = limiter_remaining(bucket, limit, now_ns);

	if (limit.per_minute == LIMIT_UNLIMITED ||
	    (q->limit != LIMIT_UNLIMITED && remaining >= q->remaining))
		return;
	*q = (struct gate_quota){.limit = limit.per_minute,
	    .remaining = remaining,
	    .reset_ns = limiter_reset_ns(bucket, limit, now_ns)};
}

static void
look_at_quotas(struct gate_quotas *q, const struct account *a,
    const struct limits *l, bool is_counting, uint64_t now_ns)
{
	const struct limiter *requests =
	    is_counting ? &a->counting : &a->rates[LIMIT_REQUESTS];

	tighten(&q->requests, requests, l, LIMIT_REQUESTS, now_ns);
	tighten(&q->input, &a->rates[LIMIT_INPUT_TOKENS], l, LIMIT_INPUT_TOKENS,
	    now_ns);
	tighten(&q->output, &a->rates[LIMIT_OUTPUT_TOKENS], l,
	    LIMIT_OUTPUT_TOKENS, now_ns);
}

static void
release_all(struct gate_claim *claim, uint64_t now_ns, int64_t wall_ms)
{
	for (size_t i = 0; i < claim->count; i++)
		account_release(&claim->holds[i], now_ns, wall_ms);
	account_release(&claim->everyone, now_ns, wall_ms);
	*claim = (struct gate_claim){0};
}

/* All or none; the limits that hold for each are left in `limits`. */
static bool
take_all(const struct gate_subject *subjects, size_t count,
    const struct account_ask *ask, uint64_t now_ns, int64_t wall_ms,
    struct gate_claim *claim, const struct limits *limits, struct refusal *why)
{
	while (claim->count < count) {
		size_t i = claim->count;

		if (!account_take(&subjects[i].account->account, &limits[i],
			ask, now_ns, wall_ms, &claim->holds[i], why))
			return false;
		claim->count++;
	}
	return true;
}

bool
gate_admit(struct gate *g, const struct gate_subject *subjects, size_t count,
    const struct account_ask *ask, uint64_t now_ns, int64_t wall_ms,
    struct gate_claim *claim, struct gate_quotas *quotas, struct refusal *why,
    size_t *refused)
{
	struct limits limits[GATE_SUBJECTS_MOST];
	bool is_taken;

	*claim = (struct gate_claim){0};
	*quotas = no_quotas;
	pthread_mutex_lock(&g->mutex);
	g->wall_at_zero_ms = wall_ms - (int64_t)(now_ns / NS_PER_MS);
	for (size_t i = 0; i < count; i++)
		limits[i] = gate_limits(&subjects[i], wall_ms);
	is_taken =
	    take_all(subjects, count, ask, now_ns, wall_ms, claim, limits, why);
	if (is_taken) {
		g->claims += count > 0;
	} else {
		*refused = claim->count;
		release_all(claim, now_ns, wall_ms);
	}
	for (size_t i = 0; i < count; i++)
		look_at_quotas(quotas, &subjects[i].account->account,
		    &limits[i], ask->is_counting, now_ns);
	pthread_mutex_unlock(&g->mutex);
	return is_taken;
}

void
gate_look_at_quotas(struct gate *g, const struct gate_subject *subjects,
    size_t count, bool is_counting, uint64_t now_ns, int64_t wall_ms,
    struct gate_quotas *quotas)
{
	*quotas = no_quotas;
	pthread_mutex_lock(&g->mutex);
	for (size_t i = 0; i < count; i++) {
		struct limits l = gate_limits(&subjects[i], wall_ms);

		look_at_quotas(quotas, &subjects[i].account->account, &l,
		    is_counting, now_ns);
	}
	pthread_mutex_unlock(&g->mutex);
}

/* A hold and its account as they were before. */
struct undo {
	struct hold *hold;
	struct account account;
	struct hold was;
};

static bool
take_money(struct hold *h, int64_t pusd, bool is_fallback, int64_t wall_ms,
    struct refusal *why, struct undo *undo)
{
	*undo = (struct undo){h, *h->account, *h};
	return account_take_money(h, pusd, is_fallback, wall_ms, why);
}

/* Everyone's money alone: no request, no rate. */
static void
open_everyone(
    struct hold *h, const struct gate_subject *everyone, int64_t wall_ms)
{
	struct limits l = limits_none();
	const struct account_ask nothing = {0};
	struct refusal why;

	if (h->account != NULL)
		return;
	/* Nothing is limited: it cannot fail. */
	if (!account_take(
		&everyone->account->account, &l, &nothing, 0, wall_ms, h, &why))
		return;
	h->limits = gate_limits(everyone, wall_ms);
}

bool
gate_pay(struct gate *g, struct gate_claim *claim,
    const struct gate_subject *everyone, int64_t pusd, bool is_fallback,
    int64_t wall_ms, struct refusal *why, size_t *refused)
{
	struct undo undo[GATE_SUBJECTS_MOST + 1];
	bool is_taken = true;
	size_t n = 0;

	pthread_mutex_lock(&g->mutex);
	while (n < claim->count && is_taken) {
		is_taken = take_money(&claim->holds[n], pusd, is_fallback,
		    wall_ms, why, &undo[n]);
		n++;
	}
	if (is_taken && is_fallback) {
		open_everyone(&claim->everyone, everyone, wall_ms);
		is_taken = take_money(&claim->everyone, pusd, is_fallback,
		    wall_ms, why, &undo[n]);
		n++;
	}
	if (!is_taken) {
		*refused = n - 1;
		while (n-- > 0) {
			*undo[n].hold->account = undo[n].account;
			*undo[n].hold = undo[n].was;
		}
	}
	pthread_mutex_unlock(&g->mutex);
	return is_taken;
}

void
gate_grow(struct gate *g, struct gate_claim *claim, int64_t input,
    int64_t output, int64_t pusd, uint64_t now_ns, int64_t wall_ms)
{
	pthread_mutex_lock(&g->mutex);
	for (size_t i = 0; i < claim->count; i++)
		account_grow(
		    &claim->holds[i], input, output, pusd, now_ns, wall_ms);
	account_grow(&claim->everyone, 0, 0, pusd, now_ns, wall_ms);
	pthread_mutex_unlock(&g->mutex);
}

void
gate_settle(struct gate *g, struct gate_claim *claim,
    const struct account_use *use, uint64_t now_ns, int64_t wall_ms)
{
	if (claim->count == 0)
		return;
	pthread_mutex_lock(&g->mutex);
	for (size_t i = 0; use != NULL && i < claim->count; i++)
		account_settle(&claim->holds[i], use, now_ns, wall_ms);
	if (use != NULL)
		account_settle(&claim->everyone, use, now_ns, wall_ms);
	release_all(claim, now_ns, wall_ms);
	g->claims--;
	pthread_mutex_unlock(&g->mutex);
}
