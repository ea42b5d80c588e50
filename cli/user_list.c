#include "cli/user_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json_out.h"
#include "cli/format.h"
#include "cli/limits_show.h"
#include "cli/live.h"
#include "cli/locate.h"
#include "cli/user_uses.h"
#include "metering/price.h"

#include "base/banned.h"

#define BAR_CHARS 10
#define CELL_BYTES 256

enum {
	COLUMN_USER,
	COLUMN_MODELS,
	COLUMN_MODEL_LIST,
	COLUMN_KEYS,
	COLUMN_TODAY, /* tokens and money, for people */
	COLUMN_TODAY_TOKENS,
	COLUMN_TODAY_USD,
	COLUMN_MONTH, /* likewise */
	COLUMN_MONTH_TOKENS,
	COLUMN_MONTH_USD,
	COLUMN_BUDGET,
	COLUMN_BUDGETS,
	COLUMN_LAST_SEEN,
	COLUMN_REQUESTS,
	COLUMN_IN_FLIGHT,
	COLUMN_COUNT,
};

static const struct table_column columns_for_people[COLUMN_COUNT] = {
    [COLUMN_USER] = {"USER", NULL, TABLE_TEXT},
    [COLUMN_MODELS] = {"MODELS", NULL, TABLE_TEXT},
    [COLUMN_KEYS] = {"KEYS", NULL, TABLE_NUMBER},
    [COLUMN_TODAY] = {"TODAY", NULL, TABLE_NUMBER},
    [COLUMN_MONTH] = {"THIS MONTH", NULL, TABLE_NUMBER},
    [COLUMN_BUDGET] = {"BUDGET", NULL, TABLE_TEXT},
    [COLUMN_LAST_SEEN] = {"LAST SEEN", NULL, TABLE_TEXT},
    [COLUMN_REQUESTS] = {"REQ/MIN", NULL, TABLE_NUMBER},
    [COLUMN_IN_FLIGHT] = {"NOW", NULL, TABLE_NUMBER},
};

/* One value a column: what people see in one are two here. */
static const struct table_column columns[COLUMN_COUNT] = {
    [COLUMN_USER] = {"USER", "user", TABLE_TEXT},
    [COLUMN_MODELS] = {"MODELS", NULL, TABLE_TEXT},
    [COLUMN_MODEL_LIST] = {NULL, "models", TABLE_RAW},
    [COLUMN_KEYS] = {"KEYS", "keys", TABLE_NUMBER},
    [COLUMN_TODAY_TOKENS] = {"TODAY", "today_tokens", TABLE_NUMBER},
    [COLUMN_TODAY_USD] = {"TODAY USD", "today_cost_usd", TABLE_DECIMAL},
    [COLUMN_MONTH_TOKENS] = {"THIS MONTH", "month_tokens", TABLE_NUMBER},
    [COLUMN_MONTH_USD] = {"THIS MONTH USD", "month_cost_usd", TABLE_DECIMAL},
    [COLUMN_BUDGET] = {"BUDGET", NULL, TABLE_TEXT},
    [COLUMN_BUDGETS] = {NULL, "budget", TABLE_RAW},
    [COLUMN_LAST_SEEN] = {"LAST SEEN", "last_seen", TABLE_TEXT},
    [COLUMN_REQUESTS] = {"REQ/MIN", "requests_per_minute", TABLE_NUMBER},
    [COLUMN_IN_FLIGHT] = {"NOW", "in_flight", TABLE_NUMBER},
};

/* What the rows are made from. */
struct list {
	const struct user_run *run;
	struct table *table;
	const struct key_table *keys;
	const struct override_table *overrides;
	const struct user_uses *uses; /* NULL: not known */
	const struct live *live;      /* NULL: no gateway runs */
};

static void
set_buf(struct table *t, size_t column, struct buf *text)
{
	buf_put(text, "", 1);
	table_set_text(t, column, buf_data(text));
	buf_release(text);
}

static void
set_models(struct table *t, const struct user_config *u)
{
	struct buf words = {0}, json = {0};
	struct json_out o = json_out_to(&json);

	json_open(&o, '[');
	if (u->all_models) {
		buf_puts(&words, "*");
		json_string(&o, SLICE("*"));
	}
	for (size_t i = 0; !u->all_models && i < u->model_count; i++) {
		buf_printf(
		    &words, "%s%s", i == 0 ? "" : " ", u->models[i]->name);
		json_string(&o, slice_of(u->models[i]->name));
	}
	json_close(&o, ']');
	if (buf_len(&words) == 0)
		buf_puts(&words, "none");
	set_buf(t, COLUMN_MODELS, &words);
	set_buf(t, COLUMN_MODEL_LIST, &json);
}

