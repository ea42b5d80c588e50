/*
 * key_table.h - the keys as they were when the file was read: immutable, shared
 * by all threads, found by id, judged in constant time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/key.h"
#include "auth/limits.h"
#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

/* Whose turn it is where requests wait: interactive ones go first. */
enum key_class { KEY_CLASS_UNSAID, KEY_CLASS_INTERACTIVE, KEY_CLASS_BATCH };

/* "interactive", "batch"; NULL for what was not said. */
const char *key_class_name(enum key_class c);

/* False if it is neither of the two. */
MUST_CHECK bool key_class_parse(struct slice word, enum key_class *out);

/* One key, as in keys.json.  Strings are owned by whoever owns the record. */
struct key_record {
	char id[KEY_ID_CHARS + 1];
	char *user;
	char *name;    /* what its owner calls it, or NULL */
	char **models; /* narrows the user's models; NULL: does not */
	size_t model_count;
	enum key_class class;
	struct limits limits; /* what it states holds beside the user's; all
				 else is limits_none() */
	int64_t created_ms;
	int64_t expires_ms; /* 0: never */
	int64_t revoked_ms; /* 0: is not; a time to come: rotated, in grace */
	uint8_t hash[KEY_HASH_BYTES];
};

enum key_verdict {
	KEY_OK,
	KEY_MISTYPED,
	KEY_UNKNOWN, /* well formed; no such key, or its secret is another */
	KEY_REVOKED,
	KEY_EXPIRED,
	KEY_FOREIGN, /* not one of ours at all */
};

#define KEY_FILE_NAME "keys.json"
#define PEPPER_FILE_NAME "pepper"
#define KEY_FILE_MOST_BYTES ((size_t)16 << 20)
#define KEY_FILE_MODELS_MOST 64

struct key_table;

/* Reads keys.json (format: key_file.h) and the pepper beside it from
 * `state_dir`.  No file, no keys: an empty table.  NULL with the reason for a
 * file that cannot be read whole: damaged, a link, not a regular file, open to
 * others (mode & 077). */
MUST_CHECK struct key_table *key_table_load(
    const char *state_dir, struct fault *why);

/* The same for an administrator's command: as root it may stand before files of
 * any owner, and changes them for whoever that is.  key_table_load() refuses a
 * file that belongs to neither its reader, nor root, nor the folder's owner. */
MUST_CHECK struct key_table *key_table_load_as_admin(
    const char *state_dir, struct fault *why);

/* Reads the text of a keys.json.  `pepper` may be NULL; then there must be no
 * keys.  NULL with the reason. */
MUST_CHECK struct key_table *key_table_parse(
    struct slice json, const uint8_t *pepper, struct fault *why);

/* References are atomic. */
struct key_table *key_table_ref(struct key_table *t);
void key_table_unref(struct key_table **tp);

size_t key_table_count(const struct key_table *t);

/* A hasher for this table's pepper, for the calling thread; the caller destroys
 * it.  A table without a pepper (no key was ever made) gives one all the same:
 * then no key can match. */
struct key_hasher *key_table_hasher(const struct key_table *t);

/* Judges a key.  `*record` is set on KEY_OK, KEY_REVOKED and KEY_EXPIRED,
 * borrowed from the table.  The time taken does not tell an unknown id from a
 * wrong secret. */
enum key_verdict key_table_check(const struct key_table *t,
    struct key_hasher *h, struct slice key, int64_t wall_ms,
    const struct key_record **record);

/* By id alone (for commands, and to see whether an open stream's key still
 * stands).  NULL if there is none. */
const struct key_record *key_table_find(
    const struct key_table *t, const char *id);

/* Whether a record may be used at this time; KEY_OK, _REVOKED or _EXPIRED. */
enum key_verdict key_record_state(const struct key_record *r, int64_t wall_ms);

/* All records, oldest first. */
const struct key_record *key_table_at(const struct key_table *t, size_t i);
