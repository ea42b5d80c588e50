/*
 * shared_driver.c - a gateway that does nothing but ask for shared limits, for
 * tests: a follower of a ledger, a loop, and claims by name.
 *
 * weir-shared-driver NAME STATE_DIR LEASE_MS unix:PATH | HOST:PORT [CA_FILE]
 *
 * Commands come on stdin, a line each; what came of them goes to stdout:
 *     admit ID SUBJECT REQUESTS IN OUT DAY CONCURRENT BUDGET input output
 *     pay ID pusd | unpay ID | slot ID | give ID | grow ID tokens pusd
 *     settle ID line|none input output
 *     state | quit
 * -> ID ok | ID refused WHAT USED HELD NEEDED MOST WAIT_MS | ID unknown, each
 *    with the ms that the answer took; `-` is unlimited.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proxy/shared/shared.h"

#define LINE_BYTES 65536
#define WORDS_MOST 16
#define CLAIMS_MOST 20000
#define DAY_MS INT64_C(86400000)

struct entry {
	char id[ULID_CHARS + 1];
	struct shared_claim *claim;
	uint64_t asked_ns;
};

static struct event_base *base;
static struct shared *shared;
static struct redis_follower *follower;
static struct entry entries[CLAIMS_MOST];
static size_t entry_count;
static char line[LINE_BYTES];
static size_t line_len;

static bool
whole(void *arg, struct redis_whole *out)
{
	(void)arg;
	return redis_follower_whole(follower, out);
}

static bool
has_counted(void *arg, uint64_t ago_ms)
{
	(void)arg;
	return redis_follower_has_counted(
	    follower, ago_ms, clock_mono_ns() / NS_PER_MS);
}

static uint64_t
all_are_safe(void *arg)
{
	(void)arg;
	return UINT64_MAX;
}

static struct entry *
find(const char *id)
{
	for (size_t i = 0; i < entry_count; i++)
		if (strcmp(entries[i].id, id) == 0)
			return &entries[i];
	if (entry_count == CLAIMS_MOST)
		abort();
	snprintf(entries[entry_count].id, sizeof entries[0].id, "%s", id);
	return &entries[entry_count++];
}

static const char *
what_of(const struct refusal *why)
{
	if (why->of == REFUSED_LIMIT)
		return limit_name(why->limit);
	return why->of == REFUSED_BUDGET ? "budget" : "cloud_fallback";
}

static void
on_answer(void *arg, const struct shared_answer *a)
{
	struct entry *e = &entries[(size_t)(uintptr_t)arg];
	uint64_t ms = (clock_mono_ns() - e->asked_ns) / NS_PER_MS;
	const struct refusal *w = &a->why;

	if (a->verdict == SHARED_OK)
		printf("%s ok %" PRIu64 "\n", e->id, ms);
	else if (a->verdict == SHARED_UNKNOWN)
		printf("%s unknown %" PRIu64 "\n", e->id, ms);
	else
		printf("%s refused %" PRIu64 " %s %" PRId64 " %" PRId64
		       " %" PRId64 " %" PRId64 " %" PRIu64 " %d\n",
		    e->id, ms, what_of(w), w->used, w->held, w->needed, w->most,
		    w->wait_ns / NS_PER_MS, w->is_final);
	fflush(stdout);
}

static uint32_t
count_of(const char *word)
{
	return strcmp(word, "-") == 0 ? LIMIT_UNLIMITED
				      : (uint32_t)strtoul(word, NULL, 10);
}

static int64_t
number_of(const char *word)
{
	return strcmp(word, "-") == 0 ? INT64_MAX : strtoll(word, NULL, 10);
}

static struct span
days(int64_t before, int64_t after)
{
	int64_t today = clock_wall_ms() / DAY_MS * DAY_MS;

	return (struct span){today - before * DAY_MS, today + after * DAY_MS};
}

static void
admit(char **words, struct entry *e)
{
	struct limits limits = {.reserve_cap = RESERVE_CAP_DEFAULT};
	struct shared_ask ask = {.id = e->id, .count = 1, .day = days(0, 1)};

	for (size_t i = 0; i < LIMIT_COUNT; i++)
		limits.most[i] = count_of(words[3 + i]);
	for (size_t i = 0; i < PERIOD_COUNT; i++)
		limits.budget[i] = limits.fallback[i] = BUDGET_UNLIMITED;
	limits.budget[PERIOD_MONTH] = number_of(words[8]);
	ask.subjects[0] = (struct shared_subject){words[2], &limits};
	ask.tokens.input = number_of(words[9]);
	ask.tokens.output = number_of(words[10]);
	e->claim = shared_admit(
	    shared, &ask, on_answer, (void *)(uintptr_t)(e - entries));
}

static void
pay(char **words, struct entry *e)
{
	struct shared_price price = {.pusd = number_of(words[2]),
	    .periods = {days(0, 1), days(3, 4), days(20, 11)}};

	shared_pay(
	    e->claim, &price, on_answer, (void *)(uintptr_t)(e - entries));
}

static void
settle(char **words, struct entry *e)
{
	struct account_use use = {
	    .input = number_of(words[3]), .output = number_of(words[4])};
	bool has_line = strcmp(words[2], "line") == 0;

	shared_settle(&e->claim, has_line ? &use : NULL, has_line);
	e->id[0] = '\0';
}

static void
tell_state(void)
{
	struct redis_whole w;

	printf("state %d %d %u %zu\n", shared_is_up(shared),
	    redis_follower_whole(follower, &w), shared_gateways(shared),
	    shared_claims(shared));
	fflush(stdout);
}

static void
obey(char *text)
{
	char *words[WORDS_MOST] = {NULL}, *rest = text;
	size_t count = 0;
	struct entry *e;

	while (
	    count < WORDS_MOST && (words[count] = strsep(&rest, " ")) != NULL)
		count++;
	if (strcmp(words[0], "state") == 0) {
		tell_state();
		return;
	}
	if (strcmp(words[0], "quit") == 0) {
		event_base_loopbreak(base);
		return;
	}
	e = find(words[1]);
	e->asked_ns = clock_mono_ns();
	if (strcmp(words[0], "admit") == 0)
		admit(words, e);
	else if (strcmp(words[0], "pay") == 0)
		pay(words, e);
	else if (strcmp(words[0], "slot") == 0)
		shared_slot_take(
		    e->claim, 0, on_answer, (void *)(uintptr_t)(e - entries));
	else if (strcmp(words[0], "give") == 0)
		shared_slot_give(e->claim);
	else if (strcmp(words[0], "unpay") == 0)
		shared_unpay(e->claim);
	else if (strcmp(words[0], "grow") == 0)
		shared_grow(e->claim, number_of(words[2]), number_of(words[3]));
	else if (strcmp(words[0], "settle") == 0)
		settle(words, e);
}

static void
on_input(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n = read(fd, line + line_len, sizeof line - line_len - 1);
	char *end;

	(void)what;
	(void)arg;
	if (n <= 0) {
		event_base_loopbreak(base);
		return;
	}
	line_len += (size_t)n;
	line[line_len] = '\0';
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		obey(line);
		line_len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, line_len + 1);
	}
}

static void
where(char **argv, struct redis_options *o)
{
	char *colon = strrchr(argv[4], ':');

	o->prefix = "weir";
	o->name = argv[1];
	if (strncmp(argv[4], "unix:", 5) == 0) {
		o->is_unix = true;
		o->path = argv[4] + 5;
		return;
	}
	*colon = '\0';
	o->host = argv[4];
	o->port = (uint16_t)strtoul(colon + 1, NULL, 10);
	o->is_tls = argv[5] != NULL;
	o->ca_file = argv[5];
}

int
main(int argc, char **argv)
{
	struct redis_options redis = {0};
	char writer[ULID_CHARS + 1];
	struct ulid_source ids;
	struct shared_options o = {.redis = &redis,
	    .writer = writer,
	    .whole = whole,
	    .has_counted = has_counted};
	struct redis_follower_options f = {.redis = &redis,
	    .writer = writer,
	    .safe_seq = all_are_safe,
	    .workers = 1};
	struct event *input;
	struct fault why;

	if (argc < 5 || !ulid_source_init(&ids, &why))
		return 2;
	signal(SIGPIPE, SIG_IGN);
	ulid_make(&ids, clock_wall_ms(), writer);
	where(argv, &redis);
	o.gateway = argv[1];
	o.lease_ms = (unsigned)strtoul(argv[3], NULL, 10);
	o.sweep_ms = 2 * o.lease_ms;
	f.ledger_path = xasprintf("%s/usage.jsonl", argv[2]);
	f.peers_path = xasprintf("%s/redis-peers", argv[2]);
	base = event_base_new();
	follower = redis_follower_start(&f, &why);
	shared = follower == NULL ? NULL : shared_create(base, &o, &why);
	if (shared == NULL) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	input = event_new(base, 0, EV_READ | EV_PERSIST, on_input, NULL);
	event_add(input, NULL);
	event_base_dispatch(base);
	event_free(input);
	shared_destroy(&shared);
	redis_follower_stop(&follower);
	event_base_free(base);
	free((char *)f.ledger_path);
	free((char *)f.peers_path);
	return 0;
}
