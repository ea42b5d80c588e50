/* weir ledger check: is the ledger whole, and what does it come to? */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/table.h"
#include "metering/ledger/ledger_check.h"
#include "metering/price.h"

#include "base/banned.h"

#define FINDINGS_TOLD_MOST 20     /* of a file */
#define FINDINGS_LISTED_MOST 1000 /* in JSON, of all files */
#define SCHEMA 1
#define MEMORY_NAME "checked.json"

/* A gateway writes a line with one call: it is not in the making for longer,
 * and not at all in a file that has been left alone. */
#define IN_THE_MAKING_MS 200
#define LEFT_ALONE_MS 5000

static const char help[] =
    "weir ledger check               are all lines there, and right?\n"
    "weir ledger check --all         read again what was found good before\n"
    "\n"
    "Usage: weir ledger check [options]\n"
    "\n"
    "  --all             also read closed files that were checked before\n"
    "  --json            one JSON object instead of a table, with the\n"
    "                    findings (the first 1000) in it\n"
    "  --ledger FILE     check this ledger instead of the configuration's\n"
    "  -c, --config FILE\n"
    "\n"
    "Prints the sums of each user; what is wrong goes to stderr, and the exit\n"
    "code is 3; it is 5 if there is no FILE.  What the fields mean: weir help "
    "ledger\n";

/* What was asked for.  Texts are borrowed from argv. */
struct request {
	bool reads_all, wants_json;
	const char *ledger, *config;
};

/* What is told of the findings: the first of each file; and, in JSON, the first
 * of all. */
struct talk {
	char *path; /* owned; of the last finding */
	uint64_t count;
	struct buf listed; /* JSON, elements of an array */
	struct json_out list;
	size_t listed_count;
};

static const struct table_column columns[] = {
    {"USER", "user", TABLE_TEXT},
    {"REQUESTS", "requests", TABLE_NUMBER},
    {"INPUT", "input_tokens", TABLE_NUMBER},
    {"CACHED", "cached_tokens", TABLE_NUMBER},
    {"OUTPUT", "output_tokens", TABLE_NUMBER},
    {"REASONING", "reasoning_tokens", TABLE_NUMBER},
    {"COST", "cost_usd", TABLE_DECIMAL},
};

static const char *
plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* --- findings ------------------------------------------------------------ */

static void
end_file(struct talk *talk)
{
	if (talk->count > FINDINGS_TOLD_MOST)
		fprintf(stderr, "%s: %" PRIu64 " findings more\n", talk->path,
		    talk->count - FINDINGS_TOLD_MOST);
	free(talk->path);
	talk->path = NULL;
	talk->count = 0;
}

static void
list_finding(
    struct talk *talk, const char *path, uint64_t line, const char *text)
{
	if (talk->listed_count == FINDINGS_LISTED_MOST)
		return;
	talk->listed_count++;
	json_open(&talk->list, '{');
	json_member_string(&talk->list, "file", slice_of(path));
	json_member_int(&talk->list, "line", (int64_t)line);
	json_member_string(&talk->list, "text", slice_of(text));
	json_close(&talk->list, '}');
}

static void
on_finding(void *arg, const char *path, uint64_t line, const char *text)
{
	struct talk *talk = arg;

	list_finding(talk, path, line, text);
	if (talk->path == NULL || strcmp(talk->path, path) != 0) {
		end_file(talk);
		talk->path = xstrdup(path);
	}
	if (++talk->count > FINDINGS_TOLD_MOST)
		return;
	if (line == 0)
		fprintf(stderr, "%s: %s\n", path, text);
	else
		fprintf(stderr, "%s:%" PRIu64 ": %s\n", path, line, text);
}

/* --- sums ---------------------------------------------------------------- */

static int
by_name(const void *pa, const void *pb, void *arg)
{
	const struct check_sums *s = arg;
	struct slice a = s->names.names[*(const size_t *)pa];
	struct slice b = s->names.names[*(const size_t *)pb];

	return strcmp(a.p, b.p); /* both end in NUL */
}

/* The users' places in the order of their names; the caller frees it. */
static size_t *
order_users(const struct check_sums *s)
{
	size_t *order = xcalloc_array(s->names.count, sizeof *order);

	for (size_t i = 0; i < s->names.count; i++)
		order[i] = i;
	if (s->names.count > 0)
		qsort_r(
		    order, s->names.count, sizeof *order, by_name, (void *)s);
	return order;
}

