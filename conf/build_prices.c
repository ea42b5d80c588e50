/* The section prices.  The door is build.h. */
#include "conf/build.h"

#include <string.h>

#include "conf/setting.h"

#include "base/banned.h"

#define PRICES_MOST 1000 /* of one model */

/* A token's price; what is not said costs as much as `or_else`. */
static int64_t
token_price(const struct node *entry, const char *path, const char *key,
    int64_t or_else)
{
	if (node_get(entry, key) == NULL)
		return or_else;
	return (int64_t)setting_number(entry, path);
}

static struct price
build_price(const struct node *entry)
{
	struct price p = {0};
	uint64_t hours = setting_number(entry, "prices.*.*[].hours");

	p.from_ms = (int64_t)setting_number(entry, "prices.*.*[].from");
	p.hour_begin = (int)(hours / 100);
	p.hour_end = (int)(hours % 100);
	p.input_pusd = token_price(entry, "prices.*.*[].input", "input", 0);
	p.input_cached_pusd = token_price(
	    entry, "prices.*.*[].input_cached", "input_cached", p.input_pusd);
	p.cache_write_pusd = token_price(
	    entry, "prices.*.*[].cache_write", "cache_write", p.input_pusd);
	p.output_pusd = token_price(entry, "prices.*.*[].output", "output", 0);
	p.request_pusd =
	    token_price(entry, "prices.*.*[].request", "request", 0);
	return p;
}

/* Reads the entries of one model; those that are no entries have been told. */
struct price_list
prices_read(struct arena *a, const struct node *entries)
{
	struct price_list l = {0};

	if (entries == NULL || entries->kind != NODE_LIST)
		return l;
	l.prices = arena_alloc(a, entries->count * sizeof *l.prices);
	for (size_t i = 0; i < entries->count; i++)
		if (entries->items[i]->kind == NODE_MAP)
			l.prices[l.count++] = build_price(entries->items[i]);
	return l;
}

static const struct node *
entries_of(const struct build *b, const char *upstream, const char *model)
{
	return node_get(node_get(node_get(b->root, "prices"), upstream), model);
}

struct price_list
build_prices(
    struct build *b, const char *upstream, const char *model, bool needs_output)
{
	const struct node *entries = entries_of(b, upstream, model);

	for (size_t i = 0; needs_output && entries != NULL &&
	     entries->kind == NODE_LIST && i < entries->count;
	     i++)
		if (entries->items[i]->kind == NODE_MAP &&
		    node_get(entries->items[i], "output") == NULL)
			build_error(b, entries->items[i],
			    "this price has no output, which '%s' charges for",
			    model);
	for (size_t i = 0; i < b->c->priced_model_count; i++) {
		const struct priced_model *m = &b->c->priced_models[i];

		if (strcmp(m->upstream, upstream) == 0 &&
		    strcmp(m->model, model) == 0)
			return m->list;
	}
	return (struct price_list){0};
}

static bool
is_valid_time(const struct node *entry)
{
	const struct node *from = node_get(entry, "from");
	const struct node *hours = node_get(entry, "hours");

	return entry->kind == NODE_MAP &&
	    (from == NULL || setting_is_valid(from, "prices.*.*[].from")) &&
	    (hours == NULL || setting_is_valid(hours, "prices.*.*[].hours"));
}

/* Which of two prices holds must not hang on their order in the file.  `list`
 * has the maps among `entries`. */
static void
check_conflicts(
    struct build *b, const struct node *entries, const struct price_list *list)
{
	const struct node **at =
	    arena_alloc(b->arena, list->count * sizeof(void *));
	size_t count = 0;

	for (size_t i = 0; i < entries->count; i++)
		if (entries->items[i]->kind == NODE_MAP)
			at[count++] = entries->items[i];
	for (size_t i = 1; i < count; i++) {
		size_t j = 0;

		while (j < i &&
		    !price_conflicts(&list->prices[i], &list->prices[j]))
			j++;
		if (j < i && is_valid_time(at[i]) && is_valid_time(at[j]))
			build_error(b, at[i],
			    "the price in line %u is from the same day on, and "
			    "for the same hours",
			    at[j]->line);
	}
}

/* Prices of some hours alone would leave the others free. */
static void
check_entries(struct build *b, const struct node *key,
    const struct node *entries, const struct price_list *list)
{
	bool is_whole = false;

	if (entries->kind != NODE_LIST && !node_is_empty(entries))
		return; /* has been told */
	for (size_t i = 0; i < entries->count; i++)
		if (node_get(entries->items[i], "hours") == NULL)
			is_whole = true;
	if (entries->count == 0)
		build_error(b, key, "'%s' has no price here", key->text.p);
	else if (!is_whole)
		build_error(b, key,
		    "the prices of '%s' are for some hours only; add one "
		    "without hours for the others",
		    key->text.p);
	if (entries->count <= PRICES_MOST)
		check_conflicts(b, entries, list);
	else
		build_error(
		    b, key, "more than %d prices of one model", PRICES_MOST);
}

static void
build_upstream_prices(
    struct build *b, const struct node *upstream, const struct node *models)
{
	struct config *c = b->c;

	for (size_t i = 0; i < models->count; i++) {
		struct priced_model *m =
		    &c->priced_models[c->priced_model_count++];

		m->upstream = upstream->text.p;
		m->model = models->keys[i]->text.p;
		m->list = prices_read(b->arena, models->items[i]);
		check_entries(b, models->keys[i], models->items[i], &m->list);
	}
}

static size_t
count_models(const struct node *prices)
{
	size_t count = 0;

	for (size_t i = 0; i < prices->count; i++)
		if (prices->items[i]->kind == NODE_MAP)
			count += prices->items[i]->count;
	return count;
}

void
build_all_prices(struct build *b)
{
	const struct node *prices = node_get(b->root, "prices");

	if (prices == NULL || prices->kind != NODE_MAP)
		return;
	b->c->price_list_count = prices->count;
	b->c->priced_models = arena_alloc(
	    b->arena, count_models(prices) * sizeof *b->c->priced_models);
	for (size_t i = 0; i < prices->count; i++) {
		if (name_index_find(&b->c->memory->upstreams,
			prices->keys[i]->text) == SIZE_MAX)
			build_undefined(b, prices->keys[i], "upstream",
			    &b->c->memory->upstreams);
		if (prices->items[i]->kind == NODE_MAP)
			build_upstream_prices(
			    b, prices->keys[i], prices->items[i]);
	}
}
