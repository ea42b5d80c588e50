/* Which numbers count as usage, and how they make one. */
#include "tap_run.h"

#define USAGE(members) "{\"usage\":{" members "}}"

static struct usage
usage_of(enum server_api a, const char *body)
{
	return tap_of(a, body)->usage;
}

static void
assert_usage(struct usage u, int64_t input, int64_t output)
{
	assert_int_equal(u.input, input);
	assert_int_equal(u.output, output);
}

static void
details_are_read_from_either_dialect(void **state)
{
	struct usage u = usage_of(API_CHAT,
	    USAGE("\"prompt_tokens\":50,\"completion_tokens\":20,"
		  "\"prompt_tokens_details\":{\"cached_tokens\":30,"
		  "\"cache_write_tokens\":4,\"audio_tokens\":5},"
		  "\"completion_tokens_details\":{\"reasoning_tokens\":7,"
		  "\"audio_tokens\":6}"));

	(void)state;
	assert_usage(u, 50, 20);
	assert_int_equal(u.cached, 30);
	assert_int_equal(u.cache_write, 4);
	assert_int_equal(u.reasoning, 7);
	assert_int_equal(u.audio, 11);
	u = usage_of(API_RESPONSES,
	    USAGE("\"input_tokens\":50,\"output_tokens\":20,"
		  "\"input_tokens_details\":{\"cached_tokens\":30},"
		  "\"output_tokens_details\":{\"reasoning_tokens\":7}"));
	assert_usage(u, 50, 20);
	assert_int_equal(u.cached, 30);
	assert_int_equal(u.cache_write, -1);
	assert_int_equal(u.reasoning, 7);
	assert_int_equal(u.audio, -1);
}

static void
cache_hits_count_where_no_details_tell_of_them(void **state)
{
	(void)state;
	assert_int_equal(usage_of(API_CHAT,
			     USAGE("\"prompt_tokens\":18,"
				   "\"prompt_cache_hit_tokens\":9"))
			     .cached,
	    9);
	assert_int_equal(usage_of(API_CHAT,
			     USAGE("\"prompt_cache_hit_tokens\":9,"
				   "\"prompt_tokens_details\":"
				   "{\"cached_tokens\":8},"
				   "\"prompt_tokens\":18"))
			     .cached,
	    8);
}

static void
usage_counts_only_where_it_belongs(void **state)
{
	static const char *const elsewhere[] = {
	    "{\"x\":" USAGE("\"prompt_tokens\":5") "}",
	    "[" USAGE("\"prompt_tokens\":5") "]",
	    "{\"usage\":[{\"prompt_tokens\":5}]}",
	    "{\"usage\":{\"x\":{\"prompt_tokens\":5}}}",
	    "{\"choices\":[" USAGE("\"prompt_tokens\":5") "]}",
	    "{\"choices\":[{\"message\":" USAGE("\"prompt_tokens\":5") "}]}",
	    "{\"choices\":[[" USAGE("\"prompt_tokens\":5") "]]}",
	    "{\"response\":" USAGE("\"prompt_tokens\":5") "}",
	    "{\"message\":" USAGE("\"prompt_tokens\":5") "}",
	    "{\"x_groq\":{\"x\":" USAGE("\"prompt_tokens\":5") "}}",
	    "{\"tools\":[{\"schema\":" USAGE("\"prompt_tokens\":5") "}]}",
	    "{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":5}\"}",
	    "{\"prompt_tokens\":5,\"input_tokens\":5}",
	    "{\"timings\":{\"prompt_n\":null,\"predicted_per_second\":9}}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(elsewhere); i++)
		assert_usage(usage_of(API_CHAT, elsewhere[i]), -1, -1);
	assert_usage(
	    usage_of(API_CHAT, "{\"x_groq\":" USAGE("\"prompt_tokens\":5") "}"),
	    5, -1);
	assert_usage(usage_of(API_RESPONSES,
			 "{\"tools\":[{\"usage\":{\"input_tokens\":9}}],"
			 "\"usage\":{\"input_tokens\":5},"
			 "\"output\":[{\"usage\":{\"input_tokens\":9}}]}"),
	    5, -1);
}

static void
an_escaped_key_is_the_key(void **state)
{
	(void)state;
	assert_usage(
	    usage_of(API_CHAT, "{\"us\\u0061ge\":{\"prompt\\u005ftokens\":5}}"),
	    5, -1);
}