static void
add_row(struct table *t, const char *name, const struct check_user *u)
{
	char exact[MONEY_TEXT_BYTES], cost[MONEY_TEXT_BYTES];

	money_format(exact, u->cost_pusd);
	money_format_short(cost, u->cost_pusd);
	table_row(t);
	table_set_text(t, 0, name[0] == '\0' ? NULL : name);
	table_set_number(t, 1, (int64_t)u->requests);
	table_set_number(t, 2, (int64_t)u->input_tokens);
	table_set_number(t, 3, (int64_t)u->cached_tokens);
	table_set_number(t, 4, (int64_t)u->output_tokens);
	table_set_number(t, 5, (int64_t)u->reasoning_tokens);
	table_set(t, 6, cost, exact);
}

static bool
print_table(const struct check_sums *s, enum table_form form, struct fault *why)
{
	struct table *t = table_create(columns, COUNT_OF(columns), form);
	size_t *order = order_users(s);
	bool ok;

	for (size_t i = 0; i < s->names.count; i++)
		add_row(t, s->names.names[order[i]].p, &s->users[order[i]]);
	ok = table_print(t, stdout, "users", why);
	free(order);
	table_destroy(&t);
	return ok;
}

static void
put_user(struct json_out *o, struct slice name, const struct check_user *u)
{
	char cost[MONEY_TEXT_BYTES];

	money_format(cost, u->cost_pusd);
	json_open(o, '{');
	json_key(o, "user");
	if (name.len == 0)
		json_null(o);
	else
		json_string(o, name);
	json_member_int(o, "requests", (int64_t)u->requests);
	json_member_int(o, "input_tokens", (int64_t)u->input_tokens);
	json_member_int(o, "cached_tokens", (int64_t)u->cached_tokens);
	json_member_int(o, "output_tokens", (int64_t)u->output_tokens);
	json_member_int(o, "reasoning_tokens", (int64_t)u->reasoning_tokens);
	json_member_string(o, "cost_usd", slice_of(cost));
	json_close(o, '}');
}

static void
put_all(
    struct json_out *o, const struct ledger_check *check, struct slice listed)
{
	const struct check_sums *s = ledger_check_sums(check);
	struct check_counts n = ledger_check_counts(check);
	size_t *order = order_users(s);

	json_open(o, '{');
	json_member_int(o, "schema", SCHEMA);
	json_member_int(o, "files", (int64_t)n.segments);
	json_member_int(o, "remembered", (int64_t)n.remembered);
	json_member_int(o, "lines", (int64_t)s->lines);
	json_key(o, "users");
	json_open(o, '[');
	for (size_t i = 0; i < s->names.count; i++)
		put_user(o, s->names.names[order[i]], &s->users[order[i]]);
	json_close(o, ']');
	json_member_int(o, "findings_total", (int64_t)n.findings);
	json_key(o, "findings");
	json_open(o, '[');
	if (listed.len > 0)
		json_raw(o, listed);
	json_close(o, ']');
	json_close(o, '}');
	free(order);
}

static bool
print_json(
    const struct ledger_check *check, struct slice listed, struct fault *why)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);

	put_all(&o, check, listed);
	buf_puts(&text, "\n");
	fwrite(buf_data(&text), 1, buf_len(&text), stdout);
	buf_release(&text);
	if (fflush(stdout) != 0 || ferror(stdout))
		return fault_errno(why, "cannot write the output");
	return true;
}

static bool
print_sums(const struct ledger_check *check, const struct talk *talk,
    bool wants_json, struct fault *why)
{
	enum table_form form = table_form_for(wants_json);
	struct slice listed = {buf_data(&talk->listed), buf_len(&talk->listed)};

	return form == TABLE_FOR_PROGRAMS
	    ? print_json(check, listed, why)
	    : print_table(ledger_check_sums(check), form, why);
}

/* --- the command --------------------------------------------------------- */

/* Not even an empty file. */
static bool
has_nothing(const struct ledger_check *check, const char *path)
{
	struct check_counts n = ledger_check_counts(check);
	struct stat st;

	return n.segments == 0 && n.findings == 0 &&
	    (stat(path, &st) != 0 || !S_ISREG(st.st_mode));
}

/* The one that was named; returns the exit status. */
static int
no_ledger(const char *path)
{
	fprintf(stderr, "weir ledger: there is no ledger at %s\n", path);
	return EXIT_NOT_FOUND;
}

static bool
may_be_written_to(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 &&
	    clock_wall_ms() - st.st_mtim.tv_sec * INT64_C(1000) < LEFT_ALONE_MS;
}

