/*
 * ledger_make.c - makes a ledger as the gateway would have written it.
 *
 *     weir-ledger-make N FILE [--users U] [--seed S] [--span DAYS] [--per-start
 * L]
 *
 * N lines by the real writer: what is measured on it holds for real ledgers.
 * The same arguments give the same file.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "metering/ledger/ledger_line.h"
#include "metering/price.h"
#include "tests/unit/seeded.h"

#include "base/banned.h"

#define FIRST_MS INT64_C(1767225600000) /* 2026-01-01 */
#define MS_PER_DAY INT64_C(86400000)
#define WRITE_BYTES (1024 * 1024)
#define NAME_BYTES 32

struct request {
	uint64_t lines;
	const char *path; /* borrowed: from argv */
	uint64_t users, seed, days;
	uint64_t per_start; /* lines that one start of the gateway writes */
};

static const struct model {
	const char *name, *upstream, *upstream_model, *price_date;
	struct price price; /* of the upstream, or of what it saves */
} models[] = {
    {"ds4", "spark-ds4", "deepseek-v4-flash", NULL,
	{.input_pusd = 140000,
	    .input_cached_pusd = 28000,
	    .cache_write_pusd = 140000,
	    .output_pusd = 280000}},
    {"ds4-pro", "fireworks", "accounts/fireworks/models/deepseek-v4-pro",
	"2026-01-01",
	{.input_pusd = 1740000,
	    .input_cached_pusd = 145000,
	    .cache_write_pusd = 1740000,
	    .output_pusd = 3480000}},
    {"kimi", "mac-kimi", "kimi-k3", NULL,
	{.input_pusd = 950000,
	    .input_cached_pusd = 160000,
	    .cache_write_pusd = 950000,
	    .output_pusd = 4000000}},
    {"sonnet", "anthropic", "claude-sonnet-5", "2026-02-01",
	{.input_pusd = 3000000,
	    .input_cached_pusd = 300000,
	    .cache_write_pusd = 3750000,
	    .output_pusd = 15000000}},
};

static const char *const clients[] = {"codex_cli_rs/0.162", "claude-cli/2.1.9",
    "OpenAI/Python", "hermes/3.2", "opencode/1.14"};

static uint64_t
below(struct seeded *s, uint64_t n)
{
	return seeded_below(s, (size_t)n);
}

static void
fill_id(struct seeded *s, int64_t ms, char id[ULID_CHARS + 1])
{
	struct ulid_source source = {.last_ms = (uint64_t)ms,
	    .high = seeded_next(s) & 0xffff,
	    .low = seeded_next(s)};

	ulid_make(&source, ms, id);
}

/* Most prompts are long and come mostly from a cache, as agents' are. */
static struct usage
make_usage(struct seeded *s)
{
	struct usage u = USAGE_UNKNOWN;

	u.input = 200 + (int64_t)(below(s, 400) * below(s, 400));
	u.cached = (int64_t)below(s, (uint64_t)u.input);
	u.cache_write =
	    (int64_t)below(s, 1 + (uint64_t)(u.input - u.cached) / 4);
	u.output = 1 + (int64_t)(below(s, 60) * below(s, 60));
	u.reasoning = (int64_t)below(s, (uint64_t)u.output);
	return u;
}

static const char *
name(char to[NAME_BYTES], const char *what, uint64_t n)
{
	snprintf(to, NAME_BYTES, "%s%03" PRIu64, what, n);
	return to;
}

static bool
is_paid(const struct model *m)
{
	return m->price_date != NULL;
}

/* One attempt in eight does not even connect; then another is made. */
static void
add_attempts(struct ledger_line *line, const struct model *m, struct seeded *s)
{
	struct ledger_attempt a = {
	    .upstream = m->upstream,
	    .result = "ok",
	    .usage = make_usage(s),
	    .source = below(s, 20) == 0 ? USAGE_ESTIMATED : USAGE_UPSTREAM,
	};
	struct ledger_attempt failed = {.upstream = "spark-ds4",
	    .result = "connect",
	    .usage = USAGE_UNKNOWN};

	if (below(s, 8) == 0)
		ledger_line_take_attempt(line, &failed);
	if (is_paid(m))
		a.cost_pusd = price_cost(&m->price, &a.usage);
	else
		line->avoided_usd = price_cost(&m->price, &a.usage);
	ledger_line_take_attempt(line, &a);
	line->ttft_ms = 80 + line->prompt_tokens / 40 + (int64_t)below(s, 400);
	line->duration_ms = line->ttft_ms + line->completion_tokens * 20;
	line->bytes_out = line->completion_tokens * 160;
	line->upstream = m->upstream;
	line->upstream_model = m->upstream_model;
	line->paid = is_paid(m);
	line->price_date = m->price_date;
}

