#include "conf/diagnostic.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf/excerpt.h"

#include "base/banned.h"

void
diagnostics_release(struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->all[i].message);
	free(d->all);
	free(d->hidden);
	*d = (struct diagnostics){0};
}

/* A message quotes names of the file, which may hold anything: it must not move
 * the cursor of whoever reads it. */
static void
make_printable(char *text)
{
	unsigned char *p = (unsigned char *)text;

	for (; *p != '\0'; p++) {
		bool is_c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;

		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
		else if (is_c1)
			p[0] = p[1] = '?';
	}
}

void
diagnostics_add(struct diagnostics *d, enum severity severity, unsigned line,
    unsigned column, unsigned width, const char *fmt, ...)
{
	struct diagnostic *new;
	va_list ap;
	int n;

	if (severity == SEVERITY_ERROR)
		d->errors++;
	else
		d->warnings++;
	if (diagnostics_are_full(d))
		return;
	d->all = xrealloc_array(d->all, d->count + 1, sizeof *d->all);
	new = &d->all[d->count++];
	*new = (struct diagnostic){severity, line, column, width, NULL};
	if (new->width == 0)
		new->width = 1;
	va_start(ap, fmt);
	n = vasprintf(&new->message, fmt, ap);
	va_end(ap);
	if (n < 0)
		new->message = xstrdup("out of memory");
	make_printable(new->message);
}

void
diagnostics_hide(struct diagnostics *d, struct hidden_span span)
{
	if (d->hidden_count == d->hidden_room) {
		d->hidden_room = d->hidden_room == 0 ? 8 : d->hidden_room * 2;
		d->hidden = xrealloc_array(
		    d->hidden, d->hidden_room, sizeof *d->hidden);
	}
	d->hidden[d->hidden_count++] = span;
}

static int
compare_diagnostics(const void *left, const void *right)
{
	const struct diagnostic *a = left, *b = right;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	if (a->severity != b->severity)
		return a->severity < b->severity ? -1 : 1;
	return strcmp(a->message, b->message);
}

/* The same node may be reached twice, through an alias. */
static void
drop_repetitions(struct diagnostics *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->count; i++) {
		struct diagnostic *each = &d->all[i];

		if (kept > 0 &&
		    compare_diagnostics(&d->all[kept - 1], each) == 0) {
			if (each->severity == SEVERITY_ERROR)
				d->errors--;
			else
				d->warnings--;
			free(each->message);
			continue;
		}
		d->all[kept++] = *each;
	}
	d->count = kept;
}

void
diagnostics_sort(struct diagnostics *d)
{
	if (d->count == 0)
		return;
	qsort(d->all, d->count, sizeof *d->all, compare_diagnostics);
	drop_repetitions(d);
}

static const char *
severity_name(enum severity s)
{
	return s == SEVERITY_ERROR ? "error" : "warning";
}

void
diagnostics_print(const struct diagnostics *d, const char *path,
    struct slice text, struct buf *out)
{
	struct excerpt excerpt;
	size_t more = d->errors + d->warnings - d->count;

	excerpt_init(&excerpt, text, d->hidden, d->hidden_count);
	for (size_t i = 0; i < d->count; i++) {
		const struct diagnostic *each = &d->all[i];

		if (each->line == 0) {
			buf_printf(out, "%s: %s: %s\n", path,
			    severity_name(each->severity), each->message);
			continue;
		}
		buf_printf(out, "%s:%u:%u: %s: %s\n", path, each->line,
		    each->column, severity_name(each->severity), each->message);
		if (each->severity == SEVERITY_ERROR)
			excerpt_print(&excerpt, each->line, each->column,
			    each->width, out);
	}
	if (more > 0)
		buf_printf(out, "%s: %zu more are not shown\n", path, more);
}
