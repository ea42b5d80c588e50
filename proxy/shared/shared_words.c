#include "proxy/shared/shared_inner.h"

#include "metering/redis/redis_script.h"
#include "metering/redis/redis_spent.h"

#include "base/banned.h"

#define NS_A_MINUTE UINT64_C(60000000000)

/* As auth/limiter.c has it: rounded up. */
static uint64_t
cell_ns(const struct rate *r)
{
	uint32_t n = r->allows.per_minute;

	return n == 0 ? 0 : (NS_A_MINUTE + n - 1) / n;
}

static uint32_t
burst_of(const struct rate *r)
{
	return r->allows.burst != 0 ? r->allows.burst : r->allows.per_minute;
}

static const char *
name_of(const struct shared_claim *c, size_t subject)
{
	return subject < c->subject_count ? c->names[subject] : REDIS_EVERYONE;
}

void
words_begin(struct redis_args *to, const struct shared *s, bool is_timed,
    uint64_t deadline_ns)
{
	const char *prefix = s->redis.prefix;
	struct slice gateway = slice_of(s->o.gateway), none = SLICE("");

	redis_args_number(to, 5);
	redis_key(to, prefix, "", "epoch", none);
	redis_key(to, prefix, "", "workers:", gateway);
	redis_key(to, prefix, "", "open:", gateway);
	redis_key(to, prefix, "", "held", none);
	redis_key(to, prefix, "", "leases", none);
	redis_args_text(to, s->tag);
	redis_args_text(to, s->o.gateway);
	redis_args_number(to, s->o.worker);
	redis_args_text(to, s->join);
	if (is_timed && s->knows_clock)
		redis_args_printf(to, "%lld",
		    (long long)(s->clock_us + (int64_t)(deadline_ns / 1000)));
	else
		redis_args_text(to, "");
}

static void
put_rate(
    struct redis_args *to, const struct shared_claim *c, const struct rate *r)
{
	redis_args_text(to, c->names[r->subject]);
	redis_args_slice(to, (struct slice){&r->bucket, 1});
	redis_args_number(to, cell_ns(r));
}

static void
put_amount(
    struct redis_args *to, const struct shared_claim *c, const struct amount *a)
{
	static const char *const kinds[] = {"tokens", "money", "fallback"};

	redis_args_text(to, name_of(c, a->subject));
	redis_args_text(to, kinds[a->kind]);
	redis_args_printf(to, "%lld", (long long)a->span.begin_ms);
	redis_args_printf(to, "%lld", (long long)a->span.end_ms);
	if (a->most == INT64_MAX)
		redis_args_text(to, "");
	else
		redis_args_number(to, (uint64_t)a->most);
	redis_args_number(to, (uint64_t)a->amount);
}

void
words_take(struct redis_args *to, const struct shared_claim *c,
    const struct amount *amounts, size_t count, bool has_rates, bool must_fit,
    const char *epoch)
{
	redis_args_text(to, c->id);
	redis_args_text(to, must_fit ? "check" : "force");
	redis_args_text(to, epoch);
	redis_args_number(to, has_rates ? c->rate_count : 0);
	for (size_t i = 0; has_rates && i < c->rate_count; i++) {
		put_rate(to, c, &c->rates[i]);
		redis_args_number(to, burst_of(&c->rates[i]));
		redis_args_number(to, c->rates[i].cost);
	}
	for (size_t i = 0; i < count; i++)
		put_amount(to, c, &amounts[i]);
}

void
words_settle(struct redis_args *to, const struct shared_claim *c)
{
	redis_args_text(to, c->id);
	redis_args_text(to, c->has_line ? "line" : "none");
	redis_args_text(to, c->slot == NULL ? "" : c->slot);
	for (size_t i = 0; i < c->rate_count; i++) {
		if (c->give_back[i] == 0)
			continue;
		put_rate(to, c, &c->rates[i]);
		redis_args_printf(to, "%lld", (long long)c->give_back[i]);
	}
}

/* --- answers ------------------------------------------------------------- */

