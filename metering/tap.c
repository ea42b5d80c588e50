#include "metering/tap.h"

#include <string.h>

#include "metering/tap_inner.h"

#include "base/banned.h"

enum data {
	DATA_NONE, /* no data in this event but blanks */
	DATA_JSON,
	DATA_BAD,
	DATA_MARK, /* as much of "[DONE]" as mark_len says */
	DATA_DONE,
};

#define NULL_BYTES 4 /* of "null" */

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

/* How far into the event this place of the current piece is. */
static uint64_t
place_in_event(const struct tap *t, const char *p)
{
	return t->event_bytes + (uint64_t)(p - t->piece);
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
	if (t->data == DATA_JSON) {
		twin_forget(&t->twin); /* it leans on what was read last */
		usage_reader_begin(&t->reader, t->job.kind, t->job.api, false);
	}
}

static void
on_data(struct tap *t, const char *p, size_t len, bool is_end)
{
	if (t->is_joined && t->data == DATA_JSON) {
		feed_event(t, "\n", 1);
		t->json_at = UINT64_MAX;
	}
	t->is_joined = is_end;
	while (t->data == DATA_NONE && len > 0) {
		if (!is_blank(*p)) {
			begin_data(t, *p);
			t->json_at = place_in_event(t, p);
			t->json_text_at = t->sse.event_bytes - len;
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
tap_init(struct tap *t, const struct tap_job *job)
{
	enum server_api api = job->api;
	uint64_t choices = job->choices == 0 ? 1 : job->choices;
	bool has_choices = api == API_CHAT || api == API_COMPLETIONS;

	memset(t, 0, offsetof(struct tap, reader));
	t->json_at = UINT64_MAX;
	t->job = *job;
	t->job.hides_usage &= job->is_stream && has_choices;
	t->job.strips_running &= job->is_stream && has_choices;
	t->usage = USAGE_UNKNOWN;
	t->source = USAGE_NONE;
	t->fresh_input = -1;
	t->held_from = UINT64_MAX;
	t->is_between = true;
	running_init(&t->running,
	    api == API_COMPLETIONS && choices < UINT32_MAX ? (uint32_t)choices
							   : UINT32_MAX);
	twin_forget(&t->twin);
	sse_init(&t->sse, on_value, t);
}

void
tap_release(struct tap *t)
{
	running_release(&t->running);
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
		tap_add_text(t, r->text_bytes);
}

static void
take_type(struct tap *t, enum answer_type type)
{
	bool is_terminal =
	    type == ANSWER_RESPONSE_DONE || type == ANSWER_RESPONSE_FAILED;

	if (type == ANSWER_ERROR || type == ANSWER_RESPONSE_FAILED)
		t->has_error = true;
	if (t->job.api == API_MESSAGES && type == ANSWER_MESSAGE_STOP)
		t->is_complete = true;
	if (t->job.api == API_RESPONSES && is_terminal)
		t->is_complete = true;
}

/* A whole JSON document has been read: an event's data, a line, a body. */
static void
take_document(struct tap *t)
{
	const struct usage_reader *r = &t->reader;

	take_text(t);
	tap_take_usage(t);
	take_type(t, r->type);
	t->has_error |= r->has_error;
	if (t->shape != SHAPE_EVENTS)
		t->has_error |= r->has_refusal_shape;
	if (t->shape == SHAPE_EVENTS || t->job.is_stream)
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

	if (t->data == DATA_DONE && t->job.api != API_MESSAGES &&
	    t->job.api != API_RESPONSES)
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
	return t->job.hides_usage && t->sse.event_bytes < TAP_HIDE_BYTES &&
	    r->choices == CHOICES_EMPTY && r->has_usage_object && !r->has_error;
}

/* Whether so much of the event stands behind this place of its document that
 * it cannot be held back. */
static bool
is_far_back(const struct tap *t, uint64_t at)
{
	return t->sse.event_bytes - t->json_text_at >= at + TAP_HIDE_BYTES;
}

/* Cuts the member "usage" out, or, where the server says null without counts,
 * its value, but for the room of that word. */
static void
cut(struct tap *t, uint64_t begin, uint64_t end)
{
	t->leaves_null = kind_has(t->job.kind, KIND_NULLS_USAGE);
	t->cut_begin = begin;
	t->cut_end = t->leaves_null ? end - NULL_BYTES : end;
}

/* Running counts that the client did not ask for are to be cut out of the
 * event, unless they were too long ago to be held back. */
static void
cut_running(struct tap *t)
{
	const struct usage_reader *r = &t->reader;

	if (!t->job.strips_running || t->data != DATA_JSON ||
	    r->choices != CHOICES_SOME || r->cut_end == 0 ||
	    t->json_at == UINT64_MAX || is_far_back(t, r->cut_begin) ||
	    r->usage_end - r->usage_begin <= NULL_BYTES)
		return;
	if (kind_has(t->job.kind, KIND_NULLS_USAGE))
		cut(t, t->json_at + r->usage_begin, t->json_at + r->usage_end);
	else
		cut(t, t->json_at + r->cut_begin, t->json_at + r->cut_end);
}

/* All of the event is there: t->event_bytes. */
static enum tap_verdict
end_event(struct tap *t)
{
	uint32_t bad = t->bad_events;
	bool is_hidden = take_data(t);

	if (name_type(t) == ANSWER_ERROR)
		t->has_error = true;
	if (is_hidden) {
		t->cut_begin = t->lines_at;
		t->cut_end = t->event_bytes;
	} else if (t->bad_events == bad) {
		cut_running(t);
	}
	tap_finish_usage(t);
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
	if (!t->job.hides_usage || !t->sse.has_lines ||
	    t->sse.event_bytes >= TAP_HIDE_BYTES)
		return false;
	return t->data == DATA_NONE ||
	    (t->data == DATA_JSON && t->reader.choices != CHOICES_SOME &&
		!t->reader.has_error);
}

/* From where on the open event must wait. */
static uint64_t
hold_from(const struct tap *t)
{
	uint64_t at;

	if (may_hide(t))
		return t->lines_at;
	if (!t->job.strips_running || t->data != DATA_JSON ||
	    t->json_at == UINT64_MAX)
		return UINT64_MAX;
	at = usage_reader_hold(&t->reader);
	if (at == UINT64_MAX || is_far_back(t, at))
		return UINT64_MAX;
	return t->json_at + at;
}

static struct twin_span
span(const struct tap *t, uint64_t begin, uint64_t end)
{
	return (struct twin_span){
	    (size_t)(t->json_at + begin), (size_t)(t->json_at + end)};
}

/* An event that was read from one piece and held one text is remembered: if it
 * was whole, and no type of its own says that its text is something else.  Any
 * other one was forgotten as it began, since it may have said more than the
 * last one. */
static void
learn(struct tap *t)
{
	const struct usage_reader *r = &t->reader;
	struct twin_event e = {.p = t->piece, .len = (size_t)t->event_bytes};

	if (!t->has_begun_here || t->json_at == UINT64_MAX || r->texts != 1 ||
	    r->type != ANSWER_OTHER || r->has_bad_count ||
	    r->digit_count > USAGE_READER_DIGITS ||
	    (r->rank != USAGE_RANK_NONE &&
		(r->rank != USAGE_RANK_REPORTED || r->digit_count == 0)) ||
	    e.p[e.len - 1] != '\n')
		return;
	e.text = span(t, r->text_begin, r->text_end);
	if (t->cut_begin < t->cut_end)
		e.cut = (struct twin_span){(size_t)t->cut_begin,
		    (size_t)t->cut_end + (t->leaves_null ? NULL_BYTES : 0)};
	for (; e.count_count < r->digit_count; e.count_count++) {
		const struct usage_digits *d = &r->digits[e.count_count];

		e.counts[e.count_count] = span(t, d->begin, d->end);
	}
	twin_learn(&t->twin, &e);
}

/* An event that says nothing new but its text and its counts.  Returns its
 * length, or 0. */
static size_t
pass_twin(struct tap *t, const char *p, size_t len)
{
	struct twin_difference d;
	size_t n;

	if (!t->is_between || !t->has_content || t->sse.after_cr)
		return 0;
	n = twin_match(&t->twin, p, len, &d);
	if (n == 0)
		return 0;
	tap_add_text(t, d.text_bytes);
	if (t->reader.digit_count > 0) {
		usage_reader_repeat(&t->reader, d.counts);
		tap_take_usage(t);
	}
	t->event_bytes = n;
	if (d.cut.begin < d.cut.end)
		cut(t, d.cut.begin, d.cut.end);
	t->events++;
	return n;
}

static size_t
count_line_ends(const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && (p[n] == '\n' || p[n] == '\r'))
		n++;
	return n;
}

static void
begin_event(struct tap *t)
{
	t->event_bytes = t->cut_begin = t->cut_end = 0;
	t->leaves_null = false;
	t->json_at = UINT64_MAX;
	t->was_hidden = false;
}

static size_t
next_event(struct tap *t, const char *p, size_t len, enum tap_verdict *verdict)
{
	bool was_json, ends;
	uint32_t bad;
	size_t n;

	t->has_begun_here = t->is_between;
	if (t->is_between)
		begin_event(t);
	if ((n = pass_twin(t, p, len)) > 0) {
		*verdict = TAP_PASS;
		return n;
	}
	t->piece = p;
	if (!t->sse.has_lines)
		t->lines_at = t->event_bytes + count_line_ends(p, len);
	n = sse_next(&t->sse, p, len, &ends);
	t->event_bytes += n;
	t->is_between = ends;
	if (ends) {
		was_json = t->data == DATA_JSON;
		bad = t->bad_events;
		*verdict = end_event(t);
		t->was_hidden = *verdict == TAP_HIDE;
		if (was_json && *verdict == TAP_PASS && t->bad_events == bad)
			learn(t);
	}
	t->held_from = ends ? UINT64_MAX : hold_from(t);
	return n;
}

/* The line feed of a CRLF that came in two pieces: it goes where its event
 * went. */
static size_t
take_late_feed(struct tap *t, enum tap_verdict *verdict)
{
	t->sse.after_cr = false;
	t->event_bytes = t->cut_end = 1;
	t->cut_begin = t->was_hidden ? 0 : 1;
	t->leaves_null = false;
	*verdict = TAP_REST;
	return 1;
}

static void
end_document(struct tap *t)
{
	t->events++;
	t->has_document = true;
	t->has_end_marks |= t->reader.done != MARK_NONE;
	t->shape = SHAPE_BETWEEN;
	take_document(t);
	tap_finish_usage(t);
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
	const char *lf = t->job.is_stream ? memchr(p, '\n', len) : NULL;

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
			usage_reader_begin(
			    &t->reader, t->job.kind, t->job.api, true);
		} else if (p[n++] == '\n' && t->has_document &&
		    t->job.is_stream) {
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
	    (t->job.is_stream || memchr("deir:", p[n], 5) != NULL);
	t->shape = is_events ? SHAPE_EVENTS : SHAPE_BETWEEN;
	return n;
}

size_t
tap_next(struct tap *t, const char *p, size_t len, enum tap_verdict *verdict)
{
	size_t n = 0;

	*verdict = TAP_MORE;
	if (t->shape == SHAPE_UNKNOWN) {
		n = find_shape(t, p, len);
		/* What is blank is the first event's, and passed. */
		t->event_bytes += n;
		t->lines_at = t->event_bytes;
		t->is_between = t->event_bytes == 0;
	}
	if (n == len)
		return n;
	if (t->shape != SHAPE_EVENTS)
		return n + next_document(t, p + n, len - n, verdict);
	if (t->is_between && t->sse.after_cr && *p == '\n')
		return take_late_feed(t, verdict);
	return n + next_event(t, p + n, len - n, verdict);
}

/* The last event, which no empty line has closed. */
static enum tap_verdict
end_events(struct tap *t)
{
	bool has_begun = sse_end(&t->sse);

	t->held_from = UINT64_MAX;
	if (!has_begun)
		return TAP_MORE;
	if (t->data == DATA_JSON && !usage_reader_end(&t->reader)) {
		take_rest(t);
		return TAP_MORE;
	}
	return t->data == DATA_MARK ? TAP_MORE : end_event(t);
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

enum tap_verdict
tap_end(struct tap *t, bool was_cut)
{
	if (t->shape == SHAPE_EVENTS)
		return end_events(t);
	if (t->shape != SHAPE_UNKNOWN)
		end_documents(t, was_cut);
	return TAP_MORE;
}
