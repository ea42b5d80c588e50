/* The reference page of all keys, from their table.  The door is config.h. */
#include "conf/config.h"

#include <string.h>

#include "conf/keys.h"
#include "conf/values.h"

#include "base/banned.h"

static const char page_head[] =
    "# Configuration reference\n"
    "\n"
    "<!-- Generated from conf/keys.c by `weir help configuration`. Do not "
    "edit. "
    "-->\n"
    "\n"
    "Every key that the configuration file may hold. `*` stands for any name, "
    "`[]` for each\n"
    "item of a list. A change is taken over at SIGHUP, unless it says "
    "*restart*. What is\n"
    "marked *later* is known and checked, but this version does not act on it "
    "yet.\n";

static const struct {
	const char *name, *how;
} types[] = {
#define X(name, text, how) {text, how},
    KEY_TYPES(X)
#undef X
};

static void
put_words(const char *words, const char *between, struct buf *out)
{
	for (const char *p = words; *p != '\0';) {
		size_t n = strcspn(p, " ");

		buf_printf(out, "`%.*s`", (int)n, p);
		p += n;
		p += strspn(p, " ");
		buf_puts(out, *p == '\0' ? "" : between);
	}
}

static bool
has_range(const struct key *k)
{
	return k->type == TYPE_COUNT || k->type == TYPE_TOKENS ||
	    k->type == TYPE_SIZE || k->type == TYPE_DURATION;
}

static void
put_value(const struct key *k, struct buf *out)
{
	char range[VALUE_RANGE_BYTES];

	if (k->flags & KEY_LIST)
		buf_puts(out, "list of: ");
	if (k->flags & KEY_ONE_OR_LIST)
		buf_puts(out, "one, or a list of: ");
	if (k->type == TYPE_WORD)
		put_words(k->words, ", ", out);
	else
		buf_puts(out, types[k->type].name);
	if (has_range(k)) {
		value_range(k, range);
		buf_printf(out, ", %s", range);
	}
	if (k->flags & KEY_UNLIMITED)
		buf_puts(out, ", or `unlimited`");
	if (k->flags & KEY_OFF)
		buf_puts(out, ", or `off`");
}

static void
put_default(const struct key *k, struct buf *out)
{
	if (k->flags & KEY_REQUIRED)
		buf_puts(out, "*required*");
	else if (k->fallback != NULL)
		put_words(k->fallback, ", ", out);
}

static const char *
change(const struct key *k)
{
	if (!(k->flags & KEY_ACTS))
		return "*later*";
	return k->flags & KEY_RESTARTS ? "*restart*" : "";
}

static void
put_row(const struct key *k, struct buf *out)
{
	buf_printf(out, "| `%s` | ", k->path);
	put_value(k, out);
	buf_puts(out, " | ");
	put_default(k, out);
	buf_printf(out, " | %s | %s |\n", change(k), k->help);
}

static void
put_types(struct buf *out)
{
	buf_puts(out,
	    "\n## How values are written\n\n| Value | Form |\n"
	    "|---|---|\n");
	for (size_t i = 0; i < COUNT_OF(types); i++)
		buf_printf(out, "| %s | %s |\n", types[i].name, types[i].how);
}

void
config_reference(struct buf *out)
{
	buf_puts(out, page_head);
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		/* A heading for each section, and one table in it. */
		if (strchr(k->path, '.') == NULL)
			buf_printf(out,
			    "\n## %s\n\n"
			    "| Key | Value | Default | Change | What it does "
			    "|\n"
			    "|---|---|---|---|---|\n",
			    k->path);
		put_row(k, out);
	}
	put_types(out);
}
