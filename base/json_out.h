/*
 * json_out.h - writes JSON into a buf, a comma at a time.
 *
 * Strings are escaped so that the result is one line of valid JSON whatever the
 * bytes were: control characters, quotes and backslashes are escaped, bytes
 * that are no UTF-8 become U+FFFD, and U+2028 and U+2029, which some readers
 * take for line ends, are escaped.  The caller keeps the grammar: an object's
 * members are written between json_open(o, '{') and json_close(o, '}').
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/text.h"

struct json_out {
	struct buf *to; /* borrowed */
	bool needs_comma;
};

static inline struct json_out
json_out_to(struct buf *to)
{
	return (struct json_out){to, false};
}

/* Begin and end an object ('{' '}') or an array ('[' ']'), as a value. */
void json_open(struct json_out *o, char bracket);
void json_close(struct json_out *o, char bracket);

/* Begins a member; a value must follow. */
void json_key(struct json_out *o, const char *name);

/* A value in an array, or after json_key(). */
void json_string(struct json_out *o, struct slice s);
void json_int(struct json_out *o, int64_t n);
void json_bool(struct json_out *o, bool b);
void json_null(struct json_out *o);

/* Bytes that are a JSON value already. */
void json_raw(struct json_out *o, struct slice value);

/* Members, for short. */
void json_member_string(struct json_out *o, const char *name, struct slice s);
void json_member_int(struct json_out *o, const char *name, int64_t n);
void json_member_bool(struct json_out *o, const char *name, bool b);

/* Only the escaped text, without quotes. */
void json_escape(struct buf *to, struct slice s);
