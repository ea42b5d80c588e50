#include "proxy/own_usage.h"

#include "base/clock.h"
#include "base/json_out.h"
#include "metering/price.h"
#include "proxy/models.h"
#include "proxy/own_limits.h"

#include "base/banned.h"

static struct rollup_sums
sums_since(const struct own_usage *o, int64_t since_ms)
{
	struct rollup_filter f = ROLLUP_EVERYTHING;
	struct rollup_sums sums;

	f.since_ms = since_ms;
	f.only[ROLLUP_USER] = o->user->name;
	rollup_keeper_sum(o->rollups, &f, &sums);
	return sums;
}

/* Dollars as a number with all its decimals. */
static void
member_dollars(struct json_out *o, const char *name, __int128 pusd)
{
	char text[MONEY_TEXT_BYTES];

	money_format_plain(text, pusd);
	json_key(o, name);
	json_raw(o, slice_of(text));
}

static void
member_null(struct json_out *o, const char *name)
{
	json_key(o, name);
	json_null(o);
}

/* --- GET /v1/key --------------------------------------------------------- */

static void
write_label(struct json_out *j, const struct own_usage *o)
{
	struct buf label = {0};

	buf_puts(&label, o->user->name);
	if (o->record != NULL)
		buf_printf(&label, " (%s)", o->record->id);
	json_member_string(
	    j, "label", (struct slice){buf_data(&label), buf_len(&label)});
	json_member_string(j, "user", slice_of(o->user->name));
	buf_release(&label);
}

/* Nobody brings keys of a provider along: the byok fields are there for clients
 * that want them. */
static void
write_sums(struct json_out *j, const struct own_usage *o)
{
	static const struct {
		const char *name, *byok_name;
		enum report_period period;
	} spans[] = {
	    {"usage", "byok_usage", REPORT_ALL},
	    {"usage_daily", "byok_usage_daily", REPORT_DAILY},
	    {"usage_weekly", "byok_usage_weekly", REPORT_WEEKLY},
	    {"usage_monthly", "byok_usage_monthly", REPORT_MONTHLY},
	};
	uint64_t today = 0, month = 0;

	for (size_t i = 0; i < COUNT_OF(spans); i++) {
		enum report_period period = spans[i].period;
		struct rollup_sums s = sums_since(o,
		    period == REPORT_ALL
			? INT64_MIN
			: report_period_start(period, true, o->now_ms));

		member_dollars(j, spans[i].name, s.cost_pusd);
		if (period == REPORT_DAILY)
			today = s.input_tokens + s.output_tokens;
		else if (period == REPORT_MONTHLY)
			month = s.input_tokens + s.output_tokens;
	}
	for (size_t i = 0; i < COUNT_OF(spans); i++)
		json_member_int(j, spans[i].byok_name, 0);
	json_key(j, "tokens");
	json_open(j, '{');
	json_member_int(j, "today", (int64_t)today);
	json_member_int(j, "month", (int64_t)month);
	json_close(j, '}');
	json_member_bool(
	    j, "is_complete", rollup_keeper_is_caught_up(o->rollups));
}

/* A key that was rotated stops with its grace, if that is earlier. */
static void
write_expiry(struct json_out *j, const struct own_usage *o)
{
	const struct key_record *r = o->record;
	char text[CLOCK_TEXT_BYTES];
	int64_t ms = r == NULL ? 0 : r->expires_ms;

	if (r != NULL && r->revoked_ms != 0 && (ms == 0 || r->revoked_ms < ms))
		ms = r->revoked_ms;
	if (ms == 0) {
		member_null(j, "expires_at");
		return;
	}
	clock_format(text, ms);
	json_member_string(j, "expires_at", slice_of(text));
}

static void
write_models(struct json_out *j, const struct own_usage *o)
{
	const struct config *c = o->snapshot->config;

	json_key(j, "models");
	json_open(j, '[');
	for (size_t i = 0; i < c->model_count; i++)
		if (models_may_use(o->user, o->record, &c->models[i]))
			json_string(j, slice_of(c->models[i].name));
	json_close(j, ']');
}

void
own_usage_write_key(const struct own_usage *o, struct buf *to)
{
	struct json_out j = json_out_to(to);

	json_open(&j, '{');
	json_key(&j, "data");
	json_open(&j, '{');
	write_label(&j, o);
	own_limits_write(o, &j);
	json_member_bool(&j, "include_byok_in_limit", false);
	write_sums(&j, o);
	json_member_bool(&j, "is_free_tier", false);
	json_member_bool(&j, "is_provisioning_key", false);
	write_expiry(&j, o);
	write_models(&j, o);
	json_close(&j, '}');
	json_close(&j, '}');
}

