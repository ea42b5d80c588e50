#include "proxy/admin.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "metering/learned.h"
#include "metering/reports/report.h"
#include "metering/reports/rollup_keeper.h"

#include "base/banned.h"

#define LAST_HOUR_MS INT64_C(3600000)

/* What is told of the fleet is put together from these. */
struct fleet {
	const struct worker *w; /* borrowed */
	struct json_out j;
	struct report *hour; /* owned; by upstream */
	int64_t hour_begin_ms;
	struct learned_facts *facts; /* owned, with its names */
	size_t fact_count;
};

static void
keep_facts(void *arg, const struct learned_facts *f)
{
	struct fleet *fleet = arg;
	struct learned_facts *to;

	if (fleet->fact_count == LEARNED_MODELS_MOST)
		return;
	to = &fleet->facts[fleet->fact_count++];
	*to = *f;
	to->upstream = xstrdup(f->upstream);
	to->model = xstrdup(f->model);
}

static void
open_fleet(struct fleet *f)
{
	int64_t now = clock_wall_ms();
	struct report_query q = {.period = REPORT_ALL,
	    .is_utc = true,
	    .filter = ROLLUP_EVERYTHING,
	    .by = {ROLLUP_UPSTREAM},
	    .by_count = 1};

	f->facts = xcalloc_array(LEARNED_MODELS_MOST, sizeof *f->facts);
	learned_each(f->w->gateway->learned, keep_facts, f);
	f->hour_begin_ms = rollup_start(ROLLUP_QUARTER_MS, now - LAST_HOUR_MS);
	q.filter.since_ms = f->hour_begin_ms;
	f->hour = report_create(&q);
	rollup_keeper_report(f->w->gateway->rollups, f->hour);
	report_finish(f->hour);
}

static void
close_fleet(struct fleet *f)
{
	report_destroy(&f->hour);
	for (size_t i = 0; i < f->fact_count; i++) {
		free((void *)(uintptr_t)f->facts[i].upstream);
		free((void *)(uintptr_t)f->facts[i].model);
	}
	free(f->facts);
}

/* n / per with as many decimals as that has; null for 0, which is not known. */
static void
member_fraction(struct json_out *j, const char *name, uint64_t n, uint64_t per)
{
	char text[48];

	json_key(j, name);
	if (n == 0) {
		json_null(j);
		return;
	}
	snprintf(text, sizeof text, "%.3f", (double)n / (double)per);
	json_raw(j, slice_of(text));
}

static void
write_model(struct fleet *f, const char *upstream, const char *model)
{
	struct learned_facts facts = {0};
	struct json_out *j = &f->j;

	for (size_t i = 0; i < f->fact_count; i++)
		if (strcmp(f->facts[i].upstream, upstream) == 0 &&
		    strcmp(f->facts[i].model, model) == 0)
			facts = f->facts[i];
	json_open(j, '{');
	json_member_string(j, "model", slice_of(model));
	member_fraction(
	    j, "prefill_tokens_per_second", facts.prefill_rate, 1000);
	json_member_int(j, "prefill_samples", (int64_t)facts.prefill_samples);
	member_fraction(j, "decode_tokens_per_second", facts.decode_rate, 1000);
	json_key(j, "answer_p95_tokens");
	if (facts.output_p95 == 0)
		json_null(j);
	else
		json_int(j, (int64_t)facts.output_p95);
	member_fraction(
	    j, "prompt_bytes_per_token", facts.prompt_microbytes, 1000000);
	member_fraction(
	    j, "answer_bytes_per_token", facts.answer_microbytes, 1000000);
	json_close(j, '}');
}

/* Whether an earlier route leads to the same model of the same upstream. */
static bool
was_written(const struct config *c, const struct route_config *until)
{
	for (size_t m = 0; m < c->model_count; m++) {
		for (size_t i = 0; i < c->models[m].route_count; i++) {
			const struct route_config *r = &c->models[m].routes[i];

			if (r == until)
				return false;
			if (r->upstream == until->upstream &&
			    strcmp(r->model, until->model) == 0)
				return true;
		}
	}
	return false;
}

