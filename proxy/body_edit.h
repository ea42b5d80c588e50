/*
 * body_edit.h - the body that an upstream gets: the client's bytes, with a few
 * places cut out or put in.
 *
 * Nothing is copied: the result is a list of pieces, of which some lie in the
 * client's body and some in the arena.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/attr.h"
#include "base/mem.h"
#include "conf/config.h"
#include "proxy/body_scan.h"

struct body_pieces {
	struct iovec *v; /* in the arena */
	size_t count;
	size_t len; /* bytes in all */
};

/* Edits for one route: its model's name, its params, and `asks_usage`:
 * stream_options.include_usage made true. */
void body_edit(struct body_pieces *out, struct arena *arena, const char *body,
    size_t len, const struct body_facts *facts,
    const struct route_config *route, bool asks_usage);
