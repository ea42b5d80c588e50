#include "metering/ledger/scoreboard.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "ledger_place.h"

#define HEADER_BYTES 4096
#define BLOCK_BYTES (256 * 8256)

static struct scoreboard *
open_board(const struct place *p)
{
	struct fault why;
	struct scoreboard *s = scoreboard_open(p->board, &why);

	if (s == NULL)
		fail_msg("%s", why.text);
	return s;
}

static struct ledger_line
draft(const char *user)
{
	struct ledger_line line =
	    line_of("01K9W0000000000000000000AA", user, 0);

	line.duration_ms = 7;
	return line;
}

static void
mark_sent(struct slot *slot, const char *user, int64_t estimate)
{
	const struct slot_rates rates = {
	    .is_counted = true, .input_estimate = estimate};
	struct ledger_line line = draft(user);
	struct buf scratch = {0};

	slot_mark_sent(slot, &line, &rates, &scratch);
	buf_release(&scratch);
}

static void
prepare(struct slot *slot, const char *user)
{
	struct ledger_line line = draft(user);
	struct buf scratch = {0};

	slot_prepare(slot, &line, &scratch);
	buf_release(&scratch);
}

static void
assert_text_has(const struct slot *slot, const char *what)
{
	struct slice text = slot_text(slot);

	assert_non_null(memmem(text.p, text.len, what, strlen(what)));
}

