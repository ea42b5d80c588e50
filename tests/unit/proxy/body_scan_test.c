#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_scan.h"
#include "proxy/body_scan.h"

static struct arena arena;

static int
start(void **state)
{
	(void)state;
	arena_init(&arena);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	arena_release(&arena);
	return 0;
}

static struct body_facts
scan(const char *body)
{
	struct body_facts facts;
	struct fault why = {""};

	if (!body_scan(body, strlen(body), &arena, &facts, &why))
		fail_msg("refused (%s): %s", why.text, body);
	return facts;
}

static void
refused(struct slice body, const char *part_of_reason)
{
	struct body_facts facts;
	struct fault why = {""};

	if (body_scan(body.p, body.len, &arena, &facts, &why))
		fail_msg("accepted: %.*s", (int)body.len, body.p);
	if (strstr(why.text, part_of_reason) == NULL)
		fail_msg("another reason (%s): %.*s", why.text, (int)body.len,
		    body.p);
}

static void
what_a_request_says_is_found(void **state)
{
	struct body_facts f =
	    scan("{\"model\": \"big\", \"messages\": [{\"model\": \"nested\", "
		 "\"stream\": false}], \"stream\": true, \"max_tokens\": 100, "
		 "\"n\": 2, \"stream_options\": {\"include_usage\": true}}");

	(void)state;
	assert_true(f.has_model);
	assert_true(slice_is(f.model, "big"));
	assert_true(f.is_stream);
	assert_int_equal(f.max_tokens, 100);
	assert_int_equal(f.n, 2);
	assert_true(f.has_stream_options);
	assert_true(f.stream_options_is_object);
	assert_false(f.stream_options_is_empty);
	assert_true(f.include_usage.is_there);
	assert_true(f.include_usage.is_true);
	assert_false(f.running_usage.is_there);
	assert_int_equal(f.member_count, 6);
}

static void
an_empty_object_says_nothing(void **state)
{
	struct body_facts f = scan(" {} ");

	(void)state;
	assert_false(f.has_model);
	assert_false(f.is_stream);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.max_tokens, 0);
	assert_int_equal(f.member_count, 0);
	assert_int_equal(f.object_begin, 1);
	assert_int_equal(f.object_end, 2);
}

static void
members_are_where_they_say(void **state)
{
	const char *body = "\n{ \"a\" : [1, {\"b\":2}] ,\"c\":{ }, "
			   "\"d\":-1.5e3 ,\"\\u0065\" : \"x\\\"y\"}";
	static const struct {
		const char *name, *value;
	} rows[] = {{"a", "[1, {\"b\":2}]"}, {"c", "{ }"}, {"d", "-1.5e3"},
	    {"e", "\"x\\\"y\""}};
	struct body_facts f = scan(body);

	(void)state;
	assert_int_equal(f.member_count, COUNT_OF(rows));
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct body_member *m = body_member(&f, rows[i].name);
		struct slice value;

		assert_ptr_equal(m, &f.members[i]);
		assert_int_equal(body[m->key_begin], '"');
		value = (struct slice){
		    body + m->value_begin, m->value_end - m->value_begin};
		assert_true(slice_is(value, rows[i].value));
	}
	assert_null(body_member(&f, "b"));
	assert_int_equal(body[f.object_begin], '{');
	assert_int_equal(body[f.object_end], '}');
}

static void
names_are_compared_without_their_escapes(void **state)
{
	struct body_facts f = scan("{\"\\u006dodel\":\"b\\u0069g\\/x\","
				   "\"str\\u0065am\":true}");

	(void)state;
	assert_true(slice_is(f.model, "big/x"));
	assert_true(f.is_stream);
	refused(SLICE("{\"model\":\"a\",\"\\u006dodel\":\"b\"}"), "twice");
}

static void
what_two_readers_could_read_in_two_ways_is_refused(void **state)
{
	(void)state;
	refused(SLICE("{\"model\":\"a\",\"model\":\"a\"}"), "twice");
	refused(SLICE("{\"x\":1,\"y\":2,\"x\":1}"), "twice");
	refused(SLICE("{\"stream_options\":{\"include_usage\":true,"
		      "\"include_usage\":false}}"),
	    "twice");
	refused(SLICE("{\"stream_options\":{\"continuous_usage_stats\":1,"
		      "\"x\":{},\"continuous_usage_stats\":null}}"),
	    "\"continuous_usage_stats\" twice");
	refused(SLICE("{\"\":1,\"\":2}"), "twice");
}

