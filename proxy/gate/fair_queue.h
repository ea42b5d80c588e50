/*
 * fair_queue.h - in which order those that wait for one upstream go: start-time
 * fair queueing between users, then between each user's flows.
 *
 * A user's virtual time grows by cost / weight when a request of theirs is
 * dispatched, and is corrected when its real cost is known; the least goes
 * next.  Who comes back after having had nothing waiting begins at the queue's
 * virtual time, so that nobody saves up; that follows real costs alone, so that
 * nobody is kept waiting by estimates that were too high.  Below that, the same
 * between the user's flows (a key or a session at one model: all requests of a
 * flow are held to the same limits); within a flow, first come first served.
 * Class `interactive` goes before `batch`, but of the cost dispatched a tenth
 * is kept for batch while it waits; a user's times in the two are apart.
 *
 * No clock, no lock, no I/O.  Jobs are embedded in whatever waits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/list.h"

enum fair_class { FAIR_INTERACTIVE, FAIR_BATCH, FAIR_CLASS_COUNT };

struct fair_queue;
struct fair_node;

struct fair_job {
	/* Set by the caller before fair_queue_push(). */
	uint64_t user, flow; /* identities; any number but equal for equals */
	uint32_t weight;     /* of the user, at least 1 */
	enum fair_class class;
	uint64_t cost;     /* tokens, estimated; at least 1 */
	bool is_committed; /* its client has got an answer's head: it may not
			      lose its place */

	/* The queue's own. */
	struct link link;
	struct fair_node *flow_node; /* NULL: in no queue */
	uint64_t order;
	uint64_t flow_forgone, user_forgone; /* at its dispatch */
	bool is_dispatched;
};

/* Never NULL. */
struct fair_queue *fair_queue_create(void);
void fair_queue_destroy(struct fair_queue **qp); /* empty of jobs */

/* Appends a job to its flow. */
void fair_queue_push(struct fair_queue *q, struct fair_job *job);

/* What the one who dispatches says of a job that is next in its flow. */
enum fair_fit {
	FAIR_GOES,
	FAIR_FLOW_BLOCKED, /* nothing of this flow may go now */
	FAIR_USER_BLOCKED, /* nothing of this user */
	FAIR_STOP,         /* it is its turn, it cannot go, and nobody may go
			      before it */
};
typedef enum fair_fit (*fair_fit_fn)(void *arg, struct fair_job *job);

/* Takes the job whose turn it is, passing over those that may not go; charges
 * its user and flow for it.  NULL: none may go now.  It counts as in flight
 * until fair_queue_finish(). */
struct fair_job *fair_queue_next(
    struct fair_queue *q, fair_fit_fn fits, void *arg);

/* Takes a job that waits out again: its client left, or its time is over. */
void fair_queue_remove(struct fair_queue *q, struct fair_job *job);

/* A dispatched job has ended and really cost so much. */
void fair_queue_finish(
    struct fair_queue *q, struct fair_job *job, uint64_t cost);

size_t fair_queue_waiting(const struct fair_queue *q);
size_t fair_queue_waiting_of(const struct fair_queue *q, uint64_t user);

/* How many users and flows it knows of. */
size_t fair_queue_remembered(const struct fair_queue *q);

/* Whose place a newcomer of `user`, who stands in the queue already, takes if
 * that is too full now: the newest job, not committed, of the user who has most
 * waiting, if that is more than `user` has with the newcomer (so that two do
 * not push each other out in turns).  NULL: nobody's. */
struct fair_job *fair_queue_victim(const struct fair_queue *q, uint64_t user);

/* How many would go before this job if all who wait could go now, one at a
 * time, at their estimated costs; an estimate for people: 0 is the next one. */
size_t fair_queue_ahead(const struct fair_queue *q, const struct fair_job *job);

/* One that waits, in a copy of the queue: for people, who want to see all. */
struct fair_turn {
	const struct fair_job *job; /* borrowed from the queue, which may not
				       change as long as it is looked at */
	size_t index;               /* counts as they were copied */
	enum fair_class class;
	uint64_t user, order;
	/* When it would begin, in its user's and in its class's time. */
	int64_t flow_begin, begin;
	int64_t charge; /* what it adds to its user's time */
};

/* Copies at most `most` of those that wait, in no order worth mentioning.
 * Returns how many. */
size_t fair_queue_turns(
    const struct fair_queue *q, struct fair_turn *out, size_t most);

/* Puts what was copied in the order in which they would go if all could go now,
 * one at a time, at their estimated costs: the first is the next one.  Needs no
 * queue any more. */
void fair_turns_sort(struct fair_turn *turns, size_t count);
