/* Limits, budgets and queues: what a file says of them, and what holds where it
 * says nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "conf/config.h"
#include "conf/keys.h"

#define HEAD "version: 1\n"
#define UPSTREAM "upstreams: {a: {url: http://10.0.0.1:8000}}\n"
#define MODEL                                                           \
	"models: {m: {aliases: [em], routes: [{to: a, model: x}]}, n: " \
	"{routes: [{to: a, model: y}]}, o: {routes: [{to: a, model: z}]}}\n"
#define FILE_WITH HEAD UPSTREAM MODEL
#define USER "users: {bob: {models: [m]}}\n"
#define USD PUSD_PER_USD

static const struct config_env test_env = {
    .default_state_dir = "/tmp/state", .without_secrets = true};

static struct config *
parse(const char *yaml, struct diagnostics *found)
{
	return config_parse(
	    "/etc/weir/weir.yaml", slice_of(yaml), &test_env, found);
}

/* Parses what must be correct and without a warning. */
static struct config *
parse_clean(const char *yaml)
{
	struct diagnostics found = {0};
	struct config *c = parse(yaml, &found);

	for (size_t i = 0; i < found.count; i++)
		print_message("%u:%u %s\n", found.all[i].line,
		    found.all[i].column, found.all[i].message);
	assert_int_equal(found.count, 0);
	assert_non_null(c);
	diagnostics_release(&found);
	return c;
}

/* What `weir check` prints of a file with one thing to say. */
static void
expect_print(const char *yaml, size_t errors, const char *printed)
{
	struct diagnostics found = {0};
	struct config *c = parse(yaml, &found);
	struct buf out = {0};

	diagnostics_print(&found, "f", slice_of(yaml), &out);
	buf_put(&out, "", 1);
	if (strcmp(buf_data(&out), printed) != 0)
		print_message("%s\nexpected\n%s\n", buf_data(&out), printed);
	assert_string_equal(buf_data(&out), printed);
	assert_int_equal(found.errors, errors);
	assert_int_equal(found.count, 1);
	assert_true((c == NULL) == (errors > 0));
	buf_release(&out);
	diagnostics_release(&found);
	config_unref(&c);
}

/* The table has a row for each limit wherever limits may stand, and the same
 * default as the struct. */
static void
every_limit_may_stand_wherever_limits_may(void **state)
{
	static const char *const places[] = {"limits", "limits.models.*",
	    "users.*.limits", "users.*.limits.models.*"};
	uint64_t cap;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(places); i++)
		for (unsigned l = 0; l < LIMIT_COUNT; l++) {
			const struct key *k = key_child(key_at(places[i]),
			    slice_of(limit_name((enum limit)l)));

			assert_non_null(k);
			assert_true(k->flags & KEY_ACTS);
			assert_true(k->flags & KEY_UNLIMITED);
			if (i == 0)
				assert_string_equal(k->fallback, "unlimited");
			else
				assert_null(k->fallback);
		}
	assert_true(
	    text_to_u64(slice_of(key_at("limits.reserve_cap")->fallback),
		UINT32_MAX, &cap));
	assert_int_equal(cap, RESERVE_CAP_DEFAULT);
	for (unsigned p = 0; p < PERIOD_COUNT; p++)
		assert_non_null(strstr(key_at("users.*.budget.per")->words,
		    period_name((enum period)p)));
}

