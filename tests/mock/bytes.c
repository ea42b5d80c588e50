#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_FIRST 512 /* the smallest piece of memory that is asked for */

char *
bytes_room(struct bytes *b, size_t n)
{
	size_t cap = b->cap > 0 ? b->cap : BYTES_FIRST;

	if (b->cap - b->n >= n && b->p != NULL)
		return b->p + b->n;
	while (cap - b->n < n)
		cap *= 2;
	b->p = realloc(b->p, cap);
	if (b->p == NULL)
		abort();
	b->cap = cap;
	return b->p + b->n;
}

void
bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	memcpy(bytes_room(b, n), p, n);
	b->n += n;
}

void
bytes_puts(struct bytes *b, const char *s)
{
	bytes_add(b, s, strlen(s));
}

void
bytes_fill(struct bytes *b, char c, size_t n)
{
	memset(bytes_room(b, n), c, n);
	b->n += n;
}

void
bytes_printf(struct bytes *b, const char *fmt, ...)
{
	size_t room = 256;
	va_list ap;
	int n;

	for (;;) {
		va_start(ap, fmt);
		n = vsnprintf(bytes_room(b, room), room, fmt, ap);
		va_end(ap);
		if (n < 0)
			abort();
		if ((size_t)n < room)
			break;
		room = (size_t)n + 1;
	}
	b->n += (size_t)n;
}

/* Returns the length of the UTF-8 character at p, 0 if there is none. */
static size_t
utf8_length(const unsigned char *p, size_t n)
{
	size_t want;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		want = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		want = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		want = 4;
	else
		return 0;
	if (n < want)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return want;
}

void
bytes_json(struct bytes *b, const char *p, size_t n)
{
	size_t i = 0;

	bytes_puts(b, "\"");
	while (i < n) {
		const unsigned char *u = (const unsigned char *)p + i;
		size_t len = utf8_length(u, n - i);

		if (len == 0)
			bytes_puts(b, "\\ufffd");
		else if (*u == '"' || *u == '\\')
			bytes_printf(b, "\\%c", *u);
		else if (*u < 0x20)
			bytes_printf(b, "\\u%04x", *u);
		else
			bytes_add(b, u, len);
		i += len > 0 ? len : 1;
	}
	bytes_puts(b, "\"");
}

void
bytes_drop(struct bytes *b, size_t n)
{
	b->n -= n;
	if (b->n > 0)
		memmove(b->p, b->p + n, b->n);
}

void
bytes_clear(struct bytes *b, size_t keep)
{
	if (b->cap > keep)
		bytes_free(b);
	b->n = 0;
}

void
bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){0};
}