static void
the_last_usage_that_is_not_all_zeros_wins(void **state)
{
	(void)state;
	assert_usage(
	    usage_of(API_CHAT,
		EVENT(USAGE("\"prompt_tokens\":5,\"completion_tokens\":1"))
		    EVENT(USAGE("\"prompt_tokens\":5,\"completion_tokens\":3"))
			EVENT(
			    USAGE("\"prompt_tokens\":0,\"completion_tokens\":0,"
				  "\"total_tokens\":0"))
			    EVENT("{\"usage\":null}") EVENT("{\"usage\":{}}")),
	    5, 3);
	assert_usage(usage_of(API_CHAT,
			 EVENT(USAGE("\"prompt_tokens\":0,"
				     "\"total_tokens\":0"))),
	    -1, -1);
}

static void
a_zero_output_beside_real_input_counts(void **state)
{
	struct usage u = usage_of(
	    API_CHAT, USAGE("\"prompt_tokens\":21,\"completion_tokens\":0"));

	(void)state;
	assert_usage(u, 21, 0);
	assert_true(usage_is_known(&u));
}

static void
a_later_usage_replaces_all_of_an_earlier_one(void **state)
{
	struct usage u = usage_of(API_CHAT,
	    EVENT(USAGE("\"prompt_tokens\":5,\"prompt_tokens_details\":"
			"{\"cached_tokens\":4}"))
		EVENT(USAGE("\"prompt_tokens\":6,\"completion_tokens\":3")));

	(void)state;
	assert_usage(u, 6, 3);
	assert_int_equal(u.cached, -1);
}

static void
damaged_counts_are_left_out_and_told(void **state)
{
	static const char *const damaged[] = {
	    "-5",
	    "1.5",
	    "5.0",
	    "1e3",
	    "1000000001",
	    "99999999999999999999",
	    "\"5\"",
	    "true",
	    "[5]",
	    "{}",
	    "-0",
	};
	char body[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(damaged); i++) {
		const struct tap *t;

		snprintf(body, sizeof body,
		    USAGE("\"prompt_tokens\":%s,\"completion_tokens\":3"),
		    damaged[i]);
		t = tap_of(API_CHAT, body);
		assert_true(t->has_bad_count);
		assert_usage(t->usage, -1, 3);
	}
	assert_false(tap_of(API_CHAT,
	    USAGE("\"prompt_tokens\":1000000000,"
		  "\"completion_tokens\":null"))
			 ->has_bad_count);
}

static void
parts_never_exceed_their_whole(void **state)
{
	const struct tap *t = tap_of(API_CHAT,
	    USAGE("\"prompt_tokens\":5,\"completion_tokens\":3,"
		  "\"prompt_tokens_details\":{\"cached_tokens\":6},"
		  "\"completion_tokens_details\":{\"reasoning_tokens\":4}"));

	(void)state;
	assert_true(t->has_bad_count);
	assert_int_equal(t->usage.cached, -1);
	assert_int_equal(t->usage.reasoning, -1);
	t = tap_of(API_CHAT,
	    USAGE("\"prompt_tokens\":5,\"prompt_tokens_details\":"
		  "{\"cached_tokens\":3,\"cache_write_tokens\":3}"));
	assert_int_equal(t->usage.cached, 3);
	assert_int_equal(t->usage.cache_write, -1);
}

static void
reasoning_beside_the_completion_is_added(void **state)
{
	(void)state;
	assert_usage(
	    usage_of(API_CHAT,
		USAGE("\"prompt_tokens\":12,\"completion_tokens\":2,"
		      "\"total_tokens\":354,\"completion_tokens_details\":"
		      "{\"reasoning_tokens\":340}")),
	    12, 342);
	assert_usage(
	    usage_of(API_CHAT,
		USAGE("\"prompt_tokens\":12,\"completion_tokens\":342,"
		      "\"total_tokens\":354,\"completion_tokens_details\":"
		      "{\"reasoning_tokens\":340}")),
	    12, 342);
}

static void
of_two_names_for_a_count_the_one_in_use_counts(void **state)
{
	static const char both[] =
	    USAGE("\"prompt_tokens\":21,\"completion_tokens\":4,"
		  "\"input_tokens\":0,\"output_tokens\":0");

	(void)state;
	assert_usage(usage_of(API_CHAT, both), 21, 4);
}

