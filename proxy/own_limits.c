#include "proxy/own_limits.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metering/price.h"
#include "proxy/models.h"

#include "base/banned.h"

#define UNLIMITED_REQUESTS (-1) /* as OpenRouter has it */

/* One that limits are held to: the user; the key, which then stands next; the
 * user at a model. */
struct told {
	const char *key, *model; /* borrowed; NULL: not that */
	struct gate_status now;
};

struct all_told {
	struct told *of; /* owned */
	size_t count;
	size_t general; /* of these, the first: those for all models */
};

/* --- numbers ------------------------------------------------------------- */

/* What still fits beside what is used and held. */
static int64_t
left_of(int64_t most, const struct meter *m)
{
	int64_t left = m->used < most ? most - m->used : 0;

	if (most == BUDGET_UNLIMITED)
		return most;
	return m->held < left ? left - m->held : 0;
}

static void
member_dollars(struct json_out *j, const char *name, int64_t pusd)
{
	char text[MONEY_TEXT_BYTES];

	money_format_plain(text, pusd);
	json_key(j, name);
	json_raw(j, slice_of(text));
}

static void
member_null(struct json_out *j, const char *name)
{
	json_key(j, name);
	json_null(j);
}

static void
member_text(struct json_out *j, const char *name, const char *text)
{
	if (text == NULL)
		member_null(j, name);
	else
		json_member_string(j, name, slice_of(text));
}

static void
member_time(struct json_out *j, const char *name, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_format(text, wall_ms);
	json_member_string(j, name, slice_of(text));
}

static void
member_most(struct json_out *j, const char *name, uint32_t most)
{
	if (most == LIMIT_UNLIMITED)
		member_null(j, name);
	else
		json_member_int(j, name, most);
}

/* --- who is held to what ------------------------------------------------- */

static void
look(const struct own_usage *o, struct all_told *all,
    struct gate_account *account, const struct limits *limits, const char *key,
    const char *model)
{
	struct told *t = &all->of[all->count++];

	t->key = key;
	t->model = model;
	gate_look(o->gate, &(struct gate_subject){account, limits}, o->now_ms,
	    &t->now);
}

static struct all_told
look_at_all(const struct own_usage *o)
{
	const struct user_config *u = o->user;
	const struct key_record *r = o->record;
	const struct snapshot *s = o->snapshot;
	struct all_told all = {0};

	all.of = xcalloc_array(2 + u->at_model_count, sizeof *all.of);
	look(o, &all, s->users[u->index], &u->limits, NULL, NULL);
	if (r != NULL && r->limits.stated != 0)
		look(o, &all, gate_account(o->gate, SUBJECT_KEY, r->id, NULL),
		    &r->limits, r->id, NULL);
	all.general = all.count;
	for (size_t i = 0; i < u->at_model_count; i++) {
		const struct user_model_limits *at = &u->at_models[i];

		if (models_may_use(u, r, at->model))
			look(o, &all, s->at_models[u->index][i], &at->own, NULL,
			    at->model->name);
	}
	return all;
}

static uint32_t
least(const struct told *t, size_t count, enum limit which)
{
	uint32_t most = LIMIT_UNLIMITED;

	for (size_t i = 0; i < count; i++)
		if (t[i].now.limits.most[which] < most)
			most = t[i].now.limits.most[which];
	return most;
}

/* How many more requests may be under way. */
static uint32_t
room_of(const struct told *t)
{
	uint32_t most = t->now.limits.most[LIMIT_CONCURRENT];
	uint32_t n = t->now.account.in_flight;

	if (most == LIMIT_UNLIMITED)
		return most;
	return n < most ? most - n : 0;
}

static int64_t
day_most(const struct told *t)
{
	uint32_t most = t->now.limits.most[LIMIT_DAY_TOKENS];

	return most == LIMIT_UNLIMITED ? BUDGET_UNLIMITED : most;
}

/* --- limits -------------------------------------------------------------- */

/* The tokens of the day, of the one that has the least left. */
static void
write_day(const struct own_usage *o, struct json_out *j, const struct told *t,
    size_t count)
{
	struct meter m = account_tokens(&t->now.account, o->now_ms);
	int64_t most = day_most(t);

	for (size_t i = 1; i < count; i++) {
		struct meter other =
		    account_tokens(&t[i].now.account, o->now_ms);

		if (left_of(day_most(&t[i]), &other) < left_of(most, &m)) {
			m = other;
			most = day_most(&t[i]);
		}
	}
	json_key(j, "tokens_today");
	json_open(j, '{');
	member_most(j, "limit", least(t, count, LIMIT_DAY_TOKENS));
	json_member_int(j, "used", m.used);
	json_member_int(j, "held", m.held);
	if (most == BUDGET_UNLIMITED)
		member_null(j, "remaining");
	else
		json_member_int(j, "remaining", left_of(most, &m));
	member_time(j, "resets_at", m.span.end_ms);
	json_close(j, '}');
}

