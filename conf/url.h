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

/* Checks redis://host[:port][/db], rediss://… or unix:/path. */
MUST_CHECK bool url_check_redis(struct slice text, struct fault *why);

/* True if it can stand in a request line as it is: printable ASCII, no ?, #, or
 * segments . and .. */
bool url_path_is_clean(struct slice path);
