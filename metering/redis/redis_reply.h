/*
 * redis_reply.h - what Redis answers: read with caps, and what a refusal means.
 *
 * The bytes are read by hiredis's reader; the values are ours, so that an
 * answer can be no larger, no deeper and no wider than our commands ask for.
 * An answer beyond that, or one that is not RESP, is hostile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

#define REDIS_REPLY_MOST_BYTES (16u << 20)
#define REDIS_REPLY_MOST_VALUES (1u << 20)

/* What is wrong, and what to do.  name, how the error begins ("": is found
 * elsewhere), what it means, what to do */
#define REDIS_TROUBLES(X)                                                     \
	X(NONE, "", "all is well", "")                                        \
	X(UNREACHABLE, "", "cannot be reached",                               \
	    "Is it running, and is redis.url right?")                         \
	X(TOO_SLOW, "", "does not answer in time",                            \
	    "Is it stopped, busy with a long command, or far away?")          \
	X(STOPPED, "", "is not asked any more: the gateway stops", "")        \
	X(TLS, "", "offers no TLS that can be trusted",                       \
	    "See redis.tls and redis.ca_file.")                               \
	X(HOSTILE, "", "answers what no Redis answers",                       \
	    "Is redis.url that of a Redis, and redis.tls right?")             \
	X(LOADING, "LOADING", "is loading its data", "It will be done soon.") \
	X(READONLY, "READONLY", "is a read-only replica",                     \
	    "Point redis.url at the primary.")                                \
	X(MASTERDOWN, "MASTERDOWN", "is a replica that lost its primary",     \
	    "Point redis.url at the primary.")                                \
	X(DISK, "MISCONF", "cannot save to its disk, and refuses writes",     \
	    "See its log; is its disk full?")                                 \
	X(REPLICAS, "NOREPLICAS", "has too few replicas to take writes",      \
	    "See min-replicas-to-write.")                                     \
	X(BUSY, "BUSY", "is busy with somebody's script",                     \
	    "SCRIPT KILL ends it, if it has not written.")                    \
	X(MOVED, "MOVED", "is a node of a cluster that has not our slot",     \
	    "Point redis.url at the node that the error names.")              \
	X(ASKED, "ASK", "is a node of a cluster that moves our slot",         \
	    "It will be done soon; else point redis.url at the other node.")  \
	X(TRYAGAIN, "TRYAGAIN", "is a node of a cluster that moves our slot", \
	    "It will be done soon.")                                          \
	X(CLUSTER, "CLUSTERDOWN", "is a node of a cluster that is down",      \
	    "See CLUSTER INFO.")                                              \
	X(NO_PASSWORD, "NOAUTH", "wants a password",                          \
	    "Set redis.password: ${…}.")                                      \
	X(PASSWORD, "WRONGPASS", "does not take the password",                \
	    "See redis.password, and redis.username.")                        \
	X(PERMISSION, "NOPERM", "does not let this user do what is needed",   \
	    "See ACL LIST, and docs/redis.md for what is needed.")            \
	X(FULL, "OOM", "is full (maxmemory)",                                 \
	    "Give it more memory; nothing is lost meanwhile.")                \
	X(DAMAGED, "WRONGTYPE", "holds something else under one of our keys", \
	    "Who wrote it?  weir redis rebuild puts it right.")               \
	X(NO_SCRIPT, "NOSCRIPT", "has forgotten our script", "")              \
	X(POLICY, "", "may throw our counters away (maxmemory-policy)",       \
	    "CONFIG SET maxmemory-policy noeviction, and write it into its "  \
	    "configuration; until then it is not used.")                      \
	X(NAME_TAKEN, "", "is used by another gateway with our name",         \
	    "Give each gateway a redis.name of its own.")                     \
	X(LEDGER, "", "waits for the ledger, which cannot be read",           \
	    "See its folder and the rights of its files.")                    \
	X(REFUSED, "", "refuses a command",                                   \
	    "Redis 6.2 or later is needed, and what docs/redis.md says.")

enum redis_trouble {
#define X(name, start, meaning, advice) REDIS_##name,
	REDIS_TROUBLES(X)
#undef X
};

/* "is loading its data", and "It will be done soon.". */
const char *redis_trouble_meaning(enum redis_trouble t);
const char *redis_trouble_advice(enum redis_trouble t);

/* What an error reply means. */
enum redis_trouble redis_trouble_of(struct slice error);

enum redis_kind {
	REDIS_NIL,
	REDIS_TEXT,    /* a string or a status */
	REDIS_INTEGER, /* in `integer` */
	REDIS_ARRAY,
	REDIS_ERROR, /* its sentence in `text` */
};

struct redis_reply {
	enum redis_kind kind;
	int64_t integer;
	struct slice text;          /* owned; NUL-terminated */
	struct redis_reply **items; /* owned, as are the replies; never NULL in
				       a whole reply */
	size_t count;
};

/* Frees *rp and sets it to NULL.  *rp may be NULL. */
void redis_reply_destroy(struct redis_reply **rp);

/* The text of an item of an array; {NULL, 0} if there is none such, or it is no
 * text. */
struct slice redis_reply_text(const struct redis_reply *r, size_t i);

/* The number of an item: an integer, or a text of digits.  False if it is
 * neither, or negative. */
MUST_CHECK bool redis_reply_number(
    const struct redis_reply *r, size_t i, uint64_t *out);

struct redis_reader;

/* The caller owns it; never NULL. */
struct redis_reader *redis_reader_create(void);
void redis_reader_destroy(struct redis_reader **rp);

/* Takes bytes in pieces of any size. */
enum redis_read { REDIS_READ_MORE, REDIS_READ_DONE, REDIS_READ_BAD };

/* For many commands at once: after DONE it may hold more replies already, and
 * is to be called again with `len` 0. */
enum redis_read redis_reader_next(struct redis_reader *r, const char *p,
    size_t len, struct redis_reply **out, struct fault *why);
/* Sets *out, which the caller then owns, when a reply is whole.  After BAD
 * (with the reason) the reader can only be destroyed.  Bytes behind a whole
 * reply are bad too: one command has one answer. */
enum redis_read redis_reader_feed(struct redis_reader *r, const char *p,
    size_t len, struct redis_reply **out, struct fault *why);
