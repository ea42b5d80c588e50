/*
 * Any bytes as a file of rollups, sealed or not: what is taken of a month can
 * be written again, and what is read from that is the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "metering/reports/rollup_file.h"
#include "metering/reports/rollup_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
on_row(void *arg, const struct rollup_row *row)
{
	/* The writer knows years of four digits. */
	if (row->start_ms >= 0 && row->sums->first_ms >= 0 &&
	    row->sums->last_ms >= 0)
		rollup_add_row(arg, row->start_ms, ROLLUP_ALL_NAMES, row);
}

static void
write_row(void *arg, const struct rollup_row *row)
{
	rollup_row_write(arg, row);
}

static enum rollup_verdict
read_month(struct rollup *t, const struct buf *text)
{
	struct fault why;

	return rollup_month_parse(
	    (struct slice){buf_data(text), buf_len(text)}, on_row, t, &why);
}

/* Names that are no UTF-8 change once, when they are written. */
static void
round_trip(const struct rollup *t)
{
	struct rollup *back = rollup_create();
	struct rollup_sums before, after;
	struct buf text = {0};
	struct json_out o = json_out_to(&text);

	buf_puts(&text, "{\"rollup\":1}\n");
	rollup_each(t, &ROLLUP_EVERYTHING, write_row, &o);
	rollup_seal(&text, rollup_count(t));
	must(read_month(back, &text) == ROLLUP_OK);
	must(rollup_count(back) <= rollup_count(t));
	rollup_sum(t, &ROLLUP_EVERYTHING, &before);
	rollup_sum(back, &ROLLUP_EVERYTHING, &after);
	must(memcmp(&before, &after, sizeof before) == 0);
	buf_release(&text);
	rollup_destroy(&back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice raw = {(const char *)data, size};
	struct rollup *t = rollup_create();
	struct rollup_manifest m;
	struct buf text = {0};
	struct slice sealed;
	struct fault why;

	must(rollup_manifest_parse(raw, &m, &why) != ROLLUP_ABSENT);
	rollup_manifest_release(&m);
	buf_put(&text, data, size);
	if (size > 0 && data[size - 1] != '\n')
		buf_puts(&text, "\n");
	rollup_seal(&text, 0);
	sealed = (struct slice){buf_data(&text), buf_len(&text)};
	if (rollup_manifest_parse(sealed, &m, &why) != ROLLUP_OK)
		must(m.month_count == 0 && why.text[0] != '\0');
	rollup_manifest_release(&m);
	if (read_month(t, &text) == ROLLUP_OK)
		round_trip(t);
	buf_release(&text);
	rollup_destroy(&t);
	return 0;
}