/* -- Anthropic -- */

#define START(members)                                                       \
	EVENT("{\"type\":\"message_start\",\"message\":{\"usage\":{" members \
	      "}}}")

static void
anthropic_counts_merge_one_by_one(void **state)
{
	struct usage u = usage_of(API_MESSAGES,
	    START("\"input_tokens\":6,\"cache_read_input_tokens\":15,"
		  "\"cache_creation_input_tokens\":2,\"output_tokens\":1")
		EVENT(USAGE("\"output_tokens\":4")));

	(void)state;
	assert_usage(u, 23, 4);
	assert_int_equal(u.cached, 15);
	assert_int_equal(u.cache_write, 2);
	u = usage_of(API_MESSAGES,
	    START("\"input_tokens\":43,\"output_tokens\":1")
		EVENT(USAGE("\"input_tokens\":61,\"output_tokens\":9,"
			    "\"cache_read_input_tokens\":null")));
	assert_usage(u, 61, 9);
	assert_int_equal(u.cached, -1);
}

static void
a_server_that_takes_the_prompt_apart_later_is_believed(void **state)
{
	struct usage u = usage_of(API_MESSAGES,
	    START("\"input_tokens\":40,\"output_tokens\":0")
		EVENT(USAGE("\"input_tokens\":8,\"cache_read_input_tokens\":32,"
			    "\"output_tokens\":3")));

	(void)state;
	assert_usage(u, 40, 3);
	assert_int_equal(u.cached, 32);
}

static void
a_zero_in_the_place_of_the_input_does_not_undo_it(void **state)
{
	(void)state;
	assert_usage(usage_of(API_MESSAGES,
			 START("\"input_tokens\":17,\"output_tokens\":1") EVENT(
			     USAGE("\"input_tokens\":0,\"output_tokens\":15"))),
	    17, 15);
	assert_usage(usage_of(API_MESSAGES,
			 START("\"input_tokens\":0,\"output_tokens\":0")
			     EVENT(USAGE("\"input_tokens\":5,"
					 "\"output_tokens\":15"))),
	    5, 15);
}

static void
iterations_are_summed(void **state)
{
	struct usage u = usage_of(API_MESSAGES,
	    USAGE("\"iterations\":[{\"input_tokens\":100,\"output_tokens\":5,"
		  "\"cache_read_input_tokens\":7},{\"input_tokens\":20,"
		  "\"output_tokens\":6}],\"input_tokens\":20,"
		  "\"output_tokens\":6,\"cache_read_input_tokens\":0"));

	(void)state;
	assert_usage(u, 127, 11);
	assert_int_equal(u.cached, 7);
	assert_usage(usage_of(API_MESSAGES,
			 USAGE("\"input_tokens\":20,\"output_tokens\":6,"
			       "\"iterations\":[]")),
	    20, 6);
}

static void
a_tools_input_is_no_usage(void **state)
{
	(void)state;
	assert_usage(
	    usage_of(API_MESSAGES,
		"{\"content\":[{\"type\":\"tool_use\",\"input\":"
		"{\"usage\":{\"input_tokens\":9},\"message\":{\"usage\":"
		"{\"input_tokens\":9}}}}],\"usage\":{\"input_tokens\":5}}"),
	    5, -1);
	assert_usage(usage_of(API_MESSAGES, "{\"input_tokens\":18}"), -1, -1);
}

/* -- servers with numbers of their own -- */

static void
timings_stand_in_for_usage(void **state)
{
	static const char timings[] =
	    EVENT("{\"timings\":{\"cache_n\":15,\"prompt_n\":6,"
		  "\"predicted_n\":4}}");
	const struct tap *t = tap_of(API_CHAT, timings);

	(void)state;
	assert_usage(t->usage, 21, 4);
	assert_int_equal(t->usage.cached, 15);
	assert_int_equal(t->source, USAGE_TIMINGS);
	t = tap_of(API_CHAT,
	    EVENT("{\"usage\":{\"prompt_tokens\":20},\"timings\":"
		  "{\"cache_n\":15,\"prompt_n\":6,\"predicted_n\":4}}")
		EVENT("{\"timings\":{\"prompt_n\":7,\"predicted_n\":4}}"));
	assert_usage(t->usage, 20, -1);
	assert_int_equal(t->source, USAGE_UPSTREAM);
}

