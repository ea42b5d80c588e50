/*
 * Any bytes as a ledger line: what is taken can be written again, as one line
 * within its size, and what is read from that is the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/ledger_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* Writes a line and reads it into `back`. */
static void
round_trip(
    struct buf *b, const struct ledger_line *line, struct ledger_entry *back)
{
	struct fault why;
	size_t len;

	buf_clear(b);
	ledger_line_write(b, line);
	ledger_line_finish(b, "01K9W00000000000000000000A", 1);
	len = buf_len(b) - 1;
	must(len < LEDGER_LINE_MOST_BYTES);
	must(memchr(buf_data(b), '\n', len) == NULL);
	must(ledger_line_read((struct slice){buf_data(b), len}, back, &why));
	must(back->line.attempt_count == line->attempt_count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ledger_entry read, again, last;
	struct slice text = {(const char *)data, size};
	struct buf first = {0}, second = {0};
	struct fault why;

	if (!ledger_line_read(text, &read, &why))
		return 0;
	/* strftime() writes years of four digits only from 1000 on. */
	if (read.line.ts_ms < 0)
		return 0;
	round_trip(&first, &read.line, &again);
	must(again.line.prompt_tokens == read.line.prompt_tokens);
	must(again.line.cost_usd == read.line.cost_usd);
	/* Damaged texts have become clean ones, and long ones are cut: from
	 * then on nothing changes. */
	round_trip(&first, &again.line, &last);
	round_trip(&second, &last.line, &again);
	must(buf_len(&first) == buf_len(&second));
	must(memcmp(buf_data(&first), buf_data(&second), buf_len(&first)) == 0);
	buf_release(&first);
	buf_release(&second);
	return 0;
}
