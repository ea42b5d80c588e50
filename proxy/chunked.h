/*
 * chunked.h - takes the chunked coding off a body, in place, both ways.
 *
 * RFC 9112 7.1: sizes of 1 to 16 hex digits; extensions are skipped (bounded);
 * every line ends in CRLF; trailers are checked for line ends, bounded, and
 * dropped.  Works on any split.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define CHUNK_EXTENSION_MOST_BYTES 256
#define CHUNK_TRAILERS_MOST_BYTES 4096

enum chunked_verdict { CHUNKED_MORE, CHUNKED_END, CHUNKED_BAD };

struct chunked {
	uint64_t left;    /* of the chunk: bytes of data to come */
	uint16_t skipped; /* bytes of the extension, or of the trailers */
	uint8_t state, digits;
};

static inline void
chunked_init(struct chunked *c)
{
	*c = (struct chunked){0};
}

/* Decodes p[0..*len): the data is moved together at p, *len becomes its length.
 * *rest is how many of the bytes given stood behind the body's end (they lie at
 * the end of the input, unmoved); 0 unless CHUNKED_END. */
enum chunked_verdict chunked_decode(
    struct chunked *c, char *p, size_t *len, size_t *rest);
