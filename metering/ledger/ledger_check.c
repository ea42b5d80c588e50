#include "metering/ledger/ledger_check.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "metering/ledger/check_line.h"
#include "metering/ledger/check_memory.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/segment_lines.h"

#include "base/banned.h"

/* How often files may be renamed under us while one is opened. */
#define OPEN_TRIES 16

/* So many lines may be missing where a file could not be read to its end. */
#define ANY_NUMBER UINT64_MAX

#define EMPTY "it is empty: what stood in it is lost"

struct ledger_check {
	struct check_query query;
	struct segments *list;         /* owned */
	struct check_memory old, good; /* owned: of before, and of now */
	struct check_sums sums;        /* of all segments */
	struct check_counts counts;
	struct name_table writers;
	uint64_t *last_seq; /* owned; of each writer, 0: none */
	size_t last_seq_room;
	bool has_begun; /* some writer has, with 1 */
	struct check_beginning beginning;

	/* The segment that is read. */
	const struct segment *segment; /* borrowed: from `list` */
	struct segment_lines *lines;   /* owned; NULL: none is */
	struct check_sums segment_sums;
	uint64_t number;  /* of the line that was read last */
	uint64_t damaged; /* lines since the last good one; or ANY_NUMBER */
	uint64_t findings_before;
	EVP_MD_CTX *hash; /* owned; of its text */
	uint64_t text_size;
	struct ledger_view view;
};

static void
tell(struct ledger_check *c, const char *path, uint64_t line, const char *text)
{
	c->counts.findings++;
	c->query.on_finding(c->query.arg, path, line, text);
}

