#include "conf/reference.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#include "base/banned.h"

/* Longer than any read of file_read(), so that the buffer never moves and
 * leaves a secret behind in freed memory. */
#define READ_ROOM (4u << 16)
#define NAME_MOST 128

/* Prefixes, in the order of enum reference_kind. */
static const char *const prefixes[] = {"${env:", "${file:", "${credential:"};

bool
reference_is_in(struct slice text)
{
	if (slice_starts(text, "${"))
		return true;
	for (size_t i = 0; i < COUNT_OF(prefixes); i++)
		if (memmem(text.p, text.len, prefixes[i],
			strlen(prefixes[i])) != NULL)
			return true;
	return false;
}

static bool
is_name(struct slice name, const char *also)
{
	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.p[i]) &&
		    strchr(also, name.p[i]) == NULL)
			return false;
	return name.len > 0 && name.len <= NAME_MOST;
}

static bool
check_name(const struct reference *r, struct fault *why)
{
	switch (r->kind) {
	case REFERENCE_ENV:
		if (!is_name(r->name, "_"))
			return fault_set(why,
			    "the name in ${env:NAME} has letters, digits and "
			    "_ only");
		return true;
	case REFERENCE_CREDENTIAL:
		/* A file of one folder, and no other. */
		if (!is_name(r->name, "_-.") || r->name.p[0] == '.')
			return fault_set(why,
			    "the name in ${credential:NAME} has letters, "
			    "digits, _, - and . only");
		return true;
	case REFERENCE_FILE:
		if (r->name.len == 0 ||
		    !text_is_clean_utf8(r->name.p, r->name.len))
			return fault_set(why, "${file:PATH} needs a path");
		return true;
	}
	return true;
}

bool
reference_parse(struct slice text, struct reference *out, struct fault *why)
{
	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		size_t n = strlen(prefixes[i]);

		if (!slice_starts(text, prefixes[i]))
			continue;
		out->kind = (enum reference_kind)i;
		out->name = (struct slice){text.p + n, text.len - n - 1};
		if (memchr(text.p, '}', text.len) != text.p + text.len - 1)
			break;
		return check_name(out, why);
	}
	return fault_set(why,
	    "a reference is the whole value: ${env:NAME}, "
	    "${file:PATH} or ${credential:NAME}");
}

static bool
read_secret_file(const char *path, struct buf *out, struct fault *why)
{
	if (buf_reserve(out, READ_ROOM, READ_ROOM) == NULL)
		return fault_set(why, "out of memory");
	return file_read(path, SECRET_MOST_BYTES, true, out, why);
}

static bool
resolve_env(const struct reference *r, const struct config_env *env,
    struct buf *out, struct fault *why)
{
	char *name = xstrndup(r->name.p, r->name.len);
	const char *value = env->env == NULL ? NULL : env->env(name);
	bool ok = false;

	if (value == NULL) {
		fault_set(why, "the environment has no %s", name);
	} else if (strlen(value) > SECRET_MOST_BYTES) {
		fault_set(why, "%s in the environment is longer than %d bytes",
		    name, SECRET_MOST_BYTES);
	} else {
		buf_puts(out, value);
		ok = true;
	}
	free(name);
	return ok;
}

static bool
resolve_file(const struct reference *r, const char *folder, struct buf *out,
    struct fault *why)
{
	char *path = r->name.p[0] == '/' || folder == NULL
	    ? xstrndup(r->name.p, r->name.len)
	    : xasprintf("%s/%.*s", folder, (int)r->name.len, r->name.p);
	bool ok = read_secret_file(path, out, why);

	free(path);
	return ok;
}

static bool
resolve(const struct reference *r, const struct config_env *env,
    const char *folder, struct buf *out, struct fault *why)
{
	switch (r->kind) {
	case REFERENCE_ENV:
		return resolve_env(r, env, out, why);
	case REFERENCE_FILE:
		return resolve_file(r, folder, out, why);
	case REFERENCE_CREDENTIAL:
		if (env->credentials_dir == NULL)
			return fault_set(why,
			    "there is no credential '%.*s': "
			    "$CREDENTIALS_DIRECTORY is not set (systemd sets "
			    "it for LoadCredential=)",
			    (int)r->name.len, r->name.p);
		return resolve_file(r, env->credentials_dir, out, why);
	}
	return false;
}

bool
reference_resolve(const struct reference *r, const struct config_env *env,
    const char *folder, struct buf *out, struct fault *why)
{
	struct slice value;

	if (!resolve(r, env, folder, out, why))
		return false;
	value = (struct slice){buf_data(out), buf_len(out)};
	if (value.len > 0 && value.p[value.len - 1] == '\n')
		value.len--;
	if (value.len > 0 && value.p[value.len - 1] == '\r')
		value.len--;
	out->end = out->start + value.len;
	if (value.len == 0)
		return fault_set(
		    why, "%.*s is empty", (int)r->name.len, r->name.p);
	/* It goes into a header. */
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] <= ' ' || value.p[i] > '~')
			return fault_set(why,
			    "%.*s holds a blank, a line break or another "
			    "character that no key has",
			    (int)r->name.len, r->name.p);
	return true;
}
