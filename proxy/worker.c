#include "proxy/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proxy/agree.h"
#include "proxy/client.h"
#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/move.h"
#include "proxy/upstream.h"

#include "base/banned.h"

static void
on_reap(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	LIST_EACH (&w->graveyard, l) {
		struct grave *g = CONTAINER_OF(l, struct grave, link);

		list_remove(l);
		g->free(g);
	}
}

void
worker_bury(struct worker *w, struct grave *g)
{
	if (list_is_empty(&w->graveyard))
		event_active(&w->reaper, EV_TIMEOUT, 1);
	list_append(&w->graveyard, &g->link);
}

const char *
worker_date(struct worker *w)
{
	time_t now = (time_t)(clock_wall_ms() / 1000);
	struct tm tm;

	if (now != w->date_second) {
		gmtime_r(&now, &tm);
		strftime(
		    w->date, sizeof w->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
		w->date_second = now;
	}
	return w->date;
}

/* Ends the streams of keys that do not stand any more. */
static void
cut_revoked(struct worker *w)
{
	int64_t now = clock_wall_ms();

	LIST_EACH (&w->exchanges, l) {
		struct exchange *x = CONTAINER_OF(l, struct exchange, link);
		const struct key_record *r;

		if (x->record == NULL)
			continue;
		r = key_table_find(w->keys, x->record->id);
		if (r == NULL || key_record_state(r, now) == KEY_REVOKED)
			exchange_end(x, END_REVOKED, "");
	}
}

/* The same for users who were taken out of the configuration. */
static void
cut_removed(struct worker *w)
{
	const struct config *c = w->snapshot->config;

	LIST_EACH (&w->exchanges, l) {
		struct exchange *x = CONTAINER_OF(l, struct exchange, link);

		if (config_user(c, slice_of(x->user->name)) == NULL)
			exchange_end(x, END_REVOKED, "");
	}
}

static void
take_keys(struct worker *w, struct key_table *keys)
{
	key_table_unref(&w->keys);
	key_hasher_destroy(&w->hasher);
	w->keys = keys;
	w->hasher = key_table_hasher(keys);
	w->keys_generation++;
	cut_revoked(w);
}

static void
take_snapshot(struct worker *w, struct snapshot *s)
{
	pools_release(w);
	snapshot_unref(&w->snapshot);
	w->snapshot = s;
	pools_make(w);
	cut_removed(w);
}

/* Connections without a request go now, the others after their answer.  New
 * ones are still accepted, so that /readyz can say what is going on. */
static void
drain(struct worker *w)
{
	w->is_draining = true;
	LIST_EACH (&w->waiting, l) {
		struct client *c = CONTAINER_OF(l, struct client, link);

		if (c->state == CLIENT_HEAD && buf_len(&c->in) == 0)
			client_close(c);
	}
}

static void
cut(struct worker *w)
{
	LIST_EACH (&w->exchanges, l)
		exchange_end(
		    CONTAINER_OF(l, struct exchange, link), END_SHUTDOWN, "");
}

static void
close_clients(struct worker *w)
{
	LIST_EACH (&w->waiting, l)
		client_close(CONTAINER_OF(l, struct client, link));
	LIST_EACH (&w->clients, k)
		client_close(CONTAINER_OF(k, struct client, link));
}

static void
on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct snapshot *snapshot;
	struct key_table *keys;
	unsigned mail;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof count) < 0)
		return;
	pthread_mutex_lock(&w->mail_mutex);
	mail = w->mail;
	snapshot = w->mail_snapshot;
	keys = w->mail_keys;
	w->mail = 0;
	w->mail_snapshot = NULL;
	w->mail_keys = NULL;
	pthread_mutex_unlock(&w->mail_mutex);
	if (snapshot != NULL)
		take_snapshot(w, snapshot);
	if (keys != NULL)
		take_keys(w, keys);
	if ((mail & MAIL_DRAIN) != 0)
		drain(w);
	if ((mail & MAIL_ROOM) != 0)
		clients_make_room(w);
	if ((mail & MAIL_ARRIVALS) != 0) {
		moves_take(w);
		/* On their way they were nobody's to cut. */
		cut_revoked(w);
		cut_removed(w);
	}
	if ((mail & MAIL_GATE) != 0)
		queues_look(w);
	if ((mail & MAIL_SAFE) != 0)
		exchanges_release_safe(w);
	if ((mail & MAIL_CUT) != 0)
		cut(w);
	if ((mail & MAIL_STOP) != 0)
		event_base_loopbreak(w->base);
}

