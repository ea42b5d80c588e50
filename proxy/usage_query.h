/*
 * usage_query.h - the query string of GET /v1/usage, which is that of OpenAI's
 * usage API: which buckets of time, told apart by what.
 *
 *     start_time=1763596800&bucket_width=1d&group_by=model&limit=7
 *
 * Times are seconds since 1970; buckets are hours or days of UTC, and one that
 * is asked for in part is given whole.  Lists may be written as `a,b`, or by
 * giving the name again, with or without `[]` behind it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/reports/report.h"

#define USAGE_QUERY_TEXT_BYTES 256

struct usage_query {
	enum report_period period;          /* REPORT_HOURLY or REPORT_DAILY */
	int64_t width_ms;                   /* of a bucket */
	int64_t begin_ms, end_ms;           /* of this page: whole buckets */
	bool has_more;                      /* another page begins at end_ms */
	bool by[ROLLUP_NAME_COUNT];         /* told apart by these */
	char model[USAGE_QUERY_TEXT_BYTES]; /* this alone; "": all */
	char key[USAGE_QUERY_TEXT_BYTES];   /* the same */
};

/* Reads a query, without its `?`.  False with a sentence for the client. */
MUST_CHECK bool usage_query_parse(struct slice query, int64_t now_ms,
    struct usage_query *out, struct fault *why);
