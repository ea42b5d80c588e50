#include "proxy/admin.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "metering/price.h"

#include "base/banned.h"

#define WAITERS_MOST 1000 /* an upstream */

/* The moment of the document, and where it goes. */
struct page {
	const struct worker *w; /* borrowed */
	struct json_out j;
	uint64_t now_ns;
	int64_t wall_ms;
};

static void
member_text(struct json_out *j, const char *name, const char *text)
{
	json_key(j, name);
	if (text == NULL || text[0] == '\0')
		json_null(j);
	else
		json_string(j, slice_of(text));
}

/* null where there is no limit. */
static void
member_limit(struct json_out *j, const char *name, uint32_t n)
{
	json_key(j, name);
	if (n == LIMIT_UNLIMITED)
		json_null(j);
	else
		json_int(j, n);
}

static void
member_dollars(struct json_out *j, const char *name, int64_t pusd)
{
	char text[MONEY_TEXT_BYTES];

	if (pusd == BUDGET_UNLIMITED) {
		member_text(j, name, NULL);
		return;
	}
	money_format_plain(text, pusd);
	json_member_string(j, name, slice_of(text));
}

/* --- upstreams ----------------------------------------------------------- */

static void
write_waiters(struct page *p, struct gate_upstream *up)
{
	struct json_out *j = &p->j;
	struct gate_waiter *waiters;
	size_t count = gate_waiters(
	    p->w->gateway->gate, up, p->now_ns, &waiters, WAITERS_MOST);

	json_key(j, "waiters");
	json_open(j, '[');
	for (size_t i = 0; i < count; i++) {
		const struct gate_waiter *one = &waiters[i];

		json_open(j, '{');
		json_member_int(j, "position", (int64_t)i + 1);
		member_text(j, "user", one->user);
		member_text(j, "model", one->model);
		json_member_string(j, "class",
		    one->class == FAIR_BATCH ? SLICE("batch")
					     : SLICE("interactive"));
		json_member_int(j, "tokens", (int64_t)one->tokens);
		json_member_int(
		    j, "waited_ms", (int64_t)(one->waited_ns / NS_PER_MS));
		json_member_bool(j, "user_is_full", one->is_user_full);
		json_close(j, '}');
	}
	json_close(j, ']');
	free(waiters);
}

static void
write_upstream(struct page *p, const struct upstream_config *config)
{
	struct gate_upstream *up = p->w->snapshot->upstreams[config->index];
	struct json_out *j = &p->j;
	struct gate_outlook o;

	gate_outlook(p->w->gateway->gate, up, NULL, p->now_ns, &o);
	json_open(j, '{');
	json_member_string(j, "upstream", slice_of(config->name));
	json_member_int(j, "in_flight", o.in_flight);
	json_member_int(j, "abandoned", o.abandoned);
	member_limit(j, "max_inflight", config->max_inflight);
	json_member_int(j, "tokens", (int64_t)o.tokens);
	json_key(j, "kv_tokens");
	if (config->kv_tokens == 0)
		json_null(j);
	else
		json_int(j, (int64_t)config->kv_tokens);
	json_member_int(j, "waiting", o.waiting);
	json_member_int(j, "queue_size", config->queue_size);
	json_key(j, "expected_wait_ms");
	if (o.wait_ns == UINT64_MAX)
		json_null(j);
	else
		json_int(j, (int64_t)(o.wait_ns / NS_PER_MS));
	write_waiters(p, up);
	json_close(j, '}');
}

/* --- accounts ------------------------------------------------------------ */

static void
write_rates(struct page *p, const struct gate_status *s)
{
	static const enum limit rates[] = {
	    LIMIT_REQUESTS, LIMIT_INPUT_TOKENS, LIMIT_OUTPUT_TOKENS};
	struct json_out *j = &p->j;

	json_key(j, "rates");
	json_open(j, '{');
	for (size_t i = 0; i < COUNT_OF(rates); i++) {
		struct rate_limit rate = limits_rate(&s->limits, rates[i]);

		json_key(j, limit_name(rates[i]));
		if (rate.per_minute == LIMIT_UNLIMITED) {
			json_null(j);
			continue;
		}
		json_open(j, '{');
		json_member_int(j, "limit", rate.per_minute);
		json_member_int(j, "remaining",
		    limiter_remaining(
			&s->account.rates[rates[i]], rate, p->now_ns));
		json_close(j, '}');
	}
	json_close(j, '}');
}

