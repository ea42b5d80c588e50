/*
 * fair_node.c - the times, and what they promise.
 *
 * S(f) is what f was really charged, its settled time; P(f) what its jobs in
 * flight are estimated at; T(f) = S(f) + P(f) is its time.  A dispatch adds the
 * estimate e to P(f); the end of that job takes e from P(f) and adds the real
 * cost r to S(f).  So S(f) never falls, and T(f) falls by at most e at an end.
 * At a dispatch, and when somebody begins to wait, the clock becomes the least
 * S of those that wait and were not passed over as blocked, if that is more
 * than it was.  Who begins to wait with S(f) behind the clock is lifted: S(f)
 * is the clock then.
 *
 * What is promised.  f and g are two users of one class (or flows of one user);
 * both wait, and neither is blocked.  l(f) is the largest cost / weight of f's
 * jobs, estimated or real, L the largest of all in the class, and M how many
 * jobs are in flight at most.
 *
 * (A) Since they were equal (as in a queue that both find empty) they were
 *     charged the same / weight but for M * max(l(f), l(g)), which is less than
 *     (M + 1) * (l(f) + l(g)).  The same bounds |T(f) - T(g)| as soon as both
 *     have been dispatched since both wait; from any moment after that on, what
 *     they are charged therefore differs by at most twice as much.
 * (B) Before that, |T(f) - T(g)| is at most M * L: a third one's estimates
 *     matter, once, for a newcomer begins where the third was settled, while
 *     the others had gone ahead as far as the third one's estimates let them.
 * (C) Who is lifted and has nothing in flight goes before all others but those
 *     who have nothing in flight either, were settled at the clock and began to
 *     wait earlier, and those who were blocked.  Each of these goes at most
 *     once before it, whatever was estimated and whatever it costs.
 *
 * Proof of (A).  D = T(f) - T(g), to be bounded from above; the rest follows by
 * exchanging f and g.  Let f have been dispatched last at s.  Before that D was
 * at most 0, for the least time goes first.  Since then D has grown by no more
 * than what was in flight just after s: each of f's adds in all at most l(f)
 * (the one dispatched its e or its r, an older one r - e), each of g's at most
 * its e <= l(g).  One of g's that was dispatched later took e from D before its
 * end gave back at most that.  At most M were in flight.  If f was not
 * dispatched since they were equal, take that moment for s.  What was charged
 * at S instead of T is bounded likewise: S(f) - S(g) <= P(g) - P(f) before s.
 *
 * Proof of (B).  (1) The clock is at most S(g) for each g that waits and was
 * not blocked: it began there, or at more, and the clock goes no further than
 * the least of them.  (2) Let f not have been dispatched since both wait.  If f
 * was lifted at its last dispatch or after it, then by (1) D is at most what f
 * has in flight, estimated or real: M * l(f).  Else let s be its last dispatch,
 * and h the one with the least S of those that were not passed over at s: T(f)
 * <= T(h) = S(h) + P(h), and S(h) is at most the clock.  What f had in flight
 * just after s brings it to at most T(f) + (its jobs in flight) * l(f), and
 * P(h) is at most (h's jobs in flight) * l(h); both have at most M.  The clock
 * never falls and g is not behind it: D <= M * max(l(f), l(h)).
 *
 * Proof of (C).  T of the one lifted is the clock.  By (1) no other that is not
 * blocked is behind it, and equals go in the order in which they got there.
 * Who was passed over while it was blocked may be behind the clock: it keeps
 * its turn, but at its dispatch it is lifted too, so that its next one begins
 * after the clock, as everybody's does.
 *
 * A job in flight when its node is lifted.  Had its cost been known before, the
 * node would have been lifted from elsewhere but to the same clock, unless it
 * were ahead of it.  So its real cost is first set off against what the node
 * has forgone since the job's dispatch, and what was set off is forgone no
 * more: never twice.  In the proofs this only makes an r smaller.
 *
 * Of each charge a fraction of a unit is lost by rounding down.
 *
 * Wrapping.  A job's cost counts as at most 2^26 tokens, 2^42 units.  Times
 * begin at 0 whenever a class has nothing waiting or in flight.  In one busy
 * period 2^64 units are 2^48 tokens: at a million tokens a second, nine years.
 * Should it get there, nothing happens either: times are compared by their
 * difference, and what is alive is within 2^63 of the clock unless 2^21
 * requests of the greatest cost were dispatched while one was blocked.
 */
#include "proxy/gate/fair_node.h"

#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

#define RESTS_MOST 256 /* children that a node remembers, see let_rest() */

/* --- which there are ----------------------------------------------------- */

static uint64_t
hash_of(const struct fair_node *parent, uint64_t id)
{
	return table_mix(table_mix((uint64_t)(uintptr_t)parent) ^ id);
}

struct fair_node *
fair_node_find(
    const struct fair_nodes *all, const struct fair_node *parent, uint64_t id)
{
	struct table_link *l = table_find(&all->table, hash_of(parent, id));

	for (; l != NULL; l = table_find_next(l)) {
		struct fair_node *node =
		    CONTAINER_OF(l, struct fair_node, link);

		if (node->parent == parent && node->id == id)
			return node;
	}
	return NULL;
}

