/*
 * relay_head.c - an upstream's answer up to its body: interim answers, the
 * final head, and what its status decides.  A failure that a later route names
 * sends the request there; everything else becomes the client's answer.
 */
#include <string.h>

#include "base/clock.h"
#include "proxy/relay_inner.h"

#include "base/banned.h"

#define ANSWER_HEAD_MOST_BYTES (64 * 1024)
#define INTERIMS_MOST 16

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
	struct slice tokens = head_field(h, "x-compute-tokens");

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
	if (tokens.p != NULL)
		tap_take_header(&x->relay.tap, tokens);
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

/* A refusal that names what it cost is charged.  Only what has come with its
 * head is looked at: nobody waits for the rest. */
static void
read_refusal(struct exchange *x, const struct head *h, char *p, size_t len)
{
	struct chunked chunked;
	enum tap_verdict verdict;
	size_t rest;

	if (head_field(h, "content-encoding").len > 0)
		return;
	chunked_init(&chunked);
	if (h->framing == FRAMING_CHUNKED &&
	    chunked_decode(&chunked, p, &len, &rest) == CHUNKED_BAD)
		return;
	if (h->framing == FRAMING_LENGTH && len > h->content_length)
		len = (size_t)h->content_length;
	while (len > 0) {
		size_t n = tap_next(&x->relay.tap, p, len, &verdict);

		p += n;
		len -= n;
	}
}

/* True if the answer's status sends the request elsewhere. */
static bool
moves_on(struct exchange *x, const struct head *h, char *body, size_t len)
{
	static const struct {
		int status;
		const char *text;
	} results[] = {{429, "429"}, {500, "500"}, {502, "502"}, {503, "503"},
	    {504, "504"}, {529, "529"}};
	const char *result = "5xx";
	int status = x->relay.status;
	unsigned when = when_of(status);

	if (when == 0 || !route_is_named(x, when))
		return false;
	for (size_t i = 0; i < COUNT_OF(results); i++)
		if (results[i].status == status)
			result = results[i].text;
	read_refusal(x, h, body, len);
	attempt_failed(x, when,
	    status == 429 || status == 503 || status == 529
		? END_FULL
		: END_UPSTREAM_ERROR,
	    result, "%s answered %d", x->route->upstream->name, status);
	exchange_run(x);
	return true;
}

/* The final head, and what came behind it: decides what becomes of the answer.
 * False if the attempt is over. */
static bool
begin_answer(
    struct exchange *x, const struct head *h, int minor, char *body, size_t len)
{
	struct relay *r = &x->relay;

	if (moves_on(x, h, body, len))
		return false;
	if (r->status >= 300 && r->status < 400) {
		attempt_failed(x, WHEN_RESET, END_UPSTREAM_INVALID, "redirect",
		    "%s answered with a redirect (%d), which is never followed",
		    x->route->upstream->name, r->status);
		exchange_run(x);
		return false;
	}
	take_fields(x, h);
	if (x->is_committed && r->is_coded && r->status < 300) {
		relay_invalid(x, "it is compressed");
		return false;
	}
	r->framing = h->framing;
	r->left = r->body_length = h->content_length;
	chunked_init(&r->chunked);
	if (relay_has_no_body(r->status)) {
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

/* One whole head of `head_len` bytes at p, and what came behind it. */
static enum head_next
take_head(struct exchange *x, char *p, size_t len, size_t head_len)
{
	struct relay *r = &x->relay;
	struct head *h = &x->w->head;
	enum head_verdict v = head_parse(p, len, h);
	int minor = 0;

	if (v != HEAD_OK) {
		relay_invalid(x,
		    v == HEAD_BAD ? "its head is damaged"
				  : "its head has too many fields");
		return HEAD_OVER;
	}
	if ((r->status = head_status(h, &minor)) == 0 || r->status == 101) {
		relay_invalid(x, "its status line makes no sense");
		return HEAD_OVER;
	}
	if (r->status < 200) {
		if (++r->interims <= INTERIMS_MOST)
			return HEAD_INTERIM;
		relay_invalid(x, "it has too many interim answers");
		return HEAD_OVER;
	}
	return begin_answer(x, h, minor, p + head_len, len - head_len)
	    ? HEAD_FINAL
	    : HEAD_OVER;
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
			relay_invalid(x,
			    v == HEAD_BAD ? "its head is damaged"
					  : "its head is too large");
			return;
		}
		switch (take_head(x, p, len, head_len)) {
		case HEAD_OVER:
			return;
		case HEAD_FINAL:
			relay_on_body(x, p + head_len, len - head_len);
			return;
		case HEAD_INTERIM:
			p += head_len;
			len -= head_len;
			if (len == 0)
				return;
		}
	}
}

static void
take_data(struct exchange *x, char *p, size_t len)
{
	struct relay *r = &x->relay;
	struct buf whole;

	if (r->state != RELAY_HEAD) {
		relay_on_body(x, p, len);
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

void
relay_on_data(struct exchange *x, char *p, size_t len)
{
	x->relay.last_byte_ns = clock_mono_ns();
	take_data(x, p, len);
}
