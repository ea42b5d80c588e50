/* Each mistake in a configuration is told, at its place and with a way out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conf/config.h"

/* A correct file but for one section, which the test appends. */
#define HEAD "version: 1\n"
#define UPSTREAM "upstreams: {a: {url: http://10.0.0.1:8000}}\n"
#define MODEL "models: {m: {routes: [{to: a, model: x}]}}\n"
#define USER "users: {bob: {models: [m]}}\n"
#define REST UPSTREAM MODEL USER

struct mistake {
	const char *yaml;
	unsigned line, column, width;
	const char *message; /* a part of it */
};

static const char *
env(const char *name)
{
	if (strcmp(name, "GOOD") == 0)
		return "secret-value";
	if (strcmp(name, "EMPTY") == 0)
		return "";
	if (strcmp(name, "BROKEN") == 0)
		return "two\r\nlines";
	if (strcmp(name, "URL") == 0)
		return "http://user:hunter2@10.0.0.1";
	return NULL;
}

static const struct config_env test_env = {
    .default_state_dir = "/tmp/state", .env = env};

static struct config *
parse(const char *yaml, struct diagnostics *found)
{
	return config_parse(
	    "/etc/weir/weir.yaml", slice_of(yaml), &test_env, found);
}

static bool
has_mistake(const struct diagnostics *found, const struct mistake *m,
    enum severity severity)
{
	for (size_t i = 0; i < found->count; i++) {
		const struct diagnostic *d = &found->all[i];

		if (d->severity == severity && d->line == m->line &&
		    d->column == m->column && d->width == m->width &&
		    strstr(d->message, m->message) != NULL)
			return true;
	}
	return false;
}

static void
show(const struct diagnostics *found, const struct mistake *m)
{
	print_message("%s\nexpected %u:%u+%u %s\n", m->yaml, m->line, m->column,
	    m->width, m->message);
	for (size_t i = 0; i < found->count; i++)
		print_message("   found %u:%u+%u %s\n", found->all[i].line,
		    found->all[i].column, found->all[i].width,
		    found->all[i].message);
}

/* Every one must be found, and nothing else may be an error. */
static void
expect_errors(const struct mistake *all, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct diagnostics found = {0};
		struct config *c = parse(all[i].yaml, &found);

		if (!has_mistake(&found, &all[i], SEVERITY_ERROR) ||
		    found.errors != 1)
			show(&found, &all[i]);
		assert_true(has_mistake(&found, &all[i], SEVERITY_ERROR));
		assert_int_equal(found.errors, 1);
		assert_null(c);
		diagnostics_release(&found);
	}
}

static void
expect_warnings(const struct mistake *all, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct diagnostics found = {0};
		struct config *c = parse(all[i].yaml, &found);

		if (!has_mistake(&found, &all[i], SEVERITY_WARNING) ||
		    found.warnings != 1)
			show(&found, &all[i]);
		assert_true(has_mistake(&found, &all[i], SEVERITY_WARNING));
		assert_int_equal(found.warnings, 1);
		assert_non_null(c);
		config_unref(&c);
		diagnostics_release(&found);
	}
}

#define EXPECT_ERRORS(list) expect_errors(list, COUNT_OF(list))
#define EXPECT_WARNINGS(list) expect_warnings(list, COUNT_OF(list))

