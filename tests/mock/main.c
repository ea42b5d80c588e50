/*
 * weir-mock - a pretend model server; README.md says what it can do.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conn.h"
#include "directives.h"
#include "listener.h"
#include "plan.h"

#define THREADS_MAX 64
#define ADDRESSES_MAX 16
#define MODELS_MAX 64

struct options {
	const char *listen[ADDRESSES_MAX];
	const char *control;
	const char *tls_cert;
	const char *tls_key;
	char *models[MODELS_MAX];
	struct server server;
	int n_listen;
	int threads;
};

enum option_id {
	OPT_LISTEN = 1,
	OPT_CONTROL,
	OPT_NAME,
	OPT_KIND,
	OPT_MODEL,
	OPT_THREADS,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_SET,
	OPT_NO_LOG,
	OPT_DIE_WITH_PARENT,
	OPT_HELP,
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"name", required_argument, NULL, OPT_NAME},
    {"kind", required_argument, NULL, OPT_KIND},
    {"model", required_argument, NULL, OPT_MODEL},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"tls-cert", required_argument, NULL, OPT_TLS_CERT},
    {"tls-key", required_argument, NULL, OPT_TLS_KEY},
    {"set", required_argument, NULL, OPT_SET},
    {"no-log", no_argument, NULL, OPT_NO_LOG},
    {"die-with-parent", no_argument, NULL, OPT_DIE_WITH_PARENT},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void
print_kind(const char *name)
{
	printf("  %s\n", name);
}

static void
help(void)
{
	puts("weir-mock --listen HOST:PORT [--listen ...] [--control HOST:PORT]"
	     "\n    [--name LABEL] [--kind KIND] [--model ID]... [--threads N]"
	     " [--no-log]\n"
	     "    [--tls-cert FILE --tls-key FILE] [--set DIRECTIVES]\n"
	     "    [--die-with-parent]\n\nFaults (fault=NAME):");
	for (int i = 0; i < FAULT_COUNT; i++)
		printf(
		    "  %-18s %s\n", fault_table[i].name, fault_table[i].help);
	puts("\nKinds (kind=NAME):");
	kind_list(print_kind);
}

/* Leaves at once: what a test wanted to know it has asked for by now. */
static void
on_signal(int number)
{
	(void)number;
	_exit(0);
}

static bool
is_label(const char *s)
{
	return *s != '\0' && strlen(s) <= 64 &&
	    strspn(s,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789_.-") == strlen(s);
}

static bool
set_defaults(const char *text)
{
	char why[512];

	if (directives_set_defaults(text, strlen(text), why, sizeof why))
		return true;
	fprintf(stderr, "weir-mock: --set: %s\n", why);
	return false;
}

/* --kind KIND is --set kind=KIND. */
static bool
set_kind(const char *value)
{
	char text[64];

	snprintf(text, sizeof text, "kind=%s", value);
	return set_defaults(text);
}

/* Takes one option.  Returns false if its value does not fit. */
static bool
take_option(struct options *o, int option, char *value)
{
	switch (option) {
	case OPT_LISTEN:
		if (o->n_listen == ADDRESSES_MAX)
			return false;
		o->listen[o->n_listen++] = value;
		return true;
	case OPT_CONTROL:
		o->control = value;
		return true;
	case OPT_NAME:
		o->server.name = value;
		return is_label(value);
	case OPT_KIND:
		return set_kind(value);
	case OPT_MODEL:
		if (o->server.n_models == MODELS_MAX)
			return false;
		o->models[o->server.n_models++] = value;
		return true;
	case OPT_THREADS:
		o->threads = (int)strtol(value, NULL, 10);
		return o->threads >= 1 && o->threads <= THREADS_MAX;
	case OPT_TLS_CERT:
		o->tls_cert = value;
		return true;
	case OPT_TLS_KEY:
		o->tls_key = value;
		return true;
	case OPT_SET:
		return set_defaults(value);
	case OPT_NO_LOG:
		o->server.has_log = false;
		return true;
	case OPT_DIE_WITH_PARENT:
		return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
	default:
		return false;
	}
}

static bool
read_options(struct options *o, int argc, char **argv)
{
	int option;

	directives_start();
	*o = (struct options){.threads = 1};
	o->server.name = "mock";
	o->server.has_log = true;
	while (
	    (option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			help();
			exit(0);
		}
		if (!take_option(o, option, optarg)) {
			fprintf(stderr, "weir-mock: see --help\n");
			return false;
		}
	}
	o->server.models = o->models;
	directives_set_name(o->server.name);
	directives_keep_defaults();
	return o->n_listen > 0 && optind == argc &&
	    (o->tls_cert == NULL) == (o->tls_key == NULL);
}

static SSL_CTX *
make_tls(const struct options *o)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

	if (tls == NULL ||
	    SSL_CTX_use_certificate_chain_file(tls, o->tls_cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, o->tls_key, SSL_FILETYPE_PEM) !=
		1) {
		fprintf(stderr, "weir-mock: cannot use %s and %s\n",
		    o->tls_cert, o->tls_key);
		exit(1);
	}
	SSL_CTX_set_mode(tls,
	    SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	return tls;
}

static void
raise_file_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	r.rlim_cur = r.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &r);
}

static struct event_base *
make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config != NULL) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		event_config_require_features(config, EV_FEATURE_EARLY_CLOSE);
		base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (base == NULL) {
		fprintf(stderr, "weir-mock: no event loop\n");
		exit(1);
	}
	return base;
}

static void *
run_worker(void *arg)
{
	struct worker *w = arg;

	w->base = make_base();
	listener_attach(w->base, w->number, conn_accept, w);
	event_base_dispatch(w->base);
	return NULL;
}

static void
set_signals(void)
{
	struct sigaction end = {.sa_handler = on_signal};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

static bool
open_listeners(const struct options *o)
{
	if (o->control != NULL &&
	    !listener_create(o->control, 1, "control", true)) {
		fprintf(stderr, "weir-mock: cannot listen on %s: %s\n",
		    o->control, strerror(errno));
		return false;
	}
	for (int i = 0; i < o->n_listen; i++) {
		if (listener_create(
			o->listen[i], o->threads, "listening", false))
			continue;
		fprintf(stderr, "weir-mock: cannot listen on %s: %s\n",
		    o->listen[i], strerror(errno));
		return false;
	}
	fflush(stdout);
	return true;
}

int
main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	static struct options o;
	SSL_CTX *tls = NULL;

	if (!read_options(&o, argc, argv))
		return 2;
	set_signals();
	raise_file_limit();
	if (o.tls_cert != NULL)
		tls = make_tls(&o);
	if (!open_listeners(&o))
		return 1;
	for (int i = 0; i < o.threads; i++)
		workers[i] = (struct worker){
		    .server = &o.server, .tls = tls, .number = i};
	for (int i = 1; i < o.threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, run_worker, &workers[i]) != 0)
			return 1;
	}
	run_worker(&workers[0]);
	return 0;
}
