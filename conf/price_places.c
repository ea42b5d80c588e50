/* Which models of a file cost money.  The door is price_edit.h. */
#include "conf/price_edit.h"

#include <string.h>

#include "conf/build.h"
#include "conf/setting.h"
#include "conf/url.h"
#include "conf/yaml_tree.h"

#include "base/banned.h"

struct finder {
	const struct node *root; /* borrowed, like all here */
	struct arena *arena;
	struct price_places *out;
	size_t room;
};

static const struct node *
map_at(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n != NULL && n->kind == NODE_MAP ? n : NULL;
}

/* As build_upstreams() has it: a price list costs, whatever `paid` says. */
static bool
is_paid(const struct finder *f, const char *name, const struct node *upstream,
    enum server_kind kind)
{
	if (node_get(map_at(f->root, "prices"), name) != NULL)
		return true;
	if (setting_is_valid(node_get(upstream, "paid"), "upstreams.*.paid"))
		return setting_flag(upstream, "upstreams.*.paid");
	return kind_has(kind, KIND_IS_CLOUD);
}

static struct slice
host_of(const struct finder *f, const struct node *upstream)
{
	const char *text = setting_text(upstream, "upstreams.*.url");
	struct url url;

	if (text == NULL || !url_read(slice_of(text), &url, NULL))
		return SLICE("");
	return (struct slice){
	    arena_strndup(f->arena, url.host.p, url.host.len), url.host.len};
}

static bool
is_known(const struct finder *f, const char *upstream, const char *model)
{
	for (size_t i = 0; i < f->out->count; i++)
		if (strcmp(f->out->all[i].upstream, upstream) == 0 &&
		    strcmp(f->out->all[i].model, model) == 0)
			return true;
	return false;
}

static struct price_place *
add_place(struct finder *f)
{
	struct price_places *l = f->out;

	if (l->count == f->room) {
		size_t room = f->room == 0 ? 16 : 2 * f->room;
		struct price_place *all =
		    arena_alloc(f->arena, room * sizeof *all);

		if (l->count > 0)
			memcpy(all, l->all, l->count * sizeof *all);
		l->all = all;
		f->room = room;
	}
	return &l->all[l->count++];
}

/* `must_cost`: it counts as paid wherever it is. */
static void
take(struct finder *f, const struct node *to, const struct node *model,
    bool must_cost)
{
	const struct node *upstream;
	enum server_kind kind;
	struct price_place *p;
	const char *word;

	if (to == NULL || to->kind != NODE_TEXT || model == NULL ||
	    model->kind != NODE_TEXT || is_known(f, to->text.p, model->text.p))
		return;
	upstream = map_at(map_at(f->root, "upstreams"), to->text.p);
	if (upstream == NULL)
		return;
	word = setting_text(upstream, "upstreams.*.kind");
	if (!kind_parse(slice_of(word), &kind))
		kind = KIND_OPENAI;
	if (!must_cost && !is_paid(f, to->text.p, upstream, kind))
		return;
	p = add_place(f);
	p->upstream = to->text.p;
	p->model = model->text.p;
	p->kind = kind;
	p->host = host_of(f, upstream);
	p->prices = prices_read(f->arena,
	    node_get(map_at(map_at(f->root, "prices"), p->upstream), p->model));
}

static void
find_routes(struct finder *f)
{
	const struct node *models = map_at(f->root, "models");

	for (size_t i = 0; models != NULL && i < models->count; i++) {
		const struct node *model = models->items[i];
		const struct node *routes =
		    setting_list(model, "models.*.routes");
		const struct node *compare = map_at(model, "compare");

		for (size_t j = 0; j < routes->count; j++)
			take(f, node_get(routes->items[j], "to"),
			    node_get(routes->items[j], "model"), false);
		take(f, node_get(compare, "to"), node_get(compare, "model"),
		    true);
	}
}

static void
find_priced(struct finder *f)
{
	const struct node *prices = map_at(f->root, "prices");

	for (size_t i = 0; prices != NULL && i < prices->count; i++) {
		const struct node *models = prices->items[i];

		for (size_t j = 0;
		     models->kind == NODE_MAP && j < models->count; j++)
			take(f, prices->keys[i], models->keys[j], true);
	}
}

bool
price_places_read(struct slice text, struct arena *a, struct price_places *out,
    struct diagnostics *found)
{
	struct finder f = {yaml_tree_read(text, a, found), a, out, 0};

	*out = (struct price_places){0};
	if (f.root == NULL)
		return false;
	find_routes(&f);
	find_priced(&f);
	return true;
}
