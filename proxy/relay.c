/*
 * relay.c - the answer: from the upstream's bytes to the client's.
 *
 * Head, then body without its framing, then a look by the tap, then out in a
 * framing of our own, as it comes.  Until the first content of a stream nothing
 * is given to the client, so that another route can still be taken; from then
 * on a failure is told inside the stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proxy/client.h"
#include "proxy/exchange.h"

#include "base/banned.h"

#define ANSWER_HEAD_MOST_BYTES (64 * 1024)
#define INTERIMS_MOST 16
#define ERROR_BODY_MOST_BYTES (64 * 1024)

void
relay_release(struct relay *r)
{
	buf_release(&r->head);
	buf_release(&r->held);
	inflater_destroy(&r->inflater);
}

/* When to look again: the nearest of the limits that run.  The gap moves with
 * every byte; it is looked up when the timer fires, not set each time. */
static void
set_deadline(struct exchange *x, uint64_t now)
{
	const struct upstream_config *up = x->route->upstream;
	uint64_t total = x->sent_ns + up->total_ms * NS_PER_MS;
	uint64_t at = x->content_ns == 0
	    ? x->sent_ns + up->first_token_ms * NS_PER_MS
	    : x->relay.last_byte_ns + up->gap_ms * NS_PER_MS;

	upconn_set_deadline(x->up, at < total ? at : total, now);
}

void
relay_reset(struct exchange *x)
{
	struct relay *r = &x->relay;

	relay_release(r);
	memset(r, 0, offsetof(struct relay, tap));
	r->hidden_from = SIZE_MAX;
	tap_init(&r->tap, x->api, x->facts.is_stream, x->asks_usage);
}

void
relay_begin(struct exchange *x)
{
	relay_reset(x);
	x->sent_ns = x->relay.last_byte_ns = clock_mono_ns();
	set_deadline(x, x->sent_ns);
}

void
relay_end_tap(struct exchange *x, bool was_cut)
{
	struct relay *r = &x->relay;

	if (!r->is_tap_over)
		tap_end(&r->tap, was_cut);
	r->is_tap_over = true;
}

/* --- failures ------------------------------------------------------------ */

/* Whether a later route is there for what has happened now: also one that this
 * user may not pay for, because that is then what the client is told. */
static bool
may_move(const struct exchange *x, unsigned when)
{
	if (x->routes_tried >= EXCHANGE_ATTEMPTS_MOST)
		return false;
	for (size_t i = x->next_route; i < x->model->route_count; i++)
		if ((x->model->routes[i].when & when) != 0)
			return true;
	return false;
}

static void
invalid(struct exchange *x, const char *what)
{
	const char *name = x->route->upstream->name;

	if (x->is_committed) {
		exchange_end(x, END_UPSTREAM_INVALID, "");
		return;
	}
	attempt_failed(x, WHEN_RESET, END_UPSTREAM_INVALID, "invalid",
	    "%s gave an answer that is not well-formed HTTP/1.1 (%s)", name,
	    what);
	exchange_run(x);
}

void
relay_on_broken(struct exchange *x, const char *text)
{
	struct relay *r = &x->relay;
	const char *name = x->route->upstream->name;
	bool got_nothing = r->state == RELAY_HEAD && buf_len(&r->head) == 0 &&
	    r->interims == 0;

	if (x->is_committed) {
		exchange_end(x, END_UPSTREAM_RESET, "");
		return;
	}
	/* The server closed the kept connection as we took it: nothing was
	 * done with the request, so it may be asked once more. */
	if (got_nothing && upconn_is_reused(x->up) && !x->was_retried) {
		upconn_close(&x->up);
		x->was_retried = true;
		x->step = STEP_FORWARD;
	} else {
		attempt_failed(x,
		    r->state == RELAY_HOLD ? WHEN_RESET | WHEN_ERROR_EVENT
					   : WHEN_RESET,
		    END_UPSTREAM_RESET, "reset",
		    "%s broke the connection before its answer (%s)", name,
		    text);
	}
	exchange_run(x);
}

