#include "proxy/move.h"

#include <pthread.h>
#include <stdlib.h>

#include "proxy/client.h"
#include "proxy/exchange.h"

#include "base/banned.h"

void
exchange_move(struct exchange *x, struct worker *to)
{
	struct worker *w = x->w;

	x->moves_to = to;
	list_remove(&x->link);
	if (list_is_empty(&w->leaving))
		event_active(&w->mover, EV_TIMEOUT, 1);
	list_append(&w->leaving, &x->link);
}

void
moves_send(struct worker *w)
{
	LIST_EACH (&w->leaving, l) {
		struct exchange *x = CONTAINER_OF(l, struct exchange, link);
		struct worker *to = x->moves_to;

		list_remove(l);
		client_leave_worker(x->client);
		x->moves_to = NULL;
		pthread_mutex_lock(&to->mail_mutex);
		list_append(&to->arrivals, &x->link);
		pthread_mutex_unlock(&to->mail_mutex);
		worker_post(to, MAIL_ARRIVALS, NULL, NULL);
	}
}

/* The next one that has come; NULL: no more. */
static struct exchange *
take_one(struct worker *w)
{
	struct exchange *x = NULL;

	pthread_mutex_lock(&w->mail_mutex);
	if (!list_is_empty(&w->arrivals)) {
		x = CONTAINER_OF(w->arrivals.next, struct exchange, link);
		list_remove(&x->link);
	}
	pthread_mutex_unlock(&w->mail_mutex);
	return x;
}

void
moves_take(struct worker *w)
{
	struct exchange *x;

	while ((x = take_one(w)) != NULL) {
		x->w = w;
		list_append(&w->exchanges, &x->link);
		client_join_worker(x->client, w);
		exchange_run(x);
	}
}

void
moves_drop(struct worker *w)
{
	struct exchange *x;

	while ((x = take_one(w)) != NULL) {
		x->w = w;
		list_append(&w->exchanges, &x->link);
		client_join_worker(x->client, w);
		client_close(x->client);
		x->client = NULL;
		exchange_end(x, END_SHUTDOWN, "");
	}
}