static void
a_new_one_is_private_allocated_and_of_this_boot(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct stat st;

	assert_int_equal(stat(p->board, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, HEADER_BYTES + BLOCK_BYTES);
	/* No byte of it has still to be found. */
	assert_true(st.st_blocks * 512 >= st.st_size);
	assert_true(scoreboard_is_of_this_boot(s));
	assert_int_equal(scoreboard_count(s), 0);
	scoreboard_close(&s);
	assert_null(s);
	scoreboard_close(&s);
}

static void
a_slot_goes_from_free_to_sent_to_done_and_back(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot = scoreboard_take(s, true);
	struct slot_progress progress;
	struct slot_rates rates;

	assert_int_equal(slot_state(slot), SLOT_FREE);
	assert_int_equal(scoreboard_count(s), 1);
	mark_sent(slot, "alice", 11);
	assert_int_equal(slot_state(slot), SLOT_SENT);
	assert_text_has(slot, "\"user\":\"alice\"");
	slot_read(slot, &progress, &rates);
	assert_int_equal(progress.source, USAGE_NONE);
	assert_int_equal(progress.usage.input, -1);
	assert_int_equal(progress.elapsed_ms, 7);
	assert_int_equal(rates.input_estimate, 11);
	for (int64_t i = 0; i < 5; i++) {
		slot_note(slot,
		    &(struct slot_progress){.usage = {.input = 3, .output = i},
			.source = USAGE_RUNNING,
			.elapsed_ms = 100 + i});
		slot_read(slot, &progress, &rates);
		assert_int_equal(progress.usage.output, i);
		assert_int_equal(progress.elapsed_ms, 100 + i);
		assert_int_equal(rates.input_estimate, 11);
	}
	prepare(slot, "carol");
	assert_int_equal(slot_state(slot), SLOT_SENT);
	assert_text_has(slot, "alice");
	slot_finish(slot, WRITER, 42);
	assert_int_equal(slot_state(slot), SLOT_DONE);
	assert_text_has(slot, "carol");
	assert_text_has(slot, "\"writer\":\"" WRITER "\",\"seq\":42}\n");
	scoreboard_give(s, slot);
	assert_int_equal(scoreboard_count(s), 0);
	/* The one used last comes first. */
	assert_ptr_equal(scoreboard_take(s, true), slot);
	assert_int_equal(slot_state(slot), SLOT_FREE);
	scoreboard_give(s, slot);
	scoreboard_close(&s);
}

/* What a further attempt brings replaces what the one before had come to. */
static void
marking_again_forgets_the_progress_of_the_attempt_before(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot = scoreboard_take(s, true);
	struct slot_progress progress;
	struct slot_rates rates;

	for (int64_t i = 0; i < 4; i++) {
		mark_sent(slot, i % 2 == 0 ? "alice" : "bob", i);
		slot_read(slot, &progress, &rates);
		assert_int_equal(progress.usage.output, -1);
		assert_int_equal(progress.uncounted_bytes, 0);
		assert_int_equal(rates.input_estimate, i);
		assert_text_has(slot, i % 2 == 0 ? "alice" : "bob");
		slot_note(slot,
		    &(struct slot_progress){
			.usage = {.output = 9}, .uncounted_bytes = 5});
	}
	scoreboard_close(&s);
}

static void
note_state(void *arg, struct slot *slot)
{
	int *seen = arg;

	seen[slot_state(slot)]++;
	if (slot_state(slot) == SLOT_SENT) {
		struct slot_progress progress;
		struct slot_rates rates;

		slot_read(slot, &progress, &rates);
		assert_int_equal(progress.usage.output, 8);
		assert_int_equal(rates.input_estimate, 4);
		assert_text_has(slot, "alice");
	} else {
		assert_text_has(slot, "\"seq\":5}\n");
	}
}

static void
what_is_not_free_stays_over_a_close(void **state)
{
	struct place *p = *state;
	int seen[3] = {0};

	for (int round = 0; round < 3; round++) {
		struct scoreboard *s = open_board(p);
		struct slot *slot;

		mark_sent(slot = scoreboard_take(s, true), "alice", 4);
		slot_note(
		    slot, &(struct slot_progress){.usage = {.output = 8}});
		prepare(slot = scoreboard_take(s, true), "bob");
		slot_finish(slot, WRITER, 5);
		prepare(scoreboard_take(s, true), "lost");
		scoreboard_leave(slot);
		scoreboard_close(&s);
	}
	struct scoreboard *s = open_board(p);

	assert_int_equal(scoreboard_count(s), 6);
	scoreboard_each(s, note_state, seen);
	assert_int_equal(seen[SLOT_FREE], 0);
	assert_int_equal(seen[SLOT_SENT], 3);
	assert_int_equal(seen[SLOT_DONE], 3);
	scoreboard_close(&s);
}

static void
give_back(void *arg, struct slot *slot)
{
	scoreboard_give(arg, slot);
}

static void
it_grows_block_by_block_and_keeps_what_it_holds(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slots[600];

	for (int i = 0; i < 600; i++) {
		slots[i] = scoreboard_take(s, true);
		assert_non_null(slots[i]);
		mark_sent(slots[i], "alice", i);
	}
	assert_int_equal(size_of(p->board), HEADER_BYTES + 3 * BLOCK_BYTES);
	assert_int_equal(scoreboard_count(s), 600);
	scoreboard_close(&s);
	s = open_board(p);
	assert_int_equal(scoreboard_count(s), 600);
	scoreboard_each(s, give_back, s);
	assert_int_equal(scoreboard_count(s), 0);
	for (int i = 0; i < 768; i++)
		assert_non_null(scoreboard_take(s, true));
	assert_int_equal(size_of(p->board), HEADER_BYTES + 3 * BLOCK_BYTES);
	scoreboard_close(&s);
}

static void
on_a_full_disk_what_must_survive_gets_no_slot(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot, *in_memory;
	off_t size = size_of(p->board);

	limit_file_size((rlim_t)size);
	for (int i = 0; i < 256; i++)
		assert_non_null(slot = scoreboard_take(s, true));
	assert_null(scoreboard_take(s, true));
	in_memory = scoreboard_take(s, false);
	assert_non_null(in_memory);
	assert_int_equal(scoreboard_count(s), 257);
	prepare(in_memory, "bob");
	slot_finish(in_memory, WRITER, 1);
	assert_int_equal(slot_state(in_memory), SLOT_DONE);
	assert_text_has(in_memory, "bob");
	scoreboard_give(s, in_memory);
	assert_int_equal(scoreboard_count(s), 256);
	/* One that was given back is one of the file's. */
	scoreboard_give(s, slot);
	assert_ptr_equal(scoreboard_take(s, true), slot);
	scoreboard_leave(scoreboard_take(s, false));
	limit_file_size(RLIM_INFINITY);
	assert_non_null(scoreboard_take(s, true));
	assert_int_equal(size_of(p->board), size + BLOCK_BYTES);
	scoreboard_close(&s);
}

/* A disk that was full when it grew may have left a piece of a block: there is
 * nothing in it, and it must not keep the gateway from starting. */
static void
a_piece_of_a_block_does_not_stand_in_the_way(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	off_t size = size_of(p->board);

	mark_sent(scoreboard_take(s, true), "alice", 1);
	scoreboard_close(&s);
	assert_int_equal(truncate(p->board, size + 100000), 0);
	limit_file_size((rlim_t)size + 100000);
	s = open_board(p);
	assert_int_equal(scoreboard_count(s), 1);
	limit_file_size(RLIM_INFINITY);
	for (int i = 0; i < 300; i++)
		assert_non_null(scoreboard_take(s, true));
	assert_int_equal(size_of(p->board), size + BLOCK_BYTES);
	scoreboard_close(&s);
}

static void
what_is_no_scoreboard_is_moved_aside(void **state)
{
	struct place *p = *state;
	static const char version_0[HEADER_BYTES + 10] = "weir scoreboard 0\n";
	char old[128];
	struct scoreboard *s;
	struct buf b;

	snprintf(old, sizeof old, "%s.old", p->board);
	write_file(p->board, version_0, sizeof version_0);
	s = open_board(p);
	assert_int_equal(scoreboard_count(s), 0);
	assert_true(scoreboard_is_of_this_boot(s));
	scoreboard_close(&s);
	b = content(old);
	assert_int_equal(buf_len(&b), sizeof version_0);
	assert_memory_equal(buf_data(&b), version_0, sizeof version_0);
	buf_release(&b);
	unlink(old);
	write_file(p->board, "short", 5);
	s = open_board(p);
	scoreboard_close(&s);
	assert_int_equal(size_of(old), 5);
	/* The good one is left alone. */
	s = open_board(p);
	scoreboard_close(&s);
	assert_int_equal(size_of(old), 5);
}

/* A kill while it is made leaves some zeros. */
static void
one_that_was_being_made_is_made(void **state)
{
	static const off_t sizes[] = {0, 1, 100, HEADER_BYTES,
	    HEADER_BYTES + 5000, HEADER_BYTES + BLOCK_BYTES};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct scoreboard *s;

		unlink(p->board);
		write_file(p->board, "", 0);
		assert_int_equal(truncate(p->board, sizes[i]), 0);
		s = open_board(p);
		assert_int_equal(scoreboard_count(s), 0);
		mark_sent(scoreboard_take(s, true), "alice", 4);
		scoreboard_close(&s);
		s = open_board(p);
		assert_int_equal(scoreboard_count(s), 1);
		assert_true(scoreboard_is_of_this_boot(s));
		scoreboard_close(&s);
	}
	assert_int_equal(count_files(p, "scoreboard", ".old", NULL), 0);
}

