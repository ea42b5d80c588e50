#include "conn_inner.h"

#include <time.h>

#include "control.h"

#define LATE_MOST_US 1000000 /* a schedule later than this begins anew */
#define FILL_BYTES 65536     /* rendered at once */
#define TURN_BYTES 1048576   /* sent before others have their turn */
#define DRIP_BYTES 65536     /* one drop of a dripping answer */
#define DRIP_US 5000
#define HOLD_US 2000 /* between looks for a word to go on */

uint64_t
conn_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Counts the usage once its last byte has been taken by the kernel. */
static void
note_sent(struct conn *c, size_t n)
{
	const struct usage *u = &c->a.usage;

	c->sent += n;
	if (c->was_usage_sent || c->sent < c->a.usage_end)
		return;
	c->was_usage_sent = true;
	stats_add(STAT_usage_prompt, u->prompt);
	stats_add(STAT_usage_completion, u->completion);
	stats_add(STAT_usage_cached, u->cached);
	stats_add(STAT_usage_cache_write, u->written);
	stats_add(STAT_usage_reasoning, u->reasoning);
	stats_add(STAT_usage_answers, 1);
}

/* Sends p[0..n) as far as the socket takes it; *done is how far. */
static enum sent
send_some(struct conn *c, const char *p, size_t n, size_t *done)
{
	*done = c->is_alone ? n : 0;
	while (*done < n) {
		ssize_t put = conn_transmit(c, p + *done, n - *done);

		if (put < 0)
			return SENT_BROKEN;
		if (put == 0)
			return SENT_BLOCKED;
		*done += (size_t)put;
		note_sent(c, (size_t)put);
	}
	return SENT_ALL;
}

/* Sends what waits in `out`; when dripping or shredding, one piece of it. */
static enum sent
flush(struct conn *c)
{
	size_t n = c->out.n - c->out_at, done;
	enum sent sent;

	if (c->a.is_dripping && n > DRIP_BYTES)
		n = DRIP_BYTES;
	if (c->d.shred > 0 && n > (size_t)c->d.shred)
		n = (size_t)c->d.shred;
	if (n == 0)
		return SENT_ALL;
	sent = send_some(c, c->out.p + c->out_at, n, &done);
	c->out_at += done;
	if (c->out_at < c->out.n)
		return sent == SENT_ALL ? SENT_BLOCKED : sent;
	bytes_clear(&c->out, CONN_KEEP_BYTES);
	c->out_at = 0;
	return SENT_ALL;
}

/* Renders the next bytes, up to a wait, and sends them. */
static enum sent
fill(struct conn *c, size_t *turn)
{
	struct bytes *b = &c->w->scratch;
	enum sent sent;
	size_t done;

	b->n = 0;
	do {
		c->next = answer_next(&c->a, b);
		if ((c->next == NEXT_PAUSE && c->d.interval_us == 0) ||
		    (c->next == NEXT_TAIL && c->d.tail_us == 0))
			c->next = NEXT_MORE;
	} while (c->next == NEXT_MORE && b->n < FILL_BYTES);
	if (!c->was_status_counted && c->a.stage != STAGE_HEAD) {
		c->was_status_counted = true;
		stats_count_status(c->a.status);
	}
	*turn += b->n;
	if (c->a.is_dripping || c->d.shred > 0) {
		bytes_add(&c->out, b->p, b->n);
		return c->out.n > 0 ? SENT_BLOCKED : SENT_ALL;
	}
	sent = send_some(c, b->p, b->n, &done);
	if (sent == SENT_BLOCKED)
		bytes_add(&c->out, b->p + done, b->n - done);
	return sent;
}

/* The socket is full, or it is not yet time for the next drop. */
static enum step
wait_to_send(struct conn *c)
{
	if (c->a.is_dripping)
		conn_arm(c, DRIP_US);
	else
		event_add(&c->writable, NULL);
	return STEP_WAIT;
}

