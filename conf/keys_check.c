#include "conf/keys_check.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "conf/keys.h"
#include "conf/values.h"

#include "base/banned.h"

struct check {
	struct diagnostics *found; /* borrowed */
	bool *was_told;            /* owned; a row's warning was given */
};

/* A value and what it stands behind: a key, or itself in a list. */
struct place {
	const struct node *key;
	const struct node *value;
};

static void check_place(struct check *c, const struct key *k, struct place p);

static void
add_error(
    struct check *c, const struct node *at, const char *key, const char *text)
{
	diagnostics_add(c->found, SEVERITY_ERROR, at->line, at->column,
	    at->width, "%s%s%s", key, *key == '\0' ? "" : ": ", text);
}

static void
hide(struct check *c, const struct node *n)
{
	diagnostics_hide(c->found,
	    (struct hidden_span){
		n->line, n->column, n->end_line, n->end_column});
}

/* The keys that may stand in `parent`, for a message. */
static void
list_known(const struct key *parent, struct buf *out)
{
	const struct key *k = NULL;
	const char *comma = "";

	while ((k = key_next_child(parent, k)) != NULL) {
		buf_printf(out, "%s%s", comma, key_name(k));
		comma = ", ";
	}
}

static bool
may_be_secret(const struct key *k)
{
	return k == NULL || k->type == TYPE_SECRET ||
	    strcmp(key_name(k), "key") == 0;
}

static void
refuse_unknown(struct check *c, const struct key *parent, struct place p)
{
	const struct key *meant = NULL;
	char shown[QUOTED_BYTES];
	struct buf hint = {0};

	if (!diagnostics_are_full(c->found))
		meant = key_suggest(parent, p.key->text);
	if (meant != NULL) {
		buf_printf(
		    &hint, "did you mean '%s'?", key_path_below(parent, meant));
	} else {
		buf_puts(&hint, "known here: ");
		list_known(parent, &hint);
	}
	diagnostics_add(c->found, SEVERITY_ERROR, p.key->line, p.key->column,
	    p.key->width, "unknown key %s; %.*s", quoted(p.key->text, shown),
	    (int)buf_len(&hint), buf_data(&hint));
	buf_release(&hint);
	if (may_be_secret(meant))
		hide(c, p.value);
}

/* Once for each key, however often it stands in the file; not for what is in a
 * map that was told already. */
static void
tell_if_unused(struct check *c, const struct key *parent, const struct key *k,
    const struct node *at)
{
	bool *was_told = &c->was_told[k - config_keys];
	bool parent_acts = parent == NULL || (parent->flags & KEY_ACTS);

	if (*was_told || (k->flags & KEY_ACTS) || !parent_acts)
		return;
	*was_told = true;
	diagnostics_add(c->found, SEVERITY_WARNING, at->line, at->column,
	    at->width, "%s is checked but not acted on by this version",
	    k->path);
}

static void
refuse_missing(struct check *c, const struct key *parent, struct place p)
{
	const struct key *k = NULL;

	while ((k = key_next_child(parent, k)) != NULL) {
		if (!(k->flags & KEY_REQUIRED) ||
		    node_get(p.value, key_name(k)) != NULL)
			continue;
		if (k->type == TYPE_VERSION)
			add_error(c, p.key, "",
			    "version is missing; the file begins with "
			    "version: 1");
		else
			diagnostics_add(c->found, SEVERITY_ERROR, p.key->line,
			    p.key->column, p.key->width, "%s is missing here",
			    key_name(k));
	}
}

static void
check_map(struct check *c, const struct key *parent, struct place p)
{
	for (size_t i = 0; i < p.value->count; i++) {
		struct place child = {p.value->keys[i], p.value->items[i]};
		const struct key *k = key_child(parent, child.key->text);

		if (k == NULL) {
			refuse_unknown(c, parent, child);
			continue;
		}
		tell_if_unused(c, parent, k, child.key);
		check_place(c, k, child);
	}
	refuse_missing(c, parent, p);
}