static void
running_counts_of_llamacpp_are_used_until_its_timings_come(void **state)
{
	const struct tap *t = tap_of(API_COMPLETIONS,
	    EVENT("{\"content\":\" by\",\"stop\":false,\"tokens_predicted\":1,"
		  "\"tokens_evaluated\":5}"));

	(void)state;
	assert_usage(t->usage, 5, 1);
	assert_int_equal(t->source, USAGE_RUNNING);
	assert_false(t->is_complete);
	t = tap_of(API_COMPLETIONS,
	    EVENT("{\"tokens_predicted\":1,\"tokens_evaluated\":5}") EVENT(
		"{\"stop\":true,\"tokens_predicted\":2,\"tokens_evaluated\":5,"
		"\"timings\":{\"cache_n\":1,\"prompt_n\":4,"
		"\"predicted_n\":2}}"));
	assert_usage(t->usage, 5, 2);
	assert_int_equal(t->usage.cached, 1);
	assert_int_equal(t->source, USAGE_TIMINGS);
	assert_true(t->is_complete);
}

static void
ollama_may_leave_out_the_prompt(void **state)
{
	(void)state;
	assert_usage(
	    usage_of(API_CHAT, "{\"done\":true,\"eval_count\":3}\n"), -1, 3);
}

static void
embeddings_and_rerank_have_no_output(void **state)
{
	static const enum server_api apis[] = {API_EMBEDDINGS, API_RERANK};

	(void)state;
	is_stream = false;
	for (size_t i = 0; i < COUNT_OF(apis); i++) {
		assert_usage(usage_of(apis[i],
				 USAGE("\"prompt_tokens\":6,"
				       "\"total_tokens\":6")),
		    6, 0);
		assert_usage(
		    usage_of(apis[i], USAGE("\"total_tokens\":7")), 7, 0);
		assert_usage(usage_of(apis[i], "[[0.5]]"), -1, -1);
	}
	assert_usage(usage_of(API_CHAT, USAGE("\"total_tokens\":7")), -1, -1);
}

static void
what_the_model_says_is_counted_wherever_it_stands(void **state)
{
	static const struct {
		enum server_api api;
		uint64_t bytes;
		const char *body;
	} bodies[] = {
	    {API_CHAT, 6,
		"{\"choices\":[{\"message\":{\"content\":\"abc\","
		"\"reasoning\":\"d\",\"refusal\":\"e\"}},"
		"{\"message\":{\"content\":[{\"text\":\"f\"}]}}]}"},
	    {API_CHAT, 3,
		"{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":"
		"[{\"id\":\"x\",\"function\":{\"name\":\"n\","
		"\"arguments\":\"abc\"}}]}}]}"},
	    {API_CHAT, 7,
		"{\"message\":{\"tool_calls\":[{\"function\":"
		"{\"arguments\":{\"a\":1}}}]}}"},
	    {API_COMPLETIONS, 3, "{\"choices\":[{\"text\":\"abc\"}]}"},
	    {API_MESSAGES, 12,
		"{\"content\":[{\"type\":\"text\",\"text\":\"abc\"},"
		"{\"type\":\"thinking\",\"thinking\":\"de\","
		"\"signature\":\"x\"},{\"input\":{\"b\":2}},"
		"{\"input\":{}}]}"},
	    {API_RESPONSES, 6,
		"{\"instructions\":\"x\",\"output\":[{\"summary\":"
		"[{\"text\":\"ab\"}]},{\"content\":[{\"text\":\"c\"},"
		"{\"refusal\":\"d\"}]},{\"arguments\":\"{}\"}]}"},
	};

	(void)state;
	is_stream = false;
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
		assert_int_equal(
		    tap_of(bodies[i].api, bodies[i].body)->text_bytes,
		    bodies[i].bytes);
}

static void
deep_nesting_hides_nothing_and_breaks_nothing(void **state)
{
	static const char tail[] =
	    ",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}";
	char body[512] = "{\"x\":";
	unsigned depth = 100;

	(void)state;
	is_stream = false;
	memset(body + 5, '[', depth);
	memset(body + 5 + depth, ']', depth);
	memcpy(body + 5 + 2 * depth, tail, sizeof tail);
	assert_usage(usage_of(API_CHAT, body), 5, 2);
}

static void
every_source_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(usage_source_name(USAGE_NONE), "none");
	assert_string_equal(usage_source_name(USAGE_UPSTREAM), "upstream");
}

