#include "cli/user_run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/format.h"
#include "cli/limits_show.h"
#include "cli/live.h"
#include "cli/locate.h"
#include "cli/user_change.h"
#include "cli/user_uses.h"
#include "metering/price.h"

#include "base/banned.h"

#define CELL_BYTES 512

enum {
	COLUMN_LIMIT,
	COLUMN_NAME,
	COLUMN_MODEL,
	COLUMN_PER,
	COLUMN_VALUE,
	COLUMN_VALUE_JSON,
	COLUMN_NOW,
	COLUMN_NOW_JSON,
	COLUMN_SOURCE,
	COLUMN_UNTIL,
	COLUMN_AUTHOR,
	COLUMN_COUNT,
};

static const struct table_column columns[COLUMN_COUNT] = {
    [COLUMN_LIMIT] = {"LIMIT", NULL, TABLE_TEXT},
    [COLUMN_NAME] = {NULL, "limit", TABLE_TEXT},
    [COLUMN_MODEL] = {NULL, "model", TABLE_TEXT},
    [COLUMN_PER] = {NULL, "per", TABLE_TEXT},
    [COLUMN_VALUE] = {"VALUE", NULL, TABLE_DECIMAL},
    [COLUMN_VALUE_JSON] = {NULL, "value", TABLE_RAW},
    [COLUMN_NOW] = {"NOW", NULL, TABLE_DECIMAL},
    [COLUMN_NOW_JSON] = {NULL, "now", TABLE_RAW},
    [COLUMN_SOURCE] = {"SOURCE", "source", TABLE_TEXT},
    [COLUMN_UNTIL] = {NULL, "until", TABLE_TEXT},
    [COLUMN_AUTHOR] = {NULL, "author", TABLE_TEXT},
};

/* What the rows are made from. */
struct show {
	const struct user_run *run;
	struct table *table;
	const struct user_config *user;
	const struct override_table *overrides;
	const struct user_uses *uses; /* NULL: not known */
	const struct live *live;      /* NULL: no gateway runs */
};

/* One row: a setting, of the user or of the user at one model. */
struct row {
	unsigned setting;
	const struct limits *limits; /* of which it is one */
	const char *model;           /* or NULL */
	bool is_own; /* the user's own lines in the configuration state it */
	const struct override *override; /* or NULL */
};

static void
set_names(struct table *t, const struct row *row)
{
	const char *name = limits_setting_name(row->setting);
	char shown[CELL_BYTES];
	enum period period;
	bool is_fallback;
	int64_t pusd;

	snprintf(shown, sizeof shown, "%s%s%s", name,
	    row->model == NULL ? "" : " at ",
	    row->model == NULL ? "" : row->model);
	table_set_text(t, COLUMN_LIMIT, shown);
	table_set_text(t, COLUMN_NAME, name);
	table_set_text(t, COLUMN_MODEL, row->model);
	if (limits_is_budget(
		row->limits, row->setting, &period, &pusd, &is_fallback))
		table_set_text(t, COLUMN_PER, period_name(period));
}

static void
set_value(struct table *t, const struct row *row)
{
	char shown[LIMITS_VALUE_BYTES], exact[LIMITS_VALUE_BYTES];
	struct buf json = {0};

	limits_format_value(shown, row->limits, row->setting);
	limits_setting_value(exact, row->limits, row->setting);
	table_set(t, COLUMN_VALUE, shown, exact);
	limits_write_json_value(&json, row->limits, row->setting);
	buf_put(&json, "", 1);
	table_set_text(t, COLUMN_VALUE_JSON, buf_data(&json));
	buf_release(&json);
}

static void
set_money(struct table *t, __int128 pusd)
{
	char shown[MONEY_TEXT_BYTES], exact[MONEY_TEXT_BYTES];
	char json[MONEY_TEXT_BYTES + 2];

	money_format_short(shown, pusd);
	money_format_plain(exact, pusd);
	snprintf(json, sizeof json, "\"%s\"", exact);
	table_set(t, COLUMN_NOW, shown, exact);
	table_set_text(t, COLUMN_NOW_JSON, json);
}

/* What a running gateway alone knows of: rates, requests at once, and what
 * failover has cost. */
static void
set_live(const struct show *s, const struct row *row)
{
	struct live_account now;
	int64_t n = -1, pusd;
	enum period period;
	bool is_fallback;
	char exact[FORMAT_BYTES];

	if (!live_find(s->live, s->user->name, row->model, &now))
		return;
	if (row->setting == LIMIT_CONCURRENT)
		n = now.in_flight;
	else if (row->setting < LIMIT_COUNT)
		n = now.rate_used[row->setting];
	else if (limits_is_budget(
		     row->limits, row->setting, &period, &pusd, &is_fallback) &&
	    is_fallback)
		set_money(s->table, now.fallback[period]);
	if (n < 0)
		return;
	snprintf(exact, sizeof exact, "%lld", (long long)n);
	table_set_number(s->table, COLUMN_NOW, n);
	table_set_text(s->table, COLUMN_NOW_JSON, exact);
}

/* What the ledger's sums know of: tokens of the day, and money. */
static void
set_now(const struct show *s, const struct row *row)
{
	char shown[FORMAT_BYTES], exact[FORMAT_BYTES];
	struct rollup_sums sums;
	enum period period;
	bool is_fallback;
	int64_t pusd;

	if (s->uses == NULL)
		return;
	if (row->setting == LIMIT_DAY_TOKENS) {
		sums = user_uses_in(
		    s->uses, PERIOD_DAY, s->user->name, row->model);
		format_tokens(shown, sums.input_tokens + sums.output_tokens);
		snprintf(exact, sizeof exact, "%llu",
		    (unsigned long long)(sums.input_tokens +
			sums.output_tokens));
		table_set(s->table, COLUMN_NOW, shown, exact);
		table_set_text(s->table, COLUMN_NOW_JSON, exact);
	} else if (limits_is_budget(row->limits, row->setting, &period, &pusd,
		       &is_fallback) &&
	    !is_fallback) {
		sums = user_uses_in(s->uses, period, s->user->name, row->model);
		set_money(s->table, sums.cost_pusd);
	}
}

