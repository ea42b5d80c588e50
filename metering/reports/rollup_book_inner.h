/*
 * rollup_book_inner.h - what a book is made of: for rollup_book.c and
 * rollup_remake.c alone.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "metering/reports/rollup_book.h"
#include "metering/reports/rollup_file.h"

/* Months that lines were counted into, or read back for, since the last save;
 * lines that come late are of the month before, hardly ever of more. */
struct rollup_months {
	int32_t *months; /* owned */
	size_t count;
};

struct rollup_book {
	char *folder; /* owned */
	int lock;     /* descriptor */

	pthread_mutex_t mutex;   /* of what follows; the owner reads without */
	struct rollup *quarters; /* owned */
	struct rollup *days;     /* owned */
	int64_t since_ms;        /* from then on all quarters are in memory */

	/* The owner's own. */
	struct rollup_manifest manifest; /* its months: as they are saved */
	int32_t newest;                  /* month; INT32_MIN: none */
	int32_t from; /* the month of since_ms; INT32_MIN: all are there */
	struct rollup_months dirty;
	struct rollup_months
	    late;       /* months before `from` that were read back */
	bool has_moved; /* the place, since the last save */
	struct month_span {
		int32_t month;
		int64_t begin_ms, end_ms;
	} recent;
};

void rollup_months_add(struct rollup_months *m, int32_t month);
void rollup_months_clear(struct rollup_months *m);

/* The sums alone, without a file. */
struct rollup_book *rollup_book_create(void);

/* Adds a quarter's cell, of a file or of another book; to the days alone unless
 * `has_quarters`. */
void rollup_book_add_row(
    struct rollup_book *b, const struct rollup_row *row, bool has_quarters);

/* The month of a moment. */
int32_t rollup_book_month_of(struct rollup_book *b, int64_t wall_ms);
