/*
 * diagnostic.h - what is wrong in a file: where, what, and what was meant.
 *
 *     weir.yaml:31:14: error: upstream 'spark-ds5' is not defined; did you mean
 * … 31 |       - {to: spark-ds5, model: deepseek-v4-flash} | ^~~~~~~~~
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/text.h"

enum severity { SEVERITY_ERROR, SEVERITY_WARNING };

struct diagnostic {
	enum severity severity;
	unsigned line, column; /* from 1; 0: the file as a whole */
	unsigned width;        /* characters to underline, at least 1 */
	char *message;         /* owned; never holds a secret */
};

/* A stretch of the file that holds a secret, or may. */
struct hidden_span {
	unsigned line, column;         /* its first character */
	unsigned end_line, end_column; /* one past its last */
};

/* Past this many, errors and warnings are counted and not kept. */
#define DIAGNOSTICS_MOST 500

struct diagnostics {
	struct diagnostic *all; /* owned, in the order of lines */
	size_t count;
	size_t errors, warnings;
	struct hidden_span *hidden; /* owned */
	size_t hidden_count, hidden_room;
};

/* True if what is added is only counted: its message need not be made well. */
static inline bool
diagnostics_are_full(const struct diagnostics *d)
{
	return d->count == DIAGNOSTICS_MOST;
}

void diagnostics_release(struct diagnostics *d);

void diagnostics_add(struct diagnostics *d, enum severity severity,
    unsigned line, unsigned column, unsigned width, const char *fmt, ...)
    PRINTF_LIKE(6, 7);

/* Says that diagnostics_print() must not show these characters of the file. */
void diagnostics_hide(struct diagnostics *d, struct hidden_span span);

/* Sorts by line and column and drops repetitions; call once when all is
 * found. */
void diagnostics_sort(struct diagnostics *d);

/* Writes them as above, warnings without the line.  `text` is the file, for the
 * lines.  What was hidden, and whatever else looks like a secret (the value of
 * an api_key, a password in a url), is shown as stars. */
void diagnostics_print(const struct diagnostics *d, const char *path,
    struct slice text, struct buf *out);
