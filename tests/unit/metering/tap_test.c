/* The rules of the tap, each on the smallest body that shows it. */
#include "tap_run.h"

static const char *
verdicts_of(enum server_api a, const char *body)
{
	static struct outcome o;

	api = a;
	read_body(&o, body, strlen(body));
	return o.verdicts;
}

/* -- hiding -- */

#define USAGE_CHUNK                                                    \
	"{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_" \
	"tokens\":2}}"

static void
key_order_does_not_matter_for_hiding(void **state)
{
	(void)state;
	assert_string_equal(
	    verdicts_of(API_CHAT,
		"data: {\"usage\":{\"prompt_tokens\":5},\"choices\":[]}\n\n"),
	    "H");
	assert_string_equal(
	    verdicts_of(API_CHAT,
		"data: {\"usage\":{\"prompt_tokens\":5},\"choices\":[{}]}\n\n"),
	    "P");
}

static void
empty_choices_without_usage_pass(void **state)
{
	(void)state;
	assert_string_equal(
	    verdicts_of(API_CHAT,
		"data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n"
		"data: {\"choices\":[],\"usage\":null}\n\n"
		"data: {\"usage\":{\"prompt_tokens\":5}}\n\n"
		"data: {\"choices\":null,\"usage\":{\"prompt_tokens\":5}}\n\n"
		"data: {\"x\":{\"choices\":[],\"usage\":{}}}\n\n"),
	    "PPPPP");
}

static void
an_error_beside_the_usage_is_not_hidden(void **state)
{
	(void)state;
	assert_string_equal(
	    verdicts_of(API_CHAT,
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5},"
		"\"error\":{\"code\":502}}\n\n"),
	    "P");
}

static void
an_event_is_held_back_only_while_it_may_be_hidden(void **state)
{
	struct outcome *o = xcalloc(sizeof *o);

	(void)state;
	api = API_CHAT;
	begin(o);
	feed_text(o, "\n\n");
	assert_true(o->tap.held_from == UINT64_MAX);
	feed_text(o, "data: {\"id\":\"1\",\"cho");
	assert_true(o->tap.held_from < UINT64_MAX);
	feed_text(o, "ices\":[{");
	assert_true(o->tap.held_from == UINT64_MAX);
	feed_text(o, "}]}\n\ndata: {\"choices\":[],");
	assert_true(o->tap.held_from < UINT64_MAX);
	feed_text(o, "\"usage\":{}}\n\n");
	assert_true(o->tap.held_from == UINT64_MAX);
	finish(o);
	assert_string_equal(o->verdicts, "PH");
	free(o);
}

static void
a_usage_chunk_that_nothing_closes_is_hidden_at_the_end(void **state)
{
	static const struct {
		const char *body;
		enum tap_verdict end;
		size_t shown;
	} rows[] = {
	    {"data: " USAGE_CHUNK, TAP_HIDE, 0},
	    {"data: [DONE]", TAP_PASS, 12},
	    {"data: {\"choices\":[", TAP_MORE, 18},
	};
	struct outcome *o = xcalloc(sizeof *o);

	(void)state;
	api = API_CHAT;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		read_body(o, rows[i].body, strlen(rows[i].body));
		assert_int_equal(o->end, rows[i].end);
		assert_int_equal(o->shown_len, rows[i].shown);
		assert_int_equal(o->tap.usage.input, i == 0 ? 5 : -1);
	}
	free(o);
}

/* An event of `len` bytes of comment before the usage chunk. */
static bool
is_hidden_behind(size_t len)
{
	struct outcome *o = xcalloc(sizeof *o);
	char *comment = xcalloc(len + 1);
	bool held = true, is_hidden;

	api = API_CHAT;
	memset(comment, ':', len);
	begin(o);
	for (size_t i = 0; i < len; i += 100) {
		feed(o, comment + i, len - i < 100 ? len - i : 100);
		held &= o->tap.held_from < UINT64_MAX;
	}
	feed_text(o, "\ndata: " USAGE_CHUNK "\n");
	held &= o->tap.held_from < UINT64_MAX;
	feed_text(o, "\n");
	finish(o);
	is_hidden = strcmp(o->verdicts, "H") == 0;
	assert_int_equal(held, is_hidden);
	free(comment);
	free(o);
	return is_hidden;
}