static void
set_override_source(const struct show *s, const struct override *o)
{
	char shown[CELL_BYTES], exact[CELL_BYTES];
	char until[CLOCK_TEXT_BYTES], when[CLOCK_TEXT_BYTES];

	format_moment(when, o->until_ms, s->run->now_ms);
	clock_format(until, o->until_ms);
	snprintf(
	    shown, sizeof shown, "override until %s by %s", when, o->author);
	snprintf(
	    exact, sizeof exact, "override until %s by %s", until, o->author);
	table_set(s->table, COLUMN_SOURCE, shown, exact);
	table_set_text(s->table, COLUMN_UNTIL, until);
	table_set_text(s->table, COLUMN_AUTHOR, o->author);
}

static void
set_source(const struct show *s, const struct row *row)
{
	const struct limits none = limits_none();
	char value[LIMITS_VALUE_BYTES], unsaid[LIMITS_VALUE_BYTES];
	char source[CELL_BYTES] = "default";

	if (row->override != NULL) {
		set_override_source(s, row->override);
		return;
	}
	limits_setting_value(value, row->limits, row->setting);
	limits_setting_value(unsaid, &none, row->setting);
	if (row->is_own && row->model != NULL)
		snprintf(source, sizeof source,
		    "config (users.%s.limits.models.%s)", s->user->name,
		    row->model);
	else if (row->is_own)
		snprintf(
		    source, sizeof source, "config (users.%s)", s->user->name);
	else if (row->model != NULL)
		snprintf(source, sizeof source, "config (limits.models.%s)",
		    row->model);
	else if (strcmp(value, unsaid) != 0)
		snprintf(source, sizeof source, "config (limits)");
	table_set_text(s->table, COLUMN_SOURCE, source);
}

static void
add_row(const struct show *s, const struct row *row)
{
	table_row(s->table);
	set_names(s->table, row);
	set_value(s->table, row);
	set_live(s, row);
	set_now(s, row);
	set_source(s, row);
}

/* Budgets that nobody speaks of, and how far a single request may reserve, are
 * left out. */
static bool
is_shown(const struct row *row)
{
	const struct limits none = limits_none();
	char value[LIMITS_VALUE_BYTES], unsaid[LIMITS_VALUE_BYTES];

	if (row->setting < LIMIT_COUNT || row->is_own ||
	    row->override != NULL || STATED_PAID_ROUTES == 1u << row->setting)
		return true;
	limits_setting_value(value, row->limits, row->setting);
	limits_setting_value(unsaid, &none, row->setting);
	return strcmp(value, unsaid) != 0;
}

static void
add_rows_of_user(const struct show *s)
{
	const struct user_config *u = s->user;
	struct limits limits = u->limits, over;
	int64_t until_ms;

	if (override_table_merge(
		s->overrides, u->name, s->run->now_ms, &over, &until_ms))
		limits_replace(&limits, &over);
	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		struct row row = {
		    .setting = i,
		    .limits = &limits,
		    .is_own = u->limits.stated & 1u << i,
		    .override = override_table_find(
			s->overrides, u->name, i, s->run->now_ms),
		};

		if (is_shown(&row))
			add_row(s, &row);
	}
}

static void
add_rows_at_model(const struct show *s, const struct user_model_limits *at)
{
	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		struct row row = {
		    .setting = i,
		    .limits = &at->own,
		    .model = at->model->name,
		    .is_own = at->own_lines & 1u << i,
		};

		if (at->own.stated & 1u << i)
			add_row(s, &row);
	}
}

static int
show_limits(const struct user_run *r, const struct user_config *user,
    const struct override_table *overrides)
{
	struct user_uses *uses =
	    user_uses_read(r->config, user->name, r->now_ms);
	struct live *live = live_read(r->config);
	struct show s = {
	    .run = r,
	    .table = table_create(columns, COLUMN_COUNT, r->form),
	    .user = user,
	    .overrides = overrides,
	    .uses = uses,
	    .live = live,
	};
	int status = EXIT_OK;
	struct fault why;

	if (r->given & USER_NO_HEADER)
		table_hide_header(s.table);
	add_rows_of_user(&s);
	for (size_t i = 0; i < user->at_model_count; i++)
		add_rows_at_model(&s, &user->at_models[i]);
	if (!table_print(s.table, stdout, "limits", &why))
		status = user_fail(EXIT_FAILED, "%s", why.text);
	table_destroy(&s.table);
	user_uses_destroy(&uses);
	live_destroy(&live);
	return status;
}

int
user_run_limits(const struct user_run *r)
{
	bool changes = r->given & (USER_SET | USER_CLEAR);
	const struct user_config *user;
	struct override_table *overrides;
	struct fault why;
	int status;

	status =
	    user_check_access(r, changes ? R_OK | W_OK | X_OK : R_OK | X_OK);
	if (status == EXIT_OK && changes)
		status = user_run_change(r);
	/* A change alone has told on stderr what there is to tell. */
	if (status != EXIT_OK || (changes && !(r->given & USER_JSON)))
		return status;
	if ((status = user_find(r, &user)) != EXIT_OK)
		return status;
	overrides = override_table_load_as_admin(r->state_dir, &why);
	if (overrides == NULL)
		return user_fail(EXIT_FAILED, "%s", why.text);
	status = show_limits(r, user, overrides);
	override_table_destroy(&overrides);
	return status;
}
