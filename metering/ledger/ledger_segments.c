/* Which segments there are.  The door is ledger_segments.h. */
#include "metering/ledger/ledger_segments.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "metering/ledger/ledger_view.h"
#include "metering/ledger/segment_lines.h"

#include "base/banned.h"

/* So many lines are looked at for one that says which segment it is: the first
 * ones may be damaged. */
#define LINES_LOOKED_AT 64

/* How often files may be renamed while they are listed. */
#define LIST_TRIES 16

struct segments {
	struct segment *items; /* owned, with their paths */
	size_t count, room;
};

/* What is looked for. */
struct search {
	char *folder, *name; /* owned: of the current file */
	size_t stem_len;     /* of `name` before its extension */
	struct ledger_view view;
	struct segments *found; /* owned */
};

/* --- names --------------------------------------------------------------- */

static bool
take_end(struct slice *s, const char *end)
{
	size_t len = strlen(end);

	if (s->len < len || memcmp(s->p + s->len - len, end, len) != 0)
		return false;
	s->len -= len;
	return true;
}

/* ".1", "-20261121", "-20261121-001": what rotation puts into a name. */
static bool
is_mark(struct slice s)
{
	if (s.len < 2 || (s.p[0] != '.' && s.p[0] != '-') || s.p[1] == '-')
		return false;
	for (size_t i = 1; i < s.len; i++)
		if (s.p[i] != '-' && (s.p[i] < '0' || s.p[i] > '9'))
			return false;
	return true;
}

/* The mark stands before the extension or behind it. */
static bool
is_closed_name(const struct search *in, struct slice name)
{
	const char *extension = in->name + in->stem_len;
	struct slice behind = name;

	if (name.len < in->stem_len ||
	    memcmp(name.p, in->name, in->stem_len) != 0)
		return false;
	if (slice_starts(name, in->name)) {
		behind.p += strlen(in->name);
		behind.len -= strlen(in->name);
		if (is_mark(behind))
			return true;
	}
	name.p += in->stem_len;
	name.len -= in->stem_len;
	return take_end(&name, extension) && is_mark(name);
}

static bool
is_segment_name(const struct search *in, const char *name, struct segment *as)
{
	struct slice plain = slice_of(name);

	as->is_current = strcmp(name, in->name) == 0;
	as->is_gzipped = take_end(&plain, ".gz");
	return as->is_current || is_closed_name(in, plain);
}

/* --- looking into one ---------------------------------------------------- */

/* Sets the id from the first good line; "" if there is none. */
static void
take_id(struct search *in, struct segment_lines *l, struct segment *s)
{
	struct ledger_view *v = &in->view;
	struct slice line;

	for (int i = 0; i < LINES_LOOKED_AT; i++) {
		if (segment_lines_next(l, &line, NULL) != LINES_ONE)
			break;
		if (!ledger_view_read(v, line, NULL))
			continue;
		memcpy(s->id.writer, v->writer.p, ULID_CHARS);
		s->id.seq = v->seq;
		break;
	}
}

/* False, with errno, if the file is gone or cannot be read. */
static bool
identify(struct search *in, struct segment *s, struct fault *why)
{
	struct segment_lines *l = segment_lines_open(
	    s->path, s->is_gzipped, 0, SEGMENT_BEGINNING, why);
	bool ok;

	if (l == NULL)
		return false;
	if ((ok = segment_lines_describe(l, s, why)))
		take_id(in, l, s);
	segment_lines_close(&l);
	return ok;
}

/* A gzipped file beside its plain twin may still be in the making. */
static bool
has_plain_twin(const char *path)
{
	char *plain = xstrndup(path, strlen(path) - (sizeof ".gz" - 1));
	bool has = access(plain, F_OK) == 0;

	free(plain);
	return has;
}

static void
keep(struct segments *list, const struct segment *s)
{
	if (list->count == list->room) {
		list->room = list->room == 0 ? 16 : 2 * list->room;
		list->items = xrealloc_array(
		    list->items, list->room, sizeof *list->items);
	}
	list->items[list->count++] = *s;
}

/* Files come and go while we look. */
static bool
look_at(struct search *in, const char *name, struct fault *why)
{
	struct segment s = {0};
	struct stat st;
	char *path;
	bool ok = true;

	if (!is_segment_name(in, name, &s))
		return true;
	path = xasprintf("%s/%s", in->folder, name);
	s.path = path;
	if (stat(path, &st) != 0)
		goto out;
	if (!S_ISREG(st.st_mode) || (s.is_gzipped && has_plain_twin(path)))
		goto out;
	if (!identify(in, &s, why)) {
		ok = errno == ENOENT;
	} else if (s.file_size > 0) {
		keep(in->found, &s);
		path = NULL;
	}
out:
	free(path);
	return ok;
}

/* --- the row ------------------------------------------------------------- */

int
segment_id_compare(const struct segment_id *a, const struct segment_id *b)
{
	int order = strcmp(a->writer, b->writer);

	if (order != 0)
		return order;
	return (a->seq > b->seq) - (a->seq < b->seq);
}

/* The current one is the last whatever it says; of two that begin alike, the
 * one to keep comes first. */
static int
by_place(const void *pa, const void *pb)
{
	const struct segment *a = pa, *b = pb;
	int order;

	if (a->is_current != b->is_current)
		return a->is_current ? 1 : -1;
	if ((order = segment_id_compare(&a->id, &b->id)) != 0)
		return order;
	if (a->is_gzipped != b->is_gzipped)
		return a->is_gzipped ? 1 : -1;
	if (a->file_size != b->file_size)
		return a->file_size > b->file_size ? -1 : 1;
	return strcmp(a->path, b->path);
}

