#include "conf/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "auth/limits.h"
#include "base/mem.h"
#include "metering/kind.h"

#include "base/banned.h"

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define MOST UINT64_C(1000000000)

#define ACTS KEY_ACTS
#define RESTARTS (KEY_ACTS | KEY_RESTARTS)
#define REQUIRED (KEY_ACTS | KEY_REQUIRED)
#define LATER 0u

#define X(name, text, base, health, traits) text " "
static const char server_kinds[] = SERVER_KINDS(X);
#undef X

/* Rows for the limits that users have in common (`limits`), for those of one
 * user, and for those of one model within either. */
#define LIMIT_KEYS(at, unlimited, no, cap)                                     \
	{at ".requests_per_minute", TYPE_COUNT, ACTS | KEY_UNLIMITED,          \
	    unlimited, 0, LIMIT_MOST, NULL,                                    \
	    "Requests a minute; as many may come at once after a quiet "       \
	    "minute. 0 admits nothing."},                                      \
	    {at ".input_tokens_per_minute", TYPE_TOKENS, ACTS | KEY_UNLIMITED, \
		unlimited, 0, LIMIT_MOST, NULL,                                \
		"Prompt tokens a minute, those from a cache included."},       \
	    {at ".output_tokens_per_minute", TYPE_TOKENS,                      \
		ACTS | KEY_UNLIMITED, unlimited, 0, LIMIT_MOST, NULL,          \
		"Answer tokens a minute."},                                    \
	    {at ".tokens_per_day", TYPE_TOKENS, ACTS | KEY_UNLIMITED,          \
		unlimited, 0, LIMIT_MOST, NULL,                                \
		"Tokens in and out a day, which begins at midnight of "        \
		"`server.timezone`."},                                         \
	    {at ".concurrent", TYPE_COUNT, ACTS | KEY_UNLIMITED, unlimited, 0, \
		LIMIT_MOST, NULL,                                              \
		"Requests in flight at the same time; more than that wait."},  \
	    {at ".reserve_cap", TYPE_TOKENS, ACTS, cap, 0, LIMIT_MOST, NULL,   \
		"The most tokens that are set aside for one answer before "    \
		"its length is known."},                                       \
	{                                                                      \
		at ".paid_routes", TYPE_BOOL, ACTS, no, 0, 0, NULL,            \
		    "Whether upstreams that cost money may be used."           \
	}

#define BUDGET_KEYS(at, text)                                                 \
	{at, TYPE_MAP, ACTS | KEY_ONE_OR_LIST, NULL, 0, 0, NULL,              \
	    text " At most one for each of day, week and month."},            \
	    {at ".usd", TYPE_USD, REQUIRED | KEY_UNLIMITED, NULL, 0,          \
		BUDGET_MOST_USD, NULL, "How much may be spent."},             \
	{                                                                     \
		at ".per", TYPE_WORD, REQUIRED, NULL, 0, 0, "day week month", \
		    "In which time. Each begins at midnight of "              \
		    "`server.timezone`, a week on Monday."                    \
	}

#define PARAMS_KEYS(at)                                                    \
	{at, TYPE_MAP, ACTS, NULL, 0, 0, NULL,                             \
	    "Changes to the top-level fields of a request."},              \
	    {at ".set", TYPE_PARAMS, ACTS, NULL, 0, 0, NULL,               \
		"Fields that get this value whatever the client sent."},   \
	    {at ".default", TYPE_PARAMS, ACTS, NULL, 0, 0, NULL,           \
		"Fields that get this value where the client sent none."}, \
	{                                                                  \
		at ".drop", TYPE_NAME, ACTS | KEY_LIST, NULL, 0, 0, NULL,  \
		    "Fields that are taken out."                           \
	}

