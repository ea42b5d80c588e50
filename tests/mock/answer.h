/*
 * answer.h - one answer: its pieces, made once, and the place in it.
 *
 * An API file renders what comes before, between and after the content, and a
 * template for one content event.  answer_next() then hands out the bytes in
 * order, framed, and says when to wait, to stop or to break off; content event
 * k is a pure function of k, so a stream of any length needs no memory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ask.h"
#include "bytes.h"
#include "directives.h"

#define ANSWER_NEVER UINT64_MAX

enum framing {
	FRAMING_LENGTH,
	FRAMING_CHUNKED,
	FRAMING_CLOSE,
};

enum stage {
	STAGE_HEAD,
	STAGE_OPEN,
	STAGE_CONTENT,
	STAGE_TAIL,
	STAGE_CLOSE,
	STAGE_LAST,
	STAGE_END,
};

enum next {
	NEXT_MORE,  /* ask again at once */
	NEXT_FIRST, /* wait ttft */
	NEXT_PAUSE, /* wait interval */
	NEXT_TAIL,  /* wait tail */
	NEXT_HOLD,  /* wait until told to go on */
	NEXT_END,   /* the answer is whole */
	NEXT_CUT,   /* the fault strikes here: see cut_act */
};

struct usage {
	uint64_t prompt;     /* cached and written ones included */
	uint64_t completion; /* reasoning included */
	uint64_t cached;
	uint64_t written; /* to a cache */
	uint64_t reasoning;
};

/* What the model has to do for an answer before its first content. */
struct work {
	struct bytes prompt; /* to be remembered once it is read, if any */
	uint64_t reads;      /* prompt tokens that are not cached */
	bool is_due;
	bool goes_on; /* also when the client has left */
};

/* What differs from one content event to the next. */
enum hole_kind {
	HOLE_WORD,
	HOLE_SEQUENCE, /* first + k */
	HOLE_CHOICE,   /* which of the choices it is about: k % choices */
	HOLE_COUNT,    /* first + k / choices: each choice counts on its own */
};

struct hole {
	enum hole_kind kind;
	uint64_t first;
};

#define EVENT_HOLES_MOST 5

/* One content event: part[0] hole[0] part[1] ... part[holes]. */
struct event_template {
	struct bytes part[EVENT_HOLES_MOST + 1];
	struct hole hole[EVENT_HOLES_MOST];
	int holes;
};

struct answer {
	/* What to send. */
	struct bytes head;
	struct bytes open;   /* events before the content */
	struct bytes middle; /* between reasoning and text */
	struct bytes insert; /* at event insert_at, if that is not NEVER */
	struct bytes close;  /* events after the content, or a plain body */
	struct event_template think;
	struct event_template text;
	uint64_t thinks;
	uint64_t texts;
	uint64_t insert_at;
	uint64_t hold_at; /* content event before which it waits; or NEVER */
	uint64_t choices; /* whose events take turns; at least 1 */
	uint64_t cut_after;
	size_t word_size;      /* 0: the words' own */
	size_t usage_in_close; /* bytes of close up to the usage's end, or 0 */
	size_t piece_size;     /* of close; 0: whole */
	struct usage usage;
	struct work work;
	uint64_t opened; /* tokens that the opening events tell of */
	enum framing framing;
	enum fault_where cut_at;
	enum fault_act cut_act;
	int early;
	int status;
	bool is_stream;
	bool is_kept;        /* the connection lives on */
	bool is_insert_last; /* nothing follows the insert but the end */
	bool has_chunk_ext;
	bool has_trailers;
	bool has_bad_chunk;
	bool has_garbage;
	bool is_dripping;

	/* Where we are. */
	enum stage stage;
	uint64_t k;
	uint64_t made;      /* bytes handed out */
	uint64_t usage_end; /* bytes after which usage was sent; or NEVER */
	size_t close_at;
	bool is_middle_out;
	bool is_insert_out;
	bool was_held;
};

/* Empties all pieces and goes to the start; keeps memory. */
void answer_reset(struct answer *a);

/* Appends the next piece to *out. */
enum next answer_next(struct answer *a, struct bytes *out);

/* Moves all content into `close`, unframed, so that it is one body. */
void answer_flatten(struct answer *a);

/* What the model has worked until now: of a stream that is not over, the events
 * that were made. */
struct usage answer_charged(const struct answer *a);

/* Appends `n` words of the text that events hold, from word 0 on. */
void answer_words(struct bytes *b, uint64_t n, size_t word_size);

void answer_free(struct answer *a);
