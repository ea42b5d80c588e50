#include "metering/sse.h"

#include <string.h>

#include "base/banned.h"

enum state {
	ST_MARK,  /* a byte order mark may come: name_len bytes of it did */
	ST_LINE,  /* at the beginning of a line */
	ST_NAME,  /* in a field's name */
	ST_BLANK, /* after the colon: one blank is left out */
	ST_VALUE,
};

/* How far to look for a line feed before looking for a carriage return: short
 * lines that end in CR alone must not each search all that follows. */
#define BLOCK_BYTES 512

void
sse_init(struct sse *s, sse_value_fn on_value, void *arg)
{
	*s = (struct sse){.on_value = on_value, .arg = arg, .state = ST_MARK};
}

static const char *
find_line_end(const char *p, const char *end)
{
	while (p < end) {
		size_t n = (size_t)(end - p);
		const char *lf, *cr;

		if (n > BLOCK_BYTES)
			n = BLOCK_BYTES;
		lf = memchr(p, '\n', n);
		cr = memchr(p, '\r', lf != NULL ? (size_t)(lf - p) : n);
		if (cr != NULL)
			return cr;
		if (lf != NULL)
			return lf;
		p += n;
	}
	return end;
}

static enum sse_field
field_of(const struct sse *s)
{
	if (s->name_len == 0)
		return SSE_COMMENT;
	if (s->name_len == 4 && memcmp(s->name, "data", 4) == 0)
		return SSE_DATA;
	if (s->name_len == 5 && memcmp(s->name, "event", 5) == 0)
		return SSE_EVENT;
	return SSE_OTHER;
}

static void
begin_line(struct sse *s)
{
	if (!s->has_lines)
		s->event_bytes = 0;
	s->has_lines = true;
	s->name_len = 0;
	s->state = ST_NAME;
}

/* A byte that may belong to the byte order mark.  True if it did. */
static bool
step_mark(struct sse *s, char c)
{
	static const char mark[] = "\xef\xbb\xbf";
	unsigned seen = s->name_len;

	if (c == mark[seen]) {
		if (++s->name_len == 3)
			s->state = ST_LINE;
		return true;
	}
	s->state = ST_LINE;
	if (seen > 0) {
		/* It was none, but the beginning of some unknown name. */
		begin_line(s);
		memcpy(s->name, mark, seen);
		s->name_len = seen;
		s->event_bytes = seen;
	}
	return false;
}

static void
step_name(struct sse *s, char c)
{
	s->event_bytes++;
	if (c == ':') {
		s->field = field_of(s);
		s->state = ST_BLANK;
	} else if (s->name_len < sizeof s->name) {
		s->name[s->name_len++] = c;
	} else {
		s->name_len = sizeof s->name + 1; /* too long to be known */
	}
}

/* Ends the line at *p.  Returns the first byte behind it; *is_event is true if
 * the line was the empty one that ends an event. */
static const char *
end_line(struct sse *s, const char *p, const char *end, bool *is_event)
{
	s->after_cr = *p++ == '\r';
	if (s->state == ST_LINE) {
		*is_event = s->has_lines;
		s->has_lines = false;
		if (*is_event && s->after_cr && p < end) {
			s->after_cr = false;
			p += *p == '\n';
		}
		return p;
	}
	if (s->state == ST_NAME)
		s->on_value(s->arg, field_of(s), p, 0, true);
	else if (s->state == ST_BLANK)
		s->on_value(s->arg, s->field, p, 0, true);
	s->state = ST_LINE;
	return p;
}

/* Hands on the value, as far as it lies in this piece. */
static const char *
take_value(struct sse *s, const char *p, const char *end, bool *is_event)
{
	const char *stop = find_line_end(p, end);

	s->event_bytes += (uint64_t)(stop - p);
	s->on_value(s->arg, s->field, p, (size_t)(stop - p), stop < end);
	return stop < end ? end_line(s, stop, end, is_event) : end;
}

/* The usual line begins with "data: " in one piece. */
static const char *
take_data_name(struct sse *s, const char *p, const char *end)
{
	if (end - p < 6 || memcmp(p, "data: ", 6) != 0)
		return p;
	begin_line(s);
	s->event_bytes += 6;
	s->field = SSE_DATA;
	s->state = ST_VALUE;
	return p + 6;
}

size_t
sse_next(struct sse *s, const char *begin, size_t len, bool *is_event)
{
	const char *p = begin, *end = begin + len;

	*is_event = false;
	while (p < end && !*is_event) {
		if (s->after_cr) {
			s->after_cr = false;
			p += *p == '\n';
			continue;
		}
		if (s->state == ST_MARK) {
			p += step_mark(s, *p);
			continue;
		}
		if (s->state == ST_LINE)
			p = take_data_name(s, p, end);
		if (s->state == ST_VALUE) {
			p = take_value(s, p, end, is_event);
		} else if (*p == '\n' || *p == '\r') {
			p = end_line(s, p, end, is_event);
		} else if (s->state == ST_BLANK) {
			s->event_bytes += *p == ' ';
			p += *p == ' ';
			s->state = ST_VALUE;
		} else {
			if (s->state == ST_LINE)
				begin_line(s);
			step_name(s, *p++);
		}
	}
	return (size_t)(p - begin);
}

bool
sse_end(struct sse *s)
{
	if (s->state == ST_NAME)
		s->on_value(s->arg, field_of(s), "", 0, true);
	else if (s->state == ST_BLANK || s->state == ST_VALUE)
		s->on_value(s->arg, s->field, "", 0, true);
	s->state = ST_LINE;
	return s->has_lines;
}
