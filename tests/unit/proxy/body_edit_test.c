#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "proxy/body_edit.h"
#include "tests/unit/seeded.h"

/* Appends the body as an upstream with this route would get it. */
static void
edit(struct slice body, const struct route_config *route, struct body_asks asks,
    struct buf *to)
{
	struct body_facts facts;
	struct body_pieces pieces;
	struct arena arena;
	struct fault why = {""};
	size_t len = 0;

	arena_init(&arena);
	if (!body_scan(body.p, body.len, &arena, &facts, &why))
		fail_msg("refused (%s): %.*s", why.text, (int)body.len, body.p);
	body_edit(&pieces, &arena, body.p, body.len, &facts, route, asks);
	for (size_t i = 0; i < pieces.count; i++) {
		assert_true(pieces.v[i].iov_len > 0);
		buf_put(to, pieces.v[i].iov_base, pieces.v[i].iov_len);
		len += pieces.v[i].iov_len;
	}
	assert_int_equal(pieces.len, len);
	arena_release(&arena);
}

/* Params as `+name=json` (set), `?name=json` (default), `-name` (drop), blanks
 * between them. */
static struct params_config
params_of(char *text, struct param_config *room)
{
	struct params_config p = {room, 0};
	char *save = NULL;

	for (char *word = strtok_r(text, " ", &save); word != NULL;
	     word = strtok_r(NULL, " ", &save)) {
		struct param_config *one = &room[p.count++];
		char *is = strchr(word, '=');

		one->action = word[0] == '+' ? PARAM_SET
		    : word[0] == '?'         ? PARAM_DEFAULT
					     : PARAM_DROP;
		one->name = word + 1;
		one->json = is == NULL ? NULL : is + 1;
		if (is != NULL)
			*is = '\0';
	}
	return p;
}

