/*
 * redis.c - `weir redis`: does Redis hold what the ledger says, and if it does
 * not, count everything anew.  No gateway need run.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "conf/config.h"
#include "metering/redis/redis_check.h"
#include "metering/redis/redis_rebuild.h"
#include "metering/redis/redis_store.h"

#include "base/banned.h"

#define FINDINGS_TOLD_MOST 20
#define LEDGERS_MOST 64

static const char help[] =
    "weir redis check                    is Redis as the ledger says?\n"
    "weir redis rebuild                  count the whole ledger anew\n"
    "weir redis forget GATEWAY           give up what it holds of shared "
    "limits\n"
    "\n"
    "Usage:\n"
    "  weir redis check [--ledger FILE]... [--removed-is-fine]\n"
    "  weir redis rebuild [--without NAME]\n"
    "  weir redis forget GATEWAY\n"
    "\n"
    "  --ledger FILE      check: also the ledger of another gateway; with all\n"
    "                     of them Redis must have exactly their sums\n"
    "  --removed-is-fine  check: lines before the ledger's first one were\n"
    "                     removed by you, and are no finding\n"
    "  --without NAME     rebuild: do not wait for this gateway any more\n"
    "  -c, --config FILE\n"
    "  -h, --help\n"
    "\n"
    "check ends with 3 if something is not as it should be. rebuild replays\n"
    "the ledger of this gateway, then switches; other gateways replay theirs\n"
    "as they see it. forget is for a gateway that does not come back: "
    "requests\n"
    "that it had under way count as nothing used from then on.\n";

enum flag { OPT_LEDGER = 256, OPT_REMOVED, OPT_WITHOUT };

static const struct option options[] = {
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"removed-is-fine", no_argument, NULL, OPT_REMOVED},
    {"without", required_argument, NULL, OPT_WITHOUT},
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* What was asked for.  Texts are borrowed from argv. */
struct request {
	const char *what; /* check, rebuild or forget */
	const char *config, *without;
	const char *gateway;               /* forget */
	const char *ledgers[LEDGERS_MOST]; /* [0] is ours */
	size_t ledger_count;
	bool removed_is_fine;
};

/* Always returns false. */
static bool
wrong(const char *text, const char *word)
{
	fprintf(stderr, "weir redis: %s%s.  weir redis --help\n", text, word);
	return false;
}

static bool
parse_words(int count, char **words, struct request *rq)
{
	if (count < 1)
		return wrong("say check, rebuild or forget", "");
	rq->what = words[0];
	if (strcmp(rq->what, "forget") == 0) {
		if (count != 2)
			return wrong("forget one gateway", "");
		rq->gateway = words[1];
		return true;
	}
	if (strcmp(rq->what, "check") != 0 && strcmp(rq->what, "rebuild") != 0)
		return wrong("there is no ", rq->what);
	return count == 1 || wrong("too many words: ", words[1]);
}

/* False with *status set when there is nothing more to do. */
static bool
parse(int argc, char **argv, struct request *rq, int *status)
{
	int option;

	*rq = (struct request){.ledger_count = 1};
	*status = EXIT_USAGE;
	optind = 0;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		if (option == 'h') {
			fputs(help, stdout);
			*status = EXIT_OK;
			return false;
		} else if (option == 'c') {
			rq->config = optarg;
		} else if (option == OPT_WITHOUT) {
			rq->without = optarg;
		} else if (option == OPT_REMOVED) {
			rq->removed_is_fine = true;
		} else if (option == OPT_LEDGER) {
			if (rq->ledger_count == LEDGERS_MOST)
				return wrong("too many ledgers", "");
			rq->ledgers[rq->ledger_count++] = optarg;
		} else {
			fputs("All flags: weir redis --help\n", stderr);
			return false;
		}
	}
	return parse_words(argc - optind, argv + optind, rq);
}

static int
tell_problem(const struct redis_store *s, const struct redis_problem *p)
{
	fprintf(stderr, "weir redis: Redis (%s) %s: %s. %s\n",
	    redis_store_place(s), redis_trouble_meaning(p->trouble),
	    p->why.text, redis_trouble_advice(p->trouble));
	return p->trouble == REDIS_DAMAGED || p->trouble == REDIS_POLICY
	    ? EXIT_FINDINGS
	    : EXIT_FAILED;
}

