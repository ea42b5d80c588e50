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
#include "proxy/agree.h"
#include "proxy/client.h"
#include "proxy/relay_inner.h"

#include "base/banned.h"

#define ERROR_BODY_MOST_BYTES (64 * 1024)
#define GROW_TOKENS 256

void
relay_release(struct relay *r)
{
	buf_release(&r->head);
	buf_release(&r->held);
	tap_release(&r->tap);
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

	if (at > total)
		at = total;
	if (x->is_drained && at > x->drained_by_ns)
		at = x->drained_by_ns;
	upconn_set_deadline(x->up, at, now);
}

void
relay_drain(struct exchange *x, uint64_t by_ns)
{
	x->is_drained = true;
	x->drained_by_ns = by_ns;
	upconn_resume(x->up);
	set_deadline(x, clock_mono_ns());
}

void
relay_reset(struct exchange *x)
{
	struct relay *r = &x->relay;
	struct tap_job job = {
	    .kind = x->route == NULL ? KIND_OPENAI : x->route->upstream->kind,
	    .api = x->api,
	    .is_stream = x->facts.is_stream,
	    .hides_usage = x->asks.hides,
	    .strips_running = x->asks.running,
	    .choices = x->facts.n,
	};

	relay_release(r);
	memset(r, 0, offsetof(struct relay, tap));
	r->waiting_from = SIZE_MAX;
	tap_init(&r->tap, &job);
}

void
relay_begin(struct exchange *x)
{
	relay_reset(x);
	x->sent_ns = x->relay.last_byte_ns = clock_mono_ns();
	set_deadline(x, x->sent_ns);
}

/* --- failures ------------------------------------------------------------ */

