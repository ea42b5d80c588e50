/*
 * fair_node.h - a class, a user in it, or a flow of that user: how far each is
 * in virtual time, and which of a node's children are waiting.
 *
 * What a node was really charged is its settled time; with what its jobs in
 * flight are estimated at, that is its time.  The least time goes next.  A node
 * whose children wait has a clock, which follows their settled times: estimates
 * may be wrong by any factor without moving it.  Who begins to wait is lifted
 * to it.  What follows from this is proven in fair_node.c.
 *
 * Times are in units of the caller's, and may wrap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/list.h"
#include "proxy/gate/fair_tree.h"
#include "proxy/gate/table.h"

struct fair_node {
	/* Its time and its settled time, also when they stand in no tree. */
	struct fair_leaf turn, settled;
	struct table_link link;   /* of struct fair_nodes */
	struct fair_node *parent; /* NULL: a class */
	uint64_t id;
	size_t waiting, in_flight; /* jobs; the caller counts them */
	struct link jobs;          /* of a flow: those that wait, oldest first;
				      the caller's */
	uint64_t passed;           /* the last dispatch that passed it over */
	uint64_t forgone; /* by how much it was lifted, in all, less what was
			     set off against it */
	bool is_resting;

	/* Of its children: */
	uint64_t clock;
	uint64_t dispatch;        /* the last one */
	struct fair_tree waits;   /* those that wait, by their time */
	struct fair_tree settles; /* the same by their settled time */
	struct fair_tree rests;   /* have no jobs, but are ahead of the clock */
	size_t rest_count;
};

/* All users and flows of a queue.  Zeroes are none. */
struct fair_nodes {
	struct table table;
	uint64_t order; /* counts what happens */
};

/* NULL for NULL. */
static inline struct fair_node *
fair_node_at(struct fair_leaf *turn)
{
	return turn == NULL ? NULL : CONTAINER_OF(turn, struct fair_node, turn);
}

/* NULL: there is none. */
struct fair_node *fair_node_find(
    const struct fair_nodes *all, const struct fair_node *parent, uint64_t id);

/* Makes it if there is none.  It goes with fair_node_rest(). */
struct fair_node *fair_node_get(
    struct fair_nodes *all, struct fair_node *parent, uint64_t id);

/* It begins to wait; `waiting` is still 0. */
void fair_node_enter(struct fair_nodes *all, struct fair_node *node);

/* It waits no more; `waiting` is 0 already. */
void fair_node_leave(struct fair_node *node);

/* A job of it is dispatched, estimated at `amount`; it still waits.  All of its
 * kin that come before it and could not go have `passed` set to `dispatch`, a
 * number greater than any before.  Its parent's clock moves on. */
void fair_node_charge(struct fair_nodes *all, struct fair_node *node,
    uint64_t amount, uint64_t dispatch);

/* A job that was charged `estimated`, when it had forgone so much, has ended
 * and cost `real`. */
void fair_node_settle(struct fair_nodes *all, struct fair_node *node,
    uint64_t estimated, uint64_t real, uint64_t forgone);

/* A flow, its user and its class are forgotten, or rest, if they have neither
 * jobs that wait nor any in flight. */
void fair_node_rest(struct fair_nodes *all, struct fair_node *flow);