/* --- GET /v1/usage ------------------------------------------------------- */

/* The name that a row was told apart by; null if it was not. */
static void
member_group(struct json_out *j, const char *name, const struct report_query *q,
    const struct report_row *row, enum rollup_name which)
{
	const char *text = NULL;

	for (size_t i = 0; i < q->by_count; i++)
		if (q->by[i] == which)
			text = row->group[i];
	json_key(j, name);
	if (text == NULL)
		json_null(j);
	else
		json_string(j, slice_of(text));
}

static void
write_result(struct json_out *j, const struct report_query *q,
    const struct report_row *row)
{
	const struct rollup_sums *s = &row->sums;
	char cost[MONEY_TEXT_BYTES];

	json_open(j, '{');
	json_member_string(
	    j, "object", SLICE("organization.usage.completions.result"));
	json_member_int(j, "input_tokens", (int64_t)s->input_tokens);
	json_member_int(j, "input_cached_tokens", (int64_t)s->cached_tokens);
	json_member_int(j, "output_tokens", (int64_t)s->output_tokens);
	json_member_int(j, "num_model_requests", (int64_t)s->requests);
	member_null(j, "project_id");
	member_group(j, "user_id", q, row, ROLLUP_USER);
	member_group(j, "api_key_id", q, row, ROLLUP_KEY);
	member_group(j, "model", q, row, ROLLUP_MODEL);
	member_null(j, "batch");
	member_group(j, "upstream", q, row, ROLLUP_UPSTREAM);
	json_member_int(
	    j, "cache_write_tokens", (int64_t)s->cache_write_tokens);
	json_member_int(j, "reasoning_tokens", (int64_t)s->reasoning_tokens);
	money_format(cost, s->cost_pusd);
	json_member_string(j, "cost_usd", slice_of(cost));
	json_close(j, '}');
}

static struct report *
make_report(const struct own_usage *o, const struct usage_query *q)
{
	struct report_query query = {.period = q->period, .is_utc = true};
	struct report *r;

	query.filter.since_ms = q->begin_ms;
	query.filter.until_ms = q->end_ms;
	query.filter.only[ROLLUP_USER] = o->user->name;
	query.filter.only[ROLLUP_MODEL] = q->model[0] == '\0' ? NULL : q->model;
	query.filter.only[ROLLUP_KEY] = q->key[0] == '\0' ? NULL : q->key;
	for (int name = 0; name < ROLLUP_NAME_COUNT; name++)
		if (q->by[name])
			query.by[query.by_count++] = (enum rollup_name)name;
	r = report_create(&query);
	rollup_keeper_report(o->rollups, r);
	report_finish(r);
	return r;
}

static void
write_buckets(
    struct json_out *j, const struct usage_query *q, const struct report *r)
{
	size_t next = 0;

	for (int64_t at = q->begin_ms; at < q->end_ms; at += q->width_ms) {
		json_open(j, '{');
		json_member_string(j, "object", SLICE("bucket"));
		json_member_int(j, "start_time", at / 1000);
		json_member_int(j, "end_time", (at + q->width_ms) / 1000);
		json_key(j, "results");
		json_open(j, '[');
		for (; next < report_row_count(r) &&
		     report_row(r, next)->start_ms < at + q->width_ms;
		     next++)
			write_result(j, report_query(r), report_row(r, next));
		json_close(j, ']');
		json_close(j, '}');
	}
}

void
own_usage_write_history(
    const struct own_usage *o, const struct usage_query *q, struct buf *to)
{
	struct report *r = make_report(o, q);
	struct json_out j = json_out_to(to);
	struct buf next = {0};

	json_open(&j, '{');
	json_member_string(&j, "object", SLICE("page"));
	json_key(&j, "data");
	json_open(&j, '[');
	write_buckets(&j, q, r);
	json_close(&j, ']');
	json_member_bool(&j, "has_more", q->has_more);
	json_key(&j, "next_page");
	if (q->has_more) {
		buf_printf(&next, "page_%lld", (long long)(q->end_ms / 1000));
		json_string(
		    &j, (struct slice){buf_data(&next), buf_len(&next)});
	} else {
		json_null(&j);
	}
	json_member_bool(
	    &j, "is_complete", rollup_keeper_is_caught_up(o->rollups));
	json_close(&j, '}');
	buf_release(&next);
	report_destroy(&r);
}
