#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "metering/sse.h"
#include "proxy/keepalive.h"

#define ULID "01K9X4ABCDEFGHJKMNPQRSTVWX"

static void
begin(struct keepalive *k, enum server_api api)
{
	keepalive_init(k, api, ULID, "m\"1", 1790000000999);
}

/* What one sign of life says; to be freed. */
static char *
written(struct keepalive *k, struct keepalive_news news)
{
	struct buf b = {0};
	char *text;

	keepalive_write(k, &news, &b);
	text = strndup(buf_data(&b), buf_len(&b));
	buf_release(&b);
	return text;
}

static void
expect(enum server_api api, struct keepalive_news news, const char *text)
{
	struct keepalive k;
	char *got;

	begin(&k, api);
	got = written(&k, news);
	assert_string_equal(got, text);
	assert_int_equal(k.sent, 1);
	free(got);
}

static void
in_the_queue_a_comment_says_place_and_wait(void **state)
{
	(void)state;
	expect(API_CHAT, (struct keepalive_news){2, 40000, 0},
	    ": waiting, position 2, about 40 s\n\n");
	expect(API_COMPLETIONS, (struct keepalive_news){11, 0, 0},
	    ": waiting, position 11\n\n");
	expect(API_CHAT, (struct keepalive_news){1, 59001, 0},
	    ": waiting, position 1, about 1m 0s\n\n");
	expect(API_CHAT, (struct keepalive_news){1, 1, 0},
	    ": waiting, position 1, about 1 s\n\n");
}

static void
in_prefill_a_comment_says_how_long_it_has_been(void **state)
{
	(void)state;
	expect(API_CHAT, (struct keepalive_news){0, 0, 190999},
	    ": waiting for the first token, 3m 10s so far\n\n");
	expect(API_CHAT, (struct keepalive_news){0, 70000, 0},
	    ": waiting for the first token, 0 s so far\n\n");
	expect(API_CHAT, (struct keepalive_news){0, 0, 7500000},
	    ": waiting for the first token, 2h 5m so far\n\n");
}

static void
a_message_gets_pings(void **state)
{
	(void)state;
	expect(API_MESSAGES, (struct keepalive_news){2, 40000, 0},
	    "event: ping\ndata: {\"type\": \"ping\"}\n\n");
}

/* The data of an event that is named so. */
static json_t *
data_of(const char *event, const char *name)
{
	char head[64];
	json_t *data;

	snprintf(head, sizeof head, "event: %s\ndata: ", name);
	assert_memory_equal(event, head, strlen(head));
	data = json_loads(event + strlen(head), 0, NULL);
	assert_non_null(data);
	assert_string_equal(
	    json_string_value(json_object_get(data, "type")), name);
	return data;
}

static void
expect_number(const json_t *data, json_int_t number)
{
	const json_t *n = json_object_get(data, "sequence_number");

	assert_true(json_is_integer(n));
	assert_int_equal(json_integer_value(n), number);
}

static void
a_response_is_created_and_then_kept_alive(void **state)
{
	static const char *const wanted[] = {"id", "object", "created_at",
	    "status", "model", "error", "incomplete_details", "instructions",
	    "metadata", "output", "parallel_tool_calls", "temperature",
	    "tool_choice", "tools", "top_p", "usage"};
	struct keepalive_news news = {1, 1000, 0};
	struct keepalive k;
	json_t *data, *response;
	char *text;

	(void)state;
	begin(&k, API_RESPONSES);
	text = written(&k, news);
	data = data_of(text, "response.created");
	expect_number(data, 0);
	response = json_object_get(data, "response");
	for (size_t i = 0; i < COUNT_OF(wanted); i++)
		if (json_object_get(response, wanted[i]) == NULL)
			fail_msg("no %s in %s", wanted[i], text);
	assert_string_equal(
	    json_string_value(json_object_get(response, "id")), "resp_" ULID);
	assert_string_equal(
	    json_string_value(json_object_get(response, "model")), "m\"1");
	assert_string_equal(
	    json_string_value(json_object_get(response, "status")),
	    "in_progress");
	assert_int_equal(
	    json_integer_value(json_object_get(response, "created_at")),
	    1790000000);
	assert_true(json_is_array(json_object_get(response, "output")));
	json_decref(data);
	free(text);
	for (json_int_t n = 1; n < 4; n++) {
		text = written(&k, news);
		data = data_of(text, "keepalive");
		assert_int_equal(json_object_size(data), 2);
		expect_number(data, n);
		json_decref(data);
		free(text);
	}
	assert_int_equal(k.sent, 4);
}

