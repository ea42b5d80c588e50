/* The sections server and ledger.  The door is build.h. */
#include "conf/build.h"

#include <string.h>

#include "conf/setting.h"
#include "conf/values.h"

#include "base/banned.h"

static bool
is_any_address(const struct address *a)
{
	static const struct address any6 = {{0}};
	struct address any4;

	return address_equal(a, &any6) ||
	    (address_parse(SLICE("0.0.0.0"), &any4) && address_equal(a, &any4));
}

/* Everybody who can reach the machine could come; perhaps that is meant. */
static void
warn_if_open(
    struct build *b, const struct node *n, const struct listen_config *l)
{
	if (!l->is_tailscale && is_any_address(&l->address))
		build_warning(b, n,
		    "%s listens on every network that this machine is in; name "
		    "the addresses that are meant",
		    l->text);
}

static void
refuse_repetition(
    struct build *b, const struct node *n, const struct server_config *s)
{
	const struct listen_config *last = &s->listen[s->listen_count - 1];

	for (size_t i = 0; i + 1 < s->listen_count; i++)
		if (last->port != 0 &&
		    strcmp(s->listen[i].text, last->text) == 0)
			build_error(b, n, "%s stands here twice", last->text);
}

#define LISTEN_MOST 64

static void
build_listen(struct build *b, const struct node *server)
{
	const struct node *list = setting_list(server, "server.listen");
	const struct node *said = node_get(server, "listen");
	struct server_config *s = &b->c->server;

	s->listen =
	    arena_alloc(b->arena, (list->count + 1) * sizeof *s->listen);
	if (list->count > LISTEN_MOST) {
		build_error(b, list, "more than %d addresses", LISTEN_MOST);
		return;
	}
	for (size_t i = 0; i < list->count; i++) {
		struct listen_config *l = &s->listen[s->listen_count];
		const struct node *n = list->items[i];

		if (!setting_is_valid(n, "server.listen") ||
		    !listen_read(n->text, l, NULL))
			continue;
		l->text = n->text.p;
		s->listen_count++;
		warn_if_open(b, n, l);
		refuse_repetition(b, n, s);
	}
	if (list->count > 0)
		return;
	if (said != NULL && said->kind == NODE_LIST)
		build_error(b, said, "listen names no address");
	s->listen[0].text = setting_text(NULL, "server.listen");
	if (listen_read(slice_of(s->listen[0].text), &s->listen[0], NULL))
		s->listen_count = 1;
}

static void
build_paths(struct build *b, const struct node *server)
{
	struct server_config *s = &b->c->server;
	const char *admin = setting_text(server, "server.admin");

	s->state_dir = setting_path(b, server, "server.state_dir");
	if (s->state_dir == NULL)
		s->state_dir =
		    arena_printf(b->arena, "%s", b->env->default_state_dir);
	if (admin != NULL)
		s->admin = arena_printf(b->arena, "unix:%s",
		    path_absolute(b, admin + strlen("unix:")));
	else
		s->admin =
		    arena_printf(b->arena, "unix:%s/admin.sock", s->state_dir);
}

void
build_server(struct build *b)
{
	const struct node *server = node_get(b->root, "server");
	const struct node *timeouts = node_get(server, "timeouts");
	struct server_config *s = &b->c->server;

	build_listen(b, server);
	build_paths(b, server);
	s->timezone = setting_text(server, "server.timezone");
	s->metrics = setting_text(server, "server.metrics");
	s->workers = (uint32_t)setting_number(server, "server.workers");
	s->max_connections =
	    (uint32_t)setting_number(server, "server.max_connections");
	s->max_body = setting_number(server, "server.max_body");
	s->drain_ms = setting_number(server, "server.drain");
	s->allow_from = setting_ranges(server, "server.allow_from");
	s->trusted_proxies = setting_ranges(server, "server.trusted_proxies");
	s->head_ms = setting_number(timeouts, "server.timeouts.head");
	s->body_ms = setting_number(timeouts, "server.timeouts.body");
	s->stall_ms = setting_number(timeouts, "server.timeouts.stall");
	s->idle_ms = setting_number(timeouts, "server.timeouts.idle");
}
