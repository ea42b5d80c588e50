/*
 * relay_inner.h - what relay.c and relay_head.c share, and nobody else uses.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proxy/exchange.h"

/* Whether a later route is there for what has happened: also one that this user
 * may not pay for, because that is then what the client is told. */
bool relay_may_move(const struct exchange *x, unsigned when);

/* The upstream's answer breaks HTTP/1.1: the attempt is over. */
void relay_invalid(struct exchange *x, const char *what);

/* 204 and 304 have no body, whatever their head says (RFC 9112 6.3). */
bool relay_has_no_body(int status);

/* Bytes of the answer's body, still in their framing; they may be changed. */
void relay_on_body(struct exchange *x, char *p, size_t len);
