/*
 * url.h - an upstream's url, taken apart and checked.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"

#define URL_MOST_BYTES 1024

struct url {
	bool is_tls;
	bool has_path;
	struct slice host;      /* without brackets; borrowed, like all here */
	struct slice authority; /* host[:port], as written */
	struct slice path;      /* without slashes at its end */
	uint16_t port;
};

/* Reads http://host[:port][/path].  False with the reason, which never quotes
 * the url: a password, a query or a fragment in it, a cloud's metadata
 * address, a number for a host that is no IP address. */
MUST_CHECK bool url_read(struct slice text, struct url *out, struct fault *why);

struct redis_url {
	struct slice path; /* of a unix socket; p is NULL: it is a host */
	struct slice host; /* without brackets; borrowed, like all here */
	uint16_t port;
	unsigned db;
	bool is_tls;
};

/* Reads redis://host[:port][/db], rediss://… or unix:/path.  False with the
 * reason, which never quotes the url. */
MUST_CHECK bool url_read_redis(
    struct slice text, struct redis_url *out, struct fault *why);

/* True if it can stand in a request line as it is: printable ASCII, no ?, #, or
 * segments . and .. */
bool url_path_is_clean(struct slice path);
