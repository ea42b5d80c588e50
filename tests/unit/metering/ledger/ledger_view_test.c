#include "metering/ledger/ledger_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "tests/unit/metering/ledger/view_same.h"
#include "tests/unit/seeded.h"

#define WRITER "01K9W00000000000000000000A"
#define MEMBERS_MOST 64

static struct ledger_view view, other;

static struct ledger_line
sample(void)
{
	struct ledger_line line = {
	    .user = "alice",
	    .model = "ds4",
	    .duration_ms = 4521,
	    .id = "01K9X40000000000000000000B",
	    .key = "k3f8aa",
	    .api = "chat",
	    .stream = true,
	    .status = 200,
	    .end = "ok",
	    .price_date = "2026-05-01",
	    .ttft_ms = 1180,
	    .upstream = "fireworks",
	    .paid = true,
	    .client = "a \"client\"\\\n\xe2\x80\xa8",
	};
	struct ledger_attempt failed = {
	    .upstream = "spark-ds4",
	    .result = "connect",
	    .usage = USAGE_UNKNOWN,
	};
	struct ledger_attempt last = {
	    .upstream = "fireworks",
	    .result = "ok",
	    .usage = USAGE_UNKNOWN,
	    .source = USAGE_UPSTREAM,
	    .cost_pusd = 2695260000,
	};

	assert_true(clock_parse(SLICE("2026-05-28T14:22:01Z"), &line.ts_ms));
	last.usage.input = 2340;
	last.usage.output = 512;
	last.usage.cached = 1980;
	ledger_line_take_attempt(&line, &failed);
	ledger_line_take_attempt(&line, &last);
	return line;
}

/* Writes a line into `to` and returns it without its newline. */
static struct slice
written(struct buf *to, const struct ledger_line *line, uint64_t seq)
{
	buf_clear(to);
	ledger_line_write(to, line);
	ledger_line_finish(to, WRITER, seq);
	return (struct slice){buf_data(to), buf_len(to) - 1};
}

/* --- any line of ours ---------------------------------------------------- */

static const char *
random_text(struct arena *a, struct seeded *s)
{
	static const char *const pieces[] = {"a", "\"", "\\", "\n", "\t",
	    "\x01", "\x7f", "/", "é", "€", "\xf0\x9f\x98\x80", "\xe2\x80\xa8",
	    "{}", "[],:", "\\u0000"};
	size_t count = seeded_below(s, 6), n = 0;
	char *text = arena_alloc(a, 64);

	if (seeded_below(s, 8) == 0)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const char *piece = pieces[seeded_below(s, COUNT_OF(pieces))];

		memcpy(text + n, piece, strlen(piece));
		n += strlen(piece);
	}
	return text;
}

#define RANDOM_TEXT(a, s) random_text(a, s)
#define RANDOM_MONEY(a, s)                                         \
	((__int128)(seeded_next(s) >> (1 + seeded_below(s, 60))) * \
	    (int64_t)seeded_below(s, 1000000))
#define RANDOM_INT(a, s) \
	((int64_t)(seeded_next(s) >> (1 + seeded_below(s, 63))))
#define RANDOM_BOOL(a, s) (seeded_below(s, 2) == 0)
#define RANDOM_TIME(a, s) ((int64_t)seeded_below(s, 4102444800) * 1000)

static struct ledger_line
random_line(struct arena *a, struct seeded *s)
{
	struct ledger_line line;

#define X(member, name, type, help) line.member = RANDOM_##type(a, s);
	LEDGER_FIELDS(X)
#undef X
	if (seeded_below(s, 3) == 0)
		line.ttft_ms = -1;
	line.attempt_count = seeded_below(s, LEDGER_ATTEMPTS_MOST + 1);
	for (size_t i = 0; i < line.attempt_count; i++)
		line.attempts[i] = (struct ledger_attempt){
		    .upstream = random_text(a, s),
		    .result = random_text(a, s),
		    .usage = {.input = RANDOM_INT(a, s),
			.output = RANDOM_INT(a, s),
			.cached = RANDOM_INT(a, s),
			.cache_write = RANDOM_INT(a, s)},
		    .source =
			(enum usage_source)seeded_below(s, USAGE_UPSTREAM + 1),
		    .cost_pusd = RANDOM_MONEY(a, s),
		};
	return line;
}

