/* Every recorded body is read right.  tests/data/wire/NOTES.md tells of them.
 */
#include "tap_run.h"

#include "base/buf.h"
#include "base/file.h"

static enum server_api
api_of(const char *file)
{
	static const struct {
		const char *part;
		enum server_api api;
	} parts[] = {
	    {"counttokens", API_COUNT_TOKENS},
	    {"-completion", API_COMPLETIONS},
	    {"-responses", API_RESPONSES},
	    {"-messages", API_MESSAGES},
	    {"-embed", API_EMBEDDINGS},
	    {"-apiembed", API_EMBEDDINGS},
	    {"-rerank", API_RERANK},
	    {"-score", API_RERANK},
	    {"anthropic-error", API_MESSAGES},
	};

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (strstr(file, parts[i].part) != NULL)
			return parts[i].api;
	}
	return API_CHAT;
}

static void
assert_count(
    const char *file, const char *column, int64_t is, const char *expected)
{
	char text[32];

	snprintf(text, sizeof text, "%lld", (long long)is);
	if (strcmp(is < 0 ? "-" : text, expected) != 0)
		fail_msg("%s: %s is %s, not %s", file, column, text, expected);
}

/* The columns: file complete input output cached cache_write reasoning error */
static void
check_recording(char *column[8])
{
	static const char *const without_content[] = {
	    "sse-truncated-stream.txt",
	    "vllm-messages-error-stream.txt",
	};
	struct outcome *o = xcalloc(sizeof *o);
	const char *file = column[0];
	struct buf body = {0};
	struct fault why;
	char path[512];
	bool has_content;

	is_stream = strstr(file, "-stream.txt") != NULL;
	api = api_of(file);
	snprintf(path, sizeof path, TEST_DATA "/wire/%s", file);
	if (!file_read(path, 1 << 20, false, &body, &why))
		fail_msg("%s", why.text);
	read_body(o, buf_data(&body), buf_len(&body));

	assert_count(file, "complete", o->tap.is_complete, column[1]);
	assert_count(file, "input", o->tap.usage.input, column[2]);
	assert_count(file, "output", o->tap.usage.output, column[3]);
	assert_count(file, "cached", o->tap.usage.cached, column[4]);
	assert_count(file, "write", o->tap.usage.cache_write, column[5]);
	assert_count(file, "reasoning", o->tap.usage.reasoning, column[6]);
	if (o->tap.has_error != (strcmp(column[7], "-") != 0))
		fail_msg("%s: error %d", file, o->tap.has_error);

	has_content = is_stream;
	for (size_t i = 0; i < COUNT_OF(without_content); i++)
		has_content &= strcmp(file, without_content[i]) != 0;
	if (o->tap.has_content != has_content)
		fail_msg("%s: content %d", file, o->tap.has_content);
	assert_int_equal(o->tap.bad_events, 0);
	assert_false(o->tap.has_bad_count);
	buf_release(&body);
	free(o);
}

static void
every_recorded_body_is_read_right_however_it_is_split(void **state)
{
	struct buf table = {0};
	char *line, *rest;
	struct fault why;
	unsigned files = 0;

	(void)state;
	if (!file_read(
		TEST_DATA "/wire/expected.tsv", 1 << 20, false, &table, &why))
		fail_msg("%s", why.text);
	buf_put(&table, "", 1);
	rest = table.base;
	strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *column[8];

		for (size_t i = 0; i < 8; i++) {
			column[i] = strsep(&line, "\t");
			assert_non_null(column[i]);
		}
		check_recording(column);
		files++;
	}
	assert_true(files > 100);
	buf_release(&table);
}

static const char *
verdicts_of_recording(const char *file)
{
	static struct outcome o;
	struct buf body = {0};
	char path[512];

	api = api_of(file);
	snprintf(path, sizeof path, TEST_DATA "/wire/%s", file);
	assert_true(file_read(path, 1 << 20, false, &body, NULL));
	read_body(&o, buf_data(&body), buf_len(&body));
	buf_release(&body);
	return o.verdicts;
}

static void
only_the_usage_chunk_is_hidden(void **state)
{
	(void)state;
	assert_string_equal(
	    verdicts_of_recording("vllm-chat-stream.txt"), "PPPPHP");
	assert_string_equal(
	    verdicts_of_recording("openai-chat-stream.txt"), "PPPPHP");
	assert_string_equal(
	    verdicts_of_recording("openai-completions-stream.txt"), "PPHP");
	assert_string_equal(
	    verdicts_of_recording("llamacpp-chat-stream.txt"), "PPPPPPPHP");
	assert_string_equal(
	    verdicts_of_recording("sse-crlf-stream.txt"), "PPPHP");
	/* Usage beside choices belongs to the client. */
	assert_string_equal(
	    verdicts_of_recording("deepseek-chat-stream.txt"), "PPPPPPP");
	assert_string_equal(
	    verdicts_of_recording("openrouter-chat-stream.txt"), "PPPPPPP");
	assert_string_equal(
	    verdicts_of_recording("anthropic-messages-minimal-stream.txt"),
	    "PPPPPPP");
}

static void
nothing_is_hidden_from_a_client_that_asked_for_usage(void **state)
{
	(void)state;
	hides_usage = false;
	assert_string_equal(
	    verdicts_of_recording("vllm-chat-stream.txt"), "PPPPPP");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, tap_run_reset)
	const struct CMUnitTest tests[] = {
	    TEST(every_recorded_body_is_read_right_however_it_is_split),
	    TEST(only_the_usage_chunk_is_hidden),
	    TEST(nothing_is_hidden_from_a_client_that_asked_for_usage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