void
relay_on_deadline(struct exchange *x)
{
	const struct upstream_config *up = x->route->upstream;
	uint64_t now = clock_mono_ns();
	uint64_t total = x->sent_ns + up->total_ms * NS_PER_MS;
	bool is_gap = x->content_ns != 0 &&
	    now >= x->relay.last_byte_ns + up->gap_ms * NS_PER_MS;

	/* While the client does not read, silence is ours. */
	if (is_gap && x->client != NULL && client_backlog(x->client) > 0) {
		x->relay.last_byte_ns = now;
		is_gap = false;
	}
	if (x->content_ns != 0 && !is_gap && now < total) {
		set_deadline(x, now);
		return;
	}
	if (x->is_committed) {
		exchange_end(x, END_TIMEOUT,
		    is_gap ? "The model server fell silent."
			   : "The answer took longer than is allowed.");
		return;
	}
	attempt_failed(x, WHEN_TIMEOUT, END_TIMEOUT, "timeout",
	    "%s gave no first token within %llu ms", up->name,
	    (unsigned long long)(up->first_token_ms < up->total_ms
		    ? up->first_token_ms
		    : up->total_ms));
	exchange_run(x);
}

/* --- to the client ------------------------------------------------------- */

static bool
has_no_body(int status)
{
	return status == 204 || status == 304;
}

static void
write_head(struct exchange *x, struct buf *to)
{
	struct relay *r = &x->relay;

	r->is_chunked_out = false;
	if (!has_no_body(r->status) && !x->is_http11 &&
	    (r->framing != FRAMING_LENGTH || x->asks_usage))
		x->client->closes = true;
	client_begin_head(x->client, to, r->status);
	buf_puts(to, r->fields);
	exchange_add_fields(x, to);
	if (x->facts.is_stream)
		buf_puts(to,
		    "cache-control: no-cache\r\n"
		    "x-accel-buffering: no\r\n");
	if (has_no_body(r->status)) {
		buf_puts(to, "\r\n");
	} else if (r->framing == FRAMING_LENGTH && !x->asks_usage) {
		buf_put_literal(to, "Content-Length: ");
		buf_put_uint(to, r->body_length);
		buf_put_literal(to, "\r\n\r\n");
	} else if (x->is_http11) {
		r->is_chunked_out = true;
		buf_puts(to, "Transfer-Encoding: chunked\r\n\r\n");
	} else {
		buf_puts(to, "\r\n");
	}
}

/* Sends what the client may see: head if it has not gone, what was held, and
 * p[0..len); and the framing's end. */
static void
emit(struct exchange *x, const char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	size_t held = r->hidden_from < buf_len(&r->held) ? r->hidden_from
							 : buf_len(&r->held);
	struct buf *head = &x->w->line;
	struct iovec v[6];
	size_t n = 0;
	char size[20];

	if (!x->is_committed) {
		buf_clear(head);
		write_head(x, head);
		v[n++] = (struct iovec){
		    (void *)(uintptr_t)buf_data(head), buf_len(head)};
		x->is_committed = true;
		x->status = r->status;
		/* No other route can be taken now; but an upstream may answer
		 * before it has read all. */
		if (x->up == NULL || upconn_is_sent(x->up))
			exchange_drop_body(x);
	}
	if (held + len > 0 && r->is_chunked_out) {
		int digits = snprintf(size, sizeof size, "%zx\r\n", held + len);

		v[n++] = (struct iovec){size, (size_t)digits};
	}
	if (held > 0)
		v[n++] =
		    (struct iovec){(void *)(uintptr_t)buf_data(&r->held), held};
	if (len > 0)
		v[n++] = (struct iovec){(void *)(uintptr_t)p, len};
	if (r->is_chunked_out && held + len > 0)
		v[n++] = (struct iovec){"\r\n0\r\n\r\n", is_end ? 7 : 2};
	else if (r->is_chunked_out && is_end)
		v[n++] = (struct iovec){"0\r\n\r\n", 5};
	x->bytes_out += held + len;
	if (n > 0)
		client_send(x->client, v, n);
	buf_drain(&r->held, held);
	if (buf_len(&r->held) == 0)
		buf_release(&r->held);
	if (r->hidden_from != SIZE_MAX)
		r->hidden_from -= held;
	if (x->up != NULL && client_backlog(x->client) > CLIENT_HIGH_BYTES)
		upconn_pause(x->up);
}

