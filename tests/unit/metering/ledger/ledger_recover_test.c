#include "metering/ledger/ledger_recover.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "../../seeded.h"
#include "base/clock.h"
#include "base/id.h"
#include "ledger_place.h"
#include "metering/ledger/ledger_file.h"

/* --- one exchange, killed at each step ----------------------------------- */

/* The order of writes of an exchange and of the ledger's thread. */
enum step {
	STEP_OPEN,
	STEP_TAKE,
	STEP_SENT,
	STEP_NOTE,
	STEP_SENT_AGAIN, /* a second attempt */
	STEP_NOTE_AGAIN,
	STEP_PREPARE,
	STEP_FINISH,
	STEP_BATCH,
	STEP_TORN, /* half of the line is written */
	STEP_NO_END,
	STEP_WRITE,
	STEP_GIVE,
	STEPS,
};

/* What the next start must make of it. */
enum outcome { NOTHING, CRASHED, CRASHED_AGAIN, OWN_LINE };

static const enum outcome outcomes[STEPS] = {
    [STEP_SENT] = CRASHED,
    [STEP_NOTE] = CRASHED,
    [STEP_SENT_AGAIN] = CRASHED_AGAIN,
    [STEP_NOTE_AGAIN] = CRASHED_AGAIN,
    [STEP_PREPARE] = CRASHED_AGAIN,
    [STEP_FINISH] = OWN_LINE,
    [STEP_BATCH] = OWN_LINE,
    [STEP_TORN] = OWN_LINE,
    [STEP_NO_END] = OWN_LINE,
    [STEP_WRITE] = OWN_LINE,
    [STEP_GIVE] = OWN_LINE,
};

static const struct slot_rates rates = {
    .is_counted = true,
    .has_price = true,
    .price = {.input_pusd = 1000,
	.input_cached_pusd = 1000,
	.output_pusd = 100000},
    .input_estimate = 40,
    .tokens_a_mb = 250000,
};

static struct ledger_line
exchange_line(const char *id)
{
	struct ledger_line line = line_of(id, "alice", 0);

	line.upstream = "one";
	line.paid = true;
	line.client = "a \"client\" \\ of \xc3\xa4 \x01";
	return line;
}

static void
attempt(struct ledger_line *line, const char *result, int64_t tokens)
{
	const struct ledger_attempt a = {.upstream = "one",
	    .result = result,
	    .usage = {.input = tokens, .output = tokens},
	    .source = USAGE_UPSTREAM,
	    .cost_pusd = tokens};

	ledger_line_take_attempt(line, &a);
}

static void
note_running(struct slot *slot, int64_t input, int64_t output)
{
	slot_note(slot,
	    &(struct slot_progress){
		.usage = {.input = input, .output = output, -1, -1, -1, -1, -1},
		.source = USAGE_RUNNING,
		.elapsed_ms = 321});
}

/* Writes the line without its last bytes. */
static void
append(const struct place *p, struct slice text, size_t without)
{
	int fd = open(p->path, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0 || !file_write_all(fd, text.p, text.len - without))
		_exit(9);
	close(fd);
}

/* Does the steps up to `last`, and is gone without a word. */
static void
live_until(const struct place *p, const char *id, enum step last)
{
	struct ledger_line line = exchange_line(id);
	struct buf scratch = {0};
	struct fault why;
	struct ledger_file *f = ledger_file_open(p->path, p->folder, &why);
	struct scoreboard *s = scoreboard_open(p->board, &why);
	struct slot *slot = NULL;
	uint64_t offset;
	dev_t device;
	ino_t inode;

	if (f == NULL || s == NULL)
		_exit(9);
	for (enum step step = STEP_OPEN; step <= last; step++) {
		switch (step) {
		case STEP_TAKE:
			slot = scoreboard_take(s, true);
			break;
		case STEP_SENT:
			slot_mark_sent(slot, &line, &rates, &scratch);
			break;
		case STEP_NOTE:
			note_running(slot, 30, 5);
			break;
		case STEP_SENT_AGAIN:
			attempt(&line, "reset", 11);
			slot_mark_sent(slot, &line, &rates, &scratch);
			break;
		case STEP_NOTE_AGAIN:
			note_running(slot, 31, 6);
			break;
		case STEP_PREPARE:
			attempt(&line, "ok", 22);
			slot_prepare(slot, &line, &scratch);
			break;
		case STEP_FINISH:
			slot_finish(slot, WRITER, 1);
			break;
		case STEP_BATCH:
			if (!ledger_file_ready(f, &why))
				_exit(9);
			ledger_file_place(f, &device, &inode, &offset);
			scoreboard_note_batch(s, device, inode, offset);
			break;
		case STEP_WRITE:
			append(p, slot_text(slot), 0);
			break;
		case STEP_GIVE:
			scoreboard_give(s, slot);
			break;
		case STEP_TORN:
			if (step == last)
				append(p, slot_text(slot), 200);
			break;
		case STEP_NO_END:
			if (step == last)
				append(p, slot_text(slot), 1);
			break;
		case STEP_OPEN:
		case STEPS:
			break;
		}
	}
	kill(getpid(), SIGKILL);
}