void
worker_post(struct worker *w, unsigned mail, struct snapshot *snapshot,
    struct key_table *keys)
{
	uint64_t one = 1;

	pthread_mutex_lock(&w->mail_mutex);
	w->mail |= mail;
	if (snapshot != NULL) {
		snapshot_unref(&w->mail_snapshot);
		w->mail_snapshot = snapshot_ref(snapshot);
	}
	if (keys != NULL) {
		key_table_unref(&w->mail_keys);
		w->mail_keys = key_table_ref(keys);
	}
	pthread_mutex_unlock(&w->mail_mutex);
	/* The counter cannot overflow: it would take 2^64 letters. */
	(void)!write(w->mail_fd, &one, sizeof one);
}

static void
on_move(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	moves_send(arg);
}

static void
ring(void *arg)
{
	worker_post(arg, MAIL_GATE, NULL, NULL);
}

static void
release(struct worker *w)
{
	if (w->base != NULL) {
		pools_release(w);
		agree_close(w);
		on_reap(-1, 0, w);
		event_base_free(w->base);
	}
	if (w->mail_fd >= 0)
		close(w->mail_fd);
	snapshot_unref(&w->mail_snapshot);
	key_table_unref(&w->mail_keys);
	snapshot_unref(&w->snapshot);
	key_hasher_destroy(&w->hasher);
	key_table_unref(&w->keys);
	buf_release(&w->line);
	pthread_mutex_destroy(&w->mail_mutex);
	free(w);
}

static struct event_base *
make_base(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base;

	if (cfg == NULL)
		return NULL;
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

struct worker *
worker_create(struct gateway *g, unsigned index, struct snapshot *snapshot,
    struct key_table *keys, const struct listen_address *listen,
    size_t listen_count, struct fault *why)
{
	struct worker *w = xcalloc(sizeof *w);

	w->gateway = g;
	w->index = index;
	list_init(&w->clients);
	list_init(&w->waiting);
	list_init(&w->exchanges);
	list_init(&w->unsafe);
	list_init(&w->graveyard);
	list_init(&w->leaving);
	list_init(&w->arrivals);
	list_init(&w->bell.ready);
	w->bell.ring = ring;
	w->bell.arg = w;
	pthread_mutex_init(&w->mail_mutex, NULL);
	w->base = make_base();
	w->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->base == NULL || w->mail_fd < 0) {
		fault_errno(why, "no event loop");
		goto fail;
	}
	if (!ulid_source_init(&w->ids, why))
		goto fail;
	event_assign(&w->reaper, w->base, -1, 0, on_reap, w);
	event_assign(&w->mover, w->base, -1, 0, on_move, w);
	event_assign(&w->mail_event, w->base, w->mail_fd, EV_READ | EV_PERSIST,
	    on_mail, w);
	event_add(&w->mail_event, NULL);
	w->snapshot = snapshot_ref(snapshot);
	pools_make(w);
	w->keys_generation = 1;
	w->keys = key_table_ref(keys);
	w->hasher = key_table_hasher(keys);
	if (!agree_open(w, why))
		goto fail;
	if (!listeners_open(w, listen, listen_count, why)) {
		listeners_close(w);
		goto fail;
	}
	return w;
fail:
	release(w);
	return NULL;
}

static void *
run(void *arg)
{
	struct worker *w = arg;

	event_base_dispatch(w->base);
	/* Whatever is left has no loop any more. */
	listeners_close(w);
	moves_send(w);
	cut(w);
	LIST_EACH (&w->unsafe, l)
		exchange_release(CONTAINER_OF(l, struct exchange, unsafe_link));
	close_clients(w);
	return NULL;
}

bool
worker_start(struct worker *w, struct fault *why)
{
	int error = pthread_create(&w->thread, NULL, run, w);

	if (error != 0)
		return fault_set(
		    why, "cannot start a worker: %s", strerror(error));
	return true;
}

void
worker_join(struct worker *w)
{
	pthread_join(w->thread, NULL);
}

void
worker_destroy(struct worker **wp)
{
	struct worker *w = *wp;

	*wp = NULL;
	if (w != NULL)
		release(w);
}
