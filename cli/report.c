/* weir report: what was used, by whom, and what it cost. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/report_show.h"
#include "cli/table.h"
#include "metering/price.h"
#include "metering/report.h"

#include "base/banned.h"

#define DAMAGE_TOLD_MOST 10
#define MS_PER_DAY UINT64_C(86400000)
#define DATE_CHARS 10

static const char help[] =
    "weir report hourly --since 6h\n"
    "weir report daily --since 7d --by model\n"
    "\n"
    "Usage: weir report [hourly|daily|weekly|monthly|user|model|upstream|key]\n"
    "\n"
    "  --since WHEN      24h, 7d (whole periods), 2026-11-01, or a time with\n"
    "                    its zone; default: a day of hours, a week of days,\n"
    "                    8 weeks, 12 months, else all\n"
    "  --until WHEN      the same; what arrived then is not counted any more\n"
    "  --by LIST         user, model, upstream, key; with commas\n"
    "  --user U, --model M   count only theirs\n"
    "  --format FORMAT   table (default on a terminal), tsv or json\n"
    "  --exact           all digits\n"
    "  --no-header       no line of titles\n"
    "  --tz UTC|local    where days begin; default: local\n"
    "  --fail-over 25usd exit with 3 if it cost more\n"
    "  --ledger FILE     read this ledger instead of the configuration's\n"
    "  -c, --config FILE\n"
    "\n"
    "A ~ after a number: some of it is an estimate.\n";

enum format { FORMAT_BY_STDOUT, FORMAT_TABLE, FORMAT_TSV, FORMAT_JSON };

/* What was asked for.  Texts are borrowed from argv. */
struct request {
	struct report_query query;
	int64_t now_ms;
	const char *since, *until, *by;
	enum format format;
	bool is_exact, has_header;
	bool has_limit;
	__int128 limit_pusd;
	const char *ledger, *config;
};

static const struct {
	const char *word;
	enum report_period period;
	enum report_group by;
	uint64_t since_ms; /* if --since is not said; 0: all */
} subjects[] = {
    {"hourly", REPORT_HOURLY, REPORT_BY_USER, MS_PER_DAY},
    {"daily", REPORT_DAILY, REPORT_BY_MODEL, 7 * MS_PER_DAY},
    {"weekly", REPORT_WEEKLY, REPORT_BY_MODEL, 56 * MS_PER_DAY},
    {"monthly", REPORT_MONTHLY, REPORT_BY_MODEL, 365 * MS_PER_DAY},
    {"user", REPORT_ALL, REPORT_BY_USER, 0},
    {"model", REPORT_ALL, REPORT_BY_MODEL, 0},
    {"upstream", REPORT_ALL, REPORT_BY_UPSTREAM, 0},
    {"key", REPORT_ALL, REPORT_BY_KEY, 0},
};

#define SUBJECT_DEFAULT 1

static bool
parse_by(struct report_query *q, const char *list, struct fault *why)
{
	static const char *const names[] = {
#define X(name, member, title) [REPORT_BY_##name] = #member,
	    REPORT_GROUPS(X)
#undef X
	};

	q->by_count = 0;
	while (list != NULL) {
		const char *comma = strchrnul(list, ',');
		struct slice word = {list, (size_t)(comma - list)};
		size_t g = 0;

		while (g < COUNT_OF(names) && !slice_is(word, names[g]))
			g++;
		if (g == COUNT_OF(names))
			return fault_set(why,
			    "--by takes user, model, upstream and key, not "
			    "'%.*s'",
			    (int)word.len, word.p);
		for (size_t i = 0; i < q->by_count; i++)
			if (q->by[i] == g)
				return fault_set(
				    why, "--by names '%s' twice", names[g]);
		q->by[q->by_count++] = (enum report_group)g;
		list = *comma == ',' ? comma + 1 : NULL;
	}
	return true;
}

/* A date alone is midnight where days begin. */
static bool
parse_date(const struct report_query *q, struct slice text, int64_t *ms)
{
	struct tm tm;
	time_t t;

	if (!clock_parse(text, ms))
		return false;
	if (text.len > DATE_CHARS || q->is_utc)
		return true;
	t = (time_t)(*ms / 1000);
	gmtime_r(&t, &tm);
	tm.tm_isdst = -1;
	*ms = mktime(&tm) * INT64_C(1000);
	return true;
}

/* A duration counts back from now, to where a period begins if `is_whole`: the
 * first row must not look smaller than it was. */
static bool
parse_when(const struct request *rq, const char *name, const char *text,
    bool is_whole, int64_t *ms, struct fault *why)
{
	const struct report_query *q = &rq->query;
	uint64_t ago_ms;

	if (duration_parse(slice_of(text), &ago_ms)) {
		*ms = rq->now_ms - (int64_t)ago_ms;
		if (is_whole && q->period != REPORT_ALL)
			*ms = report_period_start(q->period, q->is_utc, *ms);
		return true;
	}
	if (parse_date(q, slice_of(text), ms))
		return true;
	return fault_set(why,
	    "%s takes a duration (24h, 7d), a date (2026-11-01) or a time "
	    "(2026-11-01T09:00:00+01:00), not '%s'",
	    name, text);
}

