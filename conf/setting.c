#include "conf/setting.h"

#include <string.h>

#include "base/buf.h"
#include "conf/keys.h"
#include "conf/reference.h"
#include "conf/values.h"

#include "base/banned.h"

static bool
is_valid(const struct node *n, const struct key *k, uint64_t *value)
{
	return n != NULL && n->kind == NODE_TEXT && !node_is_empty(n) &&
	    value_read(k, n->text, value, NULL);
}

bool
setting_is_valid(const struct node *n, const char *path)
{
	uint64_t ignored;

	return is_valid(n, key_at(path), &ignored);
}

uint64_t
setting_number(const struct node *map, const char *path)
{
	const struct key *k = key_at(path);
	uint64_t value;

	if (is_valid(node_get(map, key_name(k)), k, &value))
		return value;
	if (k->fallback != NULL &&
	    value_read(k, slice_of(k->fallback), &value, NULL))
		return value;
	return 0;
}

bool
setting_flag(const struct node *map, const char *path)
{
	return setting_number(map, path) == 1;
}

const char *
setting_text(const struct node *map, const char *path)
{
	const struct key *k = key_at(path);
	const struct node *n = node_get(map, key_name(k));
	uint64_t ignored;

	return is_valid(n, k, &ignored) ? n->text.p : k->fallback;
}

const struct node *
setting_list(const struct node *map, const char *path)
{
	static const struct node nothing = {.kind = NODE_LIST};
	const struct node *n = node_get(map, key_name(key_at(path)));

	return n != NULL && n->kind == NODE_LIST ? n : &nothing;
}

const char *
path_absolute(const struct build *b, const char *path)
{
	if (path[0] == '/')
		return path;
	return arena_printf(b->arena, "%s/%s", b->folder, path);
}

const char *
setting_path(const struct build *b, const struct node *map, const char *path)
{
	const char *text = setting_text(map, path);

	return text == NULL ? NULL : path_absolute(b, text);
}

/* Keeps a copy in memory that is wiped. */
static const char *
keep_secret(struct build *b, const struct buf *value)
{
	struct secret *s = xcalloc(sizeof *s + buf_len(value) + 1);

	s->len = buf_len(value);
	memcpy(s->text, buf_data(value), s->len);
	s->next = b->c->memory->secrets;
	b->c->memory->secrets = s;
	return s->text;
}

const char *
setting_secret(struct build *b, const struct node *map, const char *path)
{
	const struct key *k = key_at(path);
	const struct node *n = node_get(map, key_name(k));
	const char *secret = NULL;
	struct buf value = {0};
	struct reference r;
	struct fault why;
	uint64_t ignored;

	if (!is_valid(n, k, &ignored))
		return NULL;
	if (!reference_is_in(n->text))
		return n->text.p;
	if (k->type == TYPE_SECRET && b->env->without_secrets)
		return "";
	if (reference_parse(n->text, &r, &why) &&
	    reference_resolve(&r, b->env, b->folder, &value, &why))
		secret = keep_secret(b, &value);
	else
		build_error(b, n, "%s: %s", key_name(k), why.text);
	if (value.base != NULL)
		explicit_bzero(value.base, value.room);
	buf_release(&value);
	return secret;
}

struct address_list *
setting_ranges(const struct node *map, const char *path)
{
	const struct node *ranges = setting_list(map, path);
	struct address_list *l = address_list_create();

	for (size_t i = 0; i < ranges->count; i++)
		if (ranges->items[i]->kind == NODE_TEXT &&
		    !address_list_add(l, ranges->items[i]->text, NULL))
			continue; /* has been told */
	address_list_seal(l);
	return l;
}
