#include "conf/build.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/fault.h"
#include "conf/values.h"

#include "base/banned.h"

PRINTF_LIKE(4, 0)
static void
add(struct build *b, enum severity severity, const struct node *at,
    const char *fmt, va_list ap)
{
	struct fault text;

	vsnprintf(text.text, sizeof text.text, fmt, ap);
	diagnostics_add(b->found, severity, at->line, at->column, at->width,
	    "%s", text.text);
}

void
build_error(struct build *b, const struct node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(b, SEVERITY_ERROR, at, fmt, ap);
	va_end(ap);
}

void
build_warning(struct build *b, const struct node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(b, SEVERITY_WARNING, at, fmt, ap);
	va_end(ap);
}

void
build_undefined(struct build *b, const struct node *at, const char *what,
    const struct name_index *known)
{
	const struct named *near = NULL;
	char shown[QUOTED_BYTES];

	if (!diagnostics_are_full(b->found))
		near = name_index_nearest(known, at->text);
	if (near != NULL)
		build_error(b, at, "%s %s is not defined; did you mean '%.*s'?",
		    what, quoted(at->text, shown), (int)near->name.len,
		    near->name.p);
	else
		build_error(b, at, "%s %s is not defined", what,
		    quoted(at->text, shown));
}

const struct node *
build_key_node(const struct build *b, const char *section, size_t rank)
{
	return node_get(b->root, section)->keys[rank];
}
