#include "proxy/server.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "auth/key_file.h"
#include "auth/key_table.h"
#include "auth/throttle.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/learned.h"
#include "metering/prefix.h"
#include "metering/redis/redis_follower.h"
#include "metering/reports/rollup_keeper.h"
#include "proxy/admin_socket.h"
#include "proxy/admin.h"
#include "proxy/kept.h"
#include "proxy/move.h"
#include "proxy/notify.h"
#include "proxy/resolver.h"
#include "proxy/response_ids.h"
#include "proxy/tailnet.h"
#include "proxy/server_inner.h"
#include "proxy/worker.h"

#include "base/banned.h"

/* For the ledger, upstreams, files, and the admin socket. */
#define RESERVED_DESCRIPTORS (64 + ADMIN_CONNECTIONS_MOST)
#define FIRST_LOOKUP_MS 1000
#define PREFIXES_MOST_BYTES ((size_t)16 << 20)
#define THROTTLE_ADDRESSES 16384
#define THROTTLE_A_MINUTE 60 /* wrong keys of one address */
#define TICK_MS 500          /* what time alone changes at the gate */
#define STOP_TICK_MS 20
#define SAVE_MS 60000 /* how often what was learned is written */

/* Large bodies come and go: without this the heap is given back and fetched
 * again with each, which was half of their cost. */
static void
tune_memory(void)
{
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_TOP_PAD, 4 << 20);
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
}

/* Each stream takes two descriptors. */
static uint32_t
connection_limit(const struct config *c)
{
	struct rlimit limit;
	uint64_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		limit.rlim_cur = 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > 1000000)
		limit.rlim_cur = 1000000;
	most = limit.rlim_cur <= RESERVED_DESCRIPTORS + 2
	    ? 1
	    : (limit.rlim_cur - RESERVED_DESCRIPTORS) / 2;
	if (c->server.max_connections > 0 && c->server.max_connections < most)
		most = c->server.max_connections;
	return (uint32_t)most;
}

static void
set_address(struct listen_address *l, const struct address *a, uint16_t port)
{
	static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&l->sa;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&l->sa;

	memset(&l->sa, 0, sizeof l->sa);
	if (memcmp(a->bytes, v4_prefix, sizeof v4_prefix) == 0) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, a->bytes + 12, 4);
		l->len = sizeof *v4;
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		memcpy(&v6->sin6_addr, a->bytes, 16);
		l->len = sizeof *v6;
	}
}

static bool
find_listen_addresses(
    struct server *s, const struct config *c, struct fault *why)
{
	for (size_t i = 0; i < c->server.listen_count; i++) {
		const struct listen_config *l = &c->server.listen[i];
		struct address found[TAILNET_ADDRESSES_MOST];
		size_t n = 1;

		found[0] = l->address;
		if (l->is_tailscale && (n = tailnet_addresses(found)) == 0) {
			log_warning("%s: tailscaled tells no address of this "
				    "node; not listening there. Is it up "
				    "(tailscale status)?",
			    l->text);
			continue;
		}
		for (size_t k = 0; k < n && s->listen_count < LISTEN_MOST; k++)
			set_address(
			    &s->listen[s->listen_count++], &found[k], l->port);
	}
	if (s->listen_count == 0)
		return fault_set(why, "there is no address to listen on");
	return listen_probe(s->listen, s->listen_count, why);
}

/* One gateway a state folder. */
static bool
lock_state(struct server *s, const char *state_dir, struct fault *why)
{
	char *path;

	if (!folder_make(state_dir, 0700, why))
		return false;
	path = xasprintf("%s/lock", state_dir);
	s->lock_fd = file_lock(path, false, why);
	if (s->lock_fd < 0 && errno == EWOULDBLOCK)
		fault_set(why, "another gateway runs with the state folder %s",
		    state_dir);
	free(path);
	return s->lock_fd >= 0;
}

static bool
watch_files(struct server *s, const char *state_dir, struct fault *why)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGALRM);
	sigaddset(&set, SIGQUIT);
	/* Blocked before any thread starts, so in all of them. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* the ledger sees EFBIG */
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->signal_fd < 0 || s->inotify_fd < 0)
		return fault_errno(why, "cannot watch signals and files");
	/* The folder: the file is replaced by a rename. */
	if (inotify_add_watch(s->inotify_fd, state_dir,
		IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) < 0)
		return fault_errno(why, "cannot watch %s", state_dir);
	return true;
}

