/*
 * key.c - `weir key`: makes, lists, replaces and ends the keys that clients
 * send.  Works on the files of the state directory; no gateway need run.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/key_file.h"
#include "auth/key_table.h"
#include "base/clock.h"
#include "cli/command.h"
#include "cli/key_list.h"
#include "cli/key_run.h"
#include "cli/key_uses.h"
#include "cli/locate.h"
#include "cli/table.h"
#include "conf/config.h"

#include "base/banned.h"

#define OPTIONS_EVERYWHERE (OPTION_CONFIG | OPTION_QUIET)

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"name", required_argument, NULL, OPTION_NAME},
    {"expires", required_argument, NULL, OPTION_EXPIRES},
    {"models", required_argument, NULL, OPTION_MODELS},
    {"class", required_argument, NULL, OPTION_CLASS},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"user", required_argument, NULL, OPTION_USER},
    {"state", required_argument, NULL, OPTION_STATE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"no-header", no_argument, NULL, OPTION_NO_HEADER},
    {"grace", required_argument, NULL, OPTION_GRACE},
    {"yes", no_argument, NULL, OPTION_YES},
    {"help", no_argument, NULL, OPTION_HELP},
    {0},
};

static const char help[] =
    "KEY=$(weir key issue bob --name laptop --expires 90d)\n"
    "weir key list --user bob\n\n"
    "Usage:\n"
    "  weir key issue USER [--name TEXT] [--expires 90d] [--models a,b]\n"
    "                      [--class interactive|batch] [--limit "
    "NAME=VALUE]...\n"
    "  weir key list [--user USER] [--state active|idle|expired|revoked]\n"
    "  weir key show ID\n"
    "  weir key rotate ID [--grace 24h]   a new key; the old one works on "
    "for so long\n"
    "  weir key revoke ID [--yes]\n\n"
    "Options:\n"
    "  -c, --config FILE   the configuration\n"
    "      --limit NAME=VALUE  issue: as limits of the configuration, "
    "beside the\n"
    "                      user's own: concurrent=2, tokens_per_day=2M, "
    "budget=5/day\n"
    "      --class batch   issue: its requests wait behind interactive "
    "ones\n"
    "      --json          list, show: one JSON object\n"
    "      --no-header     list: no line of titles\n"
    "  -q, --quiet         only what was asked for, and errors\n"
    "  -y, --yes           revoke: do not ask on a terminal\n"
    "  -h, --help\n\n"
    "A new key is alone on stdout, and is never shown again.\n";

/* Talk, which -q silences. */
void
key_say(const struct key_run *r, const char *fmt, ...)
{
	va_list ap;

	if (r->given & OPTION_QUIET)
		return;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
}

