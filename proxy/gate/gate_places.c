#include "proxy/gate/gate_inner.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define PASSED_MOST_NS (2 * NS_PER_SECOND) /* over for kv_tokens */
#define HELD_PARTS 8 /* a place's time is so much of the moving average */
#define BELLS_MOST 256

/* Which bells are to be rung once the lock is released. */
struct ringing {
	struct gate_bell *bells[BELLS_MOST];
	size_t count;
};

/* All that a decision needs. */
struct turn {
	struct gate *g;
	struct gate_upstream *up;
	uint64_t now_ns;
	struct ringing *ringing;
};

static struct gate_place *
place_of(struct fair_job *job)
{
	return job == NULL ? NULL : CONTAINER_OF(job, struct gate_place, job);
}

/* Locks. */
static struct turn
begin(struct gate *g, struct gate_upstream *up, struct ringing *ringing,
    uint64_t now_ns)
{
	pthread_mutex_lock(&g->mutex);
	if (now_ns > g->seen_ns)
		g->seen_ns = now_ns;
	ringing->count = 0;
	return (struct turn){g, up, g->seen_ns, ringing};
}

static void
unlock_and_ring(struct gate *g, const struct ringing *r)
{
	pthread_mutex_unlock(&g->mutex);
	for (size_t i = 0; i < r->count; i++)
		r->bells[i]->ring(r->bells[i]->arg);
}

/* --- upstreams ----------------------------------------------------------- */

struct gate_upstream *
gate_upstream(struct gate *g, const char *name)
{
	struct gate_upstream *up;

	pthread_mutex_lock(&g->mutex);
	for (up = g->upstreams; up != NULL; up = up->next)
		if (strcmp(up->name, name) == 0)
			break;
	if (up == NULL) {
		up = xcalloc(sizeof *up);
		up->name = xstrdup(name);
		up->room.max_inflight = LIMIT_UNLIMITED;
		up->queue = fair_queue_create();
		up->next = g->upstreams;
		g->upstreams = up;
	}
	pthread_mutex_unlock(&g->mutex);
	return up;
}

void
gate_upstreams_release(struct gate *g)
{
	while (g->upstreams != NULL) {
		struct gate_upstream *up = g->upstreams;

		g->upstreams = up->next;
		fair_queue_destroy(&up->queue);
		free(up->name);
		free(up);
	}
}

uint64_t
gate_upstreams_in_flight(const struct gate *g)
{
	uint64_t n = 0;

	for (struct gate_upstream *up = g->upstreams; up != NULL; up = up->next)
		n += up->in_flight;
	return n;
}

/* --- who goes ------------------------------------------------------------ */

static bool
is_full(const struct gate_upstream *up)
{
	return up->room.max_inflight != LIMIT_UNLIMITED &&
	    up->in_flight >= up->room.max_inflight;
}

/* The first of its subjects that has as many as it may; subject_count: none. */
static size_t
full_subject(const struct gate *g, const struct gate_place *p, uint64_t now_ns)
{
	size_t i = 0;

	while (i < p->subject_count &&
	    !gate_is_subject_full(g, &p->subjects[i], now_ns))
		i++;
	return i;
}

/* What is larger than all the room there is, because that has shrunk since,
 * goes when nothing else is there. */
static bool
is_room_for(const struct gate_upstream *up, uint64_t tokens)
{
	return up->room.kv_tokens == 0 || up->tokens == 0 ||
	    (up->tokens < up->room.kv_tokens &&
		tokens <= up->room.kv_tokens - up->tokens);
}

static enum fair_fit
may_go(void *arg, struct fair_job *job)
{
	const struct turn *t = arg;
	struct gate_place *p = place_of(job);
	size_t full = full_subject(t->g, p, t->now_ns);

	if (full < p->subject_count)
		return p->subjects[full].account->subject == SUBJECT_USER
		    ? FAIR_USER_BLOCKED
		    : FAIR_FLOW_BLOCKED;
	if (is_room_for(t->up, p->tokens))
		return FAIR_GOES;
	if (p->passed_ns == 0)
		p->passed_ns = t->now_ns;
	return t->now_ns - p->passed_ns < PASSED_MOST_NS ? FAIR_FLOW_BLOCKED
							 : FAIR_STOP;
}