/* -- money -- */

static void
what_the_upstream_says_that_it_costs_is_kept(void **state)
{
	static const struct {
		const char *cost;
		int64_t pusd;
	} rows[] = {
	    {"\"cost\":0.00000495", 4950000},
	    {"\"cost\":4.95e-06", 4950000},
	    {"\"cost\":4.95E-6", 4950000},
	    {"\"cost\":0", 0},
	    {"\"cost\":0.0", 0},
	    {"\"cost\":12", INT64_C(12000000000000)},
	    {"\"cost\":1.5e+1", INT64_C(15000000000000)},
	    {"\"cost\":0.0000000000014", 1},
	    {"\"cost\":0.0000000000015", 2},
	    {"\"cost\":1e-400", 0},
	    {"\"cost\":0.000172125000000000009", 172125000},
	    {"\"cost\":1000000", INT64_C(1000000000000000000)},
	    {"\"cost\":null", -1},
	    {"\"cost\":{\"total_cost\":1}", -1},
	    {"\"cost_details\":{\"cost\":1}", -1},
	    {"\"cost_in_usd_ticks\":1721250", 172125000},
	    {"\"cost_in_usd_ticks\":0", 0},
	};
	static const char *const damaged[] = {
	    "\"cost\":-0.1",
	    "\"cost\":1000001",
	    "\"cost\":1e400",
	    "\"cost\":\"0.1\"",
	    "\"cost_in_usd_ticks\":-1",
	    "\"cost_in_usd_ticks\":1.5",
	    "\"cost_in_usd_ticks\":10000000000000001",
	};
	const struct tap *t;
	char body[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		snprintf(body, sizeof body,
		    USAGE("\"prompt_tokens\":5,%s,\"completion_tokens\":1"),
		    rows[i].cost);
		t = tap_of(API_CHAT, body);
		assert_false(t->has_bad_count);
		assert_usage(t->usage, 5, 1);
		assert_int_equal(t->usage.cost_pusd, rows[i].pusd);
	}
	for (size_t i = 0; i < COUNT_OF(damaged); i++) {
		snprintf(body, sizeof body,
		    USAGE("\"prompt_tokens\":5,%s,\"completion_tokens\":1"),
		    damaged[i]);
		t = tap_of(API_CHAT, body);
		assert_true(t->has_bad_count);
		assert_usage(t->usage, 5, 1);
		assert_int_equal(t->usage.cost_pusd, -1);
	}
	assert_int_equal(tap_of(API_MESSAGES,
			     START("\"input_tokens\":17") EVENT(
				 USAGE("\"output_tokens\":4,\"cost\":0.5")))
			     ->usage.cost_pusd,
	    INT64_C(500000000000));
}

/* -- kinds -- */

static void
xai_counts_reasoning_beside_where_no_total_tells(void **state)
{
	static const char body[] =
	    USAGE("\"prompt_tokens\":12,\"completion_tokens\":2,"
		  "\"completion_tokens_details\":{\"reasoning_tokens\":1}");
	static const char inside[] =
	    USAGE("\"prompt_tokens\":12,\"completion_tokens\":2,"
		  "\"total_tokens\":14,"
		  "\"completion_tokens_details\":{\"reasoning_tokens\":1}");

	(void)state;
	assert_usage(usage_of(API_CHAT, body), 12, 2);
	kind = KIND_XAI;
	assert_usage(usage_of(API_CHAT, body), 12, 3);
	assert_usage(usage_of(API_CHAT, inside), 12, 2);
	assert_usage(usage_of(API_COMPLETIONS, body), 12, 2);
}

