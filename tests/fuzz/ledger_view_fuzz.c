/*
 * Any bytes as a ledger line: the fast reader and the general one say the same.
 * A blank before a line is what our own writer never puts there, so that the
 * general one has it.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "metering/ledger/check_line.h"
#include "metering/ledger/ledger_view.h"
#include "tests/unit/metering/ledger/view_same.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ledger_view fast, general;
	struct slice line = {(const char *)data, size}, moved;
	struct fault why = {""}, other = {""};
	bool is_good = ledger_view_read(&fast, line, &why);
	char *copy;

	must(is_good || why.text[0] != '\0');
	if (size >= LEDGER_LINE_MOST_BYTES)
		return 0;
	/* Of its own size, so that reading past its end is found. */
	copy = malloc(size + 1);
	must(copy != NULL);
	copy[0] = ' ';
	if (size > 0)
		memcpy(copy + 1, data, size);
	moved = (struct slice){copy, size + 1};
	must(ledger_view_read(&general, moved, &other) == is_good);
	if (is_good) {
		must(same_view(&fast, &general));
		must(check_line_sums(&fast, &why) ==
		    check_line_sums(&general, &other));
	}
	free(copy);
	return 0;
}
