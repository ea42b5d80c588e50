/*
 * responses_splice.c - what comes is read twice, as events and as their JSON,
 * and passed on behind the readers.
 *
 * `done` follows the end of what came: at the end of a piece all is done but a
 * value that may have to be replaced, which is kept in `value` as it came. What
 * is done of an event that may yet be dropped is kept in `event`.
 */
#include "proxy/responses_splice.h"

#include <limits.h>
#include <string.h>

#include "base/banned.h"

#define NOWHERE UINT64_MAX

enum key {
	KEY_OTHER,
	KEY_TYPE,
	KEY_RESPONSE,
	/* Those whose values may have to be replaced. */
	KEY_RESPONSE_ID, /* response_id */
	KEY_ID,          /* response.id */
	KEY_NUMBER,
};

static const char byte_order_mark[3] = "\xef\xbb\xbf";

/* --- to the client ------------------------------------------------------- */

/* Passes what stands where our stream and theirs meet: without a byte order
 * mark, without empty lines. */
static void
pass_joint(struct responses_splice *s, const char *p, size_t len)
{
	for (; s->is_joined && len > 0; p++, len--) {
		if (s->mark_len < 3 && *p == byte_order_mark[s->mark_len]) {
			s->mark_len++;
			continue;
		}
		if (s->mark_len == 1 || s->mark_len == 2) {
			/* It was none, but the beginning of some name. */
			buf_put(s->to, byte_order_mark, s->mark_len);
			s->is_joined = false;
		}
		s->mark_len = 3;
		if (*p != '\n' && *p != '\r')
			s->is_joined = false;
		if (!s->is_joined)
			break;
	}
	buf_put(s->to, p, len);
}

static void
pass_event(struct responses_splice *s)
{
	s->fate = SPLICE_PASSED;
	pass_joint(s, buf_data(&s->event), buf_len(&s->event));
	buf_release(&s->event);
}

/* The byte at `at` says that it is their `response.created`.  If that comes too
 * late it is passed, because it would have been, had it come in small pieces:
 * readers that have one take no harm from another. */
static void
drop_event(struct responses_splice *s, uint64_t at)
{
	if (at - s->event_at >= SPLICE_EVENT_BYTES) {
		pass_event(s);
		return;
	}
	s->fate = SPLICE_DROPPED;
	buf_release(&s->event);
	if (s->has_number)
		s->own->next_number = s->number;
	s->is_joined = true;
	s->mark_len = 3; /* a second one is none */
}

static void
put(struct responses_splice *s, const char *p, size_t len)
{
	if (s->fate == SPLICE_OPEN)
		buf_put(&s->event, p, len);
	else if (s->fate == SPLICE_PASSED)
		pass_joint(s, p, len);
}

/* Does all up to a place, which lies in the piece, or before it in `value`. */
static void
do_up_to(struct responses_splice *s, uint64_t at, bool is_passed)
{
	size_t n;

	if (s->done < s->piece_at && at > s->done) {
		n = (size_t)((at < s->piece_at ? at : s->piece_at) - s->done);
		if (is_passed)
			put(s, buf_data(&s->value), n);
		buf_drain(&s->value, n);
		s->done += n;
	}
	if (at > s->done) {
		n = (size_t)(at - s->done);
		if (is_passed)
			put(s, s->piece + (s->done - s->piece_at), n);
		s->done = at;
	}
}

/* --- the JSON ------------------------------------------------------------ */

static enum key
key_of(const struct responses_splice *s, const struct json_token *t)
{
	if (t->depth == 2)
		return s->in_response && json_token_is(t, "id") ? KEY_ID
								: KEY_OTHER;
	if (json_token_is(t, "type"))
		return KEY_TYPE;
	if (json_token_is(t, "response"))
		return KEY_RESPONSE;
	if (json_token_is(t, "response_id"))
		return KEY_RESPONSE_ID;
	return json_token_is(t, "sequence_number") ? KEY_NUMBER : KEY_OTHER;
}

