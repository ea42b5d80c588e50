/*
 * price_edit.h - the prices in a configuration's text: which models want one,
 * and how one more is written in.
 *
 * Works on the text and its tree, not on a struct config: a file may lack the
 * very price that is to be written.  A price is put in where it belongs;
 * everything else stays byte for byte as it is, comments too.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/text.h"
#include "conf/diagnostic.h"
#include "metering/kind.h"
#include "metering/price.h"

/* A model that costs money, at its upstream. */
struct price_place {
	const char *upstream, *model; /* its own name there */
	enum server_kind kind;
	struct slice host;        /* of its url; empty: it cannot be told */
	struct price_list prices; /* empty: the file has none */
};

struct price_places {
	struct price_place *all; /* in the arena, with all that it has */
	size_t count;
};

/* Finds them: those that routes and `compare` name, in the order of the file,
 * then those that only have a price.  False, with errors in `found`, if the
 * text is no YAML; what else is wrong with it is passed over. */
MUST_CHECK bool price_places_read(struct slice text, struct arena *a,
    struct price_places *out, struct diagnostics *found);

/* Appends the text with this price added for the model.  False with the
 * reason, if the file is written in a way that this cannot be done to. */
MUST_CHECK bool price_insert(struct slice text, const char *upstream,
    const char *model, const struct price *p, struct buf *out,
    struct fault *why);

/* Appends a price as the file has it, "{from: 2026-05-01, input: 1.74, …}"; as
 * JSON too if `is_json`. */
void price_write(struct buf *to, const struct price *p, bool is_json);