uint32_t
server_workers_wanted(const struct config *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (c->server.workers != 0)
		return c->server.workers;
	return cores < 1 ? 1 : (uint32_t)cores;
}

static bool
start_workers(struct server *s, struct fault *why)
{
	uint32_t want = server_workers_wanted(s->snapshot->config);

	s->workers = xcalloc_array(want, sizeof(struct worker *));
	s->gateway.workers = s->workers;
	for (unsigned i = 0; i < want; i++) {
		struct worker *w = worker_create(&s->gateway, i, s->snapshot,
		    s->keys, s->listen, s->listen_count, why);

		if (w == NULL)
			return false;
		if (!worker_start(w, why)) {
			worker_destroy(&w);
			return false;
		}
		s->workers[s->worker_count++] = w;
		__atomic_store_n(&s->gateway.worker_count, s->worker_count,
		    __ATOMIC_RELEASE);
	}
	return true;
}

static void
post_all(struct server *s, unsigned mail, struct snapshot *snapshot,
    struct key_table *keys)
{
	for (unsigned i = 0; i < s->worker_count; i++)
		worker_post(s->workers[i], mail, snapshot, keys);
	if (s->admin != NULL)
		worker_post(s->admin, mail, snapshot, keys);
}

static void
stop_workers(struct server *s)
{
	post_all(s, MAIL_STOP, NULL, NULL);
	for (unsigned i = 0; i < s->worker_count; i++)
		worker_join(s->workers[i]);
	if (s->admin != NULL) {
		worker_join(s->admin);
		admin_socket_remove(&s->admin_address);
	}
	for (unsigned i = 0; i < s->worker_count; i++)
		moves_drop(s->workers[i]);
}

static void
destroy_workers(struct server *s)
{
	for (unsigned i = 0; i < s->worker_count; i++)
		worker_destroy(&s->workers[i]);
	worker_destroy(&s->admin);
	free(s->workers);
}

static void
tell_ready(struct server *s)
{
	char *urls[LISTEN_MOST];

	for (size_t i = 0; i < s->listen_count; i++) {
		const struct sockaddr_storage *sa = &s->listen[i].sa;
		struct address a = address_of((const struct sockaddr *)sa);
		char text[ADDRESS_TEXT_BYTES];

		address_format(text, &a);
		urls[i] = xasprintf(sa->ss_family == AF_INET6
			? "http://[%s]:%u/v1"
			: "http://%s:%u/v1",
		    text, ntohs(((const struct sockaddr_in *)sa)->sin_port));
	}
	s->options->on_ready(s->options->arg, s->snapshot->config,
	    key_table_count(s->keys), (const char *const *)urls,
	    s->listen_count);
	for (size_t i = 0; i < s->listen_count; i++)
		free(urls[i]);
}

static bool
start(struct server *s, struct config *config, struct fault *why)
{
	struct gateway *g = &s->gateway;
	const char *state_dir = config->server.state_dir;
	char writer[ULID_CHARS + 1];

	g->max_connections = connection_limit(config);
	if (!state_dir_is_private(state_dir, why))
		log_warning("%s", why->text);
	if (!lock_state(s, state_dir, why) || !watch_files(s, state_dir, why) ||
	    !find_listen_addresses(s, config, why) ||
	    (s->keys = key_table_load(state_dir, why)) == NULL ||
	    (s->snapshot = snapshot_create(config, g->gate, why)) == NULL)
		return false;
	config = s->snapshot->config;
	if (!server_name_writer(config->ledger.path, writer, why) ||
	    !server_start_metering(s, config, writer, why) ||
	    (g->resolver = resolver_create(why)) == NULL)
		return false;
	resolver_watch(g->resolver, config);
	resolver_wait(g->resolver, FIRST_LOOKUP_MS);
	if (!server_load_overrides(s, why))
		return false;
	server_find_key_accounts(s);
	server_await_sums(s);
	server_restore_accounts(s);
	snapshot_open(s->snapshot, g->gate);
	if (!server_start_admin(s, why) || !start_workers(s, why))
		return false;
	__atomic_store_n(&g->is_ready, true, __ATOMIC_RELAXED);
	notify_service_manager("READY=1");
	tell_ready(s);
	return true;
}

/* --- while it runs ------------------------------------------------------- */

