#include "proxy/shared/shared.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metering/redis/redis_open.h"
#include "metering/redis/redis_sums.h"
#include "proxy/shared/shared_inner.h"

#include "base/banned.h"

/* --- its life ------------------------------------------------------------ */

struct shared *
shared_create(
    struct event_base *base, const struct shared_options *o, struct fault *why)
{
	struct shared *s = xcalloc(sizeof *s);

	s->base = base;
	redis_options_copy(&s->redis, o->redis);
	s->o = *o;
	s->o.redis = &s->redis;
	s->o.gateway = xstrdup(o->gateway);
	s->o.writer = xstrdup(o->writer);
	if (s->o.lease_ms == 0)
		s->o.lease_ms = SHARED_LEASE_MS;
	if (s->o.sweep_ms == 0)
		s->o.sweep_ms = REDIS_SWEEP_MS;
	s->tag = xasprintf("{%s}", s->redis.prefix);
	list_init(&s->open);
	list_init(&s->ended);
	if (!crew_init(s, why))
		shared_destroy(&s);
	return s;
}

static void
free_claim(struct shared_claim *c)
{
	list_remove(&c->link);
	c->s->claims--;
	for (size_t i = 0; i < c->subject_count; i++)
		free(c->names[i]);
	free(c->slot);
	free(c);
}

static void
free_claims(struct link *claims)
{
	LIST_EACH (claims, each)
		free_claim((struct shared_claim *)((char *)each -
		    offsetof(struct shared_claim, link)));
}

void
shared_destroy(struct shared **sp)
{
	struct shared *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	crew_release(s);
	free_claims(&s->open);
	free_claims(&s->ended);
	free((char *)s->o.gateway);
	free((char *)s->o.writer);
	free(s->tag);
	redis_options_release(&s->redis);
	free(s);
}

bool
shared_is_up(const struct shared *s)
{
	return s->is_in;
}

unsigned
shared_gateways(const struct shared *s)
{
	return s->gateways;
}

size_t
shared_claims(const struct shared *s)
{
	return s->claims;
}

/* --- asking -------------------------------------------------------------- */

bool
shared_whole(const struct shared *s, struct redis_whole *out)
{
	return s->o.whole(s->o.arg, out) && out->epoch[0] != '\0' &&
	    strcmp(out->run, shared_link_run(s->link)) == 0;
}

static struct shared_command *
ask(struct shared_claim *c, enum shared_script script, shared_fn on_answer,
    void *arg)
{
	struct shared_command *cmd = crew_command(script, FOR_ANSWER, c);

	assert(c->answer == NULL && !c->is_ended);
	cmd->on_answer = on_answer;
	cmd->arg = arg;
	c->answer = cmd;
	return cmd;
}

/* Sends a take; where it needs counters, only if these are whole.  While we
 * are on the way in, whether they are is looked at too early: the answer is
 * that nobody knows. */
static void
send_take(struct shared_claim *c, struct shared_command *cmd,
    const struct amount *amounts, size_t count, bool has_rates)
{
	struct redis_whole whole = {.epoch = ""};

	cmd->is_free = count == 0 && (!has_rates || c->rate_count == 0);
	if (cmd->is_free || (count > 0 && !shared_whole(c->s, &whole))) {
		crew_give_up(c->s, cmd);
		return;
	}
	words_take(&cmd->words, c, amounts, count, has_rates, true,
	    count > 0 ? whole.epoch : "");
	crew_send(c->s, cmd);
}

static uint32_t
cost_of(int64_t tokens)
{
	return tokens < 0          ? 0
	    : tokens >= UINT32_MAX ? UINT32_MAX - 1
				   : (uint32_t)tokens;
}

static void
add_rate(struct shared_claim *c, size_t subject, enum limit limit, char bucket,
    int64_t cost)
{
	const struct limits *l = &c->limits[subject];

	if (l->most[limit] == LIMIT_UNLIMITED)
		return;
	c->rates[c->rate_count++] = (struct rate){.subject = subject,
	    .limit = limit,
	    .bucket = bucket,
	    .allows = limits_rate(l, limit),
	    .cost = cost_of(cost)};
}

static int64_t
amount_of(int64_t n)
{
	if (n < 0)
		return 0;
	return (uint64_t)n > REDIS_COUNT_MOST ? (int64_t)REDIS_COUNT_MOST : n;
}

