/* `weir price list`: every price of the configuration, and who uses it. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "cli/locate.h"
#include "cli/price_run.h"
#include "cli/table.h"
#include "conf/config.h"

#include "base/banned.h"

enum {
	COLUMN_UPSTREAM,
	COLUMN_MODEL,
	COLUMN_FROM,
	COLUMN_HOURS,
	COLUMN_INPUT,
	COLUMN_CACHED,
	COLUMN_CACHE_WRITE,
	COLUMN_OUTPUT,
	COLUMN_REQUEST,
	COLUMN_NOW,
	COLUMN_ROUTES,
	COLUMN_COMPARES,
};

static const struct table_column columns[] = {
    [COLUMN_UPSTREAM] = {"UPSTREAM", "upstream", TABLE_TEXT},
    [COLUMN_MODEL] = {"MODEL", "model", TABLE_TEXT},
    [COLUMN_FROM] = {"FROM", "from", TABLE_TEXT},
    [COLUMN_HOURS] = {"HOURS", "hours", TABLE_TEXT},
    [COLUMN_INPUT] = {"INPUT", "input", TABLE_DECIMAL},
    [COLUMN_CACHED] = {"CACHED", "input_cached", TABLE_DECIMAL},
    [COLUMN_CACHE_WRITE] = {"CACHE WRITE", "cache_write", TABLE_DECIMAL},
    [COLUMN_OUTPUT] = {"OUTPUT", "output", TABLE_DECIMAL},
    [COLUMN_REQUEST] = {"REQUEST", "request", TABLE_DECIMAL},
    [COLUMN_NOW] = {"NOW", "in_force", TABLE_RAW},
    [COLUMN_ROUTES] = {"ROUTES", "routes", TABLE_RAW},
    [COLUMN_COMPARES] = {"COMPARE", "compares", TABLE_RAW},
};

/* What is filled in, and from what. */
struct sheet {
	struct table *table;
	enum table_form form;
	const struct config *config; /* borrowed */
};

static bool
is_of(const struct route_config *r, const struct priced_model *m)
{
	return r != NULL && r->upstream != NULL &&
	    strcmp(r->upstream->name, m->upstream) == 0 &&
	    strcmp(r->model, m->model) == 0;
}

static bool
has_route(const struct model_config *model, const struct priced_model *m)
{
	for (size_t i = 0; i < model->route_count; i++)
		if (is_of(&model->routes[i], m))
			return true;
	return false;
}

/* Whether local answers are compared with it that never go there. */
static bool
compares(const struct model_config *model, const struct priced_model *m)
{
	return is_of(model->compare, m) && !has_route(model, m);
}

/* A cell of what is a JSON value for programs, and a word in a pipe. */
static void
set_raw(const struct sheet *s, size_t column, const char *for_people,
    const char *in_pipes, const char *json)
{
	table_set(s->table, column, for_people,
	    s->form == TABLE_FOR_PIPES ? in_pipes : json);
}

/* The models for which `uses` holds. */
static void
set_users(const struct sheet *s, size_t column, const struct priced_model *m,
    bool (*uses)(const struct model_config *, const struct priced_model *))
{
	const struct config *c = s->config;
	struct buf json = {0}, words = {0}, list = {0};
	struct json_out o = json_out_to(&json);

	json_open(&o, '[');
	for (size_t i = 0; i < c->model_count; i++) {
		if (!uses(&c->models[i], m))
			continue;
		json_string(&o, slice_of(c->models[i].name));
		buf_printf(&words, "%s%s", buf_len(&words) == 0 ? "" : ", ",
		    c->models[i].name);
		buf_printf(&list, "%s%s", buf_len(&list) == 0 ? "" : ",",
		    c->models[i].name);
	}
	json_close(&o, ']');
	buf_put(&json, "", 1);
	if (buf_len(&words) == 0)
		buf_puts(&words, "-");
	buf_put(&words, "", 1);
	buf_put(&list, "", 1);
	set_raw(s, column, buf_data(&words), buf_data(&list), buf_data(&json));
	buf_release(&list);
	buf_release(&json);
	buf_release(&words);
}

static void
set_price(struct table *t, size_t column, int64_t pusd)
{
	char text[MONEY_TEXT_BYTES];

	price_format(text, pusd);
	table_set_text(t, column, text);
}

static void
set_time(struct table *t, const struct price *p)
{
	char text[CLOCK_TEXT_BYTES];

	if (p->from_ms != 0) {
		clock_format(text, p->from_ms);
		text[10] = '\0'; /* the day alone */
		table_set_text(t, COLUMN_FROM, text);
	}
	if (p->hour_begin != p->hour_end) {
		snprintf(
		    text, sizeof text, "%d-%d", p->hour_begin, p->hour_end);
		table_set_text(t, COLUMN_HOURS, text);
	}
}

static void
add_row(const struct sheet *s, const struct priced_model *m,
    const struct price *p, bool is_in_force)
{
	struct table *t = s->table;
	char text[MONEY_TEXT_BYTES];

	table_row(t);
	table_set_text(t, COLUMN_UPSTREAM, m->upstream);
	table_set_text(t, COLUMN_MODEL, m->model);
	set_time(t, p);
	set_price(t, COLUMN_INPUT, p->input_pusd);
	set_price(t, COLUMN_CACHED, p->input_cached_pusd);
	set_price(t, COLUMN_CACHE_WRITE, p->cache_write_pusd);
	set_price(t, COLUMN_OUTPUT, p->output_pusd);
	money_format_plain(text, p->request_pusd);
	table_set_text(t, COLUMN_REQUEST, text);
	set_raw(s, COLUMN_NOW, is_in_force ? "now" : "-",
	    is_in_force ? "now" : "", is_in_force ? "true" : "false");
	set_users(s, COLUMN_ROUTES, m, has_route);
	set_users(s, COLUMN_COMPARES, m, compares);
}

static void
add_rows(const struct sheet *s, const struct price_run *r)
{
	const struct config *c = s->config;

	for (size_t i = 0; i < c->priced_model_count; i++) {
		const struct priced_model *m = &c->priced_models[i];
		const struct price *now = price_at(&m->list, r->now_ms);

		if (r->upstream != NULL &&
		    strcmp(r->upstream, m->upstream) != 0)
			continue;
		for (size_t k = 0; k < m->list.count; k++)
			add_row(s, m, &m->list.prices[k],
			    &m->list.prices[k] == now);
	}
}

int
price_run_list(const struct price_run *r)
{
	enum table_form form = table_form_for(r->given & OPTION_JSON);
	struct config *c;
	struct table *t;
	struct fault why;
	int status;

	if ((c = command_load_config(r->config_file, false, &status)) == NULL)
		return status;
	if (r->upstream != NULL &&
	    config_upstream(c, slice_of(r->upstream)) == NULL) {
		status = price_fail(EXIT_NOT_FOUND,
		    "there is no upstream '%s' in %s", r->upstream, c->path);
		config_unref(&c);
		return status;
	}
	t = table_create(columns, COUNT_OF(columns), form);
	if (r->given & OPTION_NO_HEADER)
		table_hide_header(t);
	add_rows(&(struct sheet){t, form, c}, r);
	if (!table_print(t, stdout, "prices", &why))
		status = price_fail(EXIT_FAILED, "%s", why.text);
	if (form == TABLE_FOR_PEOPLE && status == EXIT_OK)
		price_say(r,
		    "Dollars a million tokens; REQUEST: a request. Days and "
		    "hours are in UTC.\n");
	table_destroy(&t);
	config_unref(&c);
	return status;
}
