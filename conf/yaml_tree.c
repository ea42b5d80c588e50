#include "conf/yaml_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "conf/config.h"
#include "conf/yaml_error.h"

#include "base/banned.h"

struct anchor {
	struct slice name;
	struct node *node; /* NULL: not yet complete */
};

/* A list or map that has begun and not ended. */
struct frame {
	struct node *node;
	struct node *key;      /* of a map: waits for its value */
	size_t room;           /* of node->items */
	struct anchor *anchor; /* or NULL */
};

struct reader {
	yaml_parser_t parser;
	struct arena *arena; /* borrowed, like all here */
	struct diagnostics *found;
	struct frame frames[CONFIG_DEPTH_MOST];
	unsigned depth;
	size_t weight; /* of the tree so far */
	struct anchor *anchors;
	size_t anchor_count;
	const struct node *last_quoted; /* the last text in quotes */
	struct node *root;
	unsigned documents;
};

/* What an event leads to. */
enum progress { GO_ON, AT_END, GIVE_UP };

static unsigned
one_based(size_t mark)
{
	return (unsigned)mark + 1;
}

static void
error_at(struct reader *r, const yaml_event_t *e, const char *message)
{
	diagnostics_add(r->found, SEVERITY_ERROR, one_based(e->start_mark.line),
	    one_based(e->start_mark.column), 1, "%s", message);
}

static struct node *
node_new(struct reader *r, enum node_kind kind, const yaml_event_t *e)
{
	struct node *n = arena_alloc(r->arena, sizeof *n);
	const yaml_mark_t *from = &e->start_mark, *to = &e->end_mark;

	n->kind = kind;
	n->line = one_based(from->line);
	n->column = one_based(from->column);
	n->end_line = one_based(to->line);
	n->end_column = one_based(to->column);
	n->width = 1;
	if (kind == NODE_TEXT && from->line == to->line &&
	    to->column > from->column)
		n->width = (unsigned)(to->column - from->column);
	n->weight = 1;
	n->height = kind == NODE_TEXT ? 0 : 1;
	return n;
}

static struct slice
copy_text(struct reader *r, const yaml_char_t *p, size_t len)
{
	return (struct slice){
	    arena_strndup(r->arena, (const char *)p, len), len};
}

/* Anchors are found from the last one back: a name may be given again. */
static struct anchor *
anchor_find(struct reader *r, const yaml_char_t *name)
{
	for (size_t i = r->anchor_count; i-- > 0;)
		if (slice_is(r->anchors[i].name, (const char *)name))
			return &r->anchors[i];
	return NULL;
}

static enum progress
anchor_add(struct reader *r, const yaml_event_t *e, const yaml_char_t *name,
    struct node *n)
{
	if (name == NULL)
		return GO_ON;
	if (r->anchor_count == YAML_ANCHORS_MOST) {
		error_at(r, e, "too many anchors");
		return GIVE_UP;
	}
	if (r->anchors == NULL)
		r->anchors = arena_alloc(
		    r->arena, YAML_ANCHORS_MOST * sizeof *r->anchors);
	r->anchors[r->anchor_count++] =
	    (struct anchor){copy_text(r, name, strlen((const char *)name)), n};
	return GO_ON;
}

static void *
grown(struct arena *a, void *old, size_t count, size_t room)
{
	void *new = arena_alloc(a, room * sizeof(void *));

	if (count > 0)
		memcpy(new, old, count * sizeof(void *));
	return new;
}

/* Puts a key (NULL in a list) and its value into the innermost frame. */
static void
append(struct reader *r, struct frame *f, struct node *key, struct node *n)
{
	struct node *into = f->node;

	if (into->count == f->room) {
		f->room = f->room == 0 ? 4 : f->room * 2;
		into->items =
		    grown(r->arena, into->items, into->count, f->room);
		if (into->kind == NODE_MAP)
			into->keys =
			    grown(r->arena, into->keys, into->count, f->room);
	}
	if (into->kind == NODE_MAP)
		into->keys[into->count] = key;
	into->items[into->count++] = n;
	into->weight += n->weight;
	if (n->height + 1 > into->height)
		into->height = n->height + 1;
}

static bool
is_merge_key(const struct node *n)
{
	return !n->is_quoted && slice_is(n->text, "<<");
}