static void
where_nothing_is_said_nothing_is_limited_and_64_may_wait(void **state)
{
	struct config *c = parse_clean(FILE_WITH USER);
	const struct limits none = limits_none();
	const struct upstream_config *a = &c->upstreams[0];
	const struct model_config *m = &c->models[0];
	const struct user_config *bob = &c->users[0];

	(void)state;
	assert_memory_equal(&bob->limits, &none, sizeof none);
	assert_int_equal(bob->at_model_count, 0);
	assert_null(user_limits_at(bob, m));
	assert_int_equal(bob->weight, 1);
	assert_int_equal(a->kv_tokens, 0);
	assert_int_equal(a->queue_size, 64);
	assert_int_equal(a->queue_per_user, 64);
	assert_int_equal(a->queue_wait_ms, 120000);
	assert_int_equal(m->class, CLASS_INTERACTIVE);
	assert_int_equal(m->prefill, PREFILL_WARN);
	assert_int_equal(m->commit_after_ms, 5000);
	assert_int_equal(m->keepalive_ms, 15000);
	assert_int_equal(m->retry_grace_ms, 0);
	assert_int_equal(m->routes[0].overflow_after_ms, 0);
	assert_memory_equal(&c->everyone, &none, sizeof none);
	assert_false(c->limits_shared);
	assert_int_equal(c->unverified_pusd, 0);
	config_unref(&c);
}

static void
a_queue_has_its_size_its_wait_and_its_share_of_one_user(void **state)
{
	struct config *c = parse_clean(HEAD
	    "upstreams:\n"
	    "  a: {url: http://h, queue: {size: 16, wait: 1h}}\n"
	    "  b: {url: http://h, max_inflight: 4, kv_tokens: 400K, queue: "
	    "{per_user: 3}}\n"
	    "  c: {url: http://h, queue: {size: 0, wait: 0s}, kv_tokens: 1}\n"
	    "  d: {url: http://h, queue: {}}\n" MODEL USER);
	const struct upstream_config *u = c->upstreams;

	(void)state;
	assert_int_equal(u[0].queue_size, 16);
	assert_int_equal(u[0].queue_per_user, 16);
	assert_int_equal(u[0].queue_wait_ms, 3600000);
	assert_int_equal(u[0].kv_tokens, 0);
	assert_int_equal(u[1].queue_size, 64);
	assert_int_equal(u[1].queue_per_user, 3);
	assert_int_equal(u[1].kv_tokens, 400000);
	assert_int_equal(u[1].max_inflight, 4);
	assert_int_equal(u[2].queue_size, 0);
	assert_int_equal(u[2].queue_per_user, 0);
	assert_int_equal(u[2].queue_wait_ms, 0);
	assert_int_equal(u[2].kv_tokens, 1);
	assert_int_equal(u[2].max_inflight, CONFIG_UNLIMITED);
	assert_int_equal(u[3].queue_size, 64);
	config_unref(&c);
}

static void
a_model_says_how_its_requests_wait(void **state)
{
	struct config *c = parse_clean(HEAD UPSTREAM
	    "models:\n"
	    "  m: {class: batch, commit_after: 1s, keepalive: off, prefill: "
	    "refuse, retry_grace: 5m, routes: [{to: a, model: x, "
	    "overflow_after: 30s}, {to: a, model: y, when: [full, slow], "
	    "overflow_after: off}]}\n"
	    "  n: {class: interactive, keepalive: 2s, prefill: off, "
	    "retry_grace: off, commit_after: 0s, routes: [{to: a, model: "
	    "x}]}\n"
	    "  o: {prefill: warn, routes: [{to: a, model: x}]}\n"
	    "users: {bob: {models: [m], weight: 7}}\n");
	const struct model_config *m = &c->models[0], *n = &c->models[1];

	(void)state;
	assert_int_equal(m->class, CLASS_BATCH);
	assert_int_equal(m->commit_after_ms, 1000);
	assert_int_equal(m->keepalive_ms, 0);
	assert_int_equal(m->prefill, PREFILL_REFUSE);
	assert_int_equal(m->retry_grace_ms, 300000);
	assert_int_equal(m->routes[0].overflow_after_ms, 30000);
	assert_int_equal(m->routes[1].overflow_after_ms, 0);
	assert_int_equal(m->routes[1].when, WHEN_FULL | WHEN_SLOW);
	assert_int_equal(n->class, CLASS_INTERACTIVE);
	assert_int_equal(n->commit_after_ms, 0);
	assert_int_equal(n->keepalive_ms, 2000);
	assert_int_equal(n->prefill, PREFILL_OFF);
	assert_int_equal(n->retry_grace_ms, 0);
	assert_int_equal(c->models[2].prefill, PREFILL_WARN);
	assert_int_equal(c->users[0].weight, 7);
	config_unref(&c);
}

