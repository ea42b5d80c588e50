#include "metering/ledger_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "base/mem.h"

#define WRITER "01K9W00000000000000000000A"

static struct ledger_line
sample(void)
{
	struct ledger_line line = {
	    .user = "alice",
	    .model = "ds4",
	    .prompt_tokens = 2340,
	    .completion_tokens = 512,
	    .duration_ms = 4521,
	    .id = "01K9X40000000000000000000B",
	    .key = "k3f8aa",
	    .api = "chat",
	    .stream = true,
	    .status = 200,
	    .end = "ok",
	    .usage_source = "upstream",
	    .cached_tokens = 1980,
	    .cost_usd = 2695260000,
	    .price_date = "2026-05-01",
	    .ttft_ms = 1180,
	    .upstream = "fireworks",
	    .upstream_model = "accounts/fireworks/models/deepseek-v4-pro",
	    .paid = true,
	    .client = "codex_cli_rs/0.162",
	    .attempts =
		{
		    {.upstream = "spark-ds4", .result = "connect"},
		    {.upstream = "fireworks",
			.result = "ok",
			.usage = {2340, 512, 1980, 0, -1, -1},
			.source = USAGE_UPSTREAM,
			.cost_pusd = 2695260000},
		},
	    .attempt_count = 2,
	};

	assert_true(clock_parse(SLICE("2026-05-28T14:22:01Z"), &line.ts_ms));
	return line;
}

/* Writes a line into `to`, which must be empty, and returns it without its
 * newline. */
static struct slice
written(struct buf *to, const struct ledger_line *line, uint64_t seq)
{
	size_t len;

	ledger_line_write(to, line);
	ledger_line_finish(to, WRITER, seq);
	len = buf_len(to);
	assert_true(len <= LEDGER_LINE_MOST_BYTES);
	assert_int_equal(buf_data(to)[len - 1], '\n');
	assert_null(memchr(buf_data(to), '\n', len - 1));
	return (struct slice){buf_data(to), len - 1};
}

static bool
any_token(void *arg, const struct json_token *t)
{
	(void)arg;
	(void)t;
	return true;
}

static void
assert_json(struct slice text)
{
	struct json_scan s;

	json_scan_init(&s, any_token, NULL, 0);
	assert_int_equal(json_scan_feed(&s, text.p, text.len), JSON_DONE);
	for (size_t i = 0; i < text.len; i++)
		assert_true((unsigned char)text.p[i] >= 0x20);
}

static void
assert_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		assert_ptr_equal(a, b);
	else
		assert_string_equal(a, b);
}

#define ASSERT_TEXT(a, b) assert_text(a, b)
#define ASSERT_MONEY(a, b) assert_true((a) == (b))
#define ASSERT_INT(a, b) assert_int_equal(a, b)
#define ASSERT_BOOL(a, b) assert_int_equal(a, b)
#define ASSERT_TIME(a, b) assert_int_equal(a, b)

static void
assert_same_line(const struct ledger_line *a, const struct ledger_line *b)
{
#define X(member, name, type, help) ASSERT_##type(a->member, b->member);
	LEDGER_FIELDS(X)
#undef X
	assert_int_equal(a->attempt_count, b->attempt_count);
	for (size_t i = 0; i < a->attempt_count; i++) {
		const struct ledger_attempt *p = &a->attempts[i];
		const struct ledger_attempt *q = &b->attempts[i];

		assert_text(p->upstream, q->upstream);
		assert_text(p->result, q->result);
		assert_int_equal(p->source, q->source);
		if (p->source == USAGE_NONE)
			continue;
		assert_int_equal(p->usage.input, q->usage.input);
		assert_int_equal(p->usage.output, q->usage.output);
		assert_int_equal(p->usage.cached, q->usage.cached);
		assert_int_equal(p->usage.cache_write, q->usage.cache_write);
		assert_true(p->cost_pusd == q->cost_pusd);
	}
}