static void
broken_yaml_is_explained_at_its_place(void **state)
{
	static const struct mistake all[] = {
	    {"", 0, 0, 1, "the file is empty"},
	    {"# nothing\n", 0, 0, 1, "the file is empty"},
	    {"- a\n", 1, 1, 1, "a configuration is a map"},
	    {"version: 1\nserver:\n\tlisten: []\n", 3, 1, 1,
		"tab character used for indentation (use spaces)"},
	    {"upstreams:\n  a:\n    url: \"http://h/v1\n", 3, 10, 1,
		"quoted string is never closed"},
	    {"upstreams:\n  a:\n    url: \"http://h\n    kind: \"vllm\"\n", 3,
		10, 1, "closed only at line 4"},
	    {"a: [b\nc: d\n", 1, 4, 1, "'[' is never closed"},
	    {"a: {b: 1\nc\n", 1, 4, 1, "'{' is never closed"},
	    {"a: 1\n b: 2\n", 2, 3, 1, "is the indentation wrong"},
	    {"a: 1\nb\nc: 1\n", 2, 1, 1, "a key needs ': '"},
	    {"a: @b\n", 1, 4, 1, "begins with '@' needs quotes"},
	    {"a: \001\n", 1, 4, 1, "control character"},
	    {"a: b\nc: \xff\n", 2, 4, 1, "not UTF-8"},
	    {"a: 1\n---\nb: 2\n", 2, 1, 1, "second document"},
	    {"? [a]\n: b\n", 1, 5, 1, "a key must be a plain text"},
	    {"a: *b\n", 1, 4, 1, "no anchor of this name"},
	    {"a: &x [*x]\n", 1, 8, 1, "must not stand inside"},
	    {HEAD REST "limits: !!map {}\n", 5, 9, 1, "tags"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
what_yaml_allows_and_nobody_means_is_refused(void **state)
{
	static const struct mistake all[] = {
	    {HEAD REST "limits: {concurrent: 1, concurrent: 2}\n", 5, 25, 10,
		"duplicate key 'concurrent' (first defined at line 5)"},
	    {HEAD REST "version: 1\n", 5, 1, 7, "first defined at line 1"},
	    {HEAD REST "limits: {<<: {concurrent: 1}}\n", 5, 10, 2,
		"merge keys (<<) are not supported; what users have in common "
		"goes under limits:"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
an_unknown_key_names_the_nearest_known_one(void **state)
{
	static const struct mistake all[] = {
	    {HEAD REST "limitz: {}\n", 5, 1, 6, "did you mean 'limits'?"},
	    {HEAD REST "limits: {concurent: 1}\n", 5, 10, 9,
		"did you mean 'concurrent'?"},
	    {HEAD
		"upstreams: {a: {url: http://h, first_token: 1m}}\n" MODEL USER,
		2, 32, 11, "did you mean 'timeouts.first_token'?"},
	    {HEAD REST "compat: {fastmode: true}\n", 5, 10, 8,
		"unknown key 'fastmode'; known here: litellm_headers"},
	    {HEAD UPSTREAM
		"models: {m: {routes: [{to: a, model: x, wen: []}]}}\n" USER,
		3, 41, 3, "did you mean 'when'?"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
version_must_stand_there_and_be_1(void **state)
{
	static const struct mistake all[] = {
	    {REST, 1, 1, 1, "version is missing"},
	    {"version: 2\n" REST, 1, 10, 1, "which reads version 1"},
	    {"version:\n" REST, 1, 1, 7, "has no value"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
a_value_must_be_what_its_key_is_declared_to_be(void **state)
{
	static const struct mistake all[] = {
	    {HEAD REST "server: {drain: 30}\n", 5, 17, 2,
		"drain: a duration needs its unit; write 30s, 30m or 30h"},
	    {HEAD REST "server: {drain: soon}\n", 5, 17, 4,
		"'soon' is not a duration"},
	    {HEAD REST "server: {drain: 2d}\n", 5, 17, 2,
		"must be in the range 0d to 1d"},
	    {HEAD REST "server: {max_body: 1000000}\n", 5, 20, 7,
		"a size needs its unit"},
	    {HEAD REST "server: {max_body: 2GiB}\n", 5, 20, 4,
		"must be in the range 1KiB to 1GiB"},
	    {HEAD REST "server: {max_body: 32MB}\n", 5, 20, 4, "write 32MiB"},
	    {HEAD REST "limits: {paid_routes: yes}\n", 5, 23, 3,
		"'yes' is text here; write true"},
	    {HEAD REST "limits: {paid_routes: Off}\n", 5, 23, 3,
		"'Off' is text here; write false"},
	    {HEAD REST "limits: {concurrent: -1}\n", 5, 22, 2,
		"'-1' is not a whole number, or unlimited"},
	    {HEAD REST "limits: {concurrent: 1e3}\n", 5, 22, 3,
		"'1e3' is not a whole number"},
	    {HEAD REST "limits: {concurrent: 1000000001}\n", 5, 22, 10,
		"0 to 1000000000, or unlimited"},
	    {HEAD REST "limits: {concurrent: 99999999999999999999}\n", 5, 22,
		20, "0 to 1000000000"},
	    {HEAD REST "limits: [1]\n", 5, 1, 6, "must be a map of keys"},
	    {HEAD REST "server: {listen: 127.0.0.1:1}\n", 5, 18, 11,
		"must be a list"},
	    {HEAD REST "server: {drain: [1s]}\n", 5, 10, 5,
		"must be a single value"},
	    {HEAD REST "server: {drain: }\n", 5, 10, 5, "has no value"},
	    {HEAD REST "ledger: {fsync: evrysec}\n", 5, 17, 7,
		"did you mean 'everysec'?"},
	    {HEAD REST "ledger: {path: \"a\\nb\"}\n", 5, 16, 6,
		"control character"},
	    {HEAD REST "ledger: {path: \"${env:GOOD}\"}\n", 5, 16, 13,
		"works only in a url, an api_key and a password"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
an_address_to_listen_on_is_checked(void **state)
{
	static const struct mistake all[] = {
	    {HEAD REST "server: {listen: [8643]}\n", 5, 19, 4,
		"write 127.0.0.1:8643"},
	    {HEAD REST "server: {listen: [\":8643\"]}\n", 5, 19, 7,
		"an address and a port"},
	    {HEAD REST "server: {listen: [localhost:8643]}\n", 5, 19, 14,
		"'localhost' is not an IP address"},
	    {HEAD REST "server: {listen: [\"::1:8643\"]}\n", 5, 19, 10,
		"in brackets"},
	    {HEAD REST "server: {listen: [127.0.0.1:70000]}\n", 5, 19, 15,
		"up to 65535"},
	    {HEAD REST "server: {listen: []}\n", 5, 18, 1, "no address"},
	    {HEAD REST "server: {listen: [1.2.3.4:5, 1.2.3.4:5]}\n", 5, 30, 9,
		"twice"},
	    {HEAD REST "server: {allow_from: [10.0.0.1/8]}\n", 5, 23, 10,
		"allow_from: "},
	    {HEAD REST "server: {allow_from: [010.0.0.1]}\n", 5, 23, 9,
		"allow_from: "},
	    {HEAD REST "server: {admin: /run/weir.sock}\n", 5, 17, 14,
		"must be unix:/path"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

#define WITH_UPSTREAM(text) HEAD "upstreams: {a: {" text "}}\n" MODEL USER

static void
a_url_is_checked_and_holds_no_secret(void **state)
{
	static const struct mistake all[] = {
	    {WITH_UPSTREAM("kind: vllm"), 2, 13, 1, "url is missing here"},
	    {WITH_UPSTREAM("url: ftp://h"), 2, 22, 7, "http:// or https://"},
	    {WITH_UPSTREAM("url: h:8000"), 2, 22, 6, "http:// or https://"},
	    {WITH_UPSTREAM("url: http://u:p@h/"), 2, 22, 13,
		"use api_key: ${…}"},
	    {WITH_UPSTREAM("url: http://h/v1?key=abc"), 2, 22, 19,
		"a key goes into api_key: ${…}"},
	    {WITH_UPSTREAM("url: http://h/v1#x"), 2, 22, 13, "fragment"},
	    {WITH_UPSTREAM("url: http://169.254.169.254/"), 2, 22, 23,
		"metadata"},
	    {WITH_UPSTREAM("url: \"http://[fd00:ec2::254]:80\""), 2, 22, 27,
		"metadata"},
	    {WITH_UPSTREAM("url: \"http://[::ffff:169.254.169.254]\""), 2, 22,
		33, "metadata"},
	    {WITH_UPSTREAM("url: http://2852039166/"), 2, 22, 18,
		"not an IP address"},
	    {WITH_UPSTREAM("url: http://0xa9fea9fe/"), 2, 22, 18,
		"not an IP address"},
	    {WITH_UPSTREAM("url: http://169.254.169.254./"), 2, 22, 24,
		"not an IP address"},
	    {WITH_UPSTREAM("url: http://h:0/"), 2, 22, 11, "1 to 65535"},
	    {WITH_UPSTREAM("url: http:///v1"), 2, 22, 10, "has no host"},
	    {WITH_UPSTREAM("url: http://h/v1/chat/completions"), 2, 22, 28,
		"leave out /chat/completions"},
	    {WITH_UPSTREAM("url: http://h/a/../b"), 2, 22, 15, "its path"},
	    {WITH_UPSTREAM("url: http://h, paths: {rerank: rerank}"), 2, 48, 6,
		"must begin with /"},
	    {WITH_UPSTREAM("url: http://h, ca_file: /no/such.pem"), 2, 41, 12,
		"cannot be read"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
a_secret_is_referred_to_and_must_be_there(void **state)
{
	static const struct mistake all[] = {
	    {WITH_UPSTREAM("url: http://h, api_key: fw_3Zabc"), 2, 41, 8,
		"api_key must not be written here; use ${credential:NAME}, "
		"${env:NAME} or ${file:PATH}"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${env:NONE}\""), 2, 41,
		13, "the environment has no NONE"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${env:EMPTY}\""), 2, 41,
		14, "EMPTY is empty"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${env:BROKEN}\""), 2, 41,
		15, "character that no key has"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${file:/no/such}\""), 2,
		41, 18, "cannot open /no/such"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${credential:x}\""), 2,
		41, 17, "$CREDENTIALS_DIRECTORY is not set"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${credential:../x}\""), 2,
		41, 20, "the name in ${credential:NAME}"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"Bearer ${env:GOOD}\""), 2,
		41, 20, "a reference is the whole value"},
	    {WITH_UPSTREAM("url: http://h, api_key: \"${vault:GOOD}\""), 2, 41,
		15, "a reference is the whole value"},
	    {WITH_UPSTREAM("url: \"http://${env:GOOD}/\""), 2, 22, 21,
		"a reference is the whole value"},
	    {WITH_UPSTREAM("url: \"${env:URL}\""), 2, 22, 12,
		"must not hold a user or a password"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

#define TWO HEAD "upstreams: {a: {url: http://h}, spark-ds4: {url: http://h}}\n"

static void
what_a_route_names_must_be_there(void **state)
{
	static const struct mistake all[] = {
	    {TWO "models: {m: {routes: [{to: spark-ds5, model: x}]}}\n" USER, 3,
		28, 9,
		"upstream 'spark-ds5' is not defined; did you mean "
		"'spark-ds4'?"},
	    {TWO "models: {m: {routes: [{to: far, model: x}]}}\n" USER, 3, 28,
		3, "upstream 'far' is not defined"},
	    {TWO "models: {m: {routes: [{to: a}]}}\n" USER, 3, 23, 1,
		"model is missing here"},
	    {TWO "models: {m: {routes: []}}\n" USER, 3, 10, 1, "has no routes"},
	    {TWO "models: {m: {}}\n" USER, 3, 10, 1, "routes is missing here"},
	    {TWO "models: {m: {routes: [{to: a, model: x, when: "
		 "[502]}]}}\n" USER,
		3, 48, 3, "'502' is not known; did you mean '503'?"},
	    {TWO "models: {m: {compare: {to: a, model: x}, routes: [{to: a, "
		 "model: x}]}}\n" USER,
		3, 38, 1, "has no price"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
a_paid_upstream_needs_a_price_for_what_is_asked_of_it(void **state)
{
#define PAID(text) HEAD "upstreams: {a: {url: http://h, " text "}}\n" MODEL USER
	static const struct mistake all[] = {
	    {PAID("paid: true"), 3, 38, 1, "costs money, and 'x' has no price"},
	    {PAID("kind: xai"), 3, 38, 1, "costs money, and 'x' has no price"},
	    {PAID("kind: vllm") "prices: {a: {y: [{input: 1, output: 1}]}}\n",
		3, 38, 1, "costs money, and 'x' has no price"},
	    {PAID("kind: xai") "prices: {a: {x: [{input: 1}]}}\n", 5, 18, 1,
		"this price has no output"},
	    {PAID("kind: xai") "prices: {a: {x: [{output: 1}]}}\n", 5, 18, 1,
		"input is missing here"},
	    {PAID("kind: xai") "prices: {a: {x: [{input: 1, output: 2, hours: "
			       "1-2}]}}\n",
		5, 14, 1, "for some hours only"},
	    {PAID("kind: xai") "prices: {a: {x: [{input: 1.1234567, output: "
			       "2}]}}\n",
		5, 26, 9, "input: "},
	    {PAID("kind: xai") "prices: {a: {x: [{input: 1, output: 2, from: "
			       "2026-02-30}]}}\n",
		5, 46, 10, "is not a date"},
	    {HEAD REST "prices: {b: {x: [{input: 1, output: 1}]}}\n", 5, 10, 1,
		"upstream 'b' is not defined"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
names_are_unique_and_printable(void **state)
{
#define MODELS(text) HEAD UPSTREAM "models: {" text "}\n" USER
#define ROUTE "routes: [{to: a, model: x}]"
	static const struct mistake all[] = {
	    {MODELS("m: {" ROUTE ", aliases: [n]}, n: {" ROUTE "}"), 3, 58, 1,
		"'n' is also a name or an alias of model 'm'"},
	    {MODELS("m: {" ROUTE "}, n: {" ROUTE ", aliases: [m]}"), 3, 87, 1,
		"'m' is also a name or an alias of model 'm'"},
	    {MODELS("m: {" ROUTE ", aliases: [o, o]}"), 3, 10, 1,
		"'o' is among this model's names twice"},
	    {MODELS("m: {" ROUTE "}, \"*\": {" ROUTE "}"), 3, 44, 3,
		"'*' means all models"},
	    {MODELS("m: {" ROUTE "}, \"a\\rb\": {" ROUTE "}"), 3, 44, 6,
		"this name: holds a line break or another control character"},
	    {MODELS("m: {" ROUTE "}, \"a\\u0085b\": {" ROUTE "}"), 3, 44, 10,
		"control character"},
	    {MODELS("m: {routes: [{to: a, model: \"x\\0y\"}]}"), 3, 38, 6,
		"control character"},
	    {HEAD REST "redis: {url: redis://h, prefix: \"\"}\n", 5, 33, 2,
		"is empty"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
users_are_checked(void **state)
{
#define USERS(text) HEAD UPSTREAM MODEL "users: {" text "}\n"
	static const struct mistake all[] = {
	    {USERS("bob: {models: [mm]}"), 4, 24, 2,
		"model 'mm' is not defined"},
	    {USERS("bob: {}"), 4, 9, 3, "models is missing here"},
	    {USERS("bob: {models: [m], key: none}"), 4, 9, 3,
		"it must say from which addresses"},
	    {USERS("bob: {models: [m], key: none, from: []}"), 4, 9, 3,
		"it must say from which addresses"},
	    {USERS("bob: {models: [m], key: none, from: [10.0.0.0/8], role: "
		   "admin}"),
		4, 9, 3, "cannot be an admin"},
	    {USERS("bob: {models: [m], key: sk-weir-abc}"), 4, 33, 11,
		"key: may only be 'none'"},
	    {USERS("bob: {models: [m], from: [10.0.0.0/33]}"), 4, 35, 11,
		"from: "},
	    {USERS("-bob: {models: [m]}"), 4, 9, 4, "must not begin with -"},
	    {USERS("a123456789b123456789c123456789d123456789e123456789f12345678"
		   "9g1234: {models: [m]}"),
		4, 9, 65, "at most 64 bytes"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
params_leave_the_gateways_own_fields_alone(void **state)
{
#define PARAMS(text)                                \
	HEAD UPSTREAM "models: {m: {params: {" text \
		      "}, routes: [{to: a, model: x}]}}\n" USER
	static const struct mistake all[] = {
	    {PARAMS("set: {model: y}"), 3, 29, 5, "set by the gateway itself"},
	    {PARAMS("set: {stream: true}"), 3, 29, 6,
		"set by the gateway itself"},
	    {PARAMS("set: {x: 1}, drop: [x]"), 3, 43, 1, "params twice"},
	    {PARAMS("sett: {x: 1}"), 3, 23, 4, "did you mean 'set'?"},
	};

	(void)state;
	EXPECT_ERRORS(all);
}

static void
all_mistakes_of_a_file_are_told_in_one_run_in_their_order(void **state)
{
	static const char yaml[] =
	    "version: 1\n"
	    "users: {bob: {models: [nope]}}\n"
	    "models: {m: {routes: [{to: nowhere, model: x}]}}\n"
	    "upstreams: {a: {url: nothing, kind: vlllm}}\n"
	    "server: {drain: 5}\n";
	static const unsigned lines[] = {2, 3, 4, 4, 5};
	struct diagnostics found = {0};
	struct config *c = parse(yaml, &found);

	(void)state;
	assert_null(c);
	assert_int_equal(found.errors, COUNT_OF(lines));
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		assert_int_equal(found.all[i].line, lines[i]);
	diagnostics_release(&found);
}

static void
what_is_odd_but_works_is_a_warning(void **state)
{
	static const struct mistake all[] = {
	    {HEAD REST "server: {listen: [0.0.0.0:8643]}\n", 5, 19, 12,
		"listens on every network"},
	    {HEAD REST "server: {listen: [\"[::]:8643\"]}\n", 5, 19, 11,
		"listens on every network"},
	    {HEAD UPSTREAM MODEL, 1, 1, 1, "there are no users"},
	    {HEAD "upstreams: {a: {url: http://h, paid: false}}\n" MODEL USER
		  "prices: {a: {x: [{input: 1, output: 1}]}}\n",
		2, 38, 5, "has a price list"},
	    {HEAD "upstreams: {a: {url: http://h}, b: {url: http://h}}\n" MODEL
		    USER "prices: {b: {x: [{input: 1, output: 1}]}}\n",
		3, 10, 1, "model 'm' has no price and no compare price"},
	};

	(void)state;
	EXPECT_WARNINGS(all);
}

static void
a_key_of_the_future_is_checked_and_told_once(void **state)
{
	static const struct mistake once[] = {
	    {HEAD UPSTREAM MODEL "users:\n"
				 "  bob: {models: [m], tailscale: [a]}\n"
				 "  ann: {models: [m], tailscale: [b, c]}\n",
		5, 22, 9,
		"users.*.tailscale is checked but not acted on by this "
		"version"},
	    {HEAD REST "server: {metrics: \"127.0.0.1:9\"}\n", 5, 10, 7,
		"server.metrics is checked"},
	    {HEAD REST "compat: {litellm_headers: true}\n", 5, 1, 6,
		"compat is checked"},
	    {HEAD UPSTREAM
		"models: {m: {routes: [{to: a, model: x}, {to: a, model: y, "
		"when: [context]}]}}\n" USER,
		3, 66, 1, "`context` is checked but not acted on"},
	};
	static const struct mistake wrong[] = {
	    {HEAD REST "redis: {url: redis://u:p@h}\n", 5, 14, 13,
		"use password: ${…}"},
	    {HEAD REST "redis: {url: redis://h/x}\n", 5, 14, 11,
		"no number of a database"},
	    {HEAD REST "redis: {url: redis://h, prefix: \"{a}\"}\n", 5, 33, 5,
		"the braces are put around it"},
	    {HEAD REST "redis: {url: \"unix:/s\", tls: true}\n", 5, 30, 4,
		"a unix socket needs none"},
	    {HEAD REST "redis: {url: redis://h, username: me}\n", 5, 35, 2,
		"there is no password to it"},
	    {HEAD REST "server: {timezone: Europe/Berlni}\n", 5, 20, 13,
		"is no time zone of this machine"},
	    {HEAD REST "server: {timezone: ../../etc/passwd}\n", 5, 20, 16,
		"is no time zone of this machine"},
	};

	(void)state;
	EXPECT_WARNINGS(once);
	EXPECT_ERRORS(wrong);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(broken_yaml_is_explained_at_its_place),
	    cmocka_unit_test(what_yaml_allows_and_nobody_means_is_refused),
	    cmocka_unit_test(an_unknown_key_names_the_nearest_known_one),
	    cmocka_unit_test(version_must_stand_there_and_be_1),
	    cmocka_unit_test(a_value_must_be_what_its_key_is_declared_to_be),
	    cmocka_unit_test(an_address_to_listen_on_is_checked),
	    cmocka_unit_test(a_url_is_checked_and_holds_no_secret),
	    cmocka_unit_test(a_secret_is_referred_to_and_must_be_there),
	    cmocka_unit_test(what_a_route_names_must_be_there),
	    cmocka_unit_test(
		a_paid_upstream_needs_a_price_for_what_is_asked_of_it),
	    cmocka_unit_test(names_are_unique_and_printable),
	    cmocka_unit_test(users_are_checked),
	    cmocka_unit_test(params_leave_the_gateways_own_fields_alone),
	    cmocka_unit_test(
		all_mistakes_of_a_file_are_told_in_one_run_in_their_order),
	    cmocka_unit_test(what_is_odd_but_works_is_a_warning),
	    cmocka_unit_test(a_key_of_the_future_is_checked_and_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
