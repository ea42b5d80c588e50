/* A correct file becomes the struct that the gateway works with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "conf/config.h"
#include "conf/keys.h"

#define HEAD "version: 1\n"
#define UPSTREAM "upstreams: {a: {url: http://10.0.0.1:8000}}\n"
#define MODEL "models: {m: {routes: [{to: a, model: x}]}}\n"
#define USER "users: {bob: {models: [m]}}\n"
#define REST UPSTREAM MODEL USER

static const char *
env(const char *name)
{
	if (strcmp(name, "KEY") == 0 || strcmp(name, "CLOUD_API_KEY") == 0)
		return "fw_secret";
	return strcmp(name, "URL") == 0 ? "https://env.example/base" : NULL;
}

static const struct config_env test_env = {
    .default_state_dir = "/tmp/state", .env = env};

/* Parses what must be correct. */
static struct config *
parse(const char *yaml)
{
	struct diagnostics found = {0};
	struct config *c = config_parse(
	    "/etc/weir/weir.yaml", slice_of(yaml), &test_env, &found);

	for (size_t i = 0; i < found.count; i++)
		if (found.all[i].severity == SEVERITY_ERROR)
			print_message("%u:%u %s\n", found.all[i].line,
			    found.all[i].column, found.all[i].message);
	diagnostics_release(&found);
	assert_non_null(c);
	return c;
}

static struct address
address(const char *text)
{
	struct address a;

	assert_true(address_parse(slice_of(text), &a));
	return a;
}

static void
five_lines_are_a_whole_configuration(void **state)
{
	struct config *c = parse(HEAD
	    "server: {listen: [127.0.0.1:8643]}\n"
	    "upstreams: {spark: {url: http://192.168.1.11:8000}}\n"
	    "models: {ds4: {routes: [{to: spark, model: deepseek-v4-flash}]}}\n"
	    "users: {bob: {models: [ds4]}}\n");
	const struct upstream_config *u = config_upstream(c, SLICE("spark"));
	const struct model_config *m = config_model(c, SLICE("ds4"));
	const struct user_config *bob = config_user(c, SLICE("bob"));

	(void)state;
	assert_int_equal(c->server.listen_count, 1);
	assert_int_equal(c->server.listen[0].port, 8643);
	assert_string_equal(u->host, "192.168.1.11");
	assert_int_equal(u->port, 8000);
	assert_string_equal(u->paths[API_CHAT], "/v1/chat/completions");
	assert_ptr_equal(m->routes[0].upstream, u);
	assert_string_equal(m->routes[0].model_json, "\"deepseek-v4-flash\"");
	assert_true(user_may_use(bob, m));
	assert_null(config_model(c, SLICE("ds")));
	config_unref(&c);
	assert_null(c);
}

static void
what_is_not_said_has_its_default(void **state)
{
	struct config *c = parse(HEAD REST);
	const struct server_config *s = &c->server;
	const struct upstream_config *u = &c->upstreams[0];
	const struct user_config *bob = &c->users[0];
	const struct model_config *m = &c->models[0];

	(void)state;
	assert_string_equal(s->listen[0].text, "127.0.0.1:8643");
	assert_int_equal(s->listen[0].port, 8643);
	assert_int_equal(s->workers, 0);
	assert_int_equal(s->max_connections, 0);
	assert_string_equal(s->state_dir, "/tmp/state");
	assert_string_equal(s->admin, "unix:/tmp/state/admin.sock");
	assert_string_equal(c->ledger.path, "/tmp/state/usage.jsonl");
	assert_int_equal(s->drain_ms, 30000);
	assert_int_equal(s->max_body, 32 << 20);
	assert_int_equal(s->head_ms, 10000);
	assert_int_equal(s->body_ms, 60000);
	assert_int_equal(s->stall_ms, 60000);
	assert_int_equal(s->idle_ms, 75000);
	assert_true(address_list_is_empty(s->allow_from));
	assert_int_equal(u->connect_ms, 5000);
	assert_int_equal(u->first_token_ms, 600000);
	assert_int_equal(u->gap_ms, 600000);
	assert_int_equal(u->total_ms, 7200000);
	assert_int_equal(u->idle_ms, 4000);
	assert_int_equal(u->max_inflight, CONFIG_UNLIMITED);
	assert_int_equal(u->kind, KIND_OPENAI);
	assert_false(u->is_paid);
	assert_null(u->api_key);
	assert_int_equal(m->routes[0].when, WHEN_DEFAULT);
	assert_int_equal(m->type, MODEL_CHAT);
	assert_string_equal(m->display_name, "m");
	assert_int_equal(bob->limits.most[LIMIT_REQUESTS], LIMIT_UNLIMITED);
	assert_int_equal(bob->limits.most[LIMIT_CONCURRENT], CONFIG_UNLIMITED);
	assert_false(bob->limits.paid_routes);
	assert_false(bob->is_admin);
	config_unref(&c);
}

