/*
 * server_inner.h - what the files of the server (server.h) share: the one
 * struct of the main thread.
 */
#pragma once

#include "auth/key_table.h"
#include "auth/override_table.h"
#include "proxy/listener.h"
#include "proxy/server.h"
#include "proxy/snapshot.h"
#include "proxy/worker.h"

#define LISTEN_MOST 64 /* addresses, those of the tailnet included */

struct server {
	struct gateway gateway;
	const struct server_options *options; /* borrowed */
	struct snapshot *snapshot;            /* owned, like what follows */
	struct key_table *keys;
	struct worker **workers;
	unsigned worker_count;
	/* The admin socket has a worker of its own, and of the counts of
	 * connections, so that it can disturb nobody. */
	struct gateway admin_gateway;
	struct worker *admin; /* owned; NULL: there is no such socket */
	struct listen_address admin_address;
	struct listen_address listen[LISTEN_MOST];
	size_t listen_count;
	int lock_fd; /* flock on state_dir/lock */
	int signal_fd;
	int inotify_fd;
	struct override_table *overrides;
	int64_t overrides_change_ms; /* wall: when the next of them ends */
	uint64_t stop_at_ns; /* 0: not stopping; then when streams are cut */
	uint64_t save_at_ns; /* when to write what was learned */
	bool is_cut;
};

/* Workers that this configuration makes. */
uint32_t server_workers_wanted(const struct config *c);

/* server_metering.c: names this start; opens the ledger and what follows it or
 * learns from what goes there; writes what was learned. */
MUST_CHECK bool server_name_writer(
    const char *ledger_path, char writer[ULID_CHARS + 1], struct fault *why);
MUST_CHECK bool server_start_metering(struct server *s,
    const struct config *config, const char *writer, struct fault *why);
struct ledger_rotation server_rotation(const struct config *c);
void server_save_learned(struct server *s);

/* server_limits.c: what limits begin with.  Waits until all that earlier starts
 * left is summed up, and gives the accounts that are new their sums; finds
 * those of keys; reads the overrides (false with the reason, and those before
 * stay), and puts what holds of them now into force. */
void server_await_sums(struct server *s);
void server_restore_accounts(struct server *s);
void server_find_key_accounts(struct server *s);
MUST_CHECK bool server_load_overrides(struct server *s, struct fault *why);
void server_apply_overrides(struct server *s);

/* server_admin.c: the admin socket and its worker.  False with the reason if it
 * was asked for and cannot be; where nobody asked, the gateway goes without. */
MUST_CHECK bool server_start_admin(struct server *s, struct fault *why);