static void
the_six_promised_fields_come_first(void **state)
{
	static const char begins[] =
	    "{\"ts\":\"2026-05-28T14:22:01Z\",\"user\":\"alice\","
	    "\"model\":\"ds4\",\"prompt_tokens\":2340,"
	    "\"completion_tokens\":512,\"duration_ms\":4521,\"id\":";
	static const char ends[] =
	    "\"attempts\":[{\"upstream\":\"spark-ds4\",\"result\":\"connect\"},"
	    "{\"upstream\":\"fireworks\",\"result\":\"ok\","
	    "\"prompt_tokens\":2340,\"cached_tokens\":1980,"
	    "\"cache_write_tokens\":0,\"completion_tokens\":512,"
	    "\"cost_usd\":\"0.002695260000\",\"usage_source\":\"upstream\"}],"
	    "\"writer\":\"" WRITER "\",\"seq\":1234}";
	struct ledger_line line = sample();
	struct buf b = {0};
	struct slice s = written(&b, &line, 1234);

	(void)state;
	assert_json(s);
	assert_memory_equal(s.p, begins, sizeof begins - 1);
	assert_true(s.len > sizeof ends - 1);
	assert_memory_equal(
	    s.p + s.len - (sizeof ends - 1), ends, sizeof ends - 1);
	buf_release(&b);
}

static void
a_line_is_read_as_it_was_written(void **state)
{
	struct ledger_line line = sample();
	struct ledger_entry back;
	struct fault why;
	struct buf b = {0};

	(void)state;
	assert_true(ledger_line_read(written(&b, &line, 7), &back, &why));
	assert_same_line(&line, &back.line);
	assert_string_equal(back.writer, WRITER);
	assert_int_equal(back.seq, 7);
	buf_release(&b);
}

static void
a_refused_request_has_zeros_and_no_attempts(void **state)
{
	struct ledger_line line = {.user = "bob", .ttft_ms = -1};
	struct ledger_entry back;
	struct buf b = {0};
	struct slice s = written(&b, &line, 1);

	(void)state;
	assert_non_null(memmem(s.p, s.len, "\"ttft_ms\":null", 14));
	assert_non_null(memmem(s.p, s.len, "\"attempts\":[],", 14));
	assert_true(ledger_line_read(s, &back, NULL));
	assert_same_line(&line, &back.line);
	buf_release(&b);
}

static uint64_t
random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* A text of what writers of logs trip over; well-formed UTF-8 if `is_clean`. */
static char *
nasty_text(struct arena *a, uint64_t *seed, size_t most, bool is_clean)
{
	static const char *const pieces[] = {"a", "\"", "\\", "\n", "\r", "\t",
	    "\x01", "\x1f", "\x7f", "/", "é", "€", "\xf0\x9f\x98\x80",
	    "\xe2\x80\xa8", "\xe2\x80\xa9", "{}", "[],:", "\\u0000",
	    /* no UTF-8: */
	    "\xff", "\xc3", "\xe2\x80", "\xed\xa0\x80", "\x80", "\xf5"};
	size_t count = is_clean ? COUNT_OF(pieces) - 6 : COUNT_OF(pieces);
	size_t len = random_next(seed) % (most + 1), n = 0;
	char *text = arena_alloc(a, len + 1);

	if (random_next(seed) % 8 == 0)
		return NULL;
	for (;;) {
		const char *piece = pieces[random_next(seed) % count];

		if (n + strlen(piece) > len)
			return text;
		memcpy(text + n, piece, strlen(piece));
		n += strlen(piece);
	}
}

#define RANDOM_TEXT(a, seed, most, is_clean) nasty_text(a, seed, most, is_clean)
#define RANDOM_MONEY(a, seed, most, is_clean) \
	((__int128)(random_next(seed) >> 1) * \
	    (int64_t)(random_next(seed) % 1000000))
#define RANDOM_INT(a, seed, most, is_clean) \
	((int64_t)(random_next(seed) >> (1 + random_next(seed) % 63)))
#define RANDOM_BOOL(a, seed, most, is_clean) (random_next(seed) % 2 == 0)
#define RANDOM_TIME(a, seed, most, is_clean) \
	((int64_t)(random_next(seed) % 4102444800) * 1000)