/* The table says the same, for those who read it and not this file. */
static void
the_tables_default_of_when_is_the_structs(void **state)
{
	struct config *c = parse(HEAD UPSTREAM
	    "models: {m: {routes: [{to: a, model: x, when: [connect, reset, "
	    "429, 503, 529, error_event]}, {to: a, model: y, when: [5xx, "
	    "timeout, context, full, slow]}]}}\n" USER);
	const struct model_config *m = &c->models[0];

	(void)state;
	assert_string_equal(key_at("models.*.routes[].when")->fallback,
	    "connect reset 429 503 529 error_event");
	assert_int_equal(m->routes[0].when, WHEN_DEFAULT);
	assert_int_equal(m->routes[1].when,
	    WHEN_5XX | WHEN_TIMEOUT | WHEN_CONTEXT | WHEN_FULL | WHEN_SLOW);
	config_unref(&c);
}

static void
a_users_limits_replace_single_common_ones(void **state)
{
	struct config *c = parse(HEAD UPSTREAM MODEL
	    "limits: {requests_per_minute: 30, concurrent: 2, paid_routes: "
	    "true}\n"
	    "users:\n"
	    "  ann: {models: [m]}\n"
	    "  bob: {models: [m], limits: {concurrent: unlimited}}\n"
	    "  joe: {models: [m], limits: {requests_per_minute: 0, "
	    "paid_routes: false}}\n");
	const struct user_config *u = c->users;

	(void)state;
	assert_int_equal(u[0].limits.most[LIMIT_REQUESTS], 30);
	assert_int_equal(u[0].limits.most[LIMIT_CONCURRENT], 2);
	assert_true(u[0].limits.paid_routes);
	assert_int_equal(u[1].limits.most[LIMIT_REQUESTS], 30);
	assert_int_equal(u[1].limits.most[LIMIT_CONCURRENT], CONFIG_UNLIMITED);
	assert_int_equal(u[2].limits.most[LIMIT_REQUESTS], 0);
	assert_int_equal(u[2].limits.most[LIMIT_CONCURRENT], 2);
	assert_false(u[2].limits.paid_routes);
	config_unref(&c);
}

