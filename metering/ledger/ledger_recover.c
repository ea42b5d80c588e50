#include "metering/ledger/ledger_recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "metering/charge.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"

#include "base/banned.h"

/* Looked through after a power loss, whatever their times say. */
#define FILES_AT_LEAST 2
#define CLOCK_JUMP_MS 600000

/* A slot that is not free. */
struct found {
	struct slot *slot;
	char id[ULID_CHARS + 1]; /* of the exchange */
	char writer[ULID_CHARS + 1];
	uint64_t seq; /* 0: it was SENT */
	bool is_written;
};

struct recovery {
	struct scoreboard *board;
	const char *path, *writer; /* borrowed */
	struct found *found;       /* owned */
	size_t count, room;
	int64_t oldest_ms; /* when the first of them arrived */
	uint64_t crashed;
};

static bool
keep_id(char to[ULID_CHARS + 1], struct slice id)
{
	if (id.len != ULID_CHARS)
		return false;
	memcpy(to, id.p, ULID_CHARS);
	to[ULID_CHARS] = '\0';
	return true;
}

/* A draft lacks its end: it gets one to be read.  `text` must outlive the
 * view. */
static bool
read_slot(const struct slot *slot, const char *writer, struct buf *text,
    struct ledger_view *v)
{
	struct slice s = slot_text(slot);
	struct fault why;

	buf_clear(text);
	buf_put(text, s.p, s.len);
	if (slot_state(slot) == SLOT_SENT)
		ledger_line_finish(text, writer, 1);
	s = (struct slice){buf_data(text), buf_len(text)};
	if (s.len > 0 && s.p[s.len - 1] == '\n')
		s.len--;
	return ledger_view_read(v, s, &why);
}

static void
on_slot(void *arg, struct slot *slot)
{
	struct recovery *r = arg;
	struct ledger_view v;
	struct found f = {.slot = slot};
	struct buf text = {0};

	/* A kill leaves no such thing; a disk that lies may. */
	if (!read_slot(slot, r->writer, &text, &v) || !keep_id(f.id, v.id) ||
	    !keep_id(f.writer, v.writer)) {
		log_error("a slot of the scoreboard is damaged; the request "
			  "that it was for is lost");
		scoreboard_give(r->board, slot);
		goto out;
	}
	f.seq = slot_state(slot) == SLOT_DONE ? v.seq : 0;
	if (r->count == 0 || v.ts_ms < r->oldest_ms)
		r->oldest_ms = v.ts_ms;
	if (r->count == r->room) {
		r->room = r->room * 2 + 64;
		r->found = xrealloc_array(r->found, r->room, sizeof *r->found);
	}
	r->found[r->count++] = f;
out:
	buf_release(&text);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(
	    ((const struct found *)a)->id, ((const struct found *)b)->id);
}

