/*
 * Any bytes as keys.json: refused with a reason, or a table that answers.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/key_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* Every record that was taken is whole, and found by its id. */
static void
look_at(const struct key_table *t)
{
	for (size_t i = 0; i < key_table_count(t); i++) {
		const struct key_record *r = key_table_at(t, i);

		must(key_table_find(t, r->id) == r);
		must(r->user != NULL && r->user[0] != '\0');
		must((r->models == NULL) == (r->model_count == 0));
		for (size_t k = 0; k < r->model_count; k++)
			must(r->models[k] != NULL && r->models[k][0] != '\0');
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t pepper[PEPPER_BYTES] = {1};
	struct slice text = {(const char *)data, size};
	const struct key_record *r;
	struct key_hasher *h;
	struct key_table *t;
	struct fault why = {""};

	t = key_table_parse(text, pepper, &why);
	if (t == NULL) {
		must(why.text[0] != '\0');
		return 0;
	}
	look_at(t);
	h = key_table_hasher(t);
	must(key_table_check(t, h, text, 1, &r) != KEY_OK);
	key_hasher_destroy(&h);
	key_table_unref(&t);
	return 0;
}
