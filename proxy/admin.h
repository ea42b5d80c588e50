/*
 * admin.h - what a running gateway tells over its admin socket, as JSON:
 *
 *     GET /admin/v1/gate   who waits, who has what under way, what is left
 *     GET /admin/v1/fleet  the upstreams, and what their answers have taught
 *
 * A thread of its own serves it, with the same strict reading of requests as
 * everywhere; it takes the gate's lock only for copies.  The members are in
 * docs/admin.md; they are only ever added to.
 */
#pragma once

#include "base/buf.h"
#include "proxy/client.h"
#include "proxy/guard.h"

#define ADMIN_SCHEMA 1
#define ADMIN_CONNECTIONS_MOST 32

/* Answers a request that came over the admin socket, and closes. */
void admin_receive(struct client *c, const struct request *r);

/* Appends the documents, as they are for worker `w`'s snapshot and keys. */
void admin_write_gate(const struct worker *w, struct buf *to);
void admin_write_fleet(const struct worker *w, struct buf *to);
