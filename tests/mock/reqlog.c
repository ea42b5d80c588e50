#include "reqlog.h"

#include <pthread.h>
#include <string.h>

#include <openssl/sha.h>

struct entry {
	struct bytes head;
	struct bytes body; /* its first REQLOG_BODY_MAX bytes */
	uint64_t id;       /* 0: the entry is free */
	uint64_t body_n;
	uint64_t sent;
	uint64_t content_events;
	struct usage charged;
	const char *end; /* static; NULL while it runs */
	enum route route;
	enum fault fault;
	int status; /* 0: no head was planned */
	bool is_stream;
	bool was_usage_sent;
	unsigned char sha[SHA256_DIGEST_LENGTH];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry ring[REQLOG_ENTRIES]; /* under lock */
static uint64_t added;                    /* under lock */

void
reqlog_add(
    uint64_t id, const struct request *rq, struct text body, enum route route)
{
	unsigned char sha[SHA256_DIGEST_LENGTH];
	struct entry *e;
	size_t n = body.n < REQLOG_BODY_MAX ? body.n : REQLOG_BODY_MAX;

	SHA256((const unsigned char *)body.p, body.n, sha);
	pthread_mutex_lock(&lock);
	e = &ring[added++ % REQLOG_ENTRIES];
	bytes_clear(&e->head, 4096);
	bytes_clear(&e->body, 4096);
	*e = (struct entry){
	    .head = e->head,
	    .body = e->body,
	    .id = id,
	    .body_n = body.n,
	    .route = route,
	};
	memcpy(e->sha, sha, sizeof sha);
	bytes_add(&e->head, rq->head.p, rq->head.n);
	bytes_add(&e->body, body.p, n);
	pthread_mutex_unlock(&lock);
}

void
reqlog_end(uint64_t id, const struct answer *a, enum fault fault,
    const char *end, uint64_t sent, bool was_usage_sent)
{
	pthread_mutex_lock(&lock);
	/* It is most often among the newest. */
	for (uint64_t i = 0; i < REQLOG_ENTRIES && i < added; i++) {
		struct entry *e = &ring[(added - 1 - i) % REQLOG_ENTRIES];

		if (e->id != id)
			continue;
		e->status = a->status;
		e->is_stream = a->is_stream;
		e->content_events = a->k;
		e->charged = answer_charged(a);
		e->fault = fault;
		e->end = end;
		e->sent = sent;
		e->was_usage_sent = was_usage_sent;
		break;
	}
	pthread_mutex_unlock(&lock);
}

struct header_list {
	struct bytes *b;
	bool is_first;
};

static bool
on_header(void *arg, struct text name, struct text value)
{
	struct header_list *l = arg;

	bytes_puts(l->b, l->is_first ? "[" : ",[");
	bytes_json(l->b, name.p, name.n);
	bytes_puts(l->b, ",");
	bytes_json(l->b, value.p, value.n);
	bytes_puts(l->b, "]");
	l->is_first = false;
	return true;
}

/* Appends the first two words of the request line. */
static void
render_line(struct bytes *b, const struct bytes *head)
{
	const char *line_end = memchr(head->p, '\r', head->n);
	size_t n = line_end == NULL ? head->n : (size_t)(line_end - head->p);
	const char *one = memchr(head->p, ' ', n), *two;

	if (one == NULL)
		return;
	two = memrchr(one + 1, ' ', n - (size_t)(one + 1 - head->p));
	if (two == NULL)
		return;
	bytes_puts(b, ",\"method\":");
	bytes_json(b, head->p, (size_t)(one - head->p));
	bytes_puts(b, ",\"target\":");
	bytes_json(b, one + 1, (size_t)(two - one - 1));
}

static void
render_entry(struct bytes *b, const struct entry *e)
{
	struct header_list l = {b, true};

	bytes_printf(b, "{\"id\":%lu,\"route\":\"%s\"", (unsigned long)e->id,
	    stats_route_name(e->route));
	render_line(b, &e->head);
	bytes_puts(b, ",\"headers\":[");
	(void)request_headers(&e->head, on_header, &l);
	bytes_printf(b, "],\"body_bytes\":%lu,\"body_sha256\":\"",
	    (unsigned long)e->body_n);
	for (size_t i = 0; i < sizeof e->sha; i++)
		bytes_printf(b, "%02x", e->sha[i]);
	bytes_puts(b, "\",\"body\":");
	bytes_json(b, e->body.p, e->body.n);
	bytes_printf(b,
	    ",\"charged\":{\"input\":%lu,\"output\":%lu,\"cached\":%lu,"
	    "\"cache_write\":%lu,\"reasoning\":%lu}",
	    (unsigned long)e->charged.prompt,
	    (unsigned long)e->charged.completion,
	    (unsigned long)e->charged.cached, (unsigned long)e->charged.written,
	    (unsigned long)e->charged.reasoning);
	bytes_printf(b,
	    ",\"served\":{\"status\":%d,\"stream\":%s,\"fault\":\"%s\","
	    "\"content_events\":%lu,\"bytes\":%lu,\"usage_sent\":%s,"
	    "\"end\":",
	    e->status, e->is_stream ? "true" : "false",
	    fault_table[e->fault].name, (unsigned long)e->content_events,
	    (unsigned long)e->sent, e->was_usage_sent ? "true" : "false");
	if (e->end == NULL)
		bytes_puts(b, "null}}");
	else
		bytes_printf(b, "\"%s\"}}", e->end);
}

void
reqlog_render(struct bytes *b)
{
	uint64_t first;

	pthread_mutex_lock(&lock);
	first = added > REQLOG_ENTRIES ? added - REQLOG_ENTRIES : 0;
	bytes_puts(b, "[");
	for (uint64_t i = first; i < added; i++) {
		bytes_puts(b, i > first ? ",\n" : "");
		render_entry(b, &ring[i % REQLOG_ENTRIES]);
	}
	bytes_puts(b, "]\n");
	pthread_mutex_unlock(&lock);
}

void
reqlog_clear(void)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < REQLOG_ENTRIES; i++) {
		bytes_free(&ring[i].head);
		bytes_free(&ring[i].body);
		ring[i] = (struct entry){0};
	}
	added = 0;
	pthread_mutex_unlock(&lock);
}