static void
an_edited_body_is_exactly_this(void **state)
{
	static const struct body_asks no = {0}, usage = {.usage = true},
				      running = {.running = true},
				      both = {.usage = true, .running = true};
	const struct {
		const char *body, *params;
		struct body_asks asks;
		const char *result;
	} rows[] = {
	    /* The model alone: nothing else is touched. */
	    {"{\"model\":\"a\"}", "", no, "{\"model\":\"M\"}"},
	    {" { \"x\" : 1 , \"model\" : \"a\" , \"y\" : [ ] } ", "", no,
		" { \"x\" : 1 , \"model\" : \"M\" , \"y\" : [ ] } "},
	    {"{\"\\u006dodel\":\"a\"}", "", no, "{\"\\u006dodel\":\"M\"}"},
	    /* Values set, in place or at the end. */
	    {"{\"model\":\"a\",\"t\":1}", "+t=0.5", no,
		"{\"model\":\"M\",\"t\":0.5}"},
	    {"{\"t\":{\"x\":[1]},\"model\":\"a\"}", "+t=null", no,
		"{\"t\":null,\"model\":\"M\"}"},
	    {"{\"model\":\"a\"}", "+t=0.5 +u={\"v\":1}", no,
		"{\"model\":\"M\",\"t\":0.5,\"u\":{\"v\":1}}"},
	    {"{\"model\":\"a\"\n}\n", "+t=1", no,
		"{\"model\":\"M\"\n,\"t\":1}\n"},
	    /* Defaults yield. */
	    {"{\"model\":\"a\",\"t\":1}", "?t=2 ?u=3", no,
		"{\"model\":\"M\",\"t\":1,\"u\":3}"},
	    {"{\"model\":\"a\",\"t\":null}", "?t=2", no,
		"{\"model\":\"M\",\"t\":null}"},
	    /* Members dropped, with one comma. */
	    {"{\"model\":\"a\",\"t\":1}", "-t", no, "{\"model\":\"M\"}"},
	    {"{\"t\":1,\"model\":\"a\"}", "-t", no, "{\"model\":\"M\"}"},
	    {"{\"x\":0,\"t\":1,\"model\":\"a\"}", "-t", no,
		"{\"x\":0,\"model\":\"M\"}"},
	    {"{\"t\":1, \"u\" : 2 ,\"model\":\"a\"}", "-t -u", no,
		"{ \"model\":\"M\"}"},
	    {"{\"model\":\"a\",\"t\":1,\"u\":2}", "-u -t", no,
		"{\"model\":\"M\"}"},
	    {"{\"t\":\"},{\",\"model\":\"a\" , \"u\":[2,3] }", "-t -u", no,
		"{\"model\":\"M\"}"},
	    {"{\"model\":\"a\"}", "-t", no, "{\"model\":\"M\"}"},
	    /* All together. */
	    {"{\"model\":\"a\",\"t\":1}", "-t +u=2", no,
		"{\"model\":\"M\",\"u\":2}"},
	    {"{\"t\":1,\"model\":\"a\",\"u\":2}", "-t +u=3 ?v=4", no,
		"{\"model\":\"M\",\"u\":3,\"v\":4}"},
	    /* The usage is asked for. */
	    {"{\"model\":\"a\",\"stream\":true}", "", usage,
		"{\"model\":\"M\",\"stream\":true,"
		"\"stream_options\":{\"include_usage\":true}}"},
	    {"{\"stream_options\":{},\"model\":\"a\"}", "", usage,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{ },\"model\":\"a\"}", "", usage,
		"{\"stream_options\":{\"include_usage\":true },"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"x\":1},\"model\":\"a\"}", "", usage,
		"{\"stream_options\":{\"include_usage\":true,\"x\":1},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"include_usage\":false},\"model\":\"a\"}",
		"", usage,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":null,\"model\":\"a\"}", "", usage,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":[1],\"model\":\"a\",\"t\":1}", "-t +u=2",
		usage,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\",\"u\":2}"},
	    {"{\"model\":\"a\",\"t\":1}", "-t", usage,
		"{\"model\":\"M\","
		"\"stream_options\":{\"include_usage\":true}}"},
	    /* So are running counts. */
	    {"{\"model\":\"a\",\"stream\":true}", "", both,
		"{\"model\":\"M\",\"stream\":true,\"stream_options\":{"
		"\"include_usage\":true,\"continuous_usage_stats\":true}}"},
	    {"{\"stream_options\":{},\"model\":\"a\"}", "", both,
		"{\"stream_options\":{\"include_usage\":true,"
		"\"continuous_usage_stats\":true},\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"x\":[1]},\"model\":\"a\"}", "", both,
		"{\"stream_options\":{\"include_usage\":true,"
		"\"continuous_usage_stats\":true,\"x\":[1]},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"include_usage\":true},\"model\":\"a\"}",
		"", running,
		"{\"stream_options\":{\"continuous_usage_stats\":true,"
		"\"include_usage\":true},\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"continuous_usage_stats\":false , "
	     "\"include_usage\":null},\"model\":\"a\"}",
		"", both,
		"{\"stream_options\":{\"continuous_usage_stats\":true , "
		"\"include_usage\":true},\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"continuous_usage_stats\":true},"
	     "\"model\":\"a\"}",
		"", usage,
		"{\"stream_options\":{\"include_usage\":true,"
		"\"continuous_usage_stats\":true},\"model\":\"M\"}"},
	    /* A body without a model gets one. */
	    {"{}", "", no, "{\"model\":\"M\"}"},
	    {"{ }", "+t=1", usage,
		"{ \"model\":\"M\",\"t\":1,"
		"\"stream_options\":{\"include_usage\":true}}"},
	    {"{\"t\":1}", "-t", no, "{\"model\":\"M\"}"},
	    {"{ \"t\":1 , \"u\":2 }", "-t -u", no, "{\"model\":\"M\"}"},
	};
	struct param_config room[8];
	struct buf result = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char *params = strdup(rows[i].params);
		struct route_config route = {
		    .model_json = "\"M\"", .params = params_of(params, room)};

		buf_clear(&result);
		edit(slice_of(rows[i].body), &route, rows[i].asks, &result);
		buf_put(&result, "", 1);
		assert_string_equal(buf_data(&result), rows[i].result);
		free(params);
	}
	buf_release(&result);
}

/* --- any body, any params ------------------------------------------------ */

#define NAMES_MOST 12

static const char *const names[NAMES_MOST] = {"model", "stream_options", "a",
    "b", "c", "temperature", "messages", "x y", "z\\\"q", "\\u0065", "", "ü"};

static const char *const values[] = {"1", "-2.50e+3", "true", "null", "\"\"",
    "\"a\\\"},{\\u0041,:\"", "[]", "[ 1, {\"model\":\"b\"} ]", "{}",
    "{ \"include_usage\" : { } }", "{\"a\":[{},[]]}"};