static bool
parse_format(struct request *rq, const char *text, struct fault *why)
{
	static const char *const names[] = {
	    [FORMAT_TABLE] = "table",
	    [FORMAT_TSV] = "tsv",
	    [FORMAT_JSON] = "json",
	};

	for (size_t i = FORMAT_TABLE; i < COUNT_OF(names); i++) {
		if (strcmp(text, names[i]) != 0)
			continue;
		rq->format = (enum format)i;
		return true;
	}
	return fault_set(
	    why, "--format takes table, tsv or json, not '%s'", text);
}

static bool
parse_zone(struct request *rq, const char *text, struct fault *why)
{
	rq->query.is_utc = strcmp(text, "UTC") == 0;
	if (rq->query.is_utc || strcmp(text, "local") == 0)
		return true;
	return fault_set(why,
	    "--tz takes UTC or local, not '%s'; for another zone: TZ=%s weir "
	    "report ...",
	    text, text);
}

static bool
parse_limit(struct request *rq, const char *text, struct fault *why)
{
	struct slice s = slice_of(text);

	if (s.len > 3 && strcmp(text + s.len - 3, "usd") == 0)
		s.len -= 3;
	rq->has_limit = true;
	if (money_parse(s, &rq->limit_pusd) && rq->limit_pusd >= 0)
		return true;
	return fault_set(
	    why, "--fail-over takes dollars, like 25usd, not '%s'", text);
}

enum flag {
	OPT_SINCE = 256,
	OPT_UNTIL,
	OPT_BY,
	OPT_USER,
	OPT_MODEL,
	OPT_FORMAT,
	OPT_JSON,
	OPT_EXACT,
	OPT_NO_HEADER,
	OPT_TZ,
	OPT_FAIL_OVER,
	OPT_LEDGER,
};

static const struct option options[] = {
    {"since", required_argument, NULL, OPT_SINCE},
    {"until", required_argument, NULL, OPT_UNTIL},
    {"by", required_argument, NULL, OPT_BY},
    {"user", required_argument, NULL, OPT_USER},
    {"model", required_argument, NULL, OPT_MODEL},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"json", no_argument, NULL, OPT_JSON},
    {"exact", no_argument, NULL, OPT_EXACT},
    {"no-header", no_argument, NULL, OPT_NO_HEADER},
    {"tz", required_argument, NULL, OPT_TZ},
    {"fail-over", required_argument, NULL, OPT_FAIL_OVER},
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
take_option(
    struct request *rq, int option, const char *value, struct fault *why)
{
	switch ((enum flag)option) {
	case OPT_SINCE:
		rq->since = value;
		return true;
	case OPT_UNTIL:
		rq->until = value;
		return true;
	case OPT_BY:
		rq->by = value;
		return true;
	case OPT_USER:
		rq->query.only[REPORT_BY_USER] = value;
		return true;
	case OPT_MODEL:
		rq->query.only[REPORT_BY_MODEL] = value;
		return true;
	case OPT_FORMAT:
		return parse_format(rq, value, why);
	case OPT_JSON:
		rq->format = FORMAT_JSON;
		return true;
	case OPT_EXACT:
		rq->is_exact = true;
		return true;
	case OPT_NO_HEADER:
		rq->has_header = false;
		return true;
	case OPT_TZ:
		return parse_zone(rq, value, why);
	case OPT_FAIL_OVER:
		return parse_limit(rq, value, why);
	case OPT_LEDGER:
		rq->ledger = value;
		return true;
	}
	rq->config = value; /* -c */
	return true;
}

/* What the subject says, but for what was said by a flag. */
static bool
take_subject(struct request *rq, const char *word, struct fault *why)
{
	struct report_query *q = &rq->query;
	size_t i = 0;

	while (i < COUNT_OF(subjects) && strcmp(word, subjects[i].word) != 0)
		i++;
	if (i == COUNT_OF(subjects))
		return fault_set(why,
		    "a report is hourly, daily, weekly or monthly, or by user, "
		    "model, upstream or key; not '%s'",
		    word);
	q->period = subjects[i].period;
	q->by[0] = subjects[i].by;
	q->by_count = 1;
	if (rq->by != NULL && !parse_by(q, rq->by, why))
		return false;
	if (subjects[i].since_ms != 0)
		q->since_ms = report_period_start(q->period, q->is_utc,
		    rq->now_ms - (int64_t)subjects[i].since_ms);
	if (rq->since != NULL &&
	    !parse_when(rq, "--since", rq->since, true, &q->since_ms, why))
		return false;
	return rq->until == NULL ||
	    parse_when(rq, "--until", rq->until, false, &q->until_ms, why);
}

