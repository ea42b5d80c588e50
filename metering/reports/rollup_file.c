#include "metering/reports/rollup_file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "metering/price.h"
#include "metering/reports/rollup_line.h"

#include "base/banned.h"

#define FILE_MOST_BYTES (1u << 30)
#define MANIFEST "manifest.jsonl"
#define SUFFIX ".jsonl"
#define FILE_MODE 0600

/* --- months -------------------------------------------------------------- */

int32_t
rollup_month_of(int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];
	int year, month;

	/* Four digits of a year, then two of a month. */
	clock_format(text, wall_ms);
	year = (int)strtol(text, NULL, 10);
	month = (int)strtol(text + 5, NULL, 10);
	return year * 12 + month - 1;
}

static void
format_month(char out[CLOCK_TEXT_BYTES], int32_t month)
{
	snprintf(
	    out, CLOCK_TEXT_BYTES, "%04d-%02d", month / 12, month % 12 + 1);
}

/* "2026-11"; -1 if it is none. */
static int32_t
parse_month(struct slice s)
{
	char date[16];
	int64_t ms;

	if (s.len != 7)
		return -1;
	snprintf(date, sizeof date, "%.7s-01", s.p);
	return clock_parse(slice_of(date), &ms) ? rollup_month_of(ms) : -1;
}

int64_t
rollup_month_start(int32_t month)
{
	char date[CLOCK_TEXT_BYTES + 4];
	int64_t ms = 0;

	snprintf(date, sizeof date, "%04d-%02d-01", month / 12, month % 12 + 1);
	return clock_parse(slice_of(date), &ms) ? ms : INT64_MAX;
}

static char *
month_path(const char *folder, const struct rollup_month *m)
{
	char month[CLOCK_TEXT_BYTES];

	format_month(month, m->month);
	return xasprintf("%s/%s.%" PRIu64 SUFFIX, folder, month, m->generation);
}

/* --- files --------------------------------------------------------------- */

static enum rollup_verdict
read_file(const char *path, struct buf *text, struct fault *why)
{
	if (file_read(path, FILE_MOST_BYTES, false, text, why))
		return ROLLUP_OK;
	return errno == ENOENT ? ROLLUP_ABSENT : ROLLUP_FAILED;
}

/* --- the manifest -------------------------------------------------------- */

void
rollup_manifest_release(struct rollup_manifest *m)
{
	free(m->months);
	rollup_marks_release(&m->marks);
	*m = (struct rollup_manifest){0};
}

void
rollup_manifest_set(
    struct rollup_manifest *m, int32_t month, uint64_t generation)
{
	size_t at = 0;

	while (at < m->month_count && m->months[at].month < month)
		at++;
	if (at == m->month_count || m->months[at].month != month) {
		m->months = xrealloc_array(
		    m->months, m->month_count + 1, sizeof *m->months);
		memmove(&m->months[at + 1], &m->months[at],
		    (m->month_count - at) * sizeof *m->months);
		m->month_count++;
	}
	m->months[at] = (struct rollup_month){month, generation};
}

static void
put_count(struct json_out *o, const char *name, uint64_t n)
{
	json_key(o, name);
	buf_put_uint(o->to, n);
	o->needs_comma = true;
}

static void
end_line(struct json_out *o)
{
	json_close(o, '}');
	buf_put_literal(o->to, "\n");
	o->needs_comma = false;
}

static void
put_manifest(struct buf *to, const struct rollup_manifest *m)
{
	struct json_out o = json_out_to(to);
	char month[CLOCK_TEXT_BYTES];

	json_open(&o, '{');
	put_count(&o, "rollups", ROLLUP_VERSION);
	put_count(&o, "generation", m->generation);
	json_member_string(
	    &o, "segment_writer", slice_of(m->place.segment.writer));
	put_count(&o, "segment_seq", m->place.segment.seq);
	put_count(&o, "offset", m->place.offset);
	put_count(&o, "line", m->place.line);
	json_member_string(&o, "first_writer", slice_of(m->first.writer));
	put_count(&o, "first_seq", m->first.seq);
	json_member_string(&o, "forgotten", slice_of(m->marks.forgotten));
	end_line(&o);
	for (size_t i = 0; i < m->month_count; i++) {
		format_month(month, m->months[i].month);
		json_open(&o, '{');
		json_member_string(&o, "month", slice_of(month));
		put_count(&o, "generation", m->months[i].generation);
		end_line(&o);
	}
	for (size_t i = 0; i < m->marks.count; i++) {
		json_open(&o, '{');
		json_member_string(
		    &o, "writer", slice_of(m->marks.marks[i].writer));
		put_count(&o, "seq", m->marks.marks[i].seq);
		end_line(&o);
	}
}

