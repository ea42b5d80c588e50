/* The section limits, and the limits of users.  The door is build.h. */
#include "conf/build.h"

#include <stdio.h>
#include <stdlib.h>

#include "conf/keys.h"
#include "conf/setting.h"
#include "conf/values.h"

#include "base/banned.h"

#define LIMITS_AT_MODELS_MOST 100000 /* that users have in common, in all */
#define KEY_PATH_BYTES 96

/* What is said of one model. */
struct limits_at {
	size_t rank; /* of the model */
	const struct node *key;
	struct limits limits;
};

/* The value of `name` in a map which the table knows as `path`; false if
 * nothing valid is said. */
static bool
is_said(
    const struct node *map, const char *path, const char *name, uint64_t *value)
{
	const struct node *n = node_get(map, name);
	char whole[KEY_PATH_BYTES];

	if (n == NULL)
		return false;
	snprintf(whole, sizeof whole, "%s.%s", path, name);
	if (!setting_is_valid(n, whole))
		return false;
	*value = setting_number(map, whole);
	return true;
}

static struct limits
read_limits(const struct node *map, const char *path)
{
	struct limits l = limits_none();
	uint64_t n;

	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		if (is_said(map, path, limit_name((enum limit)i), &n)) {
			l.most[i] = (uint32_t)n;
			l.stated |= STATED_LIMIT(i);
		}
	if (is_said(map, path, "reserve_cap", &n)) {
		l.reserve_cap = (uint32_t)n;
		l.stated |= STATED_RESERVE_CAP;
	}
	if (is_said(map, path, "paid_routes", &n)) {
		l.paid_routes = n == 1;
		l.stated |= STATED_PAID_ROUTES;
	}
	return l;
}

/* Sums of money by period. */
struct budgets {
	int64_t *most;
	unsigned said; /* bits: 1 << period */
};

static void
read_budget(struct build *b, const struct node *map, const char *path,
    struct budgets *all)
{
	uint64_t usd, per;

	if (!is_said(map, path, "usd", &usd) ||
	    !is_said(map, path, "per", &per))
		return; /* has been told */
	if (all->said & 1u << per)
		build_error(b, node_get(map, "per"),
		    "this is the second budget of a %s; there may be one for "
		    "each of day, week and month",
		    period_name((enum period)per));
	all->said |= 1u << per;
	all->most[per] = (int64_t)usd;
}

/* One budget, or a list of them, of which `map` may have the key.  Returns the
 * bits of the periods, which times STATED_BUDGET(0) are those of `stated`. */
static unsigned
read_budgets(struct build *b, const struct node *map, const char *path,
    int64_t most[PERIOD_COUNT])
{
	const char *name = key_name(key_at(path));
	const struct node *said = node_get(map, name);
	struct budgets all = {most, 0};

	if (said == NULL)
		return 0;
	if (said->kind != NODE_LIST) {
		read_budget(b, said, path, &all);
		return all.said;
	}
	if (said->count == 0)
		build_error(b, node_key(map, name),
		    "%s: is empty; write {usd: 10, per: month}, with usd: "
		    "unlimited to lift one that all users have",
		    name);
	for (size_t i = 0; i < said->count; i++)
		read_budget(b, said->items[i], path, &all);
	return all.said;
}

static int
by_rank_and_place(const void *a, const void *b)
{
	const struct limits_at *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	if (x->key->line != y->key->line)
		return x->key->line < y->key->line ? -1 : 1;
	return (x->key->column > y->key->column) -
	    (x->key->column < y->key->column);
}

/* Under its name and an alias the same model would have two limits. */
static void
refuse_repetition(struct build *b, const struct limits_said *s)
{
	for (size_t i = 1; i < s->at_count; i++)
		if (s->at[i].rank == s->at[i - 1].rank)
			build_error(b, s->at[i].key,
			    "'%s' is model '%s', whose limits stand here "
			    "already",
			    s->at[i].key->text.p,
			    b->c->models[s->at[i].rank].name);
}

/* The limits of single models, of which `path` is the table's `….models.*`. */
static void
read_models(struct build *b, struct limits_said *s, const struct node *models,
    const char *path)
{
	char budget[KEY_PATH_BYTES];

	if (models == NULL || models->kind != NODE_MAP)
		return;
	snprintf(budget, sizeof budget, "%s.budget", path);
	s->at = arena_alloc(b->arena, models->count * sizeof *s->at);
	for (size_t i = 0; i < models->count; i++) {
		struct limits_at *at = &s->at[s->at_count];

		at->key = models->keys[i];
		at->rank =
		    name_index_find(&b->c->memory->models, at->key->text);
		if (at->rank == SIZE_MAX) {
			build_undefined(
			    b, at->key, "model", &b->c->memory->models);
			continue;
		}
		at->limits = read_limits(models->items[i], path);
		at->limits.stated |= STATED_BUDGET(0) *
		    read_budgets(
			b, models->items[i], budget, at->limits.budget);
		s->at_count++;
	}
	if (s->at_count > 1)
		qsort(s->at, s->at_count, sizeof *s->at, by_rank_and_place);
	refuse_repetition(b, s);
}

static void
build_scope(struct build *b, const struct node *limits)
{
	struct config *c = b->c;

	c->limits_shared = setting_number(limits, "limits.scope") == 1;
	c->unverified_pusd =
	    (int64_t)setting_number(limits, "limits.unverified_usd");
	if (c->limits_shared && !c->has_redis)
		build_error(b, node_get(limits, "scope"),
		    "scope: shared counts in Redis, and there is none; add "
		    "redis: {url: redis://…}");
	if (!c->limits_shared && node_key(limits, "unverified_usd") != NULL)
		build_warning(b, node_key(limits, "unverified_usd"),
		    "unverified_usd means something with scope: shared only");
}

