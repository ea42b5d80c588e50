#include "metering/redis/redis_args.h"

#include <hiredis/hiredis.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define PRINTED_BYTES 256
#define FIRST_ROOM 16

void
redis_args_clear(struct redis_args *a)
{
	buf_clear(&a->bytes);
	a->count = 0;
}

void
redis_args_slice(struct redis_args *a, struct slice s)
{
	if (a->count == a->room) {
		a->room = a->room == 0 ? FIRST_ROOM : 2 * a->room;
		a->ends = xrealloc_array(a->ends, a->room, sizeof *a->ends);
	}
	buf_put(&a->bytes, s.p, s.len);
	a->ends[a->count++] = buf_len(&a->bytes);
}

void
redis_args_text(struct redis_args *a, const char *s)
{
	redis_args_slice(a, slice_of(s));
}

void
redis_args_number(struct redis_args *a, uint64_t n)
{
	redis_args_printf(a, "%llu", (unsigned long long)n);
}

void
redis_args_printf(struct redis_args *a, const char *fmt, ...)
{
	char text[PRINTED_BYTES];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof text)
		abort(); /* what a peer can size goes by slices */
	redis_args_slice(a, (struct slice){text, (size_t)n});
}

void
redis_args_append(struct redis_args *a, const struct redis_args *more)
{
	for (size_t i = 0; i < more->count; i++)
		redis_args_slice(a, redis_args_at(more, i));
}

struct slice
redis_args_at(const struct redis_args *a, size_t i)
{
	size_t begin = i == 0 ? 0 : a->ends[i - 1];

	return (struct slice){buf_data(&a->bytes) + begin, a->ends[i] - begin};
}

char *
redis_args_format(const struct redis_args *a, size_t *len)
{
	const char **words = xcalloc_array(a->count, sizeof *words);
	size_t *lengths = xcalloc_array(a->count, sizeof *lengths);
	char *command = NULL;
	long long n;

	for (size_t i = 0; i < a->count; i++) {
		struct slice s = redis_args_at(a, i);

		words[i] = s.p;
		lengths[i] = s.len;
	}
	n = a->count > INT_MAX
	    ? -1
	    : redisFormatCommandArgv(&command, (int)a->count, words, lengths);
	if (n < 0)
		abort(); /* no memory for a few hundred kilobytes */
	free(words);
	free(lengths);
	*len = (size_t)n;
	return command;
}

void
redis_args_release(struct redis_args *a)
{
	if (a->bytes.base != NULL)
		explicit_bzero(a->bytes.base, a->bytes.room);
	buf_release(&a->bytes);
	free(a->ends);
	*a = (struct redis_args){0};
}
