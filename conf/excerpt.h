/*
 * excerpt.h - shows a line of a file with carets under a part of it, and never
 * a secret.
 *
 * A diagnostic may point at one mistake in a line that also holds a secret, or
 * at a file so broken that nobody knows where its secrets are.  So beside the
 * spans that the reader of the file names, everything is blanked that follows
 * `api_key:` or `password:` (or nearly so), that stands before the @ or behind
 * the ? of a url, or that begins like a key (sk-).
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/text.h"
#include "conf/diagnostic.h"

struct excerpt {
	struct slice text;                /* borrowed: the file */
	const struct hidden_span *hidden; /* borrowed */
	size_t hidden_count;
	size_t begin, end; /* the current line, without its line break */
	unsigned line;     /* its number, from 1 */
	bool is_value;     /* the line before ended with a secret's key */
};

/* Stands on the first line. */
void excerpt_init(struct excerpt *e, struct slice text,
    const struct hidden_span *hidden, size_t hidden_count);

/* Writes two lines: the line of the file, and the carets.  Lines must be asked
 * for in ascending order.  Writes nothing if the file has no such line. */
void excerpt_print(struct excerpt *e, unsigned line, unsigned column,
    unsigned width, struct buf *out);
