/*
 * client.h - a client's connection: one request at a time, read strictly,
 * answered with backpressure, and closed so that the answer arrives.
 *
 * A connection is in one of these states, and in one of the worker's two lists
 * (in `waiting` the gateway's end does not wait for it, and it may be closed to
 * make room):
 *
 *     HEAD    waiting for, or reading, a request's head       (waiting)
 *     BODY    reading a body that has been let in             (clients)
 *     BUSY    the answer is being made or sent                (clients)
 *     FLUSH   the answer is complete, some of it not yet sent (clients)
 *     LINGER  nothing more is sent; what still comes is thrown
 *             away for a moment, because closing a socket with
 *             unread bytes resets it and the answer is lost   (waiting)
 *
 * Bytes that come behind a request while its answer is under way are thrown
 * away and the connection closes after it: no second request is ever read out
 * of a first one's bytes.  A client that shuts down its sending half is taken
 * as gone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "auth/address.h"
#include "auth/key.h"
#include "auth/key_table.h"
#include "base/attr.h"
#include "base/buf.h"
#include "proxy/chunked.h"
#include "proxy/deadline.h"
#include "proxy/ends.h"
#include "proxy/guard.h"
#include "proxy/worker.h"

/* Not yet sent bytes above which the source is paused, and below which it goes
 * on. */
#define CLIENT_HIGH_BYTES (64 * 1024)
#define CLIENT_LOW_BYTES (16 * 1024)

struct exchange;

enum client_state {
	CLIENT_HEAD,
	CLIENT_BODY,
	CLIENT_BUSY,
	CLIENT_FLUSH,
	CLIENT_LINGER,
	CLIENT_CLOSED,
};

struct client {
	struct grave grave;
	struct link link;
	struct worker *w;   /* borrowed */
	struct exchange *x; /* borrowed; NULL: none is under way */
	enum client_state state;
	int fd;
	struct event readable, writable;
	struct deadline deadline;
	struct address peer;
	struct buf in;  /* a head that has not come whole */
	size_t scanned; /* of it: see head_find() */
	struct buf out; /* what the socket did not take yet */

	bool is_busy;      /* counted in gateway->busy; stands in `clients` */
	bool closes;       /* after this answer */
	bool is_head;      /* the request was HEAD: answer without a body */
	uint8_t minor;     /* of the request's HTTP version */
	bool is_anthropic; /* the dialect of errors */
	bool has_answered; /* at least one request */

	enum framing framing;     /* of the body that is being read */
	uint64_t body_left;       /* FRAMING_LENGTH */
	uint64_t body_due_ns;     /* when it must have come whole */
	uint64_t body_span_bytes; /* come in the present span of time */
	struct chunked chunked;
	uint64_t discarded; /* bytes thrown away */

	/* The last key that was found good here: the same bytes against the
	 * same table need no second hash. */
	char credential[KEY_CHARS];
	uint64_t credential_generation;  /* 0: none */
	const struct key_record *record; /* borrowed from the worker's keys */
};

/* Closes connections without a request, the longest waiting first, while all
 * workers together have too many. */
void clients_make_room(struct worker *w);

/* Takes over an accepted socket. */
void client_open(struct worker *w, int fd, const struct sockaddr *peer);

/* Begins to read the body into the exchange (c->x), of which `len` bytes at `p`
 * came with the head.  `says_continue`: the client waits for a 100. */
void client_read_body(struct client *c, enum framing framing,
    uint64_t content_length, char *p, size_t len, bool says_continue);

/* Sends these pieces in order; what the socket does not take is kept, whatever
 * its size: ask client_backlog() and pause the source. */
void client_send(struct client *c, const struct iovec *pieces, size_t count);

size_t client_backlog(const struct client *c);

/* The answer is complete: next request, or close. */
void client_finish(struct client *c);

/* Closes at once, without telling its exchange. */
void client_close(struct client *c);

/* Moves to another worker, with its request: takes it from the loop of the old
 * one, on its thread; puts it into that of the new one, on that one's. */
void client_leave_worker(struct client *c);
void client_join_worker(struct client *c, struct worker *w);

/* Answers without an exchange: one of our own documents, or an error. */
void client_answer(struct client *c, int status, const char *content_type,
    struct slice extra_fields, struct slice body);
void client_refuse(struct client *c, enum end e, struct slice extra_fields,
    struct slice message);

/* Appends status line, Date, Server-independent fields, Connection.  The caller
 * goes on with its own fields and the empty line. */
void client_begin_head(struct client *c, struct buf *to, int status);