/* For each limit: nothing, `unlimited`, 0 or a number in common, and the same
 * of the user. */
static void
nothing_said_and_0_and_unlimited_are_three_things(void **state)
{
	static const struct {
		const char *text; /* NULL: not said */
		uint32_t most;
	} said[] = {{NULL, LIMIT_UNLIMITED}, {"unlimited", LIMIT_UNLIMITED},
	    {"0", 0}, {"5", 5}};
	char yaml[1024];

	(void)state;
	for (unsigned n = 0; n < LIMIT_COUNT * 16; n++) {
		enum limit l = (enum limit)(n / 16);
		unsigned in_common = n / 4 % 4, own = n % 4;
		const struct user_config *bob;
		char common_line[64] = "", own_line[64] = "";
		struct config *c;

		if (in_common > 0)
			snprintf(common_line, sizeof common_line, "%s: %s",
			    limit_name(l), said[in_common].text);
		if (own > 0)
			snprintf(own_line, sizeof own_line, "%s: %s",
			    limit_name(l), said[own].text);
		snprintf(yaml, sizeof yaml,
		    FILE_WITH "limits: {%s}\nusers: {bob: {models: [m], "
			      "limits: {%s}}}\n",
		    common_line, own_line);
		c = parse_clean(yaml);
		bob = &c->users[0];
		for (unsigned i = 0; i < LIMIT_COUNT; i++)
			assert_int_equal(bob->limits.most[i],
			    i != l        ? LIMIT_UNLIMITED
				: own > 0 ? said[own].most
					  : said[in_common].most);
		assert_int_equal(
		    bob->limits.stated, own > 0 ? STATED_LIMIT(l) : 0);
		config_unref(&c);
	}
}

/* Which of the four places that may state a limit hold, whichever state it. */
static void
the_model_goes_before_the_user_and_both_before_all(void **state)
{
	static const char *const keys[] = {
	    "concurrent", "reserve_cap", "tokens_per_day"};
	char yaml[1024];

	(void)state;
	for (unsigned n = 0; n < COUNT_OF(keys) * 16; n++) {
		const char *key = keys[n / 16];
		bool common = n & 1, user = n & 2, common_at = n & 4,
		     user_at = n & 8, at = common_at || user_at;
		const struct user_model_limits *there;
		uint32_t general = user ? 20 : common ? 10 : 0;
		uint32_t special = user_at ? 40 : common_at ? 30 : 0;
		uint32_t nothing =
		    n / 16 == 1 ? RESERVE_CAP_DEFAULT : LIMIT_UNLIMITED;
		const struct user_config *bob;
		struct config *c;

#define LINE(is_there) (is_there) ? "" : "# ", key
		snprintf(yaml, sizeof yaml,
		    FILE_WITH "limits:\n  %s%s: 10\n  models:\n"
			      "    m:\n      %s%s: 30\n"
			      "users:\n  bob:\n    models: [m, n]\n"
			      "    limits:\n      %s%s: 20\n      models:\n"
			      "        m:\n          %s%s: 40\n",
		    LINE(common), LINE(common_at), LINE(user), LINE(user_at));
#undef LINE
		c = parse_clean(yaml);
		bob = &c->users[0];
		there = user_limits_at(bob, &c->models[0]);
		assert_true((there != NULL) == at);
		assert_null(user_limits_at(bob, &c->models[1]));
		general = general == 0 ? nothing : general;
		if (n / 16 == 1) {
			assert_int_equal(bob->limits.reserve_cap, general);
			if (at) {
				assert_int_equal(
				    there->own.reserve_cap, special);
				assert_int_equal(
				    there->beside.reserve_cap, special);
			}
		} else {
			enum limit l =
			    n / 16 == 0 ? LIMIT_CONCURRENT : LIMIT_DAY_TOKENS;

			assert_int_equal(bob->limits.most[l], general);
			if (at) {
				assert_int_equal(there->own.most[l], special);
				assert_int_equal(
				    there->beside.most[l], LIMIT_UNLIMITED);
			}
		}
		config_unref(&c);
	}
}