/* In the order of the tree, each map before what is in it. */
const struct key config_keys[] = {
    {"version", TYPE_VERSION, REQUIRED, NULL, 0, 0, NULL,
	"The form of this file."},

    {"server", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"Where the gateway listens, and what it allows a connection."},
    {"server.listen", TYPE_LISTEN, RESTARTS | KEY_LIST, "127.0.0.1:8643", 0, 0,
	NULL,
	"Where clients connect. `tailscale:` is this machine's own tailnet "
	"addresses."},
    {"server.metrics", TYPE_LISTEN, LATER, NULL, 0, 0, NULL,
	"Where Prometheus and the dashboard connect."},
    {"server.dashboard", TYPE_BOOL, LATER, "false", 0, 0, NULL,
	"Whether admins may see the dashboard over the tailnet."},
    {"server.workers", TYPE_COUNT, RESTARTS, NULL, 1, 256, NULL,
	"Threads that serve requests. Where nothing is said, one a core."},
    {"server.state_dir", TYPE_PATH, RESTARTS, NULL, 0, 0, NULL,
	"Where keys and counts are kept. `/var/lib/weir` for root and the user "
	"weir, else `$XDG_STATE_HOME/weir`."},
    {"server.admin", TYPE_SOCKET, RESTARTS, NULL, 0, 0, NULL,
	"The socket that the command line talks to, mode 0660. Where nothing "
	"is said, `admin.sock` in the state directory."},
    {"server.timezone", TYPE_ZONE, RESTARTS, "UTC", 0, 0, NULL,
	"The time zone in which days, weeks and months begin, for limits, "
	"budgets and reports."},
    {"server.drain", TYPE_DURATION, ACTS, "30s", 0, DAY, NULL,
	"How long answers under way may take to end when the gateway stops."},
    {"server.allow_from", TYPE_RANGE, ACTS | KEY_LIST, NULL, 0, 0, NULL,
	"Who may connect at all. Where nothing is said, everyone."},
    {"server.trusted_proxies", TYPE_RANGE, ACTS | KEY_LIST, NULL, 0, 0, NULL,
	"Whose word about who is calling is believed."},
    {"server.max_body", TYPE_SIZE, ACTS, "32MiB", KIB, GIB, NULL,
	"The largest request body."},
    {"server.max_connections", TYPE_COUNT, RESTARTS, NULL, 1, 1000000, NULL,
	"Clients connected at the same time. Where nothing is said, as the "
	"limit of open files allows."},
    {"server.timeouts", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"How long a client may take."},
    {"server.timeouts.head", TYPE_DURATION, ACTS, "10s", SECOND, HOUR, NULL,
	"To send a request's head."},
    {"server.timeouts.body", TYPE_DURATION, ACTS, "60s", SECOND, DAY, NULL,
	"To send its body."},
    {"server.timeouts.stall", TYPE_DURATION, ACTS, "60s", SECOND, DAY, NULL,
	"Without reading any of an answer that is there."},
    {"server.timeouts.idle", TYPE_DURATION, ACTS, "75s", SECOND, DAY, NULL,
	"Between two requests."},

    {"upstreams", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"The model servers, by a name of your choice."},
    {"upstreams.*", TYPE_MAP, ACTS, NULL, 0, 0, NULL, "One model server."},
    {"upstreams.*.url", TYPE_URL, REQUIRED, NULL, 0, 0, NULL,
	"Its base, as `http://192.168.1.11:8000/v1`. Without a path it gets "
	"`/v1` (for infinity none)."},
    {"upstreams.*.kind", TYPE_WORD, ACTS, "openai", 0, 0, server_kinds,
	"What runs there. It says how usage reads and what may be asked for."},
    {"upstreams.*.api_key", TYPE_SECRET, ACTS, NULL, 0, 0, NULL,
	"The key that the server wants from us."},
    {"upstreams.*.max_inflight", TYPE_COUNT, ACTS | KEY_UNLIMITED, "unlimited",
	0, MOST, NULL,
	"Requests that it works on at the same time, as vLLM's "
	"--max-num-seqs."},
    {"upstreams.*.paid", TYPE_BOOL, ACTS, NULL, 0, 0, NULL,
	"Whether it costs money. Where nothing is said, a cloud's kind and "
	"whatever has a price list does."},
    {"upstreams.*.ca_file", TYPE_PATH, ACTS, NULL, 0, 0, NULL,
	"Certificates that vouch for it, in PEM. Where nothing is said, the "
	"system's."},
    {"upstreams.*.paths", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"Where single routes are, if not under the url; counted from the "
	"server's root."},
#define X(name, text, path, streams)                                     \
	{"upstreams.*.paths." text, TYPE_TARGET, ACTS, NULL, 0, 0, NULL, \
	    "Where " text " requests go."},
    SERVER_APIS(X)
#undef X
	{"upstreams.*.timeouts", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	    "How long the server may take."},
    {"upstreams.*.timeouts.connect", TYPE_DURATION, ACTS, "5s", 1, HOUR, NULL,
	"To accept a connection, TLS included."},
    {"upstreams.*.timeouts.first_token", TYPE_DURATION, ACTS, "10m", 1, DAY,
	NULL, "From the request being sent to the first content."},
    {"upstreams.*.timeouts.gap", TYPE_DURATION, ACTS, "10m", 1, DAY, NULL,
	"Of silence after that."},
    {"upstreams.*.timeouts.total", TYPE_DURATION, ACTS, "2h", 1, 7 * DAY, NULL,
	"For the whole answer."},
    {"upstreams.*.timeouts.idle", TYPE_DURATION, ACTS, "4s", 0, HOUR, NULL,
	"How long an unused connection is kept; less than the server keeps "
	"it."},
    {"upstreams.*.queue", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"Where requests wait while the server is full, or while their user has "
	"as many in flight as `concurrent` allows."},
    {"upstreams.*.queue.size", TYPE_COUNT, ACTS, "64", 0, 1000000, NULL,
	"Places."},
    {"upstreams.*.queue.wait", TYPE_DURATION, ACTS, "2m", 0, DAY, NULL,
	"The longest wait."},
    {"upstreams.*.queue.per_user", TYPE_COUNT, ACTS, NULL, 1, 1000000, NULL,
	"Places that one user may take. Where nothing is said, all."},
    {"upstreams.*.kv_tokens", TYPE_TOKENS, ACTS, NULL, 1, MOST, NULL,
	"Tokens that its cache holds for all requests together, prompts and "
	"answers. Where nothing is said, they are not counted."},
    {"upstreams.*.on_disconnect", TYPE_WORD, ACTS, "cancel", 0, 0,
	"cancel drain",
	"What becomes of a request whose client has gone away in the middle of "
	"its answer: it is given up at once, or read on for at most 30 s to "
	"learn its exact tokens."},

    {"models", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"What clients may ask for, by name; anything else is 404."},
    {"models.*", TYPE_MAP, ACTS, NULL, 0, 0, NULL, "One model."},
    {"models.*.aliases", TYPE_NAME, ACTS | KEY_LIST, NULL, 0, 0, NULL,
	"Other names for it."},
    {"models.*.list_aliases", TYPE_BOOL, ACTS, "false", 0, 0, NULL,
	"Whether `/v1/models` lists them too."},
    {"models.*.name", TYPE_TEXT, ACTS, NULL, 0, 0, NULL,
	"Its name for people."},
    {"models.*.description", TYPE_TEXT, ACTS, NULL, 0, 0, NULL,
	"What it is good for."},
    {"models.*.type", TYPE_WORD, ACTS, "chat", 0, 0, "chat embedding rerank",
	"What it does."},
    {"models.*.input", TYPE_WORD, ACTS | KEY_LIST, "text", 0, 0, "text image",
	"What it reads."},
    {"models.*.context", TYPE_TOKENS, ACTS, NULL, 1, MOST, NULL,
	"Tokens that prompt and answer may have together."},
    PARAMS_KEYS("models.*.params"),
    {"models.*.routes", TYPE_MAP, REQUIRED | KEY_LIST, NULL, 0, 0, NULL,
	"Where its requests go: the first, and the others in their order when "
	"that fails."},
    {"models.*.routes[].to", TYPE_NAME, REQUIRED, NULL, 0, 0, NULL,
	"The upstream."},
    {"models.*.routes[].model", TYPE_NAME, REQUIRED, NULL, 0, 0, NULL,
	"What the model is called there."},
    {"models.*.routes[].when", TYPE_WORD, ACTS | KEY_LIST,
	"connect reset 429 503 529 error_event", 0, 0,
	"connect reset 429 503 529 5xx timeout error_event context full slow",
	"After which failures of the route before it this one is taken. A full "
	"queue and an ended wait are 503; `full` is taken at once when no "
	"place "
	"is free, `slow` when the wait would exceed `overflow_after`."},
    PARAMS_KEYS("models.*.routes[].params"),
    {"models.*.routes[].overflow_after", TYPE_DURATION, ACTS | KEY_OFF, "off",
	1, DAY, NULL, "The expected wait above which `slow` moves on from it."},
    {"models.*.compare", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"A paid model whose price says what local answers have saved. Where "
	"nothing is said, the first paid route."},
    {"models.*.compare.to", TYPE_NAME, REQUIRED, NULL, 0, 0, NULL,
	"Its upstream."},
    {"models.*.compare.model", TYPE_NAME, REQUIRED, NULL, 0, 0, NULL,
	"What it is called there."},
    {"models.*.class", TYPE_WORD, ACTS, "interactive", 0, 0,
	"interactive batch",
	"Who goes first in a queue; a tenth is kept for `batch`."},
    {"models.*.commit_after", TYPE_DURATION, ACTS, "5s", 0, HOUR, NULL,
	"How long a waiting stream is held back, so that a failure can still "
	"be a status."},
    {"models.*.keepalive", TYPE_DURATION, ACTS | KEY_OFF, "15s", SECOND, HOUR,
	NULL, "How often a waiting stream gets a sign of life."},
    {"models.*.prefill", TYPE_WORD, ACTS, "warn", 0, 0, "warn refuse off",
	"What happens to a prompt that cannot be read before its client gives "
	"up."},
    {"models.*.retry_grace", TYPE_DURATION, ACTS | KEY_OFF, "off", 0, HOUR,
	NULL, "How long a prompt whose client has gone is kept for its retry."},

    {"prices", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"What upstreams cost, by their name."},
    {"prices.*", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"The upstream's models, by its own names for them."},
    {"prices.*.*", TYPE_MAP, ACTS | KEY_LIST, NULL, 0, 0, NULL,
	"A model's prices, one for each time that they changed."},
    {"prices.*.*[].from", TYPE_DATE, ACTS, NULL, 0, 0, NULL,
	"The first day. Where nothing is said, always."},
    {"prices.*.*[].hours", TYPE_HOURS, ACTS, NULL, 0, 0, NULL,
	"The hours of a day at which it holds. Where nothing is said, all."},
    {"prices.*.*[].input", TYPE_PRICE, REQUIRED, NULL, 0, 0, NULL,
	"For prompt tokens."},
    {"prices.*.*[].input_cached", TYPE_PRICE, ACTS, NULL, 0, 0, NULL,
	"For those read from a cache. Where nothing is said, as input."},
    {"prices.*.*[].cache_write", TYPE_PRICE, ACTS, NULL, 0, 0, NULL,
	"For those written to a cache. Where nothing is said, as input."},
    {"prices.*.*[].output", TYPE_PRICE, ACTS, NULL, 0, 0, NULL,
	"For answer tokens. Only models that answer without any may leave it "
	"out."},
    {"prices.*.*[].request", TYPE_USD, ACTS, "0", 0, 1000, NULL,
	"For each request."},

    {"limits", TYPE_MAP, ACTS, NULL, 0, 0, NULL, "What every user may."},
    LIMIT_KEYS("limits", "unlimited", "false", "8192"),
    BUDGET_KEYS("limits.budget", "What each user's requests may cost."),
    {"limits.scope", TYPE_WORD, RESTARTS, "local", 0, 0, "local shared",
	"Whether each gateway counts for itself, or all together through "
	"Redis."},
    {"limits.unverified_usd", TYPE_USD, ACTS, "0", 0, BUDGET_MOST_USD, NULL,
	"With `scope: shared`, the most that this gateway lets be spent on "
	"paid routes while Redis cannot be asked."},
    {"limits.models", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"Limits of each user at single models; there, they replace the user's "
	"general ones."},
    {"limits.models.*", TYPE_MAP, ACTS, NULL, 0, 0, NULL, "One model's."},
    LIMIT_KEYS("limits.models.*", NULL, NULL, NULL),
    BUDGET_KEYS(
	"limits.models.*.budget", "What each user's requests for it may cost."),

    {"users", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"Who may use the gateway. Their keys are made with `weir key issue`."},
    {"users.*", TYPE_MAP, ACTS, NULL, 0, 0, NULL, "One person or agent."},
    {"users.*.models", TYPE_NAME, REQUIRED | KEY_LIST, NULL, 0, 0, NULL,
	"What the user may ask for; `\"*\"` is everything."},
    {"users.*.role", TYPE_WORD, ACTS, "user", 0, 0, "user admin",
	"Admins see everyone's use."},
    {"users.*.key", TYPE_WORD, ACTS, NULL, 0, 0, "none",
	"`none`: whoever comes from the addresses in `from` without a key is "
	"this user."},
    {"users.*.from", TYPE_RANGE, ACTS | KEY_LIST, NULL, 0, 0, NULL,
	"Where the user may come from. Where nothing is said, anywhere."},
    {"users.*.limits", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"Each replaces the one that all users have in common."},
    LIMIT_KEYS("users.*.limits", NULL, NULL, NULL),
    {"users.*.limits.models", TYPE_NAMES, ACTS, NULL, 0, 0, NULL,
	"The user's limits at single models; each replaces the one of "
	"`limits.models`."},
    {"users.*.limits.models.*", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"One model's."},
    LIMIT_KEYS("users.*.limits.models.*", NULL, NULL, NULL),
    BUDGET_KEYS("users.*.limits.models.*.budget",
	"What the user's requests for it may cost."),
    BUDGET_KEYS("users.*.budget", "What the user's requests may cost."),
    BUDGET_KEYS("users.*.cloud_fallback",
	"What the user's requests may cost where a free upstream failed, "
	"within `budget`."),
    {"users.*.weight", TYPE_COUNT, ACTS, "1", 1, 1000, NULL,
	"The user's share of a queue, against others'."},
    {"users.*.tailscale", TYPE_TEXT, LATER | KEY_LIST, NULL, 0, 0, NULL,
	"Tailnet machines from which alone the user's keys are taken."},
    {"users.*.trust_end_user_headers", TYPE_BOOL, LATER, "false", 0, 0, NULL,
	"Whether the user's requests may say for whom they are."},

    BUDGET_KEYS("cloud_fallback",
	"What the requests of all users together may cost where a free "
	"upstream failed."),

    {"ledger", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"The record of every request; never of its text."},
    {"ledger.path", TYPE_PATH, RESTARTS, NULL, 0, 0, NULL,
	"The file. Where nothing is said, `usage.jsonl` in the state "
	"directory."},
    {"ledger.fsync", TYPE_WORD, RESTARTS, "everysec", 0, 0,
	"everysec always never",
	"How soon a line is safe from a power loss: within a second, before "
	"its answer ends, or when the system sees fit."},
    {"ledger.rotate", TYPE_SIZE, ACTS | KEY_OFF, "256MiB", MIB, 1024 * GIB,
	NULL, "The size at which a new file is begun."},
    {"ledger.rotate_daily", TYPE_BOOL, ACTS, "false", 0, 0, NULL,
	"Whether a new file is begun with each day, in UTC."},
    {"ledger.compress", TYPE_BOOL, ACTS, "true", 0, 0, NULL,
	"Whether files that were rotated are gzipped."},

    {"redis", TYPE_MAP, ACTS, NULL, 0, 0, NULL,
	"Where several gateways count together."},
    {"redis.url", TYPE_REDIS_URL, RESTARTS | KEY_REQUIRED, NULL, 0, 0, NULL,
	"The server."},
    {"redis.tls", TYPE_BOOL, RESTARTS, "false", 0, 0, NULL,
	"Whether the connection is encrypted; `rediss://` says so too."},
    {"redis.ca_file", TYPE_PATH, RESTARTS, NULL, 0, 0, NULL,
	"Certificates that vouch for it, in PEM. Where nothing is said, the "
	"system's."},
    {"redis.username", TYPE_TEXT, RESTARTS, NULL, 0, 0, NULL,
	"Who we are there. Where nothing is said, the default user."},
    {"redis.password", TYPE_SECRET, RESTARTS, NULL, 0, 0, NULL,
	"The password that the server wants from us."},
    {"redis.prefix", TYPE_NAME, RESTARTS, "weir", 0, 0, NULL,
	"What the names of all our entries begin with, in braces; gateways "
	"with the same one count together."},
    {"redis.name", TYPE_NAME, RESTARTS, NULL, 0, 0, NULL,
	"What this gateway is called among those. Where nothing is said, the "
	"machine's name."},

    {"compat", TYPE_MAP, LATER, NULL, 0, 0, NULL,
	"For clients of other gateways."},
    {"compat.litellm_headers", TYPE_BOOL, LATER, "false", 0, 0, NULL,
	"Whether the cost of an answer is also in LiteLLM's header."},
};

