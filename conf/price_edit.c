#include "conf/price_edit.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "conf/build.h"
#include "conf/yaml_tree.h"

#include "base/banned.h"

#define STEP 2 /* how much deeper each level is written */

/* prices, the upstream, its model: the keys on the way to a list of prices. */
enum { LEVELS = 3 };

/* Where the text is changed, and what is missing there. */
struct spot {
	const struct node *root;
	const struct node *in;  /* the last node on the way that is there */
	const struct node *key; /* its own, NULL: the root's */
	unsigned level;         /* keys on the way that are there */
	bool is_nothing;        /* `in` is a key with nothing behind it */
};

struct edit {
	struct slice text;
	const char *names[LEVELS];
	const struct price *price;
};

/* --- places in the text -------------------------------------------------- */

/* The length of a line break, as YAML counts them; 0 if there is none. */
static size_t
break_at(struct slice s, size_t i)
{
	static const char *const breaks[] = {
	    "\r\n", "\n", "\r", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};

	for (size_t k = 0; k < COUNT_OF(breaks); k++) {
		size_t n = strlen(breaks[k]);

		if (s.len - i >= n && memcmp(s.p + i, breaks[k], n) == 0)
			return n;
	}
	return 0;
}

static size_t
char_size(struct slice s, size_t i)
{
	size_t n = 1;

	while (i + n < s.len && ((unsigned char)s.p[i + n] & 0xc0) == 0x80)
		n++;
	return n;
}

/* The offset of a line's and column's character, both from 1. */
static size_t
offset_of(struct slice s, unsigned line, unsigned column)
{
	size_t i = 0;

	for (; line > 1 && i < s.len; line--) {
		size_t n;

		while (i < s.len && (n = break_at(s, i)) == 0)
			i += char_size(s, i);
		if (i < s.len)
			i += n;
	}
	for (; column > 1 && i < s.len; column--)
		i += char_size(s, i);
	return i;
}

static char
first_char(struct slice s, const struct node *n)
{
	size_t i = offset_of(s, n->line, n->column);

	return i < s.len ? s.p[i] : '\0';
}

static bool
is_flow(struct slice s, const struct node *n)
{
	char c = first_char(s, n);

	return n->kind != NODE_TEXT && (c == '{' || c == '[');
}

/* An alias is the node that it stands for: it lies before its own key. */
static bool
is_behind(const struct node *n, const struct node *before)
{
	return n->line > before->line ||
	    (n->line == before->line && n->column >= before->column);
}

/* What is last in it and knows its own end: a list or map in blocks does not.
 * NULL if that is not to be told. */
static const struct node *
last_in(struct slice s, const struct node *n)
{
	while (n->kind != NODE_TEXT && !is_flow(s, n)) {
		const struct node *last;

		if (n->count == 0 || first_char(s, n) == '&')
			return NULL;
		last = n->items[n->count - 1];
		if (!is_behind(
			last, n->kind == NODE_MAP ? n->keys[n->count - 1] : n))
			return NULL;
		/* A key without a value ends where it stands. */
		n = node_is_empty(last) && n->kind == NODE_MAP
		    ? n->keys[n->count - 1]
		    : last;
	}
	return n;
}

/* Behind the line that a node ends in. */
static size_t
line_after(struct slice s, const struct node *n)
{
	size_t i = offset_of(s, n->end_line, n->end_column), size;

	/* A text in block style ends where the next line begins. */
	if (n->end_column == 1 && n->kind == NODE_TEXT && !n->is_quoted)
		return i;
	while (i < s.len && (size = break_at(s, i)) == 0)
		i += char_size(s, i);
	return i < s.len ? i + size : i;
}

/* --- what is written ----------------------------------------------------- */

static bool
is_plain(const char *name)
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789_./@-";
	size_t n = strlen(name);

	return n > 0 && strspn(name, set) == n &&
	    strchr("./@-", name[0]) == NULL;
}

static void
put_name(struct buf *to, const char *name, bool is_json)
{
	struct json_out o = json_out_to(to);

	if (is_plain(name) && !is_json)
		buf_puts(to, name);
	else
		json_string(&o, slice_of(name));
	buf_puts(to, ":");
}

static void
put_member(struct buf *to, const char *name, const char *value, bool is_json)
{
	bool is_text = strpbrk(value, "-") != NULL; /* a date, hours */
	const char *quote = is_json && is_text ? "\"" : "";

	if (buf_data(to)[buf_len(to) - 1] != '{')
		buf_puts(to, ", ");
	put_name(to, name, is_json);
	buf_printf(to, " %s%s%s", quote, value, quote);
}

