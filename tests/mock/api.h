/*
 * api.h - the pieces of an answer, as each API puts them together.
 *
 * api_render() fills the pieces of an answer for one request: `close` with the
 * whole body if it is plain; if it is streamed, open, the event templates,
 * middle and close.  How each piece is worded is the kind's (kind.h).
 */
#pragma once

#include "shape.h"

void api_render(struct answer *a, const struct job *j);

/* Counts that the kind tells for this route: TELLS_... */
unsigned api_tells(const struct kind *k, enum route r);

/* Whether the kind reasons aloud there. */
bool api_may_think(const struct kind *k, enum route r);

/* Whether usage is told there at all, if only in the head. */
bool api_has_usage(const struct kind *k, enum route r);

/* Whether usage is told there without being asked for. */
bool api_is_usage_always(const struct kind *k, enum route r);

/* Appends the list of models; with none, the one called "mock-model". */
void api_models(struct bytes *b, char *const *models, int n, int64_t created);

/* Appends the usage object that fault=error_usage adds to an error. */
void api_error_usage(struct bytes *b, const struct usage *u);

/* Appends an error body as this route's API has it. */
void api_error(struct bytes *b, const struct kind *k, enum route r, int status,
    const char *message);

/* Appends the event that tells of an error within a stream. */
void api_error_event(struct bytes *b, const struct job *j);

/* Appends an event whose JSON is broken. */
void api_broken_event(struct bytes *b, enum route r);

/* Appends what ends a stream without anything else. */
void api_end_mark(struct bytes *b, const struct job *j);

/* Appends more fields of a good answer's head. */
void api_headers(struct bytes *b, const struct answer *a, const struct job *j);