static void
replace(struct responses_splice *s, const struct json_token *t,
    const char *text, size_t len)
{
	do_up_to(s, s->json_at + t->begin, true);
	put(s, text, len);
	do_up_to(s, s->json_at + t->end, false);
}

static void
replace_id(struct responses_splice *s, const struct json_token *t)
{
	char text[OWN_RESPONSE_ID_CHARS + 2];

	text[0] = text[OWN_RESPONSE_ID_CHARS + 1] = '"';
	memcpy(text + 1, s->own->id, OWN_RESPONSE_ID_CHARS);
	replace(s, t, text, sizeof text);
}

static void
replace_number(struct responses_splice *s, const struct json_token *t)
{
	struct buf text = {0};

	if (s->fate == SPLICE_DROPPED)
		return;
	if (!s->has_number)
		s->number = s->own->next_number++;
	s->has_number = true;
	buf_put_uint(&text, s->number);
	replace(s, t, buf_data(&text), buf_len(&text));
	buf_release(&text);
}

static void
note_upstream_id(struct responses_splice *s, const struct json_token *t)
{
	size_t len;

	if (s->upstream_id[0] != '\0' || t->is_cut)
		return;
	len = json_decode(t->text, s->upstream_id, SPLICE_ID_BYTES - 1);
	if (len == SIZE_MAX || memchr(s->upstream_id, '\0', len) != NULL)
		len = 0;
	s->upstream_id[len] = '\0';
}

static void
on_value(struct responses_splice *s, enum key key, const struct json_token *t)
{
	bool is_string = t->kind == JSON_STRING;
	uint64_t end = s->json_at + t->end;
	bool may_replace =
	    s->value_at != NOWHERE && end - s->value_at <= SPLICE_VALUE_BYTES;

	s->value_at = NOWHERE;
	if (key == KEY_TYPE && s->fate == SPLICE_OPEN) {
		if (is_string && json_token_is(t, "response.created"))
			drop_event(s, end - 1);
		else
			pass_event(s);
	} else if (key == KEY_RESPONSE) {
		s->in_response = t->kind == JSON_OBJECT;
	} else if (key == KEY_NUMBER) {
		if (may_replace && t->kind == JSON_NUMBER)
			replace_number(s, t);
	} else if (may_replace && is_string) {
		if (key == KEY_ID)
			note_upstream_id(s, t);
		replace_id(s, t);
	}
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct responses_splice *s = arg;
	enum key key = (enum key)s->key;

	s->key = KEY_OTHER;
	if (t->kind == JSON_KEY) {
		key = key_of(s, t);
		s->key = (uint8_t)key;
		if (key >= KEY_RESPONSE_ID)
			s->value_at = s->json_at + t->end;
	} else if (key != KEY_OTHER) {
		on_value(s, key, t);
	} else if (t->kind == JSON_OBJECT_END && t->depth == 1) {
		s->in_response = false;
	}
	return true;
}

/* --- the events ---------------------------------------------------------- */

static void
feed_json(struct responses_splice *s, const char *p, size_t len)
{
	if (!s->is_json || len == 0)
		return;
	if (json_scan_feed(&s->json, p, len) == JSON_BAD) {
		s->is_json = false;
		s->value_at = NOWHERE;
		if (s->fate == SPLICE_OPEN)
			pass_event(s);
	}
	s->json_fed += len;
}

static void
on_data(struct responses_splice *s, const char *p, size_t len, bool is_end)
{
	if (!s->has_data) {
		s->has_data = s->is_json = true;
		json_scan_init(&s->json, on_token, s, 2);
	}
	/* No token goes over a line's end, so one place is enough. */
	if (len > 0)
		s->json_at =
		    s->piece_at + (uint64_t)(p - s->piece) - s->json_fed;
	feed_json(s, p, len);
	if (is_end)
		feed_json(s, "\n", 1);
}