static void
wait_killed(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
die_at(const struct place *p, const char *id, enum step last)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		live_until(p, id, last);
	wait_killed(child);
}

/* A start that is killed when it has sorted the slots out. */
static void
die_in_recovery(const struct place *p, const char *writer)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct fault why;
		struct scoreboard *s = scoreboard_open(p->board, &why);
		struct slot *first;
		uint64_t seq;

		if (s == NULL ||
		    !ledger_recover(s, p->path, writer, &first, &seq, &why))
			_exit(9);
		kill(getpid(), SIGKILL);
	}
	wait_killed(child);
}

static void
assert_crashed(const struct stored *s, int64_t input, int64_t output,
    size_t attempts, const char *cost)
{
	assert_string_equal(s->end, LEDGER_END_CRASHED);
	assert_int_equal(s->input, input);
	assert_int_equal(s->output, output);
	assert_int_equal(s->attempts, attempts);
	assert_string_equal(s->cost, cost);
	assert_string_equal(s->user, "alice");
}

static void
check_outcome(
    const struct stored *s, enum step last, const char *own, const char *next)
{
	switch (outcomes[last]) {
	case NOTHING:
		assert_null(s);
		return;
	case CRASHED:
		assert_non_null(s);
		/* Before any count came all is estimated; no text came. */
		if (last == STEP_SENT)
			assert_crashed(s, 40, 0, 1, "0.000000040000");
		else
			assert_crashed(s, 30, 5, 1, "0.000000530000");
		assert_string_equal(
		    s->source, last == STEP_SENT ? "estimated" : "running");
		assert_string_equal(s->writer, next);
		return;
	case CRASHED_AGAIN:
		assert_non_null(s);
		if (last == STEP_SENT_AGAIN)
			assert_crashed(s, 40, 0, 2, "0.000000040011");
		else
			assert_crashed(s, 31, 6, 2, "0.000000631011");
		assert_string_equal(s->writer, next);
		return;
	case OWN_LINE:
		assert_non_null(s);
		assert_string_equal(s->end, "ok");
		assert_string_equal(s->writer, own);
		assert_int_equal(s->seq, 1);
		assert_int_equal(s->input, 22);
		assert_int_equal(s->attempts, 2);
		assert_string_equal(s->cost, "0.000000000033");
		return;
	}
}

static void
start_anew(const struct place *p)
{
	char path[512];

	unlink(p->path);
	unlink(p->board);
	unlink(p->moved);
	while (count_files(p, "torn-", "", path) > 0)
		unlink(path);
}

/* Whether the line is in the file by which the next start judges may not depend
 * on what the file is called by then. */