const size_t config_key_count = COUNT_OF(config_keys);

const struct key *
key_at(const char *path)
{
	for (size_t i = 0; i < config_key_count; i++)
		if (strcmp(config_keys[i].path, path) == 0)
			return &config_keys[i];
	assert(false); /* a path that the table does not have */
	return NULL;
}

const char *
key_name(const struct key *k)
{
	const char *dot = strrchr(k->path, '.');

	return dot == NULL ? k->path : dot + 1;
}

/* NULL if it is not below `parent`. */
const char *
key_path_below(const struct key *parent, const struct key *k)
{
	size_t n;

	if (parent == NULL)
		return k->path;
	n = strlen(parent->path);
	if (strncmp(k->path, parent->path, n) != 0)
		return NULL;
	if (parent->flags & KEY_LIST) {
		if (strncmp(k->path + n, "[]", 2) != 0)
			return NULL;
		n += 2;
	}
	return k->path[n] == '.' ? k->path + n + 1 : NULL;
}

const struct key *
key_next_child(const struct key *parent, const struct key *last)
{
	const struct key *k = last != NULL ? last + 1
	    : parent != NULL               ? parent + 1
					   : config_keys;

	for (; k < config_keys + config_key_count; k++) {
		const char *below = key_path_below(parent, k);

		if (below == NULL)
			break; /* the table is in the tree's order */
		if (strchr(below, '.') == NULL)
			return k;
	}
	return NULL;
}