struct fair_node *
fair_node_get(struct fair_nodes *all, struct fair_node *parent, uint64_t id)
{
	struct fair_node *node = fair_node_find(all, parent, id);

	if (node != NULL)
		return node;
	node = xcalloc(sizeof *node);
	node->parent = parent;
	node->id = id;
	node->turn.time = node->settled.time = parent->clock;
	list_init(&node->jobs);
	table_insert(&all->table, &node->link, hash_of(parent, id));
	return node;
}

static void
forget(struct fair_nodes *all, struct fair_node *node)
{
	table_remove(&all->table, &node->link);
	free(node);
}

static void
rests_remove(struct fair_node *node)
{
	fair_tree_remove(&node->parent->rests, &node->turn);
	node->parent->rest_count--;
	node->is_resting = false;
}

/* Forgets the resting child with the least time. */
static void
forget_first(struct fair_nodes *all, struct fair_node *parent)
{
	struct fair_node *node = fair_node_at(fair_tree_first(&parent->rests));

	rests_remove(node);
	forget(all, node);
}

/* --- their times --------------------------------------------------------- */

static void
put(struct fair_nodes *all, struct fair_tree *tree, struct fair_leaf *leaf)
{
	leaf->order = ++all->order;
	fair_tree_insert(tree, leaf);
}

static void
set_time(struct fair_nodes *all, struct fair_node *node, uint64_t time)
{
	struct fair_tree *tree = &node->parent->waits;

	if (time == node->turn.time)
		return;
	if (node->waiting > 0)
		fair_tree_remove(tree, &node->turn);
	node->turn.time = time;
	if (node->waiting > 0)
		put(all, tree, &node->turn);
}

static void
set_settled(struct fair_nodes *all, struct fair_node *node, uint64_t time)
{
	struct fair_tree *tree = &node->parent->settles;

	if (time == node->settled.time)
		return;
	if (node->waiting > 0)
		fair_tree_remove(tree, &node->settled);
	node->settled.time = time;
	if (node->waiting > 0)
		put(all, tree, &node->settled);
}

/* Brings it to its parent's clock if it was settled at less. */
static void
lift(struct fair_nodes *all, struct fair_node *node)
{
	uint64_t by = node->parent->clock - node->settled.time;

	if (!fair_is_ahead(node->parent->clock, node->settled.time))
		return;
	node->forgone += by;
	set_settled(all, node, node->settled.time + by);
	set_time(all, node, node->turn.time + by);
}

/* To where the least of its children is settled that wait and have not been
 * passed over since the last dispatch. */
static void
advance_clock(struct fair_nodes *all, struct fair_node *node)
{
	struct fair_leaf *l = fair_tree_first(&node->settles);

	while (l != NULL &&
	    CONTAINER_OF(l, struct fair_node, settled)->passed >=
		node->dispatch)
		l = fair_tree_next(&node->settles, l);
	if (l == NULL || !fair_is_ahead(l->time, node->clock))
		return;
	node->clock = l->time;
	while (node->rest_count > 0 &&
	    !fair_is_ahead(fair_tree_first(&node->rests)->time, node->clock))
		forget_first(all, node);
}

void
fair_node_enter(struct fair_nodes *all, struct fair_node *node)
{
	if (node->is_resting)
		rests_remove(node);
	advance_clock(all, node->parent);
	lift(all, node);
	put(all, &node->parent->waits, &node->turn);
	put(all, &node->parent->settles, &node->settled);
}

void
fair_node_leave(struct fair_node *node)
{
	fair_tree_remove(&node->parent->waits, &node->turn);
	fair_tree_remove(&node->parent->settles, &node->settled);
}

void
fair_node_charge(struct fair_nodes *all, struct fair_node *node,
    uint64_t amount, uint64_t dispatch)
{
	node->parent->dispatch = dispatch;
	advance_clock(all, node->parent);
	lift(all, node);
	set_time(all, node, node->turn.time + amount);
}

void
fair_node_settle(struct fair_nodes *all, struct fair_node *node,
    uint64_t estimated, uint64_t real, uint64_t forgone)
{
	int64_t since = (int64_t)(node->forgone - forgone);
	uint64_t set_off = since > 0 ? (uint64_t)since : 0;

	if (set_off > real)
		set_off = real;
	node->forgone -= set_off;
	real -= set_off;
	set_settled(all, node, node->settled.time + real);
	set_time(all, node, node->turn.time + real - estimated);
}

/* --- who has nothing to do ----------------------------------------------- */

/* Has it neither jobs that wait nor any in flight, it is remembered only as
 * long as it is ahead of its parent's clock.  Ids may be a client's sessions,
 * so that not more than so many are; who is least ahead goes first. */
static void
let_rest(struct fair_nodes *all, struct fair_node *node)
{
	struct fair_node *parent = node->parent;

	if (node->waiting + node->in_flight > 0)
		return;
	while (node->rest_count > 0)
		forget_first(all, node);
	node->clock = 0;
	if (parent == NULL)
		return;
	if (!fair_is_ahead(node->turn.time, parent->clock)) {
		forget(all, node);
		return;
	}
	node->is_resting = true;
	put(all, &parent->rests, &node->turn);
	if (++parent->rest_count > RESTS_MOST)
		forget_first(all, parent);
}

void
fair_node_rest(struct fair_nodes *all, struct fair_node *flow)
{
	struct fair_node *user = flow->parent, *class = user->parent;

	let_rest(all, flow);
	let_rest(all, user);
	let_rest(all, class);
}
