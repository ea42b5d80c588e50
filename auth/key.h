/*
 * key.h - what a key looks like, and how it is kept.
 *
 *     sk-weir-k7q2m9-9tXwGf3VnQ4hYb6KzR1cJ8sM2pLd0EuAx5Tq7B
 *     |       |      |                               |
 *     prefix  id     32 base62 characters            CRC-32 of all before it,
 *             6      from getrandom(2)               6 base62 characters
 *
 * The id is public: logs and lists name a key by it.  The check makes a
 * mistyped key known as such before anything is looked up.  At rest there is
 * only HMAC-SHA-256(pepper, whole key), so that a leaked key file can neither
 * confirm a guess nor be extended.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

#define KEY_PREFIX "sk-weir-"
#define KEY_ID_CHARS 6
#define KEY_CHARS (8 + KEY_ID_CHARS + 1 + 32 + 6)
#define KEY_HASH_BYTES 32
#define PEPPER_BYTES 32

enum key_form {
	KEY_FORM_OK,
	KEY_FORM_FOREIGN,  /* does not begin with our prefix */
	KEY_FORM_MISTYPED, /* ours, but length, alphabet or check are wrong */
};

/* Looks at the form alone. */
enum key_form key_form(struct slice key);

/* The id of a key whose form is OK; borrowed from it. */
struct slice key_id(struct slice key);

/* Makes a new key with an id of lower-case letters and digits.  The caller
 * wipes `out`. */
MUST_CHECK bool key_make(char out[KEY_CHARS + 1], struct fault *why);

/* An HMAC context with the pepper taken in once: making it costs six times the
 * hash of a key.  For one thread at a time. */
struct key_hasher;

/* Never NULL. */
struct key_hasher *key_hasher_create(const uint8_t pepper[PEPPER_BYTES]);
void key_hasher_destroy(struct key_hasher **hp);
void key_hash(
    struct key_hasher *h, struct slice key, uint8_t out[KEY_HASH_BYTES]);
