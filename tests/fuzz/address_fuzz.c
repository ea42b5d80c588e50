/*
 * Any text as an address and as lines of ranges: what is taken is written back
 * and read as the same, and a list holds the first address of each range.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
round_trip(struct slice text)
{
	char written[ADDRESS_TEXT_BYTES];
	struct address a, again;

	if (!address_parse(text, &a))
		return;
	address_format(written, &a);
	must(address_parse(slice_of(written), &again));
	must(address_equal(&a, &again));
}

/* The part before the slash, if the range was taken, is in the list. */
static void
check_member(const struct address_list *l, struct slice range)
{
	const char *slash =
	    range.len == 0 ? NULL : memchr(range.p, '/', range.len);
	struct address a;

	if (slash != NULL)
		range.len = (size_t)(slash - range.p);
	must(address_parse(range, &a));
	must(address_list_has(l, &a));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { LINES_MOST = 64 };
	struct address_list *l = address_list_create();
	struct slice taken[LINES_MOST];
	const char *p = (const char *)data, *end = p + size;
	size_t count = 0;
	struct fault why;

	while (p < end && count < LINES_MOST) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));
		struct slice line = {
		    p, (size_t)((eol == NULL ? end : eol) - p)};

		round_trip(line);
		if (address_list_add(l, line, &why))
			taken[count++] = line;
		p = eol == NULL ? end : eol + 1;
	}
	address_list_seal(l);
	for (size_t i = 0; i < count; i++)
		check_member(l, taken[i]);
	address_list_destroy(&l);
	return 0;
}