/* Keys that may be used now. */
static void
set_keys(const struct list *l, const struct user_config *u)
{
	int64_t count = 0;

	for (size_t i = 0; i < key_table_count(l->keys); i++) {
		const struct key_record *r = key_table_at(l->keys, i);

		count += strcmp(r->user, u->name) == 0 &&
		    key_record_state(r, l->run->now_ms) == KEY_OK;
	}
	if (u->is_keyless)
		table_set(l->table, COLUMN_KEYS, "none", NULL);
	else
		table_set_number(l->table, COLUMN_KEYS, count);
}

static void
set_period(const struct list *l, const struct user_config *u, enum period p,
    size_t first)
{
	struct rollup_sums s = user_uses_in(l->uses, p, u->name, NULL);
	char tokens[FORMAT_BYTES], usd[MONEY_TEXT_BYTES], both[CELL_BYTES];
	uint64_t n = s.input_tokens + s.output_tokens;

	format_tokens(tokens, n);
	money_format_short(usd, s.cost_pusd);
	snprintf(both, sizeof both, "%s %7s", tokens, usd);
	table_set(l->table, first, both, NULL);
	table_set_number(l->table, first + 1, (int64_t)n);
	money_format(usd, s.cost_pusd);
	table_set_text(l->table, first + 2, usd);
}

/* "####------ " */
static void
put_bar(struct buf *out, double share)
{
	int full = share >= 1 ? BAR_CHARS : (int)(share * BAR_CHARS + 0.5);

	for (int i = 0; i < BAR_CHARS; i++)
		buf_puts(out, i < full ? "#" : "-");
	buf_puts(out, " ");
}

/* How much of a sum is spent, from 0 on. */
static double
share_of(__int128 used, int64_t most)
{
	if (most == 0)
		return 1;
	return (double)used / (double)most;
}

/* The budget that is nearest to its end, or the tokens of a day. */
static void
put_budget(const struct list *l, const struct user_config *u,
    const struct limits *limits, bool has_bar, struct buf *out)
{
	char used[MONEY_TEXT_BYTES], value[LIMITS_VALUE_BYTES];
	double share, fullest = -1;
	unsigned which = 0;

	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		if (limits->budget[p] == BUDGET_UNLIMITED)
			continue;
		share = share_of(
		    user_uses_in(l->uses, (enum period)p, u->name, NULL)
			.cost_pusd,
		    limits->budget[p]);
		if (share > fullest) {
			fullest = share;
			which = p;
		}
	}
	if (fullest < 0)
		return;
	if (has_bar)
		put_bar(out, fullest);
	money_format_short(used,
	    user_uses_in(l->uses, (enum period)which, u->name, NULL).cost_pusd);
	limits_format_value(value, limits, LIMIT_COUNT + which);
	buf_printf(out, "%s of %s", used, value);
}

static void
put_day_tokens(const struct list *l, const struct user_config *u,
    const struct limits *limits, struct buf *out)
{
	struct rollup_sums s = user_uses_in(l->uses, PERIOD_DAY, u->name, NULL);
	char used[FORMAT_BYTES], most[FORMAT_BYTES];

	if (limits->most[LIMIT_DAY_TOKENS] == LIMIT_UNLIMITED)
		return;
	format_tokens(used, s.input_tokens + s.output_tokens);
	format_tokens(most, limits->most[LIMIT_DAY_TOKENS]);
	buf_printf(out, "tokens/day %s of %s", used, most);
}

/* [{"usd":"10.00","per":"month","used_usd":"4.20"}] */
static void
write_budgets(const struct list *l, const struct user_config *u,
    const struct limits *limits, struct buf *out)
{
	struct json_out o = json_out_to(out);
	char usd[MONEY_TEXT_BYTES];

	json_open(&o, '[');
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		if (limits->budget[p] == BUDGET_UNLIMITED)
			continue;
		json_open(&o, '{');
		money_format_plain(usd, limits->budget[p]);
		json_member_string(&o, "usd", slice_of(usd));
		json_member_string(
		    &o, "per", slice_of(period_name((enum period)p)));
		if (l->uses != NULL) {
			money_format_plain(usd,
			    user_uses_in(l->uses, (enum period)p, u->name, NULL)
				.cost_pusd);
			json_member_string(&o, "used_usd", slice_of(usd));
		}
		json_close(&o, '}');
	}
	json_close(&o, ']');
}

