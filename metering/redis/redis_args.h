/*
 * redis_args.h - the words of one command to Redis, as they are put together.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/text.h"

struct redis_args {
	struct buf bytes; /* the words without anything between them */
	size_t *ends;     /* owned; where each ends */
	size_t count, room;
};

/* {0} is a good empty list.  Forgets the words and keeps the memory. */
void redis_args_clear(struct redis_args *a);

void redis_args_text(struct redis_args *a, const char *s);
void redis_args_slice(struct redis_args *a, struct slice s);
void redis_args_number(struct redis_args *a, uint64_t n);
void redis_args_printf(struct redis_args *a, const char *fmt, ...)
    PRINTF_LIKE(2, 3);

/* Appends all words of `more`. */
void redis_args_append(struct redis_args *a, const struct redis_args *more);

/* The i-th word. */
struct slice redis_args_at(const struct redis_args *a, size_t i);

/* The command as Redis reads it; the caller frees it.  *len is set. */
char *redis_args_format(const struct redis_args *a, size_t *len);

/* Overwrites the words and frees. */
void redis_args_release(struct redis_args *a);
