/*
 * tap_inner.h - what tap.c and tap_usage.c share, and nobody else uses.
 *
 * tap.c finds events and documents, and decides what the client sees of them;
 * tap_usage.c puts what they say of usage together.
 */
#pragma once

#include "metering/tap.h"

/* Of a body. */
enum shape {
	SHAPE_UNKNOWN,  /* nothing but blanks so far */
	SHAPE_EVENTS,   /* server-sent events */
	SHAPE_BETWEEN,  /* documents: before one, or behind it */
	SHAPE_DOCUMENT, /* documents: in one */
	SHAPE_BAD_LINE, /* documents: up to the line's end */
};

/* The model has said so much more. */
void tap_add_text(struct tap *t, uint64_t bytes);

/* A whole document was read: takes what t->reader found of usage.  Its text has
 * been added before. */
void tap_take_usage(struct tap *t);

/* An event is over: if the stream has ended with it as it should, what ran has
 * come to its end. */
void tap_finish_usage(struct tap *t);