static void
rerankers_tell_their_tokens_in_their_own_words(void **state)
{
	static const struct {
		const char *body;
		int64_t input, output;
	} rows[] = {
	    /* Cohere, in all its forms. */
	    {"{\"results\":[{\"index\":0}],\"meta\":{\"billed_units\":"
	     "{\"search_units\":1}}}",
		-1, -1},
	    {"{\"meta\":{\"billed_units\":{\"input_tokens\":30,"
	     "\"output_tokens\":0,\"search_units\":1},"
	     "\"tokens\":{\"input_tokens\":90}}}",
		30, 0},
	    {"{\"meta\":{\"tokens\":{\"input_tokens\":90,"
	     "\"output_tokens\":2},\"billed_units\":{\"search_units\":1}}}",
		90, 2},
	    {"{\"meta\":{\"x\":{\"input_tokens\":90}}}", -1, -1},
	    /* Jina, Voyage. */
	    {USAGE("\"total_tokens\":30"), 30, 0},
	    {USAGE("\"total_tokens\":30,\"prompt_tokens\":0"), 30, 0},
	    /* vLLM, infinity. */
	    {USAGE("\"prompt_tokens\":30,\"total_tokens\":30"), 30, 0},
	    {USAGE("\"prompt_tokens\":0,\"total_tokens\":0"), -1, -1},
	    {"[{\"index\":0,\"score\":0.9}]", -1, -1},
	};

	(void)state;
	is_stream = false;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_usage(usage_of(API_RERANK, rows[i].body), rows[i].input,
		    rows[i].output);
		assert_usage(usage_of(API_EMBEDDINGS, rows[i].body),
		    rows[i].input, rows[i].output);
	}
	assert_usage(usage_of(API_CHAT,
			 USAGE("\"billed_units\":{\"input_tokens\":7,"
			       "\"output_tokens\":3},\"tokens\":{"
			       "\"input_tokens\":70,\"output_tokens\":3}")),
	    7, 3);
}

/* What the tap makes of a head that says so and of this body. */
static const struct tap *
with_header(enum server_api a, const char *tokens, const char *body)
{
	static struct outcome o;

	api = a;
	is_stream = false;
	begin(&o);
	tap_take_header(&o.tap, slice_of(tokens));
	feed_text(&o, body);
	finish(&o);
	return &o.tap;
}

static void
tokens_in_the_head_count_unless_the_body_says_more(void **state)
{
	static const char *const damaged[] = {
	    "", "-1", "6.0", "1000000001", "x"};
	const struct tap *t = with_header(API_RERANK, "30", "[{\"index\":0}]");

	(void)state;
	assert_usage(t->usage, 30, 0);
	assert_int_equal(t->source, USAGE_UPSTREAM);
	t = with_header(API_EMBEDDINGS, "30", USAGE("\"prompt_tokens\":6"));
	assert_usage(t->usage, 6, 0);
	t = with_header(API_EMBEDDINGS, "30", USAGE("\"prompt_tokens\":0"));
	assert_usage(t->usage, 30, 0);
	t = with_header(API_CHAT, "30", "{}");
	assert_usage(t->usage, -1, -1);
	t = with_header(API_RERANK, "0", "[{\"index\":0}]");
	assert_usage(t->usage, -1, -1);
	assert_false(t->has_bad_count);
	for (size_t i = 0; i < COUNT_OF(damaged); i++) {
		t = with_header(API_RERANK, damaged[i], "[]");
		assert_usage(t->usage, -1, -1);
		assert_true(t->has_bad_count);
	}
}

static void
a_chats_words_count_once_also_where_they_stand_twice(void **state)
{
	static const char body[] =
	    EVENT("{\"choices\":[{\"index\":0,\"text\":\"Tea\","
		  "\"delta\":{\"content\":\"Tea\"}}]}");

	(void)state;
	assert_int_equal(tap_of(API_CHAT, body)->text_bytes, 3);
}

/* -- counts on the way -- */

#define CHUNK(index, text, usage)               \
	EVENT("{\"choices\":[{\"index\":" index \
	      ",\"delta\":{\"content\":\"" text "\"}}]" usage "}")
#define RUNNING(input, output)                 \
	",\"usage\":{\"prompt_tokens\":" input \
	",\"completion_tokens\":" output "}"
#define DONE EVENT("[DONE]")

static void
assert_stands(const struct tap *t, enum usage_source source, int64_t input,
    int64_t output, uint64_t uncounted)
{
	assert_int_equal(t->source, source);
	assert_usage(t->usage, input, output);
	assert_int_equal(t->uncounted_bytes, uncounted);
}

