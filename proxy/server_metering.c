/* The ledger, and what follows it or learns from what goes there.  The door is
 * server_inner.h. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/learned.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/redis/redis_follower.h"
#include "metering/redis/redis_peers.h"
#include "metering/redis/redis_store.h"
#include "metering/reports/rollup_keeper.h"
#include "proxy/server_inner.h"

#include "base/banned.h"

#define CLOCK_ERROR_MOST_MS INT64_C(315360000000) /* ten years */

/* Later starts sort behind earlier ones, also after a clock was set back. */
bool
server_name_writer(
    const char *ledger_path, char writer[ULID_CHARS + 1], struct fault *why)
{
	struct segments *all = segments_list(ledger_path, why);
	int64_t now = clock_wall_ms(), last = -1;
	struct ulid_source ids;

	if (all == NULL)
		return false;
	for (size_t i = 0; i < segments_count(all); i++) {
		int64_t at = ulid_time(segments_at(all, i)->id.writer);

		if (at > last && at < now + CLOCK_ERROR_MOST_MS)
			last = at;
	}
	segments_destroy(&all);
	if (!ulid_source_init(&ids, why))
		return false;
	if (last >= now)
		log_warning("the clock was set back since the last start: the "
			    "ledger has lines of a later time");
	ulid_make(&ids, last >= now ? last + 1 : now, writer);
	return true;
}

/* Answers wait for their lines on all workers. */
static void
on_safe(void *arg)
{
	struct gateway *g = arg;
	uint32_t count = __atomic_load_n(&g->worker_count, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++)
		worker_post(g->workers[i], MAIL_SAFE, NULL, NULL);
}

static uint64_t
safe_seq(void *arg)
{
	return ledger_safe_seq(arg);
}

struct ledger_rotation
server_rotation(const struct config *c)
{
	return (struct ledger_rotation){
	    .bytes = c->ledger.rotate_bytes,
	    .is_daily = c->ledger.rotates_daily,
	    .compresses = c->ledger.compresses,
	};
}

static bool
start_redis(struct gateway *g, const struct config *config, struct fault *why)
{
	char *peers;

	if (!config->has_redis)
		return true;
	g->name = redis_own_name(&config->redis);
	peers = xasprintf("%s/" REDIS_PEERS_FILE, config->server.state_dir);
	g->redis = redis_follower_start(
	    &(struct redis_follower_options){
		.redis = &config->redis,
		.ledger_path = config->ledger.path,
		.peers_path = peers,
		.writer = ledger_writer(g->ledger),
		.safe_seq = safe_seq,
		.arg = g->ledger,
		.workers =
		    config->limits_shared ? server_workers_wanted(config) : 0,
	    },
	    why);
	free(peers);
	return g->redis != NULL;
}

/* The ledger, and what follows it or learns from what goes there. */
bool
server_start_metering(struct server *s, const struct config *config,
    const char *writer, struct fault *why)
{
	struct gateway *g = &s->gateway;
	const char *state_dir = config->server.state_dir;
	char *scoreboard = xasprintf("%s/scoreboard", state_dir);
	char *learned = xasprintf("%s/" LEARNED_FILE_NAME, state_dir);

	g->learned = learned_open(learned, why);
	if (why->text[0] != '\0')
		log_warning("%s", why->text);
	g->ledger = ledger_open(
	    &(struct ledger_options){
		.path = config->ledger.path,
		.scoreboard = scoreboard,
		.writer = writer,
		.fsync = config->ledger.fsync,
		.rotation = server_rotation(config),
		.on_safe = config->ledger.fsync == LEDGER_FSYNC_ALWAYS ? on_safe
								       : NULL,
		.arg = g,
	    },
	    why);
	free(scoreboard);
	free(learned);
	if (g->ledger == NULL)
		return false;
	g->rollups = rollup_keeper_start(
	    &(struct rollup_keeper_options){
		.state_dir = state_dir,
		.ledger_path = config->ledger.path,
		.writer = ledger_writer(g->ledger),
		.safe_seq = safe_seq,
		.arg = g->ledger,
	    },
	    why);
	return g->rollups != NULL && start_redis(g, config, why);
}

/* What was learned is kept, but a disk that takes nothing is the ledger's
 * worry. */
void
server_save_learned(struct server *s)
{
	struct fault why;

	if (!learned_save(s->gateway.learned, &why))
		log_warning("%s", why.text);
}
