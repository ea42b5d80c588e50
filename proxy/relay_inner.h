/*
 * relay_inner.h - what relay.c, relay_head.c and relay_look.c share, and nobody
 * else uses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proxy/exchange.h"

/* The upstream's answer breaks HTTP/1.1: the attempt is over. */
void relay_invalid(struct exchange *x, const char *what);

/* 204 and 304 have no body, whatever their head says (RFC 9112 6.3). */
bool relay_has_no_body(int status);

/* Bytes of the answer's body, still in their framing; they may be changed. */
void relay_on_body(struct exchange *x, char *p, size_t len);

/* What a look at a piece found: p[0..visible) may go to the client; the rest,
 * of an event that may yet have to be cut, waits. */
struct looked {
	size_t visible;
	const char *waiting; /* borrowed: in the piece */
	size_t waiting_len;
};

/* Shows a piece of the body to the tap, and moves together, in its place, what
 * the client may see of it.  What was held of an event that is now over is cut,
 * too, and r->waiting_from says what of it still waits. */
struct looked relay_look(struct exchange *x, char *p, size_t len, bool is_end);

/* Sends what the client may see: a head if it has had none, what was held, and
 * p[0..len); and the framing's end. */
void relay_emit(struct exchange *x, const char *p, size_t len, bool is_end);