static bool
is_text(const char *a, struct slice b)
{
	return same_text(slice_of(a), b);
}

#define IS_TEXT(a, b) is_text(a, b)
#define IS_MONEY(a, b) ((a) == (b))
#define IS_INT(a, b) ((a) == (b))
#define IS_BOOL(a, b) ((a) == (b))
#define IS_TIME(a, b) ((a) == (b))

static void
assert_shows(const struct ledger_view *v, const struct ledger_line *line)
{
#define X(member, name, type, help)              \
	if (!IS_##type(line->member, v->member)) \
		fail_msg("%s is not as written", name);
	LEDGER_FIELDS(X)
#undef X
	assert_int_equal(v->attempt_count, line->attempt_count);
	for (size_t i = 0; i < v->attempt_count; i++) {
		const struct ledger_view_attempt *a = &v->attempts[i];
		const struct ledger_attempt *w = &line->attempts[i];

		assert_true(is_text(w->upstream, a->upstream));
		assert_true(is_text(w->result, a->result));
		assert_int_equal(a->source, w->source);
		if (w->source == USAGE_NONE) {
			assert_int_equal(a->usage.input, -1);
			continue;
		}
		assert_int_equal(a->usage.input, w->usage.input);
		assert_int_equal(a->usage.output, w->usage.output);
		assert_int_equal(a->usage.cached, w->usage.cached);
		assert_int_equal(a->usage.cache_write, w->usage.cache_write);
		assert_true(a->cost_pusd == w->cost_pusd);
	}
}

static void
a_line_is_viewed_as_it_was_written(void **state)
{
	struct seeded s = {.state = 11};
	struct buf b = {0};
	struct fault why;

	(void)state;
	for (uint64_t i = 1; i <= 3000; i++) {
		struct ledger_line line;
		struct arena a;

		arena_init(&a);
		line = random_line(&a, &s);
		if (!ledger_view_read(&view, written(&b, &line, i), &why))
			fail_msg("%s: %s", why.text, buf_data(&b));
		assert_shows(&view, &line);
		assert_int_equal(view.seq, i);
		assert_true(slice_is(view.writer, WRITER));
		arena_release(&a);
	}
	buf_release(&b);
}

/* --- the same line in another spelling ----------------------------------- */

struct members {
	struct slice keys[MEMBERS_MOST], values[MEMBERS_MOST];
	size_t count;
	const char *text;
	uint64_t value_begin;
};

static bool
on_token(void *arg, const struct json_token *t)
{
	struct members *m = arg;
	struct slice raw = {m->text + t->begin, t->end - t->begin};

	if (t->depth != 1)
		return true;
	switch (t->kind) {
	case JSON_KEY:
		m->keys[m->count] = raw;
		return true;
	case JSON_OBJECT:
	case JSON_ARRAY:
		m->value_begin = t->begin;
		return true;
	case JSON_OBJECT_END:
	case JSON_ARRAY_END:
		raw.p = m->text + m->value_begin;
		raw.len = t->end - m->value_begin;
		break;
	case JSON_STRING:
	case JSON_NUMBER:
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		break;
	}
	m->values[m->count++] = raw;
	return true;
}

static void
take_apart(struct members *m, struct slice line)
{
	struct json_scan scan;

	*m = (struct members){.text = line.p};
	json_scan_init(&scan, on_token, m, 1);
	assert_int_equal(json_scan_feed(&scan, line.p, line.len), JSON_DONE);
}

static void
shuffle(struct members *m, struct seeded *s)
{
	for (size_t i = m->count; i > 1; i--) {
		size_t k = seeded_below(s, i);
		struct slice key = m->keys[k], value = m->values[k];

		m->keys[k] = m->keys[i - 1];
		m->values[k] = m->values[i - 1];
		m->keys[i - 1] = key;
		m->values[i - 1] = value;
	}
}

static void
put_blanks(struct buf *to, struct seeded *s)
{
	static const char blanks[] = " \t\r";

	while (seeded_below(s, 4) == 0)
		buf_put(to, &blanks[seeded_below(s, 3)], 1);
}

/* A quoted text; some of its plain letters become escapes. */
static void
put_escaped(struct buf *to, struct slice raw, struct seeded *s)
{
	for (size_t i = 0; i < raw.len; i++) {
		char c = raw.p[i];

		if (c == '\\') {
			size_t len = raw.p[i + 1] == 'u' ? 6 : 2;

			buf_put(to, raw.p + i, len);
			i += len - 1;
		} else if (c != '"' && c > 0x20 && seeded_below(s, 9) == 0) {
			buf_printf(to, "\\u%04X", (unsigned)c);
		} else {
			buf_put(to, &c, 1);
		}
	}
}

static void
put_unknown(struct buf *to, struct seeded *s)
{
	static const char *const values[] = {"null", "-1.5e3", "\"x\"",
	    "{\"ts\":[1,{\"seq\":{}}]}", "[[],[{\"upstream\":1}]]", "true"};

	if (seeded_below(s, 5) != 0)
		return;
	buf_printf(to, "\"new%zu\":%s,", seeded_below(s, 1000),
	    values[seeded_below(s, COUNT_OF(values))]);
}

/* A number is never spelt otherwise. */
static void
put_member(struct buf *to, const struct members *m, size_t i, struct seeded *s)
{
	put_escaped(to, m->keys[i], s);
	put_blanks(to, s);
	buf_puts(to, ":");
	put_blanks(to, s);
	if (m->values[i].p[0] == '"')
		put_escaped(to, m->values[i], s);
	else
		buf_put(to, m->values[i].p, m->values[i].len);
	put_blanks(to, s);
}

static struct slice
rewritten(struct buf *to, struct slice line, struct seeded *s)
{
	struct members m;

	take_apart(&m, line);
	shuffle(&m, s);
	buf_clear(to);
	put_blanks(to, s);
	buf_puts(to, "{");
	for (size_t i = 0; i < m.count; i++) {
		put_blanks(to, s);
		put_unknown(to, s);
		put_member(to, &m, i, s);
		buf_puts(to, i + 1 < m.count ? "," : "}");
	}
	put_blanks(to, s);
	return (struct slice){buf_data(to), buf_len(to)};
}

static void
order_blanks_escapes_and_unknown_members_change_nothing(void **state)
{
	struct seeded s = {.state = 5};
	struct buf b = {0}, c = {0};
	struct fault why;
	size_t compared = 0;

	(void)state;
	for (uint64_t i = 1; i <= 2000; i++) {
		struct ledger_line line;
		struct slice text, again;
		struct arena a;

		arena_init(&a);
		line = random_line(&a, &s);
		text = written(&b, &line, i);
		again = rewritten(&c, text, &s);
		assert_true(ledger_view_read(&view, text, &why));
		assert_int_equal(view.missing, 0);
		assert_int_equal(view.unknown, 0);
		if (again.len <= LEDGER_LINE_MOST_BYTES) {
			if (!ledger_view_read(&other, again, &why))
				fail_msg("%s: %.*s", why.text, (int)again.len,
				    again.p);
			other.unknown = 0;
			assert_true(same_view(&view, &other));
			compared++;
		}
		arena_release(&a);
	}
	assert_true(compared > 1000);
	buf_release(&b);
	buf_release(&c);
}

/* A blank before it is what our own writer never puts there. */
static bool
read_the_general_way(struct ledger_view *v, struct slice line, char *room)
{
	room[0] = ' ';
	memcpy(room + 1, line.p, line.len);
	return ledger_view_read(v, (struct slice){room, line.len + 1}, NULL);
}

static void
a_flipped_bit_is_judged_alike_both_ways(void **state)
{
	struct ledger_line line = sample();
	struct buf b = {0};
	struct slice text = written(&b, &line, 1234);
	char copy[LEDGER_LINE_MOST_BYTES], room[LEDGER_LINE_MOST_BYTES + 1];
	size_t taken = 0;

	(void)state;
	memcpy(copy, text.p, text.len);
	for (size_t bit = 0; bit < 8 * text.len; bit++) {
		struct slice flipped = {copy, text.len};
		bool fast, general;

		copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
		fast = ledger_view_read(&view, flipped, NULL);
		general = read_the_general_way(&other, flipped, room);
		if (fast != general || (fast && !same_view(&view, &other)))
			fail_msg("bit %zu: %s", bit, room);
		taken += fast;
		copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
	}
	/* Digits inside values, and letters of texts and names, can be others.
	 */
	assert_true(taken > 0 && taken < 8 * text.len);
	buf_release(&b);
}

static void
every_prefix_of_a_line_is_refused(void **state)
{
	struct ledger_line line = sample();
	struct buf b = {0};
	struct slice text = written(&b, &line, 1);
	struct fault why;

	(void)state;
	for (size_t len = 0; len < text.len; len++) {
		why.text[0] = '\0';
		assert_false(
		    ledger_view_read(&view, (struct slice){text.p, len}, &why));
		assert_string_not_equal(why.text, "");
	}
	buf_release(&b);
}

/* --- other lines --------------------------------------------------------- */

#define TS "\"ts\":\"2026-05-28T14:22:01Z\""
#define LAST "\"writer\":\"" WRITER "\",\"seq\":7"

static void
missing_members_are_empty(void **state)
{
	static const char *const lines[] = {
	    "{" TS ",\"user\":\"bob\",\"attempts\":[]," LAST "}",
	    "{" TS ",\"user\":\"bob\"," LAST "}",
	    "{" LAST ",\"user\":\"bob\",\"attempts\":null," TS "}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct fault why;

		if (!ledger_view_read(&view, slice_of(lines[i]), &why))
			fail_msg("%s", why.text);
		assert_true(slice_is(view.user, "bob"));
		assert_null(view.model.p);
		assert_int_equal(view.ts_ms, INT64_C(1779978121000));
		assert_int_equal(view.prompt_tokens, 0);
		assert_int_equal(view.ttft_ms, -1);
		assert_true(view.cost_usd == 0);
		assert_false(view.paid);
		assert_int_equal(view.attempt_count, 0);
		assert_int_equal(view.seq, 7);
	}
}

static void
an_attempt_may_have_more_and_less(void **state)
{
	static const char text[] =
	    "{" TS ",\"attempts\":[{\"result\":\"ok\","
	    "\"newer\":[{\"cost_usd\":1}]},{\"usage_source\":\"running\","
	    "\"prompt_tokens\":5,\"cost_usd\":\"1.5\"}],\"list\":[1,[2,{}]]"
	    "," LAST "}";

	(void)state;
	assert_true(ledger_view_read(&view, SLICE(text), NULL));
	assert_int_equal(view.attempt_count, 2);
	assert_null(view.attempts[0].upstream.p);
	assert_true(slice_is(view.attempts[0].result, "ok"));
	assert_int_equal(view.attempts[0].usage.input, -1);
	assert_int_equal(view.attempts[1].source, USAGE_RUNNING);
	assert_int_equal(view.attempts[1].usage.input, 5);
	assert_int_equal(view.attempts[1].usage.output, -1);
	assert_true(view.attempts[1].cost_pusd == 1500000000000);
}

static void
times_are_read_as_the_clock_reads_them(void **state)
{
	struct seeded s = {.state = 3};
	char text[160], when[CLOCK_TEXT_BYTES];

	(void)state;
	for (int i = 0; i < 100000; i++) {
		int64_t ms = (int64_t)seeded_below(&s, 253402300800) * 1000;

		clock_format(when, ms);
		snprintf(text, sizeof text,
		    "{\"ts\":\"%s\",\"attempts\":[]," LAST "}", when);
		assert_true(ledger_view_read(&view, slice_of(text), NULL));
		assert_int_equal(view.ts_ms, ms);
	}
}

static void
what_is_no_ledger_line_is_refused_with_a_reason(void **state)
{
	static const char *const bad[] = {"", "null", "[]", "1", "{}",
	    "{" LAST "}", "{" TS "}", "{" TS ",\"writer\":\"" WRITER "\"}",
	    "{" TS ",\"writer\":\"" WRITER "\",\"seq\":0}",
	    "{" TS ",\"writer\":\"" WRITER "\",\"seq\":null}",
	    "{" TS ",\"writer\":null,\"seq\":1}",
	    "{" TS ",\"writer\":\"W1\",\"seq\":1}", "{\"ts\":null," LAST "}",
	    "{\"ts\":1," LAST "}", "{\"ts\":\"2026-02-30T00:00:00Z\"," LAST "}",
	    "{\"ts\":\"2026-13-01T00:00:00Z\"," LAST "}",
	    "{" TS "," TS "," LAST "}",
	    "{" TS ",\"\\u0074s\":\"2026-05-28T14:22:01Z\"," LAST "}",
	    "{" TS "," LAST "," LAST "}",
	    "{" TS ",\"attempts\":[],\"attempts\":[]," LAST "}",
	    "{" TS ",\"attempts\":[{\"result\":null,\"result\":\"ok\"}]," LAST
	    "}",
	    "{" TS ",\"user\":1," LAST "}", "{" TS ",\"user\":{}," LAST "}",
	    "{" TS ",\"user\":[]," LAST "}",
	    "{" TS ",\"prompt_tokens\":-1," LAST "}",
	    "{" TS ",\"prompt_tokens\":1.5," LAST "}",
	    "{" TS ",\"prompt_tokens\":1e3," LAST "}",
	    "{" TS ",\"prompt_tokens\":01," LAST "}",
	    "{" TS ",\"prompt_tokens\":\"1\"," LAST "}",
	    "{" TS ",\"prompt_tokens\":9223372036854775808," LAST "}",
	    "{" TS ",\"stream\":1," LAST "}",
	    "{" TS ",\"cost_usd\":0.1," LAST "}",
	    "{" TS ",\"cost_usd\":\"x\"," LAST "}",
	    "{" TS ",\"cost_usd\":\"0.0026952600001\"," LAST "}",
	    "{" TS ",\"attempts\":{\"a\":{}}," LAST "}",
	    "{" TS ",\"attempts\":1," LAST "}",
	    "{" TS ",\"attempts\":[1]," LAST "}",
	    "{" TS ",\"attempts\":[null]," LAST "}",
	    "{" TS ",\"attempts\":[{},{},{},{},{},{},{},{},{}]," LAST "}",
	    "{" TS ",\"attempts\":[{\"usage_source\":\"guess\"}]," LAST "}",
	    "{" TS ",\"attempts\":[{\"prompt_tokens\":{}}]," LAST "}",
	    "{" TS ",\"user\":\"\xff\"," LAST "}",
	    "{" TS ",\"user\":\"\x01\"," LAST "}",
	    "{" TS ",\"user\":\"\\x\"," LAST "}",
	    "{" TS ",\"user\":\"\\u12g4\"," LAST "}", "{" TS "," LAST "}}",
	    "{" TS "," LAST "} {}", "{" TS "," LAST ",}", "{" TS ",," LAST "}",
	    "{" TS LAST "}"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct fault why = {""};

		if (ledger_view_read(&view, slice_of(bad[i]), &why))
			fail_msg("taken: %s", bad[i]);
		assert_string_not_equal(why.text, "");
	}
}

static void
a_line_longer_than_any_of_ours_is_refused(void **state)
{
	char text[LEDGER_LINE_MOST_BYTES + 2];
	int len = snprintf(text, sizeof text, "{" TS "," LAST "}");

	(void)state;
	memset(text + len, ' ', sizeof text - (size_t)len);
	assert_true(ledger_view_read(
	    &view, (struct slice){text, LEDGER_LINE_MOST_BYTES}, NULL));
	assert_false(ledger_view_read(
	    &view, (struct slice){text, LEDGER_LINE_MOST_BYTES + 1}, NULL));
}

static void
the_largest_counts_and_amounts_are_read(void **state)
{
	static const char text[] =
	    "{" TS ",\"prompt_tokens\":9223372036854775807,"
	    "\"cost_usd\":\"123456789012345678.123456789012\","
	    "\"avoided_usd\":\"-3\",\"attempts\":[]," LAST "}";

	(void)state;
	assert_true(ledger_view_read(&view, SLICE(text), NULL));
	assert_int_equal(view.prompt_tokens, INT64_MAX);
	assert_true(view.cost_usd ==
	    (__int128)123456789012345678 * 1000000000000 + 123456789012);
	assert_true(view.avoided_usd == -(__int128)3000000000000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_line_is_viewed_as_it_was_written),
	    cmocka_unit_test(
		order_blanks_escapes_and_unknown_members_change_nothing),
	    cmocka_unit_test(a_flipped_bit_is_judged_alike_both_ways),
	    cmocka_unit_test(every_prefix_of_a_line_is_refused),
	    cmocka_unit_test(missing_members_are_empty),
	    cmocka_unit_test(an_attempt_may_have_more_and_less),
	    cmocka_unit_test(times_are_read_as_the_clock_reads_them),
	    cmocka_unit_test(what_is_no_ledger_line_is_refused_with_a_reason),
	    cmocka_unit_test(a_line_longer_than_any_of_ours_is_refused),
	    cmocka_unit_test(the_largest_counts_and_amounts_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