static struct ledger_line
random_line(struct arena *a, uint64_t *seed, size_t most, bool is_clean)
{
	struct ledger_line line;

#define X(member, name, type, help) \
	line.member = RANDOM_##type(a, seed, most, is_clean);
	LEDGER_FIELDS(X)
#undef X
	line.attempt_count = random_next(seed) % (LEDGER_ATTEMPTS_MOST + 1);
	for (size_t i = 0; i < line.attempt_count; i++)
		line.attempts[i] = (struct ledger_attempt){
		    .upstream = nasty_text(a, seed, most, is_clean),
		    .result = nasty_text(a, seed, most, is_clean),
		    .usage = {RANDOM_INT(a, seed, 0, 0),
			RANDOM_INT(a, seed, 0, 0), RANDOM_INT(a, seed, 0, 0),
			RANDOM_INT(a, seed, 0, 0), -1, -1},
		    .source = random_next(seed) % (USAGE_UPSTREAM + 1),
		    .cost_pusd = RANDOM_MONEY(a, seed, 0, 0),
		};
	return line;
}

static void
short_clean_texts_come_back_exactly(void **state)
{
	uint64_t seed = 88172645463325252;
	struct ledger_entry back;
	struct fault why;
	struct buf b = {0};
	struct arena a;

	(void)state;
	for (uint64_t i = 1; i <= 3000; i++) {
		struct ledger_line line;

		arena_init(&a);
		line = random_line(&a, &seed, 8, true);
		buf_clear(&b);
		assert_true(
		    ledger_line_read(written(&b, &line, i), &back, &why));
		assert_same_line(&line, &back.line);
		assert_int_equal(back.seq, i);
		arena_release(&a);
	}
	buf_release(&b);
}

/* Of a cut text the beginning is left; what was no UTF-8 has become U+FFFD, so
 * the rest cannot be compared. */
static void
any_texts_give_one_line_of_json(void **state)
{
	uint64_t seed = 2463534242;
	struct ledger_entry back;
	struct fault why;
	struct buf b = {0};
	struct arena a;

	(void)state;
	for (uint64_t i = 1; i <= 3000; i++) {
		struct ledger_line line;
		struct slice s;

		arena_init(&a);
		line = random_line(&a, &seed, 1 + i % 1000, false);
		buf_clear(&b);
		s = written(&b, &line, UINT64_C(1) << (i % 63));
		assert_json(s);
		assert_true(ledger_line_read(s, &back, &why));
		assert_int_equal(line.prompt_tokens, back.line.prompt_tokens);
		assert_true(line.cost_usd == back.line.cost_usd);
		assert_int_equal(line.attempt_count, back.line.attempt_count);
		arena_release(&a);
	}
	buf_release(&b);
}

static void
the_largest_line_fits(void **state)
{
	const __int128 huge = -((__int128)1 << 126) - 1;
	char text[4097];
	struct ledger_line line;
	struct ledger_entry back;
	struct fault why;
	struct buf b = {0};
	struct slice s;

	(void)state;
	memset(text, 1, sizeof text - 1);
	text[sizeof text - 1] = '\0';
#define LARGEST_TEXT text
#define LARGEST_MONEY huge
#define LARGEST_INT INT64_MAX
#define LARGEST_BOOL false
#define LARGEST_TIME INT64_C(253402300799000)
#define X(member, name, type, help) line.member = LARGEST_##type;
	LEDGER_FIELDS(X)
#undef X
	line.attempt_count = LEDGER_ATTEMPTS_MOST;
	for (size_t i = 0; i < LEDGER_ATTEMPTS_MOST; i++)
		line.attempts[i] = (struct ledger_attempt){text, text,
		    {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX,
			INT64_MAX},
		    USAGE_ESTIMATED, huge};
	s = written(&b, &line, INT64_MAX);
	assert_json(s);
	/* Numbers of 39 digits are more than any reader has to take. */
	assert_false(ledger_line_read(s, &back, &why));
	buf_release(&b);
}

static void
a_long_text_is_cut_between_characters(void **state)
{
	struct ledger_line line = sample();
	struct ledger_entry back;
	struct buf b = {0};
	char text[301];
	size_t len;

	(void)state;
	for (size_t shift = 0; shift < 3; shift++) {
		memset(text, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof text; i += 3)
			memcpy(text + i, "€", 4);
		line.session = text;
		buf_clear(&b);
		assert_true(
		    ledger_line_read(written(&b, &line, 1), &back, NULL));
		len = strlen(back.line.session);
		assert_true(len > 250 && len <= 256);
		assert_int_equal((len - shift) % 3, 0);
		assert_memory_equal(back.line.session, text, len);
	}
	buf_release(&b);
}

