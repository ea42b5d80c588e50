/*
 * guard.h - judges a request's head before anything else sees it.
 *
 * Pure: bytes in, a verdict and a view of the request out.  head.h has checked
 * the lines; here is what a request must be beyond that.  Whatever two servers
 * could take for different requests is refused, and nothing is repaired.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/text.h"
#include "proxy/ends.h"
#include "proxy/head.h"

#define GUARD_HEAD_MOST_BYTES (32 * 1024)
#define GUARD_TARGET_MOST_BYTES (8 * 1024)

enum method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_OTHER };

/* A view of the head: all slices are borrowed from its bytes. */
struct request {
	enum method method;
	struct slice target, path, query; /* query without its '?' */
	uint8_t minor;
	bool keeps_alive;
	bool says_continue; /* Expect: 100-continue */
	bool is_encoded;    /* Content-Encoding other than identity */
	enum framing framing;
	uint64_t content_length;
	struct slice credential; /* {NULL,0}: none was sent */
	struct slice user_agent, request_id, session;
	struct slice class, max_ttft;       /* X-Weir-Class, X-Weir-Max-TTFT */
	struct slice timeout, read_timeout; /* X-Stainless-…: what an SDK will
					       wait, in seconds */
	const struct head *head;            /* borrowed */
};

/* Looks at a parsed head.  Returns END_OK, or the way in which the request
 * ends; `r` is filled in as far as it was understood (path at least {"",0}). */
enum end guard_check(const struct head *head, struct request *r);
