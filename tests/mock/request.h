/*
 * request.h - reads one HTTP/1.1 request out of a connection's bytes.
 *
 * Tolerant where a real server is, but what it cannot frame it refuses.  The
 * head is kept as it came, so that a test can see what a gateway sent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#define REQUEST_HEAD_MAX 131072
#define REQUEST_BODY_MAX (256u << 20)

struct text {
	const char *p; /* borrowed; not ended by a NUL */
	size_t n;
};

enum chunk_step {
	CHUNK_SIZE,
	CHUNK_DATA,
	CHUNK_END,
	CHUNK_TRAILER,
};

enum request_state {
	REQUEST_WANTS, /* more bytes are needed */
	REQUEST_READY,
	REQUEST_BAD,
};

struct request {
	struct bytes head; /* the request line and headers, as received */
	struct bytes body; /* only a chunked one; else it stands in the input */
	struct text method;
	struct text target;
	struct text mock; /* the x-mock header */
	uint64_t length;
	size_t chunk_left;
	enum chunk_step step;
	bool has_head;
	bool is_chunked;
	bool is_http10;
	bool is_kept;
	bool wants_continue;
};

/* Forgets the request; keeps memory. */
void request_reset(struct request *rq);

/* Takes the head from `in` once it is complete. */
enum request_state request_head(struct request *rq, struct bytes *in);

/* Waits for the whole body, which is then request_body(). */
enum request_state request_body_ready(struct request *rq, struct bytes *in);

/* The body, borrowed from the request or from `in` until it is taken. */
struct text request_body(const struct request *rq, const struct bytes *in);

/* Removes the body from `in`. */
void request_take_body(struct request *rq, struct bytes *in);

/* Calls each for every header, in order, until it returns false. */
typedef bool (*request_header_fn)(
    void *arg, struct text name, struct text value);
bool request_headers(
    const struct bytes *head, request_header_fn each, void *arg);

void request_free(struct request *rq);
