/*
 * fair_queue.c - whose turn it is: a class has users, a user has flows, a flow
 * has jobs.  Classes, users and flows are nodes of one kind (fair_node.h, where
 * it also stands what is promised and why), so that the same few functions do
 * it between users and between flows.
 */
#include "proxy/gate/fair_queue.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proxy/gate/fair_node.h"

#include "base/banned.h"

#define UNIT_SHIFT 16
#define COST_MOST (UINT64_C(1) << 26)
#define BATCH_PARTS 9 /* of interactive's cost to one of batch's */

struct fair_queue {
	struct fair_node classes[FAIR_CLASS_COUNT];
	struct fair_nodes nodes; /* owned; users and flows */
	/* What was dispatched of interactive while batch waited, less what
	 * batch got for it BATCH_PARTS times: this many tokens. */
	uint64_t batch_due;
};

static struct fair_job *
job_of(struct link *l)
{
	return CONTAINER_OF(l, struct fair_job, link);
}

static uint64_t
capped(uint64_t cost)
{
	return cost < COST_MOST ? cost : COST_MOST;
}

static uint64_t
units(uint64_t cost, uint32_t weight)
{
	return (capped(cost) << UNIT_SHIFT) / weight;
}

/* A flow of one user weighs as much as any other. */
static uint32_t
weight_at(const struct fair_node *node, const struct fair_job *job)
{
	return node == job->flow_node ? 1 : job->weight;
}

/* What it is estimated to add to the node's time. */
static uint64_t
charge_at(const struct fair_node *node, const struct fair_job *job)
{
	return units(job->cost, weight_at(node, job));
}

/* --- jobs that wait ------------------------------------------------------ */

struct fair_queue *
fair_queue_create(void)
{
	return xcalloc(sizeof(struct fair_queue));
}

void
fair_queue_destroy(struct fair_queue **qp)
{
	struct fair_queue *q = *qp;

	*qp = NULL;
	if (q == NULL)
		return;
	assert(q->nodes.table.count == 0);
	table_release(&q->nodes.table);
	free(q);
}

void
fair_queue_push(struct fair_queue *q, struct fair_job *job)
{
	struct fair_node *user =
	    fair_node_get(&q->nodes, &q->classes[job->class], job->user);
	struct fair_node *flow = fair_node_get(&q->nodes, user, job->flow);

	assert(job->weight > 0);
	job->flow_node = flow;
	job->is_dispatched = false;
	job->order = ++q->nodes.order;
	list_append(&flow->jobs, &job->link);
	if (user->waiting == 0)
		fair_node_enter(&q->nodes, user);
	if (flow->waiting == 0)
		fair_node_enter(&q->nodes, flow);
	for (; flow != NULL; flow = flow->parent)
		flow->waiting++;
}

/* It waits no more, for better or worse. */
static void
take_out(struct fair_queue *q, struct fair_job *job)
{
	struct fair_node *node = job->flow_node;

	list_remove(&job->link);
	for (; node != NULL; node = node->parent)
		if (--node->waiting == 0 && node->parent != NULL)
			fair_node_leave(node);
	if (q->classes[FAIR_BATCH].waiting == 0)
		q->batch_due = 0;
}

void
fair_queue_remove(struct fair_queue *q, struct fair_job *job)
{
	struct fair_node *flow = job->flow_node;

	assert(flow != NULL && !job->is_dispatched);
	take_out(q, job);
	job->flow_node = NULL;
	fair_node_rest(&q->nodes, flow);
}

/* --- whose turn it is ---------------------------------------------------- */

struct asking {
	fair_fit_fn fits;
	void *arg;
	uint64_t dispatch; /* counts them; marks whom it passes over */
};

/* What is said of the first job of a user that may go, or is to be waited
 * for. */
static enum fair_fit
find_of_user(
    struct fair_node *user, const struct asking *ask, struct fair_job **out)
{
	struct fair_leaf *f = fair_tree_first(&user->waits);
	enum fair_fit fit = FAIR_FLOW_BLOCKED;

	for (; f != NULL; f = fair_tree_next(&user->waits, f)) {
		struct fair_node *flow = fair_node_at(f);
		struct fair_job *job = job_of(flow->jobs.next);

		fit = ask->fits(ask->arg, job);
		if (fit == FAIR_GOES)
			*out = job;
		if (fit != FAIR_FLOW_BLOCKED)
			return fit;
		flow->passed = ask->dispatch;
	}
	return fit;
}

/* The first job of a class that may go.  False: nobody may go now at all. */
static bool
find(struct fair_node *class, const struct asking *ask, struct fair_job **out)
{
	struct fair_leaf *u = fair_tree_first(&class->waits);

	*out = NULL;
	for (; u != NULL; u = fair_tree_next(&class->waits, u)) {
		struct fair_node *user = fair_node_at(u);
		enum fair_fit fit = find_of_user(user, ask, out);

		if (fit == FAIR_GOES || fit == FAIR_STOP)
			return fit == FAIR_GOES;
		user->passed = ask->dispatch;
	}
	return true;
}

