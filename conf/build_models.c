/* The section models.  The door is build.h. */
#include "conf/build.h"

#include <string.h>

#include "base/buf.h"
#include "base/json_out.h"
#include "conf/keys.h"
#include "conf/setting.h"
#include "conf/values.h"

#include "base/banned.h"

/* The words of a list, as bits by their place in the table's list of words. */
static unsigned
word_bits(const struct node *map, const char *path)
{
	const struct node *list = setting_list(map, path);
	const struct key *k = key_at(path);
	unsigned bits = 0;
	uint64_t index;

	for (size_t i = 0; i < list->count; i++)
		if (list->items[i]->kind == NODE_TEXT &&
		    word_find(k->words, list->items[i]->text, &index))
			bits |= 1u << index;
	return bits;
}

static const char *
to_json_string(struct build *b, const char *s)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	const char *copy;

	json_string(&o, slice_of(s));
	copy = arena_strndup(b->arena, buf_data(&text), buf_len(&text));
	buf_release(&text);
	return copy;
}

/* Where requests for a model go, and what they cost there.  False if the place
 * is not defined or has no price that it needs. */
static bool
build_place(struct build *b, struct route_config *r, const struct node *map,
    const struct model_config *m, const char *to_path, bool must_cost)
{
	const struct node *to = node_get(map, "to");
	const struct node *model = node_get(map, "model");
	size_t rank;

	if (!setting_is_valid(to, to_path) || !setting_is_valid(model, to_path))
		return false; /* has been told */
	rank = name_index_find(&b->c->memory->upstreams, to->text);
	if (rank == SIZE_MAX) {
		build_undefined(b, to, "upstream", &b->c->memory->upstreams);
		return false;
	}
	r->upstream = &b->c->upstreams[rank];
	r->model = model->text.p;
	r->model_json = to_json_string(b, r->model);
	if (!r->upstream->is_paid && !must_cost)
		return true;
	r->prices =
	    build_prices(b, r->upstream->name, r->model, m->type == MODEL_CHAT);
	if (r->prices.count > 0)
		return true;
	build_error(b, model,
	    "upstream '%s' costs money, and '%s' has no price: it belongs "
	    "under "
	    "prices: %s:",
	    r->upstream->name, r->model, r->upstream->name);
	return false;
}

static void
build_route(struct build *b, struct route_config *r, const struct node *map,
    const struct model_config *m, const struct node *model)
{
	if (!build_place(b, r, map, m, "models.*.routes[].to", false))
		return;
	r->when = node_get(map, "when") == NULL
	    ? WHEN_DEFAULT
	    : word_bits(map, "models.*.routes[].when");
	r->params = build_params(b, model, map);
	r->overflow_after_ms =
	    setting_number(map, "models.*.routes[].overflow_after");
	if ((r->when & WHEN_CONTEXT) != 0)
		build_warning(b, node_get(map, "when"),
		    "`context` is checked but not acted on by this version");
}

/* `slow` asks the route before it how long is too long. */
static void
check_slow(
    struct build *b, const struct model_config *m, const struct node *routes)
{
	for (size_t i = 1; i < m->route_count; i++)
		if ((m->routes[i].when & WHEN_SLOW) != 0 &&
		    m->routes[i - 1].overflow_after_ms == 0)
			build_warning(b, node_get(routes->items[i], "when"),
			    "`slow` never happens: the route before this one "
			    "has no overflow_after");
}

static void
build_routes(struct build *b, struct model_config *m, const struct node *key,
    const struct node *model)
{
	const struct node *routes = setting_list(model, "models.*.routes");
	const struct node *said = node_get(model, "routes");

	m->route_count = routes->count;
	m->routes = arena_alloc(b->arena, routes->count * sizeof *m->routes);
	if (routes->count == 0 && said != NULL &&
	    (said->kind == NODE_LIST || node_is_empty(said)))
		build_error(b, key, "model '%s' has no routes", m->name);
	for (size_t i = 0; i < routes->count; i++)
		build_route(b, &m->routes[i], routes->items[i], m, model);
	check_slow(b, m, routes);
}

