#include "metering/reports/rollup_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define FIRST_ROOM 64 /* a power of two */

void
rollup_names_init(struct rollup_names *n)
{
	n->slot_count = FIRST_ROOM;
	n->slots = xcalloc_array(n->slot_count, sizeof *n->slots);
	n->room = FIRST_ROOM;
	n->texts = xcalloc_array(n->room, sizeof *n->texts);
	n->count = 1;
	arena_init(&n->arena);
}

void
rollup_names_release(struct rollup_names *n)
{
	free(n->slots);
	free(n->texts);
	arena_release(&n->arena);
}

static uint32_t *
find_slot(const struct rollup_names *n, struct slice s)
{
	for (size_t at = text_hash(s.p, s.len);; at++) {
		uint32_t *slot = &n->slots[at & (n->slot_count - 1)];
		struct slice text = n->texts[*slot];

		if (*slot == 0 ||
		    (text.len == s.len && memcmp(text.p, s.p, s.len) == 0))
			return slot;
	}
}

static void
grow(struct rollup_names *n)
{
	n->room *= 2;
	n->texts = xrealloc_array(n->texts, n->room, sizeof *n->texts);
	free(n->slots);
	n->slot_count = 2 * n->room;
	n->slots = xcalloc_array(n->slot_count, sizeof *n->slots);
	for (uint32_t i = 1; i < n->count; i++)
		*find_slot(n, n->texts[i]) = i;
}

uint32_t
rollup_names_find(const struct rollup_names *n, struct slice s)
{
	return s.p == NULL ? 0 : *find_slot(n, s);
}

uint32_t
rollup_names_put(struct rollup_names *n, struct slice s)
{
	uint32_t *slot;

	if (s.p == NULL)
		return 0;
	slot = find_slot(n, s);
	if (*slot != 0)
		return *slot;
	if (n->count == n->room) {
		grow(n);
		slot = find_slot(n, s);
	}
	n->texts[n->count] =
	    (struct slice){arena_strndup(&n->arena, s.p, s.len), s.len};
	*slot = (uint32_t)n->count++;
	return *slot;
}