static void
statements_at_a_model_meet_field_by_field(void **state)
{
	struct config *c = parse_clean(FILE_WITH
	    "limits:\n"
	    "  concurrent: 2\n"
	    "  requests_per_minute: 30\n"
	    "  models:\n"
	    "    o: {tokens_per_day: 1M}\n"
	    "    m: {concurrent: 1, tokens_per_day: 5K, paid_routes: true}\n"
	    "users:\n"
	    "  bob:\n"
	    "    models: [m, n]\n"
	    "    limits:\n"
	    "      concurrent: 8\n"
	    "      models:\n"
	    "        n: {requests_per_minute: 0}\n"
	    "        em: {tokens_per_day: unlimited, input_tokens_per_minute: "
	    "7}\n"
	    "  ann: {models: [\"*\"], limits: {paid_routes: true, reserve_cap: "
	    "1, models: {n: {}}}}\n");
	const struct user_config *bob = &c->users[0], *ann = &c->users[1];
	const struct user_model_limits *m = user_limits_at(bob, &c->models[0]);
	const struct user_model_limits *n = user_limits_at(bob, &c->models[1]);

	(void)state;
	/* In the order of models; none where the user may not go. */
	assert_int_equal(bob->at_model_count, 2);
	assert_ptr_equal(m, &bob->at_models[0]);
	assert_ptr_equal(n, &bob->at_models[1]);
	assert_null(user_limits_at(bob, &c->models[2]));
	assert_int_equal(m->own.most[LIMIT_CONCURRENT], 1);
	assert_int_equal(m->own.most[LIMIT_DAY_TOKENS], LIMIT_UNLIMITED);
	assert_int_equal(m->own.most[LIMIT_INPUT_TOKENS], 7);
	assert_int_equal(m->own.most[LIMIT_REQUESTS], LIMIT_UNLIMITED);
	assert_int_equal(m->own.stated,
	    STATED_LIMIT(LIMIT_CONCURRENT) | STATED_LIMIT(LIMIT_DAY_TOKENS) |
		STATED_LIMIT(LIMIT_INPUT_TOKENS) | STATED_PAID_ROUTES);
	assert_int_equal(m->beside.most[LIMIT_CONCURRENT], LIMIT_UNLIMITED);
	assert_int_equal(m->beside.most[LIMIT_REQUESTS], 30);
	assert_true(m->own.paid_routes);
	assert_true(m->beside.paid_routes);
	assert_false(bob->limits.paid_routes);
	assert_int_equal(n->own.most[LIMIT_REQUESTS], 0);
	assert_int_equal(n->beside.most[LIMIT_REQUESTS], LIMIT_UNLIMITED);
	assert_int_equal(n->beside.most[LIMIT_CONCURRENT], 8);
	assert_false(n->own.paid_routes);
	/* What ann says of n is nothing; the user's own word holds at o. */
	assert_int_equal(ann->at_model_count, 2);
	assert_null(user_limits_at(ann, &c->models[1]));
	m = user_limits_at(ann, &c->models[2]);
	assert_int_equal(m->own.most[LIMIT_DAY_TOKENS], 1000000);
	assert_true(m->own.paid_routes);
	assert_int_equal(m->own.reserve_cap, 1);
	config_unref(&c);
}