static void
another_boot_is_known_until_it_is_trusted(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct buf b;
	char *boot;

	scoreboard_close(&s);
	b = content(p->board);
	boot = b.base + b.start + sizeof "weir scoreboard 1\n";
	boot[0] = boot[0] == '0' ? '1' : '0';
	write_file(p->board, buf_data(&b), buf_len(&b));
	buf_release(&b);
	s = open_board(p);
	assert_false(scoreboard_is_of_this_boot(s));
	scoreboard_close(&s);
	s = open_board(p);
	assert_false(scoreboard_is_of_this_boot(s));
	scoreboard_trust(s);
	assert_true(scoreboard_is_of_this_boot(s));
	scoreboard_close(&s);
	s = open_board(p);
	assert_true(scoreboard_is_of_this_boot(s));
	scoreboard_close(&s);
}

static void
where_the_last_write_began_is_kept(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	uint64_t offset;
	dev_t device;
	ino_t inode;

	scoreboard_batch(s, &device, &inode, &offset);
	assert_int_equal(device | inode | offset, 0);
	scoreboard_note_batch(s, 3, 4, 500);
	scoreboard_note_batch(s, 3, 4, 900);
	scoreboard_close(&s);
	s = open_board(p);
	scoreboard_batch(s, &device, &inode, &offset);
	assert_int_equal(device, 3);
	assert_int_equal(inode, 4);
	assert_int_equal(offset, 900);
	scoreboard_note_batch(s, 3, 5, 0);
	scoreboard_batch(s, &device, &inode, &offset);
	assert_int_equal(inode, 5);
	assert_int_equal(offset, 0);
	scoreboard_close(&s);
}

