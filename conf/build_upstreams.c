/* The section upstreams.  The door is build.h. */
#include "conf/build.h"

#include <string.h>
#include <unistd.h>

#include "conf/setting.h"
#include "conf/url.h"

#include "base/banned.h"

static void
build_targets(
    struct build *b, struct upstream_config *u, const struct node *map)
{
	const struct node *paths = node_get(map, "paths");

	for (unsigned i = 0; i < API_COUNT; i++) {
		enum server_api api = (enum server_api)i;
		const char *key = arena_printf(
		    b->arena, "upstreams.*.paths.%s", api_name(api));
		const char *said = setting_text(paths, key);

		if (said == NULL)
			said = kind_path(u->kind, api);
		u->paths[i] = said != NULL ? said
					   : arena_printf(b->arena, "%s%s",
						 u->base_path, api_path(api));
	}
}

static const char *
copy(struct build *b, struct slice s)
{
	return arena_strndup(b->arena, s.p, s.len);
}

static void
build_url(struct build *b, struct upstream_config *u, const struct node *map)
{
	const char *text = setting_secret(b, map, "upstreams.*.url");
	struct fault why;
	struct url url;

	u->host = u->host_header = u->base_path = "";
	if (text == NULL)
		return; /* has been told */
	if (!url_read(slice_of(text), &url, &why)) {
		build_error(b, node_get(map, "url"), "url: %s", why.text);
		return;
	}
	u->is_tls = url.is_tls;
	u->port = url.port;
	u->host = copy(b, url.host);
	u->host_header = copy(b, url.authority);
	if (url.has_path)
		u->base_path = copy(b, url.path);
	else
		u->base_path = kind_base(u->kind);
}

/* A price list says that money is due even where `paid` does not. */
static bool
build_paid(
    struct build *b, const struct upstream_config *u, const struct node *map)
{
	const struct node *paid = node_get(map, "paid");
	bool has_prices =
	    node_get(node_get(b->root, "prices"), u->name) != NULL;

	if (!setting_is_valid(paid, "upstreams.*.paid"))
		return has_prices || kind_has(u->kind, KIND_IS_CLOUD);
	if (has_prices && !setting_flag(map, "upstreams.*.paid"))
		build_warning(b, paid,
		    "upstream '%s' has a price list, so it costs money all the "
		    "same",
		    u->name);
	return has_prices || setting_flag(map, "upstreams.*.paid");
}

static void
build_ca_file(
    struct build *b, struct upstream_config *u, const struct node *map)
{
	u->ca_file = setting_path(b, map, "upstreams.*.ca_file");
	if (u->ca_file != NULL && access(u->ca_file, R_OK) != 0)
		build_error(b, node_get(map, "ca_file"),
		    "ca_file: %s cannot be read", u->ca_file);
}

/* It stands in the head of every answer. */
static void
check_name(struct build *b, const struct upstream_config *u)
{
	for (const char *p = u->name; *p != '\0'; p++)
		if (*p < ' ' || *p > '~') {
			build_error(b, build_key_node(b, "upstreams", u->index),
			    "an upstream's name goes into headers: letters, "
			    "digits and signs of ASCII only");
			return;
		}
}

static void
build_timeouts(struct upstream_config *u, const struct node *t)
{
	u->connect_ms = setting_number(t, "upstreams.*.timeouts.connect");
	u->first_token_ms =
	    setting_number(t, "upstreams.*.timeouts.first_token");
	u->gap_ms = setting_number(t, "upstreams.*.timeouts.gap");
	u->total_ms = setting_number(t, "upstreams.*.timeouts.total");
	u->idle_ms = setting_number(t, "upstreams.*.timeouts.idle");
}

static void
build_queue(struct upstream_config *u, const struct node *q)
{
	u->queue_size = (uint32_t)setting_number(q, "upstreams.*.queue.size");
	u->queue_wait_ms = setting_number(q, "upstreams.*.queue.wait");
	u->queue_per_user =
	    (uint32_t)setting_number(q, "upstreams.*.queue.per_user");
	if (u->queue_per_user == 0)
		u->queue_per_user = u->queue_size;
}

static void
build_upstream(
    struct build *b, struct upstream_config *u, const struct node *map)
{
	const char *kind = setting_text(map, "upstreams.*.kind");

	check_name(b, u);
	if (!kind_parse(slice_of(kind), &u->kind))
		u->kind = KIND_OPENAI;
	build_url(b, u, map);
	build_targets(b, u, map);
	build_ca_file(b, u, map);
	build_timeouts(u, node_get(map, "timeouts"));
	u->api_key = setting_secret(b, map, "upstreams.*.api_key");
	u->is_paid = build_paid(b, u, map);
	u->drains = strcmp(setting_text(map, "upstreams.*.on_disconnect"),
			"drain") == 0;
	u->max_inflight =
	    (uint32_t)setting_number(map, "upstreams.*.max_inflight");
	u->kv_tokens = setting_number(map, "upstreams.*.kv_tokens");
	build_queue(u, node_get(map, "queue"));
}

void
build_upstreams(struct build *b)
{
	const struct node *section = node_get(b->root, "upstreams");
	struct name_index *names = &b->c->memory->upstreams;
	size_t count =
	    section == NULL || section->kind != NODE_MAP ? 0 : section->count;

	b->c->upstreams =
	    arena_alloc(b->arena, count * sizeof *b->c->upstreams);
	b->c->upstream_count = count;
	name_index_init(names, b->arena, count);
	for (size_t i = 0; i < count; i++) {
		struct upstream_config *u = &b->c->upstreams[i];

		u->index = (uint32_t)i;
		u->name = section->keys[i]->text.p;
		name_index_add(names, section->keys[i]->text, i);
		build_upstream(b, u, section->items[i]);
	}
	name_index_sort(names);
}