static void
every_prefix_of_a_line_is_refused(void **state)
{
	struct ledger_line line = sample();
	struct ledger_entry back;
	struct buf b = {0};
	struct slice s = written(&b, &line, 1);
	struct fault why;

	(void)state;
	for (size_t len = 0; len < s.len; len++)
		assert_false(
		    ledger_line_read((struct slice){s.p, len}, &back, &why));
	buf_release(&b);
}

static void
unknown_members_are_ignored_and_missing_ones_are_empty(void **state)
{
	static const char text[] =
	    "{\"new\":{\"ts\":1,\"attempts\":[{\"user\":2}]},"
	    "\"ts\":\"2026-05-28T14:22:01Z\",\"us\\u0065r\":\"x\","
	    "\"attempts\":[{\"newer\":[{\"cost_usd\":1}],\"result\":\"ok\"}],"
	    "\"writer\":null,\"list\":[1,[2,{}],3],\"user\":\"bob\"}";
	struct ledger_entry back;
	struct fault why;

	(void)state;
	assert_true(ledger_line_read(slice_of(text), &back, &why));
	assert_string_equal(back.line.user, "bob");
	assert_null(back.line.model);
	assert_null(back.writer);
	assert_int_equal(back.line.prompt_tokens, 0);
	assert_int_equal(back.line.ttft_ms, -1);
	assert_int_equal(back.line.attempt_count, 1);
	assert_null(back.line.attempts[0].upstream);
	assert_string_equal(back.line.attempts[0].result, "ok");
	assert_int_equal(back.line.attempts[0].source, USAGE_NONE);
	assert_int_equal(back.line.attempts[0].usage.input, -1);
}

static void
what_is_no_ledger_line_is_refused_with_a_reason(void **state)
{
#define TS "{\"ts\":\"2026-05-28T14:22:01Z\","
	static const char *const bad[] = {"", "null", "[]", "1", "{}",
	    "{\"user\":\"bob\"}", "{\"ts\":\"yesterday\"}", "{\"ts\":1}",
	    TS "\"user\":1}", TS "\"user\":{}}", TS "\"prompt_tokens\":-1}",
	    TS "\"prompt_tokens\":1.5}", TS "\"prompt_tokens\":\"1\"}",
	    TS "\"prompt_tokens\":9223372036854775808}",
	    TS "\"prompt_tokens\":[]}", TS "\"stream\":1}",
	    TS "\"cost_usd\":0.1}", TS "\"cost_usd\":\"x\"}",
	    TS "\"attempts\":{\"a\":{}}}", TS "\"attempts\":1}",
	    TS "\"attempts\":[{},{},{},{},{},{},{},{},{}]}",
	    TS "\"attempts\":[{\"usage_source\":\"guess\"}]}",
	    TS "\"seq\":\"1\"}", TS "\"user\":\"b\"}}", TS "\"user\":\"b\"",
	    TS "\"user\":\"b\"} {}"};
	struct ledger_entry back;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		why.text[0] = '\0';
		if (ledger_line_read(slice_of(bad[i]), &back, &why))
			fail_msg("taken: %s", bad[i]);
		assert_int_not_equal(strlen(why.text), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_six_promised_fields_come_first),
	    cmocka_unit_test(a_line_is_read_as_it_was_written),
	    cmocka_unit_test(a_refused_request_has_zeros_and_no_attempts),
	    cmocka_unit_test(short_clean_texts_come_back_exactly),
	    cmocka_unit_test(any_texts_give_one_line_of_json),
	    cmocka_unit_test(the_largest_line_fits),
	    cmocka_unit_test(a_long_text_is_cut_between_characters),
	    cmocka_unit_test(every_prefix_of_a_line_is_refused),
	    cmocka_unit_test(
		unknown_members_are_ignored_and_missing_ones_are_empty),
	    cmocka_unit_test(what_is_no_ledger_line_is_refused_with_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