static void
check_names(struct check *c, const struct key *parent, struct place p)
{
	for (size_t i = 0; i < p.value->count; i++) {
		struct place child = {p.value->keys[i], p.value->items[i]};
		struct fault why;

		if (!name_check(child.key->text, &why))
			add_error(c, child.key, "this name", why.text);
		check_place(c, key_child(parent, child.key->text), child);
	}
}

/* Fields of a request. */
static void
check_params(struct check *c, struct place p)
{
	for (size_t i = 0; i < p.value->count; i++) {
		const struct node *name = p.value->keys[i];
		struct fault why;

		if (!name_check(name->text, &why))
			add_error(c, name, "this field", why.text);
	}
}

static bool
is_url(const struct key *k)
{
	return k->type == TYPE_URL || k->type == TYPE_REDIS_URL;
}

static void
check_text(struct check *c, const struct key *k, struct place p)
{
	struct fault why;
	uint64_t ignored;

	if (node_is_empty(p.value)) {
		add_error(c, p.key, key_name(k), "has no value");
		return;
	}
	if (value_read(k, p.value->text, &ignored, &why))
		return;
	if (may_be_secret(k) ||
	    (is_url(k) && memchr(p.value->text.p, '@', p.value->text.len)))
		hide(c, p.value);
	add_error(
	    c, p.value, k->type == TYPE_SECRET ? "" : key_name(k), why.text);
}

static const char *
expected(const struct key *k)
{
	if (k->type == TYPE_MAP)
		return "must be a map of keys and values";
	if (k->type == TYPE_NAMES)
		return "must be a map of names";
	if (k->type == TYPE_PARAMS)
		return "must be a map of fields and values";
	return "must be a single value";
}

static bool
is_map_type(const struct key *k)
{
	return k->type == TYPE_MAP || k->type == TYPE_NAMES ||
	    k->type == TYPE_PARAMS;
}

/* One value, not a list of them. */
static void
check_single(struct check *c, const struct key *k, struct place p)
{
	static const struct node nothing = {.kind = NODE_MAP};
	enum node_kind due = is_map_type(k) ? NODE_MAP : NODE_TEXT;

	/* `users:` with all its lines commented out is an empty map. */
	if (due == NODE_MAP && node_is_empty(p.value))
		p.value = &nothing;
	if (p.value->kind != due) {
		if (!is_map_type(k))
			hide(c, p.value);
		add_error(c, p.key, key_name(k), expected(k));
	} else if (k->type == TYPE_MAP) {
		check_map(c, k, p);
	} else if (k->type == TYPE_NAMES) {
		check_names(c, k, p);
	} else if (k->type == TYPE_PARAMS) {
		check_params(c, p);
	} else {
		check_text(c, k, p);
	}
}

static void
refuse_single(struct check *c, const struct key *k, struct place p)
{
	char shown[QUOTED_BYTES];

	if (p.value->kind == NODE_TEXT && !is_map_type(k))
		diagnostics_add(c->found, SEVERITY_ERROR, p.value->line,
		    p.value->column, p.value->width,
		    "%s: must be a list, with %s in brackets: […]", key_name(k),
		    quoted(p.value->text, shown));
	else
		add_error(c, p.key, key_name(k), "must be a list");
}

static void
check_place(struct check *c, const struct key *k, struct place p)
{
	bool may_list = (k->flags & (KEY_LIST | KEY_ONE_OR_LIST)) != 0;

	if (may_list && p.value->kind == NODE_LIST) {
		for (size_t i = 0; i < p.value->count; i++)
			check_single(c, k,
			    (struct place){
				p.value->items[i], p.value->items[i]});
	} else if (!(k->flags & KEY_LIST)) {
		check_single(c, k, p);
	} else if (!node_is_empty(p.value)) {
		refuse_single(c, k, p);
	}
}

void
keys_check(const struct node *root, struct diagnostics *found)
{
	struct check c = {found, xcalloc_array(config_key_count, sizeof(bool))};
	const struct place all = {root, root};

	if (root->kind != NODE_MAP)
		diagnostics_add(found, SEVERITY_ERROR, root->line, root->column,
		    root->width,
		    "a configuration is a map of keys and values; it begins "
		    "with version: 1");
	else
		check_map(&c, NULL, all);
	free(c.was_told);
}