/* What batch must be owed for its first job to go before interactive. */
static uint64_t
price_of_first_batch(struct fair_queue *q)
{
	struct fair_leaf *user = fair_tree_first(&q->classes[FAIR_BATCH].waits);
	struct fair_leaf *flow = fair_tree_first(&fair_node_at(user)->waits);

	return BATCH_PARTS *
	    capped(job_of(fair_node_at(flow)->jobs.next)->cost);
}

/* Both classes wait.  Batch goes if it is owed the whole cost, so that it never
 * gets more than its tenth; what it cannot use, because it is blocked, it is
 * not owed for long. */
static struct fair_job *
choose(struct fair_queue *q, const struct asking *ask)
{
	uint64_t price = price_of_first_batch(q);
	struct fair_job *job;

	if (q->batch_due >= price) {
		if (!find(&q->classes[FAIR_BATCH], ask, &job))
			return NULL;
		if (job != NULL &&
		    q->batch_due >= BATCH_PARTS * capped(job->cost)) {
			q->batch_due -= BATCH_PARTS * capped(job->cost);
			return job;
		}
	}
	if (!find(&q->classes[FAIR_INTERACTIVE], ask, &job))
		return NULL;
	if (job != NULL) {
		if (q->batch_due < price)
			q->batch_due += capped(job->cost);
		return job;
	}
	if (!find(&q->classes[FAIR_BATCH], ask, &job))
		return NULL;
	return job;
}

struct fair_job *
fair_queue_next(struct fair_queue *q, fair_fit_fn fits, void *arg)
{
	const struct asking ask = {fits, arg, ++q->nodes.order};
	bool has_batch = q->classes[FAIR_BATCH].waiting > 0;
	struct fair_node *flow, *user;
	struct fair_job *job = NULL;

	if (has_batch && q->classes[FAIR_INTERACTIVE].waiting > 0)
		job = choose(q, &ask);
	else if (!find(&q->classes[has_batch ? FAIR_BATCH : FAIR_INTERACTIVE],
		     &ask, &job))
		return NULL;
	if (job == NULL)
		return NULL;
	flow = job->flow_node;
	user = flow->parent;
	fair_node_charge(&q->nodes, flow, charge_at(flow, job), ask.dispatch);
	fair_node_charge(&q->nodes, user, charge_at(user, job), ask.dispatch);
	job->flow_forgone = flow->forgone;
	job->user_forgone = user->forgone;
	take_out(q, job);
	job->is_dispatched = true;
	flow->in_flight++;
	user->in_flight++;
	user->parent->in_flight++;
	return job;
}

void
fair_queue_finish(struct fair_queue *q, struct fair_job *job, uint64_t cost)
{
	struct fair_node *flow = job->flow_node, *user = flow->parent;

	assert(job->is_dispatched);
	fair_node_settle(&q->nodes, flow, charge_at(flow, job),
	    units(cost, weight_at(flow, job)), job->flow_forgone);
	fair_node_settle(&q->nodes, user, charge_at(user, job),
	    units(cost, weight_at(user, job)), job->user_forgone);
	flow->in_flight--;
	user->in_flight--;
	user->parent->in_flight--;
	job->flow_node = NULL;
	job->is_dispatched = false;
	fair_node_rest(&q->nodes, flow);
}

/* --- looking at it ------------------------------------------------------- */

size_t
fair_queue_waiting(const struct fair_queue *q)
{
	size_t n = 0;

	for (size_t c = 0; c < FAIR_CLASS_COUNT; c++)
		n += q->classes[c].waiting;
	return n;
}

size_t
fair_queue_waiting_of(const struct fair_queue *q, uint64_t user)
{
	size_t n = 0;

	for (size_t c = 0; c < FAIR_CLASS_COUNT; c++) {
		struct fair_node *node =
		    fair_node_find(&q->nodes, &q->classes[c], user);

		n += node == NULL ? 0 : node->waiting;
	}
	return n;
}

size_t
fair_queue_remembered(const struct fair_queue *q)
{
	return q->nodes.table.count;
}

/* The newest job of that user that is not committed, if newer than `best`. */
static struct fair_job *
newest(const struct fair_node *user, struct fair_job *best)
{
	struct fair_leaf *f = fair_tree_first(&user->waits);

	for (; f != NULL; f = fair_tree_next(&user->waits, f)) {
		struct link *jobs = &fair_node_at(f)->jobs, *l = jobs->prev;

		while (l != jobs && job_of(l)->is_committed)
			l = l->prev;
		if (l != jobs &&
		    (best == NULL || job_of(l)->order > best->order))
			best = job_of(l);
	}
	return best;
}

static struct fair_job *
newest_of(const struct fair_queue *q, uint64_t user)
{
	struct fair_job *best = NULL;

	for (size_t c = 0; c < FAIR_CLASS_COUNT; c++) {
		struct fair_node *node =
		    fair_node_find(&q->nodes, &q->classes[c], user);

		if (node != NULL)
			best = newest(node, best);
	}
	return best;
}

