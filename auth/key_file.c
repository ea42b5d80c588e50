#include "auth/key_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/text.h"

#include "base/banned.h"

#define LOCK_FILE_NAME "keys.lock"
#define MAKE_TRIES_MOST 64 /* ids that were taken already */

/* The folder, held: nobody else changes its files meanwhile. */
struct hold {
	const char *state_dir;   /* borrowed: from the caller */
	int lock;                /* -1: none */
	struct key_table *table; /* owned: a reference */
};

static void
hold_release(struct hold *h)
{
	key_table_unref(&h->table);
	if (h->lock >= 0)
		close(h->lock);
	h->lock = -1;
}

/* Takes the lock and reads what is there.  The caller releases it, also when
 * this has failed. */
static bool
hold_take(struct hold *h, const char *state_dir, struct fault *why)
{
	*h = (struct hold){.state_dir = state_dir};
	h->lock = state_file_lock(state_dir, LOCK_FILE_NAME, why);
	if (h->lock >= 0)
		h->table = key_table_load_as_admin(state_dir, why);
	return h->table != NULL;
}

/* Makes the pepper if there is none.  With keys in the table there is one, else
 * it would not have been read. */
static bool
need_pepper(struct hold *h, struct fault *why)
{
	char *path = xasprintf("%s/%s", h->state_dir, PEPPER_FILE_NAME);
	uint8_t pepper[PEPPER_BYTES];
	struct stat st;
	bool ok = true;

	if (lstat(path, &st) != 0) {
		ok = random_fill(pepper, sizeof pepper, why) &&
		    file_replace(path, pepper, sizeof pepper, 0600, why);
		explicit_bzero(pepper, sizeof pepper);
		key_table_unref(&h->table);
		if (ok)
			h->table = key_table_load_as_admin(h->state_dir, why);
		ok = h->table != NULL;
	}
	free(path);
	return ok;
}

static void
write_hash(struct json_out *o, const uint8_t hash[KEY_HASH_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * KEY_HASH_BYTES];

	for (size_t i = 0; i < KEY_HASH_BYTES; i++) {
		text[2 * i] = digits[hash[i] >> 4];
		text[2 * i + 1] = digits[hash[i] & 15];
	}
	json_member_string(o, "hash", (struct slice){text, sizeof text});
}

static void
write_record(struct json_out *o, const struct key_record *r)
{
	json_open(o, '{');
	json_member_string(o, "id", slice_of(r->id));
	json_member_string(o, "user", slice_of(r->user));
	if (r->name != NULL)
		json_member_string(o, "name", slice_of(r->name));
	if (r->models != NULL) {
		json_key(o, "models");
		json_open(o, '[');
		for (size_t i = 0; i < r->model_count; i++)
			json_string(o, slice_of(r->models[i]));
		json_close(o, ']');
	}
	if (r->class != KEY_CLASS_UNSAID)
		json_member_string(
		    o, "class", slice_of(key_class_name(r->class)));
	state_write_limits(o, &r->limits);
	if (r->created_ms != 0)
		json_member_int(o, "created_ms", r->created_ms);
	if (r->expires_ms != 0)
		json_member_int(o, "expires_ms", r->expires_ms);
	if (r->revoked_ms != 0)
		json_member_int(o, "revoked_ms", r->revoked_ms);
	write_hash(o, r->hash);
	json_close(o, '}');
}

/* Writes all records, with `changed` in the place of the one with
 * its id and `added` behind them; both may be NULL. */
static bool
hold_write(struct hold *h, const struct key_record *changed,
    const struct key_record *added, struct fault *why)
{
	struct buf text = {0};
	struct json_out o = state_file_begin(&text, "keys");
	bool ok;

	for (size_t i = 0; i < key_table_count(h->table); i++) {
		const struct key_record *r = key_table_at(h->table, i);

		if (changed != NULL && strcmp(r->id, changed->id) == 0)
			r = changed;
		write_record(&o, r);
	}
	if (added != NULL)
		write_record(&o, added);
	ok = state_file_replace(
	    &o, h->state_dir, KEY_FILE_NAME, KEY_FILE_MOST_BYTES, why);
	buf_release(&text);
	return ok;
}

/* A key whose id nobody has, and what is kept of it. */
static bool
make_key(struct hold *h, struct key_record *r, char out[KEY_CHARS + 1],
    struct fault *why)
{
	struct slice key = {out, KEY_CHARS};
	struct key_hasher *hasher;
	int tries = 0;

