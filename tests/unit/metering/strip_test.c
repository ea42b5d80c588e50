/* Running counts that the client did not ask for: it gets what it would get
 * without them, byte for byte, however the answer is split. */
#include "tap_run.h"

#include "base/buf.h"
#include "base/file.h"

#define ROOM 65536

static struct outcome o;
static char shown[ROOM];

static void
use_vllm(void)
{
	kind = KIND_VLLM;
	api = API_CHAT;
	strips_running = true;
}

/* Reads it in every way of read_body(), and once more for what is shown. */
static const char *
shown_of(const char *body, size_t len)
{
	static struct outcome again;

	assert_true(len < ROOM);
	read_body(&o, body, len);
	again.shown = shown;
	begin(&again);
	feed(&again, body, len);
	finish(&again);
	assert_same(&o, &again);
	shown[again.shown_len] = '\0';
	return shown;
}

static void
assert_shown(const char *body, const char *expected)
{
	assert_string_equal(shown_of(body, strlen(body)), expected);
}

/* --- recordings ---------------------------------------------------------- */

static void
read_recording(const char *file, struct buf *to)
{
	char path[512];

	snprintf(path, sizeof path, TEST_DATA "/%s", file);
	assert_true(file_read(path, 1 << 20, false, to, NULL));
	buf_put(to, "", 1);
}

/* What a server sends that was not asked for counts on the way: events without
 * the member, and, if it was not asked for usage at all, without the last. */
static void
without_counts(const char *body, bool has_usage, struct buf *to)
{
	const char *end;

	for (; *body != '\0'; body = end) {
		const char *usage, *close;

		end = strstr(body, "\n\n") + 2;
		usage = strstr(body, ",\"usage\":{");
		if (usage == NULL || usage > end) {
			buf_put(to, body, (size_t)(end - body));
			continue;
		}
		if (memmem(body, (size_t)(end - body), "\"choices\":[]", 12) !=
		    NULL) {
			if (has_usage)
				buf_put(to, body, (size_t)(end - body));
			continue;
		}
		close = strchr(usage, '}');
		assert_non_null(close);
		buf_put(to, body, (size_t)(usage - body));
		buf_put(to, close + 1, (size_t)(end - close - 1));
	}
	buf_put(to, "", 1);
}

static const char *const recordings[] = {
    "wire/vllm-chat-continuous-stream.txt",
    "wire-more/vllm-chat-continuous2-stream.txt",
};

static void
recordings_are_shown_without_their_running_counts(void **state)
{
	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(recordings); i++) {
		for (int has_usage = 0; has_usage < 2; has_usage++) {
			struct buf body = {0}, expected = {0};

			read_recording(recordings[i], &body);
			hides_usage = has_usage == 0;
			without_counts(
			    buf_data(&body), has_usage != 0, &expected);
			assert_string_equal(
			    shown_of(buf_data(&body), buf_len(&body) - 1),
			    buf_data(&expected));
			assert_int_equal(o.tap.source, USAGE_UPSTREAM);
			buf_release(&body);
			buf_release(&expected);
		}
	}
}

static void
what_the_client_asked_for_is_shown_whole(void **state)
{
	(void)state;
	use_vllm();
	strips_running = hides_usage = false;
	for (size_t i = 0; i < COUNT_OF(recordings); i++) {
		struct buf body = {0};

		read_recording(recordings[i], &body);
		assert_shown(buf_data(&body), buf_data(&body));
		buf_release(&body);
	}
}

/* Every two splits of a short answer. */
static void
three_pieces_show_the_same(void **state)
{
	static const char body[] =
	    ": x\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
	    "\"a\\\"\"}}],\"usage\":{\"prompt_tokens\":5,"
	    "\"completion_tokens\":1},\"x\":null}\r\n\r\n"
	    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
	    "\"completion_tokens\":2}}\r\n\r\ndata: [DONE]\r\n\r\n";
	static struct outcome other;
	size_t len = sizeof body - 1;

	(void)state;
	use_vllm();
	assert_shown(body,
	    ": x\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
	    "\"a\\\"\"}}],\"x\":null}\r\n\r\ndata: [DONE]\r\n\r\n");
	for (size_t a = 1; a < len - 1; a++) {
		for (size_t b = a + 1; b < len; b++) {
			begin(&other);
			feed(&other, body, a);
			feed(&other, body + a, b - a);
			feed(&other, body + b, len - b);
			finish(&other);
			assert_same(&o, &other);
		}
	}
}

/* --- each way it can stand ----------------------------------------------- */

#define CHOICES "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]"
#define COUNTS "\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}"

