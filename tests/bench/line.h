/*
 * line.h - takes lines out of bytes that come in any pieces.
 *
 * A line that lies whole in the input is handed out in place; only one that is
 * cut gets copied.  Ends at LF: what stands before it, also a CR, is the
 * line's.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/text.h"

#define LINE_MOST_BYTES (256 * 1024)

struct line {
	struct buf
	    part;     /* owned: the beginning of a line whose end is to come */
	bool is_told; /* part was handed out whole, and may be forgotten */
};

enum line_verdict {
	LINE_READY,   /* *out is a line, good until the next call */
	LINE_MORE,    /* the input is used up, the line goes on */
	LINE_TOO_LONG /* longer than LINE_MOST_BYTES */
};

/* Takes the bytes of one line off the front of *in.  *out borrows from *in or
 * from *l. */
MUST_CHECK enum line_verdict line_take(
    struct line *l, struct slice *in, struct slice *out);

/* Takes one CR off the line's end.  False if there is none. */
MUST_CHECK bool line_chop_cr(struct slice *line);

/* Frees the memory; {0} and a released one are good to begin with. */
void line_release(struct line *l);
