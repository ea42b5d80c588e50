#include "proxy/agree.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "metering/redis/redis_spent.h"
#include "proxy/exchange.h"
#include "proxy/refusal.h"
#include "proxy/shared/shared.h"

#include "base/banned.h"

#define SLOT_AGAIN_NS (250 * NS_PER_MS)

/* --- a worker's part ----------------------------------------------------- */

static bool
whole(void *arg, struct redis_whole *out)
{
	const struct gateway *g = arg;

	return redis_follower_whole(g->redis, out);
}

static bool
has_counted(void *arg, uint64_t ago_ms)
{
	const struct gateway *g = arg;

	return redis_follower_has_counted(
	    g->redis, ago_ms, clock_mono_ns() / NS_PER_MS);
}

bool
agree_open(struct worker *w, struct fault *why)
{
	struct gateway *g = w->gateway;
	const struct config *c = w->snapshot->config;

	if (!c->limits_shared || g->is_admin)
		return true;
	w->shared = shared_create(w->base,
	    &(struct shared_options){
		.redis = &c->redis,
		.gateway = g->name,
		.writer = ledger_writer(g->ledger),
		.worker = w->index,
		.whole = whole,
		.has_counted = has_counted,
		.arg = g,
	    },
	    why);
	return w->shared != NULL;
}

void
agree_close(struct worker *w)
{
	shared_destroy(&w->shared);
}

/* --- rates and tokens ---------------------------------------------------- */

/* What stands for a limit where only a part of it is ours. */
static uint32_t
part(uint32_t most, unsigned gateways)
{
	if (most == LIMIT_UNLIMITED || most == 0)
		return most;
	return most < gateways ? 1 : most / gateways;
}

/* Redis does not say: this gateway's part of each limit holds. */
static enum next
take_part(struct exchange *x, unsigned gateways)
{
	static const enum limit parted[] = {LIMIT_REQUESTS, LIMIT_INPUT_TOKENS,
	    LIMIT_OUTPUT_TOKENS, LIMIT_DAY_TOKENS};

	if (gateways <= 1) {
		x->step = STEP_ROUTE;
		return NEXT;
	}
	gate_settle(x->w->gateway->gate, &x->claim, NULL, clock_mono_ns(),
	    clock_wall_ms());
	for (size_t i = 0; i < x->subject_count; i++) {
		struct limits *l = arena_alloc(&x->arena, sizeof *l);

		*l = *x->subjects[i].limits;
		for (size_t k = 0; k < COUNT_OF(parted); k++)
			l->most[parted[k]] = part(l->most[parted[k]], gateways);
		x->subjects[i].limits = l;
	}
	return admit_take(x);
}

static void
on_admitted(void *arg, const struct shared_answer *a)
{
	struct exchange *x = arg;

	switch (a->verdict) {
	case SHARED_OK:
		x->quotas = a->quotas;
		x->step = STEP_ROUTE;
		break;
	case SHARED_REFUSED:
		x->quotas = a->quotas;
		refusal_end(x, &a->why, a->subject);
		return;
	case SHARED_UNKNOWN:
		if (take_part(x, a->gateways) != NEXT)
			return;
		break;
	}
	exchange_run(x);
}

static const char *
subject_name(struct exchange *x, size_t i)
{
	const struct limits *l = x->subjects[i].limits;
	struct buf name = {0};
	const char *copy;

	if (x->record != NULL && l == &x->record->limits)
		redis_subject_key(&name, slice_of(x->record->id));
	else if (i == 0)
		redis_subject_user(&name, slice_of(x->user->name));
	else
		redis_subject_user_at_model(
		    &name, slice_of(x->user->name), slice_of(x->model->name));
	copy = arena_strndup(&x->arena, buf_data(&name), buf_len(&name));
	buf_release(&name);
	return copy;
}

enum next
step_share(struct exchange *x)
{
	struct shared_ask ask = {.id = x->id, .count = x->subject_count};

	if (x->w->shared == NULL) {
		x->step = STEP_ROUTE;
		return NEXT;
	}
	for (size_t i = 0; i < x->subject_count; i++)
		ask.subjects[i] = (struct shared_subject){
		    subject_name(x, i), &x->claim.holds[i].limits};
	ask.tokens = x->ask;
	ask.day = calendar_span(PERIOD_DAY, x->arrived_ms);
	x->shared = shared_admit(x->w->shared, &ask, on_admitted, x);
	return WAIT;
}

