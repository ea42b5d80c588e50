/* The section users.  The door is build.h. */
#include "conf/build.h"

#include <string.h>

#include "conf/setting.h"
#include "conf/values.h"

#include "base/banned.h"

#define USER_NAME_MOST_BYTES 64

/* It stands in ledger lines, in tables, and behind commands. */
static void
check_name(struct build *b, const struct node *name)
{
	if (name->text.len > USER_NAME_MOST_BYTES)
		build_error(b, name, "a user's name has at most %d bytes",
		    USER_NAME_MOST_BYTES);
	else if (slice_starts(name->text, "-"))
		build_error(b, name,
		    "a user's name must not begin with -, which commands take "
		    "for a flag");
}

static void
build_models_of(struct build *b, struct user_config *u, const struct node *list)
{
	u->models = arena_alloc(b->arena, list->count * sizeof *u->models);
	for (size_t i = 0; i < list->count; i++) {
		const struct node *n = list->items[i];
		size_t rank;

		if (n->kind != NODE_TEXT || node_is_empty(n))
			continue; /* has been told */
		if (slice_is(n->text, "*")) {
			u->all_models = true;
			continue;
		}
		rank = name_index_find(&b->c->memory->models, n->text);
		if (rank == SIZE_MAX)
			build_undefined(b, n, "model", &b->c->memory->models);
		else
			u->models[u->model_count++] = &b->c->models[rank];
	}
}

static void
check_keyless(
    struct build *b, const struct user_config *u, const struct node *key)
{
	if (!u->is_keyless)
		return;
	if (address_list_is_empty(u->from))
		build_error(b, key,
		    "user '%s' has key: none, so it must say from which "
		    "addresses: from: [192.168.1.0/24]",
		    u->name);
	if (u->is_admin)
		build_error(b, key,
		    "user '%s' has key: none, so it cannot be an admin",
		    u->name);
}

static void
build_user(struct build *b, struct user_config *u, const struct node *key,
    const struct node *user, const struct limits_said *common)
{
	check_name(b, key);
	u->is_keyless = setting_text(user, "users.*.key") != NULL;
	u->is_admin = setting_number(user, "users.*.role") == 1;
	u->from = setting_ranges(user, "users.*.from");
	check_keyless(b, u, key);
	build_models_of(b, u, setting_list(user, "users.*.models"));
	build_user_limits(b, u, user, common);
}

void
build_users(struct build *b)
{
	const struct node *section = node_get(b->root, "users");
	struct name_index *names = &b->c->memory->users;
	struct limits_said common = build_limits(b);

	if (section == NULL || section->kind != NODE_MAP)
		return;
	b->c->user_count = section->count;
	b->c->users =
	    arena_alloc(b->arena, section->count * sizeof *b->c->users);
	name_index_init(names, b->arena, section->count);
	for (size_t i = 0; i < section->count; i++) {
		struct user_config *u = &b->c->users[i];

		u->index = (uint32_t)i;
		u->name = section->keys[i]->text.p;
		name_index_add(names, section->keys[i]->text, i);
		build_user(b, u, section->keys[i], section->items[i], &common);
	}
	name_index_sort(names);
}
