/* The section prices.  The door is build.h. */
#include "conf/build.h"

#include <string.h>

#include "conf/setting.h"

#include "base/banned.h"

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

struct price_list
build_prices(
    struct build *b, const char *upstream, const char *model, bool needs_output)
{
	const struct node *entries =
	    node_get(node_get(node_get(b->root, "prices"), upstream), model);
	struct price_list l = {0};

	if (entries == NULL || entries->kind != NODE_LIST)
		return l;
	l.prices = arena_alloc(b->arena, entries->count * sizeof *l.prices);
	for (size_t i = 0; i < entries->count; i++) {
		const struct node *entry = entries->items[i];

		if (entry->kind != NODE_MAP)
			continue; /* has been told */
		if (needs_output && node_get(entry, "output") == NULL)
			build_error(b, entry,
			    "this price has no output, which '%s' charges for",
			    model);
		l.prices[l.count++] = build_price(entry);
	}
	return l;
}

/* Prices of some hours alone would leave the others free. */
static void
check_entries(
    struct build *b, const struct node *key, const struct node *entries)
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
}

void
build_prices_check(struct build *b)
{
	const struct node *prices = node_get(b->root, "prices");

	if (prices == NULL || prices->kind != NODE_MAP)
		return;
	b->c->price_list_count = prices->count;
	for (size_t i = 0; i < prices->count; i++) {
		const struct node *models = prices->items[i];

		if (name_index_find(&b->c->memory->upstreams,
			prices->keys[i]->text) == SIZE_MAX)
			build_undefined(b, prices->keys[i], "upstream",
			    &b->c->memory->upstreams);
		if (models->kind != NODE_MAP)
			continue;
		for (size_t j = 0; j < models->count; j++)
			check_entries(b, models->keys[j], models->items[j]);
	}
}