static void
counts_beside_choices_run_until_the_end(void **state)
{
	static const char first[] = CHUNK("0", "", RUNNING("21", "0"));
	static const char two[] = CHUNK("0", "ab", RUNNING("21", "1"))
	    CHUNK("0", "cd", RUNNING("21", "2"));
	char body[1024];

	(void)state;
	assert_stands(tap_of(API_CHAT, first), USAGE_RUNNING, 21, 0, 0);
	assert_stands(tap_of(API_CHAT, two), USAGE_RUNNING, 21, 2, 0);
	snprintf(body, sizeof body, "%s%s", two, CHUNK("0", "efg", ""));
	assert_stands(tap_of(API_CHAT, body), USAGE_RUNNING, 21, 2, 3);
	snprintf(body, sizeof body, "%s%s", two, DONE);
	assert_stands(tap_of(API_CHAT, body), USAGE_UPSTREAM, 21, 2, 0);
	/* The usage's own chunk is the end already. */
	snprintf(body, sizeof body, "%s%s", two,
	    EVENT("{\"choices\":[]" RUNNING("21", "3") "}"));
	assert_stands(tap_of(API_CHAT, body), USAGE_UPSTREAM, 21, 3, 0);
	/* An end mark behind an error is none. */
	snprintf(body, sizeof body, "%s%s", two, EVENT("{\"error\":{}}") DONE);
	assert_stands(tap_of(API_CHAT, body), USAGE_RUNNING, 21, 2, 0);
}

static void
running_counts_are_of_one_choice_each(void **state)
{
	static const char two[] = CHUNK("0", "", RUNNING("21", "0"))
	    CHUNK("1", "", RUNNING("21", "0"))
		CHUNK("0", "a", RUNNING("21", "1"))
		    CHUNK("0", "a", RUNNING("21", "2"))
			CHUNK("1", "a", RUNNING("21", "1"));
	char body[2048];

	(void)state;
	choices = 2;
	assert_stands(tap_of(API_CHAT, two), USAGE_RUNNING, 21, 3, 0);
	snprintf(body, sizeof body, "%s%s", two, DONE);
	assert_stands(tap_of(API_CHAT, body), USAGE_UPSTREAM, 21, 3, 0);
	snprintf(body, sizeof body, "%s%s%s", two,
	    EVENT("{\"choices\":[]" RUNNING("21", "4") "}"), DONE);
	assert_stands(tap_of(API_CHAT, body), USAGE_UPSTREAM, 21, 4, 0);
	/* Two prompts of one answer each. */
	choices = 1;
	assert_usage(
	    usage_of(API_COMPLETIONS,
		EVENT("{\"choices\":[{\"index\":0,\"text\":\"a\"}]" RUNNING(
		    "5", "1") "}")
		    EVENT("{\"choices\":[{\"index\":1,\"text\":\"a\"}]" RUNNING(
			"7", "1") "}")),
	    12, 2);
}

static void
a_message_that_breaks_off_tells_what_it_left_out(void **state)
{
	static const char start[] =
	    START("\"input_tokens\":18,\"output_tokens\":2");
	static const char text[] = EVENT(
	    "{\"delta\":{\"type\":\"text_delta\",\"text\":\"Tea, black.\"}}");
	static const char end[] = EVENT(USAGE("\"output_tokens\":5"));
	char body[1024];

	(void)state;
	assert_stands(tap_of(API_MESSAGES, start), USAGE_RUNNING, 18, 2, 0);
	snprintf(body, sizeof body, "%s%s", start, text);
	/* The first two tokens are counted. */
	assert_stands(tap_of(API_MESSAGES, body), USAGE_RUNNING, 18, 2, 3);
	snprintf(body, sizeof body, "%s%s%s", start, text, end);
	assert_stands(tap_of(API_MESSAGES, body), USAGE_RUNNING, 18, 5, 0);
	snprintf(body, sizeof body, "%s%s%s%s", start, text, end,
	    EVENT("{\"type\":\"message_stop\"}"));
	assert_stands(tap_of(API_MESSAGES, body), USAGE_UPSTREAM, 18, 5, 0);
}

static void
what_ollama_guesses_at_a_messages_start_is_no_count(void **state)
{
	static const char start[] =
	    START("\"input_tokens\":31,\"output_tokens\":0");
	static const char end[] =
	    EVENT(USAGE("\"input_tokens\":26,\"output_tokens\":2"));
	char body[512];

	(void)state;
	kind = KIND_OLLAMA;
	assert_stands(tap_of(API_MESSAGES, start), USAGE_NONE, -1, -1, 0);
	snprintf(body, sizeof body, "%s%s", start, end);
	assert_stands(tap_of(API_MESSAGES, body), USAGE_RUNNING, 26, 2, 0);
}

