/*
 * serve.c - `weir serve`: the gateway, in the foreground.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "cli/when.h"
#include "proxy/notify.h"
#include "proxy/server.h"

#include "base/banned.h"

static void
print_help(void)
{
	fputs("weir serve                      with the configuration found\n"
	      "weir serve -c weir.yaml         with this one\n\n"
	      "Options:\n"
	      "  -c, --config FILE   the configuration\n"
	      "  -q, --quiet         only warnings and errors\n"
	      "  -h, --help\n\n"
	      "SIGHUP loads the configuration again, SIGUSR1 opens the ledger "
	      "again, SIGTERM\n"
	      "ends after the streams have, at most server.drain later; a "
	      "second one ends now.\n",
	    stdout);
}

static struct config *
load_again(void *arg)
{
	int ignored;

	return command_load_config(arg, true, &ignored);
}

static void
say_ready(void *arg, const struct config *c, size_t key_count,
    const char *const *urls, size_t url_count)
{
	struct buf text = {0};

	(void)arg;
	buf_printf(&text,
	    "weir %s, %s: %zu upstreams, %zu models, %zu users, "
	    "%zu keys\nreach it at",
	    WEIR_VERSION, c->path, c->upstream_count, c->model_count,
	    c->user_count, key_count);
	for (size_t i = 0; i < url_count; i++)
		buf_printf(&text, " %s", urls[i]);
	buf_puts(&text, "\n");
	if (key_count == 0)
		buf_printf(&text,
		    "There are no keys yet. Make one: weir -c %s "
		    "key issue %s\n",
		    c->path, c->user_count > 0 ? c->users[0].name : "USER");
	/* One write: other threads log already. */
	fwrite(buf_data(&text), 1, buf_len(&text), stderr);
	buf_release(&text);
}

int
command_serve(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"quiet", no_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0}};
	enum log_level most = LOG_LEVEL_INFO;
	char *given = NULL;
	struct config *config;
	bool is_utc;
	struct server_options server = {
	    .reload = load_again, .on_ready = say_ready};
	struct fault why;
	int c, status;

	while ((c = getopt_long(argc, argv, "c:qh", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			given = optarg;
			break;
		case 'q':
			most = LOG_LEVEL_WARNING;
			break;
		case 'h':
			print_help();
			return EXIT_OK;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "weir serve: '%s' is not expected here\n",
		    argv[optind]);
		return EXIT_USAGE;
	}
	log_setup(most, getenv("JOURNAL_STREAM") != NULL);
	notify_setup(getenv("NOTIFY_SOCKET"));
	if ((config = command_load_config(given, true, &status)) == NULL)
		return status;
	server.arg = given;
	/* Limits of a day begin with its midnight. */
	if (!zone_use(config->server.timezone, &is_utc, &why) ||
	    !server_run(config, &server, &why)) {
		fprintf(stderr, "weir: %s\n", why.text);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}
