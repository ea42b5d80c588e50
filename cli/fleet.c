/*
 * fleet.c - `weir fleet status`: the upstreams as the running gateway sees
 * them.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/admin_client.h"
#include "cli/command.h"
#include "cli/format.h"
#include "cli/locate.h"
#include "cli/table.h"

#include "base/banned.h"

#define CELL_BYTES 128

static const char help[] =
    "weir fleet status\n"
    "weir fleet status -o wide\n\n"
    "Usage: weir fleet status [options]\n\n"
    "  -o wide            more columns\n"
    "      --json         one JSON object\n"
    "      --no-header    no line of titles\n"
    "      --socket PATH  the gateway's admin socket; default: $WEIR_SOCKET,\n"
    "                     else server.admin of the configuration\n"
    "  -c, --config FILE  the configuration\n"
    "  -h, --help\n\n"
    "A line for each model of each upstream. INFLIGHT and QUEUE are the\n"
    "upstream's; PREFILL (tokens/s of a prompt) and TOK/S (of an answer) are\n"
    "what the model's answers have taught; TTFT P50 and ERR are of the last\n"
    "hour at the upstream. Exits with 6 if no gateway runs.\n";

enum {
	OPTION_CONFIG = 'c',
	OPTION_OUTPUT = 'o',
	OPTION_HELP = 'h',
	OPTION_JSON = 256,
	OPTION_NO_HEADER,
	OPTION_SOCKET,
};

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"no-header", no_argument, NULL, OPTION_NO_HEADER},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

/* What was asked for.  Texts are borrowed from argv. */
struct fleet_run {
	const char *config_file, *socket;
	bool is_wide, wants_json, hides_header, wants_help;
};

enum {
	COLUMN_UPSTREAM,
	COLUMN_KIND,
	COLUMN_ADDRESS,
	COLUMN_MODEL,
	COLUMN_INFLIGHT,
	COLUMN_QUEUE,
	COLUMN_PREFILL,
	COLUMN_SPEED,
	COLUMN_TTFT,
	COLUMN_ERRORS,
	COLUMN_COUNT,
	/* Wide ones. */
	COLUMN_WAIT = COLUMN_COUNT,
	COLUMN_PAID,
	COLUMN_REQUESTS,
	COLUMN_ANSWER,
	COLUMN_PROMPT_BYTES,
	COLUMN_ANSWER_BYTES,
	COLUMN_COUNT_WIDE,
};

static const struct table_column columns[COLUMN_COUNT_WIDE] = {
    [COLUMN_UPSTREAM] = {"UPSTREAM", NULL, TABLE_TEXT},
    [COLUMN_KIND] = {"KIND", NULL, TABLE_TEXT},
    [COLUMN_ADDRESS] = {"ADDRESS", NULL, TABLE_TEXT},
    [COLUMN_MODEL] = {"MODEL", NULL, TABLE_TEXT},
    [COLUMN_INFLIGHT] = {"INFLIGHT", NULL, TABLE_DECIMAL},
    [COLUMN_QUEUE] = {"QUEUE", NULL, TABLE_NUMBER},
    [COLUMN_PREFILL] = {"PREFILL", NULL, TABLE_DECIMAL},
    [COLUMN_SPEED] = {"TOK/S", NULL, TABLE_DECIMAL},
    [COLUMN_TTFT] = {"TTFT P50", NULL, TABLE_NUMBER},
    [COLUMN_ERRORS] = {"ERR 1H", NULL, TABLE_DECIMAL},
    [COLUMN_WAIT] = {"WAIT", NULL, TABLE_NUMBER},
    [COLUMN_PAID] = {"PAID", NULL, TABLE_TEXT},
    [COLUMN_REQUESTS] = {"REQ 1H", NULL, TABLE_NUMBER},
    [COLUMN_ANSWER] = {"ANSWER P95", NULL, TABLE_NUMBER},
    [COLUMN_PROMPT_BYTES] = {"B/TOKEN IN", NULL, TABLE_DECIMAL},
    [COLUMN_ANSWER_BYTES] = {"B/TOKEN OUT", NULL, TABLE_DECIMAL},
};

