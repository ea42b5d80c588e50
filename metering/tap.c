#include "metering/tap.h"

#include <string.h>

#include "base/banned.h"

enum shape {
	SHAPE_UNKNOWN,  /* nothing but blanks so far */
	SHAPE_EVENTS,   /* server-sent events */
	SHAPE_BETWEEN,  /* documents: before one, or behind it */
	SHAPE_DOCUMENT, /* documents: in one */
	SHAPE_BAD_LINE, /* documents: up to the line's end */
};

enum data {
	DATA_NONE, /* no data in this event but blanks */
	DATA_JSON,
	DATA_BAD,
	DATA_MARK, /* as much of "[DONE]" as mark_len says */
	DATA_DONE,
};

static const char done_mark[] = "[DONE]";

static bool
is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void
on_name(struct tap *t, const char *p, size_t len, bool is_end)
{
	if (t->is_name_over)
		t->name_len = 0;
	t->is_name_over = is_end;
	if (len > sizeof t->name - t->name_len) {
		t->name_len = sizeof t->name;
		t->name[0] = '\0'; /* no name that matters is so long */
		return;
	}
	memcpy(t->name + t->name_len, p, len);
	t->name_len = (uint8_t)(t->name_len + len);
}

static void
feed_event(struct tap *t, const char *p, size_t len)
{
	if (usage_reader_feed(&t->reader, p, len) == JSON_BAD)
		t->data = DATA_BAD;
}

/* The first byte that is not blank decides what an event's data is. */
static void
begin_data(struct tap *t, char first)
{
	t->mark_len = 0;
	t->data = first == done_mark[0] ? DATA_MARK : DATA_JSON;
	if (t->data == DATA_JSON)
		usage_reader_begin(&t->reader, t->api, false);
}

static void
note_place(struct tap *t, const char *p)
{
	t->data_at = t->piece == NULL ? SIZE_MAX : (size_t)(p - t->piece);
}

static void
on_data(struct tap *t, const char *p, size_t len, bool is_end)
{
	if (t->is_joined && t->data == DATA_JSON) {
		feed_event(t, "\n", 1);
		t->data_at = SIZE_MAX;
	}
	t->is_joined = is_end;
	while (t->data == DATA_NONE && len > 0) {
		if (!is_blank(*p)) {
			begin_data(t, *p);
			note_place(t, p);
			break;
		}
		p++;
		len--;
	}
	for (; t->data == DATA_MARK && len > 0; p++, len--) {
		if (*p != done_mark[t->mark_len])
			t->data = DATA_BAD;
		else if (++t->mark_len == sizeof done_mark - 1)
			t->data = DATA_DONE;
	}
	if (t->data == DATA_JSON && len > 0)
		feed_event(t, p, len);
}

static void
on_value(
    void *arg, enum sse_field field, const char *p, size_t len, bool is_end)
{
	struct tap *t = arg;

	if (field == SSE_DATA)
		on_data(t, p, len, is_end);
	else if (field == SSE_EVENT)
		on_name(t, p, len, is_end);
}

void
tap_init(struct tap *t, enum server_api api, bool is_stream, bool hides_usage)
{
	memset(t, 0, offsetof(struct tap, reader));
	t->usage = USAGE_UNKNOWN;
	t->source = USAGE_NONE;
	t->api = api;
	t->fresh_input = -1;
	t->is_stream = is_stream;
	t->hides_usage = hides_usage && is_stream &&
	    (api == API_CHAT || api == API_COMPLETIONS);
	t->twin.behind = 0;
	sse_init(&t->sse, on_value, t);
}

static void
merge_count(int64_t *into, int64_t count)
{
	if (count >= 0)
		*into = count;
}

/* Anthropic's later counts replace earlier ones one by one.  Servers that leave
 * the input to message_start may put a zero where it would stand later. */
static void
merge_usage(struct tap *t, const struct usage *u)
{
	bool has_input = u->input > 0 || u->cached > 0 || u->cache_write > 0;

	if (has_input || t->fresh_input <= 0) {
		merge_count(&t->fresh_input, u->input);
		merge_count(&t->usage.cached, u->cached);
		merge_count(&t->usage.cache_write, u->cache_write);
	}
	merge_count(&t->usage.output, u->output);
	merge_count(&t->usage.reasoning, u->reasoning);
	merge_count(&t->usage.audio, u->audio);
	if (t->fresh_input < 0)
		return;
	t->usage.input = t->fresh_input;
	if (t->usage.cached > 0)
		t->usage.input += t->usage.cached;
	if (t->usage.cache_write > 0)
		t->usage.input += t->usage.cache_write;
}

static void
take_usage(struct tap *t)
{
	const struct usage_reader *r = &t->reader;
	bool is_early = r->is_usage_nested && r->type != ANSWER_RESPONSE_DONE &&
	    r->type != ANSWER_RESPONSE_FAILED;

	t->has_bad_count |= r->has_bad_count;
	if (r->rank == USAGE_RANK_NONE || r->rank < t->rank || is_early)
		return;
	if (t->api == API_MESSAGES)
		merge_usage(t, &r->usage);
	else
		t->usage = r->usage;
	t->rank = r->rank;
	t->has_bad_count |= !usage_make_sane(&t->usage);
	if (usage_is_known(&t->usage))
		t->source = r->rank == USAGE_RANK_TIMINGS ? USAGE_TIMINGS
							  : USAGE_UPSTREAM;
}

