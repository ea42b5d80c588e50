#include "conf/price_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"

static struct price
a_price(void)
{
	struct price p = {.input_pusd = 1740000,
	    .input_cached_pusd = 145000,
	    .cache_write_pusd = 1740000,
	    .output_pusd = 3480000};

	assert_true(clock_parse(SLICE("2026-11-20"), &p.from_ms));
	return p;
}

#define PRICE \
	"{from: 2026-11-20, input: 1.74, input_cached: 0.145, output: 3.48}"
#define PRICE_JSON                                     \
	"{\"from\": \"2026-11-20\", \"input\": 1.74, " \
	"\"input_cached\": 0.145, \"output\": 3.48}"

static void
assert_becomes(const char *before, const char *model, const char *after)
{
	const struct price p = a_price();
	struct buf out = {0};
	struct fault why;

	if (!price_insert(slice_of(before), "cloud", model, &p, &out, &why))
		fail_msg("%s\n%s", before, why.text);
	buf_put(&out, "", 1);
	assert_string_equal(buf_data(&out), after);
	buf_release(&out);
}

static void
assert_refused(const char *before)
{
	const struct price p = a_price();
	struct buf out = {0};
	struct fault why;

	assert_false(
	    price_insert(slice_of(before), "cloud", "m", &p, &out, &why));
	assert_int_equal(buf_len(&out), 0);
	assert_non_null(strstr(why.text, "yourself"));
}

static void
a_price_is_added_to_a_list_of_lines(void **state)
{
	(void)state;
	assert_becomes(
	    "prices:\n"
	    "  cloud:\n"
	    "    # of the provider's page\n"
	    "    m:\n"
	    "      - {from: 2026-05-01, input: 2, output: 4}  # old\n"
	    "\n"
	    "    n:\n"
	    "      - {input: 1, output: 1}\n",
	    "m",
	    "prices:\n"
	    "  cloud:\n"
	    "    # of the provider's page\n"
	    "    m:\n"
	    "      - {from: 2026-05-01, input: 2, output: 4}  # old\n"
	    "      - " PRICE "\n"
	    "\n"
	    "    n:\n"
	    "      - {input: 1, output: 1}\n");
	/* Lists at the depth of their key, and entries over several lines. */
	assert_becomes("prices:\n"
		       " cloud:\n"
		       "   m:\n"
		       "   - from: 2026-05-01\n"
		       "     input: 2 # two\n"
		       "     output: 4",
	    "m",
	    "prices:\n"
	    " cloud:\n"
	    "   m:\n"
	    "   - from: 2026-05-01\n"
	    "     input: 2 # two\n"
	    "     output: 4\n"
	    "   - " PRICE "\n");
}

static void
a_price_is_added_within_brackets(void **state)
{
	(void)state;
	assert_becomes(
	    "prices: {cloud: {m: [{input: 2, output: 4}]}} # all\nversion: 1\n",
	    "m",
	    "prices: {cloud: {m: [{input: 2, output: 4}, " PRICE
	    "]}} # all\nversion: 1\n");
	assert_becomes("prices:\n"
		       "  cloud:\n"
		       "    m: [\n"
		       "      {input: 2, output: 4}, # one\n"
		       "    ]\n",
	    "m",
	    "prices:\n"
	    "  cloud:\n"
	    "    m: [\n"
	    "      {input: 2, output: 4}, " PRICE ", # one\n"
	    "    ]\n");
	assert_becomes("prices: {cloud: {n: [{input: 2, output: 4}]}}\n", "m",
	    "prices: {cloud: {n: [{input: 2, output: 4}], m: [" PRICE "]}}\n");
	assert_becomes("{version: 1, prices: {}}", "a, b",
	    "{version: 1, prices: {cloud: {\"a, b\": [" PRICE "]}}}");
}

static void
a_file_of_json_stays_json(void **state)
{
	(void)state;
	assert_becomes("{\"version\": 1}", "m",
	    "{\"version\": 1, \"prices\": {\"cloud\": {\"m\": [" PRICE_JSON
	    "]}}}");
	assert_becomes("{\"prices\": {\"cloud\": {\"m\": [\n"
		       " {\"input\": 2, \"output\": 4}\n]}}}\n",
	    "m",
	    "{\"prices\": {\"cloud\": {\"m\": [\n"
	    " {\"input\": 2, \"output\": 4}, " PRICE_JSON "\n]}}}\n");
}

static void
what_is_missing_on_the_way_is_added(void **state)
{
	(void)state;
	assert_becomes("prices:\n"
		       "    cloud:\n"
		       "        n: [{input: 2, output: 4}]\n"
		       "# the end\n",
	    "m/x:1",
	    "prices:\n"
	    "    cloud:\n"
	    "        n: [{input: 2, output: 4}]\n"
	    "        \"m/x:1\":\n"
	    "          - " PRICE "\n"
	    "# the end\n");
	assert_becomes("prices:\n"
		       "  other: {n: [{input: 2, output: 4}]}\n"
		       "users: {}\n",
	    "m",
	    "prices:\n"
	    "  other: {n: [{input: 2, output: 4}]}\n"
	    "  cloud:\n"
	    "    m:\n"
	    "      - " PRICE "\n"
	    "users: {}\n");
	assert_becomes("version: 1\nusers: {a: {models: [x]}}", "m",
	    "version: 1\nusers: {a: {models: [x]}}\n"
	    "\nprices:\n"
	    "  cloud:\n"
	    "    m:\n"
	    "      - " PRICE "\n");
	assert_becomes("prices:  # none yet\nversion: 1\n", "m",
	    "prices:  # none yet\n"
	    "  cloud:\n"
	    "    m:\n"
	    "      - " PRICE "\n"
	    "version: 1\n");
}

