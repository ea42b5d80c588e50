/*
 * twin.h - knows an event again that differs from one before in its text alone.
 *
 * A stream's events are the same bytes but for a few: the model's next word. An
 * event that was read and held one piece of text is remembered as what stands
 * before that text and what stands behind it.  A later event with the same
 * bytes before and behind, and a well-formed string between, says nothing new
 * but the length of its text: reading it again would change nothing else.  That
 * saves nine tenths of the work on a stream.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

/* Of an event without its text; a longer one is read each time. */
#define TWIN_BYTES 448

struct twin {
	uint16_t before, behind; /* lengths; 0: nothing is known */
	char bytes[TWIN_BYTES];
};

/* Remembers the event of `len` bytes, whose text (between the quotes) lies at
 * text_begin..text_end.  One that is too long is not remembered. */
void twin_learn(struct twin *t, const char *event, size_t len,
    size_t text_begin, size_t text_end);

/* If p[0..len) begins with a whole event like the one remembered, returns its
 * length and sets *text_bytes to those of its text, decoded; else 0: then it
 * must be read. */
size_t twin_match(
    const struct twin *t, const char *p, size_t len, uint64_t *text_bytes);
