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
edit(struct slice body, const struct route_config *route, bool asks_usage,
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
	body_edit(&pieces, &arena, body.p, body.len, &facts, route, asks_usage);
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
	static const struct {
		const char *body, *params;
		bool asks_usage;
		const char *result;
	} rows[] = {
	    /* The model alone: nothing else is touched. */
	    {"{\"model\":\"a\"}", "", false, "{\"model\":\"M\"}"},
	    {" { \"x\" : 1 , \"model\" : \"a\" , \"y\" : [ ] } ", "", false,
		" { \"x\" : 1 , \"model\" : \"M\" , \"y\" : [ ] } "},
	    {"{\"\\u006dodel\":\"a\"}", "", false, "{\"\\u006dodel\":\"M\"}"},
	    /* Values set, in place or at the end. */
	    {"{\"model\":\"a\",\"t\":1}", "+t=0.5", false,
		"{\"model\":\"M\",\"t\":0.5}"},
	    {"{\"t\":{\"x\":[1]},\"model\":\"a\"}", "+t=null", false,
		"{\"t\":null,\"model\":\"M\"}"},
	    {"{\"model\":\"a\"}", "+t=0.5 +u={\"v\":1}", false,
		"{\"model\":\"M\",\"t\":0.5,\"u\":{\"v\":1}}"},
	    {"{\"model\":\"a\"\n}\n", "+t=1", false,
		"{\"model\":\"M\"\n,\"t\":1}\n"},
	    /* Defaults yield. */
	    {"{\"model\":\"a\",\"t\":1}", "?t=2 ?u=3", false,
		"{\"model\":\"M\",\"t\":1,\"u\":3}"},
	    {"{\"model\":\"a\",\"t\":null}", "?t=2", false,
		"{\"model\":\"M\",\"t\":null}"},
	    /* Members dropped, with one comma. */
	    {"{\"model\":\"a\",\"t\":1}", "-t", false, "{\"model\":\"M\"}"},
	    {"{\"t\":1,\"model\":\"a\"}", "-t", false, "{\"model\":\"M\"}"},
	    {"{\"x\":0,\"t\":1,\"model\":\"a\"}", "-t", false,
		"{\"x\":0,\"model\":\"M\"}"},
	    {"{\"t\":1, \"u\" : 2 ,\"model\":\"a\"}", "-t -u", false,
		"{ \"model\":\"M\"}"},
	    {"{\"model\":\"a\",\"t\":1,\"u\":2}", "-u -t", false,
		"{\"model\":\"M\"}"},
	    {"{\"t\":\"},{\",\"model\":\"a\" , \"u\":[2,3] }", "-t -u", false,
		"{\"model\":\"M\"}"},
	    {"{\"model\":\"a\"}", "-t", false, "{\"model\":\"M\"}"},
	    /* All together. */
	    {"{\"model\":\"a\",\"t\":1}", "-t +u=2", false,
		"{\"model\":\"M\",\"u\":2}"},
	    {"{\"t\":1,\"model\":\"a\",\"u\":2}", "-t +u=3 ?v=4", false,
		"{\"model\":\"M\",\"u\":3,\"v\":4}"},
	    /* The usage is asked for. */
	    {"{\"model\":\"a\",\"stream\":true}", "", true,
		"{\"model\":\"M\",\"stream\":true,"
		"\"stream_options\":{\"include_usage\":true}}"},
	    {"{\"stream_options\":{},\"model\":\"a\"}", "", true,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{ },\"model\":\"a\"}", "", true,
		"{\"stream_options\":{\"include_usage\":true },"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"x\":1},\"model\":\"a\"}", "", true,
		"{\"stream_options\":{\"include_usage\":true,\"x\":1},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":{\"include_usage\":false},\"model\":\"a\"}",
		"", true,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":null,\"model\":\"a\"}", "", true,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\"}"},
	    {"{\"stream_options\":[1],\"model\":\"a\",\"t\":1}", "-t +u=2",
		true,
		"{\"stream_options\":{\"include_usage\":true},"
		"\"model\":\"M\",\"u\":2}"},
	    {"{\"model\":\"a\",\"t\":1}", "-t", true,
		"{\"model\":\"M\","
		"\"stream_options\":{\"include_usage\":true}}"},
	    /* A body without a model gets one. */
	    {"{}", "", false, "{\"model\":\"M\"}"},
	    {"{ }", "+t=1", true,
		"{ \"model\":\"M\",\"t\":1,"
		"\"stream_options\":{\"include_usage\":true}}"},
	    {"{\"t\":1}", "-t", false, "{\"model\":\"M\"}"},
	    {"{ \"t\":1 , \"u\":2 }", "-t -u", false, "{\"model\":\"M\"}"},
	};
	struct param_config room[8];
	struct buf result = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char *params = strdup(rows[i].params);
		struct route_config route = {
		    .model_json = "\"M\"", .params = params_of(params, room)};

		buf_clear(&result);
		edit(slice_of(rows[i].body), &route, rows[i].asks_usage,
		    &result);
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
		    asks_usage, &result);
		check_result(
		    (struct slice){buf_data(&result), buf_len(&result)}, made,
		    asks_usage);
	}
	buf_release(&body);
	buf_release(&result);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_edited_body_is_exactly_this),
	    cmocka_unit_test(any_body_and_params_give_the_members_they_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