/* The price that says what local answers have saved. */
static void
build_compare(struct build *b, struct model_config *m, const struct node *key,
    const struct node *model)
{
	const struct node *said = node_get(model, "compare");
	struct route_config *compare;

	if (said != NULL) {
		compare = arena_alloc(b->arena, sizeof *compare);
		if (build_place(
			b, compare, said, m, "models.*.compare.to", true))
			m->compare = compare;
		return;
	}
	for (size_t i = 0; i < m->route_count && m->compare == NULL; i++)
		if (m->routes[i].prices.count > 0)
			m->compare = &m->routes[i];
	/* Whoever has no prices at all does not count money. */
	if (m->compare == NULL && b->c->price_list_count > 0 &&
	    m->type == MODEL_CHAT)
		build_warning(b, key,
		    "model '%s' has no price and no compare price; its avoided "
		    "cost will read 0",
		    m->name);
}

static void
build_aliases(struct build *b, struct model_config *m, size_t rank,
    const struct node *model)
{
	const struct node *list = setting_list(model, "models.*.aliases");

	m->aliases = arena_alloc(b->arena, list->count * sizeof *m->aliases);
	for (size_t i = 0; i < list->count; i++) {
		const struct node *n = list->items[i];

		if (n->kind != NODE_TEXT)
			continue; /* has been told */
		m->aliases[m->alias_count++] = n->text.p;
		name_index_add(&b->c->memory->models, n->text, rank);
	}
}

static void
build_model_words(struct model_config *m, const struct node *model)
{
	unsigned input = word_bits(model, "models.*.input");

	m->type = (enum model_type)setting_number(model, "models.*.type");
	m->takes_images = (input & 2) != 0; /* "text image" */
	m->lists_aliases = setting_flag(model, "models.*.list_aliases");
	m->display_name = setting_text(model, "models.*.name");
	if (m->display_name == NULL)
		m->display_name = m->name;
	m->description = setting_text(model, "models.*.description");
	m->context = (uint32_t)setting_number(model, "models.*.context");
}

static void
build_waiting(struct model_config *m, const struct node *model)
{
	m->class = (enum queue_class)setting_number(model, "models.*.class");
	m->prefill = (enum prefill)setting_number(model, "models.*.prefill");
	m->commit_after_ms = setting_number(model, "models.*.commit_after");
	m->keepalive_ms = setting_number(model, "models.*.keepalive");
	m->retry_grace_ms = setting_number(model, "models.*.retry_grace");
}

/* Says of a name that leads to another model which one that is. */
static void
check_name(struct build *b, const struct node *at, size_t rank)
{
	size_t other = name_index_find(&b->c->memory->models, at->text);

	if (slice_is(at->text, "*"))
		build_error(b, at,
		    "'*' means all models, none can be called "
		    "that");
	else if (other != rank && other != SIZE_MAX)
		build_error(b, at,
		    "'%s' is also a name or an alias of model '%s'", at->text.p,
		    b->c->models[other].name);
}

static void
check_names(struct build *b, const struct node *section)
{
	const struct name_index *x = &b->c->memory->models;

	for (size_t i = 0; i < section->count; i++) {
		const struct node *list =
		    setting_list(section->items[i], "models.*.aliases");

		check_name(b, section->keys[i], i);
		for (size_t j = 0; j < list->count; j++)
			if (list->items[j]->kind == NODE_TEXT)
				check_name(b, list->items[j], i);
	}
	for (size_t i = 1; i < x->count; i++)
		if (x->all[i].rank == x->all[i - 1].rank &&
		    slice_is(x->all[i].name, x->all[i - 1].name.p))
			build_error(b, section->keys[x->all[i].rank],
			    "'%s' is among this model's names twice",
			    x->all[i].name.p);
}

static size_t
count_names(const struct node *section)
{
	size_t n = section->count;

	for (size_t i = 0; i < section->count; i++)
		n += setting_list(section->items[i], "models.*.aliases")->count;
	return n;
}

void
build_models(struct build *b)
{
	const struct node *section = node_get(b->root, "models");
	struct name_index *names = &b->c->memory->models;

	build_all_prices(b);
	if (section == NULL || section->kind != NODE_MAP)
		return;
	name_index_init(names, b->arena, count_names(section));
	b->c->model_count = section->count;
	b->c->models =
	    arena_alloc(b->arena, section->count * sizeof *b->c->models);
	for (size_t i = 0; i < section->count; i++) {
		struct model_config *m = &b->c->models[i];
		const struct node *model = section->items[i];

		m->name = section->keys[i]->text.p;
		name_index_add(names, section->keys[i]->text, i);
		build_aliases(b, m, i, model);
		build_model_words(m, model);
		build_waiting(m, model);
		build_routes(b, m, section->keys[i], model);
		build_compare(b, m, section->keys[i], model);
	}
	name_index_sort(names);
	check_names(b, section);
}