/* A count that Redis may have summed up beyond what we hold. */
static int64_t
capped(const struct redis_reply *r, size_t i)
{
	uint64_t n;

	return redis_reply_number(r, i, &n) && n <= INT64_MAX ? (int64_t)n
							      : INT64_MAX;
}

static bool
read_rate(const struct shared_claim *c, const struct redis_reply *r,
    struct shared_answer *out)
{
	const struct rate *rate;
	uint64_t i, wait;

	if (!redis_reply_number(r, 1, &i) || i >= c->rate_count)
		return false;
	rate = &c->rates[i];
	if (!redis_reply_number(r, 2, &wait))
		wait = LIMITER_NEVER;
	out->verdict = SHARED_REFUSED;
	out->subject = rate->subject;
	out->why = (struct refusal){.of = REFUSED_LIMIT,
	    .limit = rate->limit,
	    .is_final = wait == LIMITER_NEVER,
	    .needed = rate->cost,
	    .most = rate->allows.per_minute,
	    .wait_ns = wait};
	return true;
}

static bool
read_amount(const struct amount *asked, size_t count,
    const struct redis_reply *r, struct shared_answer *out)
{
	static const enum refusal_of ofs[] = {
	    REFUSED_LIMIT, REFUSED_BUDGET, REFUSED_FALLBACK};
	const struct amount *a;
	uint64_t i;

	if (!redis_reply_number(r, 1, &i) || i >= count)
		return false;
	a = &asked[i];
	out->verdict = SHARED_REFUSED;
	out->subject = a->subject;
	out->why = (struct refusal){.of = ofs[a->kind],
	    .limit = LIMIT_DAY_TOKENS,
	    .period = a->period,
	    .used = capped(r, 2),
	    .held = capped(r, 3),
	    .needed = a->amount,
	    .most = a->most,
	    .resets_ms = a->span.end_ms};
	out->why.is_final =
	    a->amount > a->most || out->why.used > a->most - a->amount;
	return true;
}

static void
note_quota(const struct rate *r, uint64_t debt_ns, struct gate_quota *q)
{
	uint64_t cell = cell_ns(r), left = 0;
	uint64_t depth = cell * burst_of(r);

	if (cell > 0 && debt_ns < depth)
		left = (depth - debt_ns) / cell;
	if (q->limit != LIMIT_UNLIMITED && q->remaining <= left)
		return;
	*q = (struct gate_quota){.limit = r->allows.per_minute,
	    .remaining = (uint32_t)left,
	    .reset_ns = debt_ns};
}

static bool
read_quotas(const struct shared_claim *c, const struct redis_reply *r, size_t i,
    struct gate_quotas *out)
{
	static const struct gate_quota none = {
	    .limit = LIMIT_UNLIMITED, .remaining = LIMIT_UNLIMITED};
	uint64_t debt;

	*out = (struct gate_quotas){none, none, none};
	for (size_t k = 0; k < c->rate_count; k++) {
		const struct rate *rate = &c->rates[k];
		struct gate_quota *q = &out->requests;

		if (!redis_reply_number(r, i + k, &debt))
			return false;
		if (rate->limit == LIMIT_INPUT_TOKENS)
			q = &out->input;
		else if (rate->limit == LIMIT_OUTPUT_TOKENS)
			q = &out->output;
		note_quota(rate, debt, q);
	}
	return true;
}

bool
words_read(const struct shared_claim *c, const struct amount *asked,
    size_t count, const struct redis_reply *r, struct shared_answer *out)
{
	struct slice word = redis_reply_text(r, 0);
	size_t debts;

	if (word.p == NULL)
		return false;
	if (slice_is(word, "ok")) {
		out->verdict = SHARED_OK;
		debts = 2;
	} else if (slice_is(word, "rate")) {
		if (!read_rate(c, r, out))
			return false;
		debts = 4;
	} else if (slice_is(word, "amount")) {
		if (!read_amount(asked, count, r, out))
			return false;
		debts = 5;
	} else {
		return false;
	}
	/* A payment has taken no rates, and is not told what is left. */
	return r->count == debts || read_quotas(c, r, debts, &out->quotas);
}