static bool
same_listeners(const struct config *a, const struct config *b)
{
	if (a->server.listen_count != b->server.listen_count)
		return false;
	for (size_t i = 0; i < a->server.listen_count; i++)
		if (strcmp(a->server.listen[i].text,
			b->server.listen[i].text) != 0)
			return false;
	return true;
}

/* Keys that only count at a start: they are told and left as they are. */
static void
tell_ignored(const struct config *old, const struct config *new)
{
	if (!same_listeners(old, new))
		log_warning("server.listen has changed: that needs a restart");
	if (strcmp(old->server.state_dir, new->server.state_dir) != 0)
		log_warning(
		    "server.state_dir has changed: that needs a restart");
	if (strcmp(old->server.admin, new->server.admin) != 0)
		log_warning("server.admin has changed: that needs a restart");
	if (old->server.workers != new->server.workers)
		log_warning("server.workers has changed: that needs a restart");
	if (strcmp(old->ledger.path, new->ledger.path) != 0)
		log_warning("ledger.path has changed: that needs a restart");
	if (old->ledger.fsync != new->ledger.fsync)
		log_warning("ledger.fsync has changed: that needs a restart");
	if (strcmp(old->server.timezone, new->server.timezone) != 0)
		log_warning(
		    "server.timezone has changed: that needs a restart");
	if (old->limits_shared != new->limits_shared)
		log_warning("limits.scope has changed: that needs a restart");
	if (old->server.max_connections != new->server.max_connections)
		log_warning("server.max_connections has changed: that needs a "
			    "restart");
}

static void
reload(struct server *s)
{
	struct config *config = s->options->reload(s->options->arg);
	struct ledger_rotation rotation;
	struct snapshot *fresh;
	struct fault why;

	if (config == NULL) {
		log_error(
		    "the configuration is unchanged: the file has errors");
		return;
	}
	tell_ignored(s->snapshot->config, config);
	fresh = snapshot_create(config, s->gateway.gate, &why);
	if (fresh == NULL) {
		log_error("the configuration is unchanged: %s", why.text);
		config_unref(&config);
		return;
	}
	rotation = server_rotation(fresh->config);
	ledger_set_rotation(s->gateway.ledger, &rotation);
	resolver_watch(s->gateway.resolver, fresh->config);
	server_restore_accounts(s);
	snapshot_open(fresh, s->gateway.gate);
	post_all(s, 0, fresh, NULL);
	snapshot_unref(&s->snapshot);
	s->snapshot = fresh;
	server_apply_overrides(s);
	log_info("the configuration was loaded again");
}

static void
reload_keys(struct server *s)
{
	struct fault why;
	struct key_table *fresh =
	    key_table_load(s->snapshot->config->server.state_dir, &why);

	if (fresh == NULL) {
		log_error("the keys are unchanged: %s", why.text);
		return;
	}
	key_table_unref(&s->keys);
	s->keys = fresh;
	server_find_key_accounts(s);
	server_restore_accounts(s);
	post_all(s, 0, NULL, fresh);
	log_info("keys were loaded: %zu", key_table_count(fresh));
}

static void
reload_overrides(struct server *s)
{
	struct fault why;

	if (!server_load_overrides(s, &why))
		log_error("the overrides are unchanged: %s", why.text);
	else
		log_info("overrides were loaded: %zu",
		    override_table_count(s->overrides));
}

/* What has changed in the state folder. */
static void
take_file_events(struct server *s)
{
	_Alignas(struct inotify_event) char events[4096];
	bool keys = false, overrides = false;
	ssize_t n;

	while ((n = read(s->inotify_fd, events, sizeof events)) > 0) {
		for (char *p = events; p < events + n;) {
			struct inotify_event *e =
			    (struct inotify_event *)(void *)p;
			const char *name = e->len > 0 ? e->name : "";
			bool is_all = (e->mask & IN_Q_OVERFLOW) != 0;

			keys |= is_all || strcmp(name, KEY_FILE_NAME) == 0;
			overrides |=
			    is_all || strcmp(name, OVERRIDE_FILE_NAME) == 0;
			p += sizeof *e + e->len;
		}
	}
	if (keys)
		reload_keys(s);
	if (overrides)
		reload_overrides(s);
}