static void
line_ends_and_letters_of_all_kinds_are_kept(void **state)
{
	(void)state;
	assert_becomes("version: 1\r\nprices:\r\n  cloud:\r\n"
		       "    m:\r\n      - {input: 2, output: 4} # \xc3\xa9\r\n",
	    "m",
	    "version: 1\r\nprices:\r\n  cloud:\r\n"
	    "    m:\r\n      - {input: 2, output: 4} # \xc3\xa9\r\n"
	    "      - " PRICE "\r\n");
	assert_becomes("\xef\xbb\xbfprices: {cloud: {\"\xe6\xb0\xb4\": "
		       "[{input: 2, output: 4}], m: [{input: 1, output: 1}]}}",
	    "\xe6\xb0\xb4",
	    "\xef\xbb\xbfprices: {cloud: {\"\xe6\xb0\xb4\": "
	    "[{input: 2, output: 4}, " PRICE "], "
	    "m: [{input: 1, output: 1}]}}");
	assert_becomes("a: \"\xc2\x85 x\"\nprices:\n  cloud:\n    m:\n"
		       "      - {input: 2, output: 4}\n"
		       "text: |\n  of lines\n\n",
	    "m",
	    "a: \"\xc2\x85 x\"\nprices:\n  cloud:\n    m:\n"
	    "      - {input: 2, output: 4}\n"
	    "      - " PRICE "\n"
	    "text: |\n  of lines\n\n");
	assert_becomes("text: |\n  of lines\n", "m",
	    "text: |\n  of lines\n\nprices:\n  cloud:\n    m:\n      - " PRICE
	    "\n");
}

static void
what_stands_in_two_places_is_not_touched(void **state)
{
	(void)state;
	assert_refused("prices:\n"
		       "  other: {n: &p [{input: 2, output: 4}]}\n"
		       "  cloud: {m: *p}\n");
	assert_refused("prices:\n"
		       "  cloud: &all {n: [{input: 2, output: 4}]}\n"
		       "  other: *all\n");
	assert_refused("prices: {cloud: {m: {input: 2}}}\n");
	assert_refused("prices: {cloud: {m: }}\n");
	assert_refused("prices: [a]\n");
	assert_refused("- a\n");
	assert_refused("prices: {\n");
	assert_refused("");
}

static void
a_price_reads_as_it_was_written(void **state)
{
	struct price p = {.hour_begin = 16,
	    .hour_end = 24,
	    .input_pusd = 1,
	    .input_cached_pusd = 1,
	    .cache_write_pusd = 3000000,
	    .request_pusd = 5000000000};
	struct buf out = {0};

	(void)state;
	price_write(&out, &p, false);
	buf_put(&out, "", 1);
	assert_string_equal(buf_data(&out),
	    "{hours: 16-24, input: 0.000001, cache_write: 3.00, output: 0.00, "
	    "request: 0.005}");
	buf_release(&out);
}

static void
the_models_that_cost_are_found(void **state)
{
	static const char text[] =
	    "upstreams:\n"
	    "  local: {url: http://10.0.0.1:8000}\n"
	    "  cloud: {url: https://api.x.ai/v1, kind: xai}\n"
	    "  openai: {url: https://api.openai.com/v1, paid: true}\n"
	    "  secret: {url: '${env:URL}', kind: fireworks}\n"
	    "  off: {url: http://h/v1, kind: deepseek, paid: false}\n"
	    "models:\n"
	    "  a: {routes: [{to: local, model: l}, {to: cloud, model: g}]}\n"
	    "  b: {routes: [{to: cloud, model: g}, {to: openai, model: o}]}\n"
	    "  c: {routes: [{to: off, model: d}, {to: secret, model: f}],\n"
	    "      compare: {to: off, model: e}}\n"
	    "  d: {routes: [{to: nowhere, model: x}, 7]}\n"
	    "prices:\n"
	    "  cloud: {g: [{input: 1, output: 2}], old: []}\n"
	    "  gone: {x: [{input: 1, output: 2}]}\n";
	static const char *const expected[] = {"cloud g api.x.ai 1",
	    "openai o api.openai.com 0", "secret f  0", "off e h 0",
	    "cloud old api.x.ai 0"};
	struct diagnostics found = {0};
	struct price_places places;
	struct arena a;

	(void)state;
	arena_init(&a);
	assert_true(price_places_read(slice_of(text), &a, &places, &found));
	assert_int_equal(places.count, COUNT_OF(expected));
	for (size_t i = 0; i < places.count; i++) {
		const struct price_place *p = &places.all[i];

		assert_string_equal(
		    arena_printf(&a, "%s %s %.*s %zu", p->upstream, p->model,
			(int)p->host.len, p->host.p, p->prices.count),
		    expected[i]);
	}
	assert_int_equal(places.all[0].kind, KIND_XAI);
	arena_release(&a);
	diagnostics_release(&found);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_price_is_added_to_a_list_of_lines),
	    cmocka_unit_test(a_price_is_added_within_brackets),
	    cmocka_unit_test(a_file_of_json_stays_json),
	    cmocka_unit_test(what_is_missing_on_the_way_is_added),
	    cmocka_unit_test(line_ends_and_letters_of_all_kinds_are_kept),
	    cmocka_unit_test(what_stands_in_two_places_is_not_touched),
	    cmocka_unit_test(a_price_reads_as_it_was_written),
	    cmocka_unit_test(the_models_that_cost_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
