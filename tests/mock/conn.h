/*
 * conn.h - one connection: reads requests, plays answers, breaks off on order.
 *
 * A connection lives and dies on its worker's thread.  Nobody holds a pointer
 * to it but its own events.
 */
#pragma once

#include <event2/event.h>
#include <openssl/ssl.h>

#include "bytes.h"
#include "plan.h"

struct worker {
	struct event_base *base;     /* owned */
	const struct server *server; /* borrowed */
	SSL_CTX *tls;                /* borrowed; NULL: plain TCP */
	struct bytes scratch;        /* where events are rendered */
	int number;
};

/* Takes the socket.  `arg` is its worker. */
void conn_accept(void *arg, int fd);