/* --- the body ------------------------------------------------------------ */

static void
on_inflated(void *arg, const char *p, size_t len)
{
	struct tap *t = arg;
	enum tap_verdict verdict;

	for (size_t at = 0; at < len;)
		at += tap_next(t, p + at, len - at, &verdict);
}

/* What a look at a piece found: p[0..visible) may go to the client; the rest,
 * an event that may yet have to be hidden, waits. */
struct looked {
	size_t visible;
	const char *waiting; /* borrowed: in the piece */
	size_t waiting_len;
};

/* An event that the client did not ask for has ended at `run`: takes it out. */
static size_t
hide(struct relay *r, char *p, size_t to, size_t run, size_t event)
{
	if (r->hidden_from != SIZE_MAX) {
		/* It began in an earlier piece; nothing of this one stays. */
		r->held.end = r->held.start + r->hidden_from;
		return to;
	}
	memmove(p + to, p + run, event - run);
	return to + event - run;
}

/* Shows a piece to the tap, and moves what the client may see together. */
static struct looked
look(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	size_t to = 0;    /* visible bytes at p */
	size_t run = 0;   /* where those begin that were not moved yet */
	size_t event = 0; /* where the open event begins */
	size_t at = 0;
	enum tap_verdict verdict;

	while (at < len) {
		at += tap_next(&r->tap, p + at, len - at, &verdict);
		if (verdict == TAP_HIDE) {
			to = hide(r, p, to, run, event);
			run = at;
		}
		if (verdict != TAP_MORE) {
			r->hidden_from = SIZE_MAX;
			event = at;
		}
	}
	if (is_end)
		relay_end_tap(x, false);
	if (r->tap.may_be_hidden && is_end) {
		to = hide(r, p, to, run, event);
		run = event = len;
	} else if (!r->tap.may_be_hidden || is_end) {
		r->hidden_from = SIZE_MAX;
		event = len;
	}
	if (event > run) {
		memmove(p + to, p + run, event - run);
		to += event - run;
	}
	if (is_end)
		r->hidden_from = SIZE_MAX;
	return (struct looked){to, p + event, len - event};
}

/* A coded answer is passed as it came; the tap sees it decoded. */
static struct looked
look_inside(struct exchange *x, const char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;

	/* Damaged or given up: what was seen before counts, or an estimate. */
	if (len > 0 && r->inflater != NULL &&
	    !inflater_feed(r->inflater, p, len, on_inflated, &r->tap))
		inflater_destroy(&r->inflater);
	if (is_end)
		relay_end_tap(x, false);
	return (struct looked){len, p, 0};
}

/* Adds to what is held; false if memory is out. */
static bool
hold(struct exchange *x, const char *p, size_t len)
{
	if (len == 0 || buf_add(&x->relay.held, p, len, SIZE_MAX / 4))
		return true;
	exchange_end(x, END_NO_MEMORY, "");
	return false;
}

/* Keeps an open event that may have to be hidden. */
static bool
hold_waiting(struct exchange *x, const struct looked *seen)
{
	struct relay *r = &x->relay;

	if (seen->waiting_len == 0)
		return true;
	if (r->hidden_from == SIZE_MAX)
		r->hidden_from = buf_len(&r->held);
	return hold(x, seen->waiting, seen->waiting_len);
}

/* Blanks out our own key where an error answer repeats it. */
static void
redact(const char *key, struct buf *text)
{
	size_t len = key == NULL ? 0 : strlen(key);
	char *p, *end;

	if (len == 0 || buf_len(text) == 0)
		return;
	p = text->base + text->start;
	end = text->base + text->end;
	while ((p = memmem(p, (size_t)(end - p), key, len)) != NULL) {
		memset(p, '*', len);
		p += len;
	}
}

/* A document that ends with its connection, in the middle. */
static bool
is_cut_document(const struct exchange *x, size_t len)
{
	const struct relay *r = &x->relay;

	return r->framing == FRAMING_NONE && !r->is_coded &&
	    !r->tap.is_complete && r->tap.bad_events == 0 &&
	    x->bytes_out + len > 0;
}

