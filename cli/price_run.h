/*
 * price_run.h - one run of `weir price`: what was asked for, and how its verbs
 * talk.
 *
 * price.c reads the line, price_list.c and price_import.c have the verbs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

/* The options of the line, as bits. */
enum {
	OPTION_CONFIG = 1 << 0,
	OPTION_QUIET = 1 << 1,
	OPTION_UPSTREAM = 1 << 2,
	OPTION_JSON = 1 << 3,
	OPTION_NO_HEADER = 1 << 4,
	OPTION_WRITE = 1 << 5,
	OPTION_HELP = 1 << 6,
};

struct price_run {
	int given;           /* OPTION_…, or-ed */
	const char *operand; /* borrowed, like all texts: FILE */
	const char *config_file, *upstream;
	int64_t now_ms;
};

/* Talk on stderr, which -q silences. */
void price_say(const struct price_run *r, const char *fmt, ...)
    PRINTF_LIKE(2, 3);

/* An error on stderr.  Returns `status`. */
int price_fail(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The verbs.  Each returns an exit status. */
int price_run_list(const struct price_run *r);
int price_run_import(const struct price_run *r);
