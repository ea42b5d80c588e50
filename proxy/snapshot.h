/*
 * snapshot.h - the configuration together with what it needs at run time:
 * immutable, shared by reference count, replaced whole at a reload.
 *
 * An exchange keeps the snapshot that it began with.  Live counts are not in
 * here: they belong to names, and live in the gate, so they survive a reload.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/attr.h"
#include "base/fault.h"
#include "conf/config.h"
#include "proxy/gate/gate.h"

struct snapshot {
	unsigned refs;               /* atomic */
	struct config *config;       /* owned reference */
	SSL_CTX **tls;               /* owned, by upstream index; NULL: plain */
	struct gate_account **users; /* borrowed from the gate, by index */
	struct gate_account ***at_models; /* likewise: by user, then as the
					     user's at_models */
	struct gate_account *everyone;
	struct gate_upstream **upstreams; /* likewise, by index */
};

/* Takes the reference to `config` when it succeeds.  NULL with the reason: a CA
 * file that cannot be read. */
MUST_CHECK struct snapshot *snapshot_create(
    struct config *config, struct gate *gate, struct fault *why);

/* From now on the upstreams have the room, and users may have as much at once,
 * as this configuration says. */
void snapshot_open(const struct snapshot *s, struct gate *gate);

/* Any thread. */
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot **sp);
