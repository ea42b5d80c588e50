/*
 * listener.h - where clients come in.
 *
 * Each worker has a socket of its own on each address (SO_REUSEPORT), so the
 * kernel spreads connections and workers share nothing.  When descriptors run
 * out, accepting pauses for a moment instead of spinning.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/attr.h"
#include "base/fault.h"

#define LISTEN_BACKLOG 4096

struct worker;

struct listen_address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* Binds each address once without SO_REUSEPORT, so that a second gateway on it
 * is an error and not a silent thief of half the requests; a port of 0 is
 * replaced by the one that the system chose.  Nothing stays open.  False with
 * the reason. */
MUST_CHECK bool listen_probe(
    struct listen_address *a, size_t count, struct fault *why);

/* Opens the worker's sockets.  False with the reason. */
MUST_CHECK bool listeners_open(struct worker *w, const struct listen_address *a,
    size_t count, struct fault *why);

/* Closes the worker's sockets. */
void listeners_close(struct worker *w);
