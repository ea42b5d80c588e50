/*
 * check.c - `weir check`: reads the configuration, says everything that is
 * wrong with it, and starts nothing.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/locate.h"
#include "conf/config.h"

#include "base/banned.h"

static void
print_help(void)
{
	fputs("weir check                      the configuration found\n"
	      "weir check -c new.yaml          this one\n\n"
	      "Options:\n"
	      "  -c, --config FILE   the configuration\n"
	      "  -q, --quiet         say nothing unless there is an error\n"
	      "  -h, --help\n\n"
	      "What it finds goes to stderr. It ends with 3 if there is an "
	      "error, and with 0\n"
	      "if there are only warnings.\n",
	    stdout);
}

static const char *
plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void
print_findings(
    const struct diagnostics *found, const char *path, struct slice text)
{
	struct buf out = {0};

	diagnostics_print(found, path, text, &out);
	if (buf_len(&out) > 0)
		fwrite(buf_data(&out), 1, buf_len(&out), stderr);
	buf_release(&out);
}

static void
print_verdict(const struct config *c, const struct diagnostics *found)
{
	if (c == NULL)
		fprintf(stderr,
		    "%zu error%s, %zu warning%s. A running gateway keeps the "
		    "old configuration.\n",
		    found->errors, plural(found->errors), found->warnings,
		    plural(found->warnings));
	else
		printf("%s: ok (%zu upstream%s, %zu model%s, %zu user%s, %zu "
		       "price list%s)\n",
		    c->path, c->upstream_count, plural(c->upstream_count),
		    c->model_count, plural(c->model_count), c->user_count,
		    plural(c->user_count), c->price_list_count,
		    plural(c->price_list_count));
}

static int
check(const char *path, bool is_quiet)
{
	const struct config_env env = config_env_default();
	struct diagnostics found = {0};
	struct config *config = NULL;
	struct slice text = {"", 0};
	struct buf file = {0};
	struct fault why;
	int status;

	/* Read here, so that the lines shown are those that were checked. */
	if (file_read(path, CONFIG_FILE_MOST_BYTES, true, &file, &why)) {
		text = (struct slice){buf_data(&file), buf_len(&file)};
		config = config_parse(path, text, &env, &found);
	} else {
		diagnostics_add(
		    &found, SEVERITY_ERROR, 0, 0, 1, "%s", why.text);
	}
	if (config == NULL || !is_quiet) {
		print_findings(&found, path, text);
		print_verdict(config, &found);
	}
	status = config == NULL ? EXIT_FINDINGS : EXIT_OK;
	config_unref(&config);
	diagnostics_release(&found);
	buf_release(&file);
	return status;
}

int
command_check(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"quiet", no_argument, NULL, 'q'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	const char *given = NULL;
	bool is_quiet = false;
	struct fault why;
	char *path = NULL;
	int option, status;

	while (
	    (option = getopt_long(argc, argv, "c:qh", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			given = optarg;
			break;
		case 'q':
			is_quiet = true;
			break;
		case 'h':
			print_help();
			return EXIT_OK;
		default:
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
		    "weir check: what is '%s'? A file is given by "
		    "-c FILE\n",
		    argv[optind]);
		return EXIT_USAGE;
	}
	if (!config_locate(given, &path, &why)) {
		fprintf(stderr, "weir: %s\n", why.text);
		return EXIT_FAILED;
	}
	status = check(path, is_quiet);
	free(path);
	return status;
}
