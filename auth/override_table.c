#include "auth/override_table.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "auth/limits_text.h"
#include "auth/state_read.h"
#include "base/buf.h"
#include "base/mem.h"

#include "base/banned.h"

struct override_table {
	struct arena memory;
	struct override *all; /* in memory */
	size_t count;
};

static bool
is_one_setting(const struct limits *l)
{
	return l->stated != 0 && (l->stated & (l->stated - 1)) == 0;
}

static bool
read_override(struct override_table *t, json_t *object, struct override *o,
    struct fault *why)
{
	static const char *const known[] = {
	    "user", "limits", "author", "set_ms", "until_ms"};

	o->limits = limits_none();
	if (!state_has_only(object, known, COUNT_OF(known), why) ||
	    !state_read_text(object, "user", &t->memory, &o->user, why) ||
	    !state_read_text(object, "author", &t->memory, &o->author, why) ||
	    !state_read_limits(object, &o->limits, why) ||
	    !state_read_time(object, "set_ms", &o->set_ms, why) ||
	    !state_read_time(object, "until_ms", &o->until_ms, why))
		return false;
	if (o->user == NULL || o->author == NULL || o->set_ms == 0 ||
	    o->until_ms == 0)
		return fault_set(
		    why, "user, author, set_ms or until_ms is missing");
	if (!is_one_setting(&o->limits))
		return fault_set(why, "\"limits\" is not one setting");
	return true;
}

static bool
is_there_twice(const struct override_table *t, const struct override *o)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->all[i].limits.stated == o->limits.stated &&
		    strcmp(t->all[i].user, o->user) == 0)
			return true;
	return false;
}

static bool
read_all(struct override_table *t, json_t *list, struct fault *why)
{
	struct fault what;
	json_t *object;
	size_t i;

	t->all =
	    arena_alloc(&t->memory, json_array_size(list) * sizeof *t->all);
	json_array_foreach(list, i, object)
	{
		struct override *o = &t->all[i];

		if (!read_override(t, object, o, &what))
			return fault_set(
			    why, "override number %zu: %s", i + 1, what.text);
		if (is_there_twice(t, o))
			return fault_set(why,
			    "override number %zu: that setting of %.80s "
			    "stands there twice",
			    i + 1, o->user);
		t->count = i + 1;
	}
	return true;
}

static struct override_table *
table_create(void)
{
	struct override_table *t = xcalloc(sizeof *t);

	arena_init(&t->memory);
	return t;
}

struct override_table *
override_table_parse(struct slice json, struct fault *why)
{
	struct override_table *t = table_create();
	json_t *list,
	    *document = state_file_parse(json, "overrides", &list, why);

	if (document == NULL || !read_all(t, list, why))
		override_table_destroy(&t);
	json_decref(document);
	return t;
}

static struct override_table *
load(const char *state_dir, bool any_owner, struct fault *why)
{
	struct override_table *t = NULL;
	struct buf text = {0};
	struct fault what;

	switch (state_file_read(state_dir, OVERRIDE_FILE_NAME,
	    OVERRIDE_FILE_MOST_BYTES, any_owner, &text, why)) {
	case STATE_IS_MISSING:
		t = table_create();
		break;
	case STATE_IS_BAD:
		break;
	case STATE_IS_THERE:
		t = override_table_parse(
		    (struct slice){buf_data(&text), buf_len(&text)}, &what);
		if (t == NULL)
			fault_set(why, "cannot use %s/%s: %s", state_dir,
			    OVERRIDE_FILE_NAME, what.text);
		break;
	}
	buf_release(&text);
	return t;
}

struct override_table *
override_table_load(const char *state_dir, struct fault *why)
{
	return load(state_dir, false, why);
}

struct override_table *
override_table_load_as_admin(const char *state_dir, struct fault *why)
{
	return load(state_dir, true, why);
}

void
override_table_destroy(struct override_table **tp)
{
	if (*tp == NULL)
		return;
	arena_release(&(*tp)->memory);
	free(*tp);
	*tp = NULL;
}

size_t
override_table_count(const struct override_table *t)
{
	return t->count;
}

const struct override *
override_table_at(const struct override_table *t, size_t i)
{
	return &t->all[i];
}

bool
override_holds(const struct override *o, int64_t wall_ms)
{
	return wall_ms < o->until_ms;
}

const struct override *
override_table_find(const struct override_table *t, const char *user,
    unsigned setting, int64_t wall_ms)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->all[i].limits.stated == 1u << setting &&
		    strcmp(t->all[i].user, user) == 0 &&
		    override_holds(&t->all[i], wall_ms))
			return &t->all[i];
	return NULL;
}

bool
override_table_merge(const struct override_table *t, const char *user,
    int64_t wall_ms, struct limits *over, int64_t *until_ms)
{
	*over = limits_none();
	*until_ms = 0;
	for (size_t i = 0; i < t->count; i++) {
		const struct override *o = &t->all[i];

		if (!override_holds(o, wall_ms) || strcmp(o->user, user) != 0)
			continue;
		limits_replace(over, &o->limits);
		if (o->until_ms > *until_ms)
			*until_ms = o->until_ms;
	}
	return over->stated != 0;
}

int64_t
override_table_changes_ms(const struct override_table *t, int64_t wall_ms)
{
	int64_t next_ms = INT64_MAX;

	for (size_t i = 0; i < t->count; i++)
		if (override_holds(&t->all[i], wall_ms) &&
		    t->all[i].until_ms < next_ms)
			next_ms = t->all[i].until_ms;
	return next_ms;
}
