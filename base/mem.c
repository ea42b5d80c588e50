#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define ARENA_BLOCK_BYTES 2048

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_IS_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_IS_CHECKED 1
#endif
#endif
#ifndef ARENA_IS_CHECKED
#define ARENA_IS_CHECKED 0
#endif

struct arena_block {
	struct arena_block *older;
	max_align_t data[];
};

NORETURN static void
out_of_memory(void)
{
	static const char text[] = "weir: out of memory\n";

	fwrite(text, 1, sizeof text - 1, stderr);
	abort();
}

static void *
checked(void *p)
{
	if (UNLIKELY(p == NULL))
		out_of_memory();
	return p;
}

void *
xcalloc(size_t size)
{
	return checked(calloc(1, size));
}

void *
xcalloc_array(size_t count, size_t size)
{
	return checked(calloc(count == 0 ? 1 : count, size));
}

void *
xrealloc_array(void *old, size_t count, size_t size)
{
	return checked(reallocarray(old, count == 0 ? 1 : count, size));
}

char *
xstrdup(const char *s)
{
	return checked(strdup(s));
}

char *
xstrndup(const char *s, size_t len)
{
	char *copy = checked(malloc(len + 1));

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *
xasprintf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return checked(n < 0 ? NULL : s);
}

void
secret_free(void *p, size_t len)
{
	if (p == NULL)
		return;
	explicit_bzero(p, len);
	free(p);
}

void
arena_init(struct arena *a)
{
	*a = (struct arena){0};
}

void
arena_release(struct arena *a)
{
	struct arena_block *b = a->blocks;

	while (b != NULL) {
		struct arena_block *older = b->older;

		free(b);
		b = older;
	}
	arena_init(a);
}

/* Large requests get a block of their own and leave the current one open. */
static void *
alloc_apart(struct arena *a, size_t size)
{
	struct arena_block *b =
	    checked(calloc(1, sizeof(struct arena_block) + size));

	if (a->blocks == NULL) {
		a->blocks = b;
	} else {
		b->older = a->blocks->older;
		a->blocks->older = b;
	}
	return b->data;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	struct arena_block *b;
	void *p;

	if (UNLIKELY(size > SIZE_MAX / 2))
		out_of_memory();
	size = (size + align - 1) & ~(align - 1);
	if (ARENA_IS_CHECKED || size > ARENA_BLOCK_BYTES / 4)
		return alloc_apart(a, size);
	if (a->blocks == NULL || size > (size_t)(a->end - a->next)) {
		b = checked(malloc(sizeof *b + ARENA_BLOCK_BYTES));
		b->older = a->blocks;
		a->blocks = b;
		a->next = (char *)b->data;
		a->end = a->next + ARENA_BLOCK_BYTES;
	}
	p = a->next;
	a->next += size;
	return memset(p, 0, size);
}

char *
arena_strndup(struct arena *a, const char *s, size_t len)
{
	char *copy = arena_alloc(a, len + 1);

	if (len > 0)
		memcpy(copy, s, len);
	return copy;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	char *text = NULL, *s;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	checked(n < 0 ? NULL : text);
	s = arena_strndup(a, text, (size_t)n);
	free(text);
	return s;
}