static void
budgets_are_one_a_period_and_replace_one_another_so(void **state)
{
	struct config *c = parse_clean(FILE_WITH
	    "limits:\n"
	    "  paid_routes: true\n"
	    "  budget: [{usd: 5, per: day}, {usd: 20, per: week}]\n"
	    "  models: {m: {budget: {usd: 0.5, per: day}}}\n"
	    "users:\n"
	    "  ann: {models: [n]}\n"
	    "  bob: {models: [m], budget: {usd: 7.25, per: week}}\n"
	    "  joe: {models: [m], budget: [{usd: unlimited, per: day}, {usd: "
	    "0, per: week}, {usd: 1000000, per: month}], cloud_fallback: {usd: "
	    "1, per: day}, limits: {models: {m: {budget: [{usd: 3, per: "
	    "month}]}}}}\n"
	    "cloud_fallback: [{usd: 9, per: month}, {usd: 0.000000000001, per: "
	    "day}]\n");
	const struct limits *ann = &c->users[0].limits,
			    *bob = &c->users[1].limits,
			    *joe = &c->users[2].limits;
	const struct user_model_limits *at =
	    user_limits_at(&c->users[2], &c->models[0]);

	(void)state;
	assert_true(ann->budget[PERIOD_DAY] == 5 * USD);
	assert_true(ann->budget[PERIOD_WEEK] == 20 * USD);
	assert_true(ann->budget[PERIOD_MONTH] == BUDGET_UNLIMITED);
	assert_int_equal(ann->stated, 0);
	assert_int_equal(c->users[0].at_model_count, 0);
	assert_true(bob->budget[PERIOD_DAY] == 5 * USD);
	assert_true(bob->budget[PERIOD_WEEK] == 725 * (USD / 100));
	assert_int_equal(bob->stated, STATED_BUDGET(PERIOD_WEEK));
	assert_true(joe->budget[PERIOD_DAY] == BUDGET_UNLIMITED);
	assert_true(joe->budget[PERIOD_WEEK] == 0);
	assert_true(joe->budget[PERIOD_MONTH] == 1000000 * USD);
	assert_true(joe->fallback[PERIOD_DAY] == USD);
	assert_true(joe->fallback[PERIOD_WEEK] == BUDGET_UNLIMITED);
	assert_int_equal(joe->stated,
	    STATED_BUDGET(PERIOD_DAY) | STATED_BUDGET(PERIOD_WEEK) |
		STATED_BUDGET(PERIOD_MONTH) | STATED_FALLBACK(PERIOD_DAY));
	assert_true(at->own.budget[PERIOD_DAY] == USD / 2);
	assert_true(at->own.budget[PERIOD_WEEK] == BUDGET_UNLIMITED);
	assert_true(at->own.budget[PERIOD_MONTH] == 3 * USD);
	assert_true(at->beside.budget[PERIOD_WEEK] == 0);
	assert_true(at->beside.budget[PERIOD_MONTH] == BUDGET_UNLIMITED);
	assert_true(at->beside.fallback[PERIOD_DAY] == USD);
	assert_true(c->everyone.fallback[PERIOD_MONTH] == 9 * USD);
	assert_true(c->everyone.fallback[PERIOD_DAY] == 1);
	assert_true(c->everyone.fallback[PERIOD_WEEK] == BUDGET_UNLIMITED);
	assert_int_equal(c->everyone.stated,
	    STATED_FALLBACK(PERIOD_MONTH) | STATED_FALLBACK(PERIOD_DAY));
	config_unref(&c);
}

static void
gateways_count_together_where_there_is_redis(void **state)
{
	struct config *c = parse_clean(
	    FILE_WITH USER "redis: {url: redis://h}\n"
			   "limits: {scope: shared, unverified_usd: 2.50}\n");

	(void)state;
	assert_true(c->limits_shared);
	assert_true(c->unverified_pusd == 250 * (USD / 100));
	config_unref(&c);
	c = parse_clean(FILE_WITH USER "redis: {url: redis://h}\n"
				       "limits: {scope: local}\n");
	assert_false(c->limits_shared);
	config_unref(&c);
}