/* A whole node: the root, an item, a key or a key's value. */
static enum progress
place(struct reader *r, const yaml_event_t *e, struct node *n)
{
	struct frame *f = r->depth == 0 ? NULL : &r->frames[r->depth - 1];

	if (f == NULL) {
		r->root = n;
		return GO_ON;
	}
	if (f->node->kind == NODE_MAP && f->key == NULL) {
		if (n->kind != NODE_TEXT) {
			error_at(r, e, "a key must be a plain text");
			return GIVE_UP;
		}
		f->key = n;
		return GO_ON;
	}
	if (f->key != NULL && is_merge_key(f->key))
		diagnostics_add(r->found, SEVERITY_ERROR, f->key->line,
		    f->key->column, f->key->width,
		    "merge keys (<<) are not supported; what users have in "
		    "common goes under limits:");
	else
		append(r, f, f->key, n);
	f->key = NULL;
	return GO_ON;
}

/* Counts a node, or all that an alias stands for. */
static enum progress
count_nodes(struct reader *r, const yaml_event_t *e, size_t more)
{
	r->weight += more;
	if (r->weight <= YAML_NODES_MOST)
		return GO_ON;
	error_at(r, e,
	    "the file holds too many values, counting each alias as "
	    "what it stands for");
	return GIVE_UP;
}

static void
refuse_tag(struct reader *r, const yaml_event_t *e, const yaml_char_t *tag)
{
	if (tag != NULL)
		error_at(r, e, "tags (!…) are not used here; remove it");
}

static enum progress
on_scalar(struct reader *r, const yaml_event_t *e)
{
	struct node *n = node_new(r, NODE_TEXT, e);

	n->text = copy_text(r, e->data.scalar.value, e->data.scalar.length);
	n->is_quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (e->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
	    e->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE)
		r->last_quoted = n;
	refuse_tag(r, e, e->data.scalar.tag);
	if (count_nodes(r, e, 1) != GO_ON ||
	    anchor_add(r, e, e->data.scalar.anchor, n) != GO_ON)
		return GIVE_UP;
	return place(r, e, n);
}

static enum progress
on_alias(struct reader *r, const yaml_event_t *e)
{
	struct anchor *a = anchor_find(r, e->data.alias.anchor);

	if (a == NULL) {
		error_at(r, e, "no anchor of this name stands before it");
		return GIVE_UP;
	}
	if (a->node == NULL) {
		error_at(r, e, "an alias must not stand inside what it names");
		return GIVE_UP;
	}
	if (r->depth + a->node->height > CONFIG_DEPTH_MOST) {
		error_at(r, e, "nested too deeply");
		return GIVE_UP;
	}
	if (count_nodes(r, e, a->node->weight) != GO_ON)
		return GIVE_UP;
	return place(r, e, a->node);
}

static enum progress
on_begin(struct reader *r, const yaml_event_t *e, enum node_kind kind,
    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct frame *f;

	if (r->depth == CONFIG_DEPTH_MOST) {
		diagnostics_add(r->found, SEVERITY_ERROR,
		    one_based(e->start_mark.line),
		    one_based(e->start_mark.column), 1,
		    "nested deeper than %d levels", CONFIG_DEPTH_MOST);
		return GIVE_UP;
	}
	refuse_tag(r, e, tag);
	if (count_nodes(r, e, 1) != GO_ON ||
	    anchor_add(r, e, anchor, NULL) != GO_ON)
		return GIVE_UP;
	f = &r->frames[r->depth++];
	*f = (struct frame){.node = node_new(r, kind, e)};
	if (anchor != NULL)
		f->anchor = &r->anchors[r->anchor_count - 1];
	return GO_ON;
}

/* A key, and where it stood among the others. */
struct ranked_key {
	struct slice text;
	size_t rank;
};

