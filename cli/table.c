#include "cli/table.h"

#include <assert.h>
#include <inttypes.h>
#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/mem.h"

#include "base/banned.h"

#define SCHEMA 1
#define NOTHING "-"

struct cell {
	char *for_people; /* owned; NULL: as exact */
	char *exact;      /* owned; NULL: none */
};

struct table {
	const struct table_column *columns; /* borrowed: from the maker */
	size_t column_count;
	enum table_form form;
	bool has_header;
	struct cell *cells; /* owned; row after row */
	size_t row_count, row_room;
};

enum table_form
table_form_for(bool wants_json)
{
	const char *output = getenv("WEIR_OUTPUT");

	if (wants_json || (output != NULL && strcmp(output, "json") == 0))
		return TABLE_FOR_PROGRAMS;
	return isatty(STDOUT_FILENO) ? TABLE_FOR_PEOPLE : TABLE_FOR_PIPES;
}

struct table *
table_create(
    const struct table_column *columns, size_t count, enum table_form form)
{
	struct table *t = xcalloc(sizeof *t);

	t->columns = columns;
	t->column_count = count;
	t->form = form;
	t->has_header = true;
	return t;
}

void
table_destroy(struct table **tp)
{
	struct table *t = *tp;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->row_count * t->column_count; i++) {
		free(t->cells[i].for_people);
		free(t->cells[i].exact);
	}
	free(t->cells);
	free(t);
	*tp = NULL;
}

void
table_hide_header(struct table *t)
{
	t->has_header = false;
}

void
table_row(struct table *t)
{
	if (t->row_count == t->row_room) {
		t->row_room = t->row_room == 0 ? 16 : 2 * t->row_room;
		t->cells = xrealloc_array(
		    t->cells, t->row_room * t->column_count, sizeof *t->cells);
	}
	memset(&t->cells[t->row_count * t->column_count], 0,
	    t->column_count * sizeof *t->cells);
	t->row_count++;
}

static struct cell *
cell_at(const struct table *t, size_t row, size_t column)
{
	assert(row < t->row_count && column < t->column_count);
	return &t->cells[row * t->column_count + column];
}

void
table_set(
    struct table *t, size_t column, const char *for_people, const char *exact)
{
	struct cell *c = cell_at(t, t->row_count - 1, column);

	free(c->for_people);
	free(c->exact);
	c->for_people = for_people == NULL ? NULL : xstrdup(for_people);
	c->exact = exact == NULL ? NULL : xstrdup(exact);
}

void
table_set_text(struct table *t, size_t column, const char *text)
{
	table_set(t, column, NULL, text);
}

/* 1204 as "1,204". */
static void
separate_thousands(char out[48], const char *digits)
{
	size_t left = strlen(digits), n = 0;

	if (*digits == '-') {
		out[n++] = *digits++;
		left--;
	}
	for (; left > 0; left--) {
		out[n++] = *digits++;
		if (left > 1 && left % 3 == 1)
			out[n++] = ',';
	}
	out[n] = '\0';
}

void
table_set_number(struct table *t, size_t column, int64_t n)
{
	char exact[24], separated[48];

	snprintf(exact, sizeof exact, "%" PRId64, n);
	separate_thousands(separated, exact);
	table_set(t, column, separated, exact);
}

void
table_set_time(
    struct table *t, size_t column, int64_t wall_ms, const char *for_people)
{
	char exact[CLOCK_TEXT_BYTES], local[64] = "";
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;

	clock_format(exact, wall_ms);
	if (for_people == NULL && localtime_r(&seconds, &tm) != NULL) {
		strftime(local, sizeof local, "%Y-%m-%d %H:%M %Z", &tm);
		for_people = local;
	}
	table_set(t, column, for_people, exact);
}

static const char *
shown(const struct cell *c)
{
	if (c->for_people != NULL)
		return c->for_people;
	return c->exact != NULL ? c->exact : NOTHING;
}

static bool
add_columns(struct libscols_table *lines, const struct table *t)
{
	for (size_t i = 0; i < t->column_count; i++) {
		bool is_left = t->columns[i].kind == TABLE_TEXT ||
		    t->columns[i].kind == TABLE_RAW;

		if (t->columns[i].title == NULL)
			continue;
		if (scols_table_new_column(lines, t->columns[i].title, 0,
			is_left ? 0 : SCOLS_FL_RIGHT) == NULL)
			return false;
	}
	return true;
}

static bool
add_line(struct libscols_table *lines, const struct table *t, size_t row)
{
	struct libscols_line *line = scols_table_new_line(lines, NULL);
	size_t at = 0;

	if (line == NULL)
		return false;
	for (size_t i = 0; i < t->column_count; i++) {
		if (t->columns[i].title == NULL)
			continue;
		if (scols_line_set_data(
			line, at++, shown(cell_at(t, row, i))) != 0)
			return false;
	}
	return true;
}

static bool
print_for_people(const struct table *t, FILE *out)
{
	struct libscols_table *lines = scols_new_table();
	bool ok = lines != NULL &&
	    scols_table_set_column_separator(lines, "  ") == 0 &&
	    scols_table_enable_noheadings(lines, !t->has_header) == 0 &&
	    scols_table_set_stream(lines, out) == 0 && add_columns(lines, t);

	for (size_t row = 0; ok && row < t->row_count; row++)
		ok = add_line(lines, t, row);
	ok = ok && scols_print_table(lines) == 0;
	scols_unref_table(lines);
	return ok;
}