static void
only_a_json_object_is_a_body(void **state)
{
	(void)state;
	refused(SLICE(""), "empty");
	refused(SLICE(" "), "not valid JSON");
	refused(SLICE("[]"), "must be a JSON object");
	refused(SLICE("\"model\""), "must be a JSON object");
	refused(SLICE("1"), "must be a JSON object");
	refused(SLICE("null"), "must be a JSON object");
	refused(SLICE("{"), "not valid JSON");
	refused(SLICE("{\"a\":1,}"), "not valid JSON");
	refused(SLICE("{a:1}"), "not valid JSON");
	refused(SLICE("{} {}"), "not valid JSON");
	refused(SLICE("{}x"), "not valid JSON");
	refused(SLICE("{\"a\":\"b\nc\"}"), "not valid JSON");
	refused(SLICE("{\"a\":NaN}"), "not valid JSON");
	refused(SLICE("{\"a\":1}\0"), "not valid JSON");
	refused(SLICE("\xef\xbb\xbf{}"), "not valid JSON");
}

static void
model_and_stream_have_one_type(void **state)
{
	(void)state;
	refused(SLICE("{\"model\":1}"), "must be a string");
	refused(SLICE("{\"model\":null}"), "must be a string");
	refused(SLICE("{\"model\":[\"a\"]}"), "must be a string");
	refused(SLICE("{\"stream\":\"true\"}"), "true or false");
	refused(SLICE("{\"stream\":1}"), "true or false");
	refused(SLICE("{\"stream\":{}}"), "true or false");
	refused(SLICE("{\"stream_options\":{\"include_usage\":{}}}"),
	    "true or false");
	assert_false(scan("{\"stream\":false}").is_stream);
	assert_false(scan("{\"stream\":null}").is_stream);
	assert_true(scan("{\"stream\":true}").is_stream);
}

static void
stream_options_may_be_anything(void **state)
{
	static const struct {
		const char *value;
		bool is_object, is_empty, has_usage, asks_usage;
	} rows[] = {
	    {"null", false, true, false, false},
	    {"[]", false, true, false, false},
	    {"[\"include_usage\",true]", false, true, false, false},
	    {"{}", true, true, false, false},
	    {"{\"x\":{\"include_usage\":true}}", true, false, false, false},
	    {"{\"x\":1}", true, false, false, false},
	    {"{\"include_usage\":null}", true, false, true, false},
	    {"{\"include_usage\":false}", true, false, true, false},
	    {"{\"include_usage\":1}", true, false, true, false},
	    {"{\"include_usage\":\"true\"}", true, false, true, false},
	    {"{\"x\":1,\"include_usage\":true}", true, false, true, true},
	};
	struct buf body = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct body_facts f;

		buf_clear(&body);
		buf_printf(&body, "{\"stream_options\":%s}", rows[i].value);
		buf_put(&body, "", 1);
		f = scan(buf_data(&body));
		assert_true(f.has_stream_options);
		assert_int_equal(f.stream_options_is_object, rows[i].is_object);
		if (rows[i].is_object)
			assert_int_equal(
			    f.stream_options_is_empty, rows[i].is_empty);
		assert_int_equal(f.include_usage.is_there, rows[i].has_usage);
		assert_int_equal(f.include_usage.is_true, rows[i].asks_usage);
		assert_false(f.running_usage.is_there);
	}
	buf_release(&body);
}

static void
running_counts_are_an_option_like_the_usage(void **state)
{
	struct body_facts f =
	    scan("{\"stream_options\":{\"include_usage\":false,\"x\":[{"
		 "\"continuous_usage_stats\":false}],"
		 "\"continuous_usage_st\\u0061ts\": true}}");

	(void)state;
	assert_true(f.include_usage.is_there);
	assert_false(f.include_usage.is_true);
	assert_true(f.running_usage.is_there);
	assert_true(f.running_usage.is_true);
	assert_int_equal(f.running_usage.end - f.running_usage.begin, 4);
	refused(SLICE("{\"stream_options\":{\"continuous_usage_stats\":{}}}"),
	    "must be true or false");
}

static void
the_largest_of_the_limits_counts(void **state)
{
	(void)state;
	assert_int_equal(scan("{\"max_tokens\":5,\"max_completion_tokens\":9,"
			      "\"max_output_tokens\":7}")
			     .max_tokens,
	    9);
	assert_int_equal(
	    scan("{\"max_tokens\":2147483647}").max_tokens, INT32_MAX);
	assert_int_equal(
	    scan("{\"max_tokens\":2147483648}").max_tokens, INT32_MAX);
	assert_int_equal(scan("{\"max_tokens\":1e30}").max_tokens, INT32_MAX);
	assert_int_equal(scan("{\"max_tokens\":2.5}").max_tokens, 3);
	assert_int_equal(scan("{\"max_tokens\":\"1e2\"}").max_tokens, 100);
	assert_int_equal(scan("{\"max_tokens\":\"many\"}").max_tokens, 0);
	assert_int_equal(scan("{\"n\":50.0}").n, 50);
	assert_int_equal(scan("{\"max_tokens\":-1}").max_tokens, 0);
	assert_int_equal(scan("{\"max_tokens\":1e3}").max_tokens, 1000);
	assert_int_equal(scan("{\"max_tokens\":\"9\"}").max_tokens, 9);
	assert_int_equal(scan("{\"max_tokens\":null}").max_tokens, 0);
	assert_int_equal(scan("{\"n\":3,\"best_of\":8}").n, 8);
	assert_int_equal(scan("{\"n\":0}").n, 1);
	assert_int_equal(scan("{\"n\":2.5}").n, 3);
}

