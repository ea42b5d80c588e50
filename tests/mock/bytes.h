/*
 * bytes.h - a growable run of bytes, and the small words the mock writes with.
 *
 * Memory is kept when a run is cleared, so a connection that serves its
 * thousandth request allocates nothing.  Out of memory ends the program.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct bytes {
	char *p; /* owned; NULL while cap is 0 */
	size_t n;
	size_t cap;
};

/* Returns `n` bytes of room behind the end; the caller adds to b->n itself. */
char *bytes_room(struct bytes *b, size_t n);

/* Appends a copy of p[0..n). */
void bytes_add(struct bytes *b, const void *p, size_t n);

/* Appends a C string. */
void bytes_puts(struct bytes *b, const char *s);

/* Appends `n` times `c`. */
void bytes_fill(struct bytes *b, char c, size_t n);

/* Appends as printf does. */
void bytes_printf(struct bytes *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends p[0..n) as a JSON string with its quotes.  What is not UTF-8 becomes
 * U+FFFD, byte by byte. */
void bytes_json(struct bytes *b, const char *p, size_t n);

/* Forgets the first `n` bytes. */
void bytes_drop(struct bytes *b, size_t n);

/* Forgets all bytes; gives memory above `keep` bytes back. */
void bytes_clear(struct bytes *b, size_t keep);

/* Frees the memory; *b is empty and usable again. */
void bytes_free(struct bytes *b);