static void
of_damaged_counts_the_last_good_ones_stand(void **state)
{
	static const char good[] = CHUNK("0", "ab", RUNNING("21", "2"));
	char body[1024];
	const struct tap *t;

	(void)state;
	snprintf(body, sizeof body, "%s%s%s", good,
	    EVENT("{\"choices\":[]" RUNNING("-1", "3") "}"), DONE);
	t = tap_of(API_CHAT, body);
	assert_stands(t, USAGE_RUNNING, 21, 3, 0);
	assert_true(t->has_bad_count);
	snprintf(body, sizeof body, "%s%s%s%s", good, CHUNK("0", "cd", ""),
	    EVENT("{\"choices\":[]" RUNNING("-1", "1e3") "}"), DONE);
	t = tap_of(API_CHAT, body);
	assert_stands(t, USAGE_RUNNING, 21, 2, 2);
	assert_true(t->has_bad_count);
	snprintf(body, sizeof body, "%s%s%s", good,
	    CHUNK("0", "cd", RUNNING("21", "9223372036854775808")), DONE);
	t = tap_of(API_CHAT, body);
	assert_stands(t, USAGE_RUNNING, 21, 2, 2);
	/* A damaged part does not spoil the whole. */
	t = tap_of(API_CHAT,
	    USAGE("\"prompt_tokens\":5,\"completion_tokens\":1,"
		  "\"prompt_tokens_details\":{\"cached_tokens\":-1}"));
	assert_stands(t, USAGE_UPSTREAM, 5, 1, 0);
	assert_true(t->has_bad_count);
}

static void
timings_on_the_way_run_too(void **state)
{
	static const char body[] =
	    EVENT("{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}],"
		  "\"timings\":{\"cache_n\":15,\"prompt_n\":6,"
		  "\"predicted_n\":1}}");
	char whole[512];

	(void)state;
	assert_stands(tap_of(API_CHAT, body), USAGE_RUNNING, 21, 1, 0);
	snprintf(whole, sizeof whole, "%s%s", body, DONE);
	assert_stands(tap_of(API_CHAT, whole), USAGE_TIMINGS, 21, 1, 0);
}

int
main(void)
{
#define RULE(f) cmocka_unit_test_setup(f, tap_run_reset)
	const struct CMUnitTest tests[] = {
	    RULE(details_are_read_from_either_dialect),
	    RULE(cache_hits_count_where_no_details_tell_of_them),
	    RULE(usage_counts_only_where_it_belongs),
	    RULE(an_escaped_key_is_the_key),
	    RULE(the_last_usage_that_is_not_all_zeros_wins),
	    RULE(a_zero_output_beside_real_input_counts),
	    RULE(a_later_usage_replaces_all_of_an_earlier_one),
	    RULE(damaged_counts_are_left_out_and_told),
	    RULE(parts_never_exceed_their_whole),
	    RULE(reasoning_beside_the_completion_is_added),
	    RULE(of_two_names_for_a_count_the_one_in_use_counts),
	    RULE(anthropic_counts_merge_one_by_one),
	    RULE(a_server_that_takes_the_prompt_apart_later_is_believed),
	    RULE(a_zero_in_the_place_of_the_input_does_not_undo_it),
	    RULE(iterations_are_summed),
	    RULE(a_tools_input_is_no_usage),
	    RULE(timings_stand_in_for_usage),
	    RULE(running_counts_of_llamacpp_are_used_until_its_timings_come),
	    RULE(ollama_may_leave_out_the_prompt),
	    RULE(embeddings_and_rerank_have_no_output),
	    RULE(what_the_model_says_is_counted_wherever_it_stands),
	    RULE(deep_nesting_hides_nothing_and_breaks_nothing),
	    RULE(every_source_has_a_name),
	    RULE(what_the_upstream_says_that_it_costs_is_kept),
	    RULE(xai_counts_reasoning_beside_where_no_total_tells),
	    RULE(rerankers_tell_their_tokens_in_their_own_words),
	    RULE(tokens_in_the_head_count_unless_the_body_says_more),
	    RULE(a_chats_words_count_once_also_where_they_stand_twice),
	    RULE(counts_beside_choices_run_until_the_end),
	    RULE(running_counts_are_of_one_choice_each),
	    RULE(a_message_that_breaks_off_tells_what_it_left_out),
	    RULE(what_ollama_guesses_at_a_messages_start_is_no_count),
	    RULE(of_damaged_counts_the_last_good_ones_stand),
	    RULE(timings_on_the_way_run_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