/* Text counts once: Responses repeats all of it at the end. */
static void
take_text(struct tap *t)
{
	const struct usage_reader *r = &t->reader;
	bool repeats = t->shape == SHAPE_EVENTS && t->text_bytes > 0 &&
	    (r->type == ANSWER_RESPONSE_DONE ||
		r->type == ANSWER_RESPONSE_FAILED);

	if (r->type != ANSWER_AUDIO_DELTA && !repeats)
		t->text_bytes += r->text_bytes;
}

static void
take_type(struct tap *t, enum answer_type type)
{
	bool is_terminal =
	    type == ANSWER_RESPONSE_DONE || type == ANSWER_RESPONSE_FAILED;

	if (type == ANSWER_ERROR || type == ANSWER_RESPONSE_FAILED)
		t->has_error = true;
	if (t->api == API_MESSAGES && type == ANSWER_MESSAGE_STOP)
		t->is_complete = true;
	if (t->api == API_RESPONSES && is_terminal)
		t->is_complete = true;
}

/* A whole JSON document has been read: an event's data, a line, a body. */
static void
take_document(struct tap *t)
{
	const struct usage_reader *r = &t->reader;

	take_usage(t);
	take_text(t);
	take_type(t, r->type);
	t->has_error |= r->has_error;
	if (t->shape != SHAPE_EVENTS)
		t->has_error |= r->has_refusal_shape;
	if (t->shape == SHAPE_EVENTS || t->is_stream)
		t->has_content |= r->has_content;
	if (r->done == MARK_TRUE)
		t->is_complete = true;
}

static enum answer_type
name_type(const struct tap *t)
{
	return answer_type_of((struct slice){t->name, t->name_len});
}

/* The body ended within a document: what it cost stands in no whole one. */
static void
take_rest(struct tap *t)
{
	take_text(t);
	t->has_error |= t->reader.has_error || name_type(t) == ANSWER_ERROR;
}

/* The data of the event is over.  True if it is to be hidden. */
static bool
take_data(struct tap *t)
{
	struct usage_reader *r = &t->reader;

	if (t->data == DATA_DONE && t->api != API_MESSAGES &&
	    t->api != API_RESPONSES)
		t->is_complete = true;
	if (t->data == DATA_NONE || t->data == DATA_DONE)
		return false;
	if (t->data != DATA_JSON || !usage_reader_end(r)) {
		t->bad_events++;
		return false;
	}
	if (r->type == ANSWER_OTHER)
		r->type = name_type(t);
	take_document(t);
	return t->hides_usage && t->sse.event_bytes < TAP_HIDE_BYTES &&
	    r->choices == CHOICES_EMPTY && r->has_usage_object && !r->has_error;
}

static enum tap_verdict
end_event(struct tap *t)
{
	bool is_hidden = take_data(t);

	if (name_type(t) == ANSWER_ERROR)
		t->has_error = true;
	t->events += t->data != DATA_NONE;
	t->data = DATA_NONE;
	t->is_joined = false;
	t->is_name_over = false;
	t->name_len = 0;
	return is_hidden ? TAP_HIDE : TAP_PASS;
}

/* Whether take_data() may still say so. */
static bool
may_hide(const struct tap *t)
{
	if (!t->hides_usage || !t->sse.has_lines ||
	    t->sse.event_bytes >= TAP_HIDE_BYTES)
		return false;
	return t->data == DATA_NONE ||
	    (t->data == DATA_JSON && t->reader.choices != CHOICES_SOME &&
		!t->reader.has_error);
}

/* An event that was read from one piece and held one text is remembered: if it
 * was whole, and no type of its own says that its text is something else.  Any
 * other one makes forget, since it may have said more than the last one. */
static void
learn(struct tap *t, size_t len, bool is_sound)
{
	const struct usage_reader *r = &t->reader;

	if (!is_sound || t->piece == NULL || t->data_at == SIZE_MAX ||
	    r->texts != 1 || r->type != ANSWER_OTHER ||
	    t->piece[len - 1] != '\n')
		t->twin.behind = 0;
	else
		twin_learn(&t->twin, t->piece, len,
		    t->data_at + (size_t)r->text_begin,
		    t->data_at + (size_t)r->text_end);
}

/* An event that says nothing new but its text.  Returns its length, or 0. */
static size_t
pass_twin(struct tap *t, const char *p, size_t len)
{
	uint64_t text_bytes;
	size_t n;

	if (!t->is_between || !t->has_content || t->sse.after_cr)
		return 0;
	n = twin_match(&t->twin, p, len, &text_bytes);
	if (n > 0) {
		t->text_bytes += text_bytes;
		t->events++;
	}
	return n;
}

