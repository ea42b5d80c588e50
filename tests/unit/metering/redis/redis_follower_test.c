#include "metering/redis/redis_follower.h"

#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/redis/redis_link.h"
#include "metering/redis/redis_peers.h"

#define WRITER "01K9W00000000000000000000A"
#define STOP_MOST_MS 300
#define PATIENCE_MS 20000

/* A Redis that takes connections and says nothing. */
struct place {
	char folder[64], socket[96], ledger[96], peers[96];
	int listener;
};

static int
make_place(void **state)
{
	struct place *p = xcalloc(sizeof *p);
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(p->folder, sizeof p->folder, "/tmp/weir-redis-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->socket, sizeof p->socket, "%s/sock", p->folder);
	snprintf(p->ledger, sizeof p->ledger, "%s/usage.jsonl", p->folder);
	snprintf(p->peers, sizeof p->peers, "%s/peers", p->folder);
	memcpy(a.sun_path, p->socket, strlen(p->socket));
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(p->listener, 16), 0);
	*state = p;
	return 0;
}

static int
remove_place(void **state)
{
	struct place *p = *state;

	close(p->listener);
	unlink(p->socket);
	unlink(p->peers);
	rmdir(p->folder);
	free(p);
	return 0;
}

static uint64_t
nothing_is_safe(void *arg)
{
	(void)arg;
	return 0;
}

static struct redis_follower *
start(const struct place *p, const struct redis_options *o)
{
	struct fault why;
	struct redis_follower *f =
	    redis_follower_start(&(struct redis_follower_options){.redis = o,
				     .ledger_path = p->ledger,
				     .peers_path = p->peers,
				     .writer = WRITER,
				     .safe_seq = nothing_is_safe},
		&why);

	if (f == NULL)
		fail_msg("%s", why.text);
	return f;
}

static void
assert_stops_quickly(struct redis_follower *f)
{
	uint64_t begun = clock_mono_ns();

	redis_follower_stop(&f);
	assert_null(f);
	assert_in_range((clock_mono_ns() - begun) / NS_PER_MS, 0, STOP_MOST_MS);
}

static void
it_stops_at_once_while_redis_says_nothing(void **state)
{
	const struct place *p = *state;
	struct redis_options o = {
	    .is_unix = true, .path = p->socket, .prefix = "weir", .name = "a"};
	struct redis_follower *f = start(p, &o);
	struct pollfd asked = {.fd = p->listener, .events = POLLIN};
	int fd;

	assert_int_equal(poll(&asked, 1, PATIENCE_MS), 1);
	fd = accept(p->listener, NULL, NULL);
	asked.fd = fd;
	assert_int_equal(poll(&asked, 1, PATIENCE_MS), 1); /* its question */
	assert_false(redis_follower_is_whole(f));
	assert_stops_quickly(f);
	close(fd);
}

static void
its_own_timer_ends_a_command(void **state)
{
	const struct place *p = *state;
	struct redis_options o = {
	    .is_unix = true, .path = p->socket, .prefix = "weir", .name = "a"};
	struct redis_follower_status now = {0};
	struct redis_follower *f = start(p, &o);
	uint64_t begun = clock_mono_ns();
	struct pollfd nothing = {.fd = -1};

	while (now.trouble == REDIS_NONE &&
	    clock_mono_ns() - begun < PATIENCE_MS * NS_PER_MS) {
		poll(&nothing, 1, 1);
		redis_follower_status(f, &now);
	}
	assert_int_equal(now.trouble, REDIS_TOO_SLOW);
	assert_true(
	    clock_mono_ns() - begun >= (REDIS_DEADLINE_MS - 1) * NS_PER_MS);
	assert_stops_quickly(f);
}

static void
it_stops_at_once_while_a_name_is_looked_up(void **state)
{
	const struct place *p = *state;
	struct redis_options o = {.host = "redis.invalid",
	    .port = 6379,
	    .prefix = "weir",
	    .name = "a",
	    .username = "u",
	    .password = "p"};

	assert_stops_quickly(start(p, &o));
}

static void
a_follower_that_never_was_is_stopped(void **state)
{
	struct redis_follower *f = NULL;

	(void)state;
	redis_follower_stop(&f);
}

static void
peers_are_read_back(void **state)
{
	const struct place *p = *state;
	struct redis_peers a = {.epoch = WRITER}, b = {0};
	struct fault why;

	redis_peers_add(&a, SLICE("forge"));
	redis_peers_add(&a, SLICE("attic"));
	redis_peers_add(&a, SLICE("two\nlines"));
	redis_peers_add(&a, SLICE(""));
	assert_int_equal(a.count, 2);
	assert_true(redis_peers_save(&a, p->peers, &why));
	redis_peers_load(&b, p->peers);
	assert_true(redis_peers_equal(&a, &b));
	redis_peers_add(&b, SLICE("third"));
	assert_false(redis_peers_equal(&a, &b));
	redis_peers_release(&a);
	redis_peers_release(&b);
}

static void
a_missing_or_damaged_file_of_peers_is_none(void **state)
{
	static const char *const texts[] = {
	    "", "\n", "forge\nattic\n", "no end of a line"};
	const struct place *p = *state;
	struct redis_peers peers = {0};

	redis_peers_load(&peers, p->peers);
	assert_int_equal(peers.count, 0);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		FILE *file = fopen(p->peers, "w");

		fputs(texts[i], file);
		fclose(file);
		redis_peers_load(&peers, p->peers);
		assert_int_equal(peers.count, 0);
		assert_string_equal(peers.epoch, "");
	}
	redis_peers_release(&peers);
}

#define IN_A_PLACE(test) \
	cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_A_PLACE(it_stops_at_once_while_redis_says_nothing),
	    IN_A_PLACE(its_own_timer_ends_a_command),
	    IN_A_PLACE(it_stops_at_once_while_a_name_is_looked_up),
	    cmocka_unit_test(a_follower_that_never_was_is_stopped),
	    IN_A_PLACE(peers_are_read_back),
	    IN_A_PLACE(a_missing_or_damaged_file_of_peers_is_none),
	};

	log_setup(LOG_LEVEL_ERROR, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