/* What would end the cell, begin a tag or a link, or is no character, is
 * written so that it is only seen. */
static void
put_markdown(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\\\x%02x", c);
		else if (strchr("|\\<>[]`*_~", c) != NULL)
			fprintf(out, "\\%c", c);
		else
			putc(c, out);
	}
}

static void
print_for_markdown(const struct table *t, FILE *out)
{
	for (size_t i = 0; i < t->column_count; i++)
		if (t->columns[i].title != NULL)
			fprintf(out, "| %s ", t->columns[i].title);
	fputs("|\n", out);
	for (size_t i = 0; i < t->column_count; i++)
		if (t->columns[i].title != NULL)
			fputs(t->columns[i].kind == TABLE_TEXT ? "| --- "
							       : "| ---: ",
			    out);
	fputs("|\n", out);
	for (size_t row = 0; row < t->row_count; row++) {
		for (size_t i = 0; i < t->column_count; i++) {
			if (t->columns[i].title == NULL)
				continue;
			fputs("| ", out);
			put_markdown(out, shown(cell_at(t, row, i)));
			putc(' ', out);
		}
		fputs("|\n", out);
	}
}

/* A tab or a line end inside a value would make two of it. */
static void
put_field(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\x%02x", c);
		else
			putc(c, out);
	}
}

static void
print_titles(const struct table *t, FILE *out)
{
	const char *before = "";

	for (size_t i = 0; i < t->column_count; i++) {
		if (t->columns[i].title == NULL)
			continue;
		fprintf(out, "%s%s", before, t->columns[i].title);
		before = "\t";
	}
	putc('\n', out);
}

static const char *
exact_or_nothing(const struct cell *c)
{
	return c->exact != NULL ? c->exact : NOTHING;
}

static void
print_for_pipes(const struct table *t, FILE *out)
{
	if (t->has_header)
		print_titles(t, out);
	for (size_t row = 0; row < t->row_count; row++) {
		const char *before = "";

		for (size_t i = 0; i < t->column_count; i++) {
			if (t->columns[i].title == NULL)
				continue;
			fputs(before, out);
			put_field(out, exact_or_nothing(cell_at(t, row, i)));
			before = "\t";
		}
		putc('\n', out);
	}
}

static void
write_value(struct json_out *o, enum table_kind kind, const char *exact)
{
	if (exact == NULL)
		json_null(o);
	else if (kind == TABLE_NUMBER || kind == TABLE_RAW)
		json_raw(o, slice_of(exact));
	else
		json_string(o, slice_of(exact));
}

static void
write_object(struct json_out *o, const struct table *t, size_t row)
{
	json_open(o, '{');
	for (size_t i = 0; i < t->column_count; i++) {
		if (t->columns[i].member == NULL)
			continue;
		json_key(o, t->columns[i].member);
		write_value(o, t->columns[i].kind, cell_at(t, row, i)->exact);
	}
	json_close(o, '}');
}

/* All rows as an array, or only the newest as an object. */
static void
print_for_programs(
    const struct table *t, FILE *out, const char *member, bool is_one)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);

	json_open(&o, '{');
	json_member_int(&o, "schema", SCHEMA);
	json_key(&o, member);
	if (is_one) {
		write_object(&o, t, t->row_count - 1);
	} else {
		json_open(&o, '[');
		for (size_t row = 0; row < t->row_count; row++)
			write_object(&o, t, row);
		json_close(&o, ']');
	}
	json_close(&o, '}');
	buf_puts(&text, "\n");
	fwrite(buf_data(&text), 1, buf_len(&text), out);
	buf_release(&text);
}

static bool
flush(FILE *out, struct fault *why)
{
	if (fflush(out) != 0 || ferror(out))
		return fault_errno(why, "cannot write the output");
	return true;
}

bool
table_print(
    const struct table *t, FILE *out, const char *rows, struct fault *why)
{
	switch (t->form) {
	case TABLE_FOR_PEOPLE:
		if (!print_for_people(t, out))
			return fault_errno(why, "cannot write the table");
		break;
	case TABLE_FOR_MARKDOWN:
		print_for_markdown(t, out);
		break;
	case TABLE_FOR_PIPES:
		print_for_pipes(t, out);
		break;
	case TABLE_FOR_PROGRAMS:
		print_for_programs(t, out, rows, false);
		break;
	}
	return flush(out, why);
}

static int
widest_title(const struct table *t)
{
	size_t most = 0;

	for (size_t i = 0; i < t->column_count; i++) {
		const char *title = t->columns[i].title;

		if (title != NULL && strlen(title) > most)
			most = strlen(title);
	}
	return (int)most;
}

bool
table_print_one(
    const struct table *t, FILE *out, const char *row, struct fault *why)
{
	int width = widest_title(t);

	if (t->form == TABLE_FOR_PROGRAMS) {
		print_for_programs(t, out, row, true);
		return flush(out, why);
	}
	for (size_t i = 0; i < t->column_count; i++) {
		const struct cell *c = cell_at(t, t->row_count - 1, i);
		const char *title = t->columns[i].title;

		if (title == NULL)
			continue;
		if (t->form == TABLE_FOR_PEOPLE) {
			fprintf(out, "%-*s  ", width, title);
			put_field(out, shown(c));
		} else {
			fprintf(out, "%s\t", title);
			put_field(out, exact_or_nothing(c));
		}
		putc('\n', out);
	}
	return flush(out, why);
}