bool
rollup_manifest_write(
    const char *folder, const struct rollup_manifest *m, struct fault *why)
{
	char *path = xasprintf("%s/" MANIFEST, folder);
	struct buf text = {0};
	bool ok;

	put_manifest(&text, m);
	rollup_seal(&text, 0);
	ok =
	    file_replace(path, buf_data(&text), buf_len(&text), FILE_MODE, why);
	buf_release(&text);
	free(path);
	return ok;
}

/* A ULID, or nothing. */
static bool
take_writer(char to[ULID_CHARS + 1], struct slice from)
{
	if (from.len != 0 && from.len != ULID_CHARS)
		return false;
	memset(to, 0, ULID_CHARS + 1);
	if (from.len > 0)
		memcpy(to, from.p, from.len);
	return true;
}

static bool
take_head(struct rollup_manifest *m, const struct rollup_line *l)
{
	if (l->rollups != ROLLUP_VERSION)
		return false;
	m->generation = l->generation;
	m->place.segment.seq = l->segment_seq;
	m->place.offset = l->offset;
	m->place.line = l->line;
	m->first.seq = l->first_seq;
	return take_writer(m->place.segment.writer, l->segment_writer) &&
	    take_writer(m->first.writer, l->first_writer) &&
	    take_writer(m->marks.forgotten, l->forgotten);
}

static bool
take_entry(struct rollup_manifest *m, const struct rollup_line *l)
{
	int32_t month;

	if (l->writer.len == ULID_CHARS) {
		rollup_marks_take(&m->marks, l->writer, l->seq);
		return true;
	}
	month = parse_month(l->month);
	if (month < 0 || l->generation > m->generation)
		return false;
	rollup_manifest_set(m, month, l->generation);
	return true;
}

enum rollup_verdict
rollup_manifest_parse(
    struct slice text, struct rollup_manifest *m, struct fault *why)
{
	struct rollup_lines lines;
	const struct rollup_line *l;
	bool ok = rollup_lines_open(&lines, text, why), is_head = true;

	*m = (struct rollup_manifest){0};
	while (ok && (l = rollup_lines_next(&lines, why)) != NULL) {
		ok = is_head ? take_head(m, l) : take_entry(m, l);
		if (!ok)
			fault_set(why,
			    is_head ? "it is of another version"
				    : "it is damaged");
		is_head = false;
	}
	ok = ok && !lines.is_bad && !is_head;
	rollup_lines_close(&lines);
	if (!ok)
		rollup_manifest_release(m);
	return ok ? ROLLUP_OK : ROLLUP_DAMAGED;
}

enum rollup_verdict
rollup_manifest_read(
    const char *folder, struct rollup_manifest *m, struct fault *why)
{
	char *path = xasprintf("%s/" MANIFEST, folder);
	struct buf text = {0};
	enum rollup_verdict v = read_file(path, &text, why);
	struct fault what;

	*m = (struct rollup_manifest){0};
	if (v == ROLLUP_OK) {
		v = rollup_manifest_parse(
		    (struct slice){buf_data(&text), buf_len(&text)}, m, &what);
		if (v != ROLLUP_OK)
			fault_set(why, "%s: %s", path, what.text);
	}
	buf_release(&text);
	free(path);
	return v;
}

/* --- a month ------------------------------------------------------------- */

/* Whom the rows of a file are given to. */
struct writing {
	struct json_out out;
	uint64_t rows;
};

static void
put_row(void *arg, const struct rollup_row *row)
{
	struct writing *w = arg;

	rollup_row_write(&w->out, row);
	w->rows++;
}

