/*
 * keys.h - the one table of all configuration keys.
 *
 * What a file may hold, what type each value has, what holds where nothing is
 * said, and one line of help: the checks, the defaults and the reference page
 * all come from it.  A path names a place in the file; `*` stands for any name,
 * `[]` for any item of a list of maps:
 *
 *     upstreams.*.timeouts.connect      models.*.routes[].to
 *
 * Keys that a later version acts on are known already, so that a file can be
 * written once; they lack KEY_ACTS and are only checked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"

/* name, what the reference page calls it, and how it is written */
#define KEY_TYPES(X)                                                         \
	X(MAP, "map", "fixed keys, listed below it")                         \
	X(NAMES, "names", "any names, each with what is listed below `*`")   \
	X(PARAMS, "values",                                                  \
	    "any names, each with any value; without quotes, "               \
	    "what JSON takes for a number, `true`, `false` "                 \
	    "or `null` is that, all else is text")                           \
	X(VERSION, "version", "`1`")                                         \
	X(TEXT, "text", "one line of text")                                  \
	X(NAME, "name", "a name; `/ : . @` and spaces may be in it")         \
	X(PATH, "path",                                                      \
	    "a file; taken from the configuration's folder "                 \
	    "unless it begins with `/`")                                     \
	X(ZONE, "time zone", "a name like `Europe/Berlin`, or `UTC`")        \
	X(TARGET, "target", "a path on the server, beginning with `/`")      \
	X(URL, "url",                                                        \
	    "`http://` or `https://`; or `${env:NAME}`, "                    \
	    "`${file:PATH}`, `${credential:NAME}`")                          \
	X(REDIS_URL, "redis url",                                            \
	    "`redis://host:port`, `rediss://` for TLS, "                     \
	    "`unix:/path`; or `${…}`")                                       \
	X(SECRET, "secret",                                                  \
	    "`${env:NAME}`, `${file:PATH}` or "                              \
	    "`${credential:NAME}`, never the secret itself")                 \
	X(LISTEN, "address",                                                 \
	    "an IP address and a port, `127.0.0.1:8643`, "                   \
	    "`[::1]:8643`; or `tailscale:8643`")                             \
	X(SOCKET, "socket", "`unix:/path`")                                  \
	X(RANGE, "range", "an IP address, or a range as `192.168.1.0/24`")   \
	X(WORD, "word", "one of the words listed")                           \
	X(BOOL, "true or false", "`true` or `false`")                        \
	X(COUNT, "count", "a whole number")                                  \
	X(TOKENS, "tokens", "a whole number, also as `200K` or `2M`")        \
	X(SIZE, "size", "a whole number and `B`, `KiB`, `MiB` or `GiB`")     \
	X(DURATION, "duration",                                              \
	    "a whole number and `ms`, `s`, `m`, `h` or "                     \
	    "`d`")                                                           \
	X(DATE, "date", "`2026-05-01`, midnight UTC")                        \
	X(HOURS, "hours",                                                    \
	    "`16-24`: UTC, the end excluded; `22-6` is the night")           \
	X(PRICE, "price", "US dollars a million tokens, up to six decimals") \
	X(USD, "dollars", "US dollars, as `10` or `0.50`")

enum key_type {
#define X(name, text, how) TYPE_##name,
	KEY_TYPES(X)
#undef X
	    TYPE_COUNT_OF_TYPES
};

enum key_flag {
	KEY_LIST = 1 << 0,        /* a list of these */
	KEY_ONE_OR_LIST = 1 << 1, /* one, or a list of these */
	KEY_ACTS = 1 << 2,        /* this version acts on it */
	KEY_RESTARTS = 1 << 3,    /* a change needs a restart, not a reload */
	KEY_REQUIRED = 1 << 4,
	KEY_UNLIMITED = 1 << 5, /* `unlimited` is a value */
	KEY_OFF = 1 << 6,       /* `off` is a value: 0 */
};

struct key {
	const char *path;
	enum key_type type;
	unsigned flags;       /* enum key_flag, or-ed */
	const char *fallback; /* as it would be written; NULL: none */
	uint64_t least, most; /* of a number; in ms, bytes, tokens */
	const char *words;    /* of a TYPE_WORD, separated by blanks */
	const char *help;     /* one sentence or two */
};

extern const struct key config_keys[];
extern const size_t config_key_count;

/* The row of a path, which must exist. */
const struct key *key_at(const char *path);

/* The row for what stands as `name` in the map `parent`; NULL if nothing may.
 * A NULL parent is the file as a whole. */
const struct key *key_child(const struct key *parent, struct slice name);

/* The next row that is a direct child of `parent`, after `last` or, if that is
 * NULL, the first; NULL after the last. */
const struct key *key_next_child(
    const struct key *parent, const struct key *last);

/* The last part of its path. */
const char *key_name(const struct key *k);

/* Its path from `parent`: "api_key", "timeouts.gap"; NULL if it is not below
 * it. */
const char *key_path_below(const struct key *parent, const struct key *k);

/* What was probably meant by an unknown key in `parent`: one that is spelled
 * nearly so, or one of that name further down.  NULL if nothing is near. */
const struct key *key_suggest(const struct key *parent, struct slice unknown);