/* Of several that are held to limits, the tighter of each. */
static void
write_counts(const struct own_usage *o, struct json_out *j,
    const struct told *t, size_t count)
{
	const struct told *fullest = t;

	for (size_t i = 1; i < count; i++)
		if (room_of(&t[i]) < room_of(fullest))
			fullest = &t[i];
	for (unsigned l = 0; l < LIMIT_COUNT; l++)
		if (l == LIMIT_CONCURRENT)
			member_most(j, limit_name(LIMIT_CONCURRENT),
			    fullest->now.limits.most[l]);
		else
			member_most(j, limit_name((enum limit)l),
			    least(t, count, (enum limit)l));
	json_member_int(j, "in_flight", fullest->now.account.in_flight);
	write_day(o, j, t, count);
}

static bool
pays(const struct all_told *all)
{
	const struct limits *l = &all->of[all->general - 1].now.limits;

	if ((l->stated & STATED_PAID_ROUTES) != 0)
		return l->paid_routes;
	return all->of[0].now.limits.paid_routes;
}

static void
write_limits(
    const struct own_usage *o, struct json_out *j, const struct all_told *all)
{
	int64_t until = all->of[0].now.override_until_ms;

	json_key(j, "limits");
	json_open(j, '{');
	write_counts(o, j, all->of, all->general);
	json_member_bool(j, "paid_routes", pays(all));
	if (until == 0)
		member_null(j, "override_until");
	else
		member_time(j, "override_until", until);
	json_key(j, "models");
	json_open(j, '{');
	for (size_t i = all->general; i < all->count; i++) {
		json_key(j, all->of[i].model);
		json_open(j, '{');
		write_counts(o, j, &all->of[i], 1);
		json_close(j, '}');
	}
	json_close(j, '}');
	json_close(j, '}');
}

/* --- money --------------------------------------------------------------- */

static void
write_budget(struct json_out *j, const struct told *t, enum period p,
    const char *kind, int64_t most, const struct meter *m)
{
	if (most == BUDGET_UNLIMITED)
		return;
	json_open(j, '{');
	json_member_string(j, "kind", slice_of(kind));
	json_member_string(j, "per", slice_of(period_name(p)));
	member_dollars(j, "usd", most);
	member_dollars(j, "used_usd", m->used);
	member_dollars(j, "held_usd", m->held);
	member_dollars(j, "remaining_usd", left_of(most, m));
	member_time(j, "resets_at", m->span.end_ms);
	member_text(j, "key", t->key);
	member_text(j, "model", t->model);
	json_close(j, '}');
}

static void
write_budgets(
    const struct own_usage *o, struct json_out *j, const struct all_told *all)
{
	json_key(j, "budgets");
	json_open(j, '[');
	for (size_t i = 0; i < all->count; i++) {
		const struct told *t = &all->of[i];

		for (unsigned n = 0; n < PERIOD_COUNT; n++) {
			enum period p = (enum period)n;
			struct meter money =
			    account_money(&t->now.account, p, o->now_ms);
			struct meter fallback =
			    account_fallback(&t->now.account, p, o->now_ms);

			write_budget(
			    j, t, p, "budget", t->now.limits.budget[p], &money);
			write_budget(j, t, p, "cloud_fallback",
			    t->now.limits.fallback[p], &fallback);
		}
	}
	json_close(j, ']');
}

/* OpenRouter's clients know one budget: that with the least left. */
static void
write_limit(
    const struct own_usage *o, struct json_out *j, const struct all_told *all)
{
	static const char *const resets[PERIOD_COUNT] = {
	    [PERIOD_DAY] = "daily",
	    [PERIOD_WEEK] = "weekly",
	    [PERIOD_MONTH] = "monthly",
	};
	int64_t most = BUDGET_UNLIMITED, left = BUDGET_UNLIMITED;
	const char *reset = NULL;

	for (size_t i = 0; i < all->general * PERIOD_COUNT; i++) {
		const struct told *t = &all->of[i / PERIOD_COUNT];
		enum period p = (enum period)(i % PERIOD_COUNT);
		struct meter m = account_money(&t->now.account, p, o->now_ms);

		if (left_of(t->now.limits.budget[p], &m) >= left)
			continue;
		most = t->now.limits.budget[p];
		left = left_of(most, &m);
		reset = resets[p];
	}
	if (reset == NULL) {
		member_null(j, "limit");
		member_null(j, "limit_remaining");
	} else {
		member_dollars(j, "limit", most);
		member_dollars(j, "limit_remaining", left);
	}
	member_text(j, "limit_reset", reset);
}

static void
write_rate(struct json_out *j, const struct all_told *all)
{
	uint32_t most = least(all->of, all->general, LIMIT_REQUESTS);

	json_key(j, "rate_limit");
	json_open(j, '{');
	json_member_int(j, "requests",
	    most == LIMIT_UNLIMITED ? UNLIMITED_REQUESTS : (int64_t)most);
	json_member_string(j, "interval", SLICE("1m"));
	json_close(j, '}');
}

void
own_limits_write(const struct own_usage *o, struct json_out *j)
{
	struct all_told all = look_at_all(o);

	write_limit(o, j, &all);
	write_rate(j, &all);
	write_limits(o, j, &all);
	write_budgets(o, j, &all);
	free(all.of);
}
