/*
 * own_usage.h - what a user has used, told to that user: GET /v1/key in the
 * form of OpenRouter's key endpoint, GET /v1/usage in that of OpenAI's usage
 * API.
 *
 * The numbers are the user's, over all of the user's keys, and come from the
 * rollups in memory: they equal the ledger's lines, once those are on the disk.
 * Nothing of any other user is ever in it.  Days, weeks (from Monday) and
 * months are those of UTC; but limits go by the gateway's own zone, and what is
 * left of them comes from the gate (own_limits.h).
 */
#pragma once

#include <stdint.h>

#include "auth/key_table.h"
#include "base/buf.h"
#include "metering/reports/rollup_keeper.h"
#include "proxy/snapshot.h"
#include "proxy/usage_query.h"

/* Who asks, and where the numbers are. */
struct own_usage {
	const struct snapshot *snapshot; /* borrowed, like all here */
	struct gate *gate;
	const struct user_config *user;  /* of the snapshot */
	const struct key_record *record; /* NULL: a user without a key */
	struct rollup_keeper *rollups;
	int64_t now_ms;
};

/* Appends the answer to GET /v1/key. */
void own_usage_write_key(const struct own_usage *o, struct buf *to);

/* Appends the answer to GET /v1/usage. */
void own_usage_write_history(
    const struct own_usage *o, const struct usage_query *q, struct buf *to);
