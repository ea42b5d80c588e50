/*
 * models.h - what a key may use, as the documents that clients ask for.
 */
#pragma once

#include <stdbool.h>

#include "auth/key_table.h"
#include "base/buf.h"
#include "base/text.h"
#include "conf/config.h"

/* Whether this user, with this key (NULL: none), may use the model. */
bool models_may_use(const struct user_config *u, const struct key_record *r,
    const struct model_config *m);

/* Appends a sentence that lists the models of this key. */
void models_write_names(const struct user_config *u, const struct key_record *r,
    const struct config *c, struct buf *to);

/* Appends GET /v1/models: one document with the fields that OpenAI's,
 * Anthropic's and OpenRouter's clients, and those of vLLM, look for. */
void models_write_list(const struct user_config *u, const struct key_record *r,
    const struct config *c, struct buf *to);

/* Appends GET /v1/models/{id}; `id` is what stands behind the slash, still
 * percent-encoded.  False, with nothing appended, if this key has no such
 * model. */
MUST_CHECK bool models_write_one(const struct user_config *u,
    const struct key_record *r, const struct config *c, struct slice id,
    struct buf *to);
