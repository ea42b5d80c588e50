/*
 * shape.h - writes a shape: a text with marks for what differs.
 *
 * In a shape ' stands for " and $mark for a value: a number or a word of the
 * request, or another shape.  An event's shape becomes a template instead,
 * where what differs from event to event is a hole.  An unknown mark ends the
 * program: shapes are ours.
 */
#pragma once

#include "answer.h"
#include "ask.h"
#include "directives.h"
#include "kind.h"
#include "stats.h"

/* One answer's facts. */
struct job {
	const struct ask *ask;      /* borrowed */
	const struct directives *d; /* borrowed */
	const struct kind *kind;    /* borrowed */
	const char *name;           /* borrowed: the server's label */
	uint64_t id;                /* of this answer */
	int64_t created;            /* Unix seconds */
	enum route route;
	struct usage said; /* what usage shall say; maybe zeroes */
	bool has_usage;    /* whether the answer says usage at all */
	bool has_running;  /* whether each event has a running count */
	bool is_length;    /* stopped by max_tokens */
};

/* Where one writes, and what is written about just now. */
struct pen {
	struct bytes *b;
	const struct answer *a; /* borrowed */
	const struct job *j;    /* borrowed */
	struct event_template *t;
	uint64_t first;  /* of an event: the running count in the first one */
	uint64_t sofar;  /* elsewhere: the running count */
	uint64_t seq;    /* of the next event */
	uint64_t choice; /* which of the choices */
	uint64_t due;    /* of so many choices the last one tells usage */
	uint64_t at;     /* which block or item */
	size_t index;    /* which of a list */
	const char *message; /* of an error */
	int status;
};

/* Appends what the shape says.  NULL says nothing. */
void shape_write(struct pen *p, const char *shape);

/* Makes a template of an event's shape. */
void shape_event(struct pen *p, struct event_template *t, const char *shape);
