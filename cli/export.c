/* weir export: lines of the ledger, as they are or for a spreadsheet. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/selection.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/price.h"

#include "base/banned.h"

#define DAMAGE_TOLD_MOST 10
#define OUTPUT_BYTES (256u << 10)

static const char help[] =
    "weir export csv --since 2026-11-01 --until 2026-12-01 >november.csv\n"
    "weir export jsonl --user bob --since 30d | jq .cost_usd\n"
    "\n"
    "Usage: weir export jsonl|csv\n"
    "\n"
    "  --json            the same as jsonl\n"
    "  --since WHEN      24h, 7d, 2026-11-01, or a time with its zone\n"
    "  --until WHEN      the same; what arrived then is left out\n"
    "  --user U, --model M, --upstream S, --key K   only theirs\n"
    "  --no-header       csv without the line of names\n"
    "  --tz ZONE         where a date begins; default: server.timezone\n"
    "  --ledger FILE     read this ledger instead of the configuration's\n"
    "  -c, --config FILE\n"
    "  -h, --help\n"
    "\n"
    "jsonl is the ledger's own lines, refused requests included.  csv has one\n"
    "line a request with all its fields but the single attempts.\n";

enum flag { OPT_NO_HEADER = SELECTION_NEXT, OPT_JSON };

static const struct option options[] = {
    SELECTION_OPTIONS,
    {"no-header", no_argument, NULL, OPT_NO_HEADER},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct export
{
	struct selection selection;
	bool is_csv, is_json, has_header;
	bool has_seen_user; /* --user is in the ledger, at whatever time */
	struct ledger_view view;
	struct buf out;
	uint64_t damaged;
};

/* --- csv ----------------------------------------------------------------- */

/* RFC 4180; what a spreadsheet would take for a formula gets a ' in front. */
static void
put_csv_text(struct buf *to, struct slice s)
{
	bool is_formula = s.len > 0 && memchr("=+-@\t\r", s.p[0], 6) != NULL;
	bool is_quoted = is_formula;

	for (size_t i = 0; i < s.len && !is_quoted; i++)
		is_quoted = memchr("\",\r\n", s.p[i], 4) != NULL;
	if (!is_quoted) {
		buf_put(to, s.p, s.len);
		return;
	}
	buf_put_literal(to, "\"");
	if (is_formula)
		buf_put_literal(to, "'");
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '"')
			buf_put_literal(to, "\"");
		buf_put(to, &s.p[i], 1);
	}
	buf_put_literal(to, "\"");
}

static void
put_csv_INT(struct buf *to, int64_t n)
{
	if (n >= 0)
		buf_put_uint(to, (uint64_t)n);
}

static void
put_csv_MONEY(struct buf *to, __int128 pusd)
{
	char text[MONEY_TEXT_BYTES];

	money_format(text, pusd);
	buf_puts(to, text);
}

static void
put_csv_BOOL(struct buf *to, bool b)
{
	buf_puts(to, b ? "true" : "false");
}

static void
put_csv_TIME(struct buf *to, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_format(text, wall_ms);
	buf_puts(to, text);
}

#define put_csv_TEXT put_csv_text

static void
put_csv(struct buf *to, const struct ledger_view *v)
{
#define X(member, name, type, help)    \
	put_csv_##type(to, v->member); \
	buf_put_literal(to, ",");
	LEDGER_FIELDS(X)
#undef X
	buf_put_uint(to, v->attempt_count);
	buf_put_literal(to, ",");
	put_csv_text(to, v->writer);
	buf_put_literal(to, ",");
	buf_put_uint(to, v->seq);
	buf_put_literal(to, "\r\n");
}

static void
put_csv_header(struct buf *to)
{
#define X(member, name, type, help) buf_put_literal(to, name ",");
	LEDGER_FIELDS(X)
#undef X
	buf_put_literal(to, "attempts,writer,seq\r\n");
}

/* --- reading ------------------------------------------------------------- */

/* False if stdout takes no more. */
static bool
flush(struct export *e)
{
	size_t len = buf_len(&e->out);
	bool ok = fwrite(buf_data(&e->out), 1, len, stdout) == len;

	buf_clear(&e->out);
	return ok;
}

