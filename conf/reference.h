/*
 * reference.h - ${env:NAME}, ${file:PATH}, ${credential:NAME}: where a secret
 * is, instead of the secret.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/text.h"
#include "conf/config.h"

#define SECRET_MOST_BYTES 4096

enum reference_kind { REFERENCE_ENV, REFERENCE_FILE, REFERENCE_CREDENTIAL };

struct reference {
	enum reference_kind kind;
	struct slice name; /* borrowed from the text */
};

/* True if there is one in the text, or something that is meant as one. */
bool reference_is_in(struct slice text);

/* Reads a text that is one reference and nothing else.  False with the reason.
 */
MUST_CHECK bool reference_parse(
    struct slice text, struct reference *out, struct fault *why);

/* Appends what it stands for, without the line break at its end.  Relative
 * files are looked for in `folder`.  False with the reason if it is not set,
 * cannot be read, is empty or holds anything but printable ASCII.  The caller
 * wipes `out`, also then. */
MUST_CHECK bool reference_resolve(const struct reference *r,
    const struct config_env *env, const char *folder, struct buf *out,
    struct fault *why);
