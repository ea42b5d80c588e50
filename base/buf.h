/*
 * buf.h - a growing run of bytes: filled at its end, drained at its front.
 *
 * For what a peer can size: growing has a cap that the caller names, and can
 * fail.  Bytes stay in one piece, so a parser or a write sees them whole.
 * An empty buf that was released holds no memory; {0} is a good empty buf.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

struct buf {
	char *base;   /* owned */
	size_t start; /* first byte that has not been drained */
	size_t end;   /* one past the last byte */
	size_t room;  /* bytes at base */
};

/* Never NULL, also when nothing is held. */
static inline const char *
buf_data(const struct buf *b)
{
	return b->base == NULL ? "" : b->base + b->start;
}

static inline size_t
buf_len(const struct buf *b)
{
	return b->end - b->start;
}

/* Frees the memory; the buf is empty and may be used again. */
void buf_release(struct buf *b);

/* Forgets the bytes and keeps the memory. */
void buf_clear(struct buf *b);

/* Makes room for `more` bytes at the end, and returns where they go; the caller
 * writes there and calls buf_commit().  NULL if the bytes held and `more` would
 * exceed `cap`, or memory is out. */
MUST_CHECK char *buf_reserve(struct buf *b, size_t more, size_t cap);

/* Says that `len` of the reserved bytes have been written. */
void buf_commit(struct buf *b, size_t len);

/* Appends a copy.  False, with nothing appended, as buf_reserve(). */
MUST_CHECK bool buf_add(struct buf *b, const void *p, size_t len, size_t cap);

/* Takes `len` (at most buf_len()) bytes off the front. */
void buf_drain(struct buf *b, size_t len);

/* Appends where no peer chooses the size: ends the process when memory is
 * out. */
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_put_uint(struct buf *b, uint64_t n); /* in decimal */

/* The same for people: 1,234,567. */
void buf_put_count(struct buf *b, uint64_t n);

void buf_put_slowly(struct buf *b, const void *p, size_t len); /* buf_put()'s */

static inline void
buf_put(struct buf *b, const void *p, size_t len)
{
	if (UNLIKELY(b->room - b->end < len)) {
		buf_put_slowly(b, p, len);
		return;
	}
	if (len > 0)
		memcpy(b->base + b->end, p, len);
	b->end += len;
}

/* A literal, whose length the compiler knows. */
#define buf_put_literal(b, literal) buf_put(b, literal, sizeof(literal) - 1)