/* --- check --------------------------------------------------------------- */

static void
on_finding(void *arg, const char *text)
{
	uint64_t *count = arg;

	if (++*count <= FINDINGS_TOLD_MOST)
		fprintf(stderr, "%s\n", text);
}

static const char *
state_text(const struct redis_store *s, const char *state)
{
	if (strcmp(state, redis_store_run(s)) == 0)
		return "has caught up";
	if (strcmp(state, "absent") == 0)
		return "has not replayed its ledger: shared limits on money "
		       "wait for it";
	return "is replaying its ledger";
}

static void
print_result(const struct redis_store *s, const struct redis_check_result *r)
{
	printf("redis     %s, version %s\nepoch     %s\n", redis_store_place(s),
	    redis_store_version(s), redis_store_epoch(s));
	for (size_t i = 0; i < r->marks.gateway_count; i++)
		printf("gateway   %s %s\n", r->marks.gateways[i].name,
		    state_text(s, r->marks.gateways[i].state));
	printf("lines     %" PRIu64 " counted, %" PRIu64 " not yet\n",
	    r->counted, r->waiting);
	for (size_t i = 0; i < r->marks.gap_count; i++) {
		const struct redis_gap *g = &r->marks.gaps[i];

		printf("skipped   %s %" PRIu64 "-%" PRIu64 "\n", g->writer,
		    g->first, g->last);
	}
	if (r->removed > 0)
		printf("removed   %" PRIu64 " lines before the ledger's first "
		       "one\n",
		    r->removed);
	printf("counters  %" PRIu64 " row%s %s\n", r->compared,
	    r->compared == 1 ? "" : "s",
	    r->is_exact ? "compared"
			: "compared: other gateways count too, so Redis may "
			  "have more (--ledger FILE)");
}

static int
check(struct redis_store *s, const struct request *rq)
{
	uint64_t findings = 0;
	struct redis_check_query q = {
	    .ledgers = rq->ledgers,
	    .ledger_count = rq->ledger_count,
	    .removed_is_fine = rq->removed_is_fine,
	    .on_finding = on_finding,
	    .arg = &findings,
	};
	struct redis_check_result result;
	struct redis_problem p;
	int status = EXIT_OK;

	switch (redis_store_look(s, &p)) {
	case STORE_OK:
		break;
	case STORE_GONE:
		fprintf(stderr,
		    "Redis (%s) has no counters of ours.  `weir serve` counts "
		    "what the ledger has.\n",
		    redis_store_place(s));
		return EXIT_FINDINGS;
	case STORE_EPOCH:
	case STORE_MOVED:
	case STORE_FAILED:
		return tell_problem(s, &p);
	}
	if (!redis_check_run(s, &q, &result, &p)) {
		status = tell_problem(s, &p);
	} else {
		print_result(s, &result);
		if (!redis_store_knows_policy(s))
			fputs("It does not tell its maxmemory-policy, which "
			      "must be noeviction.\n",
			    stderr);
	}
	redis_marks_release(&result.marks);
	if (findings == 0)
		return status;
	fprintf(stderr,
	    "%" PRIu64 " finding%s%s.  weir redis rebuild counts the ledger "
	    "anew.\n",
	    findings, findings == 1 ? "" : "s",
	    findings > FINDINGS_TOLD_MOST ? "; the first 20 are above" : "");
	return status == EXIT_OK ? EXIT_FINDINGS : status;
}

/* --- rebuild ------------------------------------------------------------- */

/* False with *status set if nobody of this name counts there. */
static bool
may_leave_out(struct redis_store *s, const char *name, int *status)
{
	struct redis_marks marks = {0};
	struct redis_problem p;
	bool is_there = false;

	*status = EXIT_USAGE;
	if (strcmp(name, redis_store_name(s)) == 0) {
		wrong(
		    "--without is for another gateway, and this one is ", name);
		return false;
	}
	*status = EXIT_FAILED;
	switch (redis_store_look(s, &p)) {
	case STORE_OK:
		if (redis_marks_read(&marks, s, &p))
			break;
		redis_marks_release(&marks);
		*status = tell_problem(s, &p);
		return false;
	case STORE_GONE:
		break;
	case STORE_EPOCH:
	case STORE_MOVED:
	case STORE_FAILED:
		*status = tell_problem(s, &p);
		return false;
	}
	for (size_t i = 0; i < marks.gateway_count; i++)
		is_there |= strcmp(name, marks.gateways[i].name) == 0;
	redis_marks_release(&marks);
	if (is_there)
		return true;
	fprintf(stderr,
	    "weir redis: no gateway '%s' counts there.  weir redis check "
	    "lists them\n",
	    name);
	*status = EXIT_NOT_FOUND;
	return false;
}