static void found(struct ledger_check *c, uint64_t line, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

static void
found(struct ledger_check *c, uint64_t line, const char *fmt, ...)
{
	char text[FAULT_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	tell(c, c->segment->path, line, text);
}

/* The segment, or the rest of it, cannot be read.  The reason names the file,
 * as the finding does already. */
static void
found_unreadable(struct ledger_check *c, const struct fault *why)
{
	const char *path = c->segment->path;
	const char *at = strstr(why->text, path);

	if (at == NULL)
		found(c, 0, "%s", why->text);
	else
		found(c, 0, "%.*sit%s", (int)(at - why->text), why->text,
		    at + strlen(path));
	c->damaged = ANY_NUMBER;
}

/* --- the sequence -------------------------------------------------------- */

/* The number that the writer has used last; good until the next call. */
static uint64_t *
last_seq_of(struct ledger_check *c, struct slice writer)
{
	size_t before = c->writers.count;
	size_t i = name_table_find(&c->writers, writer);

	if (i == c->last_seq_room) {
		c->last_seq_room =
		    c->last_seq_room == 0 ? 16 : 2 * c->last_seq_room;
		c->last_seq = xrealloc_array(
		    c->last_seq, c->last_seq_room, sizeof *c->last_seq);
	}
	if (i == before)
		c->last_seq[i] = 0;
	return &c->last_seq[i];
}

/* The oldest segment may go on where one began that was removed: until a start
 * of the gateway stands in it, whose lines begin with 1. */
static bool
may_go_on(const struct ledger_check *c)
{
	return !c->has_begun && c->segment == segments_at(c->list, 0);
}

/* The first good line of all: what was before it?  What was damaged was told,
 * and a gap behind a first segment without a good line is. */
static void
begin_sequence(struct ledger_check *c, struct slice writer, uint64_t first)
{
	struct check_beginning *b = &c->beginning;

	memcpy(b->writer, writer.p, ULID_CHARS);
	b->seq = first;
	if (may_go_on(c) && first - 1 > c->damaged)
		b->before = first - 1 - c->damaged;
}

/* Numbers from `first` to `last` come at that line.  As many as lines were
 * damaged before it may be missing: those were told. */
static void
follow_sequence(struct ledger_check *c, struct slice writer, uint64_t first,
    uint64_t last, uint64_t line)
{
	uint64_t *seen = last_seq_of(c, writer), wanted = *seen + 1;
	bool is_lost =
	    first - wanted > c->damaged && (*seen > 0 || !may_go_on(c));

	if (c->beginning.seq == 0)
		begin_sequence(c, writer, first);
	if (first < wanted)
		found(c, line,
		    "line %" PRIu64 " of writer %.*s comes again, after its "
		    "line %" PRIu64,
		    first, (int)writer.len, writer.p, *seen);
	else if (is_lost)
		found(c, line,
		    "of writer %.*s %" PRIu64 " line%s missing before this "
		    "one: %" PRIu64 " to %" PRIu64,
		    (int)writer.len, writer.p, first - wanted,
		    first - wanted == 1 ? " is" : "s are", wanted, first - 1);
	if (last > *seen)
		*seen = last;
	c->has_begun |= first == 1;
	c->damaged = 0;
}

/* --- a segment ----------------------------------------------------------- */

static void
check_line(struct ledger_check *c, struct slice line)
{
	struct fault why;

	c->number++;
	if (!ledger_view_read(&c->view, line, &why)) {
		found(c, c->number, "%s", why.text);
		if (c->damaged < ANY_NUMBER)
			c->damaged++;
		return;
	}
	follow_sequence(c, c->view.writer, c->view.seq, c->view.seq, c->number);
	if (!check_line_sums(&c->view, &why))
		found(c, c->number, "%s", why.text);
	check_sums_add_line(&c->segment_sums, &c->view);
}

/* Reads on.  True at the end; false if the rest cannot be read. */
static bool
check_lines(struct ledger_check *c)
{
	struct slice line;
	struct fault why;

	for (;;) {
		switch (segment_lines_next(c->lines, &line, &why)) {
		case LINES_ONE:
			check_line(c, line);
			break;
		case LINES_END:
			return true;
		case LINES_FAILED:
		case LINES_CUT:
			found_unreadable(c, &why);
			return false;
		}
	}
}

static void
on_text(void *arg, const char *p, size_t len)
{
	struct ledger_check *c = arg;

	c->text_size += len;
	if (EVP_DigestUpdate(c->hash, p, len) != 1)
		abort(); /* SHA-256 cannot fail */
}

static void
begin_segment(struct ledger_check *c)
{
	check_sums_release(&c->segment_sums);
	c->number = 0;
	c->text_size = 0;
	c->findings_before = c->counts.findings;
	if (EVP_DigestInit_ex(c->hash, EVP_sha256(), NULL) != 1)
		abort();
}

/* What is to be remembered of the segment that was read. */
static struct checked_segment
describe(struct ledger_check *c)
{
	const struct segment *s = c->segment;
	struct checked_segment one = {
	    .id = s->id,
	    .file_size = s->file_size,
	    .mtime_ns = s->mtime_ns,
	    .inode = s->inode,
	    .text_size = c->text_size,
	};

	if (EVP_DigestFinal_ex(c->hash, one.hash, NULL) != 1)
		abort();
	return one;
}

static bool
has_same_text(const struct checked_segment *a, const struct checked_segment *b)
{
	return a->text_size == b->text_size &&
	    memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

/* What is known of a segment that cannot be compared with it now. */
static void
keep_memory(struct ledger_check *c, const struct checked_segment *before)
{
	if (before != NULL)
		check_memory_copy(&c->good, before);
}

/* A closed segment was read to its end.  It is remembered if it is good, and
 * final: another one stands behind it.  What has changed since it was found
 * good is told again each time, until the memory is removed. */
static void
end_closed(
    struct ledger_check *c, const struct checked_segment *before, bool is_last)
{
	struct checked_segment now;

	if (segment_lines_rest(c->lines).len > 0)
		check_line(c, segment_lines_take_rest(c->lines));
	now = describe(c);
	if (before != NULL && !has_same_text(before, &now)) {
		found(c, 0,
		    "it is no longer what it was when it was checked before; "
		    "if somebody meant to change it, remove %s",
		    c->query.memory_path);
		keep_memory(c, before);
		return;
	}
	if (c->text_size == 0) /* an empty one, gzipped */
		found(c, 0, EMPTY);
	if (is_last || c->counts.findings > c->findings_before)
		return;
	now.sums = c->segment_sums;
	check_memory_copy(&c->good, &now);
}

static void
end_segment(struct ledger_check *c)
{
	check_sums_add(&c->sums, &c->segment_sums);
	segment_lines_close(&c->lines);
}

static bool
is_unchanged(const struct segment *s, const struct checked_segment *before)
{
	return before != NULL && s->file_size == before->file_size &&
	    s->mtime_ns == before->mtime_ns && s->inode == before->inode;
}

/* Takes what is known of a segment for what it holds. */
static void
recall(struct ledger_check *c, const struct checked_segment *before)
{
	uint64_t line = 1;

	check_sums_release(&c->segment_sums);
	for (size_t i = 0; i < before->sums.run_count; i++) {
		const struct check_run *run = &before->sums.runs[i];

		follow_sequence(
		    c, slice_of(run->writer), run->first, run->last, line);
		line += run->last - run->first + 1;
	}
	check_sums_add(&c->sums, &before->sums);
	check_memory_copy(&c->good, before);
	c->counts.remembered++;
}

/* Opens the segment, if it still is where it was. */
static bool
open_segment(struct ledger_check *c, struct fault *why)
{
	const struct segment *s = c->segment;

	c->lines =
	    segment_lines_open(s->path, s->is_gzipped, 0, SEGMENT_WHOLE, why);
	if (c->lines == NULL)
		return false;
	if (segment_lines_are_of(c->lines, s))
		return true;
	segment_lines_close(&c->lines);
	errno = ENOENT;
	return false;
}

/* False with errno ENOENT if the segment is no longer there. */
static bool
check_segment(struct ledger_check *c, bool is_last)
{
	const struct checked_segment *before = c->segment->is_current
	    ? NULL
	    : check_memory_find(&c->old, &c->segment->id);
	struct fault why;

	if (!c->query.reads_all && is_unchanged(c->segment, before)) {
		recall(c, before);
		return true;
	}
	begin_segment(c);
	if (!open_segment(c, &why)) {
		if (errno == ENOENT)
			return false;
		found_unreadable(c, &why);
		keep_memory(c, before);
		return true;
	}
	if (!c->segment->is_current)
		segment_lines_watch(c->lines, on_text, c);
	if (!check_lines(c))
		keep_memory(c, before);
	else if (c->segment->is_current)
		return true; /* it stays open: more may come */
	else
		end_closed(c, before, is_last);
	end_segment(c);
	return true;
}

/* --- what is not there any more ------------------------------------------ */

/* While a file is renamed or gzipped, one look at the folder can miss it. */
static bool
list_all(struct ledger_check *c, struct fault *why)
{
	c->list = segments_list(c->query.path, why);
	if (c->list != NULL &&
	    check_memory_next_gone(&c->old, c->list, 0) < c->old.count) {
		segments_destroy(&c->list);
		c->list = segments_list(c->query.path, why);
	}
	return c->list != NULL;
}

/* Told again each time, until the memory is removed, or what is older is. */
static void
find_gone(struct ledger_check *c)
{
	char text[FAULT_TEXT_BYTES];

	for (size_t i = check_memory_next_gone(&c->old, c->list, 0);
	     i < c->old.count;
	     i = check_memory_next_gone(&c->old, c->list, i + 1)) {
		const struct checked_segment *gone = &c->old.items[i];

		snprintf(text, sizeof text,
		    "the closed file that began with line %" PRIu64
		    " of writer %s (%" PRIu64 " line%s) was checked before "
		    "and is gone; if somebody meant to remove it, remove %s",
		    gone->id.seq, gone->id.writer, gone->sums.lines,
		    gone->sums.lines == 1 ? "" : "s", c->query.memory_path);
		tell(c, c->query.path, 0, text);
		check_memory_copy(&c->good, gone);
	}
}

static void
on_empty(void *arg, const char *path)
{
	tell(arg, path, 0, EMPTY);
}

/* --- all of them --------------------------------------------------------- */

/* Lists anew.  *next becomes the place of the first segment that was not yet
 * checked. */
static bool
relist(struct ledger_check *c, const struct segment_id *done, size_t *next,
    struct fault *why)
{
	segments_destroy(&c->list);
	c->list = segments_list(c->query.path, why);
	if (c->list == NULL)
		return false;
	for (*next = 0; *next < segments_count(c->list); ++*next) {
		const struct segment *s = segments_at(c->list, *next);

		if (s->is_current || segment_id_compare(&s->id, done) > 0)
			break;
	}
	return true;
}

bool
ledger_check_read(struct ledger_check *c, struct fault *why)
{
	struct segment_id done = {.writer = ""};
	int tries = 0;
	size_t i = 0;

	if (!list_all(c, why))
		return false;
	find_gone(c);
	segments_each_empty(c->query.path, on_empty, c);
	while (i < segments_count(c->list)) {
		c->segment = segments_at(c->list, i);
		if (check_segment(c, i + 1 == segments_count(c->list))) {
			done = c->segment->id;
			c->counts.segments++;
			i++;
			continue;
		}
		if (++tries == OPEN_TRIES)
			return fault_set(
			    why, "%s has gone away", c->segment->path);
		if (!relist(c, &done, &i, why))
			return false;
	}
	return true;
}

bool
ledger_check_is_torn(struct ledger_check *c)
{
	if (c->lines == NULL)
		return false;
	if (check_lines(c))
		return segment_lines_rest(c->lines).len > 0;
	end_segment(c);
	return false;
}

bool
ledger_check_finish(struct ledger_check *c, struct fault *why)
{
	bool ok = true;

	if (c->lines != NULL) {
		if (segment_lines_rest(c->lines).len > 0)
			found(c, c->number + 1,
			    "the last line is torn: it has no newline");
		end_segment(c);
	}
	if (c->query.memory_path != NULL &&
	    (c->good.count > 0 || c->old.count > 0))
		ok = check_memory_save(&c->good, c->query.memory_path, why);
	return ok;
}

const struct check_sums *
ledger_check_sums(const struct ledger_check *c)
{
	return &c->sums;
}

struct check_counts
ledger_check_counts(const struct ledger_check *c)
{
	return c->counts;
}

const struct check_beginning *
ledger_check_beginning(const struct ledger_check *c)
{
	return &c->beginning;
}

struct ledger_check *
ledger_check_create(const struct check_query *query)
{
	struct ledger_check *c = xcalloc(sizeof *c);

	c->query = *query;
	c->hash = EVP_MD_CTX_new();
	if (c->hash == NULL)
		abort();
	if (query->memory_path != NULL)
		check_memory_load(&c->old, query->memory_path);
	return c;
}

void
ledger_check_destroy(struct ledger_check **cp)
{
	struct ledger_check *c = *cp;

	if (c == NULL)
		return;
	segment_lines_close(&c->lines);
	segments_destroy(&c->list);
	check_memory_release(&c->old);
	check_memory_release(&c->good);
	check_sums_release(&c->segment_sums);
	check_sums_release(&c->sums);
	name_table_release(&c->writers);
	free(c->last_seq);
	EVP_MD_CTX_free(c->hash);
	free(c);
	*cp = NULL;
}
