/*
 * body_scan.h - what the gateway needs to know of a request's JSON, and where
 * it stands, so that it can be edited by splicing.
 *
 * One pass, no tree: top-level members are noted, nested values skipped.  What
 * is not edited reaches the upstream byte for byte, from where it lies.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/text.h"

/* A top-level object with more members than this is refused. */
#define BODY_MEMBERS_MOST 256
#define BODY_NAME_MOST_BYTES 4096 /* of such a member */

/* A member of the top-level object; offsets into the body. */
struct body_member {
	uint32_t key_begin; /* its opening quote */
	uint32_t value_begin, value_end;
	uint64_t hash;     /* of the name */
	struct slice name; /* decoded; in the body, or in the arena */
};

/* A member of stream_options that is no object or list. */
struct body_option {
	bool is_there, is_true;
	uint32_t begin, end; /* its value */
};

struct body_facts {
	struct slice model; /* decoded; in the body, or in the arena */
	bool has_model;
	bool is_stream;
	bool has_stream_options;
	bool stream_options_is_object, stream_options_is_empty;
	struct body_option include_usage; /* of stream_options */
	struct body_option running_usage; /* ...continuous_usage_stats */
	uint64_t max_tokens; /* the largest of the max_… given; 0: not given */
	uint64_t n;          /* answers asked for, at least 1 */
	uint64_t data_bytes; /* of data: URLs: no text, so not in estimates */
	struct body_member *members; /* in the arena */
	size_t member_count;
	uint32_t object_begin, object_end; /* the braces */
};

/* Scans a whole body.  False with the reason, a sentence for the client, if it
 * is not one JSON object, a top-level member stands twice (two readers must not
 * see two models), model is no string or stream no boolean, there are too many
 * members, or it nests deeper than JSON_DEPTH_MOST. */
MUST_CHECK bool body_scan(const char *p, size_t len, struct arena *arena,
    struct body_facts *facts, struct fault *why);

/* The member of that name, or NULL. */
const struct body_member *body_member(
    const struct body_facts *facts, const char *name);
