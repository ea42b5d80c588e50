#include "conf/config.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "conf/build.h"
#include "conf/keys_check.h"
#include "conf/yaml_tree.h"

#include "base/banned.h"

static void
wipe_secrets(struct config_memory *m)
{
	while (m->secrets != NULL) {
		struct secret *s = m->secrets;

		m->secrets = s->next;
		secret_free(s, sizeof *s + s->len);
	}
}

static void
config_destroy(struct config *c)
{
	struct config_memory *m = c->memory;

	address_list_destroy(&c->server.allow_from);
	address_list_destroy(&c->server.trusted_proxies);
	for (size_t i = 0; i < c->user_count; i++)
		address_list_destroy(&c->users[i].from);
	wipe_secrets(m);
	arena_release(&m->arena);
	free(m);
	free(c);
}

struct config *
config_ref(struct config *c)
{
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	return c;
}

void
config_unref(struct config **cp)
{
	struct config *c = *cp;

	*cp = NULL;
	if (c != NULL && __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0)
		config_destroy(c);
}

static struct config *
config_new(const char *path)
{
	struct config *c = xcalloc(sizeof *c);

	c->refs = 1;
	c->memory = xcalloc(sizeof *c->memory);
	arena_init(&c->memory->arena);
	c->path = arena_strndup(&c->memory->arena, path, strlen(path));
	return c;
}

/* The folder of the file, from the root. */
static const char *
folder_of(struct arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);
	char here[PATH_MAX];

	if (path[0] == '/')
		return arena_strndup(a, path, len);
	if (getcwd(here, sizeof here) == NULL)
		here[0] = '\0';
	return len == 0 ? arena_strndup(a, here, strlen(here))
			: arena_printf(a, "%s/%.*s", here, (int)len, path);
}

/* A gateway that serves nobody starts, but hardly anyone means it. */
static void
warn_if_useless(struct build *b)
{
	if (b->c->model_count == 0)
		build_warning(b, b->root,
		    "there are no models: every request will be refused");
	if (b->c->user_count == 0)
		build_warning(b, b->root,
		    "there are no users: every request will be refused");
}

static void
build_all(struct config *c, const struct node *root,
    const struct config_env *env, struct diagnostics *found)
{
	struct arena *a = &c->memory->arena;
	struct build b = {c, a, env, root, folder_of(a, c->path), found};

	build_server(&b);
	build_ledger(&b);
	build_upstreams(&b);
	build_models(&b);
	build_users(&b);
	warn_if_useless(&b);
}

struct config *
config_parse(const char *path, struct slice text, const struct config_env *env,
    struct diagnostics *found)
{
	struct config *c = config_new(path);
	const struct node *root =
	    yaml_tree_read(text, &c->memory->arena, found);

	if (root != NULL) {
		keys_check(root, found);
		if (root->kind == NODE_MAP)
			build_all(c, root, env, found);
	}
	diagnostics_sort(found);
	assert(root != NULL || found->errors > 0);
	if (found->errors > 0)
		config_unref(&c);
	return c;
}

struct config *
config_load(
    const char *path, const struct config_env *env, struct diagnostics *found)
{
	struct config *c = NULL;
	struct buf text = {0};
	struct fault why;

	if (file_read(path, CONFIG_FILE_MOST_BYTES, true, &text, &why))
		c = config_parse(path,
		    (struct slice){buf_data(&text), buf_len(&text)}, env,
		    found);
	else
		diagnostics_add(found, SEVERITY_ERROR, 0, 0, 1, "%s", why.text);
	buf_release(&text);
	return c;
}

const struct model_config *
config_model(const struct config *c, struct slice name)
{
	size_t rank = name_index_find(&c->memory->models, name);

	return rank == SIZE_MAX ? NULL : &c->models[rank];
}

const struct user_config *
config_user(const struct config *c, struct slice name)
{
	size_t rank = name_index_find(&c->memory->users, name);

	return rank == SIZE_MAX ? NULL : &c->users[rank];
}

const struct upstream_config *
config_upstream(const struct config *c, struct slice name)
{
	size_t rank = name_index_find(&c->memory->upstreams, name);

	return rank == SIZE_MAX ? NULL : &c->upstreams[rank];
}

static int
compare_model(const void *model, const void *at)
{
	const struct model_config *a = model,
				  *b = ((const struct user_model_limits *)at)
					   ->model;

	return (a > b) - (a < b);
}

const struct user_model_limits *
user_limits_at(const struct user_config *u, const struct model_config *m)
{
	return u->at_model_count == 0
	    ? NULL
	    : bsearch(m, u->at_models, u->at_model_count, sizeof *u->at_models,
		  compare_model);
}

bool
user_may_use(const struct user_config *u, const struct model_config *m)
{
	for (size_t i = 0; i < u->model_count; i++)
		if (u->models[i] == m)
			return true;
	return u->all_models;
}

const struct user_config *
config_keyless_user(const struct config *c, const struct address *a)
{
	for (size_t i = 0; i < c->user_count; i++)
		if (c->users[i].is_keyless &&
		    address_list_has(c->users[i].from, a))
			return &c->users[i];
	return NULL;
}