#define THREADS 4

static void *
take_and_give(void *arg)
{
	struct scoreboard *s = arg;
	struct slot *held[100];

	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < 100; i++) {
			held[i] = scoreboard_take(s, i % 2 == 0);
			assert_non_null(held[i]);
			mark_sent(held[i], "alice", i);
		}
		for (int i = 0; i < 100; i++)
			scoreboard_give(s, held[i]);
	}
	return NULL;
}

static void
threads_take_and_give_at_once(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, take_and_give, s), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(scoreboard_count(s), 0);
	assert_true(size_of(p->board) <= HEADER_BYTES + 2 * BLOCK_BYTES);
	scoreboard_close(&s);
}

/* The longest line there is has its place, on both sides. */
static void
the_longest_line_has_room(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot = scoreboard_take(s, true);
	struct ledger_line line = draft("alice");
	char text[2000];
	const struct slot_rates rates = {.input_estimate = 77};
	struct slot_progress progress;
	struct slot_rates got;
	struct buf scratch = {0};

	/* Each byte takes six in JSON. */
	memset(text, 1, sizeof text - 1);
	text[sizeof text - 1] = '\0';
	line.user = line.model = line.key = line.api = line.end = text;
	line.upstream = line.upstream_model = line.client = text;
	line.client_request_id = line.session = text;
	line.attempt_count = LEDGER_ATTEMPTS_MOST;
	for (size_t i = 0; i < LEDGER_ATTEMPTS_MOST; i++)
		line.attempts[i] = (struct ledger_attempt){
		    .upstream = text, .result = text, .source = USAGE_UPSTREAM};
	for (int i = 0; i < 3; i++) {
		slot_mark_sent(slot, &line, &rates, &scratch);
		slot_read(slot, &progress, &got);
		assert_int_equal(got.input_estimate, 77);
		assert_int_equal(progress.usage.input, -1);
	}
	slot_prepare(slot, &line, &scratch);
	slot_finish(slot, WRITER, UINT64_MAX);
	assert_true(slot_text(slot).len <= LEDGER_LINE_MOST_BYTES);
	assert_text_has(slot, "}\n");
	buf_release(&scratch);
	scoreboard_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_new_one_is_private_allocated_and_of_this_boot),
	    TEST(a_slot_goes_from_free_to_sent_to_done_and_back),
	    TEST(marking_again_forgets_the_progress_of_the_attempt_before),
	    TEST(what_is_not_free_stays_over_a_close),
	    TEST(it_grows_block_by_block_and_keeps_what_it_holds),
	    TEST(on_a_full_disk_what_must_survive_gets_no_slot),
	    TEST(a_piece_of_a_block_does_not_stand_in_the_way),
	    TEST(what_is_no_scoreboard_is_moved_aside),
	    TEST(one_that_was_being_made_is_made),
	    TEST(another_boot_is_known_until_it_is_trusted),
	    TEST(where_the_last_write_began_is_kept),
	    TEST(threads_take_and_give_at_once),
	    TEST(the_longest_line_has_room),
	};

	signal(SIGXFSZ, SIG_IGN);
	umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
