/*
 * rollup_line.h - one line of a file of rollups, written and read.
 *
 * A file is lines of flat JSON objects; the last one seals it: how many cells
 * there are, and the CRC-32 of all before it.  Which members a line has tells
 * what it is; unknown ones are passed over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/json_out.h"
#include "base/text.h"
#include "metering/reports/rollup.h"

/* member, name; beside those of a cell (ROLLUP_NAMES, ROLLUP_COUNTS) */
#define ROLLUP_LINE_COUNTS(X)         \
	X(rollups, "rollups")         \
	X(rollup, "rollup")           \
	X(generation, "generation")   \
	X(segment_seq, "segment_seq") \
	X(offset, "offset")           \
	X(line, "line")               \
	X(first_seq, "first_seq")     \
	X(seq, "seq")

#define ROLLUP_LINE_TEXTS(X)                \
	X(month, "month")                   \
	X(segment_writer, "segment_writer") \
	X(first_writer, "first_writer")     \
	X(forgotten, "forgotten")           \
	X(writer, "writer")

/* What one line says; what it does not say is 0 or NULL. */
struct rollup_line {
#define X(member, name) uint64_t member;
	ROLLUP_LINE_COUNTS(X)
#undef X
#define X(member, name) struct slice member;
	ROLLUP_LINE_TEXTS(X)
#undef X
	struct rollup_row row; /* points at the two below */
	struct rollup_sums sums;
	struct waits waits;
};

struct rollup_lines {
	struct slice rest; /* borrowed; without the seal */
	struct rollup_line line;
	struct buf memory; /* its texts */
	bool is_bad;
};

/* Begins to read sealed text.  False with the reason if it is not whole. */
MUST_CHECK bool rollup_lines_open(
    struct rollup_lines *l, struct slice text, struct fault *why);

/* The next line, which lives until the next call; NULL at the end, and with
 * l->is_bad and the reason at a line that is damaged. */
const struct rollup_line *rollup_lines_next(
    struct rollup_lines *l, struct fault *why);

void rollup_lines_close(struct rollup_lines *l);

/* Appends the line of a cell. */
void rollup_row_write(struct json_out *o, const struct rollup_row *row);

/* Appends the line that seals all that is in `text`. */
void rollup_seal(struct buf *text, uint64_t rows);
