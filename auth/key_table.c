#include "auth/key_table.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include "base/banned.h"

#define FILE_VERSION 1

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
is_text(const char *p, size_t len)
{
	return len > 0 && len <= KEY_FILE_TEXT_MOST &&
	    text_is_clean_utf8(p, len);
}

/* A member that is there must be a clean, short text. */
static bool
read_text(struct key_table *t, json_t *object, const char *member, char **out,
    struct fault *why)
{
	json_t *value = json_object_get(object, member);

	*out = NULL;
	if (value == NULL)
		return true;
	if (!json_is_string(value) ||
	    !is_text(json_string_value(value), json_string_length(value)))
		return fault_set(why, "\"%s\" is not a text of 1 to %d bytes",
		    member, KEY_FILE_TEXT_MOST);
	*out = arena_strndup(
	    &t->memory, json_string_value(value), json_string_length(value));
	return true;
}

static bool
read_time(json_t *object, const char *member, int64_t *out, struct fault *why)
{
	json_t *value = json_object_get(object, member);

	*out = 0;
	if (value == NULL)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return fault_set(why, "\"%s\" is not a time", member);
	*out = json_integer_value(value);
	return true;
}

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
		    !is_text(
			json_string_value(value), json_string_length(value)))
			return fault_set(
			    why, "\"models\" holds what is no name");
		r->models[i] = arena_strndup(&t->memory,
		    json_string_value(value), json_string_length(value));
	}
	return true;
}

/* What a later version means by a member that we do not know may be a limit:
 * ignoring it would let in too much. */
static bool
knows_members(
    json_t *object, const char *const *known, size_t count, struct fault *why)
{
	const char *member;
	json_t *value;

	if (!json_is_object(object))
		return fault_set(why, "it is not an object");
	json_object_foreach(object, member, value)
	{
		size_t i = 0;

		while (i < count && strcmp(known[i], member) != 0)
			i++;
		if (i == count)
			return fault_set(why,
			    "member \"%.40s\" is not known to this version",
			    member);
	}
	return true;
}

static bool
read_record(struct key_table *t, json_t *object, struct key_record *r,
    struct fault *why)
{
	static const char *const known[] = {"id", "user", "name", "models",
	    "created_ms", "expires_ms", "revoked_ms", "hash"};

	if (!knows_members(object, known, COUNT_OF(known), why) ||
	    !read_id(object, r->id, why) ||
	    !read_text(t, object, "user", &r->user, why) ||
	    !read_text(t, object, "name", &r->name, why) ||
	    !read_models(t, object, r, why) ||
	    !read_time(object, "created_ms", &r->created_ms, why) ||
	    !read_time(object, "expires_ms", &r->expires_ms, why) ||
	    !read_time(object, "revoked_ms", &r->revoked_ms, why) ||
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

static bool
read_document(struct key_table *t, json_t *document, struct fault *why)
{
	static const char *const known[] = {"version", "keys"};
	json_t *version = json_object_get(document, "version");
	json_t *keys = json_object_get(document, "keys");

	if (!json_is_object(document))
		return fault_set(why, "it is not a JSON object");
	if (!json_is_integer(version))
		return fault_set(why, "\"version\" is missing");
	if (json_integer_value(version) != FILE_VERSION)
		return fault_set(why,
		    "it has version %lld, this program reads version %d",
		    (long long)json_integer_value(version), FILE_VERSION);
	if (!knows_members(document, known, COUNT_OF(known), why))
		return false;
	if (!json_is_array(keys))
		return fault_set(why, "\"keys\" is missing or not a list");
	return read_records(t, keys, why);
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
	json_error_t error;
	json_t *document = NULL;
	bool ok = false;

	if (pepper != NULL)
		memcpy(t->pepper, pepper, PEPPER_BYTES);
	if (json.len == 0) {
		fault_set(why, "it is empty");
		goto out;
	}
	document = json_loadb(json.p, json.len, JSON_REJECT_DUPLICATES, &error);
	if (document == NULL) {
		fault_set(why, "line %d, column %d: %.100s", error.line,
		    error.column, error.text);
		goto out;
	}
	if (!read_document(t, document, why))
		goto out;
	if (pepper == NULL && t->count > 0) {
		fault_set(why,
		    "it has keys, but there is no pepper to check "
		    "them with");
		goto out;
	}
	ok = true;
out:
	json_decref(document);
	if (!ok)
		key_table_unref(&t);
	return t;
}

/* Whether the owner of a file is one whom we would take orders from. */
static bool
is_trusted_owner(uid_t owner, const char *state_dir)
{
	struct stat folder;

	return owner == 0 || owner == geteuid() ||
	    (stat(state_dir, &folder) == 0 && owner == folder.st_uid);
}

enum presence { IS_THERE, IS_MISSING, IS_BAD };

/* Reads one of the two files. */
static enum presence
read_one(const char *state_dir, const char *name, size_t most, bool any_owner,
    struct buf *out, struct fault *why)
{
	char *path = xasprintf("%s/%s", state_dir, name);
	enum presence found = IS_THERE;
	uid_t owner;

	if (!file_read_private(path, most, out, &owner, why)) {
		found = errno == ENOENT ? IS_MISSING : IS_BAD;
	} else if (!any_owner && !is_trusted_owner(owner, state_dir)) {
		fault_set(why,
		    "%s belongs to user number %ld, who is neither "
		    "this user, nor root, nor the folder's owner",
		    path, (long)owner);
		found = IS_BAD;
	}
	free(path);
	return found;
}

/* Sets *has_it; without one that is all. */
static bool
read_pepper(const char *state_dir, bool any_owner, uint8_t pepper[PEPPER_BYTES],
    bool *has_it, struct fault *why)
{
	struct buf bytes = {0};
	enum presence found = read_one(
	    state_dir, PEPPER_FILE_NAME, PEPPER_BYTES, any_owner, &bytes, why);
	bool ok = found != IS_BAD;

	*has_it = found == IS_THERE;
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
	enum presence found;

	/* The pepper second: it is made before the first key is written, so
	 * whoever has seen a key also finds it. */
	found = read_one(state_dir, KEY_FILE_NAME, KEY_FILE_MOST_BYTES,
	    any_owner, &text, why);
	if (found == IS_BAD ||
	    !read_pepper(state_dir, any_owner, pepper, &has_pepper, why))
		goto out;
	json = found == IS_MISSING
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