/* The upstream's own names of the models that routes lead to. */
static void
write_models(struct fleet *f, const struct upstream_config *up)
{
	const struct config *c = f->w->snapshot->config;

	json_key(&f->j, "models");
	json_open(&f->j, '[');
	for (size_t m = 0; m < c->model_count; m++) {
		for (size_t i = 0; i < c->models[m].route_count; i++) {
			const struct route_config *r = &c->models[m].routes[i];

			if (r->upstream == up && !was_written(c, r))
				write_model(f, up->name, r->model);
		}
	}
	json_close(&f->j, ']');
}

static void
write_last_hour(struct fleet *f, const struct upstream_config *up)
{
	const struct report_row *row = NULL;
	struct json_out *j = &f->j;
	char since[CLOCK_TEXT_BYTES];

	for (size_t i = 0; i < report_row_count(f->hour); i++) {
		const struct report_row *each = report_row(f->hour, i);

		if (each->group[0] != NULL &&
		    strcmp(each->group[0], up->name) == 0)
			row = each;
	}
	clock_format(since, f->hour_begin_ms);
	json_key(j, "last_hour");
	json_open(j, '{');
	json_member_string(j, "since", slice_of(since));
	json_member_int(
	    j, "requests", row == NULL ? 0 : (int64_t)row->sums.requests);
	json_member_int(
	    j, "failed", row == NULL ? 0 : (int64_t)row->sums.failed);
	json_key(j, "ttft_p50_ms");
	if (row == NULL || row->ttft_p50_ms < 0)
		json_null(j);
	else
		json_int(j, row->ttft_p50_ms);
	member_fraction(j, "tokens_per_second",
	    row == NULL ? 0 : (uint64_t)(row->tokens_per_second * 1000), 1000);
	json_close(j, '}');
}

static void
write_gate(struct fleet *f, const struct upstream_config *up)
{
	struct json_out *j = &f->j;
	struct gate_outlook o;

	gate_outlook(f->w->gateway->gate, f->w->snapshot->upstreams[up->index],
	    NULL, clock_mono_ns(), &o);
	json_member_int(j, "in_flight", o.in_flight);
	json_key(j, "max_inflight");
	if (up->max_inflight == CONFIG_UNLIMITED)
		json_null(j);
	else
		json_int(j, up->max_inflight);
	json_member_int(j, "waiting", o.waiting);
	json_key(j, "expected_wait_ms");
	if (o.wait_ns == UINT64_MAX)
		json_null(j);
	else
		json_int(j, (int64_t)(o.wait_ns / NS_PER_MS));
}

static void
write_upstream(struct fleet *f, const struct upstream_config *up)
{
	struct buf address = {0};
	struct json_out *j = &f->j;

	buf_printf(&address,
	    strchr(up->host, ':') == NULL ? "%s:%u" : "[%s]:%u", up->host,
	    up->port);
	json_open(j, '{');
	json_member_string(j, "upstream", slice_of(up->name));
	json_member_string(j, "kind", slice_of(kind_name(up->kind)));
	json_member_string(j, "address",
	    (struct slice){buf_data(&address), buf_len(&address)});
	json_member_bool(j, "paid", up->is_paid);
	write_gate(f, up);
	write_last_hour(f, up);
	write_models(f, up);
	json_close(j, '}');
	buf_release(&address);
}

void
admin_write_fleet(const struct worker *w, struct buf *to)
{
	const struct config *c = w->snapshot->config;
	struct fleet f = {.w = w, .j = json_out_to(to)};
	char at[CLOCK_TEXT_BYTES];

	open_fleet(&f);
	clock_format(at, clock_wall_ms());
	json_open(&f.j, '{');
	json_member_int(&f.j, "schema", ADMIN_SCHEMA);
	json_member_string(&f.j, "at", slice_of(at));
	json_key(&f.j, "upstreams");
	json_open(&f.j, '[');
	for (size_t i = 0; i < c->upstream_count; i++)
		write_upstream(&f, &c->upstreams[i]);
	json_close(&f.j, ']');
	json_close(&f.j, '}');
	close_fleet(&f);
	buf_puts(to, "\n");
}