static int fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

static int
fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("weir fleet: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* --- the table ----------------------------------------------------------- */

static const char *
text_of(json_t *object, const char *member)
{
	return json_string_value(json_object_get(object, member));
}

static bool
number_of(json_t *object, const char *member, double *out)
{
	json_t *n = json_object_get(object, member);

	*out = json_number_value(n);
	return json_is_number(n);
}

/* With one decimal, or none from 100 on; all that were sent in a pipe. */
static void
set_fraction(struct table *t, size_t column, json_t *object, const char *member)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];
	double n;

	if (!number_of(object, member, &n))
		return;
	snprintf(shown, sizeof shown, "%.*f", n < 100 ? 1 : 0, n);
	snprintf(exact, sizeof exact, "%.3f", n);
	table_set(t, column, shown, exact);
}

static void
set_wait(struct table *t, size_t column, json_t *object, const char *member)
{
	char shown[FORMAT_BYTES], exact[CELL_BYTES];
	double ms;

	if (!number_of(object, member, &ms))
		return;
	format_wait(shown, (int64_t)ms);
	snprintf(exact, sizeof exact, "%lld", (long long)ms);
	table_set(t, column, shown, exact);
}

static void
set_count(struct table *t, size_t column, json_t *object, const char *member)
{
	json_t *n = json_object_get(object, member);

	if (json_is_integer(n))
		table_set_number(t, column, json_integer_value(n));
}

/* "3", or "3/4" where there are not more than 4 places. */
static void
set_places(struct table *t, json_t *up)
{
	json_t *most = json_object_get(up, "max_inflight");
	long long taken = json_integer_value(json_object_get(up, "in_flight"));
	char text[CELL_BYTES];

	if (json_is_integer(most))
		snprintf(text, sizeof text, "%lld/%lld", taken,
		    (long long)json_integer_value(most));
	else
		snprintf(text, sizeof text, "%lld", taken);
	table_set_text(t, COLUMN_INFLIGHT, text);
}

static void
set_errors(struct table *t, json_t *hour)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];
	double requests, failed;

	if (!number_of(hour, "requests", &requests) || requests <= 0 ||
	    !number_of(hour, "failed", &failed))
		return;
	snprintf(shown, sizeof shown, "%.1f%%", 100 * failed / requests);
	snprintf(exact, sizeof exact, "%.4f", failed / requests);
	table_set(t, COLUMN_ERRORS, shown, exact);
}

static void
add_row(struct table *t, json_t *up, json_t *model, bool is_wide)
{
	json_t *hour = json_object_get(up, "last_hour");

	table_row(t);
	table_set_text(t, COLUMN_UPSTREAM, text_of(up, "upstream"));
	table_set_text(t, COLUMN_KIND, text_of(up, "kind"));
	table_set_text(t, COLUMN_ADDRESS, text_of(up, "address"));
	table_set_text(t, COLUMN_MODEL, text_of(model, "model"));
	set_places(t, up);
	set_count(t, COLUMN_QUEUE, up, "waiting");
	set_fraction(t, COLUMN_PREFILL, model, "prefill_tokens_per_second");
	set_fraction(t, COLUMN_SPEED, model, "decode_tokens_per_second");
	set_wait(t, COLUMN_TTFT, hour, "ttft_p50_ms");
	set_errors(t, hour);
	if (!is_wide)
		return;
	set_wait(t, COLUMN_WAIT, up, "expected_wait_ms");
	table_set_text(t, COLUMN_PAID,
	    json_is_true(json_object_get(up, "paid")) ? "yes" : "no");
	set_count(t, COLUMN_REQUESTS, hour, "requests");
	set_count(t, COLUMN_ANSWER, model, "answer_p95_tokens");
	set_fraction(t, COLUMN_PROMPT_BYTES, model, "prompt_bytes_per_token");
	set_fraction(t, COLUMN_ANSWER_BYTES, model, "answer_bytes_per_token");
}

