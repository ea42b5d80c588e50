/*
 * request.h - the request that the load generator sends, over and over.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct request_spec {
	const char *host;  /* for the Host header */
	const char *path;  /* "/v1/chat/completions" */
	const char *key;   /* the bearer, or NULL */
	const char *model; /* "m" */
	const char *extra; /* more members, "\"mock\":\"tokens=4\"", or NULL */
	size_t body_bytes; /* wanted; the least that is possible if smaller */
	bool is_streamed;
};

/* Appends head and body of a chat request: one message of prose with a line
 * break (an escape for a JSON reader) about every 70 bytes. */
void request_build(struct buf *out, const struct request_spec *spec);