static void
set_budget(const struct list *l, const struct user_config *u)
{
	struct limits limits = u->limits, over;
	struct buf words = {0}, json = {0};
	int64_t until_ms;

	if (override_table_merge(
		l->overrides, u->name, l->run->now_ms, &over, &until_ms))
		limits_replace(&limits, &over);
	if (l->uses != NULL) {
		put_budget(
		    l, u, &limits, l->run->form == TABLE_FOR_PEOPLE, &words);
		if (buf_len(&words) == 0)
			put_day_tokens(l, u, &limits, &words);
	}
	if (buf_len(&words) > 0)
		set_buf(l->table, COLUMN_BUDGET, &words);
	buf_release(&words);
	write_budgets(l, u, &limits, &json);
	set_buf(l->table, COLUMN_BUDGETS, &json);
}

static void
set_last_seen(const struct list *l, const struct user_config *u)
{
	int64_t last_ms = user_uses_last_ms(l->uses, u->name);
	char ago[FORMAT_BYTES];

	if (last_ms == 0) {
		table_set(l->table, COLUMN_LAST_SEEN, "never", NULL);
		return;
	}
	format_ago(ago, last_ms, l->run->now_ms);
	table_set_time(l->table, COLUMN_LAST_SEEN, last_ms, ago);
}

/* What a running gateway alone knows of. */
static void
set_live(const struct list *l, const struct user_config *u)
{
	struct live_account now;

	if (!live_find(l->live, u->name, NULL, &now))
		return;
	if (now.rate_used[LIMIT_REQUESTS] >= 0)
		table_set_number(
		    l->table, COLUMN_REQUESTS, now.rate_used[LIMIT_REQUESTS]);
	table_set_number(l->table, COLUMN_IN_FLIGHT, now.in_flight);
}

static void
add_row(const struct list *l, const struct user_config *u)
{
	table_row(l->table);
	table_set_text(l->table, COLUMN_USER, u->name);
	set_models(l->table, u);
	set_keys(l, u);
	set_budget(l, u);
	set_live(l, u);
	if (l->uses == NULL)
		return;
	set_period(l, u, PERIOD_DAY, COLUMN_TODAY);
	set_period(l, u, PERIOD_MONTH, COLUMN_MONTH);
	set_last_seen(l, u);
}

static int
print_list(const struct user_run *r, const struct key_table *keys,
    const struct override_table *overrides)
{
	struct user_uses *uses = user_uses_read(r->config, NULL, r->now_ms);
	struct live *live = live_read(r->config);
	struct list l = {
	    .run = r,
	    .table = table_create(
		r->form == TABLE_FOR_PEOPLE ? columns_for_people : columns,
		COLUMN_COUNT, r->form),
	    .keys = keys,
	    .overrides = overrides,
	    .uses = uses,
	    .live = live,
	};
	int status = EXIT_OK;
	struct fault why;

	if (r->given & USER_NO_HEADER)
		table_hide_header(l.table);
	for (size_t i = 0; i < r->config->user_count; i++)
		add_row(&l, &r->config->users[i]);
	if (!table_print(l.table, stdout, "users", &why))
		status = user_fail(EXIT_FAILED, "%s", why.text);
	table_destroy(&l.table);
	user_uses_destroy(&uses);
	live_destroy(&live);
	return status;
}

int
user_run_list(const struct user_run *r)
{
	struct override_table *overrides = NULL;
	struct key_table *keys = NULL;
	struct fault why;
	int status;

	if ((status = user_check_access(r, R_OK | X_OK)) != EXIT_OK)
		return status;
	if ((keys = key_table_load_as_admin(r->state_dir, &why)) == NULL ||
	    (overrides = override_table_load_as_admin(r->state_dir, &why)) ==
		NULL)
		status = user_fail(EXIT_FAILED, "%s", why.text);
	else
		status = print_list(r, keys, overrides);
	override_table_destroy(&overrides);
	key_table_unref(&keys);
	return status;
}