static void
a_mistake_in_limits_is_shown_at_its_place(void **state)
{
	static const struct {
		const char *section; /* from line 4 on */
		const char *printed;
	} all[] = {
	    {USER "limits: {tokens_per_day: 2G}\n",
		"f:5:26: error: tokens_per_day: '2G' is not a whole number, as "
		"200K or 2M, or unlimited\n"
		"     5 | limits: {tokens_per_day: 2G}\n"
		"       |                          ^~\n"},
	    {USER "limits: {concurrent: 1000000001}\n",
		"f:5:22: error: concurrent: must be in the range 0 to "
		"1000000000, or unlimited\n"
		"     5 | limits: {concurrent: 1000000001}\n"
		"       |                      ^~~~~~~~~~\n"},
	    {USER "limits: {scope: shared}\n",
		"f:5:17: error: scope: shared counts in Redis, and there is "
		"none; add redis: {url: redis://…}\n"
		"     5 | limits: {scope: shared}\n"
		"       |                 ^~~~~~\n"},
	    {USER "limits: {models: {mn: {concurrent: 1}}}\n",
		"f:5:19: error: model 'mn' is not defined\n"
		"     5 | limits: {models: {mn: {concurrent: 1}}}\n"
		"       |                   ^~\n"},
	    {USER "limits: {models: {m: {concurrent: 1}, em: {}}}\n",
		"f:5:39: error: 'em' is model 'm', whose limits stand here "
		"already\n"
		"     5 | limits: {models: {m: {concurrent: 1}, em: {}}}\n"
		"       |                                       ^~\n"},
	    {USER "limits: {models: {m: {scope: local}}}\n",
		"f:5:23: error: unknown key 'scope'; known here: "
		"requests_per_minute, input_tokens_per_minute, "
		"output_tokens_per_minute, tokens_per_day, concurrent, "
		"reserve_cap, paid_routes, budget\n"
		"     5 | limits: {models: {m: {scope: ******}}}\n"
		"       |                       ^~~~~\n"},
	    {USER "limits: {budget: [{usd: 1, per: day}, {usd: 2, per: "
		  "day}]}\n",
		"f:5:53: error: this is the second budget of a day; there may "
		"be one for each of day, week and month\n"
		"     5 | limits: {budget: [{usd: 1, per: day}, {usd: 2, per: "
		"day}]}\n"
		"       |                                                     "
		"^~~\n"},
	    {USER "limits: {budget: []}\n",
		"f:5:10: error: budget: is empty; write {usd: 10, per: month}, "
		"with usd: unlimited to lift one that all users have\n"
		"     5 | limits: {budget: []}\n"
		"       |          ^~~~~~\n"},
	    {USER "limits: {budget: {usd: 1000000.01, per: day}}\n",
		"f:5:24: error: usd: more than 1000000 dollars cannot be "
		"meant\n"
		"     5 | limits: {budget: {usd: 1000000.01, per: day}}\n"
		"       |                        ^~~~~~~~~~\n"},
	    {USER "limits: {budget: {usd: -1, per: day}}\n",
		"f:5:24: error: usd: '-1' is not an amount of dollars, as 10 "
		"or 0.50, or unlimited\n"
		"     5 | limits: {budget: {usd: -1, per: day}}\n"
		"       |                        ^~\n"},
	    {USER "limits: {budget: 10}\n",
		"f:5:10: error: budget: must be a map of keys and values\n"
		"     5 | limits: {budget: 10}\n"
		"       |          ^~~~~~\n"},
	    {USER "cloud_fallback: {usd: 5}\n",
		"f:5:1: error: per is missing here\n"
		"     5 | cloud_fallback: {usd: 5}\n"
		"       | ^~~~~~~~~~~~~~\n"},
	    {USER "cloud_fallback: {usd: 5, per: year}\n",
		"f:5:31: error: per: 'year' is not known; it is one of: day "
		"week month\n"
		"     5 | cloud_fallback: {usd: 5, per: year}\n"
		"       |                               ^~~~\n"},
	    {"users: {bob: {models: [m], weight: 0}}\n",
		"f:4:36: error: weight: must be in the range 1 to 1000\n"
		"     4 | users: {bob: {models: [m], weight: 0}}\n"
		"       |                                    ^\n"},
	    {"users: {bob: {models: [m], limits: {models: {q: {}}}}}\n",
		"f:4:46: error: model 'q' is not defined\n"
		"     4 | users: {bob: {models: [m], limits: {models: {q: "
		"{}}}}}\n"
		"       |                                              ^\n"},
	};
	char yaml[1024];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		snprintf(yaml, sizeof yaml, FILE_WITH "%s", all[i].section);
		expect_print(yaml, 1, all[i].printed);
	}
}

