#include "cli/report_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/attr.h"
#include "cli/format.h"
#include "metering/price.h"

#include "base/banned.h"

#define CELL_BYTES FORMAT_BYTES

/* Where a number of a row goes. */
struct cell {
	struct table *table;
	size_t column;
	bool is_exact;
};

/* A `~` says that some of it is an estimate. */
static void
set_number(const struct cell *c, const char *for_people, const char *exact,
    bool is_estimated)
{
	char shown[CELL_BYTES + 1];

	snprintf(shown, sizeof shown, "%s%s", c->is_exact ? exact : for_people,
	    is_estimated ? "~" : "");
	table_set(c->table, c->column, shown, exact);
}

static void
set_tokens(const struct cell *c, uint64_t n, bool is_estimated)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];

	format_tokens(shown, n);
	snprintf(exact, sizeof exact, "%" PRIu64, n);
	set_number(c, shown, exact, is_estimated);
}

static void
set_money(const struct cell *c, __int128 pusd, bool is_estimated)
{
	char shown[MONEY_TEXT_BYTES], exact[MONEY_TEXT_BYTES];

	money_format_short(shown, pusd);
	money_format(exact, pusd);
	set_number(c, shown, exact, is_estimated);
}

static void
set_wait(const struct cell *c, int64_t ms)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];

	if (ms < 0)
		return;
	format_wait(shown, ms);
	snprintf(exact, sizeof exact, "%" PRId64, ms);
	table_set(c->table, c->column, shown, exact);
}

static void
set_share(const struct cell *c, uint64_t part, uint64_t whole)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];

	if (format_share(shown, part, whole) == NULL)
		return;
	snprintf(exact, sizeof exact, "%.4f", (double)part / (double)whole);
	table_set(c->table, c->column, shown, exact);
}

static void
set_requests(const struct cell *c, const struct report_row *row)
{
	table_set_number(c->table, c->column, (int64_t)row->sums.requests);
}

static void
set_input(const struct cell *c, const struct report_row *row)
{
	set_tokens(c, row->sums.input_tokens, row->sums.estimated > 0);
}

static void
set_cached(const struct cell *c, const struct report_row *row)
{
	set_share(c, row->sums.cached_tokens, row->sums.input_tokens);
}

static void
set_output(const struct cell *c, const struct report_row *row)
{
	set_tokens(c, row->sums.output_tokens, row->sums.estimated > 0);
}

static void
set_local(const struct cell *c, const struct report_row *row)
{
	set_share(c, row->sums.local_tokens,
	    row->sums.input_tokens + row->sums.output_tokens);
}

static void
set_ttft_p50(const struct cell *c, const struct report_row *row)
{
	set_wait(c, row->ttft_p50_ms);
}

static void
set_ttft_p95(const struct cell *c, const struct report_row *row)
{
	set_wait(c, row->ttft_p95_ms);
}

static void
set_speed(const struct cell *c, const struct report_row *row)
{
	char shown[CELL_BYTES];

	if (row->tokens_per_second <= 0)
		return;
	snprintf(shown, sizeof shown, "%.1f", row->tokens_per_second);
	table_set_text(c->table, c->column, shown);
}

static void
set_cost(const struct cell *c, const struct report_row *row)
{
	set_money(c, row->sums.cost_pusd, row->sums.estimated_cost > 0);
}

static void
set_avoided(const struct cell *c, const struct report_row *row)
{
	set_money(c, row->sums.avoided_pusd, row->sums.estimated_avoided > 0);
}

static void
set_cancelled(const struct cell *c, const struct report_row *row)
{
	table_set_number(c->table, c->column, (int64_t)row->sums.cancelled);
}

static void
set_estimated(const struct cell *c, const struct report_row *row)
{
	const struct rollup_sums *s = &row->sums;

	table_set_text(c->table, c->column,
	    s->estimated + s->estimated_cost + s->estimated_avoided > 0 ? "yes"
									: "no");
}

/* Behind the period and the groups.  The last one is for pipes alone: others
 * see a ~. */
static const struct {
	const char *title;
	void (*set)(const struct cell *c, const struct report_row *row);
} numbers[] = {
    {"REQUESTS", set_requests},
    {"INPUT", set_input},
    {"CACHED", set_cached},
    {"OUTPUT", set_output},
    {"LOCAL", set_local},
    {"TTFT p50", set_ttft_p50},
    {"p95", set_ttft_p95},
    {"TOK/S", set_speed},
    {"COST", set_cost},
    {"AVOIDED", set_avoided},
    {"CANCELLED", set_cancelled},
    {"ESTIMATED", set_estimated},
};

#define COLUMNS_MOST (1 + ROLLUP_NAME_COUNT + COUNT_OF(numbers))

static const char *const period_titles[] = {
#define X(name, word, title) [REPORT_##name] = title,
    REPORT_PERIODS(X)
#undef X
};

static const char *const group_titles[] = {
#define X(name, member, title) [ROLLUP_##name] = title,
    ROLLUP_NAMES(X)
#undef X
};

static size_t
number_count(const struct report_look *look)
{
	return COUNT_OF(numbers) - (look->form == TABLE_FOR_PIPES ? 0 : 1);
}

static size_t
name_columns(
    const struct report_look *look, struct table_column columns[COLUMNS_MOST])
{
	const struct report_query *q = look->query;
	size_t n = 0;

	if (q->period != REPORT_ALL)
		columns[n++] = (struct table_column){
		    period_titles[q->period], NULL, TABLE_TEXT};
	for (size_t i = 0; i < q->by_count; i++)
		columns[n++] = (struct table_column){
		    group_titles[q->by[i]], NULL, TABLE_TEXT};
	for (size_t i = 0; i < number_count(look); i++)
		columns[n++] =
		    (struct table_column){numbers[i].title, NULL, TABLE_NUMBER};
	return n;
}

