/* The report for programs.  The door is report_show.h. */
#include "cli/report_show.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_out.h"
#include "base/text.h"
#include "metering/price.h"

#include "base/banned.h"

static void
put_count(struct json_out *o, const char *name, uint64_t n)
{
	json_member_int(o, name, (int64_t)n);
}

static void
put_money(struct json_out *o, const char *name, __int128 pusd)
{
	char text[MONEY_TEXT_BYTES];

	money_format(text, pusd);
	json_member_string(o, name, slice_of(text));
}

static void
put_ttft(struct json_out *o, const char *name, int64_t ms)
{
	json_key(o, name);
	if (ms < 0)
		json_null(o);
	else
		json_int(o, ms);
}

static void
put_speed(struct json_out *o, double tokens_per_second)
{
	char text[32];

	json_key(o, "tokens_per_second");
	if (tokens_per_second <= 0) {
		json_null(o);
		return;
	}
	snprintf(text, sizeof text, "%.1f", tokens_per_second);
	json_raw(o, slice_of(text));
}

static void
put_numbers(struct json_out *o, const struct report_row *row)
{
	const struct rollup_sums *s = &row->sums;

	put_count(o, "requests", s->requests);
	put_count(o, "prompt_tokens", s->input_tokens);
	put_count(o, "cached_tokens", s->cached_tokens);
	put_count(o, "cache_write_tokens", s->cache_write_tokens);
	put_count(o, "completion_tokens", s->output_tokens);
	put_count(o, "reasoning_tokens", s->reasoning_tokens);
	put_count(o, "local_tokens", s->local_tokens);
	put_money(o, "cost_usd", s->cost_pusd);
	put_money(o, "avoided_usd", s->avoided_pusd);
	put_count(o, "cancelled", s->cancelled);
	put_count(o, "failed", s->failed);
	json_member_bool(o, "estimated",
	    s->estimated + s->estimated_cost + s->estimated_avoided > 0);
	put_ttft(o, "ttft_p50_ms", row->ttft_p50_ms);
	put_ttft(o, "ttft_p95_ms", row->ttft_p95_ms);
	put_speed(o, row->tokens_per_second);
}

static const char *const members[] = {
#define X(name, member, title) [ROLLUP_##name] = #member,
    ROLLUP_NAMES(X)
#undef X
};

static void
put_row(struct json_out *o, const struct report_query *q,
    const struct report_row *row)
{
	char start[CLOCK_TEXT_BYTES];

	json_open(o, '{');
	if (q->period != REPORT_ALL) {
		clock_format(start, row->start_ms);
		json_member_string(o, "start", slice_of(start));
	}
	for (size_t i = 0; i < q->by_count; i++) {
		json_key(o, members[q->by[i]]);
		if (row->group[i] == NULL)
			json_null(o);
		else
			json_string(o, slice_of(row->group[i]));
	}
	put_numbers(o, row);
	json_close(o, '}');
}

static void
put_limit(struct json_out *o, const char *name, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	json_key(o, name);
	if (wall_ms == INT64_MIN || wall_ms == INT64_MAX) {
		json_null(o);
		return;
	}
	clock_format(text, wall_ms);
	json_string(o, slice_of(text));
}

bool
report_show_json(
    const struct report *r, const struct report_look *look, struct fault *why)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	bool ok;

	json_open(&o, '{');
	json_member_int(&o, "schema", 1);
	put_limit(&o, "since", look->query->filter.since_ms);
	put_limit(&o, "until", look->query->filter.until_ms);
	json_member_string(&o, "timezone", slice_of(look->zone));
	json_key(&o, "rows");
	json_open(&o, '[');
	for (size_t i = 0; i < report_row_count(r); i++)
		put_row(&o, look->query, report_row(r, i));
	json_close(&o, ']');
	json_key(&o, "total");
	json_open(&o, '{');
	put_numbers(&o, report_total(r));
	json_close(&o, '}');
	json_close(&o, '}');
	buf_puts(&text, "\n");
	ok = fwrite(buf_data(&text), 1, buf_len(&text), stdout) ==
	    buf_len(&text);
	buf_release(&text);
	return ok || fault_errno(why, "cannot write the report");
}