const struct key *
key_child(const struct key *parent, struct slice name)
{
	const struct key *k = NULL;

	while ((k = key_next_child(parent, k)) != NULL)
		if (strcmp(key_name(k), "*") == 0 ||
		    slice_is(name, key_name(k)))
			return k;
	return NULL;
}

/* A key that exists further down, written one level too high. */
static const struct key *
find_deeper(const struct key *parent, const char *unknown)
{
	const struct key *k = parent == NULL ? config_keys : parent + 1;

	for (; k < config_keys + config_key_count; k++) {
		const char *below = key_path_below(parent, k);

		if (below == NULL)
			return NULL;
		if (strchr(below, '*') == NULL &&
		    strcmp(key_name(k), unknown) == 0)
			return k;
	}
	return NULL;
}

const struct key *
key_suggest(const struct key *parent, struct slice unknown)
{
	char *text = xstrndup(unknown.p, unknown.len);
	const struct key *k = NULL, *best = NULL;
	unsigned least = 3;

	while ((k = key_next_child(parent, k)) != NULL) {
		unsigned d = text_distance(text, key_name(k), 2);

		if (d < least && d < strlen(key_name(k))) {
			least = d;
			best = k;
		}
	}
	if (best == NULL)
		best = find_deeper(parent, text);
	free(text);
	return best;
}