static void
the_member_goes_with_one_comma(void **state)
{
	static const struct {
		const char *with, *without;
	} rows[] = {
	    {"{" CHOICES "," COUNTS "}", "{" CHOICES "}"},
	    {"{" CHOICES "," COUNTS ",\"x\":1}", "{" CHOICES ",\"x\":1}"},
	    {"{" COUNTS "," CHOICES "}", "{" CHOICES "}"},
	    {"{\"x\":1," COUNTS "," CHOICES "}", "{\"x\":1," CHOICES "}"},
	    {"{\"x\": 1, " CHOICES ", " COUNTS ", \"y\": 2}",
		"{\"x\": 1, " CHOICES ", \"y\": 2}"},
	    {"{ " COUNTS " , " CHOICES " }", "{ " CHOICES " }"},
	    {"{" CHOICES ",\"us\\u0061ge\":{\"prompt_tokens\":5}}",
		"{" CHOICES "}"},
	    {"{" CHOICES ",\"usage\":{\"a\":0}}", "{" CHOICES "}"},
	    {"{" CHOICES ",\"usage\":{\"a\":{\"b\":[1,{}]},\"c\":\"}\"}}",
		"{" CHOICES "}"},
	};
	char with[512], without[512];

	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		snprintf(with, sizeof with, "data: %s\n\n", rows[i].with);
		snprintf(
		    without, sizeof without, "data: %s\n\n", rows[i].without);
		assert_shown(with, without);
		/* No empty line at the very end. */
		with[strlen(with) - 2] = '\0';
		without[strlen(without) - 2] = '\0';
		assert_shown(with, without);
	}
}

static void
a_server_that_says_null_without_counts_is_shown_saying_so(void **state)
{
	static const char *const values[] = {"{\"prompt_tokens\":5}",
	    "{\"prompt_tokens\":5,\"x\":{\"y\":[{}]}}", "{\"a\":0}"};
	char with[2048], without[2048];

	(void)state;
	use_vllm();
	kind = KIND_SGLANG;
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		snprintf(with, sizeof with,
		    "data: {" CHOICES ",\"usage\":%s,\"x\":1}\n\n"
		    "data: {\"usage\": %s , " CHOICES "}\n\n"
		    "data: {" CHOICES ",\"usage\":%s}\n\n"
		    "data: {" CHOICES ",\"usage\":%s}\n\n"
		    "data: {\"choices\":[],\"usage\":%s}\n\n",
		    values[i], values[i], values[i], values[i], values[0]);
		snprintf(without, sizeof without,
		    "data: {" CHOICES ",\"usage\":null,\"x\":1}\n\n"
		    "data: {\"usage\": null , " CHOICES "}\n\n"
		    "data: {" CHOICES ",\"usage\":null}\n\n"
		    "data: {" CHOICES ",\"usage\":null}\n\n");
		assert_shown(with, without);
	}
}

static void
what_is_no_running_count_stays(void **state)
{
	static const char *const bodies[] = {
	    EVENT("{" CHOICES ",\"usage\":null}"),
	    EVENT("{" CHOICES ",\"usage\":[1]}"),
	    EVENT("{" CHOICES ",\"usage\":{}}"),
	    EVENT("{" CHOICES ",\"x\":{" COUNTS "}}"),
	    EVENT("{" CHOICES ",\"x_groq\":{" COUNTS "}}"),
	    EVENT("{\"choices\":[{" COUNTS "}]}"),
	    EVENT("{" COUNTS "}"),
	    EVENT("{\"choices\":null," COUNTS "}"),
	    EVENT("{" CHOICES "," COUNTS "}}"),
	    EVENT("{" CHOICES "," COUNTS ",}"),
	    EVENT("{" CHOICES "," COUNTS),
	    ": {" CHOICES "," COUNTS "}\n\n",
	    "data: {" CHOICES ",\"usage\":{\"pro",
	    "{" CHOICES "," COUNTS "}",
	};

	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(bodies); i++)
		assert_shown(bodies[i], bodies[i]);
}

static void
other_apis_lose_nothing(void **state)
{
	static const char body[] = EVENT("{" CHOICES "," COUNTS "}");

	(void)state;
	use_vllm();
	api = API_MESSAGES;
	assert_shown(body, body);
	api = API_RESPONSES;
	assert_shown(body, body);
	api = API_COMPLETIONS;
	assert_shown(body, EVENT("{" CHOICES "}"));
	is_stream = false;
	assert_shown(body, body);
}

/* --- large events -------------------------------------------------------- */

/* An event with `before` bytes of text before the counts and `behind` bytes
 * behind them. */
static size_t
make_large(char *to, size_t before, size_t behind, bool has_counts)
{
	char *p = to;

	p = stpcpy(p, "data: {\"choices\":[{\"delta\":{\"content\":\"");
	memset(p, 'a', before);
	p = stpcpy(p + before, "\"}}]");
	if (has_counts)
		p = stpcpy(p, "," COUNTS);
	p = stpcpy(p, ",\"x\":\"");
	memset(p, 'b', behind);
	p = stpcpy(p + behind, "\"}\n\n");
	return (size_t)(p - to);
}