enum step
conn_wait(struct conn *c, int64_t us)
{
	uint64_t now = conn_now_us(), slack = (uint64_t)us * 8;

	/* The first, or one after a pause that had no schedule: it begins now.
	 */
	if (slack > LATE_MOST_US)
		slack = LATE_MOST_US;
	if (c->due_us + slack < now)
		c->due_us = now;
	c->due_us += (uint64_t)us;
	conn_arm(c, c->due_us > now ? (int64_t)(c->due_us - now) : 0);
	return STEP_WAIT;
}

/* The whole answer has been sent. */
static enum step
finish(struct conn *c)
{
	if (c->is_alone)
		return conn_end(c, ENDING_CLIENT_LEFT, ACT_GO_ON);
	if (!c->a.is_kept)
		return conn_end(c, ENDING_FINISHED, ACT_GO_ON);
	conn_end_request(c, ENDING_FINISHED);
	c->phase = PHASE_HEAD;
	request_reset(&c->rq);
	if (c->in.n == 0)
		bytes_clear(&c->in, CONN_KEEP_BYTES);
	if (c->d.idle_close_us == 0)
		return conn_end(c, ENDING_IDLE, ACT_GO_ON);
	if (c->d.idle_close_us > 0)
		conn_arm(c, c->d.idle_close_us);
	conn_set_reading(c, true);
	return STEP_AGAIN;
}

/* The fault strikes. */
static enum step
strike(struct conn *c)
{
	if (c->a.cut_act != ACT_HANG)
		return conn_end(c, ENDING_FAULT, c->a.cut_act);
	c->phase = PHASE_HUNG;
	return STEP_WAIT;
}

/* Waits for /_mock/go. */
static enum step
hold(struct conn *c)
{
	uint64_t go = control_go_count();

	if (!c->is_held) {
		c->is_held = true;
		c->go = go;
		stats_add(STAT_held, 1);
	}
	if (c->go == go) {
		conn_arm(c, HOLD_US);
		return STEP_WAIT;
	}
	c->is_held = false;
	stats_sub(STAT_held, 1);
	c->next = NEXT_MORE;
	return STEP_AGAIN;
}

enum step
conn_play(struct conn *c)
{
	size_t turn = 0;
	enum sent sent = flush(c);

	while (sent == SENT_ALL) {
		switch (c->next) {
		case NEXT_MORE:
			if (turn >= TURN_BYTES) {
				event_add(&c->writable, NULL);
				return STEP_WAIT;
			}
			sent = fill(c, &turn);
			continue;
		case NEXT_FIRST:
			return conn_work(c);
		case NEXT_PAUSE:
			c->next = NEXT_MORE;
			return conn_wait(c, c->d.interval_us);
		case NEXT_TAIL:
			c->next = NEXT_MORE;
			return conn_wait(c, c->d.tail_us);
		case NEXT_HOLD:
			return hold(c);
		case NEXT_END:
			return finish(c);
		case NEXT_CUT:
			return strike(c);
		}
	}
	if (sent == SENT_BROKEN)
		return conn_works_on(c)
		    ? STEP_AGAIN
		    : conn_end(c, ENDING_CLIENT_LEFT, ACT_GO_ON);
	return wait_to_send(c);
}

enum step
conn_start_answer(struct conn *c)
{
	c->phase = PHASE_ANSWER;
	c->next = NEXT_MORE;
	c->sent = 0;
	c->due_us = 0;
	c->was_usage_sent = false;
	c->was_status_counted = !c->is_in_flight;
	c->work = WORK_NONE;
	if (c->is_in_flight) {
		if (c->a.is_stream && c->d.rate > 0)
			c->d.interval_us = 1000000 / c->d.rate;
		stats_add(STAT_answers_started, 1);
		if (c->a.is_stream)
			stats_add(STAT_streams_started, 1);
		if (c->a.early == 0)
			c->next = NEXT_FIRST;
	}
	return STEP_AGAIN;
}
