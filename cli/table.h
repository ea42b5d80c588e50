/*
 * table.h - what a list command prints on stdout: an aligned table for people,
 * tab-separated lines for pipes, one JSON object for programs.
 *
 * A cell has two faces: what people read ("2.3K", "in 90 days") and the exact
 * value for programs ("2312", RFC 3339 in UTC).  A cell that was never set, or
 * was set to NULL, is "-" for people and pipes and null in JSON.  Everything is
 * kept until it is printed, so rows may be filled in any order of columns.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/fault.h"

enum table_form {
	TABLE_FOR_PEOPLE,   /* aligned; stdout is a terminal */
	TABLE_FOR_MARKDOWN, /* what people see, as a table of Markdown */
	TABLE_FOR_PIPES,    /* a header, then values, separated by tabs */
	TABLE_FOR_PROGRAMS, /* {"schema":1,"<rows>":[{…},…]} */
};

enum table_kind {
	TABLE_TEXT,    /* left-aligned; a JSON string */
	TABLE_NUMBER,  /* right-aligned; a JSON number */
	TABLE_DECIMAL, /* right-aligned; a JSON string: money, "12.3400" */
	TABLE_RAW,     /* its exact face is a JSON value already: a list */
};

struct table_column {
	const char *title;  /* "EXPIRES"; NULL: in JSON alone */
	const char *member; /* "expires"; NULL: not in JSON */
	enum table_kind kind;
};

struct table;

/* JSON if `wants_json` or $WEIR_OUTPUT is "json", else by whether stdout is a
 * terminal. */
enum table_form table_form_for(bool wants_json);

/* A table without rows.  `columns` is borrowed until table_destroy().  Never
 * NULL; the caller owns it. */
struct table *table_create(
    const struct table_column *columns, size_t count, enum table_form form);

/* Frees *tp and sets it to NULL.  *tp may be NULL. */
void table_destroy(struct table **tp);

/* Prints no line of titles (--no-header). */
void table_hide_header(struct table *t);

/* Begins a row; the table_set functions fill in the newest one.  `column`
 * counts from 0 in the order given to table_create(); texts are copied. */
void table_row(struct table *t);

/* The same text for everyone.  NULL: none. */
void table_set_text(struct table *t, size_t column, const char *text);

/* A whole number; its thousands are separated for people. */
void table_set_number(struct table *t, size_t column, int64_t n);

/* Two faces; `exact` NULL: none for programs, and "-" in a pipe. */
void table_set(
    struct table *t, size_t column, const char *for_people, const char *exact);

/* A moment: RFC 3339 in UTC for programs, local time with its zone for people,
 * unless `for_people` says it in other words ("in 90 days"). */
void table_set_time(
    struct table *t, size_t column, int64_t wall_ms, const char *for_people);

/* Writes everything to `out` and flushes it.  `rows` names the JSON array.
 * False with the reason if it could not be written whole. */
MUST_CHECK bool table_print(
    const struct table *t, FILE *out, const char *rows, struct fault *why);

/* The same for the newest row alone, one line a column ("USER  bob"); in JSON
 * {"schema":1,"<row>":{…}}.  There must be a row. */
MUST_CHECK bool table_print_one(
    const struct table *t, FILE *out, const char *row, struct fault *why);