static bool
is_same_segment(const struct segment *a, const struct segment *b)
{
	return a->id.writer[0] != '\0' &&
	    segment_id_compare(&a->id, &b->id) == 0;
}

/* Of the same lines one file is left.  The current one is, if it is among them:
 * somebody is copying it. */
static void
drop_doubles(struct segments *list)
{
	struct segment *items = list->items, *last;
	size_t left = 0;

	if (list->count == 0)
		return;
	last = &items[list->count - 1];
	for (size_t i = 0; i < list->count; i++) {
		bool is_double =
		    (left > 0 &&
			is_same_segment(&items[left - 1], &items[i])) ||
		    (&items[i] != last && last->is_current &&
			is_same_segment(last, &items[i]));

		if (is_double)
			free((char *)items[i].path);
		else
			items[left++] = items[i];
	}
	list->count = left;
}

static bool
look_through(struct search *in, struct fault *why)
{
	DIR *folder = opendir(in->folder);
	const struct dirent *entry;
	bool ok = true;

	if (folder == NULL)
		return errno == ENOENT ||
		    fault_errno(why, "cannot look into %s", in->folder);
	while (ok && (errno = 0, entry = readdir(folder)) != NULL)
		ok = look_at(in, entry->d_name, why);
	if (ok && errno != 0)
		ok = fault_errno(why, "cannot look into %s", in->folder);
	closedir(folder);
	return ok;
}

/* Which names there are, and which file each is: in any order the same. */
static uint64_t
look_at_names(const struct search *in)
{
	DIR *folder = opendir(in->folder);
	const struct dirent *entry;
	struct segment ignored;
	struct stat st;
	uint64_t sum = 0;

	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		struct slice name = slice_of(entry->d_name);

		if (is_segment_name(in, entry->d_name, &ignored) &&
		    fstatat(dirfd(folder), entry->d_name, &st, 0) == 0)
			sum += (text_hash(name.p, name.len) ^
				   (uint64_t)st.st_ino) *
			    UINT64_C(0x9e3779b97f4a7c15);
	}
	if (folder != NULL)
		closedir(folder);
	return sum;
}

/* A file that is renamed while we look may be missed, or be seen twice: then
 * we look again. */
static bool
look_until_still(struct search *in, struct fault *why)
{
	uint64_t before = look_at_names(in), now;

	for (int tries = 1; look_through(in, why); tries++) {
		now = look_at_names(in);
		if (now == before || tries == LIST_TRIES)
			return true;
		before = now;
		segments_destroy(&in->found);
		in->found = xcalloc(sizeof *in->found);
	}
	return false;
}

static void
split(struct search *in, const char *path)
{
	char *copy = xstrdup(path);
	const char *dot;

	in->folder = xstrdup(dirname(copy));
	free(copy);
	copy = xstrdup(path);
	in->name = xstrdup(basename(copy));
	free(copy);
	dot = strrchr(in->name, '.');
	in->stem_len = dot == NULL || dot == in->name
	    ? strlen(in->name)
	    : (size_t)(dot - in->name);
}

struct segments *
segments_list(const char *path, struct fault *why)
{
	struct search *in = xcalloc(sizeof *in);
	struct segments *found;

	in->found = xcalloc(sizeof *in->found);
	split(in, path);
	if (look_until_still(in, why)) {
		if (in->found->count > 0)
			qsort(in->found->items, in->found->count,
			    sizeof *in->found->items, by_place);
		drop_doubles(in->found);
	} else {
		segments_destroy(&in->found);
	}
	found = in->found;
	free(in->folder);
	free(in->name);
	free(in);
	return found;
}

static bool
is_in_the_making(const char *path)
{
	struct slice name = slice_of(path);
	char *plain;
	bool has_plain;

	if (!take_end(&name, ".gz"))
		return false;
	plain = xstrndup(name.p, name.len);
	has_plain = access(plain, F_OK) == 0;
	free(plain);
	return has_plain;
}

void
segments_each_empty(
    const char *path, void (*on_empty)(void *arg, const char *path), void *arg)
{
	struct search *in = xcalloc(sizeof *in);
	const struct dirent *entry;
	struct segment s;
	struct stat st;
	DIR *folder;

	split(in, path);
	/* Whether it can be read was found out when the segments were listed.
	 */
	folder = opendir(in->folder);
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		char *at = xasprintf("%s/%s", in->folder, entry->d_name);

		if (is_segment_name(in, entry->d_name, &s) && !s.is_current &&
		    stat(at, &st) == 0 && S_ISREG(st.st_mode) &&
		    st.st_size == 0 && !is_in_the_making(at))
			on_empty(arg, at);
		free(at);
	}
	if (folder != NULL)
		closedir(folder);
	free(in->folder);
	free(in->name);
	free(in);
}

size_t
segments_count(const struct segments *s)
{
	return s->count;
}

const struct segment *
segments_at(const struct segments *s, size_t i)
{
	return &s->items[i];
}

void
segments_destroy(struct segments **sp)
{
	struct segments *s = *sp;

	if (s == NULL)
		return;
	for (size_t i = 0; i < s->count; i++)
		free((char *)s->items[i].path);
	free(s->items);
	free(s);
	*sp = NULL;
}