bool
rollup_month_write(const char *folder, const struct rollup_month *month,
    const struct rollup *cells, uint64_t *bytes, struct fault *why)
{
	struct rollup_filter f = {
	    .since_ms = rollup_month_start(month->month),
	    .until_ms = rollup_month_start(month->month + 1),
	};
	char *path = month_path(folder, month), name[CLOCK_TEXT_BYTES];
	struct buf text = {0};
	struct writing w = {.out = json_out_to(&text)};
	bool ok;

	format_month(name, month->month);
	json_open(&w.out, '{');
	put_count(&w.out, "rollup", ROLLUP_VERSION);
	json_member_string(&w.out, "month", slice_of(name));
	end_line(&w.out);
	rollup_each(cells, &f, put_row, &w);
	rollup_seal(&text, w.rows);
	ok =
	    file_replace(path, buf_data(&text), buf_len(&text), FILE_MODE, why);
	if (bytes != NULL)
		*bytes = buf_len(&text);
	buf_release(&text);
	free(path);
	return ok;
}

enum rollup_verdict
rollup_month_parse(
    struct slice text, rollup_row_fn on_row, void *arg, struct fault *why)
{
	struct rollup_lines lines;
	const struct rollup_line *l;
	bool ok = rollup_lines_open(&lines, text, why);

	if (ok) {
		l = rollup_lines_next(&lines, why);
		ok = l != NULL && l->rollup == ROLLUP_VERSION;
		if (l != NULL && !ok)
			fault_set(why, "it is of another version");
	}
	while (ok && (l = rollup_lines_next(&lines, why)) != NULL)
		on_row(arg, &l->row);
	ok = ok && !lines.is_bad;
	rollup_lines_close(&lines);
	return ok ? ROLLUP_OK : ROLLUP_DAMAGED;
}

enum rollup_verdict
rollup_month_read(const char *folder, const struct rollup_month *month,
    rollup_row_fn on_row, void *arg, struct fault *why)
{
	char *path = month_path(folder, month);
	struct buf text = {0};
	enum rollup_verdict v = read_file(path, &text, why);
	struct fault what;

	if (v == ROLLUP_OK) {
		v = rollup_month_parse(
		    (struct slice){buf_data(&text), buf_len(&text)}, on_row,
		    arg, &what);
		if (v != ROLLUP_OK)
			fault_set(why, "%s: %s", path, what.text);
	}
	buf_release(&text);
	free(path);
	return v;
}

/* --- what is left over --------------------------------------------------- */

/* "2026-11.57.jsonl" */
static bool
parse_month_file(const char *name, struct rollup_month *m)
{
	size_t len = strlen(name), suffix = strlen(SUFFIX);

	if (len <= 8 + suffix || name[7] != '.' ||
	    strcmp(name + len - suffix, SUFFIX) != 0)
		return false;
	m->month = parse_month((struct slice){name, 7});
	return m->month >= 0 &&
	    text_to_u64((struct slice){name + 8, len - 8 - suffix}, UINT64_MAX,
		&m->generation);
}

static struct rollup_month *
find_month(const struct rollup_manifest *m, int32_t month)
{
	for (size_t i = 0; i < m->month_count; i++)
		if (m->months[i].month == month)
			return &m->months[i];
	return NULL;
}

void
rollup_manifest_guess(const char *folder, struct rollup_manifest *m)
{
	DIR *d = opendir(folder);
	struct rollup_month found;
	struct dirent *e;

	*m = (struct rollup_manifest){0};
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		const struct rollup_month *known;

		if (!parse_month_file(e->d_name, &found))
			continue;
		known = find_month(m, found.month);
		if (known == NULL || known->generation < found.generation)
			rollup_manifest_set(m, found.month, found.generation);
		if (m->generation < found.generation)
			m->generation = found.generation;
	}
	closedir(d);
}

void
rollup_set_aside(const char *folder, const struct rollup_month *month)
{
	char *path = month == NULL ? xasprintf("%s/" MANIFEST, folder)
				   : month_path(folder, month);
	char *aside = xasprintf("%s.damaged", path);

	(void)rename(path, aside);
	free(aside);
	free(path);
}

void
rollup_sweep(const char *folder, const struct rollup_manifest *m)
{
	DIR *d = opendir(folder);
	struct rollup_month found;
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		const struct rollup_month *known;

		if (!parse_month_file(e->d_name, &found))
			continue;
		known = find_month(m, found.month);
		if (known == NULL || known->generation != found.generation)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
}
