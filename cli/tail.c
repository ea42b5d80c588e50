/* weir tail: requests as they finish. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/selection.h"
#include "cli/tail_show.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"

#include "base/banned.h"

#define LINES_DEFAULT 10
#define LINES_MOST 100000
#define LOOK_MS 100
#define EXIT_INTERRUPTED 130
/* How far the last lines are looked for, in bytes of the newest segment, if
 * --since does not say it; four times as many at each try. */
#define LOOK_BACK_FIRST (UINT64_C(256) << 10)
#define LOOK_BACK_MOST (UINT64_C(64) << 20)

static const char help[] =
    "weir tail\n"
    "weir tail --user bob --errors\n"
    "\n"
    "Usage: weir tail [-n 20]\n"
    "\n"
    "  -n N              begin with the last N that fit; default: 10, with\n"
    "                    --since all\n"
    "  --since WHEN      begin with what arrived since: 10m, 2026-11-01\n"
    "  --user U, --model M, --upstream S, --key K   only theirs\n"
    "  --errors          only what did not end well\n"
    "  --once            do not wait for more\n"
    "  --json            the ledger's own lines\n"
    "  --no-header       no line of titles\n"
    "  --tz ZONE         of the times; default: server.timezone\n"
    "  --ledger FILE     read this ledger instead of the configuration's\n"
    "  -c, --config FILE\n"
    "  -h, --help\n"
    "\n"
    "A ~ after a number: it is an estimate.  A * after an upstream: another\n"
    "one was tried before.  What was said is in no ledger and not shown.\n";

enum flag {
	OPT_ERRORS = SELECTION_NEXT,
	OPT_ONCE,
	OPT_JSON,
	OPT_NO_HEADER,
};

