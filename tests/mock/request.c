#include "request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEEP_BYTES 16384
#define CHUNK_LINE_MAX 1024

void
request_reset(struct request *rq)
{
	struct request fresh = {.head = rq->head, .body = rq->body};

	*rq = fresh;
	bytes_clear(&rq->head, KEEP_BYTES);
	bytes_clear(&rq->body, KEEP_BYTES);
}

static bool
is_text(struct text t, const char *s)
{
	return strlen(s) == t.n && strncasecmp(t.p, s, t.n) == 0;
}

static bool
has_token(struct text t, const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i + n <= t.n; i++)
		if (strncasecmp(t.p + i, word, n) == 0)
			return true;
	return false;
}

/* Takes one line, without its end, from *t. */
static bool
take_line(struct text *t, struct text *line)
{
	const char *end = memchr(t->p, '\n', t->n);

	if (end == NULL)
		return false;
	line->p = t->p;
	line->n = (size_t)(end - t->p);
	t->p += line->n + 1;
	t->n -= line->n + 1;
	if (line->n > 0 && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

bool
request_headers(const struct bytes *head, request_header_fn each, void *arg)
{
	struct text left = {head->p, head->n}, line, name, value;
	const char *colon;

	if (!take_line(&left, &line))
		return false;
	while (take_line(&left, &line) && line.n > 0) {
		colon = memchr(line.p, ':', line.n);
		if (colon == NULL)
			return false;
		name.p = line.p;
		name.n = (size_t)(colon - line.p);
		value.p = colon + 1;
		value.n = line.n - name.n - 1;
		while (value.n > 0 && (*value.p == ' ' || *value.p == '\t'))
			value.p++, value.n--;
		while (value.n > 0 &&
		    (value.p[value.n - 1] == ' ' ||
			value.p[value.n - 1] == '\t'))
			value.n--;
		if (!each(arg, name, value))
			return false;
	}
	return true;
}

static bool
read_length(struct request *rq, struct text value)
{
	uint64_t n = 0;

	if (value.n == 0 || value.n > 15)
		return false;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(value.p[i] - '0');
	}
	rq->length = n;
	return n <= REQUEST_BODY_MAX;
}

static bool
on_header(void *arg, struct text name, struct text value)
{
	struct request *rq = arg;

	if (is_text(name, "content-length"))
		return read_length(rq, value);
	if (is_text(name, "transfer-encoding")) {
		rq->is_chunked = true;
		return is_text(value, "chunked");
	}
	if (is_text(name, "x-mock"))
		rq->mock = value;
	else if (is_text(name, "expect"))
		rq->wants_continue = is_text(value, "100-continue");
	else if (is_text(name, "connection"))
		rq->is_kept = has_token(value, "close")
		    ? false
		    : rq->is_kept || has_token(value, "keep-alive");
	return true;
}

static bool
read_request_line(struct request *rq)
{
	struct text left = {rq->head.p, rq->head.n}, line;
	const char *a, *b;

	if (!take_line(&left, &line))
		return false;
	a = memchr(line.p, ' ', line.n);
	if (a == NULL)
		return false;
	b = memchr(a + 1, ' ', line.n - (size_t)(a + 1 - line.p));
	if (b == NULL || line.n - (size_t)(b - line.p) != strlen(" HTTP/1.x"))
		return false;
	if (memcmp(b, " HTTP/1.", 8) != 0 || (b[8] != '0' && b[8] != '1'))
		return false;
	rq->method = (struct text){line.p, (size_t)(a - line.p)};
	rq->target = (struct text){a + 1, (size_t)(b - a - 1)};
	rq->is_http10 = b[8] == '0';
	rq->is_kept = !rq->is_http10;
	return rq->target.n > 0 && *rq->target.p == '/';
}

enum request_state
request_head(struct request *rq, struct bytes *in)
{
	const char *end;
	size_t n;

	if (rq->has_head)
		return REQUEST_READY;
	/* Empty lines before a request are to be ignored. */
	while (in->n >= 2 && memcmp(in->p, "\r\n", 2) == 0)
		bytes_drop(in, 2);
	end = in->n > 0 ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL;
	if (end == NULL)
		return in->n > REQUEST_HEAD_MAX ? REQUEST_BAD : REQUEST_WANTS;
	n = (size_t)(end - in->p) + 4;
	bytes_add(&rq->head, in->p, n);
	bytes_drop(in, n);
	if (!read_request_line(rq) ||
	    !request_headers(&rq->head, on_header, rq))
		return REQUEST_BAD;
	rq->has_head = true;
	return REQUEST_READY;
}

/* Moves what is there of one chunk's data. */
static void
take_data(struct request *rq, struct bytes *in, size_t *at)
{
	size_t n = in->n - *at;

	if (n > rq->chunk_left)
		n = rq->chunk_left;
	bytes_add(&rq->body, in->p + *at, n);
	*at += n;
	rq->chunk_left -= n;
	if (rq->chunk_left == 0)
		rq->step = CHUNK_END;
}

/* Reads one line of the chunked framing: a size, or what ends a chunk. */
static enum request_state
take_chunk_line(struct request *rq, struct text line)
{
	char *end;

	switch (rq->step) {
	case CHUNK_SIZE:
		rq->chunk_left = strtoul(line.p, &end, 16);
		if (end == line.p || rq->chunk_left > REQUEST_BODY_MAX)
			return REQUEST_BAD;
		rq->step = rq->chunk_left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
		break;
	case CHUNK_END:
		if (line.n != 0)
			return REQUEST_BAD;
		rq->step = CHUNK_SIZE;
		break;
	case CHUNK_TRAILER:
		if (line.n == 0)
			return REQUEST_READY;
		break;
	case CHUNK_DATA:
		break;
	}
	return REQUEST_WANTS;
}

static enum request_state
read_chunks(struct request *rq, struct bytes *in)
{
	enum request_state state = REQUEST_WANTS;
	struct text left, line;
	size_t at = 0;

	while (state == REQUEST_WANTS && at < in->n) {
		if (rq->step == CHUNK_DATA) {
			take_data(rq, in, &at);
			continue;
		}
		left = (struct text){in->p + at, in->n - at};
		if (!take_line(&left, &line)) {
			if (left.n > CHUNK_LINE_MAX)
				state = REQUEST_BAD;
			break;
		}
		at = (size_t)(left.p - in->p);
		state = take_chunk_line(rq, line);
	}
	bytes_drop(in, at);
	return rq->body.n > REQUEST_BODY_MAX ? REQUEST_BAD : state;
}

enum request_state
request_body_ready(struct request *rq, struct bytes *in)
{
	if (rq->is_chunked)
		return read_chunks(rq, in);
	return in->n >= rq->length ? REQUEST_READY : REQUEST_WANTS;
}

struct text
request_body(const struct request *rq, const struct bytes *in)
{
	if (rq->is_chunked)
		return (struct text){rq->body.p, rq->body.n};
	return (struct text){in->p, (size_t)rq->length};
}

void
request_take_body(struct request *rq, struct bytes *in)
{
	if (!rq->is_chunked)
		bytes_drop(in, (size_t)rq->length);
}

void
request_free(struct request *rq)
{
	bytes_free(&rq->head);
	bytes_free(&rq->body);
}
