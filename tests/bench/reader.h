/*
 * reader.h - reads HTTP/1.1 answers, strictly, from bytes cut anywhere.
 *
 * Takes what a good proxy sends to a keep-alive client and nothing else: CRLF
 * everywhere, exactly one of Content-Length and chunked, no chunk extensions,
 * no trailers.  What it cannot read is a fault of the proxy that is measured.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/events.h"
#include "tests/bench/line.h"

#define READER_MOST_HEAD_BYTES (16 * 1024)

enum reader_state {
	READER_STATUS_LINE,
	READER_HEADERS,
	READER_BODY, /* counted by Content-Length */
	READER_CHUNK_SIZE,
	READER_CHUNK,
	READER_CHUNK_END,
	READER_LAST_LINE,
	/* From here on no more bytes are taken. */
	READER_DONE,
	READER_BAD_HEAD,
	READER_BAD_FRAMING,
};

struct reader {
	enum reader_state state;
	int status; /* 200 */
	bool has_length;
	bool is_chunked;
	bool is_stream;  /* text/event-stream */
	bool will_close; /* Connection: close */
	size_t head_bytes;
	uint64_t left_bytes; /* of the body or the chunk */
	uint64_t body_bytes; /* so far */
	char first;          /* the body's first and last bytes but blanks */
	char last;
	struct line line;     /* of the head and the framing */
	struct events events; /* of the body, if is_stream */
};

/* Reads at most one answer.  Returns how many bytes were taken: fewer than
 * `len` only if the answer is done or bad (see ->state). */
size_t reader_feed(struct reader *r, const char *p, size_t len);

/* True if a finished answer is also complete by its content: a stream that
 * ended with [DONE], or one JSON object from brace to brace. */
MUST_CHECK bool reader_is_whole(const struct reader *r);

/* Makes it ready for the next answer; {0} is ready, too.  Keeps no memory. */
void reader_reset(struct reader *r);
