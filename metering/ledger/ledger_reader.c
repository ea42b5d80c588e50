/* Reads the ledger's lines, and follows it.  The door is ledger_segments.h. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/segment_lines.h"

#include "base/banned.h"

/* How often files may be renamed under us while one is opened. */
#define OPEN_TRIES 16

/*
 * The place of the next line is id, offset and number, also while no file is
 * open.  `is_over` says that nothing more comes from that segment: what comes
 * next stands in the one behind it.  A segment that stands behind ours in the
 * list was there when the list was made, and the gateway writes its files one
 * after the other: an end that is reached after that is the end.
 */
struct ledger_reader {
	char *path;                  /* owned: the current file's */
	struct segments *list;       /* owned */
	struct segment_lines *lines; /* owned; NULL: to be opened */
	char *open_path;             /* owned: as it was when it was opened */
	struct segment_id id;        /* "": before all, or a damaged one */
	dev_t device;                /* of the file that was open last */
	ino_t inode;
	uint64_t offset, number; /* number 0: not known */
	bool is_over;
	struct ledger_view view;
};

static bool
relist(struct ledger_reader *r, struct fault *why)
{
	struct segments *list = segments_list(r->path, why);

	if (list == NULL)
		return false;
	segments_destroy(&r->list);
	r->list = list;
	why->text[0] = '\0';
	return true;
}

/* An inode says for sure what is ours only as long as we hold it. */
static bool
is_ours(const struct ledger_reader *r, const struct segment *s)
{
	bool has_inode =
	    r->inode != 0 && s->inode == r->inode && s->device == r->device;

	if (r->lines != NULL && has_inode)
		return true;
	if (r->id.writer[0] != '\0')
		return segment_id_compare(&s->id, &r->id) == 0;
	return has_inode;
}

/* NULL if it is not in the list. */
static const struct segment *
own_segment(const struct ledger_reader *r)
{
	for (size_t i = 0; i < segments_count(r->list); i++)
		if (is_ours(r, segments_at(r->list, i)))
			return segments_at(r->list, i);
	return NULL;
}

/* The segment behind ours; NULL if there is none. */
static const struct segment *
successor(const struct ledger_reader *r)
{
	size_t count = segments_count(r->list), i = 0;

	while (i < count && !is_ours(r, segments_at(r->list, i)))
		i++;
	if (i == count) { /* it is gone: by its place in the order */
		i = 0;
		while (i < count && !segments_at(r->list, i)->is_current &&
		    segment_id_compare(&segments_at(r->list, i)->id, &r->id) <
			0)
			i++;
	} else {
		i++;
	}
	return i < count ? segments_at(r->list, i) : NULL;
}

static void
close_file(struct ledger_reader *r)
{
	segment_lines_close(&r->lines);
}

static void
begin_segment(struct ledger_reader *r, const struct segment *s)
{
	r->id = s->id;
	r->offset = 0;
	r->number = 1;
	r->is_over = false;
}

/* Which segment comes next, by the list as it is. */
static const struct segment *
choose(struct ledger_reader *r)
{
	const struct segment *s = r->is_over ? NULL : own_segment(r);

	return s != NULL ? s : successor(r);
}

/* Opens the segment if it still is at its path. */
static bool
open_segment(
    struct ledger_reader *r, const struct segment *s, struct fault *why)
{
	bool is_ours_now = !r->is_over && is_ours(r, s);

	r->lines = segment_lines_open(s->path, s->is_gzipped,
	    is_ours_now ? r->offset : 0, SEGMENT_WHOLE, why);
	if (r->lines == NULL)
		return false;
	if (!segment_lines_are_of(r->lines, s)) {
		close_file(r);
		errno = ENOENT;
		return fault_set(why, "%s has gone away", s->path);
	}
	if (!is_ours_now)
		begin_segment(r, s);
	r->device = s->device;
	r->inode = s->inode;
	free(r->open_path);
	r->open_path = xstrdup(s->path);
	return true;
}

/* Opens what comes next.  False if nothing does, or with the reason. */
static bool
open_next(struct ledger_reader *r, struct fault *why)
{
	bool is_fresh = false;

	for (int tries = 0; tries < OPEN_TRIES; tries++) {
		const struct segment *s = choose(r);

		if (s != NULL && (is_fresh || r->is_over || is_ours(r, s))) {
			if (open_segment(r, s, why)) {
				why->text[0] = '\0';
				return true;
			}
			if (errno != ENOENT) {
				if (!is_ours(r, s))
					begin_segment(r, s);
				r->is_over = true;
				return false;
			}
		} else if (is_fresh) {
			break;
		}
		if (!relist(r, why))
			return false;
		is_fresh = true;
	}
	why->text[0] = '\0';
	return false;
}

/* Whether the current file is another than the one that is open.  As long as it
 * is not there or empty, a closed one may have come between. */