void
price_write(struct buf *to, const struct price *p, bool is_json)
{
	char text[MONEY_TEXT_BYTES];

	buf_puts(to, "{");
	if (p->from_ms != 0) {
		clock_format(text, p->from_ms);
		text[10] = '\0'; /* the day alone */
		put_member(to, "from", text, is_json);
	}
	if (p->hour_begin != p->hour_end) {
		snprintf(
		    text, sizeof text, "%d-%d", p->hour_begin, p->hour_end);
		put_member(to, "hours", text, is_json);
	}
	price_format(text, p->input_pusd);
	put_member(to, "input", text, is_json);
	if (p->input_cached_pusd != p->input_pusd) {
		price_format(text, p->input_cached_pusd);
		put_member(to, "input_cached", text, is_json);
	}
	if (p->cache_write_pusd != p->input_pusd) {
		price_format(text, p->cache_write_pusd);
		put_member(to, "cache_write", text, is_json);
	}
	price_format(text, p->output_pusd);
	put_member(to, "output", text, is_json);
	if (p->request_pusd != 0) {
		money_format_plain(text, p->request_pusd);
		put_member(to, "request", text, is_json);
	}
	buf_puts(to, "}");
}

/* Lines for what is missing, the first one `indent` deep. */
static void
put_lines(struct buf *to, const struct edit *e, unsigned level, unsigned indent)
{
	const char *end =
	    memmem(e->text.p, e->text.len, "\r\n", 2) != NULL ? "\r\n" : "\n";

	for (; level < LEVELS; level++, indent += STEP) {
		buf_printf(to, "%*s", (int)indent, "");
		put_name(to, e->names[level], false);
		buf_puts(to, end);
	}
	buf_printf(to, "%*s- ", (int)indent, "");
	price_write(to, e->price, false);
	buf_puts(to, end);
}

/* The same within braces or brackets. */
static void
put_inline(struct buf *to, const struct edit *e, unsigned level, bool is_json)
{
	unsigned first = level;

	for (; level < LEVELS; level++) {
		put_name(to, e->names[level], is_json);
		buf_puts(to, level == LEVELS - 1 ? " [" : " {");
	}
	price_write(to, e->price, is_json);
	if (first < LEVELS)
		buf_puts(to, "]");
	for (level = first; level + 1 < LEVELS; level++)
		buf_puts(to, "}");
}

/* --- the change ---------------------------------------------------------- */

/* Goes the way as far as it is there.  False if it leads over an alias or an
 * anchor, where a change would be seen elsewhere too. */
static bool
find_spot(const struct edit *e, const struct node *root, struct spot *s)
{
	*s = (struct spot){.root = root, .in = root};
	while (s->level < LEVELS && s->in->kind == NODE_MAP) {
		size_t i = 0;

		while (i < s->in->count &&
		    !slice_is(s->in->keys[i]->text, e->names[s->level]))
			i++;
		if (i == s->in->count)
			return true;
		s->key = s->in->keys[i];
		s->in = s->in->items[i];
		s->level++;
		if (node_is_empty(s->in)) {
			s->is_nothing = true;
			return true;
		}
		if (!is_behind(s->in, s->key) ||
		    first_char(e->text, s->in) == '&')
			return false;
	}
	return s->level == LEVELS && s->in->kind == NODE_LIST;
}

/* Puts `added` into the text at `at`. */
static void
splice(
    const struct edit *e, size_t at, const struct buf *added, struct buf *out)
{
	buf_put(out, e->text.p, at);
	buf_put(out, buf_data(added), buf_len(added));
	buf_put(out, e->text.p + at, e->text.len - at);
}

/* Behind what is last within the braces; at their begin if there is nothing. */
static bool
write_inline(const struct edit *e, const struct spot *s, struct buf *out)
{
	bool is_json = is_flow(e->text, s->root) && s->root->keys[0]->is_quoted;
	struct buf added = {0};
	const struct node *last;
	size_t at;

	if (s->in->count == 0) {
		at = offset_of(e->text, s->in->line, s->in->column) + 1;
	} else {
		last = s->in->items[s->in->count - 1];
		if (node_is_empty(last))
			return false;
		at = offset_of(e->text, last->end_line, last->end_column);
		buf_puts(&added, ", ");
	}
	put_inline(&added, e, s->level, is_json);
	splice(e, at, &added, out);
	buf_release(&added);
	return true;
}