int
key_fail(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("weir key: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return status;
}

/* Early, and with the next command to type: the folder's mode keeps out who is
 * not meant to change keys. */
int
key_check_access(const struct key_run *r, int mode)
{
	struct fault why;

	if (access(r->state_dir, mode) != 0 && errno == EACCES)
		return key_fail(EXIT_NOT_ALLOWED,
		    "you may not use the keys in %s. Try the same with sudo, "
		    "or as the gateway's user",
		    r->state_dir);
	if (!state_dir_is_private(r->state_dir, &why))
		key_say(r, "warning: %s\n", why.text);
	return EXIT_OK;
}

int
key_not_found(const char *id)
{
	return key_fail(EXIT_NOT_FOUND,
	    "there is no key with the id '%s'. See: weir key list", id);
}

/* Finds the key that was named.  The caller drops the table, also on failure.
 */
int
key_find(const struct key_run *r, struct key_table **keys,
    const struct key_record **record)
{
	struct fault why;

	if ((*keys = key_table_load_as_admin(r->state_dir, &why)) == NULL)
		return key_fail(EXIT_FAILED, "%s", why.text);
	*record = key_table_find(*keys, r->operand);
	return *record == NULL ? key_not_found(r->operand) : EXIT_OK;
}

static bool
is_state(const char *word)
{
	static const char *const states[] = {
	    "active", "idle", "expired", "revoked"};

	for (size_t i = 0; i < COUNT_OF(states); i++)
		if (strcmp(word, states[i]) == 0)
			return true;
	return false;
}

static struct key_look
look_of(const struct key_run *r)
{
	return (struct key_look){
	    .now_ms = r->now_ms,
	    .form = table_form_for(r->given & OPTION_JSON),
	    .has_header = !(r->given & OPTION_NO_HEADER),
	};
}

static int
run_list(const struct key_run *r)
{
	struct key_look look = look_of(r);
	struct key_table *keys = NULL;
	struct report *uses = NULL;
	int status = EXIT_OK;
	struct fault why;

	if (r->state != NULL && !is_state(r->state))
		return key_fail(EXIT_USAGE,
		    "--state takes active, idle, expired or revoked, not '%s'",
		    r->state);
	if ((status = key_check_access(r, R_OK | X_OK)) != EXIT_OK)
		return status;
	if ((keys = key_table_load_as_admin(r->state_dir, &why)) == NULL)
		return key_fail(EXIT_FAILED, "%s", why.text);
	if (r->user != NULL && !key_list_has_user(keys, r->user) &&
	    config_user(r->config, slice_of(r->user)) == NULL)
		status = key_fail(EXIT_NOT_FOUND,
		    "%s has no key and is not in %s", r->user, r->config->path);
	if (status == EXIT_OK) {
		look.uses = uses = key_uses_read(r->config, r->now_ms);
		if (!key_list_print(keys, r->user, r->state, &look, &why))
			status = key_fail(EXIT_FAILED, "%s", why.text);
	}
	report_destroy(&uses);
	key_table_unref(&keys);
	return status;
}

static int
run_show(const struct key_run *r)
{
	struct key_look look = look_of(r);
	const struct key_record *record;
	struct key_table *keys = NULL;
	struct report *uses = NULL;
	struct fault why;
	int status;

	if ((status = key_check_access(r, R_OK | X_OK)) != EXIT_OK)
		return status;
	status = key_find(r, &keys, &record);
	if (status == EXIT_OK) {
		look.uses = uses = key_uses_read(r->config, r->now_ms);
		if (!key_show_print(record, &look, &why))
			status = key_fail(EXIT_FAILED, "%s", why.text);
	}
	report_destroy(&uses);
	key_table_unref(&keys);
	return status;
}

static const struct verb {
	const char *name;
	int (*run)(const struct key_run *r);
	const char *operand; /* what it is about, or NULL */
	int takes;           /* OPTION_…, or-ed, beside those of every verb */
} verbs[] = {
    {"issue", key_run_issue, "USER",
	OPTION_NAME | OPTION_EXPIRES | OPTION_MODELS | OPTION_CLASS |
	    OPTION_LIMIT},
    {"list", run_list, NULL,
	OPTION_USER | OPTION_STATE | OPTION_JSON | OPTION_NO_HEADER},
    {"show", run_show, "ID", OPTION_JSON},
    {"rotate", key_run_rotate, "ID", OPTION_GRACE},
    {"revoke", key_run_revoke, "ID", OPTION_YES},
};

static void
keep_option(struct key_run *r, int option)
{
	r->given |= option;
	if (option == OPTION_CONFIG)
		r->config_file = optarg;
	else if (option == OPTION_NAME)
		r->name = optarg;
	else if (option == OPTION_EXPIRES)
		r->expires = optarg;
	else if (option == OPTION_MODELS)
		r->models = optarg;
	else if (option == OPTION_USER)
		r->user = optarg;
	else if (option == OPTION_STATE)
		r->state = optarg;
	else if (option == OPTION_GRACE)
		r->grace = optarg;
	else if (option == OPTION_CLASS)
		r->class = optarg;
	else if (option == OPTION_LIMIT &&
	    r->limit_count++ < KEY_LIMIT_OPTIONS_MOST)
		r->limits[r->limit_count - 1] = optarg;
}

/* Options may stand anywhere; the others are moved behind them, from optind
 * on. */
static int
read_options(struct key_run *r, int argc, char **argv)
{
	int option;

	opterr = 0;
	while (
	    (option = getopt_long(argc, argv, ":c:qyh", options, NULL)) != -1) {
		if (option == ':')
			return key_fail(
			    EXIT_USAGE, "%s needs a value", argv[optind - 1]);
		if (option == '?')
			return key_fail(EXIT_USAGE,
			    "there is no option '%s'. See: weir key --help",
			    argv[optind - 1]);
		if (option == 'c')
			option = OPTION_CONFIG;
		else if (option == 'q')
			option = OPTION_QUIET;
		else if (option == 'y')
			option = OPTION_YES;
		else if (option == 'h')
			option = OPTION_HELP;
		keep_option(r, option);
	}
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

/* A whole key where its id is due is not repeated: it is a secret. */
static int
check_operand(const struct verb *v, int count, const char *operand)
{
	if (count != (v->operand == NULL ? 0 : 1))
		return key_fail(EXIT_USAGE,
		    "`%s` takes %s. See: weir key --help", v->name,
		    v->operand == NULL ? "only options" : v->operand);
	if (count == 1 && strncmp(operand, KEY_PREFIX, 8) == 0)
		return key_fail(EXIT_USAGE,
		    "that is a key. Give its id, the six characters behind "
		    "%s, and revoke it if others could have seen it",
		    KEY_PREFIX);
	return EXIT_OK;
}

static int
check_options(const struct verb *v, int given)
{
	int wrong = given & ~(v->takes | OPTIONS_EVERYWHERE);

	for (size_t i = 0; options[i].name != NULL; i++)
		if (wrong & options[i].val)
			return key_fail(EXIT_USAGE,
			    "`%s` does not take --%s. See: weir key --help",
			    v->name, options[i].name);
	return EXIT_OK;
}

static int
run_verb(const struct verb *v, struct key_run *r)
{
	int status;

	if ((r->config = command_load_config(r->config_file, false, &status)) ==
	    NULL)
		return status;
	r->state_dir = r->config->server.state_dir;
	r->now_ms = clock_wall_ms();
	status = v->run(r);
	config_unref(&r->config);
	return status;
}

int
command_key(int argc, char **argv)
{
	struct key_run r = {0};
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
		return key_fail(EXIT_USAGE,
		    "'%s' is none of issue, list, show, rotate, revoke",
		    argv[optind]);
	argv += optind + 1;
	r.operand = argv[0];
	if ((status = check_operand(v, argc - optind - 1, r.operand)) !=
		EXIT_OK ||
	    (status = check_options(v, r.given)) != EXIT_OK)
		return status;
	return run_verb(v, &r);
}