static void
split_time(const struct report_query *q, int64_t wall_ms, struct tm *tm)
{
	time_t t = (time_t)(wall_ms / 1000);

	if (q->is_utc)
		gmtime_r(&t, tm);
	else
		localtime_r(&t, tm);
}

/* Hours of today need no date, for who looks at them now: what goes to a file
 * or a mail is read on another day. */
static bool
is_today(const struct report *r, const struct report_look *look)
{
	size_t count = report_row_count(r);
	struct tm first, last, now;

	if (look->form != TABLE_FOR_PEOPLE || !isatty(STDOUT_FILENO))
		return false;
	split_time(look->query, report_row(r, 0)->start_ms, &first);
	split_time(look->query, report_row(r, count - 1)->start_ms, &last);
	split_time(look->query, look->now_ms, &now);
	return first.tm_year == now.tm_year && first.tm_yday == now.tm_yday &&
	    last.tm_year == now.tm_year && last.tm_yday == now.tm_yday;
}

static void
set_period(struct table *t, const struct report_query *q, int64_t start_ms,
    bool is_day_known)
{
	char shown[CELL_BYTES], full[CELL_BYTES];
	struct tm tm;

	split_time(q, start_ms, &tm);
	switch (q->period) {
	case REPORT_ALL:
		return;
	case REPORT_HOURLY:
		strftime(full, sizeof full, "%Y-%m-%d %H:%M", &tm);
		strftime(shown, sizeof shown, "%H:%M", &tm);
		table_set(t, 0, is_day_known ? shown : full, full);
		return;
	case REPORT_DAILY:
	case REPORT_WEEKLY:
		strftime(full, sizeof full, "%Y-%m-%d", &tm);
		break;
	case REPORT_MONTHLY:
		strftime(full, sizeof full, "%Y-%m", &tm);
		break;
	}
	table_set_text(t, 0, full);
}

static void
set_numbers(struct table *t, size_t column, const struct report_look *look,
    const struct report_row *row)
{
	for (size_t i = 0; i < number_count(look); i++) {
		struct cell c = {t, column, look->is_exact};

		numbers[i].set(&c, row);
		column++;
	}
}

static void
fill_table(
    struct table *t, const struct report *r, const struct report_look *look)
{
	const struct report_query *q = look->query;
	size_t at = q->period == REPORT_ALL ? 0 : 1, count;
	bool is_day_known = is_today(r, look);

	count = report_row_count(r);
	for (size_t i = 0; i < count; i++) {
		const struct report_row *row = report_row(r, i);

		table_row(t);
		set_period(t, q, row->start_ms, is_day_known);
		for (size_t g = 0; g < q->by_count; g++)
			table_set_text(t, at + g, row->group[g]);
		set_numbers(t, at + q->by_count, look, row);
	}
	table_row(t);
	for (size_t i = 0; i < at + q->by_count; i++)
		table_set_text(t, i, "");
	/* Under the names; there is a column of names or of periods. */
	table_set_text(t, q->by_count > 0 ? at : 0, "total");
	set_numbers(t, at + q->by_count, look, report_total(r));
}

/* What people want to know of the whole: a day's cost is of the days from the
 * first request on, or from when the report begins, but of one at least. */
static void
print_footer(const struct report *r, const struct report_look *look)
{
	const struct rollup_sums *total = &report_total(r)->sums;
	const struct rollup_filter *f = &look->query->filter;
	int64_t begin_ms = total->first_ms, end_ms = look->now_ms, span_ms;
	char share[CELL_BYTES], a_day[MONEY_TEXT_BYTES];

	if (total->requests == 0)
		return;
	if (begin_ms < f->since_ms)
		begin_ms = f->since_ms;
	if (end_ms > f->until_ms)
		end_ms = f->until_ms;
	span_ms = end_ms - begin_ms;
	if (span_ms < ROLLUP_DAY_MS)
		span_ms = ROLLUP_DAY_MS;
	if (look->form == TABLE_FOR_MARKDOWN)
		putchar('\n');
	if (format_share(share, total->local_tokens,
		total->input_tokens + total->output_tokens) != NULL)
		printf("Local %s of tokens.  ", share);
	money_format_short(a_day, total->cost_pusd * ROLLUP_DAY_MS / span_ms);
	printf("Cloud %s a day.\n", a_day);
}

static bool
show_table(
    const struct report *r, const struct report_look *look, struct fault *why)
{
	struct table_column columns[COLUMNS_MOST];
	size_t count = name_columns(look, columns);
	struct table *t = table_create(columns, count, look->form);
	bool ok;

	if (!look->has_header)
		table_hide_header(t);
	if (report_row_count(r) > 0)
		fill_table(t, r, look);
	ok = table_print(t, stdout, "rows", why);
	if (look->form == TABLE_FOR_PEOPLE || look->form == TABLE_FOR_MARKDOWN)
		print_footer(r, look);
	table_destroy(&t);
	return ok;
}

bool
report_show(
    const struct report *r, const struct report_look *look, struct fault *why)
{
	bool ok = look->form == TABLE_FOR_PROGRAMS
	    ? report_show_json(r, look, why)
	    : show_table(r, look, why);

	if (ok && fflush(stdout) != 0)
		return fault_errno(why, "cannot write the report");
	return ok;
}
