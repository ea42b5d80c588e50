/*
 * price.c - `weir price`: what upstreams cost, and what public lists say that
 * they cost by now.  Works on the configuration; no gateway need run.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/price_run.h"

#include "base/banned.h"

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"upstream", required_argument, NULL, OPTION_UPSTREAM},
    {"json", no_argument, NULL, OPTION_JSON},
    {"no-header", no_argument, NULL, OPTION_NO_HEADER},
    {"write", no_argument, NULL, OPTION_WRITE},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static const char help[] =
    "weir price list                      what is in force now\n"
    "weir price import prices.json        what has changed; add --write\n\n"
    "Usage:\n"
    "  weir price list [--upstream NAME]\n"
    "  weir price import FILE [--upstream NAME] [--write]\n\n"
    "Options:\n"
    "  -c, --config FILE     the configuration\n"
    "      --upstream NAME   this upstream alone\n"
    "      --write           import: add the new prices to the "
    "configuration\n"
    "      --json            list: one JSON object\n"
    "      --no-header       list: no line of titles\n"
    "  -q, --quiet           only what was asked for, and errors\n"
    "  -h, --help\n\n"
    "FILE is LiteLLM's model_prices_and_context_window.json or the api.json "
    "of\n"
    "models.dev. Prices are US dollars a million tokens. Nothing is fetched, "
    "and\n"
    "without --write nothing is written.\n";

void
price_say(const struct price_run *r, const char *fmt, ...)
{
	va_list ap;

	if (r->given & OPTION_QUIET)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

int
price_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("weir price: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

static const struct verb {
	const char *name;
	int (*run)(const struct price_run *r);
	const char *operand; /* what it is about, or NULL */
	int takes;           /* OPTION_…, or-ed, beside those of every verb */
} verbs[] = {
    {"list", price_run_list, NULL, OPTION_JSON | OPTION_NO_HEADER},
    {"import", price_run_import, "FILE", OPTION_WRITE},
};

#define OPTIONS_EVERYWHERE (OPTION_CONFIG | OPTION_QUIET | OPTION_UPSTREAM)

/* Options may stand anywhere; the others are moved behind them, from optind
 * on. */
static int
read_options(struct price_run *r, int argc, char **argv)
{
	int option;

	opterr = 0;
	while (
	    (option = getopt_long(argc, argv, ":c:qh", options, NULL)) != -1) {
		if (option == ':')
			return price_fail(
			    EXIT_USAGE, "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return price_fail(EXIT_USAGE,
			    "there is no option '%s'. See: weir price --help",
			    argv[optind - 1]);
		if (option == 'c')
			option = OPTION_CONFIG;
		else if (option == 'q')
			option = OPTION_QUIET;
		else if (option == 'h')
			option = OPTION_HELP;
		r->given |= option;
		if (option == OPTION_CONFIG)
			r->config_file = optarg;
		else if (option == OPTION_UPSTREAM)
			r->upstream = optarg;
	}
	return EXIT_OK;
}

static int
check_line(const struct verb *v, int operands, int given)
{
	int wrong = given & ~(v->takes | OPTIONS_EVERYWHERE);

	if (operands != (v->operand == NULL ? 0 : 1))
		return price_fail(EXIT_USAGE,
		    "`%s` takes %s. See: weir price --help", v->name,
		    v->operand == NULL ? "only options" : v->operand);
	for (size_t i = 0; options[i].name != NULL; i++)
		if (wrong & options[i].val)
			return price_fail(EXIT_USAGE,
			    "`%s` does not take --%s. See: weir price --help",
			    v->name, options[i].name);
	return EXIT_OK;
}

static const struct verb *
find_verb(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int
command_price(int argc, char **argv)
{
	struct price_run r = {.now_ms = clock_wall_ms()};
	const struct verb *v;
	int status = read_options(&r, argc, argv);

	if (status != EXIT_OK)
		return status;
	if (r.given & OPTION_HELP) {
		fputs(help, stdout);
		return EXIT_OK;
	}
	if (optind >= argc) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	if ((v = find_verb(argv[optind])) == NULL)
		return price_fail(
		    EXIT_USAGE, "'%s' is none of list, import", argv[optind]);
	r.operand = argv[optind + 1];
	status = check_line(v, argc - optind - 1, r.given);
	return status == EXIT_OK ? v->run(&r) : status;
}