/* --- money --------------------------------------------------------------- */

/* Redis does not say: so much may be spent all the same, by this gateway, until
 * it does again. */
static bool
may_spend_unverified(struct exchange *x, int64_t pusd)
{
	struct gateway *g = x->w->gateway;
	int64_t most = x->snapshot->config->unverified_pusd;

	if (pusd > most)
		return false;
	if (__atomic_add_fetch(&g->unverified_pusd, pusd, __ATOMIC_RELAXED) <=
	    most) {
		x->w->unverified_pusd += pusd;
		return true;
	}
	__atomic_sub_fetch(&g->unverified_pusd, pusd, __ATOMIC_RELAXED);
	return false;
}

/* Redis says again, to this worker: it knows what was spent here meanwhile. */
static void
forget_unverified(struct worker *w)
{
	__atomic_sub_fetch(
	    &w->gateway->unverified_pusd, w->unverified_pusd, __ATOMIC_RELAXED);
	w->unverified_pusd = 0;
}

void
agree_unpay(struct exchange *x)
{
	if (x->shared == NULL)
		return;
	shared_unpay(x->shared);
	agree_grow(x, 0, x->spent_pusd);
}

static void
on_paid(void *arg, const struct shared_answer *a)
{
	struct exchange *x = arg;
	const struct route_config *r = x->candidate;

	switch (a->verdict) {
	case SHARED_OK:
		if (!a->is_free)
			forget_unverified(x->w);
		route_take(x, r);
		break;
	case SHARED_REFUSED:
		route_refuse_money(x, r, &a->why, a->subject);
		break;
	case SHARED_UNKNOWN:
		if (may_spend_unverified(x, x->price_pusd)) {
			route_take(x, r);
			break;
		}
		agree_unpay(x);
		route_refuse_unverified(x, r);
		break;
	}
	exchange_run(x);
}

enum next
step_pay(struct exchange *x)
{
	const struct route_config *r = x->candidate;
	struct shared_price price = {.is_fallback = x->has_failed_free,
	    .everyone = &x->snapshot->config->everyone};

	if (x->shared == NULL || !r->upstream->is_paid ||
	    x->api == API_COUNT_TOKENS) {
		route_take(x, r);
		return NEXT;
	}
	if (__builtin_add_overflow(x->spent_pusd, x->price_pusd, &price.pusd))
		price.pusd = INT64_MAX;
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		price.periods[p] = calendar_span((enum period)p, x->arrived_ms);
	shared_pay(x->shared, &price, on_paid, x);
	return WAIT;
}

/* --- slots --------------------------------------------------------------- */

/* Whose `concurrent` counts over all gateways: the user's, or, where that is
 * lifted because the model has its own, that; `subject_count`: nobody's. */
static size_t
slot_subject(const struct exchange *x)
{
	size_t i = 0;

	while (i < x->subject_count &&
	    x->claim.holds[i].limits.most[LIMIT_CONCURRENT] == LIMIT_UNLIMITED)
		i++;
	return i;
}

static void
on_slot(void *arg, const struct shared_answer *a)
{
	struct exchange *x = arg;

	if (a->verdict == SHARED_REFUSED) {
		x->slots_taken = (uint32_t)a->why.used;
		x->slot_subject = a->subject;
		queue_again(x, SLOT_AGAIN_NS);
		return;
	}
	x->slot_wait_ns = 0;
	x->step = STEP_FORWARD;
	exchange_run(x);
}

enum next
step_slot(struct exchange *x)
{
	size_t subject;

	if (x->shared == NULL ||
	    (subject = slot_subject(x)) == x->subject_count) {
		x->step = STEP_FORWARD;
		return NEXT;
	}
	shared_slot_take(x->shared, subject, on_slot, x);
	return WAIT;
}

void
agree_give_slot(struct exchange *x)
{
	if (x->shared == NULL)
		return;
	shared_forget_answer(x->shared);
	shared_slot_give(x->shared);
}

/* --- until the end ------------------------------------------------------- */

void
agree_grow(struct exchange *x, int64_t tokens, int64_t pusd)
{
	if (x->shared != NULL)
		shared_grow(x->shared, tokens, pusd);
}

void
agree_rename(struct exchange *x)
{
	if (x->shared != NULL)
		shared_rename(x->shared, x->id);
}

void
agree_settle(struct exchange *x, const struct account_use *use)
{
	if (x->shared != NULL)
		shared_settle(&x->shared, use, use != NULL);
}