/* Its thread hears of it. */
static void
tell(struct turn *t, struct gate_place *p)
{
	struct gate_bell *bell = p->bell;

	if (list_is_empty(&bell->ready)) {
		assert(t->ringing->count < BELLS_MOST);
		t->ringing->bells[t->ringing->count++] = bell;
	}
	list_append(&bell->ready, &p->ready);
	p->is_told = true;
}

static void
let_in(struct turn *t, struct gate_place *p)
{
	for (size_t i = 0; i < p->subject_count; i++)
		p->subjects[i].account->account.in_flight++;
	p->has_user = true;
	t->up->in_flight++;
	t->up->tokens += p->tokens;
	p->granted_ns = t->up->moved_ns = t->now_ns;
	if (p->state == GATE_WAITS) {
		t->g->waiting--;
		tell(t, p);
	}
	p->state = GATE_IN;
}

/* Lets in who may go. */
static void
dispatch(struct turn *t)
{
	struct gate_upstream *up = t->up;
	struct fair_job *job;

	/* One bell is left for who is pushed out; the next tick does the
	 * rest. */
	while (!is_full(up) && fair_queue_waiting(up->queue) > 0 &&
	    t->ringing->count < BELLS_MOST - 1) {
		job = fair_queue_next(up->queue, may_go, t);
		if (job == NULL)
			return;
		let_in(t, place_of(job));
	}
}

/* The same everywhere: somebody's count has changed. */
static void
dispatch_all(struct turn *t)
{
	struct turn each = *t;

	if (t->g->waiting == 0)
		return;
	for (each.up = t->g->upstreams; each.up != NULL;
	     each.up = each.up->next)
		dispatch(&each);
}

void
gate_set_room(
    struct gate *g, struct gate_upstream *up, const struct gate_room *room)
{
	struct ringing ringing;
	struct turn t;

	t = begin(g, up, &ringing, 0);
	up->room = *room;
	dispatch(&t);
	unlock_and_ring(g, &ringing);
}

/* --- entering ------------------------------------------------------------ */

static void
prepare(struct gate_place *p, struct gate_upstream *up, uint64_t now_ns)
{
	p->state = GATE_OUT;
	p->upstream = up;
	list_init(&p->ready);
	p->is_told = p->has_user = false;
	p->entered_ns = now_ns;
	p->granted_ns = p->passed_ns = 0;
	p->job = (struct fair_job){.user = p->user,
	    .flow = p->flow,
	    .weight = p->weight == 0 ? 1 : p->weight,
	    .class = p->class,
	    .cost = p->tokens == 0 ? 1 : p->tokens,
	    .is_committed = p->job.is_committed};
}

/* Waiting is in vain where nothing is ever let in. */
static bool
is_in_vain(const struct turn *t, const struct gate_place *p)
{
	if (t->up->room.max_inflight == 0)
		return true;
	for (size_t i = 0; i < p->subject_count; i++)
		if (gate_concurrent(t->g, &p->subjects[i], t->now_ns) == 0)
			return true;
	return false;
}

/* Whether one that stands in the queue now may stay in it; if another has to go
 * for it, that one is *victim. */
static bool
may_stay(const struct turn *t, const struct gate_place *p,
    struct gate_place **victim)
{
	const struct gate_room *room = &t->up->room;
	const struct fair_queue *q = t->up->queue;

	*victim = NULL;
	if (!p->may_wait || room->queue_size == 0 || is_in_vain(t, p) ||
	    fair_queue_waiting_of(q, p->user) > room->queue_per_user)
		return false;
	if (fair_queue_waiting(q) <= room->queue_size)
		return true;
	*victim = place_of(fair_queue_victim(q, p->user));
	return *victim != NULL;
}

static void
push_out(struct turn *t, struct gate_place *p)
{
	fair_queue_remove(t->up->queue, &p->job);
	p->state = GATE_PUSHED_OUT;
	t->g->waiting--;
	tell(t, p);
}