static int64_t
sum_of(int64_t a, int64_t b)
{
	int64_t sum;

	if (__builtin_add_overflow(amount_of(a), amount_of(b), &sum))
		return INT64_MAX;
	return amount_of(sum);
}

static void
add_subject(struct shared_claim *c, size_t i, const struct shared_ask *a)
{
	uint32_t day = c->limits[i].most[LIMIT_DAY_TOKENS];

	if (a->tokens.is_counting) {
		add_rate(c, i, LIMIT_REQUESTS, 'c', 1);
		return;
	}
	add_rate(c, i, LIMIT_REQUESTS, 'r', 1);
	add_rate(c, i, LIMIT_INPUT_TOKENS, 'i', a->tokens.input);
	add_rate(c, i, LIMIT_OUTPUT_TOKENS, 'o', a->tokens.output);
	if (day == LIMIT_UNLIMITED)
		return;
	c->amounts[c->amount_count++] = (struct amount){.subject = i,
	    .kind = AMOUNT_TOKENS,
	    .period = PERIOD_DAY,
	    .span = a->day,
	    .most = day,
	    .amount = sum_of(a->tokens.input, a->tokens.output)};
}

struct shared_claim *
shared_admit(struct shared *s, const struct shared_ask *a, shared_fn on_answer,
    void *arg)
{
	struct shared_claim *c = xcalloc(sizeof *c);
	struct shared_command *cmd;

	assert(a->count <= GATE_SUBJECTS_MOST);
	c->s = s;
	s->claims++;
	list_append(&s->open, &c->link);
	snprintf(c->id, sizeof c->id, "%s", a->id);
	c->subject_count = a->count;
	for (size_t i = 0; i < a->count; i++) {
		c->names[i] = xstrdup(a->subjects[i].name);
		c->limits[i] = *a->subjects[i].limits;
		add_subject(c, i, a);
	}
	cmd = ask(c, SCRIPT_TAKE, on_answer, arg);
	send_take(c, cmd, c->amounts, c->amount_count, true);
	return c;
}

static void
add_price(struct shared_claim *c, size_t subject, const struct shared_price *p,
    const struct limits *l, bool has_budget)
{
	for (size_t i = 0; i < PERIOD_COUNT; i++) {
		struct amount a = {.subject = subject,
		    .kind = AMOUNT_MONEY,
		    .period = (enum period)i,
		    .span = p->periods[i],
		    .most = l->budget[i],
		    .amount = amount_of(p->pusd)};

		if (has_budget && a.most != BUDGET_UNLIMITED)
			c->asked[c->asked_count++] = a;
		a.kind = AMOUNT_FALLBACK;
		a.most = l->fallback[i];
		if (p->is_fallback && a.most != BUDGET_UNLIMITED)
			c->asked[c->asked_count++] = a;
	}
}

void
shared_pay(struct shared_claim *c, const struct shared_price *p,
    shared_fn on_answer, void *arg)
{
	struct shared_command *cmd = ask(c, SCRIPT_TAKE, on_answer, arg);

	c->asked_count = 0;
	for (size_t i = 0; i < c->subject_count; i++)
		add_price(c, i, p, &c->limits[i], true);
	if (p->everyone != NULL)
		add_price(c, c->subject_count, p, p->everyone, false);
	/* Without a budget there is nothing to know. */
	send_take(c, cmd, c->asked, c->asked_count, false);
}

void
shared_unpay(struct shared_claim *c)
{
	for (size_t i = 0; i < c->amount_count; i++)
		if (c->amounts[i].kind != AMOUNT_TOKENS)
			c->amounts[i].amount = 0;
	if (c->s->is_in)
		claim_put_again(c);
}

void
shared_grow(struct shared_claim *c, int64_t tokens, int64_t pusd)
{
	struct shared_command *cmd;
	bool has_grown = false;

	for (size_t i = 0; i < c->amount_count; i++) {
		struct amount *a = &c->amounts[i];
		int64_t now =
		    amount_of(a->kind == AMOUNT_TOKENS ? tokens : pusd);

		if (now <= a->amount)
			continue;
		a->amount = now;
		has_grown = true;
	}
	if (!has_grown || !c->s->is_in)
		return; /* a new join says it */
	cmd = crew_command(SCRIPT_TAKE, FOR_CLAIM, c);
	words_take(
	    &cmd->words, c, c->amounts, c->amount_count, false, false, "");
	crew_send(c->s, cmd);
}

