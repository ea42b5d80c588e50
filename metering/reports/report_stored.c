#include "metering/reports/report_stored.h"

#include <stdlib.h>

#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/reports/rollup_file.h"

#include "base/banned.h"

/* How often the files may be replaced while they are read. */
#define READ_TRIES 8

static void
on_row(void *arg, const struct rollup_row *row)
{
	report_add_row(arg, row);
}

static bool
is_wanted(const struct report *r, int32_t month)
{
	const struct rollup_filter *f = &report_query(r)->filter;

	return rollup_month_start(month) < f->until_ms &&
	    rollup_month_start(month + 1) > f->since_ms;
}

static enum rollup_verdict
add_months(struct report *r, const char *folder,
    const struct rollup_manifest *m, struct fault *why)
{
	enum rollup_verdict v = ROLLUP_OK;

	for (size_t i = 0; v == ROLLUP_OK && i < m->month_count; i++)
		if (is_wanted(r, m->months[i].month))
			v = rollup_month_read(
			    folder, &m->months[i], on_row, r, why);
	return v;
}

/* Reads the files into a report of its own, again if they are replaced
 * meanwhile.  NULL if there are none or they are damaged. */
static struct report *
read_files(const struct report *r, const char *folder,
    struct rollup_manifest *m, struct fault *why)
{
	for (int i = 0; i < READ_TRIES; i++) {
		struct report *part = report_create(report_query(r));
		enum rollup_verdict v = rollup_manifest_read(folder, m, why);

		if (v == ROLLUP_ABSENT)
			why->text[0] = '\0';
		if (v == ROLLUP_OK) {
			v = add_months(part, folder, m, why);
			if (v == ROLLUP_OK)
				return part;
			rollup_manifest_release(m);
			if (v == ROLLUP_ABSENT) {
				report_destroy(&part);
				continue;
			}
		}
		report_destroy(&part);
		break;
	}
	return NULL;
}

/* Where lines that cannot be read are told. */
struct listener {
	report_damage_fn on_damage;
	void *arg;
	uint64_t *damaged;
};

static void
tell(const struct listener *l, const struct ledger_place *at, const char *why)
{
	++*l->damaged;
	if (l->on_damage != NULL)
		l->on_damage(l->arg, at->path, at->line, why);
}

/* Adds the lines behind the place up to which the files count. */
static bool
add_rest(struct report *r, const char *path, struct rollup_manifest *m,
    const struct listener *listener, struct fault *why)
{
	struct ledger_view *view = xcalloc(sizeof *view);
	struct ledger_reader *reader =
	    ledger_reader_open(path, &m->place, NULL, why);
	struct ledger_place at;
	struct slice line;
	struct fault what;
	bool ok = reader != NULL;

	while (ok && ledger_reader_next(reader, &line, &at, why)) {
		if (!ledger_view_read(view, line, &what))
			tell(listener, &at, what.text);
		else if (rollup_marks_take(&m->marks, view->writer, view->seq))
			report_add_line(r, view);
	}
	ok = ok && why->text[0] == '\0';
	ledger_reader_close(&reader);
	free(view);
	return ok;
}

enum report_stored
report_stored(struct report *r, const char *state_dir, const char *path,
    report_damage_fn on_damage, void *arg, uint64_t *damaged, struct fault *why)
{
	struct listener listener = {on_damage, arg, damaged};
	char *folder = xasprintf("%s/rollups", state_dir);
	struct rollup_manifest m = {0};
	enum report_stored verdict = REPORT_NOT_STORED;
	struct report *part;

	*damaged = 0;
	why->text[0] = '\0';
	part = read_files(r, folder, &m, why);
	if (part != NULL) {
		verdict = REPORT_STORED_FAILED;
		if (add_rest(part, path, &m, &listener, why)) {
			report_merge(r, part);
			verdict = REPORT_STORED;
		}
	}
	report_destroy(&part);
	rollup_manifest_release(&m);
	free(folder);
	return verdict;
}