/* The first time streams may finish, the second time they may not. */
static void
stop(struct server *s)
{
	uint64_t drain_ms = s->snapshot->config->server.drain_ms;

	notify_service_manager("STOPPING=1");
	if (s->stop_at_ns != 0) {
		s->stop_at_ns = clock_mono_ns();
		return;
	}
	log_info("stopping: streams may finish, for at most %llu s",
	    (unsigned long long)drain_ms / 1000);
	__atomic_store_n(&s->gateway.is_draining, true, __ATOMIC_RELAXED);
	s->stop_at_ns = clock_mono_ns() + drain_ms * NS_PER_MS;
	post_all(s, MAIL_DRAIN, NULL, NULL);
}

static void
take_signals(struct server *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		switch ((int)info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			stop(s);
			break;
		case SIGHUP:
			reload(s);
			break;
		case SIGUSR1:
			ledger_reopen(s->gateway.ledger);
			break;
		default: /* blocked so that they do nothing */
			break;
		}
	}
}

/* True when nothing is left to wait for. */
static bool
has_drained(struct server *s)
{
	if (s->stop_at_ns == 0)
		return false;
	if (__atomic_load_n(&s->gateway.busy, __ATOMIC_RELAXED) == 0)
		return true;
	if (clock_mono_ns() < s->stop_at_ns)
		return false;
	if (!s->is_cut) {
		/* The error events get a moment to go out. */
		s->is_cut = true;
		s->stop_at_ns = clock_mono_ns() + NS_PER_SECOND;
		post_all(s, MAIL_CUT, NULL, NULL);
		return false;
	}
	return true;
}

static void
run(struct server *s)
{
	struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
	    {.fd = s->inotify_fd, .events = POLLIN}};

	while (!has_drained(s)) {
		int n = poll(fds, COUNT_OF(fds),
		    s->stop_at_ns != 0 ? STOP_TICK_MS : TICK_MS);
		uint64_t now = clock_mono_ns();

		if (clock_wall_ms() >= s->overrides_change_ms)
			server_apply_overrides(s);
		gate_tick(s->gateway.gate, now);
		if (now >= s->save_at_ns) {
			s->save_at_ns = now + SAVE_MS * NS_PER_MS;
			server_save_learned(s);
		}
		if (n <= 0)
			continue;
		if (fds[0].revents != 0)
			take_signals(s);
		if (fds[1].revents != 0)
			take_file_events(s);
	}
}

static void
finish(struct server *s)
{
	uint64_t leaked;

	stop_workers(s);
	/* A place that was never given back is a bug that a user would pay
	 * for. */
	if ((leaked = gate_in_flight(s->gateway.gate)) > 0)
		log_error("bug: %llu places are still taken",
		    (unsigned long long)leaked);
	if (s->gateway.ledger != NULL)
		ledger_finish(s->gateway.ledger);
	/* Until then its thread told them which lines are safe. */
	destroy_workers(s);
	redis_follower_stop(&s->gateway.redis);
	rollup_keeper_stop(&s->gateway.rollups);
	ledger_close(&s->gateway.ledger);
	if (s->gateway.learned != NULL)
		server_save_learned(s);
	learned_close(&s->gateway.learned);
	resolver_destroy(&s->gateway.resolver);
	snapshot_unref(&s->snapshot);
	key_table_unref(&s->keys);
	override_table_destroy(&s->overrides);
	gate_destroy(&s->gateway.gate);
	kept_table_destroy(&s->gateway.kept);
	response_ids_destroy(&s->gateway.response_ids);
	free(s->gateway.name);
	throttle_destroy(&s->gateway.throttle);
	prefixes_destroy(&s->gateway.prefixes);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	if (s->inotify_fd >= 0)
		close(s->inotify_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
}

bool
server_run(struct config *config, const struct server_options *options,
    struct fault *why)
{
	struct server s = {.options = options,
	    .lock_fd = -1,
	    .signal_fd = -1,
	    .inotify_fd = -1};
	bool ok;

	tune_memory();
	s.gateway.gate = gate_create();
	s.gateway.kept = kept_table_create();
	s.gateway.response_ids = response_ids_create();
	s.gateway.throttle =
	    throttle_create(THROTTLE_ADDRESSES, THROTTLE_A_MINUTE);
	s.gateway.prefixes = prefixes_create(PREFIXES_MOST_BYTES, why);
	ok = s.gateway.prefixes != NULL && start(&s, config, why);
	if (!ok && s.snapshot == NULL)
		config_unref(&config);
	if (ok)
		run(&s);
	finish(&s);
	return ok;
}