/* The event's name says what it is, unless it is the one that all have. */
static void
on_name(struct responses_splice *s, const char *p, size_t len, bool is_end)
{
	struct slice name;
	size_t room = sizeof s->name - s->name_len;
	size_t kept = len < room ? len : room;

	memcpy(s->name + s->name_len, p, kept);
	s->name_len = (uint8_t)(s->name_len + kept);
	if (!is_end)
		return;
	name = (struct slice){s->name, s->name_len};
	s->name_len = 0;
	if (s->fate != SPLICE_OPEN || name.len == 0 ||
	    slice_is(name, "message"))
		return;
	if (slice_is(name, "response.created"))
		drop_event(s, s->piece_at + (uint64_t)(p - s->piece) + len);
	else
		pass_event(s);
}

static void
on_line(void *arg, enum sse_field field, const char *p, size_t len, bool is_end)
{
	struct responses_splice *s = arg;

	if (field == SSE_DATA)
		on_data(s, p, len, is_end);
	else if (field == SSE_EVENT)
		on_name(s, p, len, is_end);
}

void
responses_splice_init(struct responses_splice *s, struct own_response *own)
{
	memset(s, 0, offsetof(struct responses_splice, json));
	s->own = own;
	s->value_at = NOWHERE;
	s->is_between = s->is_joined = true;
	s->fate = SPLICE_PASSED;
	sse_init(&s->sse, on_line, s);
}

void
responses_splice_release(struct responses_splice *s)
{
	buf_release(&s->event);
	buf_release(&s->value);
}

static void
begin_event(struct responses_splice *s, uint64_t at)
{
	s->is_between = false;
	s->event_at = at;
	s->fate = SPLICE_OPEN;
	s->key = KEY_OTHER;
	s->in_response = s->has_number = s->is_json = s->has_data = false;
	s->json_fed = 0;
	s->name_len = 0;
}

static void
end_event(struct responses_splice *s, uint64_t at)
{
	s->value_at = NOWHERE;
	if (s->fate == SPLICE_OPEN)
		pass_event(s);
	do_up_to(s, at, true);
	s->fate = SPLICE_PASSED;
	s->is_between = true;
}

/* Reads at most one event of the piece, or line ends between two.  Returns the
 * bytes used. */
static size_t
read_event(struct responses_splice *s, size_t at, size_t len)
{
	const char *p = s->piece + at;
	bool is_event;
	size_t n = 0;

	while (s->is_between && at + n < len && (p[n] == '\n' || p[n] == '\r'))
		n++;
	if (n > 0) {
		(void)sse_next(&s->sse, p, n, &is_event);
		do_up_to(s, s->piece_at + at + n, true);
		return n;
	}
	if (s->is_between)
		begin_event(s, s->piece_at + at);
	n = sse_next(&s->sse, p, len - at, &is_event);
	if (is_event)
		end_event(s, s->piece_at + at + n);
	return n;
}

/* The piece is over: what of it need not wait? */
static void
end_piece(struct responses_splice *s, size_t len)
{
	uint64_t end = s->piece_at + len;

	if (s->fate == SPLICE_OPEN && end - s->event_at >= SPLICE_EVENT_BYTES)
		pass_event(s);
	if (s->value_at != NOWHERE && end - s->value_at > SPLICE_VALUE_BYTES)
		s->value_at = NOWHERE;
	do_up_to(s, s->value_at < end ? s->value_at : end, true);
	if (s->done < end) {
		size_t kept = (size_t)(end - s->done);
		size_t here = kept < len ? kept : len;

		buf_put(&s->value, s->piece + len - here, here);
	}
	s->piece_at = end;
	s->piece = NULL;
}

void
responses_splice_feed(
    struct responses_splice *s, const char *p, size_t len, struct buf *to)
{
	if (len == 0)
		return;
	s->to = to;
	s->piece = p;
	for (size_t at = 0; at < len;)
		at += read_event(s, at, len);
	end_piece(s, len);
	s->to = NULL;
}

void
responses_splice_end(struct responses_splice *s, struct buf *to)
{
	s->to = to;
	if (s->fate == SPLICE_OPEN)
		pass_event(s);
	do_up_to(s, s->piece_at, true);
	s->to = NULL;
}

bool
responses_splice_is_between(const struct responses_splice *s)
{
	return s->is_between || s->fate != SPLICE_PASSED;
}
