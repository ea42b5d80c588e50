/* The keys params of a model and its routes.  The door is build.h. */
#include "conf/build.h"

#include <limits.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "conf/setting.h"

#include "base/banned.h"

#define PARAMS_MOST 64 /* in one place */

static bool
on_token(void *arg, const struct json_token *t)
{
	bool *is_bare = arg;

	*is_bare = t->depth == 0 &&
	    (t->kind == JSON_NUMBER || t->kind == JSON_TRUE ||
		t->kind == JSON_FALSE || t->kind == JSON_NULL);
	return *is_bare;
}

/* True for what JSON reads as a number, true, false or null. */
static bool
is_bare_json(struct slice text)
{
	struct json_scan scan;
	bool is_bare = false;

	if (text.len == 0 || slice_trim(text).len != text.len)
		return false;
	json_scan_init(&scan, on_token, &is_bare, UINT_MAX);
	if (json_scan_feed(&scan, text.p, text.len) == JSON_BAD)
		return false;
	return json_scan_end(&scan) == JSON_DONE && is_bare;
}

/* The tree is bounded in depth and, shared branches counted, in size. */
static void
put_json(struct json_out *o, const struct node *n)
{
	if (n->kind == NODE_TEXT) {
		if (!n->is_quoted && is_bare_json(n->text))
			json_raw(o, n->text);
		else
			json_string(o, n->text);
		return;
	}
	json_open(o, n->kind == NODE_MAP ? '{' : '[');
	for (size_t i = 0; i < n->count; i++) {
		if (n->kind == NODE_MAP)
			json_key(o, n->keys[i]->text.p);
		put_json(o, n->items[i]);
	}
	json_close(o, n->kind == NODE_MAP ? '}' : ']');
}

static const char *
to_json(struct build *b, const struct node *n)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	const char *copy;

	put_json(&o, n);
	copy = arena_strndup(b->arena, buf_data(&text), buf_len(&text));
	buf_release(&text);
	return copy;
}

/* NULL if there is none of this name. */
static const struct param_config *
param_find(const struct params_config *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->params[i].name, name) == 0)
			return &p->params[i];
	return NULL;
}

/* Fields that decide where a request goes and how its answer reads. */
static bool
is_our_own(struct slice name)
{
	return slice_is(name, "model") || slice_is(name, "stream") ||
	    slice_is(name, "stream_options");
}

static void
collect(struct build *b, struct params_config *into, enum param_action action,
    const struct node *name, const struct node *value)
{
	if (is_our_own(name->text)) {
		build_error(
		    b, name, "%s: is set by the gateway itself", name->text.p);
	} else if (into->count == PARAMS_MOST) {
		build_error(b, name, "more than %d params", PARAMS_MOST);
	} else if (param_find(into, name->text.p) != NULL) {
		build_error(
		    b, name, "'%s' is in these params twice", name->text.p);
	} else {
		into->params[into->count++] = (struct param_config){action,
		    name->text.p, value == NULL ? NULL : to_json(b, value)};
	}
}

static void
collect_map(struct build *b, struct params_config *into,
    enum param_action action, const struct node *map)
{
	if (map == NULL || map->kind != NODE_MAP)
		return;
	for (size_t i = 0; i < map->count; i++)
		collect(b, into, action, map->keys[i], map->items[i]);
}

static size_t
params_room(const struct node *map)
{
	return map == NULL ? 0 : map->count;
}

/* The params of one place. */
static struct params_config
collect_all(struct build *b, const struct node *owner)
{
	const struct node *params = node_get(owner, "params");
	const struct node *drop = setting_list(params, "models.*.params.drop");
	const struct node *set = node_get(params, "set");
	const struct node *fill = node_get(params, "default");
	size_t room = params_room(set) + params_room(fill) + drop->count;
	struct params_config p = {0};

	if (room > PARAMS_MOST)
		room = PARAMS_MOST;
	p.params = arena_alloc(b->arena, room * sizeof *p.params);
	collect_map(b, &p, PARAM_SET, set);
	collect_map(b, &p, PARAM_DEFAULT, fill);
	for (size_t i = 0; i < drop->count; i++)
		if (drop->items[i]->kind == NODE_TEXT)
			collect(b, &p, PARAM_DROP, drop->items[i], NULL);
	return p;
}

/* The route knows better, but for a mere default against something firm. */
static bool
route_wins(
    const struct param_config *of_route, const struct param_config *of_model)
{
	return of_route->action != PARAM_DEFAULT ||
	    of_model->action == PARAM_DEFAULT;
}

struct params_config
build_params(
    struct build *b, const struct node *model, const struct node *route)
{
	struct params_config of_model = collect_all(b, model);
	struct params_config of_route = collect_all(b, route);
	struct params_config all = {0};

	all.params = arena_alloc(
	    b->arena, (of_model.count + of_route.count) * sizeof *all.params);
	for (size_t i = 0; i < of_model.count; i++) {
		const struct param_config *own = &of_model.params[i], *other;

		other = param_find(&of_route, own->name);
		if (other == NULL || !route_wins(other, own))
			all.params[all.count++] = *own;
	}
	for (size_t i = 0; i < of_route.count; i++) {
		const struct param_config *own = &of_route.params[i], *other;

		other = param_find(&of_model, own->name);
		if (other == NULL || route_wins(own, other))
			all.params[all.count++] = *own;
	}
	return all;
}
