#include "metering/ledger/ledger_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "metering/ledger/ledger_view.h"

#define WRITER "01K9W00000000000000000000A"

static struct ledger_view view;

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
			.usage = {.input = 2340, .output = 512, .cached = 1980},
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
a_refused_request_has_zeros_and_no_attempts(void **state)
{
	struct ledger_line line = {
	    .user = "bob", .ttft_ms = -1, .predicted_ttft_ms = -1};
	struct buf b = {0};
	struct slice s = written(&b, &line, 1);

	(void)state;
	assert_non_null(memmem(s.p, s.len, "\"ttft_ms\":null", 14));
	assert_non_null(memmem(s.p, s.len, "\"attempts\":[],", 14));
	assert_true(ledger_view_read(&view, s, NULL));
	assert_int_equal(view.ttft_ms, -1);
	assert_non_null(memmem(s.p, s.len, "\"predicted_ttft_ms\":null", 24));
	assert_int_equal(view.predicted_ttft_ms, -1);
	assert_int_equal(view.attempt_count, 0);
	assert_int_equal(view.prompt_tokens, 0);
	buf_release(&b);
}

static void
failover_is_a_part_of_the_cost(void **state)
{
	struct ledger_line line = {.user = "bob", .prefill = "warned"};
	struct ledger_attempt a = {.upstream = "fireworks",
	    .result = "http_503",
	    .usage = USAGE_UNKNOWN,
	    .source = USAGE_ESTIMATED,
	    .cost_pusd = 7};
	struct buf b = {0};

	(void)state;
	ledger_line_take_attempt(&line, &a);
	a.is_fallback = true;
	ledger_line_take_attempt(&line, &a);
	ledger_line_take_attempt(&line, &a);
	assert_true(ledger_view_read(&view, written(&b, &line, 1), NULL));
	assert_true(view.cost_usd == 21);
	assert_true(view.fallback_usd == 14);
	assert_true(slice_is(view.prefill, "warned"));
	assert_null(view.joined_by.p);
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

/* A text of what writers of logs trip over. */
static char *
nasty_text(struct arena *a, uint64_t *seed, size_t most)
{
	static const char *const pieces[] = {"a", "\"", "\\", "\n", "\r", "\t",
	    "\x01", "\x1f", "\x7f", "/", "é", "€", "\xf0\x9f\x98\x80",
	    "\xe2\x80\xa8", "\xe2\x80\xa9", "{}", "[],:", "\\u0000",
	    /* no UTF-8: */
	    "\xff", "\xc3", "\xe2\x80", "\xed\xa0\x80", "\x80", "\xf5"};
	size_t len = random_next(seed) % (most + 1), n = 0;
	char *text = arena_alloc(a, len + 1);

	if (random_next(seed) % 8 == 0)
		return NULL;
	for (;;) {
		const char *piece =
		    pieces[random_next(seed) % COUNT_OF(pieces)];

		if (n + strlen(piece) > len)
			return text;
		memcpy(text + n, piece, strlen(piece));
		n += strlen(piece);
	}
}

#define RANDOM_TEXT(a, seed, most) nasty_text(a, seed, most)
#define RANDOM_MONEY(a, seed, most)           \
	((__int128)(random_next(seed) >> 1) * \
	    (int64_t)(random_next(seed) % 1000000))
#define RANDOM_INT(a, seed, most) \
	((int64_t)(random_next(seed) >> (1 + random_next(seed) % 63)))
#define RANDOM_BOOL(a, seed, most) (random_next(seed) % 2 == 0)
#define RANDOM_TIME(a, seed, most) \
	((int64_t)(random_next(seed) % 4102444800) * 1000)

static struct ledger_line
random_line(struct arena *a, uint64_t *seed, size_t most)
{
	struct ledger_line line;

#define X(member, name, type, help) line.member = RANDOM_##type(a, seed, most);
	LEDGER_FIELDS(X)
#undef X
	line.attempt_count = random_next(seed) % (LEDGER_ATTEMPTS_MOST + 1);
	for (size_t i = 0; i < line.attempt_count; i++)
		line.attempts[i] = (struct ledger_attempt){
		    .upstream = nasty_text(a, seed, most),
		    .result = nasty_text(a, seed, most),
		    .usage = {.input = RANDOM_INT(a, seed, 0),
			.output = RANDOM_INT(a, seed, 0),
			.cached = RANDOM_INT(a, seed, 0),
			.cache_write = RANDOM_INT(a, seed, 0)},
		    .source = random_next(seed) % (USAGE_UPSTREAM + 1),
		    .cost_pusd = RANDOM_MONEY(a, seed, 0),
		};
	return line;
}

/* Of a cut text the beginning is left; what was no UTF-8 has become U+FFFD, so
 * the rest cannot be compared. */
static void
any_texts_give_one_line_of_json(void **state)
{
	uint64_t seed = 2463534242;
	struct fault why;
	struct buf b = {0};
	struct arena a;

	(void)state;
	for (uint64_t i = 1; i <= 3000; i++) {
		struct ledger_line line;
		struct slice s;

		arena_init(&a);
		line = random_line(&a, &seed, 1 + i % 1000);
		buf_clear(&b);
		s = written(&b, &line, UINT64_C(1) << (i % 63));
		assert_json(s);
		assert_true(ledger_view_read(&view, s, &why));
		assert_int_equal(line.prompt_tokens, view.prompt_tokens);
		assert_true(line.cost_usd == view.cost_usd);
		assert_int_equal(line.attempt_count, view.attempt_count);
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
		    {.input = INT64_MAX,
			.output = INT64_MAX,
			.cached = INT64_MAX,
			.cache_write = INT64_MAX},
		    USAGE_ESTIMATED, huge, false};
	s = written(&b, &line, INT64_MAX);
	assert_json(s);
	/* Numbers of 39 digits are more than any reader has to take. */
	assert_false(ledger_view_read(&view, s, &why));
	buf_release(&b);
}

static void
a_long_text_is_cut_between_characters(void **state)
{
	struct ledger_line line = sample();
	struct buf b = {0};
	char text[301];
	(void)state;
	for (size_t shift = 0; shift < 3; shift++) {
		size_t len;

		memset(text, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof text; i += 3)
			memcpy(text + i, "€", 4);
		line.session = text;
		buf_clear(&b);
		assert_true(
		    ledger_view_read(&view, written(&b, &line, 1), NULL));
		len = view.session.len;
		assert_true(len > 250 && len <= 256);
		assert_int_equal((len - shift) % 3, 0);
		assert_memory_equal(view.session.p, text, len);
	}
	buf_release(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_six_promised_fields_come_first),
	    cmocka_unit_test(a_refused_request_has_zeros_and_no_attempts),
	    cmocka_unit_test(failover_is_a_part_of_the_cost),
	    cmocka_unit_test(any_texts_give_one_line_of_json),
	    cmocka_unit_test(the_largest_line_fits),
	    cmocka_unit_test(a_long_text_is_cut_between_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