static void
a_url_joins_its_base_with_each_routes_tail(void **state)
{
	static const struct {
		const char *url_and_kind;
		const char *host_header;
		uint16_t port;
		bool is_tls;
		const char *chat, *embeddings, *rerank, *count_tokens;
	} all[] = {
	    {"url: http://h", "h", 80, false, "/v1/chat/completions",
		"/v1/embeddings", "/v1/rerank", "/v1/messages/count_tokens"},
	    {"url: http://h:81/", "h:81", 81, false, "/v1/chat/completions",
		"/v1/embeddings", "/v1/rerank", "/v1/messages/count_tokens"},
	    {"url: https://h/inference/v1/", "h", 443, true,
		"/inference/v1/chat/completions", "/inference/v1/embeddings",
		"/inference/v1/rerank", "/inference/v1/messages/count_tokens"},
	    {"url: \"http://[::1]:9/v1beta/openai\"", "[::1]:9", 9, false,
		"/v1beta/openai/chat/completions", "/v1beta/openai/embeddings",
		"/v1beta/openai/rerank",
		"/v1beta/openai/messages/count_tokens"},
	    {"url: http://h/v1, paths: {rerank: /rerank, chat: /c}", "h", 80,
		false, "/c", "/v1/embeddings", "/rerank",
		"/v1/messages/count_tokens"},
	    {"url: http://h, kind: tei", "h", 80, false, "/v1/chat/completions",
		"/v1/embeddings", "/rerank", "/v1/messages/count_tokens"},
	    {"url: http://h, kind: infinity", "h", 80, false,
		"/chat/completions", "/embeddings", "/rerank",
		"/messages/count_tokens"},
	    {"url: http://h/v1, kind: infinity", "h", 80, false,
		"/v1/chat/completions", "/v1/embeddings", "/v1/rerank",
		"/v1/messages/count_tokens"},
	    {"url: \"${env:URL}\"", "env.example", 443, true,
		"/base/chat/completions", "/base/embeddings", "/base/rerank",
		"/base/messages/count_tokens"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		char yaml[512];
		const struct upstream_config *u;
		struct config *c;

		snprintf(yaml, sizeof yaml,
		    HEAD "upstreams: {a: {%s}}\n" MODEL USER,
		    all[i].url_and_kind);
		c = parse(yaml);
		u = &c->upstreams[0];
		assert_string_equal(u->host_header, all[i].host_header);
		assert_int_equal(u->port, all[i].port);
		assert_int_equal(u->is_tls, all[i].is_tls);
		assert_string_equal(u->paths[API_CHAT], all[i].chat);
		assert_string_equal(
		    u->paths[API_EMBEDDINGS], all[i].embeddings);
		assert_string_equal(u->paths[API_RERANK], all[i].rerank);
		assert_string_equal(
		    u->paths[API_COUNT_TOKENS], all[i].count_tokens);
		config_unref(&c);
	}
}

static void
addresses_to_listen_on_may_be_ipv6_tailscale_and_any_port(void **state)
{
	struct config *c = parse(HEAD REST
	    "server: {listen: [\"[::1]:8643\", tailscale:8643, 127.0.0.1:0, "
	    "127.0.0.1:0]}\n");
	const struct listen_config *l = c->server.listen;
	struct address loopback = address("::1");

	(void)state;
	assert_int_equal(c->server.listen_count, 4);
	assert_true(address_equal(&l[0].address, &loopback));
	assert_string_equal(l[0].text, "[::1]:8643");
	assert_true(l[1].is_tailscale);
	assert_int_equal(l[1].port, 8643);
	assert_false(l[2].is_tailscale);
	assert_int_equal(l[2].port, 0);
	config_unref(&c);
}

static void
relative_paths_start_at_the_files_folder(void **state)
{
	struct config *c = parse(
	    HEAD REST "server: {state_dir: state, admin: unix:run/a.sock}\n"
		      "ledger: {path: ../log/usage.jsonl}\n");

	(void)state;
	assert_string_equal(c->server.state_dir, "/etc/weir/state");
	assert_string_equal(c->server.admin, "unix:/etc/weir/run/a.sock");
	assert_string_equal(c->ledger.path, "/etc/weir/../log/usage.jsonl");
	config_unref(&c);
}

static void
the_ledger_rotates_compresses_and_syncs_as_it_says(void **state)
{
	struct config *c = parse(HEAD REST);

	(void)state;
	assert_int_equal(c->ledger.fsync, LEDGER_FSYNC_EVERYSEC);
	assert_int_equal(c->ledger.rotate_bytes, 256 << 20);
	assert_false(c->ledger.rotates_daily);
	assert_true(c->ledger.compresses);
	assert_string_equal(c->server.timezone, "UTC");
	assert_false(c->upstreams[0].drains);
	assert_false(c->has_redis);
	config_unref(&c);
	c = parse(HEAD
	    "upstreams: {a: {url: http://h, on_disconnect: drain}}\n" MODEL USER
	    "server: {timezone: Europe/Berlin}\n"
	    "ledger: {fsync: always, rotate: off, rotate_daily: true, "
	    "compress: false}\n");
	assert_int_equal(c->ledger.fsync, LEDGER_FSYNC_ALWAYS);
	assert_int_equal(c->ledger.rotate_bytes, 0);
	assert_true(c->ledger.rotates_daily);
	assert_false(c->ledger.compresses);
	assert_string_equal(c->server.timezone, "Europe/Berlin");
	assert_true(c->upstreams[0].drains);
	config_unref(&c);
}

static void
redis_is_reached_over_tcp_tls_or_a_unix_socket(void **state)
{
	struct config *c = parse(HEAD REST "redis: {url: \"redis://h\"}\n");

	(void)state;
	assert_true(c->has_redis);
	assert_false(c->redis.is_unix);
	assert_string_equal(c->redis.host, "h");
	assert_int_equal(c->redis.port, 6379);
	assert_int_equal(c->redis.db, 0);
	assert_false(c->redis.is_tls);
	assert_null(c->redis.password);
	assert_string_equal(c->redis.prefix, "weir");
	assert_null(c->redis.name);
	config_unref(&c);
	c = parse(
	    HEAD REST "redis: {url: \"rediss://[::1]:7000/3\", username: gw, "
		      "password: \"${env:KEY}\", prefix: lab, name: forge}\n");
	assert_string_equal(c->redis.host, "::1");
	assert_int_equal(c->redis.port, 7000);
	assert_int_equal(c->redis.db, 3);
	assert_true(c->redis.is_tls);
	assert_string_equal(c->redis.username, "gw");
	assert_string_equal(c->redis.password, "fw_secret");
	assert_string_equal(c->redis.prefix, "lab");
	assert_string_equal(c->redis.name, "forge");
	config_unref(&c);
	c = parse(HEAD REST "redis: {url: \"unix:/run/redis.sock\"}\n");
	assert_true(c->redis.is_unix);
	assert_string_equal(c->redis.path, "/run/redis.sock");
	config_unref(&c);
}

static void
a_secret_comes_from_environment_file_or_credential(void **state)
{
	char folder[] = "/tmp/weir-config-XXXXXX";
	struct config_env with_folder = test_env;
	struct diagnostics found = {0};
	struct config *c;
	char *path;

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_true(asprintf(&path, "%s/cloud.key", folder) > 0);
	assert_true(file_replace(path, "from-file\n", 10, 0600, NULL));
	with_folder.credentials_dir = folder;
	c = config_parse("weir.yaml",
	    SLICE(HEAD "upstreams:\n"
		       "  a: {url: http://h, api_key: \"${env:KEY}\"}\n"
		       "  b: {url: http://h, api_key: "
		       "\"${credential:cloud.key}\"}\n" MODEL USER),
	    &with_folder, &found);
	assert_non_null(c);
	assert_string_equal(c->upstreams[0].api_key, "fw_secret");
	assert_string_equal(c->upstreams[1].api_key, "from-file");
	config_unref(&c);
	/* Who needs no secret need not be able to read any. */
	with_folder = (struct config_env){
	    .default_state_dir = "/tmp/state", .without_secrets = true};
	c = config_parse("weir.yaml",
	    SLICE(HEAD "upstreams: {a: {url: http://h, api_key: "
		       "\"${credential:cloud.key}\"}}\n" MODEL USER
		       "redis: {url: redis://h, username: gw, "
		       "password: \"${env:NONE}\"}\n"),
	    &with_folder, &found);
	assert_non_null(c);
	assert_string_equal(c->upstreams[0].api_key, "");
	config_unref(&c);
	diagnostics_release(&found);
	unlink(path);
	rmdir(folder);
	free(path);
}

static void
an_upstream_is_paid_by_word_by_price_or_by_kind(void **state)
{
	struct config *c =
	    parse(HEAD "upstreams:\n"
		       "  word:  {url: http://h, paid: true}\n"
		       "  price: {url: http://h}\n"
		       "  cloud: {url: http://h, kind: openrouter}\n"
		       "  not:   {url: http://h, kind: xai, paid: false}\n"
		       "  free:  {url: http://h}\n"
		       "models: {m: {routes: [{to: not, model: x}]}}\n"
		       "users: {bob: {models: [m]}}\n"
		       "prices: {price: {x: [{input: 1, output: 2}]}}\n");

	(void)state;
	assert_true(c->upstreams[0].is_paid);
	assert_true(c->upstreams[1].is_paid);
	assert_true(c->upstreams[2].is_paid);
	assert_false(c->upstreams[3].is_paid);
	assert_false(c->upstreams[4].is_paid);
	assert_int_equal(c->price_list_count, 1);
	config_unref(&c);
}

static void
prices_reach_the_routes_and_the_comparison(void **state)
{
	struct config *c = parse(HEAD
	    "upstreams: {a: {url: http://h}, cloud: {url: https://h}}\n"
	    "models:\n"
	    "  m: {routes: [{to: a, model: x}, {to: cloud, model: big}]}\n"
	    "  n: {routes: [{to: a, model: x}], compare: {to: cloud, model: "
	    "big}}\n"
	    "  o: {routes: [{to: a, model: x}]}\n"
	    "users: {bob: {models: [m]}}\n"
	    "prices:\n"
	    "  cloud:\n"
	    "    big:\n"
	    "      - {from: 2026-05-01, input: 1.74, input_cached: 0.145, "
	    "output: 3.48, request: 0.01}\n"
	    "      - {from: 2026-05-01, hours: 16-24, input: 1, output: 2}\n");
	const struct route_config *paid = &c->models[0].routes[1];
	const struct price *p = paid->prices.prices;

	(void)state;
	assert_int_equal(c->models[0].routes[0].prices.count, 0);
	assert_int_equal(paid->prices.count, 2);
	assert_true(p[0].from_ms == INT64_C(1777593600000));
	assert_int_equal(p[0].input_pusd, 1740000);
	assert_int_equal(p[0].input_cached_pusd, 145000);
	assert_int_equal(p[0].cache_write_pusd, 1740000);
	assert_int_equal(p[0].output_pusd, 3480000);
	assert_true(p[0].request_pusd == PUSD_PER_USD / 100);
	assert_int_equal(p[0].hour_begin, p[0].hour_end);
	assert_int_equal(p[1].hour_begin, 16);
	assert_int_equal(p[1].hour_end, 24);
	assert_int_equal(p[1].input_cached_pusd, 1000000);
	assert_ptr_equal(c->models[0].compare, paid);
	assert_int_equal(c->models[1].compare->prices.count, 2);
	assert_null(c->models[2].compare);
	config_unref(&c);
}

static const struct param_config *
param(const struct route_config *r, const char *name)
{
	for (size_t i = 0; i < r->params.count; i++)
		if (strcmp(r->params.params[i].name, name) == 0)
			return &r->params.params[i];
	return NULL;
}

static void
assert_param(const struct route_config *r, const char *name,
    enum param_action action, const char *json)
{
	const struct param_config *p = param(r, name);

	assert_non_null(p);
	assert_int_equal(p->action, action);
	if (json == NULL)
		assert_null(p->json);
	else
		assert_string_equal(p->json, json);
}

static void
a_routes_params_win_over_the_models(void **state)
{
	struct config *c = parse(HEAD UPSTREAM
	    "models:\n"
	    "  m:\n"
	    "    params:\n"
	    "      set: {top_k: 1, top_p: 0.5, seed: 7}\n"
	    "      default: {max_tokens: 16384, temperature: 0.1, stop: x}\n"
	    "    routes:\n"
	    "      - to: a\n"
	    "        model: x\n"
	    "        params:\n"
	    "          set: {top_k: 2, temperature: 0.9}\n"
	    "          default: {top_p: 0.7, max_tokens: 4096}\n"
	    "          drop: [seed]\n"
	    "      - {to: a, model: y}\n" USER);
	const struct route_config *r = c->models[0].routes;

	(void)state;
	assert_int_equal(r[0].params.count, 6);
	assert_param(&r[0], "top_k", PARAM_SET, "2");
	assert_param(&r[0], "temperature", PARAM_SET, "0.9");
	assert_param(&r[0], "top_p", PARAM_SET, "0.5");
	assert_param(&r[0], "max_tokens", PARAM_DEFAULT, "4096");
	assert_param(&r[0], "seed", PARAM_DROP, NULL);
	assert_param(&r[0], "stop", PARAM_DEFAULT, "\"x\"");
	assert_int_equal(r[1].params.count, 6);
	assert_param(&r[1], "seed", PARAM_SET, "7");
	config_unref(&c);
}

static void
a_params_value_is_json_only_where_json_reads_it_so(void **state)
{
	struct config *c =
	    parse(HEAD UPSTREAM "models:\n"
				"  m:\n"
				"    params:\n"
				"      set: {a: 1e3, b: 0777, c: no, d: true, "
				"e: \"true\", f: null, "
				"g: ~, h: 12:30:00, i: -0.5, j: {k: [1, x, "
				"\"2\"]}, l: \"a\\\"b\\n\"}\n"
				"    routes: [{to: a, model: x}]\n" USER);
	const struct route_config *r = c->models[0].routes;

	(void)state;
	assert_param(r, "a", PARAM_SET, "1e3");
	assert_param(r, "b", PARAM_SET, "\"0777\"");
	assert_param(r, "c", PARAM_SET, "\"no\"");
	assert_param(r, "d", PARAM_SET, "true");
	assert_param(r, "e", PARAM_SET, "\"true\"");
	assert_param(r, "f", PARAM_SET, "null");
	assert_param(r, "g", PARAM_SET, "\"~\"");
	assert_param(r, "h", PARAM_SET, "\"12:30:00\"");
	assert_param(r, "i", PARAM_SET, "-0.5");
	assert_param(r, "j", PARAM_SET, "{\"k\":[1,\"x\",\"2\"]}");
	assert_param(r, "l", PARAM_SET, "\"a\\\"b\\n\"");
	config_unref(&c);
}

static void
names_may_hold_slashes_colons_dots_signs_and_spaces(void **state)
{
	struct config *c = parse(HEAD UPSTREAM
	    "models:\n"
	    "  no: {routes: [{to: a, model: \"/models/Qwen 3:4@x\"}]}\n"
	    "  org/model:v1.2@q: {aliases: [\"a b\", 0777], routes: [{to: a, "
	    "model: 1e3}]}\n"
	    "users: {\"Zoë\": {models: [\"a b\", no]}}\n");
	const struct model_config *m =
	    config_model(c, SLICE("org/model:v1.2@q"));

	(void)state;
	assert_non_null(m);
	assert_ptr_equal(config_model(c, SLICE("a b")), m);
	assert_ptr_equal(config_model(c, SLICE("0777")), m);
	assert_string_equal(m->routes[0].model, "1e3");
	assert_string_equal(config_model(c, SLICE("no"))->routes[0].model,
	    "/models/Qwen 3:4@x");
	assert_true(user_may_use(config_user(c, SLICE("Zoë")), m));
	config_unref(&c);
}

static void
a_caller_without_a_key_is_known_by_its_address(void **state)
{
	struct config *c = parse(HEAD UPSTREAM MODEL
	    "users:\n"
	    "  bob:    {models: [m], from: [192.168.0.0/16]}\n"
	    "  skills: {models: [m], key: none, from: [192.168.1.0/24]}\n"
	    "  other:  {models: [\"*\"], key: none, from: [192.168.0.0/16]}\n");
	struct address in = address("192.168.1.7"),
		       wide = address("192.168.2.7"), out = address("10.0.0.1");

	(void)state;
	assert_string_equal(config_keyless_user(c, &in)->name, "skills");
	assert_string_equal(config_keyless_user(c, &wide)->name, "other");
	assert_null(config_keyless_user(c, &out));
	assert_true(user_may_use(&c->users[2], &c->models[0]));
	assert_true(c->users[2].all_models);
	config_unref(&c);
}

static void
an_anchored_value_is_the_same_wherever_it_is_named(void **state)
{
	struct config *c = parse(
	    HEAD "upstreams:\n"
		 "  a: {url: http://h, timeouts: &slow {first_token: 45m}}\n"
		 "  b: {url: http://h, timeouts: *slow}\n" MODEL USER);

	(void)state;
	assert_int_equal(c->upstreams[0].first_token_ms, 2700000);
	assert_int_equal(c->upstreams[1].first_token_ms, 2700000);
	config_unref(&c);
}

static void
a_configuration_lives_until_its_last_reference_goes(void **state)
{
	struct config *c = parse(HEAD REST), *kept = config_ref(c);

	(void)state;
	config_unref(&c);
	assert_null(c);
	assert_string_equal(kept->users[0].name, "bob");
	config_unref(&kept);
	config_unref(&kept); /* nothing is left, nothing happens */
}

static void
a_file_that_is_not_there_is_told(void **state)
{
	struct diagnostics found = {0};

	(void)state;
	assert_null(config_load("/no/such/weir.yaml", &test_env, &found));
	assert_int_equal(found.errors, 1);
	assert_int_equal(found.all[0].line, 0);
	diagnostics_release(&found);
}

static void
the_example_that_is_installed_is_correct(void **state)
{
	struct diagnostics found = {0};
	struct config *c = config_load(
	    TEST_DATA "/../../conf/weir.example.yaml", &test_env, &found);

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->upstream_count, 8);
	assert_int_equal(c->model_count, 7);
	assert_int_equal(c->user_count, 6);
	assert_string_equal(
	    config_upstream(c, SLICE("cloud"))->api_key, "fw_secret");
	assert_int_equal(found.count, 0);
	config_unref(&c);
	diagnostics_release(&found);
}