static void
at_every_step_a_kill_leaves_exactly_one_line_or_none(void **state)
{
	struct place *p = *state;
	char id[ULID_CHARS + 1];

	for (enum step last = STEP_OPEN; last < STEPS; last++)
		for (int is_moved = 0; is_moved < 2; is_moved++) {
			struct stored_lines all;

			start_anew(p);
			make_id(id, last);
			die_at(p, id, last);
			if (is_moved)
				assert_int_equal(rename(p->path, p->moved), 0);
			/* A renamed file is not mended: what is torn in it
			 * stays, and is no line. */
			if (is_moved && last == STEP_TORN)
				continue;
			if (is_moved && last == STEP_NO_END)
				continue;
			{
				struct ledger *l = open_as(p, WRITER_2);

				ledger_close(&l);
				/* Nothing is left for the next one. */
				l = open_as(p, WRITER_3);
				ledger_close(&l);
			}
			all = read_ledger(p->path);
			check_numbers(&all);
			check_outcome(
			    find_stored(&all, id), last, WRITER, WRITER_2);
			assert_int_equal(
			    all.count, outcomes[last] == NOTHING ? 0 : 1);
			release_lines(&all);
		}
}

static void
a_start_that_is_killed_itself_changes_nothing(void **state)
{
	struct place *p = *state;
	char id[ULID_CHARS + 1];

	for (enum step last = STEP_OPEN; last < STEPS; last++) {
		struct stored_lines all;
		struct ledger *l;

		start_anew(p);
		make_id(id, last);
		die_at(p, id, last);
		die_in_recovery(p, WRITER_2);
		die_in_recovery(p, WRITER_3);
		l = open_as(p, "01K9W00000000000000000000D");
		ledger_close(&l);
		all = read_ledger(p->path);
		check_numbers(&all);
		/* The first of them that saw the slot has finished it. */
		check_outcome(find_stored(&all, id), last, WRITER, WRITER_2);
		assert_int_equal(all.count, outcomes[last] == NOTHING ? 0 : 1);
		release_lines(&all);
	}
}

static void
the_text_of_a_crashed_line_is_that_of_its_draft(void **state)
{
	struct place *p = *state;
	struct ledger_view *e = xcalloc(sizeof *e);
	struct buf b;
	struct ledger *l;

	die_at(p, "01K9W0000000000000000000AA", STEP_SENT);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	b = content(p->path);
	assert_true(ledger_view_read(
	    e, (struct slice){buf_data(&b), buf_len(&b) - 1}, NULL));
	assert_true(slice_is(e->client, "a \"client\" \\ of \xc3\xa4 \x01"));
	assert_true(slice_is(e->model, "ds4"));
	assert_int_equal(e->ts_ms, ARRIVED_MS);
	assert_true(e->paid);
	assert_int_equal(e->ttft_ms, -1);
	assert_true(slice_is(e->attempts[0].result, LEDGER_END_CRASHED));
	assert_true(slice_is(e->attempts[0].upstream, "one"));
	assert_null(e->session.p);
	buf_release(&b);
	free(e);
}

/* --- slots by hand ------------------------------------------------------- */

static struct slot *
sent(struct scoreboard *s, uint64_t n, const struct slot_rates *r, bool is_paid)
{
	struct slot *slot = scoreboard_take(s, true);
	struct buf scratch = {0};
	struct ledger_line line;
	char id[ULID_CHARS + 1];

	make_id(id, n);
	line = exchange_line(id);
	line.paid = is_paid;
	line.duration_ms = 5;
	slot_mark_sent(slot, &line, r, &scratch);
	buf_release(&scratch);
	return slot;
}

static void
done(struct scoreboard *s, uint64_t n, const char *writer, uint64_t seq)
{
	struct slot *slot = sent(s, n, &rates, false);
	struct buf scratch = {0};
	struct ledger_line line;
	char id[ULID_CHARS + 1];

	make_id(id, n);
	line = exchange_line(id);
	slot_prepare(slot, &line, &scratch);
	slot_finish(slot, writer, seq);
	buf_release(&scratch);
}

static struct scoreboard *
open_board(const struct place *p)
{
	struct fault why;
	struct scoreboard *s = scoreboard_open(p->board, &why);

	assert_non_null(s);
	return s;
}

static void
what_was_free_is_avoided_and_text_without_counts_is_estimated(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct stored_lines all;
	struct slot *slot = sent(s, 1, &rates, false);
	struct ledger *l;

	slot_note(slot,
	    &(struct slot_progress){.usage = USAGE_UNKNOWN,
		.source = USAGE_NONE,
		.uncounted_bytes = 4000,
		.elapsed_ms = 99});
	scoreboard_close(&s);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 1);
	assert_crashed(&all.items[0], 40, 1000, 1, "0.000000000000");
	assert_string_equal(all.items[0].avoided, "0.000100040000");
	assert_string_equal(all.items[0].source, "estimated");
	assert_int_equal(all.items[0].ms, 99);
	release_lines(&all);
}