static void
a_limit_that_can_mean_nothing_is_a_warning(void **state)
{
	static const struct {
		const char *section;
		const char *printed;
	} all[] = {
	    {"users: {bob: {models: [m], budget: {usd: 5, per: day}}}\n",
		"f:4:28: warning: user 'bob' has a budget but no paid_routes: "
		"it can never be spent\n"},
	    {"users: {bob: {models: [m], cloud_fallback: {usd: unlimited, per: "
	     "day}}}\n",
		"f:4:28: warning: user 'bob' has a cloud_fallback but no "
		"paid_routes: it can never be spent\n"},
	    {"users: {bob: {models: [m], limits: {models: {n: {concurrent: "
	     "1}}}}}\n",
		"f:4:46: warning: user 'bob' may not use model 'n', whatever "
		"its limits are\n"},
	    {USER "limits: {unverified_usd: 1}\n",
		"f:5:10: warning: unverified_usd means something with scope: "
		"shared only\n"},
	};
	static const char *const fine[] = {
	    /* To forbid what is forbidden is no mistake. */
	    "users: {bob: {models: [m], budget: {usd: 0, per: day}}}\n",
	    /* What all have in common need not suit everyone. */
	    USER "limits: {budget: {usd: 5, per: day}}\n",
	    "users: {bob: {models: [m], budget: {usd: 5, per: day}, limits: "
	    "{paid_routes: true}}}\n",
	    "users: {bob: {models: [m], budget: {usd: 5, per: day}, limits: "
	    "{models: {m: {paid_routes: true}}}}}\n",
	};
	char yaml[1024];
	struct config *c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		snprintf(yaml, sizeof yaml, FILE_WITH "%s", all[i].section);
		expect_print(yaml, 0, all[i].printed);
	}
	for (size_t i = 0; i < COUNT_OF(fine); i++) {
		snprintf(yaml, sizeof yaml, FILE_WITH "%s", fine[i]);
		c = parse_clean(yaml);
		config_unref(&c);
	}
}

static void
slow_needs_to_know_how_long_is_too_long(void **state)
{
#define ROUTES(text) HEAD UPSTREAM "models: {m: {routes: [" text "]}}\n" USER
	struct config *c;

	(void)state;
	expect_print(
	    ROUTES("{to: a, model: x}, {to: a, model: y, when: [slow]}"), 0,
	    "f:3:66: warning: `slow` never happens: the route before this one "
	    "has no overflow_after\n");
	expect_print(
	    ROUTES("{to: a, model: x}, {to: a, model: y, overflow_after: 5s, "
		   "when: [full, slow]}"),
	    0,
	    "f:3:86: warning: `slow` never happens: the route before this one "
	    "has no overflow_after\n");
	c = parse_clean(
	    ROUTES("{to: a, model: x, overflow_after: 5s}, {to: a, model: y, "
		   "when: [full, slow]}"));
	config_unref(&c);
}

/* A line for each of many users, at each of many models. */
static void
more_limits_than_memory_is_meant_for_are_refused(void **state)
{
	struct diagnostics found = {0};
	struct buf yaml = {0};

	(void)state;
	buf_puts(&yaml, HEAD UPSTREAM "limits:\n  models: &all\n");
	for (unsigned i = 0; i < 1000; i++)
		buf_printf(&yaml, "    m%u: {concurrent: 1}\n", i);
	buf_puts(&yaml, "models:\n");
	for (unsigned i = 0; i < 1000; i++)
		buf_printf(&yaml, "  m%u: {routes: [{to: a, model: x}]}\n", i);
	buf_puts(&yaml, "users:\n");
	for (unsigned i = 0; i < 101; i++)
		buf_printf(&yaml, "  u%u: {models: [m0]}\n", i);
	buf_put(&yaml, "", 1);
	assert_null(parse(buf_data(&yaml), &found));
	assert_int_equal(found.errors, 1);
	assert_int_equal(found.all[0].line, 4);
	assert_non_null(strstr(found.all[0].message,
	    "limits of 101 users at 1000 models each are more than 100000"));
	diagnostics_release(&found);
	buf_release(&yaml);
}

