#include "auth/key_file.h"

#include <errno.h>
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

static char *
path_in(const char *state_dir, const char *name)
{
	return xasprintf("%s/%s", state_dir, name);
}

bool
state_dir_is_private(const char *state_dir, struct fault *why)
{
	struct stat st;

	if (stat(state_dir, &st) != 0)
		return errno == ENOENT ||
		    fault_errno(why, "cannot look at %s", state_dir);
	if (!S_ISDIR(st.st_mode))
		return fault_set(why, "%s is not a folder", state_dir);
	if ((st.st_mode & 077) != 0)
		return fault_set(why,
		    "%s is open to others (mode %04o); close it with: "
		    "chmod 700 %s",
		    state_dir, (unsigned)st.st_mode & 07777, state_dir);
	return true;
}

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
	char *path = path_in(state_dir, LOCK_FILE_NAME);

	*h = (struct hold){.state_dir = state_dir, .lock = -1};
	if (folder_make(state_dir, 0700, why) &&
	    (h->lock = file_lock(path, true, why)) >= 0)
		h->table = key_table_load_as_admin(state_dir, why);
	free(path);
	return h->table != NULL;
}

/* Makes the pepper if there is none.  With keys in the table there is one, else
 * it would not have been read. */
static bool
need_pepper(struct hold *h, struct fault *why)
{
	char *path = path_in(h->state_dir, PEPPER_FILE_NAME);
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
	char *path = path_in(h->state_dir, KEY_FILE_NAME);
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	bool ok;

	json_open(&o, '{');
	json_member_int(&o, "version", 1);
	json_key(&o, "keys");
	json_open(&o, '[');
	for (size_t i = 0; i < key_table_count(h->table); i++) {
		const struct key_record *r = key_table_at(h->table, i);

		if (changed != NULL && strcmp(r->id, changed->id) == 0)
			r = changed;
		write_record(&o, r);
	}
	if (added != NULL)
		write_record(&o, added);
	json_close(&o, ']');
	json_close(&o, '}');
	buf_puts(&text, "\n");
	if (buf_len(&text) > KEY_FILE_MOST_BYTES)
		ok = fault_set(why, "%s would be larger than %zu bytes", path,
		    KEY_FILE_MOST_BYTES);
	else
		ok = file_replace(
		    path, buf_data(&text), buf_len(&text), 0600, why);
	buf_release(&text);
	free(path);
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

/* Refuses what could not be read back. */
static bool
is_writable(const char *what, const char *text, struct fault *why)
{
	size_t len = strlen(text);

	if (len == 0 || len > KEY_FILE_TEXT_MOST ||
	    !text_is_clean_utf8(text, len))
		return fault_set(why,
		    "the %s is not 1 to %d bytes of text without control "
		    "characters",
		    what, KEY_FILE_TEXT_MOST);
	return true;
}

static bool
check_request(const struct key_request *q, struct fault *why)
{
	if (!is_writable("user", q->user, why) ||
	    (q->name != NULL && !is_writable("name", q->name, why)))
		return false;
	if (q->models == NULL)
		return true;
	if (q->model_count == 0 || q->model_count > KEY_FILE_MODELS_MOST)
		return fault_set(
		    why, "a key names 1 to %d models", KEY_FILE_MODELS_MOST);
	for (size_t i = 0; i < q->model_count; i++)
		if (!is_writable("model", q->models[i], why))
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