static void
the_reference_page_has_every_key(void **state)
{
	struct buf page = {0};

	(void)state;
	config_reference(&page);
	buf_put(&page, "", 1);
	for (size_t i = 0; i < config_key_count; i++) {
		char row[128];

		snprintf(row, sizeof row, "\n| `%s` | ", config_keys[i].path);
		assert_non_null(strstr(buf_data(&page), row));
	}
	buf_release(&page);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(five_lines_are_a_whole_configuration),
	    cmocka_unit_test(what_is_not_said_has_its_default),
	    cmocka_unit_test(the_tables_default_of_when_is_the_structs),
	    cmocka_unit_test(a_users_limits_replace_single_common_ones),
	    cmocka_unit_test(a_url_joins_its_base_with_each_routes_tail),
	    cmocka_unit_test(
		addresses_to_listen_on_may_be_ipv6_tailscale_and_any_port),
	    cmocka_unit_test(relative_paths_start_at_the_files_folder),
	    cmocka_unit_test(
		the_ledger_rotates_compresses_and_syncs_as_it_says),
	    cmocka_unit_test(redis_is_reached_over_tcp_tls_or_a_unix_socket),
	    cmocka_unit_test(
		a_secret_comes_from_environment_file_or_credential),
	    cmocka_unit_test(an_upstream_is_paid_by_word_by_price_or_by_kind),
	    cmocka_unit_test(prices_reach_the_routes_and_the_comparison),
	    cmocka_unit_test(a_routes_params_win_over_the_models),
	    cmocka_unit_test(
		a_params_value_is_json_only_where_json_reads_it_so),
	    cmocka_unit_test(
		names_may_hold_slashes_colons_dots_signs_and_spaces),
	    cmocka_unit_test(a_caller_without_a_key_is_known_by_its_address),
	    cmocka_unit_test(
		an_anchored_value_is_the_same_wherever_it_is_named),
	    cmocka_unit_test(
		a_configuration_lives_until_its_last_reference_goes),
	    cmocka_unit_test(a_file_that_is_not_there_is_told),
	    cmocka_unit_test(the_example_that_is_installed_is_correct),
	    cmocka_unit_test(the_reference_page_has_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