/* It cannot go and may not wait. */
static enum gate_verdict
refuse(struct turn *t, struct gate_place *p, size_t *why_subject)
{
	size_t full = full_subject(t->g, p, t->now_ns);

	fair_queue_remove(t->up->queue, &p->job);
	/* It may have been what the upstream was kept free for. */
	dispatch(t);
	if (full == p->subject_count)
		return GATE_FULL;
	*why_subject = full;
	return GATE_CONCURRENT;
}

static enum gate_verdict
enter(struct turn *t, struct gate_place *p, size_t *why_subject)
{
	struct gate_upstream *up = t->up;
	struct gate_place *victim;

	if (up->room.kv_tokens > 0 && p->tokens > up->room.kv_tokens)
		return GATE_TOO_LARGE;
	fair_queue_push(up->queue, &p->job);
	dispatch(t);
	if (p->state == GATE_IN)
		return GATE_GO;
	if (!may_stay(t, p, &victim))
		return refuse(t, p, why_subject);
	if (victim != NULL) {
		push_out(t, victim);
		dispatch(t);
		if (p->state == GATE_IN)
			return GATE_GO;
	}
	p->state = GATE_WAITS;
	t->g->waiting++;
	return GATE_LATER;
}

enum gate_verdict
gate_enter(struct gate *g, struct gate_upstream *up, struct gate_place *p,
    uint64_t now_ns, size_t *why_subject)
{
	struct ringing ringing;
	struct turn t;
	enum gate_verdict verdict;

	prepare(p, up, now_ns);
	t = begin(g, up, &ringing, now_ns);
	verdict = enter(&t, p, why_subject);
	unlock_and_ring(g, &ringing);
	return verdict;
}

static void
take_off_bell(struct gate_place *p)
{
	if (!p->is_told)
		return;
	list_remove(&p->ready);
	p->is_told = false;
}

struct gate_place *
gate_next_ready(struct gate *g, struct gate_bell *bell)
{
	struct gate_place *p = NULL;

	pthread_mutex_lock(&g->mutex);
	if (!list_is_empty(&bell->ready)) {
		p = CONTAINER_OF(bell->ready.next, struct gate_place, ready);
		take_off_bell(p);
	}
	pthread_mutex_unlock(&g->mutex);
	return p;
}

/* --- leaving ------------------------------------------------------------- */

static void
give_back_user(struct gate_place *p)
{
	if (!p->has_user)
		return;
	for (size_t i = 0; i < p->subject_count; i++)
		p->subjects[i].account->account.in_flight--;
	p->has_user = false;
}

/* Remembers how long a place was held; never as 0, which is "unknown". */
static void
learn_held(struct gate_upstream *up, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t held = to_ns > from_ns ? to_ns - from_ns : 1;

	if (up->held_ns == 0)
		up->held_ns = held;
	else
		up->held_ns = up->held_ns - up->held_ns / HELD_PARTS +
		    held / HELD_PARTS + 1;
}

/* Takes it out of the fair queue and of its user's counts; what it had of the
 * upstream is still counted there. */
static void
finish(struct gate_place *p, uint64_t tokens, uint64_t end_ns)
{
	fair_queue_finish(
	    p->upstream->queue, &p->job, tokens == 0 ? p->job.cost : tokens);
	learn_held(p->upstream, p->granted_ns, end_ns);
	give_back_user(p);
}

static void
leave(struct turn *t, struct gate_place *p, uint64_t tokens)
{
	take_off_bell(p);
	if (p->state == GATE_OUT)
		return;
	if (p->state == GATE_WAITS) {
		fair_queue_remove(t->up->queue, &p->job);
		t->g->waiting--;
	} else if (p->state == GATE_IN) {
		if (!p->has_user)
			t->up->abandoned--;
		finish(p, tokens, t->now_ns);
		t->up->moved_ns = t->now_ns;
		t->up->in_flight--;
		t->up->tokens -= p->tokens;
	}
	p->state = GATE_OUT;
	dispatch_all(t);
}