/* Each user has an entry for each of these models. */
static void
check_size(struct build *b, struct limits_said *s, const struct node *limits)
{
	const struct node *users = node_get(b->root, "users");
	size_t count = users == NULL ? 0 : users->count;

	if (s->at_count == 0 || count <= LIMITS_AT_MODELS_MOST / s->at_count)
		return;
	build_error(b, node_key(limits, "models"),
	    "limits of %zu users at %zu models each are more than %d", count,
	    s->at_count, LIMITS_AT_MODELS_MOST);
	s->at_count = 0;
}

struct limits_said
build_limits(struct build *b)
{
	const struct node *limits = node_get(b->root, "limits");
	struct limits_said s = {.general = read_limits(limits, "limits")};

	s.general.stated |= STATED_BUDGET(0) *
	    read_budgets(b, limits, "limits.budget", s.general.budget);
	read_models(b, &s, node_get(limits, "models"), "limits.models.*");
	check_size(b, &s, limits);
	build_scope(b, limits);
	b->c->everyone = limits_none();
	b->c->everyone.stated = STATED_FALLBACK(0) *
	    read_budgets(b, b->root, "cloud_fallback", b->c->everyone.fallback);
	return s;
}

/* Adds the limits at one model: what the user's lines state, else what all have
 * in common. */
static void
add_at(struct build *b, struct user_config *u, const struct limits_at *common,
    const struct limits_at *own)
{
	struct user_model_limits *at = &u->at_models[u->at_model_count];

	at->model = &b->c->models[own != NULL ? own->rank : common->rank];
	at->own = limits_none();
	if (common != NULL)
		limits_replace(&at->own, &common->limits);
	if (own != NULL)
		limits_replace(&at->own, &own->limits);
	at->own_lines = own == NULL ? 0 : own->limits.stated;
	at->beside = limits_beside(&u->limits, &at->own);
	at->own.reserve_cap = at->beside.reserve_cap;
	at->own.paid_routes = at->beside.paid_routes;
	if (at->own.stated != 0 && user_may_use(u, at->model))
		u->at_model_count++;
	else if (own != NULL && !user_may_use(u, at->model))
		build_warning(b, own->key,
		    "user '%s' may not use model '%s', whatever its limits "
		    "are",
		    u->name, at->model->name);
}

/* Both lists are in the order of ranks, and so is what comes of them. */
static void
merge_models(struct build *b, struct user_config *u,
    const struct limits_said *common, const struct limits_said *own)
{
	size_t i = 0, j = 0;

	u->at_models = arena_alloc(b->arena,
	    (common->at_count + own->at_count) * sizeof *u->at_models);
	while (i < common->at_count || j < own->at_count) {
		const struct limits_at *c =
		    i < common->at_count ? &common->at[i] : NULL;
		const struct limits_at *o =
		    j < own->at_count ? &own->at[j] : NULL;

		if (c != NULL && o != NULL && c->rank > o->rank)
			c = NULL;
		else if (c != NULL && o != NULL && o->rank > c->rank)
			o = NULL;
		add_at(b, u, c, o);
		i += c != NULL;
		j += o != NULL;
	}
}

static bool
is_spent_nowhere(const struct user_config *u)
{
	for (size_t i = 0; i < u->at_model_count; i++)
		if (u->at_models[i].own.paid_routes)
			return false;
	return !u->limits.paid_routes;
}

static bool
is_any(const int64_t pusd[PERIOD_COUNT], unsigned said)
{
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		if ((said & 1u << p) && pusd[p] > 0)
			return true;
	return false;
}

/* Money that no request of the user may be spent on. */
static void
check_money(struct build *b, const struct user_config *u,
    const struct node *user, const struct limits *own)
{
	static const char *const keys[] = {"budget", "cloud_fallback"};
	const bool is_there[] = {
	    is_any(own->budget, own->stated / STATED_BUDGET(0)),
	    is_any(own->fallback, own->stated / STATED_FALLBACK(0))};

	for (size_t i = 0; i < COUNT_OF(keys); i++)
		if (is_there[i] && is_spent_nowhere(u))
			build_warning(b, node_key(user, keys[i]),
			    "user '%s' has a %s but no paid_routes: it can "
			    "never be spent",
			    u->name, keys[i]);
}

void
build_user_limits(struct build *b, struct user_config *u,
    const struct node *user, const struct limits_said *common)
{
	const struct node *limits = node_get(user, "limits");
	struct limits_said own = {
	    .general = read_limits(limits, "users.*.limits")};
	struct limits *l = &own.general;

	l->stated |= STATED_BUDGET(0) *
	    read_budgets(b, user, "users.*.budget", l->budget);
	l->stated |= STATED_FALLBACK(0) *
	    read_budgets(b, user, "users.*.cloud_fallback", l->fallback);
	read_models(
	    b, &own, node_get(limits, "models"), "users.*.limits.models.*");
	u->limits = common->general;
	limits_replace(&u->limits, l);
	u->limits.stated = l->stated;
	u->weight = (uint32_t)setting_number(user, "users.*.weight");
	merge_models(b, u, common, &own);
	check_money(b, u, user, l);
}