static bool
write_lines(const struct edit *e, const struct spot *s, struct buf *out)
{
	const struct node *last =
	    s->is_nothing ? s->key : last_in(e->text, s->in);
	struct buf added = {0};
	unsigned indent;
	size_t at;

	if (last == NULL)
		return false;
	if (s->is_nothing)
		indent = s->key->column - 1 + STEP;
	else if (s->in->kind == NODE_LIST)
		indent = s->in->column - 1;
	else
		indent = s->in->keys[0]->column - 1;
	at = line_after(e->text, last);
	if (at > 0 && e->text.p[at - 1] != '\n' && e->text.p[at - 1] != '\r')
		buf_puts(&added, "\n"); /* the last line has no end */
	if (s->level == 0)
		buf_puts(&added, "\n"); /* a new section */
	put_lines(&added, e, s->level, indent);
	splice(e, at, &added, out);
	buf_release(&added);
	return true;
}

/* --- the proof ----------------------------------------------------------- */

static bool
is_same(const struct node *a, const struct node *b)
{
	if (a->kind != b->kind || a->count != b->count)
		return false;
	if (a->kind == NODE_TEXT)
		return a->text.len == b->text.len &&
		    memcmp(a->text.p, b->text.p, a->text.len) == 0 &&
		    a->is_quoted == b->is_quoted;
	for (size_t i = 0; i < a->count; i++)
		if ((a->kind == NODE_MAP && !is_same(a->keys[i], b->keys[i])) ||
		    !is_same(a->items[i], b->items[i]))
			return false;
	return true;
}

static bool
is_price(const struct node *list, const struct price *p)
{
	struct arena a;
	struct price_list l;
	bool ok;

	arena_init(&a);
	l = prices_read(&a, list);
	ok = l.count > 0 && memcmp(&l.prices[l.count - 1], p, sizeof *p) == 0;
	arena_release(&a);
	return ok;
}

/* Whether `new` is `old` with the price at the end of its list, and nothing
 * else is different. */
static bool
is_done(const struct edit *e, const struct node *old, const struct node *new,
    unsigned level)
{
	size_t more = 1;

	if (old != NULL && (old->kind != new->kind || node_is_empty(old)))
		old = NULL;
	for (size_t i = 0; old != NULL && i < old->count; i++) {
		bool is_on_way = level < LEVELS &&
		    slice_is(old->keys[i]->text, e->names[level]);

		if (i >= new->count ||
		    (level < LEVELS && !is_same(old->keys[i], new->keys[i])))
			return false;
		if (is_on_way)
			more = 0;
		if (is_on_way
			? !is_done(e, old->items[i], new->items[i], level + 1)
			: !is_same(old->items[i], new->items[i]))
			return false;
	}
	if (new->kind != (level < LEVELS ? NODE_MAP : NODE_LIST) ||
	    new->count != (old == NULL ? 0 : old->count) + more)
		return false;
	if (level == LEVELS)
		return is_price(new, e->price);
	if (more == 0)
		return true;
	return slice_is(new->keys[new->count - 1]->text, e->names[level]) &&
	    is_done(e, NULL, new->items[new->count - 1], level + 1);
}

static bool
is_proven(const struct edit *e, const struct node *old, const struct buf *text)
{
	struct diagnostics found = {0};
	const struct node *new;
	struct arena a;
	bool ok;

	arena_init(&a);
	new = yaml_tree_read(
	    (struct slice){buf_data(text), buf_len(text)}, &a, &found);
	ok = new != NULL &&found.errors == 0 && is_done(e, old, new, 0);
	diagnostics_release(&found);
	arena_release(&a);
	return ok;
}

bool
price_insert(struct slice text, const char *upstream, const char *model,
    const struct price *p, struct buf *out, struct fault *why)
{
	const struct edit e = {text, {"prices", upstream, model}, p};
	struct diagnostics found = {0};
	const struct node *root;
	struct buf result = {0};
	struct spot s;
	struct arena a;
	bool ok;

	arena_init(&a);
	root = yaml_tree_read(text, &a, &found);
	ok = root != NULL && root->kind == NODE_MAP && root->count > 0 &&
	    found.errors == 0 && find_spot(&e, root, &s) &&
	    (!s.is_nothing && is_flow(text, s.in)
		    ? write_inline(&e, &s, &result)
		    : write_lines(&e, &s, &result)) &&
	    is_proven(&e, root, &result);
	if (ok)
		buf_put(out, buf_data(&result), buf_len(&result));
	else
		fault_set(why,
		    "the file is written in a way that this program cannot "
		    "add to; write the price of '%s' under prices: %s: "
		    "yourself",
		    model, upstream);
	diagnostics_release(&found);
	buf_release(&result);
	arena_release(&a);
	return ok;
}
