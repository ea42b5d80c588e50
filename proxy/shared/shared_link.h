/*
 * shared_link.h - a connection to Redis on a worker's loop, which it never
 * holds up.
 *
 * Commands go out in the order in which they were given, replies come back in
 * the same; many may be under way.  Each step of connecting has
 * REDIS_DEADLINE_MS (the name service, which answers on a thread of its own,
 * more); how long commands may take is the caller's business.  The protocol is
 * hiredis's, sockets, timers and TLS are ours.  Callbacks come from the loop
 * alone.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

#include "base/attr.h"
#include "base/fault.h"
#include "metering/redis/redis_args.h"
#include "metering/redis/redis_link.h"
#include "metering/redis/redis_options.h"
#include "metering/redis/redis_reply.h"

struct shared_link;

struct shared_link_calls {
	/* Connected, known, and the database chosen. */
	void (*on_ready)(void *arg);
	/* The callee owns the reply, which may be an error.  It may close the
	 * link. */
	void (*on_reply)(void *arg, struct redis_reply *r);
	/* Could not connect, or has broken; the link is closed. */
	void (*on_down)(void *arg, const struct redis_problem *p);
	void *arg;
};

/* A link that is closed.  `base` and `o` are borrowed for its life.  NULL with
 * the reason.  The caller owns it. */
MUST_CHECK struct shared_link *shared_link_create(struct event_base *base,
    const struct redis_options *o, const struct shared_link_calls *calls,
    struct fault *why);
/* Not from inside a callback. */
void shared_link_destroy(struct shared_link **lp);

/* Begins to connect a closed link; on_ready() or on_down() follows. */
void shared_link_connect(struct shared_link *l);

/* Ends it without a callback. */
void shared_link_close(struct shared_link *l);

bool shared_link_is_ready(const struct shared_link *l);

/* The server's run, once ready. */
const char *shared_link_run(const struct shared_link *l);

/* Sends a command over a ready link. */
void shared_link_send(struct shared_link *l, const struct redis_args *command);
