#include "tests/bench/reader.h"

#include <string.h>

#include "base/banned.h"

static void
bad_head(struct reader *r)
{
	r->state = READER_BAD_HEAD;
}

static void
bad_framing(struct reader *r)
{
	r->state = READER_BAD_FRAMING;
}

/* "HTTP/1.1 200 OK"; the reason may be empty. */
static void
read_status_line(struct reader *r, struct slice line)
{
	uint64_t status;

	if (!slice_starts(line, "HTTP/1.1 ") || line.len < 12 ||
	    (line.len > 12 && line.p[12] != ' ') ||
	    !text_to_u64((struct slice){line.p + 9, 3}, 999, &status) ||
	    status < 100) {
		bad_head(r);
		return;
	}
	r->status = (int)status;
	r->state = READER_HEADERS;
}

static void
read_length(struct reader *r, struct slice value)
{
	if (r->has_length || !text_to_u64(value, UINT64_MAX, &r->left_bytes))
		bad_head(r);
	r->has_length = true;
}

static void
read_coding(struct reader *r, struct slice value)
{
	if (r->is_chunked || !slice_is_nocase(value, "chunked"))
		bad_head(r);
	r->is_chunked = true;
}

static void
read_header(struct reader *r, struct slice line)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct slice name, value;

	if (colon == NULL || colon == line.p) {
		bad_head(r);
		return;
	}
	name = (struct slice){line.p, (size_t)(colon - line.p)};
	value = slice_trim((struct slice){colon + 1, line.len - name.len - 1});
	if (slice_trim(name).len != name.len)
		bad_head(r);
	else if (slice_is_nocase(name, "Content-Length"))
		read_length(r, value);
	else if (slice_is_nocase(name, "Transfer-Encoding"))
		read_coding(r, value);
	else if (slice_is_nocase(name, "Connection"))
		r->will_close = slice_is_nocase(value, "close");
	else if (slice_is_nocase(name, "Content-Type"))
		r->is_stream = slice_starts(value, "text/event-stream");
}

/* The empty line: what comes next? */
static void
end_head(struct reader *r)
{
	if (r->status < 200) { /* 100 or 103: the answer is still to come */
		if (r->has_length || r->is_chunked)
			bad_head(r);
		else
			r->state = READER_STATUS_LINE;
	} else if (r->has_length == r->is_chunked) {
		bad_head(r);
	} else if (r->is_chunked) {
		r->state = READER_CHUNK_SIZE;
	} else {
		r->state = r->left_bytes == 0 ? READER_DONE : READER_BODY;
	}
}

static void
read_head_line(struct reader *r, struct slice line)
{
	r->head_bytes += line.len + 2;
	if (r->head_bytes > READER_MOST_HEAD_BYTES)
		bad_head(r);
	else if (r->state == READER_STATUS_LINE)
		read_status_line(r, line);
	else if (line.len == 0)
		end_head(r);
	else
		read_header(r, line);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void
read_chunk_size(struct reader *r, struct slice line)
{
	uint64_t size = 0;

	if (line.len == 0 || line.len > 15) {
		bad_framing(r);
		return;
	}
	for (size_t i = 0; i < line.len; i++) {
		int v = hex_value(line.p[i]);

		if (v < 0) {
			bad_framing(r);
			return;
		}
		size = size << 4 | (uint64_t)v;
	}
	r->left_bytes = size;
	r->state = size == 0 ? READER_LAST_LINE : READER_CHUNK;
}

/* One line of the head, of the chunked framing, or its end. */
static void
step_line(struct reader *r, struct slice *in)
{
	bool is_head = r->state <= READER_HEADERS;
	struct slice line;
	enum line_verdict v = line_take(&r->line, in, &line);

	if (v == LINE_MORE)
		return;
	if (v == LINE_TOO_LONG || !line_chop_cr(&line)) {
		r->state = is_head ? READER_BAD_HEAD : READER_BAD_FRAMING;
		return;
	}
	if (is_head) {
		read_head_line(r, line);
	} else if (r->state == READER_CHUNK_SIZE) {
		read_chunk_size(r, line);
	} else if (line.len > 0) {
		bad_framing(r);
	} else if (r->state == READER_CHUNK_END) {
		r->state = READER_CHUNK_SIZE;
	} else {
		r->state = READER_DONE;
	}
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Keeps the first and last bytes that say whether JSON is complete. */
static void
note_ends(struct reader *r, struct slice bytes)
{
	while (bytes.len > 0 && is_blank(bytes.p[bytes.len - 1]))
		bytes.len--;
	if (bytes.len == 0)
		return;
	r->last = bytes.p[bytes.len - 1];
	while (is_blank(*bytes.p))
		bytes.p++;
	if (r->first == '\0')
		r->first = *bytes.p;
}

static void
step_body(struct reader *r, struct slice *in)
{
	size_t n = in->len < r->left_bytes ? in->len : (size_t)r->left_bytes;
	struct slice part = {in->p, n};

	if (r->is_stream)
		events_feed(&r->events, part);
	else
		note_ends(r, part);
	r->body_bytes += n;
	r->left_bytes -= n;
	in->p += n;
	in->len -= n;
	if (r->left_bytes == 0)
		r->state = r->is_chunked ? READER_CHUNK_END : READER_DONE;
}

size_t
reader_feed(struct reader *r, const char *p, size_t len)
{
	struct slice in = {p, len};

	while (in.len > 0 && r->state < READER_DONE) {
		if (r->state == READER_BODY || r->state == READER_CHUNK)
			step_body(r, &in);
		else
			step_line(r, &in);
	}
	return len - in.len;
}

bool
reader_is_whole(const struct reader *r)
{
	if (r->state != READER_DONE)
		return false;
	if (r->is_stream)
		return events_are_whole(&r->events);
	return r->first == '{' && r->last == '}';
}

void
reader_reset(struct reader *r)
{
	line_release(&r->line);
	events_reset(&r->events);
	*r = (struct reader){0};
}
