/*
 * sse.h - finds events in a text/event-stream, however it was split.
 *
 * The grammar is WHATWG HTML 9.2.6: lines end in LF, CR or CRLF; an empty line
 * ends an event; a byte order mark may come first; "data:" lines join with LF.
 * Bytes are handed on as they lie in the input; nothing is buffered.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum sse_field { SSE_DATA, SSE_EVENT, SSE_OTHER, SSE_COMMENT };

/* Called with pieces of a line's value, in order: `p` to `p + len`, then with
 * is_end true (perhaps with the last piece) when the line is over.  A single
 * blank after the colon is left out. */
typedef void (*sse_value_fn)(
    void *arg, enum sse_field field, const char *p, size_t len, bool is_end);

struct sse {
	sse_value_fn on_value; /* borrowed, like arg */
	void *arg;
	uint64_t event_bytes; /* of the current event's lines, or the last
				 one's; line ends are not counted */
	unsigned state;
	unsigned name_len; /* of the field name so far */
	enum sse_field field;
	bool after_cr;  /* an LF now belongs to the line end before it */
	bool has_lines; /* the event has a line that is not empty */
	char name[8];
};

void sse_init(struct sse *s, sse_value_fn on_value, void *arg);

/* Reads up to the end of the current event (behind its empty line) or of the
 * input.  Returns the bytes used; *is_event is true if an event ended there.
 * Empty lines between events belong to the event that follows and end none. */
size_t sse_next(struct sse *s, const char *p, size_t len, bool *is_event);

/* The stream is over: ends a line that no line end has closed.  True if an
 * event has begun that no empty line has closed. */
bool sse_end(struct sse *s);