void
relay_invalid(struct exchange *x, const char *what)
{
	const char *name = x->route->upstream->name;

	if (x->has_passed) {
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

	if (x->kept.is_whole) {
		upconn_close(&x->up);
		return;
	}
	if (x->has_passed) {
		exchange_end(x, END_UPSTREAM_RESET, "");
		return;
	}
	/* The server closed the kept connection as we took it: nothing was
	 * done with the request, so it may be asked once more. */
	if (got_nothing && x->client != NULL && upconn_is_reused(x->up) &&
	    !x->was_retried) {
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
	if (x->is_drained && now >= x->drained_by_ns) {
		exchange_end(x, END_CLIENT_GONE, "");
		return;
	}
	if (x->content_ns != 0 && !is_gap && now < total) {
		set_deadline(x, now);
		return;
	}
	if (x->has_passed) {
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

/* --- the body ------------------------------------------------------------ */

/* Adds to what is held; false if memory is out. */
static bool
hold(struct exchange *x, const char *p, size_t len)
{
	if (len == 0 || buf_add(&x->relay.held, p, len, SIZE_MAX / 4))
		return true;
	exchange_end(x, END_NO_MEMORY, "");
	return false;
}

/* Keeps what may have to be cut of an open event. */
static bool
hold_waiting(struct exchange *x, const struct looked *seen)
{
	struct relay *r = &x->relay;

	if (seen->waiting_len == 0)
		return true;
	if (r->waiting_from == SIZE_MAX)
		r->waiting_from = buf_len(&r->held);
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
	enum end e =
	    r->tap.has_error || r->status >= 300 ? END_UPSTREAM_ERROR : END_OK;
	bool is_good = r->tap.is_complete || r->tap.has_error ||
	    r->status >= 300 || r->is_opaque ||
	    (!x->facts.is_stream && !is_cut_document(x, len));

	if (!is_good) {
		/* Nothing says that the stream is whole. */
		relay_emit(x, p, len, false);
		exchange_end(x, END_UPSTREAM_RESET, "");
		return;
	}
	exchange_give_back(x, e);
	if (ledger_must_wait(x->w->gateway->ledger)) {
		/* The last bytes follow when its line is on the disk. */
		if (!hold(x, p, len))
			return;
		x->has_rest = true;
	} else {
		relay_emit(x, p, len, true);
	}
	r->state = RELAY_DONE;
	if (r->keeps_alive && x->up != NULL)
		upconn_park(&x->up);
	else
		upconn_close(&x->up);
	exchange_end(x, e, "");
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
	    (!route_is_named(x, WHEN_ERROR_EVENT) &&
		(r->tap.has_error ||
		    (r->tap.is_complete && usage_is_known(&r->tap.usage))))) {
		r->state = RELAY_PASS;
		if (x->content_ns == 0)
			x->content_ns = r->last_byte_ns;
		if (is_end)
			finish(x, "", 0);
		else
			relay_emit(x, "", 0, false);
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

/* Nobody is there to see it yet: it is held for a retry, and as much of it as
 * does not fit stays with the server. */
static void
keep_payload(
    struct exchange *x, const char *p, const struct looked *seen, bool is_end)
{
	struct relay *r = &x->relay;

	if (!hold(x, p, seen->visible) || !hold_waiting(x, seen))
		return;
	if (x->content_ns == 0 && (r->tap.has_content || !x->facts.is_stream)) {
		x->content_ns = r->last_byte_ns;
		set_deadline(x, x->content_ns);
		forecast_note_read(x);
	}
	/* Nor is a failure worth a retry's while. */
	if (x->content_ns == 0 && (is_end || r->tap.has_error)) {
		exchange_end(x, END_CLIENT_GONE, "");
		return;
	}
	x->kept.is_whole = is_end;
	if (is_end) /* the server is done with it */
		queue_leave(x, x->place.tokens);
	else if (buf_len(&r->held) > RELAY_KEPT_MOST_BYTES)
		upconn_pause(x->up);
}

/* The running counts have passed what is held: holds more, by steps, so that it
 * costs nothing to look. */
static void
grow_claim(struct exchange *x)
{
	const struct tap *t = &x->relay.tap;
	const struct estimate *e = &x->estimate;
	int64_t output = t->usage.output, pusd = x->spent_pusd;

	if (output < 0)
		output = estimate_output(e, t->text_bytes);
	if (output <= x->ask.output || !api_has_output(x->api))
		return;
	x->ask.output = output + output / 4 + GROW_TOKENS;
	if (x->route->upstream->is_paid &&
	    __builtin_add_overflow(
		pusd, estimate_cost_of(x, x->ask.output), &pusd))
		pusd = INT64_MAX;
	gate_grow(x->w->gateway->gate, &x->claim, x->ask.input, x->ask.output,
	    pusd, clock_mono_ns(), clock_wall_ms());
	agree_grow(x, x->ask.input + x->ask.output, pusd);
}

/* A piece of the body, without its framing. */
static void
on_payload(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	struct looked seen = relay_look(x, p, len, is_end);

	/* What the client gets stands in the scoreboard before it has it. */
	settle_note(x);
	grow_claim(x);
	if (x->kept.is_kept) {
		keep_payload(x, p, &seen, is_end);
		return;
	}
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
		waiting_end(x);
		forecast_note_read(x);
	}
	if (is_end) {
		finish(x, p, seen.visible);
		return;
	}
	if (seen.visible > 0 || buf_len(&r->held) > 0 || !x->has_passed)
		relay_emit(x, p, seen.visible, false);
	hold_waiting(x, &seen);
}

/* The client has had signs of life, so an error answer cannot be its answer any
 * more: it is told inside the stream what the server said. */
static void
fail_inside(struct exchange *x, struct buf *gathered)
{
	struct relay *r = &x->relay;
	size_t len = buf_len(gathered);
	char text[512];

	if (len > 0)
		(void)relay_look(
		    x, gathered->base + gathered->start, len, true);
	if (len >= sizeof text / 2 ||
	    !text_is_clean_utf8(buf_data(gathered), len))
		len = 0;
	snprintf(text, sizeof text, "%s answered %d%s%.*s",
	    x->route->upstream->name, r->status, len > 0 ? ": " : ".", (int)len,
	    buf_data(gathered));
	exchange_end(x, END_UPSTREAM_ERROR, text);
}

/* An error answer is gathered, so that a key of ours that it repeats can be
 * blanked out, and then relayed; a very long one is passed from there on. */
static void
on_error_body(struct exchange *x, char *p, size_t len, bool is_end)
{
	struct relay *r = &x->relay;
	struct buf gathered;

	if (x->kept.is_kept) { /* an error is not worth a retry's while */
		exchange_end(x, END_CLIENT_GONE, "");
		return;
	}
	if (!hold(x, p, len))
		return;
	if (!is_end && buf_len(&r->held) < ERROR_BODY_MOST_BYTES)
		return;
	redact(x->route->upstream->api_key, &r->held);
	/* From here on it is an answer like any other; what was gathered is its
	 * first piece. */
	gathered = r->held;
	r->held = (struct buf){0};
	r->state = RELAY_PASS;
	if (x->is_committed)
		fail_inside(x, &gathered);
	else
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
void
relay_on_body(struct exchange *x, char *p, size_t len)
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
			relay_invalid(x, "its chunked coding is damaged");
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

	if (x->kept.is_whole)
		upconn_close(&x->up);
	else if (r->state != RELAY_HEAD && r->framing == FRAMING_NONE)
		on_decoded(x, x->w->scratch, 0, true);
	else
		relay_on_broken(x, "closed");
}

void
relay_take_up(struct exchange *x)
{
	if (x->content_ns == 0) {
		if (x->facts.is_stream)
			waiting_begin(x);
		upconn_resume(x->up);
		return;
	}
	x->relay.state = RELAY_PASS;
	if (x->kept.is_whole) {
		finish(x, "", 0);
		return;
	}
	upconn_resume(x->up);
	relay_emit(x, "", 0, false);
}
