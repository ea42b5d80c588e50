/*
 * receive.h - from a request's head to an exchange, or to an answer of our own.
 *
 * The route table is here: an exact match on the raw path.  What is not in it
 * is 404 and never forwarded.  Who may not come in is told so before a byte of
 * the body is read.
 */
#pragma once

#include <stddef.h>

#include "proxy/client.h"
#include "proxy/guard.h"

/* Takes a request that the guard let pass; `len` bytes at `p` came behind its
 * head.  The connection is left reading a body, or answered. */
void receive_request(
    struct client *c, const struct request *r, char *p, size_t len);
