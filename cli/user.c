/*
 * user.c - `weir user`: what users may and what they have used, and limits that
 * hold for a while.  Works on the configuration, the ledger's sums and the
 * files of the state directory; no gateway need run, but one that does is asked
 * for what it alone knows.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/state_file.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/user_run.h"
#include "cli/when.h"

#include "base/banned.h"

static const struct option options[] = {
    {"config", required_argument, NULL, USER_CONFIG},
    {"quiet", no_argument, NULL, USER_QUIET},
    {"json", no_argument, NULL, USER_JSON},
    {"no-header", no_argument, NULL, USER_NO_HEADER},
    {"set", required_argument, NULL, USER_SET},
    {"for", required_argument, NULL, USER_FOR},
    {"clear", no_argument, NULL, USER_CLEAR},
    {"help", no_argument, NULL, USER_HELP},
    {0},
};

static const char help[] =
    "weir user list\n"
    "weir user limits bob --set concurrent=4 --for 2h\n\n"
    "Usage:\n"
    "  weir user list                     who has used what today\n"
    "  weir user limits NAME              what NAME may, what is used of it,\n"
    "                                     and who says so\n"
    "  weir user limits NAME --set LIMIT=VALUE [--set ...] --for 2h\n"
    "  weir user limits NAME --clear [LIMIT ...]\n\n"
    "Options:\n"
    "      --set LIMIT=VALUE  as limits of the configuration: concurrent=4,\n"
    "                         tokens_per_day=2M, budget=5/day, "
    "paid_routes=true,\n"
    "                         requests_per_minute=unlimited\n"
    "      --for DURATION     how long it holds: 30m, 2h, 7d\n"
    "      --clear            ends all overrides of NAME, or those of LIMIT\n"
    "  -c, --config FILE      the configuration\n"
    "      --json             one JSON object\n"
    "      --no-header        no line of titles\n"
    "  -q, --quiet            only what was asked for, and errors\n"
    "  -h, --help\n\n"
    "An override leaves the configuration file as it is. A running gateway\n"
    "takes it within a second.\n";

void
user_say(const struct user_run *r, const char *fmt, ...)
{
	va_list ap;

	if (r->given & USER_QUIET)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

int
user_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("weir user: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

int
user_check_access(const struct user_run *r, int mode)
{
	struct fault why;

	if (access(r->state_dir, mode) != 0 && errno == EACCES)
		return user_fail(EXIT_NOT_ALLOWED,
		    "you may not use what is in %s. Try the same with sudo, "
		    "or as the gateway's user",
		    r->state_dir);
	if (!state_dir_is_private(r->state_dir, &why))
		user_say(r, "warning: %s\n", why.text);
	return EXIT_OK;
}

static void
keep_option(struct user_run *r, int option)
{
	r->given |= option;
	if (option == USER_CONFIG)
		r->config_file = optarg;
	else if (option == USER_FOR)
		r->lasts = optarg;
	else if (option == USER_SET && r->set_count++ < USER_SETS_MOST)
		r->sets[r->set_count - 1] = optarg;
}

/* Options may stand anywhere; the others are moved behind them, from optind
 * on. */
static int
read_options(struct user_run *r, int argc, char **argv)
{
	int option;

	opterr = 0;
	while (
	    (option = getopt_long(argc, argv, ":c:qh", options, NULL)) != -1) {
		if (option == ':')
			return user_fail(
			    EXIT_USAGE, "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return user_fail(EXIT_USAGE,
			    "there is no option '%s'. See: weir user --help",
			    argv[optind - 1]);
		if (option == 'c')
			option = USER_CONFIG;
		else if (option == 'q')
			option = USER_QUIET;
		else if (option == 'h')
			option = USER_HELP;
		keep_option(r, option);
	}
	return EXIT_OK;
}

/* Whether the words of the line go together. */
static int
check_line(struct user_run *r, int count, char **words, bool is_list)
{
	bool changes = r->given & (USER_SET | USER_CLEAR);

	if (is_list && (count > 0 || changes || r->given & USER_FOR))
		return user_fail(EXIT_USAGE,
		    "`list` takes only --json and --no-header. See: weir user "
		    "--help");
	if (is_list)
		return EXIT_OK;
	if (count == 0)
		return user_fail(EXIT_USAGE,
		    "`limits` takes the name of a user. See: weir user list");
	r->name = words[0];
	r->words = words + 1;
	r->word_count = (size_t)count - 1;
	if (r->given & USER_SET && r->given & USER_CLEAR)
		return user_fail(
		    EXIT_USAGE, "--set and --clear do not go together");
	if (r->word_count > 0 && !(r->given & USER_CLEAR))
		return user_fail(EXIT_USAGE,
		    "'%s' is one word too many. See: weir user --help",
		    r->words[0]);
	if (r->given & USER_FOR && !(r->given & USER_SET))
		return user_fail(EXIT_USAGE, "--for goes with --set");
	return EXIT_OK;
}

int
command_user(int argc, char **argv)
{
	struct user_run r = {0};
	int status = read_options(&r, argc, argv);
	bool is_list, is_utc;
	struct fault why;

	if (status != EXIT_OK)
		return status;
	if (r.given & USER_HELP || optind >= argc) {
		fputs(help, r.given & USER_HELP ? stdout : stderr);
		return r.given & USER_HELP ? EXIT_OK : EXIT_USAGE;
	}
	is_list = strcmp(argv[optind], "list") == 0;
	if (!is_list && strcmp(argv[optind], "limits") != 0)
		return user_fail(
		    EXIT_USAGE, "'%s' is none of list, limits", argv[optind]);
	status = check_line(&r, argc - optind - 1, argv + optind + 1, is_list);
	if (status != EXIT_OK ||
	    (r.config = command_load_config(r.config_file, false, &status)) ==
		NULL)
		return status;
	/* Times are those of the gateway's days. */
	if (!zone_use(r.config->server.timezone, &is_utc, &why)) {
		status = user_fail(EXIT_FAILED, "%s", why.text);
		config_unref(&r.config);
		return status;
	}
	r.state_dir = r.config->server.state_dir;
	r.now_ms = clock_wall_ms();
	r.form = table_form_for(r.given & USER_JSON);
	status = is_list ? user_run_list(&r) : user_run_limits(&r);
	config_unref(&r.config);
	return status;
}
