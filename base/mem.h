/*
 * mem.h - memory: small allocations that cannot fail, and arenas.
 *
 * An x-function ends the process with a message when memory is out; it is for
 * small things whose size no peer chooses.  What a peer can size goes through
 * struct buf (buf.h), which has a cap and can fail.
 *
 * An arena gives memory that lives until the whole arena goes.  Under
 * AddressSanitizer each allocation of it is a malloc of its own, so that an
 * overrun is found.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"

/* Return zeroed or copied memory that the caller frees with free(). */
void *xcalloc(size_t size);
void *xcalloc_array(size_t count, size_t size);
void *xrealloc_array(void *old, size_t count, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Overwrites `len` bytes in a way that the compiler keeps, then frees.  `p` may
 * be NULL. */
void secret_free(void *p, size_t len);

struct arena_block;

struct arena {
	struct arena_block *blocks; /* owned; newest first */
	char *next;                 /* free room in the newest block */
	char *end;
};

/* Makes an empty arena; it takes memory at the first allocation. */
void arena_init(struct arena *a);

/* Frees everything that came from it.  The arena may be used again. */
void arena_release(struct arena *a);

/* Returns zeroed memory, aligned for any type.  Never NULL. */
void *arena_alloc(struct arena *a, size_t size);

/* Returns a NUL-terminated copy of `len` bytes. */
char *arena_strndup(struct arena *a, const char *s, size_t len);

/* Returns a formatted string. */
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