/* --- slots --------------------------------------------------------------- */

static void
put_slot(struct redis_args *to, const struct shared_claim *c, bool must_fit,
    uint32_t most)
{
	redis_args_text(to, c->id);
	redis_args_text(to, must_fit ? "check" : "force");
	redis_args_text(to, c->slot);
	redis_args_number(to, most);
}

void
shared_slot_take(
    struct shared_claim *c, size_t subject, shared_fn on_answer, void *arg)
{
	struct shared_command *cmd = ask(c, SCRIPT_SLOT_TAKE, on_answer, arg);

	assert(subject < c->subject_count);
	free(c->slot);
	c->slot = NULL;
	if (c->limits[subject].most[LIMIT_CONCURRENT] == LIMIT_UNLIMITED) {
		cmd->is_free = true;
		crew_give_up(c->s, cmd);
		return;
	}
	c->slot = xstrdup(c->names[subject]);
	put_slot(
	    &cmd->words, c, true, c->limits[subject].most[LIMIT_CONCURRENT]);
	crew_send(c->s, cmd);
}

void
shared_slot_give(struct shared_claim *c)
{
	struct shared_command *cmd;

	if (c->slot == NULL)
		return;
	if (c->s->is_in) {
		cmd = crew_command(SCRIPT_SLOT_GIVE, FOR_CLAIM, c);
		redis_args_text(&cmd->words, c->id);
		redis_args_text(&cmd->words, c->slot);
		crew_send(c->s, cmd);
	}
	free(c->slot);
	c->slot = NULL;
}

void
shared_rename(struct shared_claim *c, const char *id)
{
	assert(c->answer == NULL && c->slot == NULL);
	snprintf(c->id, sizeof c->id, "%s", id);
	if (c->s->is_in)
		claim_put_again(c);
}

/* --- answers ------------------------------------------------------------- */

/* What was asked for stands in the place of what was held of it. */
static void
keep_asked(struct shared_claim *c)
{
	for (size_t i = 0; i < c->asked_count; i++) {
		const struct amount *a = &c->asked[i];
		size_t k = 0;

		while (k < c->amount_count &&
		    (c->amounts[k].subject != a->subject ||
			c->amounts[k].kind != a->kind ||
			c->amounts[k].period != a->period ||
			c->amounts[k].span.begin_ms != a->span.begin_ms))
			k++;
		if (k == AMOUNTS_MOST)
			continue; /* periods have changed in between */
		c->amounts[k] = *a;
		if (k == c->amount_count)
			c->amount_count++;
	}
	c->asked_count = 0;
}

static void
read_slot(const struct shared_command *cmd, const struct redis_reply *r,
    struct shared_answer *out)
{
	struct shared_claim *c = cmd->claim;
	struct slice word = redis_reply_text(r, 0);
	uint64_t taken;

	if (word.p == NULL || !redis_reply_number(r, 1, &taken) ||
	    taken > INT32_MAX)
		return;
	if (slice_is(word, "ok"))
		out->verdict = SHARED_OK;
	if (!slice_is(word, "full"))
		return;
	out->verdict = SHARED_REFUSED;
	for (size_t i = 0; i < c->subject_count; i++)
		if (c->slot != NULL && strcmp(c->slot, c->names[i]) == 0)
			out->subject = i;
	out->why = (struct refusal){.of = REFUSED_LIMIT,
	    .limit = LIMIT_CONCURRENT,
	    .used = (int64_t)taken,
	    .needed = 1,
	    .most = c->limits[out->subject].most[LIMIT_CONCURRENT]};
	free(c->slot);
	c->slot = NULL;
}

static void
read_take(const struct shared_command *cmd, const struct redis_reply *r,
    struct shared_answer *out)
{
	struct shared_claim *c = cmd->claim;
	bool is_admission = c->asked_count == 0;

	if (!words_read(c, is_admission ? c->amounts : c->asked,
		is_admission ? c->amount_count : c->asked_count, r, out))
		return;
	if (out->verdict == SHARED_REFUSED && is_admission)
		c->rate_count = c->amount_count = 0;
	if (out->verdict == SHARED_REFUSED)
		c->asked_count = 0;
}

