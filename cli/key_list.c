#include "cli/key_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "cli/format.h"
#include "cli/key_request.h"
#include "cli/key_uses.h"
#include "cli/limits_show.h"

#include "base/banned.h"

#define DAY_MS INT64_C(86400000)

enum {
	COLUMN_ID,
	COLUMN_USER,
	COLUMN_NAME,
	COLUMN_MODELS,
	COLUMN_CLASS,
	COLUMN_LIMITS,
	COLUMN_CREATED,
	COLUMN_LAST_USED,
	COLUMN_EXPIRES,
	COLUMN_REVOKED,
	COLUMN_REQUESTS,
	COLUMN_TOKENS,
	COLUMN_STATE,
};

/* What a list has no room for is in JSON all the same. */
static const struct table_column list_columns[] = {
    [COLUMN_ID] = {"ID", "id", TABLE_TEXT},
    [COLUMN_USER] = {"USER", "user", TABLE_TEXT},
    [COLUMN_NAME] = {"NAME", "name", TABLE_TEXT},
    [COLUMN_MODELS] = {NULL, "models", TABLE_RAW},
    [COLUMN_CLASS] = {NULL, "class", TABLE_TEXT},
    [COLUMN_LIMITS] = {NULL, "limits", TABLE_RAW},
    [COLUMN_CREATED] = {"CREATED", "created", TABLE_TEXT},
    [COLUMN_LAST_USED] = {"LAST USED", "last_used", TABLE_TEXT},
    [COLUMN_EXPIRES] = {"EXPIRES", "expires", TABLE_TEXT},
    [COLUMN_REVOKED] = {NULL, "revoked", TABLE_TEXT},
    [COLUMN_REQUESTS] = {"REQUESTS", "requests", TABLE_NUMBER},
    [COLUMN_TOKENS] = {"TOKENS", "tokens", TABLE_NUMBER},
    [COLUMN_STATE] = {"STATE", "state", TABLE_TEXT},
};

static const struct table_column show_columns[] = {
    [COLUMN_ID] = {"ID", "id", TABLE_TEXT},
    [COLUMN_USER] = {"USER", "user", TABLE_TEXT},
    [COLUMN_NAME] = {"NAME", "name", TABLE_TEXT},
    [COLUMN_MODELS] = {"MODELS", "models", TABLE_RAW},
    [COLUMN_CLASS] = {"CLASS", "class", TABLE_TEXT},
    [COLUMN_LIMITS] = {"LIMITS", "limits", TABLE_RAW},
    [COLUMN_CREATED] = {"CREATED", "created", TABLE_TEXT},
    [COLUMN_LAST_USED] = {"LAST USED", "last_used", TABLE_TEXT},
    [COLUMN_EXPIRES] = {"EXPIRES", "expires", TABLE_TEXT},
    [COLUMN_REVOKED] = {"REVOKED", "revoked", TABLE_TEXT},
    [COLUMN_REQUESTS] = {"REQUESTS", "requests", TABLE_NUMBER},
    [COLUMN_TOKENS] = {"TOKENS", "tokens", TABLE_NUMBER},
    [COLUMN_STATE] = {"STATE", "state", TABLE_TEXT},
};

/* When it was used last; if never, when it was made. */
static int64_t
last_sign(const struct key_record *r, const struct rollup_sums *used)
{
	return used == NULL ? r->created_ms : used->last_ms;
}

static const struct rollup_sums *
find_use(const struct key_record *r, const struct key_look *look)
{
	return look->uses == NULL ? NULL : key_uses_find(look->uses, r->id);
}

static const char *
state_word(const struct key_record *r, const struct key_look *look)
{
	int64_t now_ms = look->now_ms;

	switch (key_record_state(r, now_ms)) {
	case KEY_REVOKED:
		return "revoked";
	case KEY_EXPIRED:
		return "expired";
	case KEY_OK:
	case KEY_MISTYPED:
	case KEY_UNKNOWN:
	case KEY_FOREIGN:
		break;
	}
	if (look->uses != NULL &&
	    now_ms - last_sign(r, find_use(r, look)) > KEY_IDLE_DAYS * DAY_MS)
		return "idle";
	return "active";
}

static bool
is_same_day(const struct tm *a, const struct tm *b)
{
	return a->tm_year == b->tm_year && a->tm_yday == b->tm_yday;
}

/* "today", "yesterday", "12 Oct", "2025-10-12". */
static void
format_day(char out[CLOCK_TEXT_BYTES], int64_t wall_ms, int64_t now_ms)
{
	time_t then = (time_t)(wall_ms / 1000), now = (time_t)(now_ms / 1000);
	time_t a_day_ago = (time_t)((now_ms - DAY_MS) / 1000);
	struct tm day, today, yesterday;

	localtime_r(&then, &day);
	localtime_r(&now, &today);
	localtime_r(&a_day_ago, &yesterday);
	if (is_same_day(&day, &today))
		snprintf(out, CLOCK_TEXT_BYTES, "today");
	else if (is_same_day(&day, &yesterday))
		snprintf(out, CLOCK_TEXT_BYTES, "yesterday");
	else if (day.tm_year == today.tm_year)
		strftime(out, CLOCK_TEXT_BYTES, "%d %b", &day);
	else
		strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%d", &day);
}

