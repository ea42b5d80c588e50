/*
 * Any bytes as overrides.json: refused with a reason, or a table that answers.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "auth/limits_text.h"
#include "auth/override_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* Every item that was taken is whole, and found by its user and setting. */
static void
look_at(const struct override_table *t)
{
	for (size_t i = 0; i < override_table_count(t); i++) {
		const struct override *o = override_table_at(t, i);
		unsigned setting = 0;
		struct limits over;
		int64_t until_ms;

		must(o->user[0] != '\0' && o->author[0] != '\0');
		must(o->until_ms > 0);
		while (setting < LIMITS_SETTINGS &&
		    o->limits.stated != 1u << setting)
			setting++;
		must(setting < LIMITS_SETTINGS);
		must(override_table_find(
			 t, o->user, setting, o->until_ms - 1) == o);
		must(override_table_find(t, o->user, setting, o->until_ms) ==
		    NULL);
		must(override_table_merge(
		    t, o->user, o->until_ms - 1, &over, &until_ms));
		must(until_ms >= o->until_ms);
		must(override_table_changes_ms(t, o->until_ms - 1) <=
		    o->until_ms);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct override_table *t;
	struct fault why = {""};

	t = override_table_parse(
	    (struct slice){(const char *)data, size}, &why);
	if (t == NULL)
		must(why.text[0] != '\0');
	else
		look_at(t);
	override_table_destroy(&t);
	return 0;
}