static size_t
next_event(struct tap *t, const char *p, size_t len, enum tap_verdict *verdict)
{
	size_t n = pass_twin(t, p, len);
	uint32_t bad = t->bad_events;
	bool was_json;

	if (n > 0) {
		*verdict = TAP_PASS;
		return n;
	}
	t->piece = t->is_between ? p : NULL;
	n = sse_next(&t->sse, p, len, &t->is_between);
	if (t->is_between) {
		was_json = t->data == DATA_JSON;
		*verdict = end_event(t);
		if (was_json)
			learn(
			    t, n, *verdict == TAP_PASS && t->bad_events == bad);
	}
	t->may_be_hidden = may_hide(t);
	return n;
}

static void
end_document(struct tap *t)
{
	t->events++;
	t->has_document = true;
	t->has_end_marks |= t->reader.done != MARK_NONE;
	t->shape = SHAPE_BETWEEN;
	take_document(t);
}

/* Reads up to the end of the document, or of the input. */
static size_t
feed_document(struct tap *t, const char *p, size_t len)
{
	uint64_t before = json_scan_offset(&t->reader.json);
	enum json_verdict v = usage_reader_feed(&t->reader, p, len);

	if (v == JSON_STOP && usage_reader_end(&t->reader)) {
		end_document(t);
	} else if (v == JSON_BAD) {
		t->events++;
		t->bad_events++;
		t->shape = SHAPE_BAD_LINE;
	}
	return (size_t)(json_scan_offset(&t->reader.json) - before);
}

/* A bad line of a stream does not spoil the next one. */
static size_t
skip_bad_line(struct tap *t, const char *p, size_t len)
{
	const char *lf = t->is_stream ? memchr(p, '\n', len) : NULL;

	if (lf == NULL)
		return len;
	t->shape = SHAPE_BETWEEN;
	t->has_document = true;
	return (size_t)(lf - p);
}

/* Documents follow each other on lines of their own (ollama), or there is but
 * one. */
static size_t
next_document(
    struct tap *t, const char *p, size_t len, enum tap_verdict *verdict)
{
	size_t n = 0;

	while (n < len) {
		if (t->shape == SHAPE_DOCUMENT) {
			n += feed_document(t, p + n, len - n);
		} else if (t->shape == SHAPE_BAD_LINE) {
			n += skip_bad_line(t, p + n, len - n);
		} else if (!is_blank(p[n])) {
			t->shape = SHAPE_DOCUMENT;
			usage_reader_begin(&t->reader, t->api, true);
		} else if (p[n++] == '\n' && t->has_document && t->is_stream) {
			t->has_document = false;
			*verdict = TAP_PASS;
			break;
		}
	}
	return n;
}

/* Whether it is blank, or part of a byte order mark. */
static bool
is_before_body(char c)
{
	return is_blank(c) || memchr("\xef\xbb\xbf", c, 3) != NULL;
}

/* Looks for the body's first byte.  Returns the bytes before it. */
static size_t
find_shape(struct tap *t, const char *p, size_t len)
{
	bool is_event, is_events;
	size_t n = 0;

	while (n < len && is_before_body(p[n]))
		n++;
	for (size_t i = 0; i < n;)
		i += sse_next(&t->sse, p + i, n - i, &is_event);
	if (n == len)
		return n;
	/* data:, event:, id:, retry: and comments; no JSON begins so. */
	is_events = p[n] != '{' && p[n] != '[' &&
	    (t->is_stream || memchr("deir:", p[n], 5) != NULL);
	t->shape = is_events ? SHAPE_EVENTS : SHAPE_BETWEEN;
	return n;
}

size_t
tap_next(struct tap *t, const char *p, size_t len, enum tap_verdict *verdict)
{
	size_t n = 0;

	*verdict = TAP_MORE;
	if (t->shape == SHAPE_UNKNOWN)
		n = find_shape(t, p, len);
	if (n == len)
		return n;
	if (t->shape == SHAPE_EVENTS)
		n += next_event(t, p + n, len - n, verdict);
	else
		n += next_document(t, p + n, len - n, verdict);
	return n;
}

static void
end_events(struct tap *t)
{
	bool has_begun = sse_end(&t->sse);

	t->may_be_hidden = false;
	if (has_begun && t->data == DATA_JSON && !usage_reader_end(&t->reader))
		take_rest(t);
	else if (has_begun && t->data != DATA_MARK)
		t->may_be_hidden = end_event(t) == TAP_HIDE;
}

static void
end_documents(struct tap *t, bool was_cut)
{
	if (t->shape == SHAPE_DOCUMENT) {
		if (usage_reader_end(&t->reader))
			end_document(t);
		else
			take_rest(t);
	}
	if (t->shape == SHAPE_BETWEEN && t->events > 0 && t->bad_events == 0 &&
	    !t->has_end_marks && !was_cut)
		t->is_complete = true;
}

void
tap_end(struct tap *t, bool was_cut)
{
	if (t->shape == SHAPE_EVENTS)
		end_events(t);
	else if (t->shape != SHAPE_UNKNOWN)
		end_documents(t, was_cut);
}