struct fair_job *
fair_queue_victim(const struct fair_queue *q, uint64_t user)
{
	size_t most = fair_queue_waiting_of(q, user);
	struct fair_job *victim = NULL;

	for (size_t c = 0; c < FAIR_CLASS_COUNT; c++) {
		const struct fair_tree *users = &q->classes[c].waits;
		struct fair_leaf *u = fair_tree_first(users);

		for (; u != NULL; u = fair_tree_next(users, u)) {
			uint64_t id = fair_node_at(u)->id;
			size_t n = fair_queue_waiting_of(q, id);
			struct fair_job *job =
			    n > most ? newest_of(q, id) : NULL;

			if (job != NULL) {
				most = n;
				victim = job;
			}
		}
	}
	return victim;
}

/* What goes before something: how many, at what cost. */
struct before {
	size_t count;
	uint64_t cost;
};

/* Counts those jobs of a node's flow that begin before `until`, if its next one
 * begins at `time`; ends at `last`.  Returns when the one after them begins. */
static uint64_t
count_before(const struct fair_node *flow, uint64_t time, uint64_t until,
    const struct fair_job *last, struct before *sum)
{
	for (struct link *l = flow->jobs.next; l != &flow->jobs; l = l->next) {
		const struct fair_job *job = job_of(l);

		if (job == last || !fair_is_ahead(until, time))
			break;
		sum->count++;
		sum->cost += capped(job->cost);
		time += charge_at(flow, job);
	}
	return time;
}

/* The same of all flows of a user, one flow after the other: who counts them
 * from outside does not care for their order. */
static void
count_user_before(
    const struct fair_node *user, uint64_t until, struct before *sum)
{
	struct fair_leaf *f = fair_tree_first(&user->waits);
	uint64_t time = user->turn.time;

	for (; f != NULL; f = fair_tree_next(&user->waits, f)) {
		struct link *jobs = &fair_node_at(f)->jobs;

		for (struct link *l = jobs->next;
		     l != jobs && fair_is_ahead(until, time); l = l->next) {
			sum->count++;
			time += units(job_of(l)->cost, job_of(l)->weight);
		}
	}
}

size_t
fair_queue_ahead(const struct fair_queue *q, const struct fair_job *job)
{
	const struct fair_node *flow = job->flow_node, *user = flow->parent;
	const struct fair_tree *users = &user->parent->waits;
	uint64_t never = flow->turn.time + (UINT64_C(1) << 62), begin;
	struct before sum = {0};
	struct fair_leaf *l;

	begin = count_before(flow, flow->turn.time, never, job, &sum);
	for (l = fair_tree_first(&user->waits); l != NULL;
	     l = fair_tree_next(&user->waits, l))
		if (fair_node_at(l) != flow)
			count_before(
			    fair_node_at(l), l->time, begin, NULL, &sum);
	begin = user->turn.time + (sum.cost << UNIT_SHIFT) / job->weight;
	for (l = fair_tree_first(users); l != NULL;
	     l = fair_tree_next(users, l))
		if (fair_node_at(l) != user)
			count_user_before(fair_node_at(l), begin, &sum);
	if (job->class == FAIR_BATCH)
		sum.count += q->classes[FAIR_INTERACTIVE].waiting;
	return sum.count;
}

/* --- for people ---------------------------------------------------------- */

/* A flow's jobs.  Times are told by how far they are from the clock that they
 * are compared by. */
static size_t
copy_flow(const struct fair_node *flow, struct fair_turn *out, size_t most)
{
	const struct fair_node *user = flow->parent, *class = user->parent;
	uint64_t time = flow->turn.time;
	size_t n = 0;

	for (struct link *l = flow->jobs.next; l != &flow->jobs && n < most;
	     l = l->next) {
		const struct fair_job *job = job_of(l);

		out[n++] = (struct fair_turn){
		    .job = job,
		    .class = job->class,
		    .user = job->user,
		    .order = job->order,
		    .flow_begin = (int64_t)(time - user->clock),
		    .begin = (int64_t)(user->turn.time - class->clock),
		    .charge = (int64_t)units(job->cost, job->weight),
		};
		time += charge_at(flow, job);
	}
	return n;
}

size_t
fair_queue_turns(const struct fair_queue *q, struct fair_turn *out, size_t most)
{
	size_t n = 0;

	for (size_t c = 0; c < FAIR_CLASS_COUNT; c++) {
		const struct fair_tree *users = &q->classes[c].waits;
		struct fair_leaf *u = fair_tree_first(users), *f;

		for (; u != NULL; u = fair_tree_next(users, u)) {
			const struct fair_tree *flows = &fair_node_at(u)->waits;

			for (f = fair_tree_first(flows); f != NULL;
			     f = fair_tree_next(flows, f))
				n += copy_flow(
				    fair_node_at(f), out + n, most - n);
		}
	}
	for (size_t i = 0; i < n; i++)
		out[i].index = i;
	return n;
}