/* The answer's framing has ended as it should, and `p` is the last of it. */
static void
finish(struct exchange *x, const char *p, size_t len)
{
	struct relay *r = &x->relay;
	bool is_good = r->tap.is_complete || r->tap.has_error ||
	    r->status >= 300 || r->is_opaque ||
	    (!x->facts.is_stream && !is_cut_document(x, len));

	if (!is_good) {
		/* Nothing says that the stream is whole. */
		emit(x, p, len, false);
		exchange_end(x, END_UPSTREAM_RESET, "");
		return;
	}
	emit(x, p, len, true);
	r->state = RELAY_DONE;
	if (r->keeps_alive)
		upconn_park(&x->up);
	else
		upconn_close(&x->up);
	exchange_end(x,
	    r->tap.has_error || r->status >= 300 ? END_UPSTREAM_ERROR : END_OK,
	    "");
}

/* A stream has ended, or begun with an error, and no content came.  If another
 * route can be taken it is; else the client gets what the server said, unless
 * that was nothing. */
static void
finish_without_content(struct exchange *x, bool is_end)
{
	struct relay *r = &x->relay;
	bool is_answer = r->tap.text_bytes > 0 && !r->tap.has_error;
	const char *name = x->route->upstream->name;

	if (is_answer ||
	    (!may_move(x, WHEN_ERROR_EVENT) &&
		(r->tap.has_error ||
		    (r->tap.is_complete && usage_is_known(&r->tap.usage))))) {
		r->state = RELAY_PASS;
		if (x->content_ns == 0)
			x->content_ns = r->last_byte_ns;
		if (is_end)
			finish(x, "", 0);
		else
			emit(x, "", 0, false);
		return;
	}
	if (r->tap.has_error)
		attempt_failed(x, WHEN_ERROR_EVENT, END_UPSTREAM_ERROR,
		    "error_event", "%s answered with an error in its stream",
		    name);
	else
		attempt_failed(x, WHEN_ERROR_EVENT, END_UPSTREAM_ERROR,
		    "error_event", "%s ended its stream without any content",
		    name);
	exchange_run(x);
}

/* A piece of the body, without its framing. */
static void
on_payload(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	struct looked seen = r->is_coded ? look_inside(x, p, len, is_end)
					 : look(x, p, len, is_end);

	if (r->state == RELAY_HOLD) {
		if (!hold(x, p, seen.visible) || !hold_waiting(x, &seen))
			return;
		if (!r->tap.has_content &&
		    buf_len(&r->held) <= EXCHANGE_HELD_MOST_BYTES) {
			if (is_end || r->tap.has_error)
				finish_without_content(x, is_end);
			return;
		}
		r->state = RELAY_PASS;
		seen = (struct looked){0, p, 0};
	}
	if (x->content_ns == 0) {
		x->content_ns = r->last_byte_ns;
		set_deadline(x, x->content_ns);
	}
	if (is_end) {
		finish(x, p, seen.visible);
		return;
	}
	if (seen.visible > 0 || buf_len(&r->held) > 0 || !x->is_committed)
		emit(x, p, seen.visible, false);
	hold_waiting(x, &seen);
}

/* An error answer is gathered, so that a key of ours that it repeats can be
 * blanked out, and then relayed; a very long one is passed from there on. */
static void
on_error_body(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;

	if (!hold(x, p, len))
		return;
	if (!is_end && buf_len(&r->held) < ERROR_BODY_MOST_BYTES)
		return;
	redact(x->route->upstream->api_key, &r->held);
	/* From here on it is an answer like any other; what was gathered is its
	 * first piece. */
	struct buf gathered = r->held;

	r->held = (struct buf){0};
	r->state = RELAY_PASS;
	on_payload(x,
	    gathered.base == NULL ? x->w->scratch
				  : gathered.base + gathered.start,
	    buf_len(&gathered), is_end);
	buf_release(&gathered);
}

static void
on_decoded(struct exchange *x, char *p, size_t len, bool is_end)
{
	if (x->relay.state == RELAY_ERROR_BODY)
		on_error_body(x, p, len, is_end);
	else if (len > 0 || is_end)
		on_payload(x, p, len, is_end);
}

