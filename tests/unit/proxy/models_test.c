#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "proxy/models.h"

static const char text[] =
    "version: 1\n"
    "server: {state_dir: /tmp/weir-models-test}\n"
    "upstreams:\n"
    "  spark: {url: \"http://127.0.0.1:1/v1\"}\n"
    "  cloud: {url: \"https://cloud.example/v1\", paid: true}\n"
    "models:\n"
    "  big:\n"
    "    aliases: [gpt-4o, \"org/big\"]\n"
    "    list_aliases: true\n"
    "    name: Big one\n"
    "    description: the \"large\" model\n"
    "    context: 200000\n"
    "    input: [text, image]\n"
    "    routes: [{to: spark, model: b}]\n"
    "  quiet:\n"
    "    aliases: [hidden]\n"
    "    routes: [{to: spark, model: q}]\n"
    "  embed:\n"
    "    type: embedding\n"
    "    routes: [{to: spark, model: e}]\n"
    "  rank:\n"
    "    type: rerank\n"
    "    routes: [{to: spark, model: r}]\n"
    "users:\n"
    "  ann: {models: [big, quiet, embed, rank]}\n"
    "  bob: {models: [quiet]}\n";

static struct config *config;
static const struct user_config *ann, *bob;

static int
start(void **state)
{
	const struct config_env env = {.default_state_dir = "/tmp"};
	struct diagnostics found = {0};

	(void)state;
	config = config_parse("weir.yaml", SLICE(text), &env, &found);
	for (size_t i = 0; config == NULL && i < found.count; i++)
		print_error(
		    "line %u: %s\n", found.all[i].line, found.all[i].message);
	diagnostics_release(&found);
	if (config == NULL)
		return -1;
	ann = config_user(config, SLICE("ann"));
	bob = config_user(config, SLICE("bob"));
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	config_unref(&config);
	return 0;
}

static json_t *
load(struct buf *to)
{
	json_error_t error;
	json_t *j = json_loadb(
	    buf_data(to), buf_len(to), JSON_REJECT_DUPLICATES, &error);

	if (j == NULL)
		fail_msg("%s", error.text);
	buf_release(to);
	return j;
}

/* The model of this id; NULL if there is none. */
static json_t *
one(const struct user_config *u, const struct key_record *r, const char *id)
{
	struct buf to = {0};

	if (models_write_one(u, r, config, slice_of(id), &to))
		return load(&to);
	assert_int_equal(buf_len(&to), 0);
	return NULL;
}

