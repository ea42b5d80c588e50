#include "proxy/kept.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proxy/agree.h"
#include "proxy/client.h"
#include "proxy/exchange.h"
#include "proxy/move.h"

#include "base/banned.h"

#define KEPT_MOST 256 /* each holds at most RELAY_KEPT_MOST_BYTES */

struct kept_table {
	pthread_mutex_t mutex; /* for all that follows */
	struct link kept;      /* exchanges, by kept.link */
	size_t count;
};

struct kept_table *
kept_table_create(void)
{
	struct kept_table *t = xcalloc(sizeof *t);

	pthread_mutex_init(&t->mutex, NULL);
	list_init(&t->kept);
	return t;
}

void
kept_table_destroy(struct kept_table **tp)
{
	struct kept_table *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

static struct kept_table *
table_of(const struct exchange *x)
{
	return x->w->gateway->kept;
}

static void
on_grace_over(void *arg)
{
	exchange_end(arg, END_CLIENT_GONE, "");
}

bool
kept_keep(struct exchange *x)
{
	struct kept_table *t = table_of(x);
	uint64_t now = clock_mono_ns();
	bool has_room;

	if (!x->kept.has_hash || x->step != STEP_RELAY || x->has_passed ||
	    x->content_ns != 0 || x->relay.status >= 300 ||
	    !upconn_is_sent(x->up))
		return false;
	pthread_mutex_lock(&t->mutex);
	if ((has_room = t->count < KEPT_MOST)) {
		t->count++;
		list_append(&t->kept, &x->kept.link);
	}
	pthread_mutex_unlock(&t->mutex);
	if (!has_room)
		return false;
	x->kept.is_kept = true;
	exchange_drop_body(x);
	gate_leave_user(x->w->gateway->gate, &x->place, now);
	agree_give_slot(x);
	waiting_end(x);
	deadline_init(&x->wait_timer, x->w->base, on_grace_over, x);
	x->has_wait_timer = true;
	deadline_set(
	    &x->wait_timer, now + x->model->retry_grace_ms * NS_PER_MS, now);
	return true;
}

static void
take_out(struct kept_table *t, struct exchange *x)
{
	list_remove(&x->kept.link);
	t->count--;
}

void
kept_forget(struct exchange *x)
{
	struct kept_table *t = table_of(x);

	if (!x->kept.is_kept)
		return;
	x->kept.is_kept = false;
	pthread_mutex_lock(&t->mutex);
	take_out(t, x);
	pthread_mutex_unlock(&t->mutex);
}

/* --- the retry ----------------------------------------------------------- */

static bool
hash_body(struct exchange *x)
{
	x->kept.has_hash = EVP_Digest(buf_data(&x->body), buf_len(&x->body),
			       x->kept.hash, NULL, EVP_sha256(), NULL) == 1;
	return x->kept.has_hash;
}

static bool
is_same(const struct exchange *kept, const struct exchange *x)
{
	return kept->api == x->api && kept->body_len == x->body_len &&
	    strcmp(kept->query, x->query) == 0 &&
	    strcmp(kept->user->name, x->user->name) == 0 &&
	    memcmp(kept->kept.hash, x->kept.hash, sizeof x->kept.hash) == 0;
}

/* Finds what x asks again, and on which worker it is.  What is on this one is
 * taken out: nobody else can have it. */
static struct worker *
find(struct exchange *x, struct exchange **found)
{
	struct kept_table *t = table_of(x);
	struct worker *w = NULL;

	pthread_mutex_lock(&t->mutex);
	LIST_EACH (&t->kept, link) {
		struct exchange *k =
		    CONTAINER_OF(link, struct exchange, kept.link);

		if (w != NULL || !is_same(k, x))
			continue;
		w = k->w;
		if (w != x->w)
			continue;
		take_out(t, k);
		*found = k;
	}
	pthread_mutex_unlock(&t->mutex);
	return w;
}

static const char *
copy(struct exchange *x, const char *s)
{
	return s == NULL ? NULL : arena_printf(&x->arena, "%s", s);
}

#define SWAP(a, b)                       \
	do {                             \
		__typeof__(a) swap_ = a; \
		a = b;                   \
		b = swap_;               \
	} while (0)

/* The kept exchange goes on as the retry, and the retry ends as the one whose
 * client has left. */
static void
swap_askers(struct exchange *kept, struct exchange *retry)
{
	char id[sizeof kept->id];

	kept->client = retry->client;
	kept->client->x = kept;
	retry->client = NULL;
	memcpy(id, kept->id, sizeof id);
	memcpy(kept->id, retry->id, sizeof id);
	memcpy(retry->id, id, sizeof id);
	SWAP(kept->record, retry->record);
	SWAP(kept->keys, retry->keys);
	SWAP(kept->arrived_ms, retry->arrived_ms);
	SWAP(kept->arrived_ns, retry->arrived_ns);
	SWAP(kept->client_request_id, retry->client_request_id);
	SWAP(kept->user_agent, retry->user_agent);
	SWAP(kept->session, retry->session);
	SWAP(kept->status, retry->status);
	SWAP(kept->bytes_out, retry->bytes_out);
	SWAP(kept->queued_ns, retry->queued_ns);
	SWAP(kept->patience_ms, retry->patience_ms);
	/* The other arena goes with its exchange. */
	kept->client_request_id = copy(kept, kept->client_request_id);
	kept->user_agent = copy(kept, kept->user_agent);
	kept->session = copy(kept, kept->session);
	kept->is_http11 = retry->is_http11;
	retry->route = kept->route;
	retry->joined_by = kept->id;
	/* The new client has seen nothing yet. */
	kept->is_committed = kept->is_chunked_out = false;
	kept->keepalive.sent = 0;
}

/* What was let go when it was kept has come again, for another attempt. */
static void
take_body(struct exchange *kept, struct exchange *retry)
{
	struct fault why;

	SWAP(kept->body, retry->body);
	SWAP(kept->counted_bytes, retry->counted_bytes);
	/* The same bytes are the same facts, but they lie elsewhere. */
	(void)!body_scan(buf_data(&kept->body), buf_len(&kept->body),
	    &kept->arena, &kept->facts, &why);
	kept->facts.is_stream &= api_may_stream(kept->api);
}

static void
join(struct exchange *kept, struct exchange *retry)
{
	kept->kept.is_kept = false;
	waiting_release(kept);
	swap_askers(kept, retry);
	take_body(kept, retry);
	agree_rename(kept);
	/* First the scoreboard, then the line: a crash between them doubles
	 * nothing. */
	if (slot_state(kept->slot) == SLOT_SENT)
		settle_mark_sent(kept);
	exchange_end(retry, END_CLIENT_GONE, "");
	relay_take_up(kept);
}

enum kept_verdict
kept_join(struct exchange *x)
{
	struct exchange *kept = NULL;
	struct worker *w;

	if (x->model->retry_grace_ms == 0 || x->kept.has_hash ||
	    x->api == API_COUNT_TOKENS || !hash_body(x))
		return KEPT_NONE;
	w = find(x, &kept);
	if (w == NULL)
		return KEPT_NONE;
	if (kept == NULL) {
		/* There it looks again. */
		x->kept.has_hash = false;
		exchange_move(x, w);
		return KEPT_MOVED;
	}
	join(kept, x);
	return KEPT_JOINED;
}
