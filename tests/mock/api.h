/*
 * api.h - the shapes in which each API answers.
 *
 * Each function fills the pieces of an answer for one request: `close` with the
 * whole body if it is plain; if it is streamed, open, the event templates,
 * middle and close.  api_openai.c, api_responses.c and api_messages.c have one
 * family each; api_error.c has what goes wrong in all of them.
 */
#pragma once

#include "answer.h"
#include "ask.h"
#include "directives.h"
#include "stats.h"

struct job {
	const struct ask *ask;      /* borrowed */
	const struct directives *d; /* borrowed */
	const char *name;           /* borrowed: the server's label */
	uint64_t id;                /* of this answer */
	int64_t created;            /* Unix seconds */
	enum route route;
	struct usage said; /* what usage shall say; maybe zeroes */
	bool has_usage;    /* whether the answer says usage at all */
	bool has_running;  /* whether each event has a running count */
	bool is_length;    /* stopped by max_tokens */
};

void api_chat(struct answer *a, const struct job *j);
void api_completions(struct answer *a, const struct job *j);
void api_embeddings(struct answer *a, const struct job *j);
void api_rerank(struct answer *a, const struct job *j);
void api_responses(struct answer *a, const struct job *j);
void api_messages(struct answer *a, const struct job *j);
void api_count_tokens(struct answer *a, const struct job *j);

/* Appends the list of models; with none, the one called "mock-model". */
void api_models(struct bytes *b, char *const *models, int n, int64_t created);

/* Appends the usage object of chat and completions. */
void api_usage(struct bytes *b, const struct usage *u);

/* Appends an error body as this route's API has it. */
void api_error(struct bytes *b, enum route r, int status, const char *message);

/* Appends the event that tells of an error within a stream. */
void api_error_event(struct bytes *b, enum route r);

/* Appends an event whose JSON is broken. */
void api_broken_event(struct bytes *b, enum route r);

/* Appends what ends a stream without anything else. */
void api_end_mark(struct bytes *b, enum route r);

/* Appends the text of a plain answer: as many words as there are content
 * events, filled up to d->size bytes. */
void api_text(struct bytes *b, const struct answer *a, const struct job *j);
