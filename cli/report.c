/* weir report: what was used, by whom, and what it cost. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/report_show.h"
#include "cli/report_source.h"
#include "cli/selection.h"
#include "cli/table.h"
#include "cli/when.h"
#include "metering/price.h"
#include "metering/reports/report.h"

#include "base/banned.h"

static const char help[] =
    "weir report hourly --since 6h\n"
    "weir report daily --since 7d --by model\n"
    "\n"
    "Usage: weir report [hourly|daily|weekly|monthly|user|model|upstream|key]\n"
    "       weir report rebuild     make the kept sums anew from the ledger\n"
    "\n"
    "  --since WHEN      24h, 7d (whole periods), 2026-11-01, or a time with\n"
    "                    its zone; default: a day of hours, a week of days,\n"
    "                    8 weeks, 12 months, else all\n"
    "  --until WHEN      the same; what arrived then is not counted any more\n"
    "  --by LIST         user, model, upstream, key; with commas\n"
    "  --user U, --model M, --upstream S, --key K   count only theirs\n"
    "  --format FORMAT   table (default on a terminal), tsv, json or md\n"
    "  --json            the same as --format json\n"
    "  --exact           all digits\n"
    "  --no-header       no line of titles\n"
    "  --tz ZONE         where days begin: Europe/Berlin, UTC, local; "
    "default:\n"
    "                    server.timezone of the configuration\n"
    "  --fail-over 25usd exit with 3 if it cost more\n"
    "  --raw             read all of the ledger, not the kept sums\n"
    "  --ledger FILE     read this ledger instead of the configuration's\n"
    "  -c, --config FILE\n"
    "  -h, --help\n"
    "\n"
    "A ~ after a number: some of it is an estimate.\n";

enum format {
	FORMAT_BY_STDOUT,
	FORMAT_TABLE,
	FORMAT_TSV,
	FORMAT_JSON,
	FORMAT_MD,
};

/* What was asked for.  Texts are borrowed from argv. */
struct request {
	struct selection selection;
	struct report_query query;
	const char *by;
	enum format format;
	bool is_exact, has_header, is_raw, is_rebuild;
	bool has_limit;
	__int128 limit_pusd;
};

static const struct subject {
	const char *word;
	enum report_period period;
	enum rollup_name by;
	int64_t since_ms; /* if --since is not said; 0: all */
} subjects[] = {
    {"hourly", REPORT_HOURLY, ROLLUP_USER, ROLLUP_DAY_MS},
    {"daily", REPORT_DAILY, ROLLUP_MODEL, 7 * ROLLUP_DAY_MS},
    {"weekly", REPORT_WEEKLY, ROLLUP_MODEL, 56 * ROLLUP_DAY_MS},
    {"monthly", REPORT_MONTHLY, ROLLUP_MODEL, 365 * ROLLUP_DAY_MS},
    {"user", REPORT_ALL, ROLLUP_USER, 0},
    {"model", REPORT_ALL, ROLLUP_MODEL, 0},
    {"upstream", REPORT_ALL, ROLLUP_UPSTREAM, 0},
    {"key", REPORT_ALL, ROLLUP_KEY, 0},
};

#define SUBJECT_DEFAULT 1

static bool
parse_by(struct report_query *q, const char *list, struct fault *why)
{
	static const char *const names[] = {
#define X(name, member, title) [ROLLUP_##name] = #member,
	    ROLLUP_NAMES(X)
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
		q->by[q->by_count++] = (enum rollup_name)g;
		list = *comma == ',' ? comma + 1 : NULL;
	}
	return true;
}

static bool
parse_format(struct request *rq, const char *text, struct fault *why)
{
	static const char *const names[] = {
	    [FORMAT_TABLE] = "table",
	    [FORMAT_TSV] = "tsv",
	    [FORMAT_JSON] = "json",
	    [FORMAT_MD] = "md",
	};

	for (size_t i = FORMAT_TABLE; i < COUNT_OF(names); i++) {
		if (strcmp(text, names[i]) != 0)
			continue;
		rq->format = (enum format)i;
		return true;
	}
	return fault_set(
	    why, "--format takes table, tsv, json or md, not '%s'", text);
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
	OPT_BY = SELECTION_NEXT,
	OPT_FORMAT,
	OPT_JSON,
	OPT_EXACT,
	OPT_NO_HEADER,
	OPT_FAIL_OVER,
	OPT_RAW,
	OPT_REBUILD,
};

