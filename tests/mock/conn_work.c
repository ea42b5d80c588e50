#include "conn_inner.h"

#define LOOK_US 2000 /* between looks for a slot */
#define SECOND_US 1000000

/* How long these tokens take at `rate` a second. */
static int64_t
time_of(uint64_t tokens, int64_t rate)
{
	if (rate <= 0)
		return 0;
	return (int64_t)((__int128)tokens * SECOND_US / rate);
}

/* Counts what was read of the prompt until now. */
static void
end_reading(struct conn *c)
{
	const struct work *w = &c->a.work;
	uint64_t us = conn_now_us() - c->reading_since_us;
	uint64_t tokens = us * (uint64_t)c->d.prefill / SECOND_US;

	if (c->work == WORK_READS)
		stats_add(STAT_prefills_cut, 1);
	if (c->work != WORK_READS || tokens > w->reads)
		tokens = w->reads;
	stats_add(STAT_prefill_tokens, tokens);
}

/* The prompt has been read: what is left before the first byte. */
static enum step
begin_answer(struct conn *c)
{
	const struct work *w = &c->a.work;
	int64_t us = c->d.ttft_us;

	if (!c->a.is_stream)
		us += time_of(c->a.usage.completion, c->d.rate);
	c->work = WORK_READ;
	if (w->reads > 0)
		end_reading(c);
	if (w->prompt.n > 0)
		prefix_learn(w->prompt.p, w->prompt.n);
	c->next = NEXT_MORE;
	return us > 0 || c->a.early > 0 ? conn_wait(c, us) : STEP_AGAIN;
}

static enum step
begin_reading(struct conn *c)
{
	int64_t us = time_of(c->a.work.reads, c->d.prefill);

	if (us == 0)
		return begin_answer(c);
	c->work = WORK_READS;
	c->reading_since_us = conn_now_us();
	return conn_wait(c, us);
}

enum step
conn_work(struct conn *c)
{
	switch (c->work) {
	case WORK_NONE:
		if (!c->a.work.is_due)
			return begin_answer(c);
		c->work = WORK_WAITS;
		slot_enter(&c->slot, (uint64_t)c->d.slots);
		return STEP_AGAIN;
	case WORK_WAITS:
		if (slot_is_held(&c->slot))
			return begin_reading(c);
		conn_arm(c, LOOK_US);
		return STEP_WAIT;
	case WORK_READS:
		return begin_answer(c);
	case WORK_READ:
		break;
	}
	c->next = NEXT_MORE;
	return STEP_AGAIN;
}

void
conn_end_work(struct conn *c, bool is_cut)
{
	if (c->work == WORK_READS)
		end_reading(c);
	if (is_cut && c->work != WORK_NONE)
		stats_add(STAT_works_cut, 1);
	c->work = WORK_NONE;
	slot_leave(&c->slot);
}

bool
conn_works_on(struct conn *c)
{
	if (c->phase != PHASE_ANSWER || !c->is_in_flight ||
	    !c->a.work.goes_on || !c->a.work.is_due)
		return false;
	c->is_alone = true;
	event_del(&c->readable);
	event_del(&c->closed);
	event_del(&c->writable);
	c->out.n = c->out_at = 0; /* nobody takes it */
	if (!evtimer_pending(&c->timer, NULL))
		conn_arm(c, 0); /* it waited for the socket */
	stats_add(STAT_works_alone, 1);
	return true;
}