/* Takes the framing off. */
static void
on_body(struct exchange *x, char *p, size_t len)
{
	struct relay *r = &x->relay;
	bool is_end = false;
	size_t rest = 0;

	switch (r->framing) {
	case FRAMING_LENGTH:
		if (len > r->left) {
			r->keeps_alive = false; /* bytes nobody asked for */
			len = (size_t)r->left;
		}
		break;
	case FRAMING_CHUNKED:
		switch (chunked_decode(&r->chunked, p, &len, &rest)) {
		case CHUNKED_BAD:
			invalid(x, "its chunked coding is damaged");
			return;
		case CHUNKED_END:
			is_end = true;
			r->keeps_alive &= rest == 0;
			break;
		case CHUNKED_MORE:
			break;
		}
		break;
	case FRAMING_NONE:
		break;
	}
	if (r->framing == FRAMING_LENGTH) {
		is_end = len == r->left;
		r->left -= len;
	}
	on_decoded(x, p, len, is_end);
}

void
relay_on_eof(struct exchange *x)
{
	struct relay *r = &x->relay;

	if (r->state != RELAY_HEAD && r->framing == FRAMING_NONE)
		on_decoded(x, x->w->scratch, 0, true);
	else
		relay_on_broken(x, "closed");
}

/* --- the head ------------------------------------------------------------ */

/* Fields of an answer that the client gets to see.  Everything else stays here:
 * cookies, the server's name, whose account it is. */
static bool
is_relayed(struct slice name)
{
	static const struct slice names[] = {SLICE_OF("content-type"),
	    SLICE_OF("content-encoding"), SLICE_OF("content-language"),
	    SLICE_OF("retry-after"), SLICE_OF("retry-after-ms"),
	    SLICE_OF("x-should-retry"), SLICE_OF("request-id"),
	    SLICE_OF("openai-processing-ms"), SLICE_OF("openai-version"),
	    SLICE_OF("x-compute-tokens"), SLICE_OF("x-compute-time")};
	static const struct slice prefix = SLICE_OF("anthropic-ratelimit-");
	struct slice start = {name.p, prefix.len};

	return slice_is_among_nocase(name, names, COUNT_OF(names)) ||
	    (name.len > prefix.len && slice_is_among_nocase(start, &prefix, 1));
}

static void
take_fields(struct exchange *x, const struct head *h)
{
	struct buf *text = &x->w->line;
	struct slice coding = head_field(h, "content-encoding");

	buf_clear(text);
	for (size_t i = 0; i < h->count; i++) {
		const struct http_field *f = &h->fields[i];

		if (!is_relayed(f->name))
			continue;
		buf_put(text, f->name.p, f->name.len);
		buf_put(text, ": ", 2);
		buf_put(text, f->value.p, f->value.len);
		buf_put(text, "\r\n", 2);
	}
	x->relay.fields =
	    arena_strndup(&x->arena, buf_data(text), buf_len(text));
	if (coding.len == 0 || slice_is_nocase(coding, "identity"))
		return;
	x->relay.is_coded = true;
	if (inflate_knows(coding))
		x->relay.inflater = inflater_create();
	/* A coding that we cannot take off: no usage, so an estimate. */
	x->relay.is_opaque = x->relay.inflater == NULL;
}

/* What kind of failure a status is, as `when` lists them. */
static unsigned
when_of(int status)
{
	unsigned when = status >= 500 ? WHEN_5XX : 0;

	if (status == 429)
		when |= WHEN_429;
	else if (status == 503)
		when |= WHEN_503;
	else if (status == 529)
		when |= WHEN_529;
	return when;
}

/* True if the answer's status sends the request elsewhere. */
static bool
moves_on(struct exchange *x, int status)
{
	static const struct {
		int status;
		const char *text;
	} results[] = {{429, "429"}, {500, "500"}, {502, "502"}, {503, "503"},
	    {504, "504"}, {529, "529"}};
	const char *result = "5xx";
	unsigned when = when_of(status);

	if (when == 0 || !may_move(x, when))
		return false;
	for (size_t i = 0; i < COUNT_OF(results); i++)
		if (results[i].status == status)
			result = results[i].text;
	attempt_failed(x, when,
	    status == 429 || status == 503 || status == 529
		? END_FULL
		: END_UPSTREAM_ERROR,
	    result, "%s answered %d", x->route->upstream->name, status);
	exchange_run(x);
	return true;
}