static const struct option options[] = {
    SELECTION_OPTIONS,
    {"by", required_argument, NULL, OPT_BY},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"json", no_argument, NULL, OPT_JSON},
    {"exact", no_argument, NULL, OPT_EXACT},
    {"no-header", no_argument, NULL, OPT_NO_HEADER},
    {"fail-over", required_argument, NULL, OPT_FAIL_OVER},
    {"raw", no_argument, NULL, OPT_RAW},
    {"rebuild", no_argument, NULL, OPT_REBUILD},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool
take_option(
    struct request *rq, int option, const char *value, struct fault *why)
{
	if (selection_take(&rq->selection, option, value))
		return true;
	switch ((enum flag)option) {
	case OPT_BY:
		rq->by = value;
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
	case OPT_FAIL_OVER:
		return parse_limit(rq, value, why);
	case OPT_RAW:
		rq->is_raw = true;
		return true;
	case OPT_REBUILD:
		rq->is_rebuild = true;
		return true;
	}
	return true;
}

static const struct subject *
find_subject(const char *word, struct fault *why)
{
	for (size_t i = 0; i < COUNT_OF(subjects); i++)
		if (strcmp(word, subjects[i].word) == 0)
			return &subjects[i];
	fault_set(why,
	    "a report is hourly, daily, weekly or monthly, or by user, model, "
	    "upstream or key; not '%s'",
	    word);
	return NULL;
}

/* What the subject says, but for what was said by a flag. */
static bool
take_subject(
    struct request *rq, const struct subject *subject, struct fault *why)
{
	struct report_query *q = &rq->query;

	q->period = subject->period;
	q->by[0] = subject->by;
	q->by_count = 1;
	return rq->by == NULL || parse_by(q, rq->by, why);
}

/* Durations count back to where a period begins: the first row must not look
 * smaller than it was.  What nobody said counts back from the end. */
static bool
take_times(struct request *rq, const struct subject *subject, struct fault *why)
{
	struct selection *s = &rq->selection;
	struct report_query *q = &rq->query;
	int64_t *since_ms = &s->filter.since_ms;
	bool is_ago = false;

	if (!selection_set_times(s, ROLLUP_QUARTER_MS, why))
		return false;
	q->is_utc = s->is_utc;
	if (s->since == NULL && subject->since_ms != 0) {
		*since_ms =
		    (s->now_ms < s->filter.until_ms ? s->now_ms
						    : s->filter.until_ms) -
		    subject->since_ms;
		is_ago = true;
	} else if (s->since != NULL &&
	    !when_parse("--since", s->since, s->is_utc, s->now_ms, since_ms,
		&is_ago, why)) {
		return false;
	}
	if (is_ago)
		*since_ms = q->period == REPORT_ALL
		    ? rollup_start(ROLLUP_QUARTER_MS, *since_ms)
		    : report_period_start(q->period, q->is_utc, *since_ms);
	q->filter = s->filter;
	return true;
}

/* Reads the flags and the word.  NULL with *status set when there is nothing
 * more to do. */
static const struct subject *
parse(int argc, char **argv, struct request *rq, int *status)
{
	const char *word = subjects[SUBJECT_DEFAULT].word;
	const struct subject *subject = NULL;
	struct fault why;
	int option;

	*status = EXIT_USAGE;
	optind = 0;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		if (option == 'h') {
			fputs(help, stdout);
			*status = EXIT_OK;
			return NULL;
		}
		if (option == '?') {
			fputs("All flags: weir report --help\n", stderr);
			return NULL;
		}
		if (!take_option(rq, option, optarg, &why))
			goto wrong;
	}
	if (argc - optind > 1) {
		fault_set(&why, "'%s' is one word too many", argv[optind + 1]);
		goto wrong;
	}
	if (optind < argc && strcmp(argv[optind], "rebuild") == 0)
		rq->is_rebuild = true;
	else if (optind < argc)
		word = argv[optind];
	subject = find_subject(word, &why);
	if (subject != NULL && take_subject(rq, subject, &why))
		return subject;
wrong:
	fprintf(stderr, "weir report: %s.  weir report --help\n", why.text);
	return NULL;
}