/* Our own gateway, if it does not run now, must not take the new epoch for a
 * loss when it starts. */
static void
remember(struct redis_store *s, const struct config *c)
{
	char *path = xasprintf("%s/" REDIS_PEERS_FILE, c->server.state_dir);
	struct redis_marks marks = {0};
	struct redis_peers peers = {0};
	struct redis_problem p;

	if (redis_marks_read(&marks, s, &p)) {
		memcpy(peers.epoch, redis_store_epoch(s), ULID_CHARS);
		for (size_t i = 0; i < marks.gateway_count; i++)
			redis_peers_add(
			    &peers, slice_of(marks.gateways[i].name));
		if (!redis_peers_save(&peers, path, &p.why))
			fprintf(stderr, "weir redis: %s\n", p.why.text);
		for (size_t i = 0; i < marks.gateway_count; i++)
			if (strcmp(marks.gateways[i].state,
				redis_store_run(s)) != 0)
				printf("%s has still to replay its ledger\n",
				    marks.gateways[i].name);
	}
	redis_marks_release(&marks);
	redis_peers_release(&peers);
	free(path);
}

static int
rebuild(struct redis_store *s, const struct request *rq, const struct config *c)
{
	struct redis_rebuild_result result;
	struct redis_problem p;
	int status;

	if (rq->without != NULL && !may_leave_out(s, rq->without, &status))
		return status;
	if (!redis_rebuild_run(s, rq->ledgers[0], rq->without, &result, &p))
		return tell_problem(s, &p);
	printf("%" PRIu64 " lines counted anew, epoch %s\n", result.lines,
	    redis_store_epoch(s));
	if (result.skipped > 0)
		printf("%" PRIu64 " lines are missing in the ledger\n",
		    result.skipped);
	remember(s, c);
	return EXIT_OK;
}

/* --- forget -------------------------------------------------------------- */

static int
forget(struct redis_store *s, const struct request *rq)
{
	struct redis_problem p;
	uint64_t count, alive_ms;

	switch (redis_store_forget(s, rq->gateway, &count, &alive_ms, &p)) {
	case STORE_OK:
		break;
	case STORE_MOVED:
		fprintf(stderr,
		    "weir redis: '%s' is alive, or was a moment ago: its lease "
		    "ends in %" PRIu64 " s.  Nothing is done\n",
		    rq->gateway, (alive_ms + 999) / 1000);
		return EXIT_FAILED;
	case STORE_EPOCH:
	case STORE_GONE:
	case STORE_FAILED:
		return tell_problem(s, &p);
	}
	printf("%" PRIu64 " request%s of %s forgotten\n", count,
	    count == 1 ? "" : "s", rq->gateway);
	return EXIT_OK;
}

int
command_redis(int argc, char **argv)
{
	struct redis_store *s = NULL;
	struct config *c;
	struct redis_problem p;
	struct request rq;
	int status;

	if (!parse(argc, argv, &rq, &status))
		return status;
	signal(SIGPIPE, SIG_IGN);
	if ((c = command_load_config(rq.config, true, &status)) == NULL)
		return status;
	rq.ledgers[0] = c->ledger.path;
	if (!c->has_redis) {
		fputs("weir redis: the configuration has no `redis`\n", stderr);
		status = EXIT_FAILED;
	} else if ((s = redis_store_create(&c->redis, "", -1, &p.why)) ==
	    NULL) {
		fprintf(stderr, "weir redis: %s\n", p.why.text);
		status = EXIT_FAILED;
	} else if (!redis_store_open(s, &p)) {
		status = tell_problem(s, &p);
	} else if (strcmp(rq.what, "check") == 0) {
		status = check(s, &rq);
	} else if (strcmp(rq.what, "forget") == 0) {
		status = forget(s, &rq);
	} else {
		status = rebuild(s, &rq, c);
	}
	redis_store_destroy(&s);
	config_unref(&c);
	return status;
}
