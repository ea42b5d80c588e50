/*
 * response_ids.h - which of our response ids stands for which of a model
 * server's.
 *
 * A response that we have begun has an id of ours; a client that goes on from
 * it (previous_response_id) must reach what the model server knows.  The last
 * RESPONSE_IDS_MOST of them are remembered, for all users together, each for
 * its own user alone; an older one is unknown, and goes on as it came, so that
 * the model server says that it does not know it.
 *
 * One for the gateway; any thread may call.  Nothing here blocks for longer
 * than a look into a table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/text.h"

#define RESPONSE_IDS_MOST 4096
#define RESPONSE_ID_BYTES 128 /* with a NUL; a longer one is not remembered */

struct response_ids;

/* Returns an empty table, whose memory grows as it fills.  The caller owns it.
 * Never NULL. */
struct response_ids *response_ids_create(void);

/* Frees *ids and sets it to NULL.  *ids may be NULL. */
void response_ids_destroy(struct response_ids **ids);

/* Remembers that, for `user`, `ours` stands for `theirs`; the oldest is
 * forgotten if there are too many.  All are copied. */
void response_ids_add(struct response_ids *ids, const char *user,
    const char *ours, const char *theirs);

/* Writes what `ours` stands for.  False if that is not known, or is another
 * user's. */
MUST_CHECK bool response_ids_find(struct response_ids *ids, const char *user,
    struct slice ours, char theirs[RESPONSE_ID_BYTES]);