/* Between two attempts nobody works: nothing is made up. */
static void
a_failed_attempt_is_not_charged_again(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot = scoreboard_take(s, true);
	struct slot_rates over = rates;
	struct ledger_line line = exchange_line("01K9W0000000000000000000AA");
	struct buf scratch = {0};
	struct stored_lines all;
	struct ledger *l;

	over.is_over = true;
	line.duration_ms = 17;
	attempt(&line, "http_503", 3);
	slot_mark_sent(slot, &line, &over, &scratch);
	buf_release(&scratch);
	scoreboard_close(&s);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 1);
	assert_crashed(&all.items[0], 3, 3, 1, "0.000000000003");
	assert_int_equal(all.items[0].ms, 17);
	release_lines(&all);
}

/* The first attempt had failed on a paid route, too, which was not failover. */
static void
what_failover_cost_when_it_crashed_is_told(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot *slot = scoreboard_take(s, true);
	struct slot_rates fallback = rates;
	struct ledger_line line = exchange_line("01K9W0000000000000000000AA");
	struct buf scratch = {0};
	struct stored_lines all;
	struct ledger *l;
	uint64_t seq = 0;

	fallback.is_fallback = true;
	line.paid = true;
	attempt(&line, "http_503", 3);
	slot_mark_sent(slot, &line, &fallback, &scratch);
	note_running(slot, 40, 10);
	buf_release(&scratch);
	scoreboard_close(&s);
	l = open_as(p, WRITER_2);
	while (!ledger_has_recovered(l, &seq))
		pause_a_little();
	assert_int_equal(seq, 1);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 1);
	assert_crashed(&all.items[0], 40, 10, 2, "0.000001040003");
	assert_string_equal(all.items[0].fallback, "0.000001040000");
	release_lines(&all);
	ledger_close(&l);
	l = open_as(p, "01K9W0000000000000000000AC");
	assert_true(ledger_has_recovered(l, &seq));
	assert_int_equal(seq, 0);
	ledger_close(&l);
}

static void
what_only_counts_tokens_is_not_charged(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct slot_rates uncounted = rates;
	struct stored_lines all;
	struct ledger *l;

	uncounted.is_counted = false;
	sent(s, 1, &uncounted, true);
	scoreboard_close(&s);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 1);
	assert_crashed(&all.items[0], 0, 0, 1, "0.000000000000");
	assert_string_equal(all.items[0].source, "none");
	release_lines(&all);
}

static void
lines_of_earlier_writers_keep_their_numbers_and_come_first(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct stored_lines all;
	struct ledger *l;

	/* In no order. */
	sent(s, 90, &rates, true);
	done(s, 12, WRITER_2, 2);
	done(s, 5, WRITER, 8);
	sent(s, 80, &rates, true);
	done(s, 3, WRITER, 7);
	done(s, 11, WRITER_2, 1);
	scoreboard_close(&s);
	l = open_as(p, WRITER_3);
	assert_int_equal(add(l, "carol", 1), 3);
	WAIT_UNTIL(ledger_safe_seq(l) == 3);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 7);
	const char *const writers[] = {
	    WRITER, WRITER, WRITER_2, WRITER_2, WRITER_3, WRITER_3, WRITER_3};
	const uint64_t seqs[] = {7, 8, 1, 2, 1, 2, 3};

	for (size_t i = 0; i < 7; i++) {
		assert_string_equal(all.items[i].writer, writers[i]);
		assert_int_equal(all.items[i].seq, seqs[i]);
	}
	/* By arrival. */
	assert_true(strcmp(all.items[4].id, all.items[5].id) < 0);
	assert_string_equal(all.items[4].end, LEDGER_END_CRASHED);
	assert_string_equal(all.items[6].user, "carol");
	release_lines(&all);
}

static void
give_all(void *arg, struct slot *slot)
{
	scoreboard_give(arg, slot);
}