/* "in 90 days", also a few seconds after it was made for 90 days. */
static void
format_span(char out[CLOCK_TEXT_BYTES], int64_t wall_ms, int64_t now_ms)
{
	uint64_t left_ms = (uint64_t)(wall_ms - now_ms);
	char span[CLOCK_TEXT_BYTES];

	if (wall_ms - now_ms > 2 * DAY_MS)
		left_ms += (uint64_t)DAY_MS / 2;
	duration_format(span, left_ms);
	snprintf(out, CLOCK_TEXT_BYTES, "in %.*s", CLOCK_TEXT_BYTES - 4, span);
}

static void
set_day(struct table *t, size_t column, int64_t wall_ms, int64_t now_ms)
{
	char text[CLOCK_TEXT_BYTES];

	if (wall_ms == 0)
		return;
	if (wall_ms > now_ms)
		format_span(text, wall_ms, now_ms);
	else
		format_day(text, wall_ms, now_ms);
	table_set_time(t, column, wall_ms, text);
}

/* A key that was rotated stops with its grace, if that is earlier. */
static int64_t
last_moment(const struct key_record *r, int64_t now_ms)
{
	if (r->revoked_ms > now_ms &&
	    (r->expires_ms == 0 || r->revoked_ms < r->expires_ms))
		return r->revoked_ms;
	return r->expires_ms;
}

static void
set_models(struct table *t, const struct key_record *r)
{
	struct buf json = {0}, words = {0};
	struct json_out o = json_out_to(&json);

	if (r->models == NULL) {
		table_set(t, COLUMN_MODELS, "all of the user's", NULL);
		return;
	}
	json_open(&o, '[');
	for (size_t i = 0; i < r->model_count; i++) {
		json_string(&o, slice_of(r->models[i]));
		buf_printf(&words, "%s%s", i == 0 ? "" : ", ", r->models[i]);
	}
	json_close(&o, ']');
	buf_put(&json, "", 1);
	buf_put(&words, "", 1);
	table_set(t, COLUMN_MODELS, buf_data(&words), buf_data(&json));
	buf_release(&json);
	buf_release(&words);
}

/* In JSON as the configuration has them. */
static void
set_limits(struct table *t, const struct key_record *r)
{
	struct buf json = {0}, words = {0};

	if (r->limits.stated == 0)
		return;
	limits_write_json(&json, &r->limits);
	key_limits_describe(&r->limits, &words);
	buf_put(&json, "", 1);
	buf_put(&words, "", 1);
	table_set(t, COLUMN_LIMITS, buf_data(&words), buf_data(&json));
	buf_release(&json);
	buf_release(&words);
}

static void
set_use(
    struct table *t, const struct key_record *r, const struct key_look *look)
{
	const struct rollup_sums *used = find_use(r, look);
	char shown[FORMAT_BYTES], exact[FORMAT_BYTES];
	uint64_t tokens;

	if (look->uses == NULL)
		return;
	if (used == NULL) {
		table_set(t, COLUMN_LAST_USED, "never", NULL);
	} else {
		format_ago(shown, used->last_ms, look->now_ms);
		table_set_time(t, COLUMN_LAST_USED, used->last_ms, shown);
	}
	table_set_number(
	    t, COLUMN_REQUESTS, used == NULL ? 0 : (int64_t)used->requests);
	tokens = used == NULL ? 0 : used->input_tokens + used->output_tokens;
	format_tokens(shown, tokens);
	snprintf(exact, sizeof exact, "%" PRIu64, tokens);
	table_set(t, COLUMN_TOKENS, shown, exact);
}

static void
add_row(
    struct table *t, const struct key_record *r, const struct key_look *look)
{
	int64_t now_ms = look->now_ms, stops_ms = last_moment(r, now_ms);

	table_row(t);
	table_set_text(t, COLUMN_ID, r->id);
	table_set_text(t, COLUMN_USER, r->user);
	table_set_text(t, COLUMN_NAME, r->name);
	set_models(t, r);
	table_set_text(t, COLUMN_CLASS, key_class_name(r->class));
	set_limits(t, r);
	set_day(t, COLUMN_CREATED, r->created_ms, now_ms);
	set_day(t, COLUMN_EXPIRES, stops_ms, now_ms);
	if (stops_ms == 0)
		table_set(t, COLUMN_EXPIRES, "never", NULL);
	set_day(t, COLUMN_REVOKED, r->revoked_ms, now_ms);
	set_use(t, r, look);
	table_set_text(t, COLUMN_STATE, state_word(r, look));
}

bool
key_list_has_user(const struct key_table *keys, const char *user)
{
	for (size_t i = 0; i < key_table_count(keys); i++)
		if (strcmp(key_table_at(keys, i)->user, user) == 0)
			return true;
	return false;
}

bool
key_list_print(const struct key_table *keys, const char *user,
    const char *state, const struct key_look *look, struct fault *why)
{
	struct table *t =
	    table_create(list_columns, COUNT_OF(list_columns), look->form);
	bool ok;

	if (!look->has_header)
		table_hide_header(t);
	for (size_t i = key_table_count(keys); i > 0; i--) {
		const struct key_record *r = key_table_at(keys, i - 1);

		if (user != NULL && strcmp(r->user, user) != 0)
			continue;
		if (state != NULL && strcmp(state_word(r, look), state) != 0)
			continue;
		add_row(t, r, look);
	}
	ok = table_print(t, stdout, "keys", why);
	table_destroy(&t);
	return ok;
}

bool
key_show_print(
    const struct key_record *r, const struct key_look *look, struct fault *why)
{
	struct table *t =
	    table_create(show_columns, COUNT_OF(show_columns), look->form);
	bool ok;

	add_row(t, r, look);
	ok = table_print_one(t, stdout, "key", why);
	table_destroy(&t);
	return ok;
}