/* Why is it empty?  A longer time is advised only if there is more in it. */
static void
tell_empty(const struct request *rq)
{
	const struct selection *s = &rq->selection;
	struct rollup_filter all = ROLLUP_EVERYTHING;
	struct rollup_filter longer = rq->query.filter;
	char since[CLOCK_TEXT_BYTES] = "30d";
	int64_t last_ms;

	all.only[ROLLUP_USER] = longer.only[ROLLUP_USER];
	if (all.only[ROLLUP_USER] != NULL && !s->is_user_configured &&
	    report_look_for(s, &all, rq->is_raw, &last_ms) == 0) {
		selection_tell_no_user(s);
		return;
	}
	fprintf(stderr, "No request in %s fits.", s->ledger);
	longer.since_ms = INT64_MIN;
	if (rq->query.filter.since_ms != INT64_MIN &&
	    report_look_for(s, &longer, rq->is_raw, &last_ms) > 0) {
		if (last_ms < s->now_ms - 30 * ROLLUP_DAY_MS)
			clock_format(since, last_ms);
		fprintf(stderr, "  A longer time: --since %s", since);
	}
	fputc('\n', stderr);
}

/* Tells that it cost too much; by all digits if fewer do not show it. */
static void
tell_limit(__int128 cost_pusd, __int128 limit_pusd)
{
	char cost[MONEY_TEXT_BYTES], limit[MONEY_TEXT_BYTES];

	money_format_short(cost, cost_pusd);
	money_format_short(limit, limit_pusd);
	if (strcmp(cost, limit) != 0) {
		fprintf(stderr, "It cost %s, more than %s.\n", cost, limit);
		return;
	}
	money_format(cost, cost_pusd);
	money_format(limit, limit_pusd);
	fprintf(stderr, "It cost $%s, more than $%s.\n", cost, limit);
}

/* Says what a reader of the numbers must know.  Returns the exit status. */
static int
tell(const struct request *rq, const struct report *r,
    const struct report_found *found)
{
	const struct rollup_sums *total = &report_total(r)->sums;

	if (found->damaged > 0)
		fprintf(stderr,
		    "Of the ledger %" PRIu64 " damaged line%s not counted.  "
		    "weir ledger check\n",
		    found->damaged, found->damaged == 1 ? " is" : "s are");
	if (!found->has_ledger && !selection_has_ledger(&rq->selection))
		selection_tell_no_ledger(&rq->selection);
	else if (total->requests == 0)
		tell_empty(rq);
	if (!rq->has_limit || total->cost_pusd <= rq->limit_pusd)
		return EXIT_OK;
	tell_limit(total->cost_pusd, rq->limit_pusd);
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
	case FORMAT_MD:
		return TABLE_FOR_MARKDOWN;
	case FORMAT_BY_STDOUT:
		break;
	}
	return table_form_for(false);
}

/* Reads and shows.  A ledger that is not there yet is an empty one. */
static int
report_on(const struct request *rq)
{
	const struct selection *s = &rq->selection;
	struct report *r = report_create(&rq->query);
	struct report_found found;
	struct report_look look = {
	    .query = &rq->query,
	    .zone = s->zone_name,
	    .now_ms = s->now_ms,
	    .form = form_of(rq->format),
	    .is_exact = rq->is_exact,
	    .has_header = rq->has_header,
	};
	int status = EXIT_FAILED;
	struct fault why;

	if (!report_fill(r, s, rq->is_raw, &found, &why)) {
		fprintf(
		    stderr, "weir report: %s.  weir ledger check\n", why.text);
		goto out;
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
	struct request rq = {.has_header = true};
	const struct subject *subject;
	struct fault why;
	int status;

	selection_init(&rq.selection, clock_wall_ms());
	subject = parse(argc, argv, &rq, &status);
	if (subject == NULL)
		return status;
	if (!selection_locate(&rq.selection, "report", &status))
		goto out;
	if (rq.is_rebuild) {
		status = report_rebuild(&rq.selection);
		goto out;
	}
	if (!take_times(&rq, subject, &why)) {
		fprintf(
		    stderr, "weir report: %s.  weir report --help\n", why.text);
		status = EXIT_USAGE;
		goto out;
	}
	status = report_on(&rq);
out:
	selection_release(&rq.selection);
	return status;
}
