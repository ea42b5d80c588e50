/* The sections `ledger` and `redis`. */
#include <string.h>

#include "conf/build.h"
#include "conf/setting.h"
#include "conf/url.h"

#include "base/banned.h"

static void
build_redis(struct build *b, const struct node *redis)
{
	struct redis_options *o = &b->c->redis;
	const struct node *prefix = node_get(redis, "prefix");
	const char *text = setting_secret(b, redis, "redis.url");
	struct redis_url url;
	struct fault why;

	b->c->has_redis = redis != NULL;
	if (text != NULL && !url_read_redis(slice_of(text), &url, &why)) {
		build_error(b, node_get(redis, "url"), "url: %s", why.text);
	} else if (text != NULL) {
		o->is_unix = url.path.p != NULL;
		if (o->is_unix)
			o->path = arena_printf(b->arena, "%s", url.path.p);
		else
			o->host = arena_printf(
			    b->arena, "%.*s", (int)url.host.len, url.host.p);
		o->port = url.port;
		o->db = url.db;
		o->is_tls = url.is_tls;
	}
	o->is_tls |= setting_flag(redis, "redis.tls");
	o->ca_file = setting_path(b, redis, "redis.ca_file");
	o->username = setting_text(redis, "redis.username");
	o->password = setting_secret(b, redis, "redis.password");
	o->prefix = setting_text(redis, "redis.prefix");
	o->name = setting_text(redis, "redis.name");
	if (o->prefix != NULL && strpbrk(o->prefix, "{}") != NULL)
		build_error(b, prefix,
		    "prefix: the braces are put around it, it has none itself");
	if (o->is_unix && o->is_tls)
		build_error(
		    b, node_get(redis, "tls"), "tls: a unix socket needs none");
	if (o->username != NULL && o->password == NULL)
		build_error(b, node_get(redis, "username"),
		    "username: there is no password to it; add password: "
		    "${…}");
}

void
build_ledger(struct build *b)
{
	const struct node *ledger = node_get(b->root, "ledger");
	struct ledger_config *l = &b->c->ledger;
	const char *fsync = setting_text(ledger, "ledger.fsync");

	l->path = setting_path(b, ledger, "ledger.path");
	if (l->path == NULL)
		l->path = arena_printf(
		    b->arena, "%s/usage.jsonl", b->c->server.state_dir);
	l->fsync = strcmp(fsync, "always") == 0 ? LEDGER_FSYNC_ALWAYS
	    : strcmp(fsync, "never") == 0       ? LEDGER_FSYNC_NEVER
						: LEDGER_FSYNC_EVERYSEC;
	l->rotate_bytes = setting_number(ledger, "ledger.rotate");
	l->rotates_daily = setting_flag(ledger, "ledger.rotate_daily");
	l->compresses = setting_flag(ledger, "ledger.compress");
	build_redis(b, node_get(b->root, "redis"));
}
