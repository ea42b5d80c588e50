/*
 * tail_show.h - one finished request on stdout, as `weir tail` shows it: a row
 * of a table for people, tab-separated in a pipe, the ledger's own line for
 * programs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"
#include "cli/table.h"
#include "metering/ledger/ledger_view.h"

struct tail_look {
	enum table_form form;
	bool is_utc;    /* the zone of times; else the process's */
	int64_t now_ms; /* what is not of this day gets its date */
};

void tail_show_header(const struct tail_look *look);

/* `line` is what the view was read from. */
void tail_show_line(const struct tail_look *look, const struct ledger_view *v,
    struct slice line);