static int
compare_keys(const void *left, const void *right)
{
	const struct ranked_key *a = left, *b = right;
	size_t n = a->text.len < b->text.len ? a->text.len : b->text.len;
	int c = memcmp(a->text.p, b->text.p, n);

	if (c != 0)
		return c;
	if (a->text.len != b->text.len)
		return a->text.len < b->text.len ? -1 : 1;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static bool
same_text(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

/* Takes out every later one of two equal keys. */
static void
refuse_duplicates(struct reader *r, struct node *map)
{
	struct ranked_key *sorted = xcalloc_array(map->count, sizeof *sorted);
	size_t first = 0, kept = 0;

	for (size_t i = 0; i < map->count; i++)
		sorted[i] = (struct ranked_key){map->keys[i]->text, i};
	qsort(sorted, map->count, sizeof *sorted, compare_keys);
	for (size_t i = 1; i < map->count; i++) {
		struct node *again = map->keys[sorted[i].rank];

		if (!same_text(sorted[first].text, sorted[i].text)) {
			first = i;
			continue;
		}
		diagnostics_add(r->found, SEVERITY_ERROR, again->line,
		    again->column, again->width,
		    "duplicate key '%s' (first defined at line %u)",
		    again->text.p, map->keys[sorted[first].rank]->line);
		map->items[sorted[i].rank] = NULL;
	}
	for (size_t i = 0; i < map->count; i++) {
		if (map->items[i] == NULL)
			continue;
		map->keys[kept] = map->keys[i];
		map->items[kept++] = map->items[i];
	}
	map->count = kept;
	free(sorted);
}

static enum progress
on_end(struct reader *r, const yaml_event_t *e)
{
	struct frame *f = &r->frames[--r->depth];

	f->node->end_line = one_based(e->end_mark.line);
	f->node->end_column = one_based(e->end_mark.column);
	if (f->node->kind == NODE_MAP && f->node->count > 1)
		refuse_duplicates(r, f->node);
	if (f->anchor != NULL)
		f->anchor->node = f->node;
	return place(r, e, f->node);
}

static enum progress
on_document(struct reader *r, const yaml_event_t *e)
{
	if (r->documents++ == 0)
		return GO_ON;
	error_at(r, e,
	    "a second document begins here; a configuration is one "
	    "document, without another ---");
	return GIVE_UP;
}

static enum progress
on_event(struct reader *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return on_document(r, e);
	case YAML_SCALAR_EVENT:
		return on_scalar(r, e);
	case YAML_ALIAS_EVENT:
		return on_alias(r, e);
	case YAML_SEQUENCE_START_EVENT:
		return on_begin(r, e, NODE_LIST, e->data.sequence_start.anchor,
		    e->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return on_begin(r, e, NODE_MAP, e->data.mapping_start.anchor,
		    e->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_end(r, e);
	case YAML_STREAM_END_EVENT:
		return AT_END;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	return GO_ON;
}

/* Every event takes at least a byte of the text or ends something, and the tree
 * is bounded, so this ends. */
static enum progress
read_events(struct reader *r, struct slice text)
{
	enum progress p = GO_ON;

	while (p == GO_ON) {
		yaml_event_t e;

		if (!yaml_parser_parse(&r->parser, &e)) {
			yaml_error_explain(
			    &r->parser, text, r->last_quoted, r->found);
			return GIVE_UP;
		}
		p = on_event(r, &e);
		yaml_event_delete(&e);
	}
	return p;
}

const struct node *
yaml_tree_read(struct slice text, struct arena *a, struct diagnostics *found)
{
	struct reader *r;
	const struct node *root = NULL;

	if (text.len > CONFIG_FILE_MOST_BYTES) {
		diagnostics_add(found, SEVERITY_ERROR, 0, 0, 1,
		    "the file is larger than %u KiB",
		    CONFIG_FILE_MOST_BYTES / 1024);
		return NULL;
	}
	r = xcalloc(sizeof *r);
	r->arena = a;
	r->found = found;
	if (!yaml_parser_initialize(&r->parser)) {
		diagnostics_add(
		    found, SEVERITY_ERROR, 0, 0, 1, "out of memory");
		free(r);
		return NULL;
	}
	/* libyaml would take UTF-16 for what it is; nobody means it. */
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
	    &r->parser, (const unsigned char *)text.p, text.len);
	if (read_events(r, text) == AT_END) {
		root = r->root;
		if (root == NULL)
			diagnostics_add(found, SEVERITY_ERROR, 0, 0, 1,
			    "the file is empty; it begins with version: 1");
	}
	yaml_parser_delete(&r->parser);
	free(r);
	return root;
}

/* Where the key stands in its map; SIZE_MAX if it does not. */
static size_t
find_key(const struct node *map, const char *key)
{
	if (map == NULL || map->kind != NODE_MAP)
		return SIZE_MAX;
	for (size_t i = 0; i < map->count; i++)
		if (slice_is(map->keys[i]->text, key))
			return i;
	return SIZE_MAX;
}

const struct node *
node_get(const struct node *map, const char *key)
{
	size_t i = find_key(map, key);

	return i == SIZE_MAX ? NULL : map->items[i];
}

const struct node *
node_key(const struct node *map, const char *key)
{
	size_t i = find_key(map, key);

	return i == SIZE_MAX ? NULL : map->keys[i];
}

bool
node_is_empty(const struct node *n)
{
	return n->kind == NODE_TEXT && n->text.len == 0 && !n->is_quoted;
}