static void
write_day_tokens(struct page *p, const struct gate_status *s)
{
	struct meter m = account_tokens(&s->account, p->wall_ms);
	struct json_out *j = &p->j;

	json_key(j, "tokens_per_day");
	json_open(j, '{');
	member_limit(j, "limit", s->limits.most[LIMIT_DAY_TOKENS]);
	json_member_int(j, "used", m.used);
	json_member_int(j, "held", m.held);
	json_close(j, '}');
}

static void
write_meter(
    struct json_out *j, const char *name, int64_t limit, const struct meter *m)
{
	json_key(j, name);
	json_open(j, '{');
	member_dollars(j, "limit_usd", limit);
	member_dollars(j, "used_usd", m->used);
	member_dollars(j, "held_usd", m->held);
	json_close(j, '}');
}

static void
write_money(struct page *p, const struct gate_status *s)
{
	struct json_out *j = &p->j;

	json_key(j, "money");
	json_open(j, '[');
	for (unsigned i = 0; i < PERIOD_COUNT; i++) {
		enum period period = (enum period)i;
		struct meter all =
		    account_money(&s->account, period, p->wall_ms);
		struct meter fallback =
		    account_fallback(&s->account, period, p->wall_ms);

		json_open(j, '{');
		json_member_string(j, "per", slice_of(period_name(period)));
		write_meter(j, "budget", s->limits.budget[i], &all);
		write_meter(
		    j, "cloud_fallback", s->limits.fallback[i], &fallback);
		json_close(j, '}');
	}
	json_close(j, ']');
}

/* Whose account it is. */
struct owner {
	const char *subject, *user, *model, *key;
};

static void
write_account(struct page *p, const struct owner *o,
    struct gate_account *account, const struct limits *limits)
{
	struct gate_subject subject = {account, limits};
	struct json_out *j = &p->j;
	char until[CLOCK_TEXT_BYTES] = "";
	struct gate_status s;

	gate_look(p->w->gateway->gate, &subject, p->wall_ms, &s);
	json_open(j, '{');
	json_member_string(j, "subject", slice_of(o->subject));
	member_text(j, "user", o->user);
	member_text(j, "model", o->model);
	member_text(j, "key", o->key);
	json_member_int(j, "in_flight", s.account.in_flight);
	member_limit(j, "concurrent", s.limits.most[LIMIT_CONCURRENT]);
	write_rates(p, &s);
	write_day_tokens(p, &s);
	write_money(p, &s);
	if (s.override_until_ms != 0)
		clock_format(until, s.override_until_ms);
	member_text(j, "override_until", until);
	json_close(j, '}');
}

static void
write_users(struct page *p)
{
	const struct snapshot *s = p->w->snapshot;

	for (size_t i = 0; i < s->config->user_count; i++) {
		const struct user_config *u = &s->config->users[i];

		write_account(p,
		    &(struct owner){.subject = "user", .user = u->name},
		    s->users[i], &u->limits);
		for (size_t k = 0; k < u->at_model_count; k++)
			write_account(p,
			    &(struct owner){.subject = "user_at_model",
				.user = u->name,
				.model = u->at_models[k].model->name},
			    s->at_models[i][k], &u->at_models[k].own);
	}
}

static void
write_accounts(struct page *p)
{
	const struct snapshot *s = p->w->snapshot;

	json_key(&p->j, "accounts");
	json_open(&p->j, '[');
	write_users(p);
	for (size_t i = 0; i < key_table_count(p->w->keys); i++) {
		const struct key_record *r = key_table_at(p->w->keys, i);

		if (r->limits.stated != 0)
			write_account(p,
			    &(struct owner){.subject = "key",
				.user = r->user,
				.key = r->id},
			    gate_account(
				p->w->gateway->gate, SUBJECT_KEY, r->id, NULL),
			    &r->limits);
	}
	write_account(p, &(struct owner){.subject = "everyone"}, s->everyone,
	    &s->config->everyone);
	json_close(&p->j, ']');
}

void
admin_write_gate(const struct worker *w, struct buf *to)
{
	const struct config *config = w->snapshot->config;
	struct page p = {w, json_out_to(to), clock_mono_ns(), clock_wall_ms()};
	char at[CLOCK_TEXT_BYTES];

	clock_format(at, p.wall_ms);
	json_open(&p.j, '{');
	json_member_int(&p.j, "schema", ADMIN_SCHEMA);
	json_member_string(&p.j, "at", slice_of(at));
	json_key(&p.j, "upstreams");
	json_open(&p.j, '[');
	for (size_t i = 0; i < config->upstream_count; i++)
		write_upstream(&p, &config->upstreams[i]);
	json_close(&p.j, ']');
	write_accounts(&p);
	json_close(&p.j, '}');
	buf_puts(to, "\n");
}