static bool
take_line(struct export *e, struct slice line, const struct ledger_place *at)
{
	const struct rollup_filter *f = &e->selection.filter;
	struct fault why;

	if (!ledger_view_read(&e->view, line, &why)) {
		if (e->damaged++ < DAMAGE_TOLD_MOST)
			fprintf(stderr, "%s:%" PRIu64 ": left out: %s\n",
			    at->path, at->line, why.text);
		return true;
	}
	if (f->only[ROLLUP_USER] != NULL &&
	    slice_is(e->view.user, f->only[ROLLUP_USER]))
		e->has_seen_user = true;
	if (e->view.ts_ms < f->since_ms || e->view.ts_ms >= f->until_ms ||
	    !rollup_filter_takes_line(f, &e->view))
		return true;
	if (e->is_csv) {
		put_csv(&e->out, &e->view);
	} else {
		buf_put(&e->out, line.p, line.len);
		buf_put_literal(&e->out, "\n");
	}
	return buf_len(&e->out) < OUTPUT_BYTES || flush(e);
}

static int
write_failed(void)
{
	if (errno == EPIPE)
		return EXIT_OK; /* the reader has enough */
	fprintf(stderr, "weir export: cannot write: %s\n", strerror(errno));
	return EXIT_FAILED;
}

static int
export_lines(struct export *e)
{
	struct ledger_reader *reader;
	struct ledger_place at;
	struct slice line;
	struct fault why;
	int status = EXIT_OK;

	reader = ledger_reader_open(e->selection.ledger, NULL, NULL, &why);
	if (reader == NULL) {
		fprintf(stderr, "weir export: %s\n", why.text);
		return EXIT_FAILED;
	}
	if (!selection_has_ledger(&e->selection))
		selection_tell_no_ledger(&e->selection);
	if (e->is_csv && e->has_header)
		put_csv_header(&e->out);
	while (
	    status == EXIT_OK && ledger_reader_next(reader, &line, &at, &why))
		if (!take_line(e, line, &at))
			status = write_failed();
	if (status == EXIT_OK && why.text[0] != '\0') {
		fprintf(
		    stderr, "weir export: %s.  weir ledger check\n", why.text);
		status = EXIT_FAILED;
	}
	if (status == EXIT_OK && (!flush(e) || fflush(stdout) != 0))
		status = write_failed();
	if (status == EXIT_OK &&
	    e->selection.filter.only[ROLLUP_USER] != NULL &&
	    !e->selection.is_user_configured && !e->has_seen_user &&
	    selection_has_ledger(&e->selection))
		selection_tell_no_user(&e->selection);
	if (e->damaged > 0)
		fprintf(stderr,
		    "%" PRIu64 " damaged line%s left out.  "
		    "weir ledger check\n",
		    e->damaged, e->damaged == 1 ? " is" : "s are");
	ledger_reader_close(&reader);
	return status;
}

/* False with *status set when there is nothing more to do. */
static bool
parse(int argc, char **argv, struct export *e, int *status)
{
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
			fputs("All flags: weir export --help\n", stderr);
			return false;
		}
		if (option == OPT_NO_HEADER)
			e->has_header = false;
		else if (option == OPT_JSON)
			e->is_json = true;
		else
			(void)selection_take(&e->selection, option, optarg);
	}
	if (e->is_json && argc == optind)
		return true;
	if (argc - optind == 1) {
		e->is_csv = strcmp(argv[optind], "csv") == 0;
		if ((e->is_csv && !e->is_json) ||
		    strcmp(argv[optind], "jsonl") == 0)
			return true;
	}
	fputs(
	    "weir export: say `jsonl` or `csv`.  weir export --help\n", stderr);
	return false;
}

int
command_export(int argc, char **argv)
{
	struct export *e = xcalloc(sizeof *e);
	struct fault why;
	int status;

	e->has_header = true;
	selection_init(&e->selection, clock_wall_ms());
	if (!parse(argc, argv, e, &status) ||
	    !selection_locate(&e->selection, "export", &status))
		goto out;
	if (selection_set_times(&e->selection, 1, &why)) {
		status = export_lines(e);
	} else {
		fprintf(
		    stderr, "weir export: %s.  weir export --help\n", why.text);
		status = EXIT_USAGE;
	}
out:
	selection_release(&e->selection);
	buf_release(&e->out);
	free(e);
	return status;
}