static void
a_failed_response_is_an_error_and_then_failed(void **state)
{
	struct slice why = SLICE("The model \"m\" is out.\n");
	struct buf b = {0};
	struct own_response r;
	json_t *data, *error;
	char *text, *second;

	(void)state;
	own_response_init(&r, ULID, "m", 0);
	own_response_write(&r, &b);
	own_response_write(&r, &b);
	buf_clear(&b);
	own_response_fail(&r, "server_error", "overloaded", why, &b);
	text = strndup(buf_data(&b), buf_len(&b));
	second = strstr(text, "\n\n");
	assert_non_null(second);
	second[1] = '\0';
	data = data_of(text, "error");
	expect_number(data, 2);
	error = json_object_get(data, "error");
	assert_string_equal(
	    json_string_value(json_object_get(error, "code")), "overloaded");
	assert_string_equal(
	    json_string_value(json_object_get(error, "message")), why.p);
	json_decref(data);

	data = data_of(second + 2, "response.failed");
	expect_number(data, 3);
	error = json_object_get(json_object_get(data, "response"), "error");
	assert_string_equal(
	    json_string_value(json_object_get(error, "code")), "overloaded");
	json_decref(data);
	free(text);
	buf_release(&b);
}

static void
a_response_that_fails_at_once_is_created_first(void **state)
{
	struct buf b = {0};
	struct own_response r;

	(void)state;
	own_response_init(&r, ULID, "m", 0);
	own_response_fail(&r, "server_error", "overloaded", SLICE("No."), &b);
	assert_memory_equal(buf_data(&b), "event: response.created\n", 24);
	assert_int_equal(r.next_number, 3);
	buf_release(&b);
}

/* No data, no name: what a reader must not take for an event. */
struct lines {
	size_t data, names, comments;
};

static void
on_line(void *arg, enum sse_field field, const char *p, size_t len, bool is_end)
{
	struct lines *l = arg;

	(void)p;
	(void)len;
	l->data += is_end && field == SSE_DATA;
	l->names += is_end && field == SSE_EVENT;
	l->comments += is_end && field == SSE_COMMENT;
}

static void
no_signs_of_life_make_an_empty_event(void **state)
{
	static const enum server_api apis[] = {
	    API_CHAT, API_COMPLETIONS, API_MESSAGES, API_RESPONSES};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(apis); i++) {
		struct lines lines = {0};
		struct keepalive k;
		struct buf b = {0};
		struct sse sse;
		size_t events = 0;
		bool is_event;

		begin(&k, apis[i]);
		for (unsigned n = 0; n < 9; n++)
			keepalive_write(&k,
			    &(struct keepalive_news){n % 3, n * 9000, n}, &b);
		/* Also not for a reader that takes two line feeds for an
		 * event's end. */
		assert_null(memmem(buf_data(&b), buf_len(&b), "\n\n\n", 3));
		assert_int_not_equal(buf_data(&b)[0], '\n');
		sse_init(&sse, on_line, &lines);
		for (size_t at = 0; at < buf_len(&b); events += is_event)
			at += sse_next(&sse, buf_data(&b) + at,
			    buf_len(&b) - at, &is_event);
		assert_int_equal(events, 9);
		assert_false(sse_end(&sse));
		assert_int_equal(lines.data + lines.comments, 9);
		assert_true(lines.names == lines.data);
		buf_release(&b);
	}
}

static void
what_a_stream_begins_with_does_not_stand_in_its_middle(void **state)
{
	(void)state;
	assert_int_equal(keepalive_skip("data: 1\n\n", 9), 0);
	assert_int_equal(keepalive_skip("\n\r\n\rdata: 1", 11), 4);
	assert_int_equal(keepalive_skip("\xef\xbb\xbf"
					"data: 1\n\n",
			     12),
	    3);
	assert_int_equal(keepalive_skip("\xef\xbb\xbf\n:\n\n", 7), 4);
	assert_int_equal(keepalive_skip("\xef\xbb", 2), 0);
	assert_int_equal(keepalive_skip("\n\n", 2), 2);
	assert_int_equal(keepalive_skip("", 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(in_the_queue_a_comment_says_place_and_wait),
	    cmocka_unit_test(in_prefill_a_comment_says_how_long_it_has_been),
	    cmocka_unit_test(a_message_gets_pings),
	    cmocka_unit_test(a_response_is_created_and_then_kept_alive),
	    cmocka_unit_test(a_failed_response_is_an_error_and_then_failed),
	    cmocka_unit_test(a_response_that_fails_at_once_is_created_first),
	    cmocka_unit_test(no_signs_of_life_make_an_empty_event),
	    cmocka_unit_test(
		what_a_stream_begins_with_does_not_stand_in_its_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