static bool
is_stripped(size_t before, size_t behind, size_t step)
{
	size_t room = before + behind + 256;
	char *body = xcalloc(room), *plain = xcalloc(room);
	size_t len = make_large(body, before, behind, true);
	size_t plain_len = make_large(plain, before, behind, false);
	bool is_same;

	o.shown = xcalloc(room);
	begin(&o);
	for (size_t at = 0; at < len; at += step)
		feed(&o, body + at, step < len - at ? step : len - at);
	finish(&o);
	assert_int_equal(o.tap.usage.output, 1);
	is_same =
	    o.shown_len == plain_len && memcmp(o.shown, plain, plain_len) == 0;
	if (!is_same)
		assert_int_equal(o.shown_len, len);
	free(o.shown);
	free(body);
	free(plain);
	return is_same;
}

static void
an_event_of_any_size_is_stripped_and_little_of_it_waits(void **state)
{
	static const size_t sizes[] = {0, 100, 16000, 17000, 100000, 5000000};

	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		assert_true(is_stripped(sizes[i], 10, 4096));
		assert_true(is_stripped(sizes[i], 10, SIZE_MAX / 2));
	}
}

static void
counts_with_too_much_behind_them_are_shown_whatever_the_pieces(void **state)
{
	static const size_t steps[] = {1000, 4096, 16384, 1 << 20};

	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		assert_true(is_stripped(50, TAP_HIDE_BYTES - 200, steps[i]));
		assert_false(is_stripped(50, TAP_HIDE_BYTES, steps[i]));
	}
}

/* --- counts -------------------------------------------------------------- */

/* Events that differ in their text and their counts. */
static void
many_events_with_counts_are_read_and_cut_alike(void **state)
{
	static const char *const words[] = {"a", "", "\\\"", "\\u00e4", "word"};
	struct buf body = {0}, plain = {0};

	(void)state;
	use_vllm();
	for (unsigned i = 0; i < 40; i++) {
		const char *word = words[i % COUNT_OF(words)];

		buf_printf(&body,
		    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
		    "\"%s\"}}],\"usage\":{\"prompt_tokens\":21,"
		    "\"total_tokens\":%u,\"completion_tokens\":%u,"
		    "\"completion_tokens_details\":null},\"x\":null}\n\n",
		    word, 21 + i, i);
		buf_printf(&plain,
		    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":"
		    "\"%s\"}}],\"x\":null}\n\n",
		    word);
	}
	buf_put(&plain, "", 1);
	assert_string_equal(
	    shown_of(buf_data(&body), buf_len(&body)), buf_data(&plain));
	assert_int_equal(o.tap.usage.input, 21);
	assert_int_equal(o.tap.usage.output, 39);
	assert_int_equal(o.tap.source, USAGE_RUNNING);
	assert_int_equal(o.tap.uncounted_bytes, 0);
	assert_int_equal(o.tap.events, 40);
	buf_release(&body);
	buf_release(&plain);
}

static void
a_damaged_count_among_alike_events_is_found(void **state)
{
	static const char *const counts[] = {"-3", "3.0", "03", "1e1", "\"3\"",
	    "10000000000", "99999999999999999999"};

	(void)state;
	use_vllm();
	for (size_t i = 0; i < COUNT_OF(counts); i++) {
		char body[1024];
		size_t n = 0;

		for (int k = 0; k < 4; k++)
			n += (size_t)snprintf(body + n, sizeof body - n,
			    EVENT("{" CHOICES ",\"usage\":{\"prompt_tokens\":5,"
				  "\"completion_tokens\":%s}}"),
			    k == 3 ? counts[i] : "2");
		read_body(&o, body, n);
		assert_int_equal(o.tap.usage.output, 2);
		assert_int_equal(o.tap.has_bad_count + o.tap.bad_events, 1);
	}
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, tap_run_reset)
	const struct CMUnitTest tests[] = {
	    TEST(recordings_are_shown_without_their_running_counts),
	    TEST(what_the_client_asked_for_is_shown_whole),
	    TEST(three_pieces_show_the_same),
	    TEST(the_member_goes_with_one_comma),
	    TEST(a_server_that_says_null_without_counts_is_shown_saying_so),
	    TEST(what_is_no_running_count_stays),
	    TEST(other_apis_lose_nothing),
	    TEST(an_event_of_any_size_is_stripped_and_little_of_it_waits),
	    TEST(
		counts_with_too_much_behind_them_are_shown_whatever_the_pieces),
	    TEST(many_events_with_counts_are_read_and_cut_alike),
	    TEST(a_damaged_count_among_alike_events_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
