/*
 * price_map.h - the two public lists of what clouds charge, as they are
 * published: LiteLLM's model_prices_and_context_window.json and models.dev's
 * api.json.
 *
 * Numbers are taken from their text, never through a binary fraction.  What a
 * map says beside the prices that we know (long prompts cost more, hours,
 * tiers) is told by name, so that nobody takes a price for the whole truth.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/text.h"
#include "metering/kind.h"

#define PRICE_MAP_MOST_BYTES (16u << 20)

enum price_map_form { PRICE_MAP_LITELLM, PRICE_MAP_MODELS_DEV };

/* What a model costs at a provider.  In pico-dollars a token, -1: not said. */
struct price_offer {
	const char *provider, *model; /* in the map's arena, like all texts */
	int64_t input_pusd, input_cached_pusd, cache_write_pusd, output_pusd;
	int64_t request_pusd;    /* a request */
	const char *not_covered; /* names of further prices; NULL: none */
	const char *damage;      /* a number that is no price; NULL: none */
	bool is_prefixed;        /* its key names the provider too */
};

struct price_map {
	enum price_map_form form;
	struct price_offer *offers; /* owned */
	size_t count, room;
	struct arena arena; /* owned */
};

/* Reads either of the two, whichever it is; what belongs to no model is passed
 * over.  The caller releases *m, also when this has failed.  False with the
 * reason. */
MUST_CHECK bool price_map_read(
    struct slice text, struct price_map *m, struct fault *why);

void price_map_release(struct price_map *m);

/* "LiteLLM", "models.dev". */
const char *price_map_name(const struct price_map *m);

/* What this map calls the provider behind an upstream, by its kind or, if that
 * says nothing, its host; NULL if that is not known. */
const char *price_map_provider(
    const struct price_map *m, enum server_kind kind, struct slice host);

/* The offer for the upstream's own name of a model; NULL if there is none. */
const struct price_offer *price_map_find(
    const struct price_map *m, const char *provider, const char *model);
