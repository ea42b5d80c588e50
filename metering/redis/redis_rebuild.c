#include "metering/redis/redis_rebuild.h"

#include <string.h>

#include "metering/ledger/ledger_segments.h"
#include "metering/redis/redis_feed.h"

#include "base/banned.h"

/* How often a Redis that is too slow is tried again. */
#define TRIES_MOST 5

#define REMOVE_AT_ONCE 500

/* The end of the ledger as it is when the rebuild begins: what a gateway writes
 * from then on it counts itself. */
struct limit {
	struct segment_id segment;
	uint64_t offset;
};

static bool
find_limit(const char *ledger, struct limit *out, struct redis_problem *p)
{
	struct segments *all = segments_list(ledger, &p->why);

	p->trouble = REDIS_LEDGER;
	*out = (struct limit){0};
	if (all == NULL)
		return false;
	if (segments_count(all) > 0) {
		const struct segment *last =
		    segments_at(all, segments_count(all) - 1);

		out->segment = last->id;
		/* A gzipped one is closed: all of it counts. */
		out->offset = last->is_gzipped ? UINT64_MAX : last->file_size;
	}
	segments_destroy(&all);
	return true;
}

static int
compare(const struct segment_id *a, const struct segment_id *b)
{
	int order = strcmp(a->writer, b->writer);

	return order != 0 ? order : (a->seq > b->seq) - (a->seq < b->seq);
}

static bool
may_feed(
    void *arg, const struct ledger_view *line, const struct ledger_place *at)
{
	const struct limit *limit = arg;
	int order = compare(&at->segment, &limit->segment);

	(void)line;
	return order < 0 || (order == 0 && at->offset < limit->offset);
}

static bool
judge(enum store_verdict v, struct redis_problem *p)
{
	if (v == STORE_OK)
		return true;
	if (v != STORE_FAILED)
		redis_problem_set(p, REDIS_REFUSED,
		    "somebody else has begun a rebuild, or a new epoch");
	return false;
}

/* To the end of the ledger; false also if Redis was too slow. */
static bool
feed_all(struct redis_store *s, struct redis_feed *f, struct redis_problem *p)
{
	bool is_done = false, is_ours;

	if (!redis_store_is_open(s) && !redis_store_open(s, p))
		return false;
	if (!redis_feed_begin(f, "", &is_ours, p))
		return false;
	while (!is_done)
		if (!judge(redis_feed_step(f, &is_done, p), p))
			return false;
	return true;
}

static bool
replay(struct redis_store *s, const char *ledger,
    struct redis_rebuild_result *out, struct redis_problem *p)
{
	struct redis_feed *f;
	struct limit limit;
	bool ok = false;

	f = redis_feed_create(s, ledger, may_feed, &limit);
	if (find_limit(ledger, &limit, p))
		for (int i = 0; !ok && i < TRIES_MOST; i++) {
			ok = feed_all(s, f, p);
			if (!ok && p->trouble != REDIS_TOO_SLOW)
				break;
		}
	out->lines = redis_feed_applied(f);
	out->skipped = redis_feed_skipped(f);
	redis_feed_destroy(&f);
	return ok;
}

/* --- what is left of older epochs ---------------------------------------- */

struct removal {
	struct redis_store *store; /* borrowed */
	struct redis_args keys;
	uint64_t count;
};

static bool
flush(struct removal *r, struct redis_problem *p)
{
	struct redis_reply *reply;

	if (r->keys.count <= 1)
		return true;
	reply = redis_store_ask(r->store, &r->keys, p);
	if (reply == NULL)
		return false;
	r->count += r->keys.count - 1;
	redis_reply_destroy(&reply);
	redis_args_clear(&r->keys);
	redis_args_text(&r->keys, "UNLINK");
	return true;
}

/* Keys of counters are {prefix}:EPOCH:...; an epoch has no colon. */
static bool
on_key(void *arg, struct slice key, struct redis_problem *p)
{
	struct removal *r = arg;
	const char *brace = memchr(key.p, '}', key.len);
	size_t left;

	if (brace == NULL)
		return true;
	left = key.len - (size_t)(brace - key.p);
	if (left < 2 + ULID_CHARS + 1 || brace[1] != ':' ||
	    brace[2 + ULID_CHARS] != ':' ||
	    memchr(brace + 2, ':', ULID_CHARS) != NULL ||
	    memcmp(brace + 2, redis_store_epoch(r->store), ULID_CHARS) == 0)
		return true;
	redis_args_slice(&r->keys, key);
	return r->keys.count <= REMOVE_AT_ONCE || flush(r, p);
}

static bool
remove_old(struct redis_store *s, uint64_t *count, struct redis_problem *p)
{
	struct removal r = {.store = s};
	bool ok;

	redis_args_text(&r.keys, "UNLINK");
	ok = redis_store_each_key(s, NULL, on_key, &r, p) && flush(&r, p);
	*count = r.count;
	redis_args_release(&r.keys);
	return ok;
}

bool
redis_rebuild_run(struct redis_store *s, const char *ledger,
    const char *without, struct redis_rebuild_result *out,
    struct redis_problem *p)
{
	*out = (struct redis_rebuild_result){0};
	return redis_store_prepare(s, p) && replay(s, ledger, out, p) &&
	    judge(redis_store_switch(s, without, p), p) &&
	    remove_old(s, &out->removed, p);
}