static void
a_large_event_is_neither_held_back_nor_hidden(void **state)
{
	size_t most = TAP_HIDE_BYTES - strlen("data: " USAGE_CHUNK);

	(void)state;
	assert_true(is_hidden_behind(100));
	assert_true(is_hidden_behind(most - 1));
	assert_false(is_hidden_behind(most));
	assert_false(is_hidden_behind(TAP_HIDE_BYTES));
	assert_false(is_hidden_behind(3 * TAP_HIDE_BYTES));
}

/* -- content -- */

#define CHAT_DELTA(delta) "data: {\"choices\":[{\"delta\":" delta "}]}\n\n"

static bool
has_content(enum server_api a, const char *body)
{
	return tap_of(a, body)->has_content;
}

static void
chat_content_is_text_reasoning_refusal_tools_or_audio(void **state)
{
	static const char *const with[] = {
	    CHAT_DELTA("{\"content\":\"a\"}"),
	    CHAT_DELTA("{\"reasoning\":\"a\"}"),
	    CHAT_DELTA("{\"reasoning_content\":\"a\"}"),
	    CHAT_DELTA("{\"refusal\":\"a\"}"),
	    CHAT_DELTA("{\"tool_calls\":[{\"index\":0}]}"),
	    CHAT_DELTA("{\"function_call\":{\"name\":\"f\"}}"),
	    CHAT_DELTA("{\"audio\":{\"id\":\"1\",\"data\":\"QUJD\"}}"),
	    CHAT_DELTA("{\"content\":[{\"type\":\"thinking\",\"thinking\":"
		       "[{\"type\":\"text\",\"text\":\"a\"}]}]}"),
	};
	static const char *const without[] = {
	    CHAT_DELTA("{\"role\":\"assistant\"}"),
	    CHAT_DELTA("{\"role\":\"assistant\",\"content\":\"\"}"),
	    CHAT_DELTA("{\"content\":null,\"tool_calls\":null}"),
	    CHAT_DELTA("{\"tool_calls\":[]}"),
	    CHAT_DELTA("{\"function_call\":null,\"audio\":null}"),
	    CHAT_DELTA("{\"audio\":{\"id\":\"1\",\"data\":\"\"}}"),
	    CHAT_DELTA("{\"x\":{\"content\":\"a\"}}"),
	    ": keep-alive\n\n",
	    EVENT("{\"choices\":[]}"),
	    EVENT("{\"delta\":{\"content\":\"a\"}}"),
	    EVENT("{\"choices\":{\"delta\":{\"content\":\"a\"}}}"),
	    EVENT("{\"choices\":[[{\"delta\":{\"content\":\"a\"}}]]}"),
	    EVENT("[DONE]"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(with); i++)
		assert_true(has_content(API_CHAT, with[i]));
	for (size_t i = 0; i < COUNT_OF(without); i++)
		assert_false(has_content(API_CHAT, without[i]));
}

static void
messages_content_is_a_delta_or_the_start_of_a_tool_call(void **state)
{
	static const char *const with[] = {
	    EVENT("{\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}"),
	    EVENT("{\"delta\":{\"thinking\":\"a\"}}"),
	    EVENT("{\"delta\":{\"partial_json\":\"{\"}}"),
	    EVENT("{\"content_block\":{\"type\":\"tool_use\",\"input\":{}}}"),
	    EVENT("{\"content_block\":{\"type\":\"server_tool_use\"}}"),
	};
	static const char *const without[] = {
	    EVENT("{\"message\":{\"content\":[]}}"),
	    EVENT("{\"type\":\"ping\"}"),
	    EVENT("{\"content_block\":{\"type\":\"text\",\"text\":\"\"}}"),
	    EVENT("{\"delta\":{\"partial_json\":\"\"}}"),
	    EVENT("{\"delta\":{\"signature\":\"a\"}}"),
	    EVENT("{\"delta\":{\"stop_reason\":\"end_turn\"}}"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(with); i++)
		assert_true(has_content(API_MESSAGES, with[i]));
	for (size_t i = 0; i < COUNT_OF(without); i++)
		assert_false(has_content(API_MESSAGES, without[i]));
}

static void
responses_content_is_a_delta_or_the_start_of_a_call(void **state)
{
	static const char *const with[] = {
	    EVENT("{\"delta\":\"a\",\"type\":\"response.output_text.delta\"}"),
	    EVENT("{\"delta\":\"QQ==\",\"type\":\"response.audio.delta\"}"),
	    EVENT("{\"item\":{\"type\":\"function_call\"}}"),
	};
	static const char *const without[] = {
	    EVENT("{\"type\":\"response.created\",\"response\":{}}"),
	    EVENT("{\"type\":\"response.in_progress\",\"response\":{}}"),
	    EVENT("{\"item\":{\"type\":\"message\",\"content\":[]}}"),
	    EVENT("{\"delta\":\"\",\"type\":\"response.output_text.delta\"}"),
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(with); i++)
		assert_true(has_content(API_RESPONSES, with[i]));
	for (size_t i = 0; i < COUNT_OF(without); i++)
		assert_false(has_content(API_RESPONSES, without[i]));
	assert_int_equal(tap_of(API_RESPONSES, with[1])->text_bytes, 0);
}

static void
content_counts_when_its_event_is_whole(void **state)
{
	struct outcome *o = xcalloc(sizeof *o);

	(void)state;
	api = API_CHAT;
	begin(o);
	feed_text(o, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n");
	assert_false(o->tap.has_content);
	feed_text(o, "\n");
	assert_true(o->tap.has_content);
	free(o);
}

static void
text_is_counted_decoded_and_once(void **state)
{
	(void)state;
	assert_int_equal(tap_of(API_CHAT,
			     CHAT_DELTA("{\"content\":\"a\\u00e4\\n\"}")
				 CHAT_DELTA("{\"tool_calls\":[{\"function\":"
					    "{\"arguments\":\"{}\"}}]}"))
			     ->text_bytes,
	    6);
	assert_int_equal(
	    tap_of(API_RESPONSES,
		"data: {\"type\":\"response.output_text.delta\","
		"\"delta\":\"Tea\"}\n\n"
		"data: {\"type\":\"response.output_text.done\","
		"\"text\":\"Tea\"}\n\n"
		"data: "
		"{\"type\":\"response.completed\",\"response\":{\"output\":"
		"[{\"content\":[{\"text\":\"Tea\"}]}]}}\n\n")
		->text_bytes,
	    3);
}

static void
events_that_repeat_are_each_read_as_if_new(void **state)
{
	static const char text[] = CHAT_DELTA("{\"content\":\"a\"}");
	static const char half[] = EVENT("{\"choices\":[{\"delta\":"
					 "{\"content\":\"a\"}");
	static const char audio[] =
	    EVENT("{\"type\":\"response.audio.delta\",\"delta\":\"QQ==\"}");
	static const char running[] =
	    EVENT("{\"choices\":[{\"delta\":{\"content\":\"a\"}}],"
		  "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}");
	static const char last[] =
	    EVENT("{\"choices\":[],\"usage\":{\"prompt_tokens\":9}}");
	const struct tap *t;
	char body[1024];

	(void)state;
	snprintf(body, sizeof body, "%s%s%s%s", text, text, text, text);
	t = tap_of(API_CHAT, body);
	assert_int_equal(t->events, 4);
	assert_int_equal(t->text_bytes, 4);
	snprintf(body, sizeof body, "%s%s%s%s", text, half, half, half);
	t = tap_of(API_CHAT, body);
	assert_int_equal(t->bad_events, 3);
	assert_int_equal(t->text_bytes, 1);
	snprintf(body, sizeof body, "%s%s%s", audio, audio, audio);
	assert_int_equal(tap_of(API_RESPONSES, body)->text_bytes, 0);
	snprintf(
	    body, sizeof body, "%s%s%s%s", running, running, last, running);
	assert_int_equal(tap_of(API_CHAT, body)->usage.input, 5);
}

/* -- ends and errors -- */

static void
each_dialect_has_its_own_end(void **state)
{
	(void)state;
	assert_true(tap_of(API_CHAT, "data: [DONE]\n\n")->is_complete);
	assert_true(tap_of(API_CHAT, "data:[DONE]")->is_complete);
	assert_false(tap_of(API_CHAT, "data: [DON")->is_complete);
	assert_false(tap_of(API_CHAT, "data: {}\n\n")->is_complete);
	assert_false(tap_of(API_CHAT, "data: \"[DONE]\"\n\n")->is_complete);
	assert_false(tap_of(API_MESSAGES, "data: [DONE]\n\n")->is_complete);
	assert_false(tap_of(API_RESPONSES, "data: [DONE]\n\n")->is_complete);
	assert_true(
	    tap_of(API_MESSAGES, "data: {\"type\":\"message_stop\"}\n\n")
		->is_complete);
	assert_true(tap_of(API_MESSAGES, "event: message_stop\ndata: {}\n\n")
			->is_complete);
	assert_false(tap_of(API_CHAT, "data: {\"type\":\"message_stop\"}\n\n")
			 ->is_complete);
	assert_true(tap_of(API_RESPONSES,
	    "data: {\"x\":1,\"type\":\"response\\u002ecompleted\"}\n\n")
			->is_complete);
	assert_false(
	    tap_of(API_RESPONSES, "data: {\"type\":\"response.created\"}\n\n")
		->is_complete);
}

static void
errors_in_a_stream_are_seen_in_every_form(void **state)
{
	static const char *const with[] = {
	    "data: {\"error\":{\"code\":500}}\n\n",
	    "data: {\"error\":\"out of memory\"}\n\n",
	    "data: {\"choices\":[],\"error\":{}}\n\n",
	    "event: error\ndata: {\"code\":500,\"message\":\"x\"}\n\n",
	    "event:error\ndata: x\n\n",
	    "data: {\"type\":\"error\"}\n\n",
	    "data: {\"error\":{\"message\":\"cut of",
	};
	static const char *const without[] = {
	    "data: {\"error\":null}\n\n",
	    "data: {\"error\":\"\"}\n\n",
	    "data: {\"error\":false}\n\n",
	    "data: {\"x\":{\"error\":\"y\"}}\n\n",
	    "data: {\"detail\":\"no error in a stream\"}\n\n",
	    "event: errors\ndata: {}\n\n",
	    "event: error\nevent: x\ndata: {}\n\n",
	    ": error\n\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(with); i++)
		assert_true(tap_of(API_CHAT, with[i])->has_error);
	for (size_t i = 0; i < COUNT_OF(without); i++)
		assert_false(tap_of(API_CHAT, without[i])->has_error);
	assert_true(tap_of(API_RESPONSES,
	    "data: {\"type\":\"response.failed\","
	    "\"response\":{\"error\":{}}}\n\n")
			->has_error);
	assert_false(tap_of(API_RESPONSES,
	    "data: {\"type\":\"response.created\","
	    "\"response\":{\"error\":null}}\n\n")
			 ->has_error);
}

static void
a_failed_response_is_an_end_with_usage(void **state)
{
	const struct tap *t = tap_of(API_RESPONSES,
	    "event: response.failed\ndata: {\"response\":{\"usage\":"
	    "{\"input_tokens\":7,\"output_tokens\":1}},"
	    "\"type\":\"response.failed\"}\n\n");

	(void)state;
	assert_true(t->is_complete);
	assert_true(t->has_error);
	assert_int_equal(t->usage.input, 7);
}

static void
only_a_terminal_response_tells_its_usage(void **state)
{
	(void)state;
	assert_int_equal(
	    tap_of(API_RESPONSES,
		"data: {\"response\":{\"usage\":{\"input_tokens\":7}},"
		"\"type\":\"response.in_progress\"}\n\n")
		->usage.input,
	    -1);
}

static void
a_bad_event_is_counted_and_the_next_one_read(void **state)
{
	const struct tap *t = tap_of(API_CHAT,
	    "data: {\"usage\":{\"prompt_tokens\":9},}\n\n"
	    "data: hello\n\n"
	    "data: {\"choices\":[\n\n"
	    "data: [1]\n\n"
	    "data: {} x\n\n"
	    "data: " USAGE_CHUNK "\n\n");

	(void)state;
	assert_int_equal(t->bad_events, 5);
	assert_int_equal(t->events, 6);
	assert_int_equal(t->usage.input, 5);
	assert_false(t->has_error);
}

static void
data_lines_join_with_a_line_feed(void **state)
{
	(void)state;
	assert_int_equal(tap_of(API_CHAT,
			     "data: {\"usage\":\ndata:{\"prompt_tokens\"\r\n"
			     "id: 7\ndata: :5}\rdata: }\n\n")
			     ->usage.input,
	    5);
	/* A line end may not stand inside of a string. */
	assert_int_equal(
	    tap_of(API_CHAT, "data: {\"usa\ndata: ge\":1}\n\n")->bad_events, 1);
}

static void
a_byte_order_mark_and_blank_lines_may_come_first(void **state)
{
	(void)state;
	assert_int_equal(tap_of(API_CHAT,
			     "\xef\xbb\xbf"
			     "data: " USAGE_CHUNK "\n\n")
			     ->usage.input,
	    5);
	assert_int_equal(
	    tap_of(API_CHAT, "\n\r\n\ndata: " USAGE_CHUNK "\n\n")->usage.input,
	    5);
	is_stream = false;
	assert_int_equal(
	    tap_of(API_CHAT, "\xef\xbb\xbf\n\n" USAGE_CHUNK)->usage.input, 5);
}

/* -- the other shape than was asked for -- */

static void
a_document_in_place_of_a_stream_is_read(void **state)
{
	const struct tap *t = tap_of(API_CHAT,
	    "{\"choices\":[{\"message\":{\"content\":\"Tea\"}}],"
	    "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}");

	(void)state;
	assert_int_equal(t->usage.input, 5);
	assert_int_equal(t->text_bytes, 3);
	assert_true(t->is_complete);
	assert_true(t->has_content);
	t = tap_of(API_CHAT, "{\n\"error\":{\"code\":429}\n}\n");
	assert_true(t->has_error);
	assert_true(t->is_complete);
}

static void
a_stream_in_place_of_a_document_is_read(void **state)
{
	static const char *const bodies[] = {
	    "data: " USAGE_CHUNK "\n\ndata: [DONE]\n\n",
	    ": x\n\ndata: " USAGE_CHUNK "\n\ndata: [DONE]\n\n",
	    "event: x\ndata: " USAGE_CHUNK "\n\ndata: [DONE]\n\n",
	};

	(void)state;
	is_stream = false;
	for (size_t i = 0; i < COUNT_OF(bodies); i++) {
		const struct tap *t = tap_of(API_CHAT, bodies[i]);

		assert_int_equal(t->usage.input, 5);
		assert_true(t->is_complete);
	}
	assert_string_equal(verdicts_of(API_CHAT, bodies[0]), "PP");
}

static void
a_document_is_complete_when_it_is_whole(void **state)
{
	(void)state;
	is_stream = false;
	assert_true(tap_of(API_CHAT, "{}")->is_complete);
	assert_true(tap_of(API_CHAT, " [1] \n")->is_complete);
	assert_true(tap_of(API_CHAT, "12")->is_complete);
	assert_false(tap_of(API_CHAT, "{\"a\":1")->is_complete);
	assert_false(tap_of(API_CHAT, "{}}")->is_complete);
	assert_false(tap_of(API_CHAT, "<html>{}")->is_complete);
	assert_false(tap_of(API_CHAT, "")->is_complete);
	assert_false(tap_of(API_CHAT, "\n\n")->is_complete);
	assert_int_equal(tap_of(API_CHAT, "<html>\n{}\n")->bad_events, 1);
	was_cut = true;
	assert_false(tap_of(API_CHAT, "{}")->is_complete);
}

static void
a_document_that_is_no_stream_is_one_event_without_content(void **state)
{
	(void)state;
	is_stream = false;
	assert_string_equal(verdicts_of(API_CHAT, "{}\n\n"), "");
	assert_false(has_content(
	    API_CHAT, "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}"));
}

static void
a_cut_document_tells_its_text_and_no_usage(void **state)
{
	const struct tap *t;

	(void)state;
	is_stream = false;
	t = tap_of(API_CHAT,
	    "{\"usage\":{\"prompt_tokens\":5},\"choices\":"
	    "[{\"message\":{\"content\":\"Tea\"},");
	assert_int_equal(t->text_bytes, 3);
	assert_int_equal(t->usage.input, -1);
	assert_int_equal(t->source, USAGE_NONE);
}

static void
error_documents_are_known_by_their_shape(void **state)
{
	static const char *const with[] = {
	    "{\"error\":\"Unauthorized\"}",
	    "{\"detail\":\"Unauthorized\"}",
	    "{\"detail\":[{\"loc\":[]}]}",
	    "{\"fault\":{\"faultstring\":\"x\"}}",
	    "{\"message\":\"Overloaded\",\"code\":429,\"type\":\"x\"}",
	};
	static const char *const without[] = {
	    "{\"error\":null,\"detail\":null}",
	    "{\"message\":{\"content\":\"a\"},\"done\":true}",
	    "{\"message\":\"hello\"}",
	    "{\"a\":{\"detail\":\"x\"}}",
	};

	(void)state;
	is_stream = false;
	for (size_t i = 0; i < COUNT_OF(with); i++) {
		assert_true(tap_of(API_EMBEDDINGS, with[i])->has_error);
		assert_true(tap_of(API_RESPONSES, with[i])->has_error);
		assert_true(tap_of(API_MESSAGES, with[i])->has_error);
	}
	for (size_t i = 0; i < COUNT_OF(without); i++)
		assert_false(tap_of(API_CHAT, without[i])->has_error);
}

static void
lines_of_documents_are_events(void **state)
{
	static const char body[] =
	    "{\"message\":{\"content\":\"Tea\"},\"done\":false}\n"
	    "{\"message\":\n"
	    "nonsense}\r\n"
	    "{\"message\":{\"content\":\"\"},\"done\":true,"
	    "\"prompt_eval_count\":26,\"eval_count\":3}\n";
	const struct tap *t;

	(void)state;
	assert_string_equal(verdicts_of(API_CHAT, body), "PPP");
	t = tap_of(API_CHAT, body);
	assert_true(t->is_complete);
	assert_true(t->has_content);
	assert_int_equal(t->usage.input, 26);
	assert_int_equal(t->usage.output, 3);
	assert_int_equal(t->bad_events, 1);
	assert_false(tap_of(API_CHAT, "{\"response\":\"Tea\",\"done\":false}\n")
			 ->is_complete);
}

static void
a_huge_event_is_read_without_being_kept(void **state)
{
	size_t len = 5 << 20, head = strlen("data: {\"choices\":[{\"delta\":");
	char *body = xcalloc(len + 64);
	struct outcome *o = xcalloc(sizeof *o);
	int n;

	(void)state;
	api = API_CHAT;
	n = snprintf(
	    body, 64, "data: {\"choices\":[{\"delta\":{\"content\":\"");
	memset(body + n, 'a', len);
	snprintf(body + (size_t)n + len, 20, "\"}}]}\n\n");
	begin(o);
	feed(o, body, head);
	feed(o, body + head, strlen(body) - head);
	assert_int_equal(o->tap.text_bytes, len);
	assert_int_equal(o->tap.bad_events, 0);
	assert_true(sizeof o->tap <= 1792);
	free(body);
	free(o);
}

int
main(void)
{
#define RULE(f) cmocka_unit_test_setup(f, tap_run_reset)
	const struct CMUnitTest tests[] = {
	    RULE(key_order_does_not_matter_for_hiding),
	    RULE(empty_choices_without_usage_pass),
	    RULE(an_error_beside_the_usage_is_not_hidden),
	    RULE(an_event_is_held_back_only_while_it_may_be_hidden),
	    RULE(a_usage_chunk_that_nothing_closes_is_hidden_at_the_end),
	    RULE(a_large_event_is_neither_held_back_nor_hidden),
	    RULE(chat_content_is_text_reasoning_refusal_tools_or_audio),
	    RULE(messages_content_is_a_delta_or_the_start_of_a_tool_call),
	    RULE(responses_content_is_a_delta_or_the_start_of_a_call),
	    RULE(content_counts_when_its_event_is_whole),
	    RULE(text_is_counted_decoded_and_once),
	    RULE(events_that_repeat_are_each_read_as_if_new),
	    RULE(each_dialect_has_its_own_end),
	    RULE(errors_in_a_stream_are_seen_in_every_form),
	    RULE(a_failed_response_is_an_end_with_usage),
	    RULE(only_a_terminal_response_tells_its_usage),
	    RULE(a_bad_event_is_counted_and_the_next_one_read),
	    RULE(data_lines_join_with_a_line_feed),
	    RULE(a_byte_order_mark_and_blank_lines_may_come_first),
	    RULE(a_document_in_place_of_a_stream_is_read),
	    RULE(a_stream_in_place_of_a_document_is_read),
	    RULE(a_document_is_complete_when_it_is_whole),
	    RULE(a_document_that_is_no_stream_is_one_event_without_content),
	    RULE(a_cut_document_tells_its_text_and_no_usage),
	    RULE(error_documents_are_known_by_their_shape),
	    RULE(lines_of_documents_are_events),
	    RULE(a_huge_event_is_read_without_being_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
