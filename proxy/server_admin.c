/* The admin socket: a worker of its own.  The door is server_inner.h. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "proxy/admin.h"
#include "proxy/admin_socket.h"
#include "proxy/server_inner.h"

#include "base/banned.h"

/* Whether nobody has said where the socket is to be. */
static bool
is_default_admin(const struct config *c)
{
	char *path = xasprintf("unix:%s/admin.sock", c->server.state_dir);
	bool is_default = strcmp(path, c->server.admin) == 0;

	free(path);
	return is_default;
}

static bool
open_admin(struct server *s, struct fault *why)
{
	struct gateway *g = &s->admin_gateway;
	struct worker *w;

	*g = s->gateway;
	g->is_admin = true;
	g->workers = &s->admin;
	g->worker_count = 0;
	g->max_connections = ADMIN_CONNECTIONS_MOST;
	if (!admin_socket_address(
		s->snapshot->config->server.admin, &s->admin_address, why) ||
	    (w = worker_create(g, 0, s->snapshot, s->keys, &s->admin_address, 1,
		 why)) == NULL)
		return false;
	if (!worker_start(w, why)) {
		worker_destroy(&w);
		return false;
	}
	s->admin = w;
	return true;
}

/* Where nobody asked for it, the gateway goes without it. */
bool
server_start_admin(struct server *s, struct fault *why)
{
	if (open_admin(s, why))
		return true;
	if (!is_default_admin(s->snapshot->config))
		return false;
	log_warning("%s; commands will not see what is live", why->text);
	return true;
}
