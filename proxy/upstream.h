/*
 * upstream.h - connections to model servers: made, reused, written, read.
 *
 * A connection is connecting, busy or idle; idle ones stand in their pool,
 * newest first, a pool for each upstream of a worker.  A byte or an end of file
 * on an idle one closes it.  Plain or TLS is hidden here.  A connection does
 * not know what it carries: it tells its user.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/attr.h"
#include "base/fault.h"
#include "conf/config.h"
#include "proxy/worker.h"

struct upconn;

enum upconn_failure {
	UPCONN_CONNECT, /* refused, unreachable, no address, TLS refused */
	UPCONN_CONNECT_TIMEOUT,
	UPCONN_RESET, /* broken after it was connected */
};

/* How a connection speaks to its user; `user` is what upconn_open() got.  Each
 * may close or park the connection. */
struct upconn_calls {
	/* The first byte of the request goes out right after this. */
	void (*on_sending)(void *user);
	/* Bytes came; they may be changed in place and are gone after. */
	void (*on_data)(void *user, char *p, size_t len);
	/* The other side closed its half, cleanly (TLS: with close_notify). */
	void (*on_eof)(void *user);
	void (*on_failure)(
	    void *user, enum upconn_failure how, const char *text);
	/* The time set with upconn_set_deadline() has come. */
	void (*on_deadline)(void *user);
};

/* Makes a worker's pools for its snapshot; and closes the idle connections in
 * them before the snapshot changes.  Busy ones close when they are done. */
void pools_make(struct worker *w);
void pools_release(struct worker *w);

/* Takes an idle connection to this upstream (not if `fresh`), or begins a new
 * one.  NULL with the reason if none can even be begun. */
MUST_CHECK struct upconn *upconn_open(struct worker *w, struct snapshot *s,
    const struct upstream_config *up, bool fresh,
    const struct upconn_calls *calls, void *user, struct fault *why);

/* Sends these pieces, as soon as it can; the array and the bytes must stay
 * until the connection is parked or closed.  Once in the life of a request. The
 * array is changed on the way.  A failure is told from the loop, not from here.
 */
void upconn_send(struct upconn *u, struct iovec *pieces, size_t count);

/* All of it has been given to the kernel. */
bool upconn_is_sent(const struct upconn *u);

/* Some of it has. */
bool upconn_has_sent(const struct upconn *u);

/* It carried a request before this one. */
bool upconn_is_reused(const struct upconn *u);

/* Stop reading and go on, for backpressure. */
void upconn_pause(struct upconn *u);
void upconn_resume(struct upconn *u);

/* When to call on_deadline(); replaces the one before. */
void upconn_set_deadline(struct upconn *u, uint64_t at_ns, uint64_t now_ns);

/* Gives the connection back for reuse.  *up becomes NULL. */
void upconn_park(struct upconn **up);

/* Closes at once: for the servers known, that is what stops the work.  *up may
 * be NULL and becomes it. */
void upconn_close(struct upconn **up);