static int
print_table(const struct fleet_run *r, json_t *upstreams)
{
	struct table *t =
	    table_create(columns, r->is_wide ? COLUMN_COUNT_WIDE : COLUMN_COUNT,
		table_form_for(false));
	int status = EXIT_OK;
	json_t *up, *model;
	struct fault why;
	size_t i, k;

	if (r->hides_header)
		table_hide_header(t);
	json_array_foreach(upstreams, i, up)
	{
		json_t *models = json_object_get(up, "models");

		json_array_foreach(models, k, model)
		    add_row(t, up, model, r->is_wide);
		if (json_array_size(models) == 0)
			add_row(t, up, NULL, r->is_wide);
	}
	if (!table_print(t, stdout, "upstreams", &why))
		status = fail(EXIT_FAILED, "%s", why.text);
	table_destroy(&t);
	return status;
}

/* --- the command --------------------------------------------------------- */

static int
print_status(const struct fleet_run *r, const struct buf *body)
{
	json_t *document, *upstreams;
	int status;

	if (table_form_for(r->wants_json) == TABLE_FOR_PROGRAMS) {
		fwrite(buf_data(body), 1, buf_len(body), stdout);
		return EXIT_OK;
	}
	document = json_loadb(buf_data(body), buf_len(body), 0, NULL);
	upstreams = json_object_get(document, "upstreams");
	if (json_is_array(upstreams))
		status = print_table(r, upstreams);
	else
		status = fail(EXIT_FAILED,
		    "the gateway's answer is not what this version reads");
	json_decref(document);
	return status;
}

static int
run_status(const struct fleet_run *r)
{
	const char *path = admin_socket_given(r->socket);
	struct config *config = NULL;
	struct buf body = {0};
	int status = EXIT_OK;
	struct fault why;

	if (path == NULL) {
		config = command_load_config(r->config_file, false, &status);
		if (config == NULL)
			return status;
		path = admin_socket_of(config);
	}
	status = admin_get(path, "/admin/v1/fleet", &body, &why);
	if (status == EXIT_OK)
		status = print_status(r, &body);
	else
		fail(status, "%s", why.text);
	buf_release(&body);
	config_unref(&config);
	return status;
}

static int
take_option(struct fleet_run *r, int option)
{
	switch (option) {
	case OPTION_CONFIG:
		r->config_file = optarg;
		break;
	case OPTION_SOCKET:
		r->socket = optarg;
		break;
	case OPTION_JSON:
		r->wants_json = true;
		break;
	case OPTION_NO_HEADER:
		r->hides_header = true;
		break;
	case OPTION_HELP:
		r->wants_help = true;
		break;
	case OPTION_OUTPUT:
		if (strcmp(optarg, "wide") != 0)
			return fail(
			    EXIT_USAGE, "-o takes `wide`, not '%s'", optarg);
		r->is_wide = true;
		break;
	default:
		break;
	}
	return EXIT_OK;
}

static int
read_options(struct fleet_run *r, int argc, char **argv)
{
	int option, status;

	opterr = 0;
	while (
	    (option = getopt_long(argc, argv, ":c:o:h", options, NULL)) != -1) {
		if (option == ':')
			return fail(
			    EXIT_USAGE, "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return fail(EXIT_USAGE,
			    "there is no option '%s'. See: weir fleet --help",
			    argv[optind - 1]);
		if ((status = take_option(r, option)) != EXIT_OK)
			return status;
	}
	return EXIT_OK;
}

int
command_fleet(int argc, char **argv)
{
	struct fleet_run r = {0};
	int status = read_options(&r, argc, argv);

	if (status != EXIT_OK)
		return status;
	if (r.wants_help || optind >= argc) {
		fputs(help, r.wants_help ? stdout : stderr);
		return r.wants_help ? EXIT_OK : EXIT_USAGE;
	}
	if (strcmp(argv[optind], "status") != 0)
		return fail(EXIT_USAGE, "'%s' is none of status", argv[optind]);
	if (optind + 1 < argc)
		return fail(EXIT_USAGE,
		    "'%s' is one word too many. See: weir fleet --help",
		    argv[optind + 1]);
	return run_status(&r);
}
