/*
 * twin.h - knows an event again that differs from one before in its text and
 * its running counts alone.
 *
 * A stream's events are the same bytes but for a few: the model's next word,
 * and perhaps a count.  An event that was read and held one piece of text is
 * remembered as what stands before, between and behind these.  A later event
 * with the same bytes there, a well-formed string in the text's place and plain
 * digits in those of the counts says nothing else that is new: reading it again
 * would change nothing.  That saves nine tenths of the work on a stream.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* Of an event without its text; a longer one is read each time. */
#define TWIN_BYTES 448
#define TWIN_COUNTS 6

/* begin..end of the event. */
struct twin_span {
	size_t begin, end;
};

/* What a reader found in an event. */
struct twin_event {
	const char *p; /* borrowed for the call */
	size_t len;
	struct twin_span text; /* between its quotes */
	struct twin_span cut;  /* not for the client; equal ends: nothing */
	struct twin_span counts[TWIN_COUNTS]; /* in order */
	size_t count_count;
};

/* What differs in its twin. */
struct twin_difference {
	uint64_t text_bytes; /* decoded */
	struct twin_span cut;
	int32_t counts[TWIN_COUNTS];
};

struct twin {
	uint16_t pieces; /* 0: nothing is known */
	uint16_t lens[TWIN_COUNTS + 2];
	uint16_t cut_behind_text, cut_before_end; /* distances */
	bool has_cut;
	char bytes[TWIN_BYTES];
};

/* Nothing is known any more. */
static inline void
twin_forget(struct twin *t)
{
	t->pieces = 0;
}

/* Remembers an event.  One that is too long is not remembered, nor one with
 * counts before its text, or with some of them within the cut and some not. */
void twin_learn(struct twin *t, const struct twin_event *e);

/* If p[0..len) begins with a whole event like the one remembered, returns its
 * length and fills in *d; else 0: then it must be read. */
size_t twin_match(
    const struct twin *t, const char *p, size_t len, struct twin_difference *d);