static void
write_line(struct buf *to, const struct request *rq, struct seeded *s,
    uint64_t i, const char *writer, int64_t ts_ms)
{
	const struct model *m = &models[below(s, COUNT_OF(models))];
	uint64_t who = below(s, rq->users);
	char id[ULID_CHARS + 1], session[ULID_CHARS + 1];
	char user[NAME_BYTES], key[NAME_BYTES];
	bool is_refused = below(s, 50) == 0;
	struct ledger_line line = {
	    .ts_ms = ts_ms,
	    .user = name(user, "user", who),
	    .model = m->name,
	    .id = id,
	    .key = name(key, "k3f", who),
	    .api = below(s, 3) == 0 ? "messages" : "chat",
	    .stream = below(s, 10) != 0,
	    .status = is_refused ? 429 : 200,
	    .end = is_refused ? "rate_limited" : "ok",
	    .usage_source = "none",
	    .ttft_ms = -1,
	    .duration_ms = (int64_t)below(s, 4),
	    .bytes_in = 500 + (int64_t)below(s, 400000),
	    .client = clients[below(s, COUNT_OF(clients))],
	    .session = below(s, 2) == 0 ? session : NULL,
	};

	fill_id(s, ts_ms, id);
	fill_id(s, ts_ms, session);
	if (!is_refused)
		add_attempts(&line, m, s);
	ledger_line_write(to, &line);
	ledger_line_finish(to, writer, 1 + i % rq->per_start);
}

static bool
make(const struct request *rq, int fd)
{
	struct seeded s = {.state = rq->seed * 2 + 1};
	char writer[ULID_CHARS + 1] = "";
	struct buf lines = {0};
	bool ok = true;

	for (uint64_t i = 0; ok && i < rq->lines; i++) {
		/* Whole seconds are all that a line keeps. */
		int64_t ts_ms = FIRST_MS +
		    (int64_t)((double)i / (double)rq->lines *
			(double)((int64_t)rq->days * MS_PER_DAY));

		if (i % rq->per_start == 0)
			fill_id(&s, ts_ms, writer);
		write_line(&lines, rq, &s, i, writer, ts_ms);
		if (buf_len(&lines) < WRITE_BYTES)
			continue;
		ok = file_write_all(fd, buf_data(&lines), buf_len(&lines));
		buf_clear(&lines);
	}
	ok = ok && file_write_all(fd, buf_data(&lines), buf_len(&lines));
	buf_release(&lines);
	return ok;
}

static bool
parse(int argc, char **argv, struct request *rq)
{
	static const struct option options[] = {
	    {"users", required_argument, NULL, 'u'},
	    {"seed", required_argument, NULL, 's'},
	    {"span", required_argument, NULL, 'd'},
	    {"per-start", required_argument, NULL, 'l'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		uint64_t *to = option == 'u' ? &rq->users
		    : option == 's'          ? &rq->seed
		    : option == 'd'          ? &rq->days
					     : &rq->per_start;

		if (option == '?' ||
		    !text_to_u64(slice_of(optarg), INT64_MAX, to) || *to == 0)
			return false;
	}
	if (argc - optind != 2 ||
	    !text_to_u64(slice_of(argv[optind]), INT64_MAX, &rq->lines))
		return false;
	rq->path = argv[optind + 1];
	return true;
}

int
main(int argc, char **argv)
{
	struct request rq = {
	    .users = 12, .seed = 1, .days = 90, .per_start = 1000000};
	bool ok;
	int fd;

	if (!parse(argc, argv, &rq)) {
		fputs("Usage: weir-ledger-make N FILE [--users U] [--seed S] "
		      "[--span DAYS] [--per-start LINES]\n",
		    stderr);
		return 2;
	}
	fd = open(rq.path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	ok = fd >= 0 && make(&rq, fd) && close(fd) == 0;
	if (!ok)
		perror(rq.path);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
