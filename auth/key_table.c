#include "auth/key_table.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "auth/state_read.h"
#include "base/buf.h"
#include "base/mem.h"

#include "base/banned.h"

struct key_table {
	unsigned refs; /* atomic */
	struct arena memory;
	struct key_record *records; /* in memory; in the order of the file */
	size_t count;
	uint32_t *slots; /* in memory; by hash of the id: 1 + index, or 0 */
	size_t slot_mask;
	uint8_t pepper[PEPPER_BYTES]; /* zeros if there is none */
};

static bool
read_id(json_t *object, char out[KEY_ID_CHARS + 1], struct fault *why)
{
	const char *id = json_string_value(json_object_get(object, "id"));

	if (id == NULL || strlen(id) != KEY_ID_CHARS)
		return fault_set(why, "\"id\" is missing or not an id");
	for (size_t i = 0; i < KEY_ID_CHARS; i++)
		if (!((id[i] >= 'a' && id[i] <= 'z') ||
			(id[i] >= '0' && id[i] <= '9')))
			return fault_set(why, "\"id\" is not an id");
	memcpy(out, id, KEY_ID_CHARS + 1);
	return true;
}

bool
key_class_parse(struct slice word, enum key_class *out)
{
	for (int c = KEY_CLASS_INTERACTIVE; c <= KEY_CLASS_BATCH; c++)
		if (slice_is(word, key_class_name((enum key_class)c))) {
			*out = (enum key_class)c;
			return true;
		}
	return false;
}