static const char *
text_of(json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

/* The id that one() answers with; "" for none. */
static void
assert_id(const struct user_config *u, const char *asked, const char *id)
{
	json_t *j = one(u, NULL, asked);

	assert_string_equal(j == NULL ? "" : text_of(j, "id"), id);
	json_decref(j);
}

static void
assert_list(const struct user_config *u, const struct key_record *r,
    const char *const *ids, size_t count)
{
	struct buf to = {0};
	json_t *j, *data;

	models_write_list(u, r, config, &to);
	j = load(&to);
	data = json_object_get(j, "data");
	assert_string_equal(text_of(j, "object"), "list");
	assert_true(json_is_false(json_object_get(j, "has_more")));
	assert_int_equal(json_array_size(data), count);
	for (size_t i = 0; i < count; i++)
		assert_string_equal(
		    text_of(json_array_get(data, i), "id"), ids[i]);
	if (count > 0) {
		assert_string_equal(text_of(j, "first_id"), ids[0]);
		assert_string_equal(text_of(j, "last_id"), ids[count - 1]);
	} else {
		assert_true(json_is_null(json_object_get(j, "first_id")));
		assert_true(json_is_null(json_object_get(j, "last_id")));
	}
	json_decref(j);
}

static void
the_list_has_what_the_user_may_use(void **state)
{
	const char *const all[] = {
	    "big", "gpt-4o", "org/big", "quiet", "embed", "rank"};
	const char *const few[] = {"quiet"};

	(void)state;
	assert_list(ann, NULL, all, COUNT_OF(all));
	assert_list(bob, NULL, few, COUNT_OF(few));
}

static void
a_key_narrows_what_its_user_may_use(void **state)
{
	char *names[] = {"embed", "quiet", "unknown"};
	struct key_record r = {.models = names, .model_count = 3};
	struct key_record nothing = {.models = names, .model_count = 0};
	const char *const narrowed[] = {"quiet", "embed"};
	const char *const few[] = {"quiet"};

	(void)state;
	assert_list(ann, &r, narrowed, COUNT_OF(narrowed));
	assert_list(bob, &r, few, COUNT_OF(few));
	assert_list(ann, &nothing, NULL, 0);
	assert_null(one(ann, &r, "big"));
	assert_null(one(bob, &r, "embed"));
}

static void
a_model_is_described_to_every_client(void **state)
{
	json_t *j = one(ann, NULL, "big"), *price, *kinds;

	(void)state;
	assert_non_null(j);
	assert_string_equal(text_of(j, "object"), "model");
	assert_string_equal(text_of(j, "type"), "model");
	assert_string_equal(text_of(j, "display_name"), "Big one");
	assert_string_equal(text_of(j, "description"), "the \"large\" model");
	assert_int_equal(
	    json_integer_value(json_object_get(j, "context_length")), 200000);
	assert_int_equal(
	    json_integer_value(json_object_get(j, "max_model_len")), 200000);
	assert_true(json_is_integer(json_object_get(j, "created")));
	assert_string_equal(text_of(j, "created_at"), "2025-12-01T00:00:00Z");
	price = json_object_get(j, "pricing");
	assert_string_equal(text_of(price, "prompt"), "0");
	assert_string_equal(text_of(price, "completion"), "0");
	kinds = json_object_get(
	    json_object_get(j, "architecture"), "input_modalities");
	assert_int_equal(json_array_size(kinds), 2);
	json_decref(j);
}

static void
what_was_not_said_is_left_out(void **state)
{
	json_t *j = one(ann, NULL, "quiet");

	(void)state;
	assert_string_equal(text_of(j, "display_name"), "quiet");
	assert_null(json_object_get(j, "description"));
	assert_null(json_object_get(j, "context_length"));
	assert_null(json_object_get(j, "max_model_len"));
	json_decref(j);
}

static void
the_type_says_what_comes_out(void **state)
{
	static const struct {
		const char *id, *kind;
	} rows[] = {
	    {"big", "text"}, {"embed", "embeddings"}, {"rank", "rerank"}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		json_t *j = one(ann, NULL, rows[i].id);
		json_t *kinds = json_object_get(
		    json_object_get(j, "architecture"), "output_modalities");

		assert_string_equal(
		    json_string_value(json_array_get(kinds, 0)), rows[i].kind);
		json_decref(j);
	}
}

static void
an_id_is_decoded_once(void **state)
{
	(void)state;
	assert_id(ann, "big", "big");
	assert_id(ann, "%62ig", "big");
	assert_id(ann, "bi%67", "big");
	assert_id(ann, "org/big", "org/big");
	assert_id(ann, "org%2fbig", "org/big");
	assert_id(ann, "org%2Fbig", "org/big");
	assert_id(ann, "org%252Fbig", "");
	assert_id(ann, "hidden", "hidden");
	assert_id(bob, "hidden", "hidden");
}

static void
an_id_that_is_none_finds_nothing(void **state)
{
	static const char *const ids[] = {"", "BIG", "big/", " big", "big%",
	    "big%6", "big%6g", "big%00", "%00", "big%0a", "b%7fig", "big\x01",
	    "org+big"};
	struct buf longest = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		assert_id(ann, ids[i], "");
	assert_id(bob, "big", "");
	for (int i = 0; i < 8000; i++)
		buf_puts(&longest, "b");
	buf_put(&longest, "", 1);
	assert_id(ann, buf_data(&longest), "");
	buf_release(&longest);
}

static void
a_sentence_names_the_models(void **state)
{
	struct key_record nothing = {.models = (char *[]){NULL}};
	struct buf to = {0};

	(void)state;
	models_write_names(ann, NULL, config, &to);
	buf_put(&to, "", 1);
	assert_string_equal(
	    buf_data(&to), " It may use: big, quiet, embed, rank.");
	buf_clear(&to);
	models_write_names(ann, &nothing, config, &to);
	buf_put(&to, "", 1);
	assert_string_equal(buf_data(&to), " It may use no model at all.");
	buf_release(&to);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_list_has_what_the_user_may_use),
	    cmocka_unit_test(a_key_narrows_what_its_user_may_use),
	    cmocka_unit_test(a_model_is_described_to_every_client),
	    cmocka_unit_test(what_was_not_said_is_left_out),
	    cmocka_unit_test(the_type_says_what_comes_out),
	    cmocka_unit_test(an_id_is_decoded_once),
	    cmocka_unit_test(an_id_that_is_none_finds_nothing),
	    cmocka_unit_test(a_sentence_names_the_models),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
