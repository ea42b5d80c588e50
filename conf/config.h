/*
 * config.h - the configuration as the program uses it: one immutable struct.
 *
 * config_load() reads a file, says everything that is wrong with it in one go,
 * and returns a whole configuration or none.  It is shared by reference count;
 * an exchange keeps the one that it began with over a reload.  All strings and
 * arrays in it live as long as it does.  Secrets in it (upstream api keys) are
 * wiped when it goes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/address.h"
#include "auth/limiter.h"
#include "auth/limits.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/text.h"
#include "conf/diagnostic.h"
#include "metering/kind.h"
#include "metering/ledger/ledger.h"
#include "metering/price.h"
#include "metering/redis/redis_options.h"

#define CONFIG_FILE_MOST_BYTES (1u << 20)
#define CONFIG_DEPTH_MOST 32
#define CONFIG_UNLIMITED UINT32_MAX

/* Where to listen: an address and a port; or this node's tailnet addresses. */
struct listen_config {
	const char *text;  /* as written */
	bool is_tailscale; /* address is not known before the start */
	struct address address;
	uint16_t port;
};

struct server_config {
	struct listen_config *listen;
	size_t listen_count;
	uint32_t workers;      /* 0: one a core */
	const char *state_dir; /* absolute */
	const char *admin;     /* "unix:/path" */
	const char *metrics;   /* address:port or NULL */
	const char *timezone;  /* IANA's name, or "UTC" */
	uint64_t drain_ms;
	struct address_list *allow_from;      /* empty: everyone */
	struct address_list *trusted_proxies; /* empty: nobody */
	uint64_t max_body;                    /* bytes */
	uint32_t max_connections;             /* 0: from RLIMIT_NOFILE */
	uint64_t head_ms, body_ms, stall_ms, idle_ms;
};

struct upstream_config {
	const char *name;
	uint32_t index; /* of this array */
	bool is_tls;
	const char *host; /* a name or an address, without brackets */
	uint16_t port;
	const char *host_header; /* as in the url: host[:port] */
	const char *base_path; /* "/v1", "/inference/v1"; "" for none; no slash
				  at its end */
	const char *paths[API_COUNT]; /* whole target of that API; never NULL */
	enum server_kind kind;
	const char *api_key;                 /* secret, or NULL */
	const char *ca_file;                 /* or NULL: the system's */
	uint32_t max_inflight;               /* CONFIG_UNLIMITED */
	uint64_t kv_tokens;                  /* 0: not said */
	uint32_t queue_size, queue_per_user; /* places */
	uint64_t queue_wait_ms;
	bool is_paid;
	bool drains; /* an answer whose client has gone is read on */
	uint64_t connect_ms, first_token_ms, gap_ms, total_ms, idle_ms;
};

/* After which failures of the route before it a route may be taken. */
enum route_when {
	WHEN_CONNECT = 1 << 0,
	WHEN_RESET = 1 << 1,
	WHEN_429 = 1 << 2,
	WHEN_503 = 1 << 3,
	WHEN_529 = 1 << 4,
	WHEN_5XX = 1 << 5,
	WHEN_TIMEOUT = 1 << 6,
	WHEN_ERROR_EVENT = 1 << 7,
	WHEN_CONTEXT = 1 << 8,
	WHEN_FULL = 1 << 9,
	WHEN_SLOW = 1 << 10,
};
#define WHEN_DEFAULT                                                  \
	(WHEN_CONNECT | WHEN_RESET | WHEN_429 | WHEN_503 | WHEN_529 | \
	    WHEN_ERROR_EVENT)

/* One member to put into, or take out of, the request's top-level object. */
enum param_action { PARAM_SET, PARAM_DEFAULT, PARAM_DROP };

struct param_config {
	enum param_action action;
	const char *name;
	const char *json; /* the value as JSON; NULL for drop */
};

struct params_config {
	struct param_config *params;
	size_t count;
};

struct route_config {
	const struct upstream_config *upstream;
	const char *model;      /* the upstream's own name */
	const char *model_json; /* the same as a JSON string, with its quotes */
	unsigned when;          /* enum route_when, or-ed */
	struct params_config params; /* the model's and its own, merged: set
					and drop of the route win */
	struct price_list prices;    /* empty: free */
	uint64_t overflow_after_ms;  /* an expected wait above this is `slow` to
					the next route; 0: none is */
};

/* What the section prices says of one upstream's model, used or not. */
struct priced_model {
	const char *upstream, *model;
	struct price_list list;
};

enum model_type { MODEL_CHAT, MODEL_EMBEDDING, MODEL_RERANK };