/* Breaks a byte of the text of each slot that is not free. */
static void
a_damaged_slot_is_told_and_given_up(void **state)
{
	struct place *p = *state;
	struct scoreboard *s = open_board(p);
	struct stored_lines all;
	struct ledger *l;
	struct buf b;
	char *at;
	int broken = 0;

	sent(s, 1, &rates, true);
	done(s, 2, WRITER, 1);
	done(s, 3, WRITER, 2);
	scoreboard_close(&s);
	b = content(p->board);
	at = b.base + b.start;
	while ((at = memmem(at, (size_t)(b.base + b.end - at),
		    "\"user\":\"alice\"", 14)) != NULL) {
		/* The last one, and its draft, stay good. */
		if (++broken <= 3)
			at[5] = '\n';
		at++;
	}
	assert_int_equal(broken, 5); /* a DONE one has its draft yet */
	write_file(p->board, buf_data(&b), buf_len(&b));
	buf_release(&b);
	l = open_as(p, WRITER_2);
	assert_int_equal(add(l, "bob", 1), 1);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 2);
	assert_int_equal(all.items[0].seq, 2);
	release_lines(&all);
	s = open_board(p);
	assert_int_equal(scoreboard_count(s), 0);
	scoreboard_each(s, give_all, s);
	scoreboard_close(&s);
}

/* --- after a power loss -------------------------------------------------- */

static void
put_on_another_boot(const struct place *p)
{
	struct buf b = content(p->board);

	b.base[b.start + sizeof "weir scoreboard 1\n"] ^= 1;
	write_file(p->board, buf_data(&b), buf_len(&b));
	buf_release(&b);
}

/* A file with the lines of exchanges first..last, last changed at `at_ms`. */
static void
write_segment(const char *path, uint64_t first, uint64_t last, uint64_t seq,
    int64_t at_ms)
{
	struct timespec times[2] = {{.tv_sec = at_ms / 1000}};
	struct buf b = {0};

	for (uint64_t n = first; n <= last; n++) {
		char id[ULID_CHARS + 1];
		struct ledger_line line;

		make_id(id, n);
		line = exchange_line(id);
		ledger_line_write(&b, &line);
		ledger_line_finish(&b, WRITER, seq++);
	}
	write_file(path, buf_data(&b), buf_len(&b));
	times[1] = times[0];
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	buf_release(&b);
}

/* The slots are older than the ledger: some are written in the current file,
 * some in the one before, some in older ones that were changed since they
 * arrived, and some nowhere. */
static void
after_another_boot_the_ledger_itself_is_asked(void **state)
{
	struct place *p = *state;
	char path[4][160];
	struct scoreboard *s;
	struct stored_lines all;
	struct ledger *l;
	struct fault why;
	uint64_t seq = 1;

	for (int i = 0; i < 4; i++) {
		snprintf(path[i], sizeof path[i],
		    "%s/usage-20260528-%03d.jsonl", p->folder, i + 1);
		write_segment(path[i], (uint64_t)i * 10 + 1,
		    (uint64_t)i * 10 + 10, seq, ARRIVED_MS + i * 1000);
		seq += 10;
	}
	if (!segment_compress(path[1], &why))
		fail_msg("%s", why.text);
	write_segment(p->path, 41, 50, seq, ARRIVED_MS + 5000);
	s = open_board(p);
	for (uint64_t n = 1; n <= 60; n += 3)
		if (n % 2 == 0)
			sent(s, n, &rates, true);
		else
			done(s, n, WRITER, n);
	scoreboard_close(&s);
	put_on_another_boot(p);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	all = read_ledger(p->path);
	/* 52, 55 and 58 stood nowhere. */
	assert_int_equal(all.count, 53);
	for (size_t i = 50; i < 53; i++) {
		bool is_own = strcmp(all.items[i].writer, WRITER) == 0;

		assert_string_equal(
		    all.items[i].end, is_own ? "ok" : LEDGER_END_CRASHED);
	}
	release_lines(&all);
	/* From now on it is of this boot. */
	s = open_board(p);
	assert_true(scoreboard_is_of_this_boot(s));
	assert_int_equal(scoreboard_count(s), 0);
	scoreboard_close(&s);
}