const char *
key_class_name(enum key_class c)
{
	switch (c) {
	case KEY_CLASS_INTERACTIVE:
		return "interactive";
	case KEY_CLASS_BATCH:
		return "batch";
	case KEY_CLASS_UNSAID:
		break;
	}
	return NULL;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool
read_hash(json_t *object, uint8_t out[KEY_HASH_BYTES], struct fault *why)
{
	const char *text = json_string_value(json_object_get(object, "hash"));

	if (text == NULL || strlen(text) != 2 * KEY_HASH_BYTES)
		return fault_set(why, "\"hash\" is missing or not a hash");
	for (size_t i = 0; i < KEY_HASH_BYTES; i++) {
		int high = hex_digit(text[2 * i]);
		int low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return fault_set(why, "\"hash\" is not a hash");
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* An empty list is refused: one reader would take it for "no model", another
 * for "no limit". */
static bool
read_models(struct key_table *t, json_t *object, struct key_record *r,
    struct fault *why)
{
	json_t *list = json_object_get(object, "models"), *value;
	size_t i;

	if (list == NULL)
		return true;
	r->model_count = json_array_size(list); /* 0 for what is no array */
	if (r->model_count == 0 || r->model_count > KEY_FILE_MODELS_MOST)
		return fault_set(why, "\"models\" is not a list of 1 to %d",
		    KEY_FILE_MODELS_MOST);
	r->models = arena_alloc(&t->memory, r->model_count * sizeof *r->models);
	json_array_foreach(list, i, value)
	{
		if (!json_is_string(value) ||
		    !state_is_text(
			json_string_value(value), json_string_length(value)))
			return fault_set(
			    why, "\"models\" holds what is no name");
		r->models[i] = arena_strndup(&t->memory,
		    json_string_value(value), json_string_length(value));
	}
	return true;
}

static bool
read_class(json_t *object, enum key_class *out, struct fault *why)
{
	json_t *value = json_object_get(object, "class");
	struct slice word = {
	    json_string_value(value), json_string_length(value)};

	*out = KEY_CLASS_UNSAID;
	if (value == NULL || key_class_parse(word, out))
		return true;
	return fault_set(why, "\"class\" is none of interactive, batch");
}

static bool
read_record(struct key_table *t, json_t *object, struct key_record *r,
    struct fault *why)
{
	static const char *const known[] = {"id", "user", "name", "models",
	    "class", "limits", "created_ms", "expires_ms", "revoked_ms",
	    "hash"};

	r->limits = limits_none();
	if (!state_has_only(object, known, COUNT_OF(known), why) ||
	    !read_id(object, r->id, why) ||
	    !state_read_text(object, "user", &t->memory, &r->user, why) ||
	    !state_read_text(object, "name", &t->memory, &r->name, why) ||
	    !read_models(t, object, r, why) ||
	    !read_class(object, &r->class, why) ||
	    !state_read_limits(object, &r->limits, why) ||
	    !state_read_time(object, "created_ms", &r->created_ms, why) ||
	    !state_read_time(object, "expires_ms", &r->expires_ms, why) ||
	    !state_read_time(object, "revoked_ms", &r->revoked_ms, why) ||
	    !read_hash(object, r->hash, why))
		return false;
	if (r->user == NULL)
		return fault_set(why, "\"user\" is missing");
	return true;
}

/* The slot of this id, or the empty one where it would be. */
static uint32_t *
slot_of(const struct key_table *t, const char *id)
{
	size_t at = (size_t)text_hash(id, KEY_ID_CHARS) & t->slot_mask;

	while (t->slots[at] != 0 &&
	    memcmp(t->records[t->slots[at] - 1].id, id, KEY_ID_CHARS) != 0)
		at = (at + 1) & t->slot_mask;
	return &t->slots[at];
}

/* At most half of the slots are ever taken, so that a search ends. */
static void
make_room(struct key_table *t, size_t count)
{
	size_t slots = 4;

	while (slots < 2 * count)
		slots *= 2;
	t->records = arena_alloc(&t->memory, count * sizeof *t->records);
	t->slots = arena_alloc(&t->memory, slots * sizeof *t->slots);
	t->slot_mask = slots - 1;
}

static bool
read_records(struct key_table *t, json_t *keys, struct fault *why)
{
	struct fault what;
	json_t *object;
	size_t i;

	make_room(t, json_array_size(keys));
	json_array_foreach(keys, i, object)
	{
		struct key_record *r = &t->records[i];
		uint32_t *slot;

		if (!read_record(t, object, r, &what))
			return fault_set(
			    why, "key number %zu: %s", i + 1, what.text);
		slot = slot_of(t, r->id);
		if (*slot != 0)
			return fault_set(
			    why, "id %s stands there twice", r->id);
		t->count = i + 1;
		*slot = (uint32_t)t->count;
	}
	return true;
}

static struct key_table *
table_create(void)
{
	struct key_table *t = xcalloc(sizeof *t);

	t->refs = 1;
	arena_init(&t->memory);
	make_room(t, 0);
	return t;
}

struct key_table *
key_table_parse(struct slice json, const uint8_t *pepper, struct fault *why)
{
	struct key_table *t = table_create();
	json_t *keys, *document = state_file_parse(json, "keys", &keys, why);
	bool ok;

	if (pepper != NULL)
		memcpy(t->pepper, pepper, PEPPER_BYTES);
	ok = document != NULL && read_records(t, keys, why);
	if (ok && pepper == NULL && t->count > 0)
		ok = fault_set(why,
		    "it has keys, but there is no pepper to check "
		    "them with");
	json_decref(document);
	if (!ok)
		key_table_unref(&t);
	return t;
}

/* Sets *has_it; without one that is all. */
static bool
read_pepper(const char *state_dir, bool any_owner, uint8_t pepper[PEPPER_BYTES],
    bool *has_it, struct fault *why)
{
	struct buf bytes = {0};
	enum state_presence found = state_file_read(
	    state_dir, PEPPER_FILE_NAME, PEPPER_BYTES, any_owner, &bytes, why);
	bool ok = found != STATE_IS_BAD;

	*has_it = found == STATE_IS_THERE;
	if (*has_it && buf_len(&bytes) != PEPPER_BYTES)
		ok = fault_set(why,
		    "%s/%s is damaged: it has %zu bytes, not %d", state_dir,
		    PEPPER_FILE_NAME, buf_len(&bytes), PEPPER_BYTES);
	else if (*has_it)
		memcpy(pepper, buf_data(&bytes), PEPPER_BYTES);
	if (bytes.base != NULL)
		explicit_bzero(bytes.base, bytes.room);
	buf_release(&bytes);
	return ok;
}

static struct key_table *
load(const char *state_dir, bool any_owner, struct fault *why)
{
	static const struct slice no_keys =
	    SLICE("{\"version\":1,\"keys\":[]}");
	uint8_t pepper[PEPPER_BYTES];
	struct key_table *t = NULL;
	struct buf text = {0};
	struct slice json;
	struct fault what;
	bool has_pepper;
	enum state_presence found;

	/* The pepper second: it is made before the first key is written, so
	 * whoever has seen a key also finds it. */
	found = state_file_read(state_dir, KEY_FILE_NAME, KEY_FILE_MOST_BYTES,
	    any_owner, &text, why);
	if (found == STATE_IS_BAD ||
	    !read_pepper(state_dir, any_owner, pepper, &has_pepper, why))
		goto out;
	json = found == STATE_IS_MISSING
	    ? no_keys
	    : (struct slice){buf_data(&text), buf_len(&text)};
	t = key_table_parse(json, has_pepper ? pepper : NULL, &what);
	if (t == NULL)
		fault_set(why, "cannot use %s/%s: %s", state_dir, KEY_FILE_NAME,
		    what.text);
out:
	explicit_bzero(pepper, sizeof pepper);
	buf_release(&text);
	return t;
}

struct key_table *
key_table_load(const char *state_dir, struct fault *why)
{
	return load(state_dir, false, why);
}

struct key_table *
key_table_load_as_admin(const char *state_dir, struct fault *why)
{
	return load(state_dir, true, why);
}

struct key_table *
key_table_ref(struct key_table *t)
{
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void
key_table_unref(struct key_table **tp)
{
	struct key_table *t = *tp;

	*tp = NULL;
	if (t == NULL || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	arena_release(&t->memory);
	secret_free(t, sizeof *t);
}

size_t
key_table_count(const struct key_table *t)
{
	return t->count;
}

const struct key_record *
key_table_at(const struct key_table *t, size_t i)
{
	return &t->records[i];
}

struct key_hasher *
key_table_hasher(const struct key_table *t)
{
	return key_hasher_create(t->pepper);
}

const struct key_record *
key_table_find(const struct key_table *t, const char *id)
{
	uint32_t slot;

	if (strnlen(id, KEY_ID_CHARS + 1) != KEY_ID_CHARS)
		return NULL;
	slot = *slot_of(t, id);
	return slot == 0 ? NULL : &t->records[slot - 1];
}

enum key_verdict
key_record_state(const struct key_record *r, int64_t wall_ms)
{
	if (r->revoked_ms != 0 && wall_ms >= r->revoked_ms)
		return KEY_REVOKED;
	if (r->expires_ms != 0 && wall_ms >= r->expires_ms)
		return KEY_EXPIRED;
	return KEY_OK;
}

enum key_verdict
key_table_check(const struct key_table *t, struct key_hasher *h,
    struct slice key, int64_t wall_ms, const struct key_record **record)
{
	static const struct key_record nobody; /* compared with all the same */
	uint8_t hash[KEY_HASH_BYTES];
	const struct key_record *r;
	uint32_t slot;

	*record = NULL;
	switch (key_form(key)) {
	case KEY_FORM_OK:
		break;
	case KEY_FORM_FOREIGN:
		return KEY_FOREIGN;
	case KEY_FORM_MISTYPED:
		return KEY_MISTYPED;
	}
	key_hash(h, key, hash);
	slot = *slot_of(t, key_id(key).p);
	r = slot == 0 ? &nobody : &t->records[slot - 1];
	if (CRYPTO_memcmp(hash, r->hash, sizeof hash) != 0 || slot == 0)
		return KEY_UNKNOWN;
	*record = r;
	return key_record_state(r, wall_ms);
}