void
gate_leave(
    struct gate *g, struct gate_place *p, uint64_t tokens, uint64_t now_ns)
{
	struct ringing ringing;
	struct turn t;

	if (p->upstream == NULL)
		return;
	t = begin(g, p->upstream, &ringing, now_ns);
	leave(&t, p, tokens);
	unlock_and_ring(g, &ringing);
}

void
gate_leave_user(struct gate *g, struct gate_place *p, uint64_t now_ns)
{
	struct ringing ringing;
	struct turn t;

	t = begin(g, p->upstream, &ringing, now_ns);
	if (p->state == GATE_IN && p->has_user)
		t.up->abandoned++;
	give_back_user(p);
	dispatch_all(&t);
	unlock_and_ring(g, &ringing);
}

void
gate_commit(struct gate *g, struct gate_place *p)
{
	pthread_mutex_lock(&g->mutex);
	p->job.is_committed = true;
	pthread_mutex_unlock(&g->mutex);
}

void
gate_tick(struct gate *g, uint64_t now_ns)
{
	struct ringing ringing;
	struct turn t;

	t = begin(g, NULL, &ringing, now_ns);
	for (t.up = g->upstreams; t.up != NULL; t.up = t.up->next)
		dispatch(&t);
	unlock_and_ring(g, &ringing);
}

/* --- what to reckon with ------------------------------------------------- */

/* So many go before it, and places come free at the pace of late. */
static uint64_t
expected_wait(const struct gate *g, const struct gate_upstream *up,
    const struct gate_place *p, const struct gate_outlook *out, uint64_t now_ns)
{
	uint64_t places = up->room.max_inflight == LIMIT_UNLIMITED
	    ? up->in_flight
	    : up->room.max_inflight;
	uint64_t wait, held = up->held_ns;

	if (out->is_user_full) {
		uint64_t most =
		    gate_concurrent(g, &p->subjects[out->full_subject], now_ns);

		places = most < places ? most : places;
	}
	/* One that has stalled is not as quick as it was. */
	if (is_full(up) && now_ns > up->moved_ns &&
	    held < now_ns - up->moved_ns)
		held = now_ns - up->moved_ns;
	if (up->held_ns == 0 || places == 0)
		return UINT64_MAX;
	if (__builtin_mul_overflow(held, out->ahead + 1, &wait))
		return UINT64_MAX;
	return wait / places;
}

/* How many go before it: as if a newcomer stood in the queue already. */
static size_t
ahead_of(struct gate_upstream *up, const struct gate_place *p, uint64_t now_ns)
{
	struct gate_place newcomer;
	size_t ahead;

	if (p == NULL)
		return fair_queue_waiting(up->queue);
	if (p->state == GATE_WAITS)
		return fair_queue_ahead(up->queue, &p->job);
	newcomer = *p;
	prepare(&newcomer, up, now_ns);
	fair_queue_push(up->queue, &newcomer.job);
	ahead = fair_queue_ahead(up->queue, &newcomer.job);
	fair_queue_remove(up->queue, &newcomer.job);
	return ahead;
}

void
gate_outlook(struct gate *g, struct gate_upstream *up,
    const struct gate_place *p, uint64_t now_ns, struct gate_outlook *out)
{
	bool goes;

	*out = (struct gate_outlook){0};
	pthread_mutex_lock(&g->mutex);
	out->in_flight = up->in_flight;
	out->waiting = (uint32_t)fair_queue_waiting(up->queue);
	out->abandoned = up->abandoned;
	out->tokens = up->tokens;
	if (p == NULL || p->state == GATE_OUT || p->state == GATE_WAITS) {
		out->ahead = ahead_of(up, p, now_ns);
		if (p != NULL) {
			out->full_subject = full_subject(g, p, now_ns);
			out->is_user_full =
			    out->full_subject < p->subject_count;
		}
		goes = out->ahead == 0 && !is_full(up) && !out->is_user_full &&
		    (p == NULL || is_room_for(up, p->tokens));
		out->wait_ns = goes ? 0 : expected_wait(g, up, p, out, now_ns);
	}
	pthread_mutex_unlock(&g->mutex);
}