/* Copied elsewhere and back, the ledger's file is another one: where the last
 * write began says nothing any more. */
static void
without_the_file_of_the_last_write_the_ledger_itself_is_asked(void **state)
{
	struct place *p = *state;
	struct stored_lines all;
	struct ledger *l;
	struct buf b;

	die_at(p, "01K9W0000000000000000000AA", STEP_WRITE);
	b = content(p->path);
	assert_int_equal(rename(p->path, p->moved), 0);
	write_file(p->path, buf_data(&b), buf_len(&b));
	unlink(p->moved);
	buf_release(&b);
	l = open_as(p, WRITER_2);
	ledger_close(&l);
	all = read_ledger(p->path);
	assert_int_equal(all.count, 1);
	release_lines(&all);
}

static void
a_ledger_that_cannot_be_read_changes_no_slot(void **state)
{
	struct place *p = *state;
	struct ledger_options o = options_of(p);
	char gz[160];
	struct scoreboard *s = open_board(p);
	struct stored_lines all;
	struct ledger *l;
	struct fault why;

	sent(s, 1, &rates, true);
	done(s, 2, WRITER, 1);
	scoreboard_close(&s);
	put_on_another_boot(p);
	/* What stands there cannot be known. */
	snprintf(gz, sizeof gz, "%s/usage-20260528-001.jsonl", p->folder);
	write_segment(gz, 5, 900, 1, ARRIVED_MS + 1000);
	if (!segment_compress(gz, &why))
		fail_msg("%s", why.text);
	snprintf(gz, sizeof gz, "%s/usage-20260528-001.jsonl.gz", p->folder);
	assert_int_equal(truncate(gz, size_of(gz) * 2 / 3), 0);
	l = ledger_open(&o, &why);
	if (l == NULL) {
		s = open_board(p);
		assert_int_equal(scoreboard_count(s), 2);
		assert_false(scoreboard_is_of_this_boot(s));
		scoreboard_close(&s);
		unlink(gz);
		l = open_as(p, WRITER_2);
	}
	ledger_close(&l);
	unlink(gz);
	all = read_ledger(p->path);
	check_numbers(&all);
	assert_int_equal(all.count, 2);
	release_lines(&all);
}

/* --- and at random moments ----------------------------------------------- */

#define ROUNDS 200
#define CHILD_THREADS 3

/* What the child says of an exchange, when it is so. */
struct word {
	char what; /* 's': sent, 'd': handed over */
	char id[ULID_CHARS + 1];
};

struct child {
	struct ledger *ledger;
	int to;
	struct ulid_source ids;
};

static void
say(const struct child *c, char what, const char *id)
{
	struct word w = {.what = what};

	memcpy(w.id, id, sizeof w.id);
	if (write(c->to, &w, sizeof w) != (ssize_t)sizeof w)
		_exit(9);
}

static void *
ask_and_answer(void *arg)
{
	struct child *c = arg;
	struct buf scratch = {0};

	for (int i = 0;; i++) {
		char id[ULID_CHARS + 1];
		struct ledger_line line;
		struct slot *slot = NULL;

		ulid_make(&c->ids, clock_wall_ms(), id);
		line = exchange_line(id);
		if (i % 8 > 0) {
			if ((slot = ledger_take_slot(c->ledger)) == NULL)
				_exit(8);
			slot_mark_sent(slot, &line, &rates, &scratch);
			say(c, 's', id);
			note_running(slot, 30, i);
		}
		if (i % 16 == 15) {
			attempt(&line, "reset", 1);
			slot_mark_sent(slot, &line, &rates, &scratch);
		}
		attempt(&line, "ok", i);
		ledger_add(c->ledger, slot, &line, &scratch);
		say(c, 'd', id);
	}
	return NULL;
}