/* In the order of the words that the table of keys has for them. */
enum queue_class { CLASS_INTERACTIVE, CLASS_BATCH };
enum prefill { PREFILL_WARN, PREFILL_REFUSE, PREFILL_OFF };

struct model_config {
	const char *name;
	const char **aliases;
	size_t alias_count;
	bool lists_aliases;
	const char *display_name; /* the name if not said */
	const char *description;  /* or NULL */
	enum model_type type;
	uint32_t context; /* tokens; 0: not said */
	bool takes_images;
	enum queue_class class;
	enum prefill prefill;
	uint64_t commit_after_ms;
	uint64_t keepalive_ms;   /* 0: off */
	uint64_t retry_grace_ms; /* 0: off */
	struct route_config *routes;
	size_t route_count;
	const struct route_config *compare; /* the first paid route, or NULL:
					       what local answers saved */
};

/* What a user may at one model that has limits of its own.  A request for it
 * counts in both.  Whether paid routes may be taken, and reserve_cap, are the
 * same in both. */
struct user_model_limits {
	const struct model_config *model;
	struct limits own;    /* what is stated for the model; the rest is
				 unlimited */
	unsigned own_lines;   /* of own.stated, what the user's lines say; the
				 rest all have in common */
	struct limits beside; /* what the user's general ones still count:
				 limits_beside(user's, own) */
};

struct user_config {
	const char *name;
	uint32_t index; /* of this array */
	bool all_models;
	const struct model_config **models;
	size_t model_count;
	bool is_keyless; /* key: none */
	bool is_admin;
	struct address_list *from; /* empty: from anywhere */
	struct limits limits;      /* `stated`: by the user's own lines; the
				      rest is what all have in common */
	struct user_model_limits *at_models; /* in the order of models */
	size_t at_model_count;
	uint32_t weight; /* at least 1 */
};

struct ledger_config {
	const char *path;
	enum ledger_fsync fsync;
	uint64_t rotate_bytes; /* 0: never */
	bool rotates_daily;    /* in UTC */
	bool compresses;       /* what was rotated */
};

struct config {
	unsigned refs; /* atomic */
	const char *path;
	struct server_config server;
	struct upstream_config *upstreams;
	size_t upstream_count;
	struct model_config *models;
	size_t model_count;
	struct user_config *users;
	size_t user_count;
	struct limits everyone;  /* `fallback` alone: of all users together */
	bool limits_shared;      /* over all gateways; there is redis then */
	int64_t unverified_pusd; /* what may be spent while it is not there */
	size_t price_list_count; /* upstreams with prices */
	struct priced_model *priced_models;
	size_t priced_model_count;
	struct ledger_config ledger;
	bool has_redis;
	struct redis_options redis; /* its password is a secret */
	struct config_memory
	    *memory; /* owns all of the above; its own affair */
};

/* What the caller knows that the file does not say. */
struct config_env {
	const char *default_state_dir; /* borrowed, like all here */
	/* Looks up ${env:NAME}; NULL if it is not set. */
	const char *(*env)(const char *name);
	const char *credentials_dir; /* for ${credential:NAME}, or NULL */
	/* Secrets are not looked up, they read as "": for who only wants to
	 * know the rest, and may have no right to them. */
	bool without_secrets;
};

/* Reads and checks the file at `path`.  Everything found goes into `found`
 * (errors and warnings, in the order of lines).  NULL if there is an error. The
 * caller owns one reference. */
MUST_CHECK struct config *config_load(
    const char *path, const struct config_env *env, struct diagnostics *found);

/* The same for text that was read already; `path` is for the messages. */
MUST_CHECK struct config *config_parse(const char *path, struct slice text,
    const struct config_env *env, struct diagnostics *found);

struct config *config_ref(struct config *c);
void config_unref(struct config **cp);

/* By name or alias, the exact bytes.  NULL if there is none. */
const struct model_config *config_model(
    const struct config *c, struct slice name);

const struct user_config *config_user(
    const struct config *c, struct slice name);

const struct upstream_config *config_upstream(
    const struct config *c, struct slice name);

/* The user's limits at that model; NULL if it has none of its own. */
const struct user_model_limits *user_limits_at(
    const struct user_config *u, const struct model_config *m);

bool user_may_use(const struct user_config *u, const struct model_config *m);

/* The user with `key: none` whose `from` has this address, the narrowest range
 * not considered: the first in the file; NULL if none. */
const struct user_config *config_keyless_user(
    const struct config *c, const struct address *a);

/* The reference page of all keys, in Markdown, from the table of keys. */
void config_reference(struct buf *out);
