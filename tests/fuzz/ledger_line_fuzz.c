/*
 * Any bytes as a ledger line: what is taken can be written again, as one line
 * within its size, and what is read from that is the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metering/ledger/ledger_view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static const char *
text_of(struct arena *a, struct slice s)
{
	return s.p == NULL ? NULL : arena_strndup(a, s.p, s.len);
}

#define OF_TEXT(a, value) text_of(a, value)
#define OF_MONEY(a, value) (value)
#define OF_INT(a, value) (value)
#define OF_BOOL(a, value) (value)
#define OF_TIME(a, value) (value)

/* The line that a view shows; its texts live in the arena. */
static struct ledger_line
line_of(struct arena *a, const struct ledger_view *v)
{
	struct ledger_line line = {.attempt_count = v->attempt_count};

#define X(member, name, type, help) line.member = OF_##type(a, v->member);
	LEDGER_FIELDS(X)
#undef X
	for (size_t i = 0; i < v->attempt_count; i++)
		line.attempts[i] = (struct ledger_attempt){
		    .upstream = text_of(a, v->attempts[i].upstream),
		    .result = text_of(a, v->attempts[i].result),
		    .usage = v->attempts[i].usage,
		    .source = v->attempts[i].source,
		    .cost_pusd = v->attempts[i].cost_pusd,
		};
	return line;
}

/* Writes what `from` shows into `b`, and reads it into `back`. */
static void
round_trip(
    struct buf *b, const struct ledger_view *from, struct ledger_view *back)
{
	struct ledger_line line;
	struct arena a;
	struct fault why;
	size_t len;

	arena_init(&a);
	line = line_of(&a, from);
	buf_clear(b);
	ledger_line_write(b, &line);
	ledger_line_finish(b, "01K9W00000000000000000000A", 1);
	len = buf_len(b) - 1;
	must(len < LEDGER_LINE_MOST_BYTES);
	must(memchr(buf_data(b), '\n', len) == NULL);
	must(ledger_view_read(back, (struct slice){buf_data(b), len}, &why));
	must(back->attempt_count == from->attempt_count);
	arena_release(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ledger_view read, again, last;
	struct slice text = {(const char *)data, size};
	struct buf first = {0}, second = {0}, third = {0};
	struct fault why;

	if (!ledger_view_read(&read, text, &why))
		return 0;
	/* Years before 1970 are none of ours. */
	if (read.ts_ms < 0)
		return 0;
	round_trip(&first, &read, &again);
	must(again.prompt_tokens == read.prompt_tokens);
	must(again.cost_usd == read.cost_usd);
	/* Damaged texts have become clean ones, and long ones are cut: from
	 * then on nothing changes. */
	round_trip(&second, &again, &last);
	round_trip(&third, &last, &again);
	must(buf_len(&second) == buf_len(&third));
	must(
	    memcmp(buf_data(&second), buf_data(&third), buf_len(&second)) == 0);
	buf_release(&first);
	buf_release(&second);
	buf_release(&third);
	return 0;
}
