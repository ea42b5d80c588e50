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
#include "metering/kind.h"
#include "proxy/body_scan.h"

/* What is asked of a stream for our own sake. */
struct body_asks {
	bool usage;   /* stream_options.include_usage */
	bool running; /* stream_options.continuous_usage_stats */
	bool hides;   /* the client does not wish to see the usage's chunk */
	const char *previous_response; /* its id as JSON, in the place of the
					  client's; NULL: that stays */
};

struct body_pieces {
	struct iovec *v; /* in the arena */
	size_t count;
	size_t len; /* bytes in all */
};

/* What to ask of a server of that kind, beside what the client itself asks:
 * counts, wherever it has them to give, and nothing that it does not know. */
struct body_asks body_asks(
    const struct body_facts *facts, enum server_kind kind, enum server_api api);

/* Edits for one route: its model's name, its params, and `asks`, whose options
 * are made true; whatever else stands in stream_options stays. */
void body_edit(struct body_pieces *out, struct arena *arena, const char *body,
    size_t len, const struct body_facts *facts,
    const struct route_config *route, struct body_asks asks);
