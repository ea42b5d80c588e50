#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define BUF_LEAST_BYTES 512

void
buf_release(struct buf *b)
{
	free(b->base);
	*b = (struct buf){0};
}

void
buf_clear(struct buf *b)
{
	b->start = b->end = 0;
}

/* Doubles until `need` fits, but not past `cap`. */
static size_t
grown(size_t room, size_t need, size_t cap)
{
	if (room < BUF_LEAST_BYTES)
		room = BUF_LEAST_BYTES;
	while (room < need && room <= SIZE_MAX / 2)
		room *= 2;
	if (room > cap)
		room = cap;
	return room < need ? need : room;
}

char *
buf_reserve(struct buf *b, size_t more, size_t cap)
{
	size_t len = buf_len(b), room;
	char *base;

	if (more > cap || len > cap - more)
		return NULL;
	if (b->base != NULL && b->room - b->end >= more)
		return b->base + b->end;
	if (b->start > 0) {
		memmove(b->base, b->base + b->start, len);
		b->start = 0;
		b->end = len;
		if (b->room - len >= more)
			return b->base + len;
	}
	room = grown(b->room, len + more, cap);
	if ((base = realloc(b->base, room)) == NULL)
		return NULL;
	b->base = base;
	b->room = room;
	return base + len;
}

void
buf_commit(struct buf *b, size_t len)
{
	b->end += len;
}

bool
buf_add(struct buf *b, const void *p, size_t len, size_t cap)
{
	char *to = buf_reserve(b, len, cap);

	if (to == NULL)
		return false;
	if (len > 0)
		memcpy(to, p, len);
	b->end += len;
	return true;
}

void
buf_drain(struct buf *b, size_t len)
{
	b->start += len;
	if (b->start == b->end)
		b->start = b->end = 0;
}

void
buf_put_slowly(struct buf *b, const void *p, size_t len)
{
	if (!buf_add(b, p, len, SIZE_MAX / 4)) {
		fputs("weir: out of memory\n", stderr);
		abort();
	}
}

void
buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	char small[256];
	char *large;
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(small, sizeof small, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof small) {
		buf_put(b, small, (size_t)n);
	} else if (n >= 0) {
		large = xcalloc((size_t)n + 1);
		vsnprintf(large, (size_t)n + 1, fmt, again);
		buf_put(b, large, (size_t)n);
		free(large);
	}
	va_end(again);
}

void
buf_put_uint(struct buf *b, uint64_t n)
{
	char text[20];
	char *at = text + sizeof text;

	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	buf_put(b, at, (size_t)(text + sizeof text - at));
}

void
buf_put_count(struct buf *b, uint64_t n)
{
	char text[27]; /* 20 digits, 6 commas */
	char *at = text + sizeof text;
	unsigned digits = 0;

	do {
		if (digits++ % 3 == 0 && digits > 1)
			*--at = ',';
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	buf_put(b, at, (size_t)(text + sizeof text - at));
}
