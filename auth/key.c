#include "auth/key.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/id.h"
#include "base/mem.h"

#include "base/banned.h"

#define PREFIX_CHARS (sizeof KEY_PREFIX - 1)
#define ID_LETTER 'k' /* every id begins with it, so that people know one */
#define SECRET_CHARS 32
#define CHECK_CHARS 6
#define CHECKED_CHARS (KEY_CHARS - CHECK_CHARS)

_Static_assert(
    KEY_CHARS == PREFIX_CHARS + KEY_ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS,
    "the parts make the whole");

static const char base62[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char base36[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* Of which alphabets a character is.  Looked up and not compared, because
 * random letters defeat the processor's guesses. */
enum { IN_BASE36 = 1, IN_BASE62 = 2 };

static const unsigned char letters[256] = {
    ['0' ... '9'] = IN_BASE36 | IN_BASE62,
    ['a' ... 'z'] = IN_BASE36 | IN_BASE62,
    ['A' ... 'Z'] = IN_BASE62,
};

static bool
is_all_in(const char *p, size_t len, unsigned alphabet)
{
	unsigned common = alphabet;

	for (size_t i = 0; i < len; i++)
		common &= letters[(unsigned char)p[i]];
	return common != 0;
}

/* The id, a dash, then nothing but digits of base 62. */
static bool
has_our_letters(const char *p)
{
	return is_all_in(p, KEY_ID_CHARS, IN_BASE36) &&
	    p[KEY_ID_CHARS] == '-' &&
	    is_all_in(
		p + KEY_ID_CHARS + 1, SECRET_CHARS + CHECK_CHARS, IN_BASE62);
}

/* The CRC-32 as six digits, the highest first: 62^6 is more than 2^32. */
static void
write_check(const char *key, char out[CHECK_CHARS])
{
	unsigned long crc =
	    crc32(0, (const unsigned char *)key, CHECKED_CHARS) & 0xffffffff;

	for (size_t i = CHECK_CHARS; i > 0; i--) {
		out[i - 1] = base62[crc % 62];
		crc /= 62;
	}
}

enum key_form
key_form(struct slice key)
{
	char check[CHECK_CHARS];

	if (!slice_starts(key, KEY_PREFIX))
		return KEY_FORM_FOREIGN;
	if (key.len != KEY_CHARS || !has_our_letters(key.p + PREFIX_CHARS))
		return KEY_FORM_MISTYPED;
	write_check(key.p, check);
	if (memcmp(check, key.p + CHECKED_CHARS, CHECK_CHARS) != 0)
		return KEY_FORM_MISTYPED;
	return KEY_FORM_OK;
}

struct slice
key_id(struct slice key)
{
	return (struct slice){key.p + PREFIX_CHARS, KEY_ID_CHARS};
}

/* Fills `out` with random digits of the alphabet, each as likely as the other:
 * a byte above the largest multiple of `base` is thrown away. */
static bool
fill_random(char *out, size_t len, const char *alphabet, struct fault *why)
{
	unsigned base = (unsigned)strlen(alphabet);
	unsigned fair = 256 - 256 % base;
	unsigned char bytes[64];
	size_t done = 0;
	bool ok = true;

	while (done < len) {
		ok = random_fill(bytes, sizeof bytes, why);
		if (!ok)
			break;
		for (size_t i = 0; i < sizeof bytes && done < len; i++)
			if (bytes[i] < fair)
				out[done++] = alphabet[bytes[i] % base];
	}
	explicit_bzero(bytes, sizeof bytes);
	return ok;
}

bool
key_make(char out[KEY_CHARS + 1], struct fault *why)
{
	char *id = out + PREFIX_CHARS;
	char *secret = id + KEY_ID_CHARS + 1;

	memcpy(out, KEY_PREFIX, PREFIX_CHARS);
	id[0] = ID_LETTER;
	id[KEY_ID_CHARS] = '-';
	if (!fill_random(id + 1, KEY_ID_CHARS - 1, base36, why) ||
	    !fill_random(secret, SECRET_CHARS, base62, why)) {
		explicit_bzero(out, KEY_CHARS + 1);
		return false;
	}
	write_check(out, out + CHECKED_CHARS);
	out[KEY_CHARS] = '\0';
	return true;
}

/* RFC 2104 by hand: copying two SHA-256 states that have taken in the padded
 * key is the fastest way that OpenSSL 3 has for many short texts under one key.
 */
#define HMAC_BLOCK_BYTES 64

struct key_hasher {
	EVP_MD_CTX *inner, *outer; /* owned; have taken in the pepper */
	EVP_MD_CTX *work;          /* owned */
};

/* These calls fail only without memory, and then as xcalloc() does. */
static void
must(int openssl_result)
{
	if (UNLIKELY(openssl_result != 1))
		abort();
}

static EVP_MD_CTX *
seeded(const EVP_MD *sha256, const uint8_t pepper[PEPPER_BYTES], uint8_t pad)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t block[HMAC_BLOCK_BYTES];

	must(ctx != NULL);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = (i < PEPPER_BYTES ? pepper[i] : 0) ^ pad;
	must(EVP_DigestInit_ex2(ctx, sha256, NULL));
	must(EVP_DigestUpdate(ctx, block, sizeof block));
	explicit_bzero(block, sizeof block);
	return ctx;
}

struct key_hasher *
key_hasher_create(const uint8_t pepper[PEPPER_BYTES])
{
	struct key_hasher *h = xcalloc(sizeof *h);
	EVP_MD *sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);

	must(sha256 != NULL);
	h->inner = seeded(sha256, pepper, 0x36);
	h->outer = seeded(sha256, pepper, 0x5c);
	h->work = EVP_MD_CTX_new();
	must(h->work != NULL);
	EVP_MD_free(sha256);
	return h;
}

void
key_hasher_destroy(struct key_hasher **hp)
{
	struct key_hasher *h = *hp;

	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->inner); /* these wipe what they held */
	EVP_MD_CTX_free(h->outer);
	EVP_MD_CTX_free(h->work);
	free(h);
	*hp = NULL;
}

void
key_hash(struct key_hasher *h, struct slice key, uint8_t out[KEY_HASH_BYTES])
{
	uint8_t inner[KEY_HASH_BYTES];

	must(EVP_MD_CTX_copy_ex(h->work, h->inner));
	must(EVP_DigestUpdate(h->work, key.p, key.len));
	must(EVP_DigestFinal_ex(h->work, inner, NULL));
	must(EVP_MD_CTX_copy_ex(h->work, h->outer));
	must(EVP_DigestUpdate(h->work, inner, sizeof inner));
	must(EVP_DigestFinal_ex(h->work, out, NULL));
}