static bool
has_rotated(const struct ledger_reader *r)
{
	struct stat st;

	return stat(r->path, &st) != 0 ||
	    !segment_lines_is(r->lines, st.st_dev, st.st_ino);
}

/* Whether a line stands in it, as yet: a current file may have none. */
static bool
has_begun(const struct segment *s)
{
	struct segment_lines *l;
	struct slice line;
	bool has;

	if (!s->is_current || s->id.writer[0] != '\0')
		return true;
	l = segment_lines_open(s->path, false, 0, SEGMENT_BEGINNING, NULL);
	has = l != NULL && segment_lines_next(l, &line, NULL) == LINES_ONE;
	segment_lines_close(&l);
	return has;
}

/* After the end of the open file: whether it is to be read once more, for the
 * last time or under its new inode. */
static bool
may_go_on(struct ledger_reader *r, struct fault *why)
{
	const struct segment *s;

	if (!has_rotated(r) || !relist(r, why))
		return false;
	if ((s = successor(r)) != NULL)
		return has_begun(s);
	/* Somebody has put another file with the same beginning there. */
	s = own_segment(r);
	if (s == NULL || !s->is_current)
		return false;
	close_file(r);
	return true;
}

static void
give(struct ledger_reader *r, struct slice line, struct ledger_place *at)
{
	*at = (struct ledger_place){r->id, r->open_path, r->offset, r->number};
	r->offset = segment_lines_offset(r->lines);
	if (r->number > 0)
		r->number++;
	if (r->id.writer[0] != '\0' || !ledger_view_read(&r->view, line, NULL))
		return;
	/* The first good line says which segment this is. */
	memcpy(r->id.writer, r->view.writer.p, ULID_CHARS);
	r->id.seq = r->view.seq;
	at->segment = r->id;
}

/* The file was cut short.  What it held may stand in a copy; else it is read
 * from its new end on. */
static void
recover_place(struct ledger_reader *r)
{
	const struct segment *s;
	struct fault ignored;

	close_file(r);
	if (!relist(r, &ignored))
		return;
	s = own_segment(r);
	if (s == NULL || s->is_gzipped || s->file_size >= r->offset)
		return;
	r->offset = s->file_size;
	r->number = 0;
}

/* At the end of the open file.  True if it is over; then what stands behind its
 * last newline is the last line, if there is anything. */
static bool
finish_segment(
    struct ledger_reader *r, struct slice *line, struct ledger_place *at)
{
	const struct segment *next = successor(r);

	if (next == NULL || !has_begun(next))
		return false;
	*line = segment_lines_take_rest(r->lines);
	if (line->len > 0)
		give(r, *line, at);
	else
		close_file(r);
	r->is_over = line->len == 0;
	return true;
}

bool
ledger_reader_next(struct ledger_reader *r, struct slice *line,
    struct ledger_place *at, struct fault *why)
{
	why->text[0] = '\0';
	for (;;) {
		if (r->lines == NULL && !open_next(r, why))
			return false;
		switch (segment_lines_next(r->lines, line, why)) {
		case LINES_ONE:
			give(r, *line, at);
			return true;
		case LINES_END:
			if (finish_segment(r, line, at)) {
				if (line->len > 0)
					return true;
			} else if (!may_go_on(r, why)) {
				return false;
			}
			break;
		case LINES_FAILED:
			close_file(r);
			r->is_over = true;
			return false;
		case LINES_CUT:
			recover_place(r);
			return false;
		}
	}
}

void
ledger_reader_place(const struct ledger_reader *r, struct ledger_place *out)
{
	*out = (struct ledger_place){r->id, r->open_path, r->offset, r->number};
}

struct slice
ledger_reader_rest(const struct ledger_reader *r)
{
	if (r->lines == NULL)
		return (struct slice){"", 0};
	return segment_lines_rest(r->lines);
}

struct ledger_reader *
ledger_reader_open(const char *path, const struct ledger_place *from,
    bool *is_gone, struct fault *why)
{
	struct ledger_reader *r = xcalloc(sizeof *r);

	r->path = xstrdup(path);
	if (!relist(r, why)) {
		ledger_reader_close(&r);
		return NULL;
	}
	r->is_over = true; /* what lies before all */
	if (from != NULL && from->segment.writer[0] != '\0') {
		r->id = from->segment;
		r->offset = from->offset;
		r->number = from->line;
		r->is_over = own_segment(r) == NULL;
	}
	if (is_gone != NULL)
		*is_gone = r->is_over && r->id.writer[0] != '\0';
	return r;
}

void
ledger_reader_close(struct ledger_reader **rp)
{
	struct ledger_reader *r = *rp;

	if (r == NULL)
		return;
	close_file(r);
	segments_destroy(&r->list);
	free(r->open_path);
	free(r->path);
	free(r);
	*rp = NULL;
}
