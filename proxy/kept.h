/*
 * kept.h - requests whose clients have left during prefill, kept for a while
 * for the retry.
 *
 * A client that gives up on a long prompt asks the same again, and the server
 * would begin anew.  With a model's `retry_grace` the request goes on without
 * its client; what the upstream says is held back, and the same user's
 * byte-identical retry takes it over, once: before any limit is asked, and at
 * the cost of none.  It holds its upstream's place, not the user's.
 *
 * The exchange that goes on is the first one; the two swap who they are.  So
 * one upstream request is charged once: the client that left has a line of
 * `client_gone` with no tokens and `joined_by`, the retry's line has the
 * counts. If nobody comes, the first one's line has them.
 *
 * A kept exchange stays on its worker.  A retry that arrives on another one
 * moves there with its connection (exchange_move()).
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"

struct exchange;
struct kept_table;

/* Never NULL. */
struct kept_table *kept_table_create(void);
void kept_table_destroy(struct kept_table **tp); /* empty */

/* The client has gone (x->client is NULL): keeps x if its model says so, it has
 * been sent and nothing of the answer was given yet, and there is room.  True
 * if it goes on. */
MUST_CHECK bool kept_keep(struct exchange *x);

/* A request that was read and not yet judged: does it take over one that is
 * kept?  KEPT_JOINED: x is over, the kept one goes on for its client.
 * KEPT_MOVED: x is on its way to the worker that keeps it. */
enum kept_verdict { KEPT_NONE, KEPT_JOINED, KEPT_MOVED };
MUST_CHECK enum kept_verdict kept_join(struct exchange *x);

/* A kept exchange ends, or its grace is over. */
void kept_forget(struct exchange *x);
