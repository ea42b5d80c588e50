/*
 * redis_link.h - one connection to Redis, with a deadline for whatever it does.
 *
 * For a thread that may wait: every step (connecting, the TLS handshake, one
 * command) ends within REDIS_DEADLINE_MS, whatever the other side does, or at
 * once when the descriptor to stop at becomes readable.  Only the protocol is
 * hiredis's; socket, timer and TLS are ours.  Not locked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/redis/redis_args.h"
#include "metering/redis/redis_options.h"
#include "metering/redis/redis_reply.h"

#define REDIS_DEADLINE_MS 250
#define REDIS_NAME_DEADLINE_MS 5000 /* for the name service */

/* Why something failed: what kind of trouble, and its own words. */
struct redis_problem {
	enum redis_trouble trouble;
	struct fault why;
};

/* Sets both.  Always returns false. */
bool redis_problem_set(struct redis_problem *p, enum redis_trouble t,
    const char *fmt, ...) PRINTF_LIKE(3, 4);

struct redis_link;

/* A link that is not open.  `o` is borrowed for its life; `stop_fd` too, -1 if
 * nothing stops it.  NULL with the reason.  The caller owns it. */
MUST_CHECK struct redis_link *redis_link_create(
    const struct redis_options *o, int stop_fd, struct fault *why);

/* Closes, frees *lp and sets it to NULL.  *lp may be NULL. */
void redis_link_destroy(struct redis_link **lp);

/* Connects, says who we are, chooses the database.  Closes an open link first.
 */
MUST_CHECK bool redis_link_open(struct redis_link *l, struct redis_problem *p);

/* Sends one command and waits for its answer, which the caller then owns.  NULL
 * with the problem: an error reply leaves the link open, everything else
 * closes it. */
MUST_CHECK struct redis_reply *redis_link_ask(struct redis_link *l,
    const struct redis_args *command, struct redis_problem *p);

bool redis_link_is_open(const struct redis_link *l);
void redis_link_close(struct redis_link *l);

/* Where it leads: "redis://10.0.0.1:6379", "unix:/run/redis.sock". */
const char *redis_link_place(const struct redis_link *l);