static const struct option options[] = {
    SELECTION_OPTIONS,
    {"errors", no_argument, NULL, OPT_ERRORS},
    {"once", no_argument, NULL, OPT_ONCE},
    {"json", no_argument, NULL, OPT_JSON},
    {"no-header", no_argument, NULL, OPT_NO_HEADER},
    {"lines", required_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

struct tail {
	struct selection selection;
	struct tail_look look;
	bool only_errors, is_once, wants_json, has_header;
	bool is_limited; /* -n was given */
	uint64_t lines;
	struct ledger_reader *reader; /* owned */
	char **last; /* owned; a ring of `lines` texts, each owned or NULL */
	uint64_t found;
	struct ledger_view view;
	int write_errno; /* of the first write that failed; 0: none did */
};

static volatile sig_atomic_t is_interrupted;

static void
on_interrupt(int signal_number)
{
	(void)signal_number;
	is_interrupted = 1;
}

/* --- output -------------------------------------------------------------- */

static void
show(struct tail *t, struct slice line)
{
	tail_show_line(&t->look, &t->view, line);
	if (ferror(stdout) && t->write_errno == 0)
		t->write_errno = errno;
}

/* False if stdout takes no more. */
static bool
flush(struct tail *t)
{
	if (fflush(stdout) != 0 && t->write_errno == 0)
		t->write_errno = errno;
	return t->write_errno == 0;
}

/* The status when stdout takes no more.  A reader who has enough is none of our
 * business. */
static int
write_failed(const struct tail *t)
{
	if (t->write_errno == EPIPE)
		return EXIT_OK;
	fprintf(stderr, "weir tail: cannot write the output: %s\n",
	    strerror(t->write_errno));
	return EXIT_FAILED;
}

/* --- which lines --------------------------------------------------------- */

static bool
is_wanted(struct tail *t, struct slice line)
{
	const struct rollup_filter *f = &t->selection.filter;

	return ledger_view_read(&t->view, line, NULL) &&
	    t->view.ts_ms >= f->since_ms && t->view.ts_ms < f->until_ms &&
	    rollup_filter_takes_line(f, &t->view) &&
	    (!t->only_errors || !slice_is(t->view.end, "ok") ||
		t->view.status >= 400);
}

/* The first byte behind a newline, from `offset` on; SIZE_MAX if there is none
 * in the longest of lines. */
static uint64_t
find_line(const char *path, uint64_t offset)
{
	char piece[2 * LEDGER_LINE_MOST_BYTES];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *newline;
	ssize_t n;

	if (fd < 0)
		return UINT64_MAX;
	n = pread(fd, piece, sizeof piece, (off_t)offset);
	close(fd);
	newline = n <= 0 ? NULL : memchr(piece, '\n', (size_t)n);
	return newline == NULL ? UINT64_MAX
			       : offset + (uint64_t)(newline - piece) + 1;
}

/* Opens the ledger so many bytes before its end; *is_all if that is the
 * beginning of the newest segment. */
static bool
open_back(struct tail *t, uint64_t back, bool *is_all, struct fault *why)
{
	struct segments *all = segments_list(t->selection.ledger, why);
	struct ledger_place from = {.line = 0};
	const struct segment *s;
	bool ok = all != NULL;

	*is_all = true;
	if (ok && segments_count(all) > 0) {
		s = segments_at(all, segments_count(all) - 1);
		from.segment = s->id;
		from.path = s->path;
		if (!s->is_gzipped && s->file_size > back) {
			from.offset = find_line(s->path, s->file_size - back);
			*is_all = from.offset == UINT64_MAX;
			if (*is_all)
				from.offset = 0;
		}
	}
	if (ok)
		t->reader = ledger_reader_open(t->selection.ledger,
		    from.path == NULL ? NULL : &from, NULL, why);
	segments_destroy(&all);
	return ok && t->reader != NULL;
}

static void
forget(struct tail *t)
{
	for (uint64_t i = 0; i < t->lines; i++) {
		free(t->last[i]);
		t->last[i] = NULL;
	}
	t->found = 0;
	ledger_reader_close(&t->reader);
}

/* Reads to the end, and keeps the last lines that are wanted. */
static bool
collect(struct tail *t, struct fault *why)
{
	struct ledger_place at;
	struct slice line;

	while (ledger_reader_next(t->reader, &line, &at, why)) {
		char **slot;

		if (t->lines == 0 || !is_wanted(t, line))
			continue;
		slot = &t->last[t->found++ % t->lines];
		free(*slot);
		*slot = xstrndup(line.p, line.len);
	}
	return why->text[0] == '\0';
}

static void
show_collected(struct tail *t)
{
	uint64_t count = t->found < t->lines ? t->found : t->lines;

	for (uint64_t i = t->found - count; i < t->found; i++) {
		struct slice line = slice_of(t->last[i % t->lines]);

		if (is_wanted(t, line))
			show(t, line);
	}
}

/* Shows the last lines, and leaves the reader behind them. */
static bool
begin_with_last(struct tail *t, struct fault *why)
{
	uint64_t back = LOOK_BACK_FIRST;
	bool is_all = false;

	for (;;) {
		if (!open_back(t, back, &is_all, why) || !collect(t, why))
			return false;
		if (is_all || t->found >= t->lines || back >= LOOK_BACK_MOST)
			break;
		forget(t);
		back *= 4;
	}
	show_collected(t);
	return true;
}

/* From --since on all of them, or the last if -n limits them. */
static bool
begin_with_since(struct tail *t, struct fault *why)
{
	t->reader = ledger_reader_open(t->selection.ledger, NULL, NULL, why);
	if (t->reader == NULL || (t->is_limited && !collect(t, why)))
		return false;
	if (t->is_limited)
		show_collected(t);
	return true;
}

/* --- following ----------------------------------------------------------- */

/* Shows what has come.  False if stdout takes no more. */
static bool
show_new(struct tail *t)
{
	struct ledger_place at;
	struct slice line;
	struct fault why = {0};

	while (!is_interrupted && t->write_errno == 0 &&
	    ledger_reader_next(t->reader, &line, &at, &why)) {
		if (is_wanted(t, line))
			show(t, line);
		why.text[0] = '\0';
	}
	if (!is_interrupted && why.text[0] != '\0')
		fprintf(stderr, "weir tail: %s\n", why.text);
	return flush(t);
}

/* Waits a moment; false if nobody reads stdout any more. */
static bool
wait_a_moment(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	return poll(&p, 1, LOOK_MS) <= 0 ||
	    (p.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

static int
follow(struct tail *t)
{
	struct sigaction act = {.sa_handler = on_interrupt};

	sigaction(SIGINT, &act, NULL);
	while (!is_interrupted && show_new(t) && wait_a_moment())
		t->look.now_ms = clock_wall_ms();
	if (t->write_errno != 0)
		return write_failed(t);
	return is_interrupted ? EXIT_INTERRUPTED : EXIT_OK;
}

static int
run(struct tail *t)
{
	struct fault why;
	bool ok;

	if (t->has_header && t->look.form != TABLE_FOR_PROGRAMS)
		tail_show_header(&t->look);
	if (!selection_has_ledger(&t->selection))
		selection_tell_no_ledger(&t->selection);
	ok = t->selection.since != NULL ? begin_with_since(t, &why)
					: begin_with_last(t, &why);
	if (!ok) {
		fprintf(stderr, "weir tail: %s\n", why.text);
		return EXIT_FAILED;
	}
	if (!t->is_once)
		return follow(t);
	return show_new(t) ? EXIT_OK : write_failed(t);
}

/* --- the command --------------------------------------------------------- */

static bool
take_option(struct tail *t, int option, const char *value)
{
	if (option == 'n') {
		t->is_limited = true;
		return text_to_u64(slice_of(value), LINES_MOST, &t->lines);
	}
	if (selection_take(&t->selection, option, value))
		return true;
	switch ((enum flag)option) {
	case OPT_ERRORS:
		t->only_errors = true;
		return true;
	case OPT_ONCE:
		t->is_once = true;
		return true;
	case OPT_JSON:
		t->wants_json = true;
		return true;
	case OPT_NO_HEADER:
		t->has_header = false;
		return true;
	}
	return false;
}

/* False with *status set when there is nothing more to do. */
static bool
parse(int argc, char **argv, struct tail *t, int *status)
{
	int option;

	*status = EXIT_USAGE;
	optind = 0;
	while (
	    (option = getopt_long(argc, argv, "c:hn:", options, NULL)) >= 0) {
		if (option == 'h') {
			fputs(help, stdout);
			*status = EXIT_OK;
			return false;
		}
		if (option == '?') {
			fputs("All flags: weir tail --help\n", stderr);
			return false;
		}
		if (!take_option(t, option, optarg)) {
			fprintf(stderr,
			    "weir tail: -n takes a number up to %d, not "
			    "'%s'.  weir tail --help\n",
			    LINES_MOST, optarg);
			return false;
		}
	}
	if (optind == argc)
		return true;
	fprintf(stderr,
	    "weir tail: '%s' is one word too many.  weir tail --help\n",
	    argv[optind]);
	return false;
}

int
command_tail(int argc, char **argv)
{
	struct tail *t = xcalloc(sizeof *t);
	struct fault why;
	int status;

	t->lines = LINES_DEFAULT;
	t->has_header = true;
	selection_init(&t->selection, clock_wall_ms());
	if (!parse(argc, argv, t, &status) ||
	    !selection_locate(&t->selection, "tail", &status))
		goto out;
	if (!selection_set_times(&t->selection, 1, &why)) {
		fprintf(stderr, "weir tail: %s.  weir tail --help\n", why.text);
		status = EXIT_USAGE;
		goto out;
	}
	t->last = xcalloc_array(t->lines + 1, sizeof *t->last);
	t->look = (struct tail_look){
	    .form = table_form_for(t->wants_json),
	    .is_utc = t->selection.is_utc,
	    .now_ms = t->selection.now_ms,
	};
	status = run(t);
	forget(t);
out:
	selection_release(&t->selection);
	free(t->last);
	free(t);
	return status;
}