	do {
		if (tries++ == MAKE_TRIES_MOST)
			return fault_set(why, "found no free id for a key");
		if (!key_make(out, why))
			return false;
		memcpy(r->id, key_id(key).p, KEY_ID_CHARS);
		r->id[KEY_ID_CHARS] = '\0';
	} while (key_table_find(h->table, r->id) != NULL);
	hasher = key_table_hasher(h->table);
	key_hash(hasher, key, r->hash);
	key_hasher_destroy(&hasher);
	return true;
}

static bool
check_request(const struct key_request *q, struct fault *why)
{
	if (!state_check_text("user", q->user, why) ||
	    (q->name != NULL && !state_check_text("name", q->name, why)))
		return false;
	if (q->models == NULL)
		return true;
	if (q->model_count == 0 || q->model_count > KEY_FILE_MODELS_MOST)
		return fault_set(
		    why, "a key names 1 to %d models", KEY_FILE_MODELS_MOST);
	for (size_t i = 0; i < q->model_count; i++)
		if (!state_check_text("model", q->models[i], why))
			return false;
	return true;
}

bool
key_file_issue(const char *state_dir, const struct key_request *request,
    int64_t now_ms, char out[KEY_CHARS + 1], struct fault *why)
{
	struct key_record r = {
	    .user = (char *)request->user,
	    .name = (char *)request->name,
	    .models = (char **)request->models,
	    .model_count = request->model_count,
	    .class = request->class,
	    .limits =
		request->limits == NULL ? limits_none() : *request->limits,
	    .created_ms = now_ms,
	    .expires_ms = request->expires_ms,
	};
	struct hold h = {.lock = -1};
	bool ok;

	ok = check_request(request, why) && hold_take(&h, state_dir, why) &&
	    need_pepper(&h, why) && make_key(&h, &r, out, why) &&
	    hold_write(&h, NULL, &r, why);
	hold_release(&h);
	if (!ok)
		explicit_bzero(out, KEY_CHARS + 1);
	return ok;
}

static enum key_change
revoke_held(struct hold *h, const char *id, int64_t now_ms, struct fault *why)
{
	const struct key_record *old = key_table_find(h->table, id);
	struct key_record changed;

	if (old == NULL)
		return KEY_NOT_FOUND;
	if (key_record_state(old, now_ms) == KEY_REVOKED)
		return KEY_WAS_REVOKED;
	changed = *old;
	changed.revoked_ms = now_ms;
	return hold_write(h, &changed, NULL, why) ? KEY_CHANGED : KEY_FAILED;
}

enum key_change
key_file_revoke(
    const char *state_dir, const char *id, int64_t now_ms, struct fault *why)
{
	enum key_change done = KEY_FAILED;
	struct hold h;

	if (hold_take(&h, state_dir, why))
		done = revoke_held(&h, id, now_ms, why);
	hold_release(&h);
	return done;
}

static enum key_change
rotate_held(struct hold *h, const char *id, uint64_t grace_ms, int64_t now_ms,
    char out[KEY_CHARS + 1], struct fault *why)
{
	const struct key_record *old = key_table_find(h->table, id);
	struct key_record changed, added;

	if (old == NULL)
		return KEY_NOT_FOUND;
	if (old->revoked_ms != 0)
		return KEY_WAS_REVOKED; /* or has a successor already */
	if (key_record_state(old, now_ms) == KEY_EXPIRED) {
		fault_set(
		    why, "%s has expired, and so would its successor", id);
		return KEY_FAILED;
	}
	changed = added = *old;
	if (grace_ms > INT64_MAX / 2 || now_ms > INT64_MAX / 2)
		changed.revoked_ms = INT64_MAX;
	else
		changed.revoked_ms = now_ms + (int64_t)grace_ms;
	added.created_ms = now_ms;
	if (!make_key(h, &added, out, why) ||
	    !hold_write(h, &changed, &added, why)) {
		explicit_bzero(out, KEY_CHARS + 1);
		return KEY_FAILED;
	}
	return KEY_CHANGED;
}

enum key_change
key_file_rotate(const char *state_dir, const char *id, uint64_t grace_ms,
    int64_t now_ms, char out[KEY_CHARS + 1], struct fault *why)
{
	enum key_change done = KEY_FAILED;
	struct hold h;

	if (hold_take(&h, state_dir, why))
		done = rotate_held(&h, id, grace_ms, now_ms, out, why);
	hold_release(&h);
	return done;
}