static void
give_answer(struct shared_command *cmd, const struct redis_reply *r)
{
	static const struct gate_quota none = {
	    .limit = LIMIT_UNLIMITED, .remaining = LIMIT_UNLIMITED};
	struct shared_claim *c = cmd->claim;
	struct shared_answer answer = {.verdict = SHARED_UNKNOWN,
	    .quotas = {none, none, none},
	    .is_free = cmd->is_free,
	    .gateways = c->s->gateways};
	bool is_admission = cmd->script == SCRIPT_TAKE && c->asked_count == 0;

	if (c->answer == cmd)
		c->answer = NULL;
	if (cmd->is_free)
		answer.verdict = SHARED_OK;
	else if (r != NULL && cmd->script == SCRIPT_SLOT_TAKE)
		read_slot(cmd, r, &answer);
	else if (r != NULL)
		read_take(cmd, r, &answer);
	/* Whether its rates were taken nobody knows. */
	if (is_admission && answer.verdict == SHARED_UNKNOWN)
		c->rate_count = 0;
	if (cmd->script == SCRIPT_TAKE && !cmd->is_free) {
		c->may_be_there |= answer.verdict != SHARED_REFUSED;
		keep_asked(c);
	}
	if (cmd->on_answer != NULL)
		cmd->on_answer(cmd->arg, &answer);
	/* What goes on all the same counts for the others. */
	if (answer.verdict == SHARED_UNKNOWN && !c->is_ended && c->s->is_in)
		claim_put_again(c);
}

void
claim_take_reply(struct shared_command *cmd, const struct redis_reply *r)
{
	struct shared_claim *c = cmd->claim;
	struct slice word =
	    r == NULL ? (struct slice){NULL, 0} : redis_reply_text(r, 0);

	if (cmd->script == SCRIPT_SETTLE && word.p != NULL &&
	    slice_is(word, "ok"))
		c->is_told = true;
	if (cmd->purpose == FOR_ANSWER)
		give_answer(cmd, r);
	c->under_way--;
	if (c->is_ended)
		claim_tell_end(c);
}

void
shared_forget_answer(struct shared_claim *c)
{
	if (c->answer != NULL)
		c->answer->on_answer = NULL;
}

/* --- the end ------------------------------------------------------------- */

void
claim_put_again(struct shared_claim *c)
{
	struct shared_command *cmd;

	if (c->may_be_there) {
		cmd = crew_command(SCRIPT_TAKE, FOR_CLAIM, c);
		words_take(&cmd->words, c, c->amounts, c->amount_count, false,
		    false, "");
		crew_send(c->s, cmd);
	}
	if (c->slot != NULL &&
	    (c->answer == NULL || c->answer->script != SCRIPT_SLOT_TAKE)) {
		cmd = crew_command(SCRIPT_SLOT_TAKE, FOR_CLAIM, c);
		put_slot(&cmd->words, c, false, LIMIT_UNLIMITED);
		crew_send(c->s, cmd);
	}
}

void
claim_tell_end(struct shared_claim *c)
{
	struct shared_command *cmd;

	if (c->under_way > 0)
		return;
	if (c->is_told || (!c->may_be_there && c->slot == NULL)) {
		free_claim(c);
		return;
	}
	if (!c->s->is_in)
		return; /* it waits for the next join */
	cmd = crew_command(SCRIPT_SETTLE, FOR_CLAIM, c);
	words_settle(&cmd->words, c);
	crew_send(c->s, cmd);
}

static int64_t
left_of(const struct rate *r, const struct account_use *use)
{
	if (use == NULL)
		return r->cost;
	if (r->limit == LIMIT_INPUT_TOKENS)
		return (int64_t)r->cost - cost_of(use->input);
	if (r->limit == LIMIT_OUTPUT_TOKENS)
		return (int64_t)r->cost - cost_of(use->output);
	return 0;
}

void
shared_settle(
    struct shared_claim **cp, const struct account_use *use, bool has_line)
{
	struct shared_claim *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	shared_forget_answer(c);
	c->is_ended = true;
	c->has_line = has_line;
	for (size_t i = 0; i < c->rate_count; i++)
		c->give_back[i] = left_of(&c->rates[i], use);
	list_remove(&c->link);
	list_append(&c->s->ended, &c->link);
	claim_tell_end(c);
}