/* The final head: decides what becomes of the answer.  False if the attempt is
 * over. */
static bool
begin_answer(struct exchange *x, const struct head *h, int minor)
{
	struct relay *r = &x->relay;

	if (moves_on(x, r->status))
		return false;
	if (r->status >= 300 && r->status < 400) {
		attempt_failed(x, WHEN_RESET, END_UPSTREAM_INVALID, "redirect",
		    "%s answered with a redirect (%d), which is never followed",
		    x->route->upstream->name, r->status);
		exchange_run(x);
		return false;
	}
	take_fields(x, h);
	r->framing = h->framing;
	r->left = r->body_length = h->content_length;
	chunked_init(&r->chunked);
	if (has_no_body(r->status)) {
		r->framing = FRAMING_LENGTH;
		r->left = 0;
		r->keeps_alive = false;
	} else {
		r->keeps_alive = minor == 1 && !h->says_close &&
		    h->framing != FRAMING_NONE && upconn_is_sent(x->up);
	}
	if (r->status >= 400)
		r->state = RELAY_ERROR_BODY;
	else
		r->state = x->facts.is_stream && !r->is_opaque ? RELAY_HOLD
							       : RELAY_PASS;
	return true;
}

enum head_next { HEAD_INTERIM, HEAD_FINAL, HEAD_OVER };

/* One whole head at p. */
static enum head_next
take_head(struct exchange *x, const char *p, size_t len)
{
	struct relay *r = &x->relay;
	struct head *h = &x->w->head;
	enum head_verdict v = head_parse(p, len, h);
	int minor = 0;

	if (v != HEAD_OK) {
		invalid(x,
		    v == HEAD_BAD ? "its head is damaged"
				  : "its head has too many fields");
		return HEAD_OVER;
	}
	if ((r->status = head_status(h, &minor)) == 0 || r->status == 101) {
		invalid(x, "its status line makes no sense");
		return HEAD_OVER;
	}
	if (r->status < 200) {
		if (++r->interims <= INTERIMS_MOST)
			return HEAD_INTERIM;
		invalid(x, "it has too many interim answers");
		return HEAD_OVER;
	}
	return begin_answer(x, h, minor) ? HEAD_FINAL : HEAD_OVER;
}

/* Looks for heads in p[0..len): any number of interim ones, then the final one,
 * behind which the body begins. */
static void
read_head(struct exchange *x, char *p, size_t len)
{
	struct relay *r = &x->relay;

	for (;;) {
		enum head_verdict v =
		    head_find(p, len, ANSWER_HEAD_MOST_BYTES, &r->scanned);
		size_t head_len = r->scanned;

		if (v == HEAD_MORE) {
			if (!buf_add(&r->head, p, len, SIZE_MAX / 4))
				exchange_end(x, END_NO_MEMORY, "");
			return;
		}
		r->scanned = 0;
		if (v != HEAD_OK) {
			invalid(x,
			    v == HEAD_BAD ? "its head is damaged"
					  : "its head is too large");
			return;
		}
		switch (take_head(x, p, len)) {
		case HEAD_OVER:
			return;
		case HEAD_FINAL:
			on_body(x, p + head_len, len - head_len);
			return;
		case HEAD_INTERIM:
			p += head_len;
			len -= head_len;
			if (len == 0)
				return;
		}
	}
}

void
relay_on_data(struct exchange *x, char *p, size_t len)
{
	struct relay *r = &x->relay;
	struct buf whole;

	r->last_byte_ns = clock_mono_ns();
	if (r->state != RELAY_HEAD) {
		on_body(x, p, len);
		return;
	}
	if (buf_len(&r->head) == 0) {
		read_head(x, p, len);
		return;
	}
	/* The head comes in pieces: what is there is taken out, and what is
	 * still open put back. */
	if (!buf_add(&r->head, p, len, SIZE_MAX / 4)) {
		exchange_end(x, END_NO_MEMORY, "");
		return;
	}
	whole = r->head;
	r->head = (struct buf){0};
	read_head(x, whole.base + whole.start, buf_len(&whole));
	buf_release(&whole);
}
