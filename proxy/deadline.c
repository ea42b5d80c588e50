#include "proxy/deadline.h"

#include "base/clock.h"

#include "base/banned.h"

static void
arm(struct deadline *d, uint64_t now_ns)
{
	uint64_t wait = d->at_ns > now_ns ? d->at_ns - now_ns : 0;
	struct timeval tv;

	/* Rounded up, so that it is due when it fires. */
	wait = (wait + 999) / 1000;
	tv.tv_sec = (time_t)(wait / 1000000);
	tv.tv_usec = (suseconds_t)(wait % 1000000);
	event_add(&d->timer, &tv);
	d->armed_ns = d->at_ns;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct deadline *d = arg;
	uint64_t now = clock_mono_ns();

	(void)fd;
	(void)what;
	d->armed_ns = DEADLINE_NONE;
	if (d->at_ns == DEADLINE_NONE)
		return;
	if (d->at_ns > now) {
		arm(d, now);
		return;
	}
	d->at_ns = DEADLINE_NONE;
	d->on_due(d->arg);
}

void
deadline_init(
    struct deadline *d, struct event_base *base, deadline_fn on_due, void *arg)
{
	event_assign(&d->timer, base, -1, 0, on_timer, d);
	d->at_ns = d->armed_ns = DEADLINE_NONE;
	d->on_due = on_due;
	d->arg = arg;
}

void
deadline_release(struct deadline *d)
{
	event_del(&d->timer);
	d->at_ns = d->armed_ns = DEADLINE_NONE;
}

void
deadline_set(struct deadline *d, uint64_t at_ns, uint64_t now_ns)
{
	d->at_ns = at_ns;
	if (at_ns < d->armed_ns)
		arm(d, now_ns);
}