static void
the_file_of_a_whole_fleet_means_what_it_says(void **state)
{
	struct diagnostics found = {0};
	struct config *c =
	    config_load(TEST_DATA "/conf/fleet.yaml", &test_env, &found);
	const struct upstream_config *spark, *kimi;
	const struct user_config *owner, *agent, *alice, *bob, *carol;

	(void)state;
	assert_non_null(c);
	for (size_t i = 0; i < found.count; i++)
		assert_true(
		    strstr(found.all[i].message, "server.metrics is checked") ||
		    strstr(found.all[i].message, "no compare price"));
	spark = config_upstream(c, SLICE("spark-ds4"));
	kimi = config_upstream(c, SLICE("m3ultra-kimi"));
	assert_int_equal(spark->max_inflight, 4);
	assert_int_equal(spark->queue_size, 16);
	assert_int_equal(spark->queue_wait_ms, 120000);
	assert_int_equal(kimi->queue_size, 4);
	assert_int_equal(kimi->queue_per_user, 4);
	assert_int_equal(kimi->queue_wait_ms, 3600000);
	assert_int_equal(
	    config_upstream(c, SLICE("m5max-coder"))->queue_size, 64);
	assert_int_equal(config_model(c, SLICE("small"))->class, CLASS_BATCH);
	owner = config_user(c, SLICE("owner"));
	agent = config_user(c, SLICE("agent"));
	alice = config_user(c, SLICE("alice"));
	bob = config_user(c, SLICE("bob"));
	carol = config_user(c, SLICE("carol"));
	assert_int_equal(owner->limits.most[LIMIT_REQUESTS], 600);
	assert_int_equal(owner->limits.most[LIMIT_CONCURRENT], 8);
	assert_true(owner->limits.paid_routes);
	assert_true(owner->limits.budget[PERIOD_DAY] == BUDGET_UNLIMITED);
	assert_int_equal(agent->limits.most[LIMIT_REQUESTS], 30);
	assert_true(agent->limits.budget[PERIOD_DAY] == 60 * USD);
	assert_true(alice->limits.budget[PERIOD_MONTH] == 10 * USD);
	assert_true(alice->limits.budget[PERIOD_DAY] == BUDGET_UNLIMITED);
	assert_int_equal(bob->limits.most[LIMIT_CONCURRENT], 2);
	assert_false(bob->limits.paid_routes);
	assert_int_equal(carol->limits.most[LIMIT_DAY_TOKENS], 2000000);
	config_unref(&c);
	diagnostics_release(&found);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_limit_may_stand_wherever_limits_may),
	    cmocka_unit_test(
		where_nothing_is_said_nothing_is_limited_and_64_may_wait),
	    cmocka_unit_test(
		a_queue_has_its_size_its_wait_and_its_share_of_one_user),
	    cmocka_unit_test(a_model_says_how_its_requests_wait),
	    cmocka_unit_test(nothing_said_and_0_and_unlimited_are_three_things),
	    cmocka_unit_test(
		the_model_goes_before_the_user_and_both_before_all),
	    cmocka_unit_test(statements_at_a_model_meet_field_by_field),
	    cmocka_unit_test(
		budgets_are_one_a_period_and_replace_one_another_so),
	    cmocka_unit_test(gateways_count_together_where_there_is_redis),
	    cmocka_unit_test(a_mistake_in_limits_is_shown_at_its_place),
	    cmocka_unit_test(a_limit_that_can_mean_nothing_is_a_warning),
	    cmocka_unit_test(slow_needs_to_know_how_long_is_too_long),
	    cmocka_unit_test(more_limits_than_memory_is_meant_for_are_refused),
	    cmocka_unit_test(the_file_of_a_whole_fleet_means_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