static const char *const options[] = {"{}", "{ }", "{\"x\":1}",
    "{\"include_usage\":false}", "{ \"x\":1 , \"include_usage\" : true }",
    "null", "[]"};

static const char *const blanks[] = {"", "", " ", "\n\t", "  "};

/* What a member was made of, and what is done to it. */
struct made {
	bool is_there;
	const char *value;
	bool has_param;
	struct param_config param;
};

#define PICK(random, array) (array)[seeded_below(random, COUNT_OF(array))]

static void
put_blank(struct seeded *random, struct buf *to)
{
	buf_puts(to, PICK(random, blanks));
}

/* Writes an object of some of the names, in some order. */
static void
make_body(struct seeded *random, struct made *made, struct buf *to)
{
	size_t order[NAMES_MOST];
	bool is_first = true;

	for (size_t i = 0; i < NAMES_MOST; i++) {
		size_t other = seeded_below(random, i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	put_blank(random, to);
	buf_puts(to, "{");
	for (size_t i = 0; i < NAMES_MOST; i++) {
		struct made *m = &made[order[i]];

		m->is_there = seeded_below(random, 2) == 0;
		if (!m->is_there)
			continue;
		m->value = order[i] == 0 ? "\"asked\""
		    : order[i] == 1      ? PICK(random, options)
					 : PICK(random, values);
		if (!is_first)
			buf_puts(to, ",");
		is_first = false;
		put_blank(random, to);
		buf_printf(to, "\"%s\"", names[order[i]]);
		put_blank(random, to);
		buf_puts(to, ":");
		put_blank(random, to);
		buf_puts(to, m->value);
		put_blank(random, to);
	}
	if (is_first)
		put_blank(random, to);
	buf_puts(to, "}");
	put_blank(random, to);
}

/* Params for some of the names that need no escapes. */
static struct params_config
make_params(struct seeded *random, struct made *made, struct param_config *room)
{
	struct params_config p = {room, 0};

	for (size_t i = 2; i < 8; i++) {
		struct made *m = &made[i];

		m->has_param = seeded_below(random, 2) == 0;
		if (!m->has_param)
			continue;
		m->param.action = (enum param_action)seeded_below(random, 3);
		m->param.name = names[i];
		m->param.json = PICK(random, values);
		room[p.count++] = m->param;
	}
	return p;
}

/* The JSON that must stand under a name afterwards; NULL: none. */
static const char *
expected_value(const struct made *made, size_t i, bool asks_usage)
{
	const struct made *m = &made[i];
	const char *before = m->is_there ? m->value : NULL;

	if (i == 0)
		return "\"M\"";
	if (i == 1 && asks_usage)
		return before != NULL && strstr(before, "\"x\"") != NULL
		    ? "{\"x\":1,\"include_usage\":true}"
		    : "{\"include_usage\":true}";
	if (!m->has_param)
		return before;
	switch (m->param.action) {
	case PARAM_SET:
		return m->param.json;
	case PARAM_DEFAULT:
		return before != NULL ? before : m->param.json;
	case PARAM_DROP:
		return NULL;
	}
	return NULL;
}

static json_t *
load(struct slice text)
{
	json_error_t error;
	json_t *j = json_loadb(
	    text.p, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (j == NULL)
		fail_msg("%s: %.*s", error.text, (int)text.len, text.p);
	return j;
}

/* The bytes of the member's value are those that the client, or the
 * configuration, wrote. */
static void
assert_bytes(struct slice body, const struct body_facts *facts,
    const char *name, const char *value)
{
	const struct body_member *m = body_member(facts, name);

	assert_non_null(m);
	assert_true(slice_is((struct slice){body.p + m->value_begin,
				 m->value_end - m->value_begin},
	    value));
}

static void
check_result(struct slice result, const struct made *made, bool asks_usage)
{
	json_t *object = load(result), *key;
	struct body_facts facts;
	struct arena arena;
	struct fault why;
	size_t count = 0;

	arena_init(&arena);
	assert_true(body_scan(result.p, result.len, &arena, &facts, &why));
	for (size_t i = 0; i < NAMES_MOST; i++) {
		const char *value = expected_value(made, i, asks_usage);
		char text[32];
		json_t *expected, *found;

		snprintf(text, sizeof text, "\"%s\"", names[i]);
		key = load(slice_of(text));
		found = json_object_get(object, json_string_value(key));
		assert_int_equal(found != NULL, value != NULL);
		if (value != NULL) {
			expected = load(slice_of(value));
			assert_true(json_equal(expected, found));
			json_decref(expected);
			if (i != 1 || !asks_usage)
				assert_bytes(result, &facts,
				    json_string_value(key), value);
			count++;
		}
		json_decref(key);
	}
	assert_int_equal(json_object_size(object), count);
	json_decref(object);
	arena_release(&arena);
}

static void
any_body_and_params_give_the_members_they_should(void **state)
{
	struct seeded random = {2024};
	struct buf body = {0}, result = {0};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct made made[NAMES_MOST] = {0};
		struct param_config room[NAMES_MOST];
		struct route_config route = {.model_json = "\"M\"",
		    .params = make_params(&random, made, room)};
		bool asks_usage = seeded_below(&random, 2) == 0;

		buf_clear(&body);
		buf_clear(&result);
		make_body(&random, made, &body);
		edit((struct slice){buf_data(&body), buf_len(&body)}, &route,
		    (struct body_asks){.usage = asks_usage}, &result);
		check_result(
		    (struct slice){buf_data(&result), buf_len(&result)}, made,
		    asks_usage);
	}
	buf_release(&body);
	buf_release(&result);
}

/* --- what is asked for --------------------------------------------------- */

static struct body_asks
asks_of(const char *body, enum server_kind kind, enum server_api api)
{
	struct body_facts facts;
	struct body_asks asks;
	struct arena arena;
	struct fault why;

	arena_init(&arena);
	assert_true(body_scan(body, strlen(body), &arena, &facts, &why));
	asks = body_asks(&facts, kind, api);
	arena_release(&arena);
	return asks;
}

static void
counts_are_asked_for_where_a_server_takes_the_question(void **state)
{
	static const char stream[] = "{\"stream\":true}";
	static const char *const no_stream[] = {
	    "{}", "{\"stream\":false}", "{\"stream\":null}"};

	(void)state;
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		enum server_kind kind = (enum server_kind)k;
		bool takes = kind != KIND_TEI && kind != KIND_INFINITY;
		bool runs = kind == KIND_VLLM || kind == KIND_SGLANG;

		for (unsigned a = 0; a < API_COUNT; a++) {
			enum server_api api = (enum server_api)a;
			bool is_chat =
			    api == API_CHAT || api == API_COMPLETIONS;
			struct body_asks asks = asks_of(stream, kind, api);

			assert_int_equal(asks.usage, takes && is_chat);
			assert_int_equal(asks.hides, takes && is_chat);
			assert_int_equal(asks.running, runs && is_chat);
		}
		for (size_t i = 0; i < COUNT_OF(no_stream); i++) {
			struct body_asks asks =
			    asks_of(no_stream[i], kind, API_CHAT);

			assert_false(asks.usage || asks.running);
		}
	}
}

static void
what_the_client_asks_for_itself_is_not_taken_from_it(void **state)
{
#define OPTIONS(o) "{\"stream\":true,\"stream_options\":{" o "}}"
#define USAGE "\"include_usage\":"
#define RUNNING "\"continuous_usage_stats\":"
	static const struct {
		const char *body;
		bool usage, hides, running;
	} rows[] = {
	    {OPTIONS(""), true, true, true},
	    {OPTIONS(USAGE "true"), false, false, true},
	    {OPTIONS(USAGE "false"), true, true, true},
	    {OPTIONS(USAGE "true," RUNNING "true"), false, false, false},
	    {OPTIONS(RUNNING "true," USAGE "true"), false, false, false},
	    {OPTIONS(USAGE "true," RUNNING "false"), false, false, true},
	    /* Some take this one for both. */
	    {OPTIONS(RUNNING "true"), true, false, false},
	    /* Without the usage there are no running counts either. */
	    {OPTIONS(USAGE "false," RUNNING "true"), true, true, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct body_asks asks =
		    asks_of(rows[i].body, KIND_VLLM, API_CHAT);

		assert_int_equal(asks.usage, rows[i].usage);
		assert_int_equal(asks.hides, rows[i].hides);
		assert_int_equal(asks.running, rows[i].running);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_edited_body_is_exactly_this),
	    cmocka_unit_test(any_body_and_params_give_the_members_they_should),
	    cmocka_unit_test(
		counts_are_asked_for_where_a_server_takes_the_question),
	    cmocka_unit_test(
		what_the_client_asks_for_itself_is_not_taken_from_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
