#include "metering/ledger/name_table.h"

#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

#define FIRST_SLOTS 16

/* The slot of a name, or the free one where it belongs. */
static size_t *
find_slot(const struct name_table *t, struct slice name)
{
	size_t mask = t->slot_count - 1;

	for (size_t at = text_hash(name.p, name.len);; at++) {
		size_t *slot = &t->slots[at & mask];
		const struct slice *there;

		if (*slot == 0)
			return slot;
		there = &t->names[*slot - 1];
		if (there->len == name.len &&
		    memcmp(there->p, name.p, name.len) == 0)
			return slot;
	}
}

static void
grow(struct name_table *t)
{
	t->slot_count = t->slot_count == 0 ? FIRST_SLOTS : 2 * t->slot_count;
	free(t->slots);
	t->slots = xcalloc_array(t->slot_count, sizeof *t->slots);
	t->names =
	    xrealloc_array(t->names, t->slot_count / 2, sizeof *t->names);
	for (size_t i = 0; i < t->count; i++)
		*find_slot(t, t->names[i]) = i + 1;
}

size_t
name_table_find(struct name_table *t, struct slice name)
{
	size_t *slot;

	if (name.p == NULL)
		name = SLICE("");
	if (2 * t->count >= t->slot_count)
		grow(t);
	slot = find_slot(t, name);
	if (*slot == 0) {
		char *copy = xcalloc(name.len + 1);

		memcpy(copy, name.p, name.len);
		t->names[t->count] = (struct slice){copy, name.len};
		*slot = ++t->count;
	}
	return *slot - 1;
}

void
name_table_release(struct name_table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free((char *)t->names[i].p);
	free(t->names);
	free(t->slots);
	*t = (struct name_table){0};
}
