#include "metering/price_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"

static void
read_map(const char *name, struct price_map *m)
{
	struct buf text = {0};
	struct fault why;
	char path[512];

	snprintf(path, sizeof path, "%s/prices/%s", TEST_DATA, name);
	assert_true(file_read(path, PRICE_MAP_MOST_BYTES, false, &text, &why));
	assert_true(price_map_read(
	    (struct slice){buf_data(&text), buf_len(&text)}, m, &why));
	/* Nothing of the map is borrowed from the text. */
	memset(text.base, 'x', text.room);
	buf_release(&text);
}

static void
litellm_prices_are_dollars_a_token(void **state)
{
	const struct price_offer *o;
	struct price_map m;

	(void)state;
	read_map("litellm.json", &m);
	assert_int_equal(m.form, PRICE_MAP_LITELLM);
	o = price_map_find(
	    &m, "fireworks_ai", "accounts/fireworks/models/deepseek-v4-pro");
	assert_non_null(o);
	assert_int_equal(o->input_pusd, 1740000);
	assert_int_equal(o->input_cached_pusd, 145000);
	assert_int_equal(o->cache_write_pusd, -1);
	assert_int_equal(o->output_pusd, 3480000);
	assert_int_equal(o->request_pusd, -1);
	assert_null(o->not_covered);
	assert_null(o->damage);
	o = price_map_find(&m, "openrouter", "open/per-request");
	assert_non_null(o);
	assert_int_equal(o->request_pusd, INT64_C(5000000000));
	assert_null(price_map_find(&m, "one of the providers", "sample_spec"));
	price_map_release(&m);
}

static void
a_models_dev_price_is_dollars_a_million(void **state)
{
	const struct price_offer *o;
	struct price_map m;

	(void)state;
	read_map("models_dev.json", &m);
	assert_int_equal(m.form, PRICE_MAP_MODELS_DEV);
	o = price_map_find(
	    &m, "fireworks-ai", "accounts/fireworks/models/deepseek-v4-pro");
	assert_non_null(o);
	assert_int_equal(o->input_pusd, 1500000);
	assert_int_equal(o->input_cached_pusd, 150000);
	assert_int_equal(o->output_pusd, 3000000);
	o = price_map_find(&m, "anthropic", "claude-ocean-5");
	assert_non_null(o);
	assert_int_equal(o->input_cached_pusd, 300000);
	assert_int_equal(o->cache_write_pusd, 3750000);
	o = price_map_find(&m, "xai", "grok-free");
	assert_non_null(o);
	assert_int_equal(o->input_pusd, -1);
	price_map_release(&m);
}

static void
the_key_that_names_the_provider_goes_first(void **state)
{
	const struct price_offer *o;
	struct price_map m;

	(void)state;
	read_map("litellm.json", &m);
	o = price_map_find(&m, "deepseek", "deepseek-reef");
	assert_non_null(o);
	assert_int_equal(o->input_pusd, 280000);
	assert_int_equal(o->input_cached_pusd, 28000);
	/* Another provider's model of that name is another model. */
	o = price_map_find(&m, "anthropic", "claude-ocean-5");
	assert_non_null(o);
	assert_int_equal(o->input_pusd, 3000000);
	assert_null(price_map_find(&m, "xai", "claude-ocean-5"));
	price_map_release(&m);
}

static void
what_we_do_not_count_is_told_by_name(void **state)
{
	struct price_map m;

	(void)state;
	read_map("litellm.json", &m);
	assert_string_equal(
	    price_map_find(&m, "anthropic", "claude-ocean-5")->not_covered,
	    "cache_creation_input_token_cost_above_200k_tokens, "
	    "input_cost_per_token_above_200k_tokens, "
	    "output_cost_per_token_above_200k_tokens");
	assert_string_equal(price_map_find(&m, "xai", "grok-tide")->not_covered,
	    "tiered_pricing, reasoning tokens");
	/* Reasoning at the price of other answer tokens is nothing special. */
	assert_null(
	    price_map_find(&m, "deepseek", "deepseek-reef")->not_covered);
	price_map_release(&m);
	read_map("models_dev.json", &m);
	assert_string_equal(price_map_find(&m, "xai", "grok-tide")->not_covered,
	    "tiers, context_over_200k");
	price_map_release(&m);
}

static void
a_price_that_cannot_be_said_is_damage(void **state)
{
	const struct price_offer *o;
	struct price_map m;

	(void)state;
	read_map("litellm.json", &m);
	o = price_map_find(&m, "openrouter", "open/odd-\xc3\xa9");
	assert_non_null(o);
	assert_string_equal(o->damage,
	    "input_cost_per_token: 1e-13 is finer than a pico-dollar a token");
	price_map_release(&m);
}

static void
providers_are_known_by_kind_or_host(void **state)
{
	struct price_map m = {.form = PRICE_MAP_LITELLM};

	(void)state;
	assert_string_equal(
	    price_map_provider(&m, KIND_FIREWORKS, SLICE("10.0.0.1")),
	    "fireworks_ai");
	assert_string_equal(
	    price_map_provider(&m, KIND_OPENAI, SLICE("API.openai.com")),
	    "openai");
	assert_string_equal(
	    price_map_provider(&m, KIND_OPENAI, SLICE("api.x.ai")), "xai");
	assert_null(price_map_provider(&m, KIND_OPENAI, SLICE("10.0.0.1")));
	assert_null(price_map_provider(&m, KIND_VLLM, SLICE("")));
	m.form = PRICE_MAP_MODELS_DEV;
	assert_string_equal(
	    price_map_provider(&m, KIND_FIREWORKS, SLICE("")), "fireworks-ai");
}

static void
what_is_no_price_map_is_refused(void **state)
{
	static const char *const bad[] = {"", "{}", "[]", "{\"a\":{\"b\":1}}",
	    "{\"a\":{\"litellm_provider\":\"x\"}", "7",
	    "{\"a\":{\"litellm_provider\":\"x\"},"
	    "\"b\":{\"models\":{\"m\":{}}}}"};
	struct price_map m;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		why.text[0] = '\0';
		assert_false(price_map_read(slice_of(bad[i]), &m, &why));
		assert_string_not_equal(why.text, "");
		price_map_release(&m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(litellm_prices_are_dollars_a_token),
	    cmocka_unit_test(a_models_dev_price_is_dollars_a_million),
	    cmocka_unit_test(the_key_that_names_the_provider_goes_first),
	    cmocka_unit_test(what_we_do_not_count_is_told_by_name),
	    cmocka_unit_test(a_price_that_cannot_be_said_is_damage),
	    cmocka_unit_test(providers_are_known_by_kind_or_host),
	    cmocka_unit_test(what_is_no_price_map_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