static bool
read_all(struct ledger_check *check, const char *path, struct fault *why)
{
	static const struct timespec moment = {
	    .tv_nsec = IN_THE_MAKING_MS * 1000000L};

	if (!ledger_check_read(check, why))
		return false;
	if (ledger_check_is_torn(check) && may_be_written_to(path)) {
		nanosleep(&moment, NULL);
		(void)ledger_check_is_torn(check); /* reads on */
	}
	return true;
}

static void
tell_beginning(const struct check_beginning *b)
{
	if (b->before > 0)
		fprintf(stderr,
		    "The ledger begins with line %" PRIu64
		    " of writer %s; %" PRIu64
		    " before it are not here (older files were removed?)\n",
		    b->seq, b->writer, b->before);
}

/* Returns the exit status. */
static int
sum_up(const struct ledger_check *check, const char *path)
{
	const struct check_sums *sums = ledger_check_sums(check);
	struct check_counts n = ledger_check_counts(check);

	if (has_nothing(check, path)) {
		fprintf(stderr,
		    "There is no ledger at %s yet: `weir serve` makes it.\n",
		    path);
		return EXIT_OK;
	}
	tell_beginning(ledger_check_beginning(check));
	fprintf(stderr, "%" PRIu64 " line%s in %zu file%s", sums->lines,
	    plural(sums->lines), n.segments, plural(n.segments));
	if (n.remembered > 0)
		fprintf(stderr,
		    ", %zu of them not read: unchanged since the "
		    "last check",
		    n.remembered);
	if (n.findings == 0) {
		fputs(". All is well.\n", stderr);
		return EXIT_OK;
	}
	fprintf(stderr, ". %" PRIu64 " finding%s.\n", n.findings,
	    plural(n.findings));
	return EXIT_FINDINGS;
}

static int
check_ledger(
    const struct request *rq, const char *path, const char *memory_path)
{
	struct talk talk = {.list = json_out_to(&talk.listed)};
	struct check_query query = {
	    .path = path,
	    .memory_path = memory_path,
	    .reads_all = rq->reads_all,
	    .on_finding = on_finding,
	    .arg = &talk,
	};
	struct ledger_check *check = ledger_check_create(&query);
	int status = EXIT_FAILED;
	struct fault why;

	if (!read_all(check, path, &why)) {
		fprintf(stderr, "weir ledger: %s\n", why.text);
		goto out;
	}
	/* Without its memory the next check only takes longer. */
	if (!ledger_check_finish(check, &why))
		fprintf(stderr,
		    "weir ledger: what was checked is not "
		    "remembered: %s\n",
		    why.text);
	end_file(&talk);
	if (rq->ledger != NULL && has_nothing(check, path))
		status = no_ledger(path);
	else if (print_sums(check, &talk, rq->wants_json, &why))
		status = sum_up(check, path);
	else
		fprintf(stderr, "weir ledger: %s\n", why.text);
out:
	end_file(&talk);
	buf_release(&talk.listed);
	ledger_check_destroy(&check);
	return status;
}

static int
check_configured(const struct request *rq)
{
	int status;
	struct config *config = command_load_config(rq->config, false, &status);
	char *memory_path;

	if (config == NULL)
		return status;
	memory_path = xasprintf("%s/" MEMORY_NAME, config->server.state_dir);
	status = check_ledger(rq, config->ledger.path, memory_path);
	free(memory_path);
	config_unref(&config);
	return status;
}

/* False with *status set when there is nothing more to do. */
static bool
parse(int argc, char **argv, struct request *rq, int *status)
{
	static const struct option options[] = {
	    {"all", no_argument, NULL, 'a'},
	    {"json", no_argument, NULL, 'j'},
	    {"ledger", required_argument, NULL, 'l'},
	    {"config", required_argument, NULL, 'c'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	*status = EXIT_USAGE;
	optind = 0;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		switch (option) {
		case 'a':
			rq->reads_all = true;
			break;
		case 'j':
			rq->wants_json = true;
			break;
		case 'l':
			rq->ledger = optarg;
			break;
		case 'c':
			rq->config = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			*status = EXIT_OK;
			return false;
		default:
			fputs("All flags: weir ledger --help\n", stderr);
			return false;
		}
	}
	if (argc - optind == 1 && strcmp(argv[optind], "check") == 0)
		return true;
	fputs(help, stderr);
	return false;
}

int
command_ledger(int argc, char **argv)
{
	struct request rq = {0};
	int status;

	if (!parse(argc, argv, &rq, &status))
		return status;
	if (rq.ledger != NULL)
		return check_ledger(&rq, rq.ledger, NULL);
	return check_configured(&rq);
}