/* A body with one string of `len` bytes that begins with `start_of_text`. */
static uint64_t
data_bytes_of(const char *start_of_text, size_t len)
{
	struct buf body = {0};
	uint64_t n;

	buf_printf(
	    &body, "{\"messages\":[{\"content\":[{\"url\":\"%s", start_of_text);
	for (size_t i = strlen(start_of_text); i < len; i++)
		buf_puts(&body, "A");
	buf_puts(&body, "\"}]}]}");
	buf_put(&body, "", 1);
	n = scan(buf_data(&body)).data_bytes;
	buf_release(&body);
	return n;
}

static void
long_data_urls_are_no_text(void **state)
{
	(void)state;
	assert_int_equal(data_bytes_of("data:image/png;base64,", 5000), 5000);
	assert_int_equal(data_bytes_of("data:image/png;base64,", 100), 0);
	assert_int_equal(data_bytes_of("https://", 5000), 0);
}

static void
a_body_has_so_many_members_and_no_more(void **state)
{
	struct body_facts facts;
	struct buf body = {0};
	struct fault why;

	(void)state;
	buf_puts(&body, "{");
	for (int i = 0; i < BODY_MEMBERS_MOST; i++)
		buf_printf(&body, "%s\"m%d\":%d", i == 0 ? "" : ",", i, i);
	buf_puts(&body, "}");
	assert_true(
	    body_scan(buf_data(&body), buf_len(&body), &arena, &facts, &why));
	assert_int_equal(facts.member_count, BODY_MEMBERS_MOST);
	for (int i = 0; i < BODY_MEMBERS_MOST; i++) {
		char name[16];

		snprintf(name, sizeof name, "m%d", i);
		assert_ptr_equal(body_member(&facts, name), &facts.members[i]);
	}
	body.end--;
	buf_puts(&body, ",\"more\":1}");
	refused((struct slice){buf_data(&body), buf_len(&body)}, "more than");
	buf_release(&body);
}

static void
names_have_a_length_and_models_have_none(void **state)
{
	static const size_t lengths[] = {
	    BODY_NAME_MOST_BYTES, BODY_NAME_MOST_BYTES + 1};
	struct buf body = {0};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(lengths); k++) {
		for (int is_model = 0; is_model < 2; is_model++) {
			struct slice text;

			buf_clear(&body);
			buf_puts(&body, is_model ? "{\"model\":\"" : "{\"");
			for (size_t i = 0; i < lengths[k]; i++)
				buf_puts(&body, "x");
			buf_puts(&body, is_model ? "\"}" : "\":1}");
			text = (struct slice){buf_data(&body), buf_len(&body)};
			buf_put(&body, "", 1);
			if (k == 0 || is_model)
				scan(buf_data(&body));
			else
				refused(text, "longer than");
		}
	}
	buf_release(&body);
}

static void
nesting_has_an_end(void **state)
{
	struct buf body = {0};

	(void)state;
	buf_puts(&body, "{\"a\":");
	for (int i = 0; i < 100000; i++)
		buf_puts(&body, "[");
	refused(
	    (struct slice){buf_data(&body), buf_len(&body)}, "not valid JSON");
	buf_release(&body);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_request_says_is_found),
	    cmocka_unit_test(an_empty_object_says_nothing),
	    cmocka_unit_test(members_are_where_they_say),
	    cmocka_unit_test(names_are_compared_without_their_escapes),
	    cmocka_unit_test(
		what_two_readers_could_read_in_two_ways_is_refused),
	    cmocka_unit_test(only_a_json_object_is_a_body),
	    cmocka_unit_test(model_and_stream_have_one_type),
	    cmocka_unit_test(stream_options_may_be_anything),
	    cmocka_unit_test(running_counts_are_an_option_like_the_usage),
	    cmocka_unit_test(the_largest_of_the_limits_counts),
	    cmocka_unit_test(long_data_urls_are_no_text),
	    cmocka_unit_test(a_body_has_so_many_members_and_no_more),
	    cmocka_unit_test(names_have_a_length_and_models_have_none),
	    cmocka_unit_test(nesting_has_an_end),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
