/*
 * weir - an authenticating reverse proxy and token meter for LLM servers.
 *
 * One table of commands; help and dispatch come from it.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/attr.h"
#include "base/buf.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "conf/config.h"
#include "metering/ledger/ledger_line.h"
#include "proxy/ends.h"

#include "base/banned.h"

static int command_help(int argc, char **argv);
static int command_version(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
    {"serve", command_serve, "run the gateway in the foreground"},
    {"check", command_check,
	"read the configuration, say everything that is wrong"},
    {"key", command_key, "issue | list | show | rotate | revoke"},
    {"user", command_user, "list | limits: what users may and have used"},
    {"fleet", command_fleet, "status: the upstreams, and who waits"},
    {"report", command_report,
	"hourly | daily | weekly | monthly: tokens and money"},
    {"tail", command_tail, "requests as they finish"},
    {"export", command_export, "jsonl | csv: the ledger's lines"},
    {"price", command_price, "list | import: what upstreams cost"},
    {"ledger", command_ledger, "check: are all lines there, and right?"},
    {"redis", command_redis,
	"check | rebuild: the counters that gateways share"},
    {"help", command_help,
	"COMMAND | exit-codes | configuration | errors | ledger"},
    {"version", command_version, "which version this is"},
};

static void
print_usage(FILE *to)
{
	fputs("weir check && weir serve        start the gateway\n"
	      "KEY=$(weir key issue bob)       give bob a key\n\n"
	      "Usage: weir COMMAND [-c FILE] [options]\n\n",
	    to);
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\nEach command has --help. The configuration is -c FILE, "
	      "$WEIR_CONFIG, ./weir.yaml,\n"
	      "$XDG_CONFIG_HOME/weir/weir.yaml or /etc/weir/weir.yaml.\n",
	    to);
}

static int
print_page(void (*write_page)(struct buf *out))
{
	struct buf page = {0};
	int status = EXIT_OK;

	write_page(&page);
	if (fwrite(buf_data(&page), 1, buf_len(&page), stdout) !=
	    buf_len(&page))
		status = EXIT_FAILED;
	buf_release(&page);
	return status;
}

static int
command_help(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		print_usage(stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "configuration") == 0)
		return print_page(config_reference);
	if (strcmp(argv[1], "errors") == 0)
		return print_page(ends_reference);
	if (strcmp(argv[1], "ledger") == 0)
		return print_page(ledger_fields_page);
	if (strcmp(argv[1], "exit-codes") == 0) {
		fputs("0    done\n"
		      "1    failed\n"
		      "2    wrong usage: unknown command or flag\n"
		      "3    the check found problems\n"
		      "4    not allowed: the files belong to somebody else\n"
		      "5    not found: no such user, key or model\n"
		      "6    cannot reach the running gateway\n"
		      "130  interrupted\n",
		    stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0 &&
		    commands[i].run != command_help &&
		    commands[i].run != command_version)
			return commands[i].run(
			    2, (char *[]){argv[1], "--help", NULL});
	fprintf(stderr,
	    "weir: no help on '%s'; there is: exit-codes, "
	    "configuration, errors, ledger, and each command\n",
	    argv[1]);
	return EXIT_USAGE;
}

static int
command_version(int argc, char **argv)
{
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;

	printf(json ? "{\"schema\":1,\"version\":\"%s\"}\n" : "weir %s\n",
	    WEIR_VERSION);
	return EXIT_OK;
}

/* `-c FILE` may also stand before the command: it is moved behind it, where
 * every command takes it. */
static int
find_command(int argc, char **argv)
{
	if (argc > 3 &&
	    (strcmp(argv[1], "-c") == 0 || strcmp(argv[1], "--config") == 0))
		return 3;
	if (argc > 2 && strncmp(argv[1], "--config=", 9) == 0)
		return 2;
	return 1;
}

/* What was printed must have arrived; a reader who has gone is none of our
 * business. */
static int
end_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno != EPIPE && status == EXIT_OK)
		fprintf(stderr, "weir: cannot write the output: %s\n",
		    strerror(errno));
	return status == EXIT_OK ? EXIT_FAILED : status;
}

int
main(int argc, char **argv)
{
	int at = find_command(argc, argv);
	char *name;

	umask(0077);
	setlocale(LC_CTYPE, ""); /* for the widths of columns */
	if (argc <= at) {
		print_usage(stderr);
		return EXIT_USAGE;
	}
	name = argv[at];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	else if (strcmp(name, "--version") == 0)
		name = "version";
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		/* argv becomes: name, then all the others in their order. */
		memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
		argv[1] = name;
		return end_output(commands[i].run(argc - 1, argv + 1));
	}
	fprintf(stderr, "weir: there is no command '%s'\n\n", name);
	print_usage(stderr);
	return EXIT_USAGE;
}