/* False with *status set when there is nothing more to do. */
static bool
parse(int argc, char **argv, struct request *rq, int *status)
{
	struct fault why;
	int option;

	*status = EXIT_USAGE;
	optind = 0;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		if (option == 'h') {
			fputs(help, stdout);
			*status = EXIT_OK;
			return false;
		}
		if (option == '?') {
			fputs("All flags: weir report --help\n", stderr);
			return false;
		}
		if (!take_option(rq, option, optarg, &why))
			goto wrong;
	}
	if (argc - optind > 1) {
		fault_set(&why, "'%s' is one word too many", argv[optind + 1]);
		goto wrong;
	}
	if (take_subject(rq,
		optind < argc ? argv[optind] : subjects[SUBJECT_DEFAULT].word,
		&why))
		return true;
wrong:
	fprintf(stderr, "weir report: %s.  weir report --help\n", why.text);
	return false;
}

/* The caller frees it.  NULL with *status set. */
static char *
find_ledger(const struct request *rq, int *status)
{
	struct config *config;
	char *path;

	if (rq->ledger != NULL)
		return xstrdup(rq->ledger);
	config = command_load_config(rq->config, status);
	if (config == NULL)
		return NULL;
	path = xstrdup(config->ledger_path);
	config_unref(&config);
	return path;
}

/* What was found of the ledger itself. */
struct found {
	const char *path; /* borrowed */
	bool is_there;
	uint64_t damage_count;
};

static void
on_damage(void *arg, uint64_t number, const char *why)
{
	struct found *f = arg;

	if (++f->damage_count <= DAMAGE_TOLD_MOST)
		fprintf(stderr, "%s:%" PRIu64 ": not counted: %s\n", f->path,
		    number, why);
}

/* Says what a reader of the numbers must know.  Returns the exit status. */
static int
tell(
    const struct request *rq, const struct report *r, const struct found *found)
{
	const struct report_row *total = report_total(r);
	char cost[MONEY_TEXT_BYTES], limit[MONEY_TEXT_BYTES];

	if (found->damage_count > 0)
		fprintf(stderr,
		    "Of %s %" PRIu64 " damaged line%s not counted.\n",
		    found->path, found->damage_count,
		    found->damage_count == 1 ? " is" : "s are");
	if (!found->is_there)
		fprintf(stderr,
		    "There is no ledger at %s yet: `weir serve` makes it.\n",
		    found->path);
	else if (total->requests == 0)
		fprintf(stderr,
		    "No request in %s fits.  A longer time: --since 30d\n",
		    found->path);
	if (!rq->has_limit || total->cost_pusd <= rq->limit_pusd)
		return EXIT_OK;
	money_format_short(cost, total->cost_pusd);
	money_format_short(limit, rq->limit_pusd);
	fprintf(stderr, "It cost %s, more than %s.\n", cost, limit);
	return EXIT_FINDINGS;
}

static enum table_form
form_of(enum format format)
{
	switch (format) {
	case FORMAT_TABLE:
		return TABLE_FOR_PEOPLE;
	case FORMAT_TSV:
		return TABLE_FOR_PIPES;
	case FORMAT_JSON:
		return TABLE_FOR_PROGRAMS;
	case FORMAT_BY_STDOUT:
		break;
	}
	return table_form_for(false);
}

/* Reads and shows.  A ledger that is not there yet is an empty one. */
static int
report_on(const struct request *rq, const char *path)
{
	struct report *r = report_create(&rq->query);
	struct found found = {.path = path, .is_there = true};
	struct report_look look = {
	    .query = &rq->query,
	    .now_ms = rq->now_ms,
	    .form = form_of(rq->format),
	    .is_exact = rq->is_exact,
	    .has_header = rq->has_header,
	};
	int status = EXIT_FAILED;
	struct fault why;

	if (!report_read(r, path, on_damage, &found, &why)) {
		found.is_there = errno != ENOENT;
		if (found.is_there) {
			fprintf(stderr, "weir report: %s\n", why.text);
			goto out;
		}
	}
	report_finish(r);
	if ((report_row_count(r) > 0 || look.form != TABLE_FOR_PEOPLE) &&
	    !report_show(r, &look, &why)) {
		fprintf(stderr, "weir report: %s\n", why.text);
		goto out;
	}
	status = tell(rq, r, &found);
out:
	report_destroy(&r);
	return status;
}

int
command_report(int argc, char **argv)
{
	struct request rq = {
	    .query = {.since_ms = INT64_MIN, .until_ms = INT64_MAX},
	    .now_ms = clock_wall_ms(),
	    .has_header = true,
	};
	int status;
	char *path;

	if (!parse(argc, argv, &rq, &status))
		return status;
	path = find_ledger(&rq, &status);
	if (path == NULL)
		return status;
	status = report_on(&rq, path);
	free(path);
	return status;
}