static void
run_child(const struct place *p, int to)
{
	struct ledger_options o = options_of(p);
	struct child children[CHILD_THREADS];
	pthread_t threads[CHILD_THREADS];
	char writer[ULID_CHARS + 1];
	struct ulid_source ids;
	struct fault why;
	struct ledger *l;

	if (!ulid_source_init(&ids, &why))
		_exit(7);
	ulid_make(&ids, clock_wall_ms(), writer);
	o.writer = writer;
	o.fsync = LEDGER_FSYNC_EVERYSEC;
	o.rotation =
	    (struct ledger_rotation){.bytes = 300000, .compresses = true};
	if ((l = ledger_open(&o, &why)) == NULL) {
		fprintf(stderr, "%s\n", why.text);
		_exit(6);
	}
	for (int i = 0; i < CHILD_THREADS; i++) {
		children[i] = (struct child){.ledger = l, .to = to};
		if (!ulid_source_init(&children[i].ids, &why) ||
		    pthread_create(
			&threads[i], NULL, ask_and_answer, &children[i]) != 0)
			_exit(5);
	}
	pthread_join(threads[0], NULL);
}

struct words {
	struct word *items; /* owned */
	size_t count, room;
};

static void
hear(struct words *all, int from, int timeout_ms)
{
	uint64_t until =
	    clock_mono_ns() + (uint64_t)timeout_ms * UINT64_C(1000000);
	uint64_t now;

	while ((now = clock_mono_ns()) < until) {
		struct pollfd fd = {.fd = from, .events = POLLIN};
		int left = (int)((until - now) / 1000000);

		if (poll(&fd, 1, left) <= 0)
			continue;
		if (all->count + 64 > all->room) {
			all->room = all->room * 2 + 1024;
			all->items = xrealloc_array(
			    all->items, all->room, sizeof *all->items);
		}
		/* Words are shorter than PIPE_BUF: they come whole. */
		ssize_t n = read(
		    from, all->items + all->count, 64 * sizeof *all->items);

		if (n <= 0)
			return;
		assert_int_equal((size_t)n % sizeof *all->items, 0);
		all->count += (size_t)n / sizeof *all->items;
	}
}

static void
check_words(const struct words *said, const struct stored_lines *all)
{
	size_t missing = 0;

	for (size_t i = 0; i < said->count; i++) {
		const struct stored *s = find_stored(all, said->items[i].id);

		missing += s == NULL;
		if (s != NULL && said->items[i].what == 'd')
			assert_string_equal(s->end, "ok");
	}
	assert_int_equal(missing, 0);
}

static void
killed_at_any_moment_it_loses_and_doubles_nothing(void **state)
{
	struct place *p = *state;
	struct seeded random = {clock_mono_ns() | 1};
	struct words said = {0};
	struct stored_lines all;
	struct ledger *l;

	for (int round = 0; round < ROUNDS; round++) {
		int pipes[2];
		pid_t child;

		assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0)
			run_child(p, pipes[1]);
		close(pipes[1]);
		hear(&said, pipes[0], (int)seeded_below(&random, 60));
		kill(child, SIGKILL);
		wait_killed(child);
		/* What it had said before it was killed. */
		hear(&said, pipes[0], 10000);
		close(pipes[0]);
	}
	l = open_as(p, "01ZZZZZZZZZZZZZZZZZZZZZZZZ");
	ledger_close(&l);
	all = read_ledger(p->path);
	check_numbers(&all);
	check_words(&said, &all);
	assert_true(said.count > ROUNDS);
	print_message("%zu lines, %zu words\n", all.count, said.count);
	release_lines(&all);
	free(said.items);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(at_every_step_a_kill_leaves_exactly_one_line_or_none),
	    TEST(a_start_that_is_killed_itself_changes_nothing),
	    TEST(the_text_of_a_crashed_line_is_that_of_its_draft),
	    TEST(what_was_free_is_avoided_and_text_without_counts_is_estimated),
	    TEST(a_failed_attempt_is_not_charged_again),
	    TEST(what_failover_cost_when_it_crashed_is_told),
	    TEST(what_only_counts_tokens_is_not_charged),
	    TEST(lines_of_earlier_writers_keep_their_numbers_and_come_first),
	    TEST(a_damaged_slot_is_told_and_given_up),
	    TEST(after_another_boot_the_ledger_itself_is_asked),
	    TEST(without_the_file_of_the_last_write_the_ledger_itself_is_asked),
	    TEST(a_ledger_that_cannot_be_read_changes_no_slot),
	    TEST(killed_at_any_moment_it_loses_and_doubles_nothing),
	};

	umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
