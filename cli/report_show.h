/*
 * report_show.h - a finished report on stdout: a table, or one JSON object.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"
#include "cli/table.h"
#include "metering/reports/report.h"

struct report_look {
	const struct report_query *query; /* borrowed */
	const char *zone;                 /* its name; borrowed */
	int64_t now_ms;
	enum table_form form;
	bool is_exact; /* people get all digits, too */
	bool has_header;
};

/* Prints rows and total; for people also a sentence about what is local and
 * what a day costs.  False with the reason if stdout does not take it. */
MUST_CHECK bool report_show(
    const struct report *r, const struct report_look *look, struct fault *why);

/* The JSON alone: {"schema":1,"since":…,"until":…,"timezone":…,
 * "rows":[{…},…],"total":{…}}; a time that was not limited is null. */
MUST_CHECK bool report_show_json(
    const struct report *r, const struct report_look *look, struct fault *why);
