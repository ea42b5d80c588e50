/*
 * weir-load - an HTTP/1.1 load generator that reads token streams.
 *
 * Prints one JSON object (tally.h) when it is done; with --open-only as soon as
 * all streams are open, which it then holds until SIGTERM or its time is over.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tests/bench/driver.h"
#include "tests/bench/request.h"

#include "base/banned.h"

#define EXIT_USAGE 2

/* X(name, argument, help): long options only. */
#define LOAD_OPTIONS(X)                                                   \
	X(target, "IP:PORT", "where to send (required)")                  \
	X(path, "PATH", "request path [/v1/chat/completions]")            \
	X(key, "BEARER", "bearer key [none]")                             \
	X(model, "NAME", "model in the body [m]")                         \
	X(connections, "N", "connections that send at the same time [1]") \
	X(duration, "SECONDS", "how long to measure [5]")                 \
	X(requests, "N", "stop after so many requests [no limit]")        \
	X(warmup, "SECONDS", "how long to send before measuring [0]")     \
	X(ramp, "SECONDS", "time over which connections are opened [0]")  \
	X(drain, "SECONDS", "how long answers may take at the end [10]")  \
	X(body_bytes, "N", "size of the request's body [the least]")      \
	X(body_extra, "JSON", "more members of the body [none]")          \
	X(interval, "MS", "events are paced: measure their delay [0]")    \
	X(expect_events, "N", "content events in each stream [any]")      \
	X(stream, NULL, "ask for a streamed answer")                      \
	X(open_only, NULL, "open one stream a connection and hold it")    \
	X(help, NULL, "this text")

enum option_id {
#define X(name, argument, help) OPTION_##name,
	LOAD_OPTIONS(X)
#undef X
	    OPTION_COUNT
};

static volatile sig_atomic_t stop;

static void
on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* Prints an option's name with dashes for underscores. */
static void
print_option(const char *name, const char *argument, const char *help)
{
	int width = 0;

	printf("  --");
	for (; *name != '\0'; name++, width++)
		putchar(*name == '_' ? '-' : *name);
	printf(
	    " %-*s  %s\n", 24 - width, argument == NULL ? "" : argument, help);
}

static void
print_help(void)
{
	puts("usage: weir-load --target IP:PORT [option ...]\n");
#define X(name, argument, help) print_option(#name, argument, help);
	LOAD_OPTIONS(X)
#undef X
}

NORETURN static void
usage_error(const char *text, const char *value)
{
	fprintf(stderr, "weir-load: %s: %s (see --help)\n", text, value);
	exit(EXIT_USAGE);
}

static uint64_t
number_of(const char *value, uint64_t most)
{
	uint64_t n;

	if (!text_to_u64(slice_of(value), most, &n))
		usage_error("not a number, or too large", value);
	return n;
}

/* Seconds with a fraction, "1.5", up to a day. */
static uint64_t
seconds_of(const char *value)
{
	char *end;
	double s = strtod(value, &end);

	if (end == value || *end != '\0' || !(s >= 0 && s <= 86400))
		usage_error("not a number of seconds", value);
	return (uint64_t)(s * (double)NS_PER_SECOND);
}

static struct sockaddr_in
target_of(const char *value)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	const char *colon = strrchr(value, ':');
	uint64_t port;
	char *ip;

	if (colon == NULL || !text_to_u64(slice_of(colon + 1), 65535, &port))
		usage_error("not an IP:PORT", value);
	ip = xstrndup(value, (size_t)(colon - value));
	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
		usage_error("not an IPv4 address", ip);
	free(ip);
	a.sin_port = htons((uint16_t)port);
	return a;
}

static void
set_option(enum option_id id, const char *value, struct driver_spec *d,
    struct request_spec *r)
{
	switch (id) {
	case OPTION_target:
		d->target = target_of(value);
		r->host = value;
		break;
	case OPTION_path:
		r->path = value;
		break;
	case OPTION_key:
		r->key = value;
		break;
	case OPTION_model:
		r->model = value;
		break;
	case OPTION_connections:
		d->connections = (uint32_t)number_of(value, 100000);
		break;
	case OPTION_duration:
		d->duration_ns = seconds_of(value);
		break;
	case OPTION_requests:
		d->requests = number_of(value, UINT64_MAX);
		break;
	case OPTION_warmup:
		d->warmup_ns = seconds_of(value);
		break;
	case OPTION_ramp:
		d->ramp_ns = seconds_of(value);
		break;
	case OPTION_drain:
		d->drain_ns = seconds_of(value);
		break;
	case OPTION_body_bytes:
		r->body_bytes = (size_t)number_of(value, 1U << 30);
		break;
	case OPTION_body_extra:
		r->extra = value;
		break;
	case OPTION_interval:
		d->interval_ns = number_of(value, 3600000) * NS_PER_MS;
		break;
	case OPTION_expect_events:
		d->expected_events = number_of(value, UINT64_MAX);
		break;
	case OPTION_stream:
		r->is_streamed = true;
		break;
	case OPTION_open_only:
		d->open_only = true;
		r->is_streamed = true;
		break;
	case OPTION_help:
		print_help();
		exit(0);
	case OPTION_COUNT:
		break;
	}
}

/* getopt_long wants dashes, and the table has what C can name. */
static void
fill_options(struct option *longs)
{
	static const struct option table[] = {
#define X(name, argument, help)                                             \
	{#name, (argument) == NULL ? no_argument : required_argument, NULL, \
	    OPTION_##name},
	    LOAD_OPTIONS(X)
#undef X
	};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		char *name = xstrdup(table[i].name);

		for (char *p = name; *p != '\0'; p++)
			if (*p == '_')
				*p = '-';
		longs[i] = table[i];
		longs[i].name = name;
	}
}

static void
read_options(
    int argc, char **argv, struct driver_spec *d, struct request_spec *r)
{
	struct option longs[OPTION_COUNT + 1] = {0};
	int id;

	fill_options(longs);
	while ((id = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (id == '?')
			exit(EXIT_USAGE);
		set_option((enum option_id)id, optarg, d, r);
	}
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	if (r->host == NULL)
		usage_error("missing option", "--target");
	for (size_t i = 0; i < OPTION_COUNT; i++)
		free((char *)longs[i].name);
}

/* As many files as the system lets us have. */
static void
raise_file_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

int
main(int argc, char **argv)
{
	struct driver_spec spec = {.connections = 1,
	    .duration_ns = 5 * NS_PER_SECOND,
	    .drain_ns = 10 * NS_PER_SECOND,
	    .stop = &stop};
	struct request_spec request = {
	    .path = "/v1/chat/completions", .model = "m"};
	struct sigaction act = {.sa_handler = on_signal};
	struct buf bytes = {0};
	struct tally *tally = xcalloc(sizeof *tally);
	struct driver *d;
	struct fault why;
	int status = 1;

	read_options(argc, argv, &spec, &request);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	raise_file_limit();
	request_build(&bytes, &request);
	spec.request = (struct slice){buf_data(&bytes), buf_len(&bytes)};
	d = driver_create(&spec, &why);
	if (d == NULL) {
		fprintf(stderr, "weir-load: %s\n", why.text);
		goto out;
	}
	driver_run(d, tally);
	tally_print(tally, stdout);
	status = tally->errors_all > 0;
	if (spec.open_only)
		driver_hold(d, tally);
out:
	driver_destroy(&d);
	buf_release(&bytes);
	free(tally);
	return status;
}