/* Crashed ones come last, in the order in which they came. */
static int
compare_order(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int by_writer = strcmp(x->writer, y->writer);

	if ((x->seq == 0) != (y->seq == 0))
		return x->seq == 0 ? 1 : -1;
	if (x->seq == 0)
		return strcmp(x->id, y->id);
	if (by_writer != 0)
		return by_writer;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void
note_line(struct recovery *r, struct slice line)
{
	struct ledger_view v;
	struct found key, *f;
	struct fault why;

	if (!ledger_view_read(&v, line, &why) || !keep_id(key.id, v.id))
		return;
	f = bsearch(&key, r->found, r->count, sizeof key, compare_ids);
	if (f != NULL)
		f->is_written = true;
}

/* --- where to look ------------------------------------------------------- */

/* The file of that device and inode: the ledger itself, or what it was renamed
 * to.  -1 if it is gone. */
static int
open_inode(const char *path, dev_t device, ino_t inode)
{
	char *copy = xstrdup(path);
	DIR *folder = opendir(dirname(copy));
	struct dirent *e;
	struct stat st;
	int fd = -1;

	free(copy);
	while (folder != NULL && fd < 0 && (e = readdir(folder)) != NULL) {
		/* Not by d_ino: not all filesystems fill it in. */
		if (fstatat(dirfd(folder), e->d_name, &st,
			AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_ino == inode && st.st_dev == device)
			fd = openat(dirfd(folder), e->d_name,
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	}
	if (folder != NULL)
		closedir(folder);
	return fd;
}

/* Notes the whole lines from `at` to the file's end. */
static bool
note_file(struct recovery *r, int fd, uint64_t at, struct fault *why)
{
	struct buf text = {0};
	const char *newline;
	ssize_t n;

	do {
		char *to = buf_reserve(&text, 65536, SIZE_MAX / 4);

		n = to == NULL ? -1 : pread(fd, to, 65536, (off_t)at);
		if (n < 0) {
			buf_release(&text);
			return fault_errno(
			    why, "cannot read the ledger %s", r->path);
		}
		buf_commit(&text, (size_t)n);
		at += (uint64_t)n;
		while ((newline = memchr(
			    buf_data(&text), '\n', buf_len(&text))) != NULL) {
			struct slice line = {buf_data(&text),
			    (size_t)(newline - buf_data(&text))};

			note_line(r, line);
			buf_drain(&text, line.len + 1);
		}
	} while (n > 0);
	buf_release(&text);
	return true;
}

/* How many of the ledger's last files may hold a line of these requests: it was
 * written after its request had arrived.  Clocks may jump a little. */
static size_t
count_recent(const struct recovery *r, const struct segments *all)
{
	int64_t since_ns = (r->oldest_ms - CLOCK_JUMP_MS) * 1000000;
	size_t all_count = segments_count(all), n = 0;

	while (n < all_count &&
	    (n < FILES_AT_LEAST ||
		segments_at(all, all_count - n - 1)->mtime_ns >= since_ns))
		n++;
	return n;
}

/* After a power loss the scoreboard may be half a minute older than the ledger,
 * and half of a slot older than the other half: all that was written since the
 * oldest of these requests arrived is looked through. */
static bool
look_through(struct recovery *r, struct fault *why)
{
	struct segments *all = segments_list(r->path, why);
	struct ledger_place from = {0}, at;
	struct ledger_reader *reader;
	struct slice line;
	bool is_gone;
	size_t count;

	if (all == NULL)
		return false;
	count = segments_count(all) - count_recent(r, all);
	if (count > 0)
		from.segment = segments_at(all, count)->id;
	segments_destroy(&all);
	reader = ledger_reader_open(
	    r->path, count > 0 ? &from : NULL, &is_gone, why);
	if (reader == NULL)
		return false;
	why->text[0] = '\0';
	while (ledger_reader_next(reader, &line, &at, why))
		note_line(r, line);
	ledger_reader_close(&reader);
	return why->text[0] == '\0';
}

/* After a kill: what is not freed is of the last write, or was not written.
 * Where the file of that write cannot be told any more, anything may be. */
static bool
look_behind_batch(struct recovery *r, struct fault *why)
{
	uint64_t offset;
	dev_t device;
	ino_t inode;
	bool ok;
	int fd;

	scoreboard_batch(r->board, &device, &inode, &offset);
	fd = open_inode(r->path, device, inode);
	if (fd < 0)
		return look_through(r, why);
	ok = note_file(r, fd, offset, why);
	close(fd);
	return ok;
}

/* --- what becomes of them ------------------------------------------------ */

static const char *
keep(struct arena *a, struct slice s)
{
	return s.p == NULL ? NULL : arena_strndup(a, s.p, s.len);
}

/* By the types of LEDGER_FIELDS. */
#define KEEP_TEXT(arena, value) keep(arena, value)
#define KEEP_MONEY(arena, value) (value)
#define KEEP_INT(arena, value) (value)
#define KEEP_BOOL(arena, value) (value)
#define KEEP_TIME(arena, value) (value)

static void
copy_line(struct arena *a, const struct ledger_view *v, struct ledger_line *to)
{
#define X(member, name, type, help) to->member = KEEP_##type(a, v->member);
	LEDGER_FIELDS(X)
#undef X
	to->attempt_count = v->attempt_count;
	for (size_t i = 0; i < v->attempt_count; i++)
		to->attempts[i] = (struct ledger_attempt){
		    .upstream = keep(a, v->attempts[i].upstream),
		    .result = keep(a, v->attempts[i].result),
		    .usage = v->attempts[i].usage,
		    .source = v->attempts[i].source,
		    .cost_pusd = v->attempts[i].cost_pusd,
		};
}

/* The attempt under way when the gateway died, if there was one. */
static void
add_attempt(struct ledger_line *line, const struct slot *slot)
{
	struct slot_progress p;
	struct slot_rates rates;
	struct ledger_attempt a = {
	    .upstream = line->upstream, .result = LEDGER_END_CRASHED};
	__int128 cost;

	slot_read(slot, &p, &rates);
	a.is_fallback = rates.is_fallback;
	line->duration_ms = p.elapsed_ms;
	if (rates.is_over || line->attempt_count == LEDGER_ATTEMPTS_MOST)
		return;
	a.source = charge_usage(
	    &(struct charge_facts){
		.seen = p.usage,
		.source = p.source,
		.may_have_worked = rates.is_counted,
		.input_estimate = rates.input_estimate,
		.rest_estimate = (int64_t)((__int128)p.uncounted_bytes *
		    rates.tokens_a_mb / 1000000),
	    },
	    &a.usage);
	cost = a.source != USAGE_NONE && rates.has_price
	    ? price_cost(&rates.price, &a.usage)
	    : 0;
	if (line->paid)
		a.cost_pusd = cost;
	else
		line->avoided_usd = cost;
	ledger_line_take_attempt(line, &a);
}

/* Makes a SENT slot a DONE one. */
static void
finish_crashed(struct recovery *r, struct found *f)
{
	struct ledger_line line = {0};
	struct buf text = {0}, scratch = {0};
	struct ledger_view v;
	struct arena arena;

	arena_init(&arena);
	if (read_slot(f->slot, r->writer, &text, &v)) {
		copy_line(&arena, &v, &line);
		line.end = LEDGER_END_CRASHED;
		add_attempt(&line, f->slot);
		slot_prepare(f->slot, &line, &scratch);
		slot_finish(f->slot, r->writer, ++r->crashed);
	}
	arena_release(&arena);
	buf_release(&text);
	buf_release(&scratch);
}

/* Frees what is written already and links the rest. */
static struct slot *
sort_out(struct recovery *r)
{
	struct slot *first = NULL, *last = NULL;

	qsort(r->found, r->count, sizeof *r->found, compare_order);
	for (size_t i = 0; i < r->count; i++) {
		struct found *f = &r->found[i];

		if (f->is_written) {
			scoreboard_give(r->board, f->slot);
			continue;
		}
		if (f->seq == 0)
			finish_crashed(r, f);
		slot_link(f->slot, NULL);
		if (last == NULL)
			first = f->slot;
		else
			slot_link(last, f->slot);
		last = f->slot;
	}
	return first;
}

bool
ledger_recover(struct scoreboard *board, const char *path, const char *writer,
    struct slot **first, uint64_t *seq, struct fault *why)
{
	struct recovery r = {.board = board, .path = path, .writer = writer};
	bool ok = true;

	*first = NULL;
	scoreboard_each(board, on_slot, &r);
	if (r.count > 0) {
		qsort(r.found, r.count, sizeof *r.found, compare_ids);
		ok = scoreboard_is_of_this_boot(board)
		    ? look_behind_batch(&r, why)
		    : look_through(&r, why);
	}
	if (ok && r.count > 0)
		*first = sort_out(&r);
	if (r.crashed > 0)
		log_warning("the gateway ended in the middle of %llu "
			    "request%s, which the ledger has as "
			    "gateway_crashed",
		    (unsigned long long)r.crashed, r.crashed == 1 ? "" : "s");
	*seq = r.crashed;
	free(r.found);
	return ok;
}
