#include "metering/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#include "base/banned.h"

#define READ_BYTES (256u << 10)
#define FIRST_SLOTS 64 /* a power of two */

/* A row while it is summed. */
struct sum {
	struct report_row row;
	uint64_t hash;
	uint32_t *ttft_ms; /* owned; one for each line with content */
	size_t ttft_count, ttft_room;
	uint64_t stream_tokens, stream_ms;
};

struct report {
	struct report_query query;
	struct sum **sums; /* owned; in the order they came, later sorted */
	size_t count, room;
	struct sum **slots; /* owned; by hash, NULL: free; half are */
	size_t slot_count;
	struct sum total;
	int64_t first_ms, last_ms;
	int64_t period_start_ms, period_end_ms; /* of the line before */
	struct arena arena;                     /* the groups' names */
};

static time_t
to_seconds(int64_t wall_ms)
{
	return (time_t)(wall_ms / 1000 - (wall_ms % 1000 < 0));
}

static time_t
join(struct tm *tm, bool is_utc)
{
	tm->tm_hour = tm->tm_min = tm->tm_sec = 0;
	tm->tm_isdst = -1;
	return is_utc ? timegm(tm) : mktime(tm);
}

/* The C library knows when days have 23 or 25 hours. */
static void
find_period(enum report_period period, bool is_utc, int64_t wall_ms,
    int64_t *start_ms, int64_t *end_ms)
{
	time_t t = to_seconds(wall_ms), start, end;
	struct tm tm, next;

	if (is_utc)
		gmtime_r(&t, &tm);
	else
		localtime_r(&t, &tm);
	next = tm;
	switch (period) {
	case REPORT_ALL:
		*start_ms = 0;
		*end_ms = INT64_MAX;
		return;
	case REPORT_HOURLY:
		*start_ms = (t - tm.tm_min * 60 - tm.tm_sec) * INT64_C(1000);
		*end_ms = *start_ms + 3600000;
		return;
	case REPORT_DAILY:
		next.tm_mday += 1;
		break;
	case REPORT_WEEKLY:
		tm.tm_mday -= (tm.tm_wday + 6) % 7;
		next.tm_mday = tm.tm_mday + 7;
		break;
	case REPORT_MONTHLY:
		tm.tm_mday = next.tm_mday = 1;
		next.tm_mon += 1;
		break;
	}
	start = join(&tm, is_utc);
	end = join(&next, is_utc);
	*start_ms = start * INT64_C(1000);
	*end_ms = end * INT64_C(1000);
}

int64_t
report_period_start(enum report_period period, bool is_utc, int64_t wall_ms)
{
	int64_t start_ms, end_ms;

	find_period(period, is_utc, wall_ms, &start_ms, &end_ms);
	return start_ms;
}

struct report *
report_create(const struct report_query *query)
{
	struct report *r = xcalloc(sizeof *r);

	r->query = *query;
	r->slot_count = FIRST_SLOTS;
	r->slots = xcalloc_array(r->slot_count, sizeof *r->slots);
	r->first_ms = INT64_MAX;
	r->last_ms = INT64_MIN;
	arena_init(&r->arena);
	return r;
}

static const char *
group_of(const struct ledger_line *line, enum report_group g)
{
	switch (g) {
#define X(name, member, title) \
	case REPORT_BY_##name: \
		return line->member;
		REPORT_GROUPS(X)
#undef X
	case REPORT_GROUP_COUNT:
		break;
	}
	return NULL;
}

static bool
is_same(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool
is_wanted(const struct report_query *q, const struct ledger_line *line)
{
	if (line->attempt_count == 0 || line->ts_ms < q->since_ms ||
	    line->ts_ms >= q->until_ms)
		return false;
	for (size_t i = 0; i < REPORT_GROUP_COUNT; i++)
		if (q->only[i] != NULL &&
		    !is_same(q->only[i], group_of(line, (enum report_group)i)))
			return false;
	return true;
}

/* Looks for the row with these names; returns its slot, or the free one where
 * it belongs. */
static struct sum **
find_slot(const struct report *r, const struct report_row *key, uint64_t hash)
{
	for (size_t at = hash;; at++) {
		struct sum **slot = &r->slots[at & (r->slot_count - 1)];
		bool is_it = *slot == NULL ||
		    ((*slot)->hash == hash &&
			(*slot)->row.start_ms == key->start_ms);

		for (size_t i = 0;
		     is_it && *slot != NULL && i < r->query.by_count; i++)
			is_it = is_same((*slot)->row.group[i], key->group[i]);
		if (is_it)
			return slot;
	}
}

static void
grow_slots(struct report *r)
{
	r->slot_count *= 2;
	free(r->slots);
	r->slots = xcalloc_array(r->slot_count, sizeof *r->slots);
	for (size_t i = 0; i < r->count; i++)
		*find_slot(r, &r->sums[i]->row, r->sums[i]->hash) = r->sums[i];
}

static struct sum *
add_sum(struct report *r, const struct report_row *key, uint64_t hash)
{
	struct sum *s = xcalloc(sizeof *s);

	s->hash = hash;
	s->row.start_ms = key->start_ms;
	for (size_t i = 0; i < r->query.by_count; i++)
		if (key->group[i] != NULL)
			s->row.group[i] = arena_strndup(
			    &r->arena, key->group[i], strlen(key->group[i]));
	if (r->count == r->room) {
		r->room = r->room == 0 ? FIRST_SLOTS : 2 * r->room;
		r->sums = xrealloc_array(r->sums, r->room, sizeof *r->sums);
	}
	r->sums[r->count++] = s;
	return s;
}

/* The row that a line belongs to, made if it is the first. */
static struct sum *
sum_of(struct report *r, const struct ledger_line *line)
{
	struct report_row key = {.start_ms = r->period_start_ms};
	uint64_t hash = (uint64_t)key.start_ms * UINT64_C(0x9e3779b97f4a7c15);
	struct sum **slot;

	for (size_t i = 0; i < r->query.by_count; i++) {
		const char *name = group_of(line, r->query.by[i]);

		key.group[i] = name;
		hash *= 31;
		if (name != NULL)
			hash ^= text_hash(name, strlen(name));
	}
	slot = find_slot(r, &key, hash);
	if (*slot != NULL)
		return *slot;
	*slot = add_sum(r, &key, hash);
	if (2 * r->count > r->slot_count) {
		grow_slots(r);
		return r->sums[r->count - 1];
	}
	return *slot;
}

static bool
has_estimated_cost(const struct ledger_line *line)
{
	for (size_t i = 0; i < line->attempt_count; i++)
		if (line->attempts[i].source == USAGE_ESTIMATED &&
		    line->attempts[i].cost_pusd != 0)
			return true;
	return false;
}

static void
add_speed(struct sum *s, const struct ledger_line *line)
{
	if (line->ttft_ms < 0)
		return;
	if (s->ttft_count == s->ttft_room) {
		s->ttft_room = s->ttft_room == 0 ? 16 : 2 * s->ttft_room;
		s->ttft_ms = xrealloc_array(
		    s->ttft_ms, s->ttft_room, sizeof *s->ttft_ms);
	}
	s->ttft_ms[s->ttft_count++] =
	    line->ttft_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)line->ttft_ms;
	if (line->stream && line->duration_ms > line->ttft_ms) {
		s->stream_tokens += (uint64_t)line->completion_tokens;
		s->stream_ms += (uint64_t)(line->duration_ms - line->ttft_ms);
	}
}

static void
add_to(struct sum *s, const struct ledger_line *line)
{
	struct report_row *row = &s->row;
	uint64_t input = (uint64_t)line->prompt_tokens;
	uint64_t output = (uint64_t)line->completion_tokens;
	bool is_estimated =
	    is_same(line->usage_source, usage_source_name(USAGE_ESTIMATED));

	row->requests++;
	if (line->ttft_ms < 0 && is_same(line->end, "client_gone"))
		row->cancelled++;
	row->input_tokens += input;
	row->cached_tokens += (uint64_t)line->cached_tokens;
	row->output_tokens += output;
	if (!line->paid)
		row->local_tokens += input + output;
	row->cost_pusd += line->cost_usd;
	row->avoided_pusd += line->avoided_usd;
	row->has_estimated_tokens |= is_estimated;
	row->has_estimated_cost |= has_estimated_cost(line);
	row->has_estimated_avoided |= is_estimated && line->avoided_usd != 0;
	add_speed(s, line);
}

void
report_add(struct report *r, const struct ledger_line *line)
{
	if (!is_wanted(&r->query, line))
		return;
	if (line->ts_ms < r->period_start_ms || line->ts_ms >= r->period_end_ms)
		find_period(r->query.period, r->query.is_utc, line->ts_ms,
		    &r->period_start_ms, &r->period_end_ms);
	if (line->ts_ms < r->first_ms)
		r->first_ms = line->ts_ms;
	if (line->ts_ms > r->last_ms)
		r->last_ms = line->ts_ms;
	add_to(sum_of(r, line), line);
	add_to(&r->total, line);
}

/* What a file is read with. */
struct reading {
	struct report *report;
	report_damage_fn on_damage;
	void *arg;
	uint64_t number; /* of the line */
	struct ledger_entry entry;
};

static void
read_line(struct reading *in, const char *p, size_t len)
{
	struct fault why;

	in->number++;
	if (ledger_line_read((struct slice){p, len}, &in->entry, &why))
		report_add(in->report, &in->entry.line);
	else
		in->on_damage(in->arg, in->number, why.text);
}

/* Reads the whole lines of `b`, and leaves the piece behind them.  Of a piece
 * that is too long for a line no more is kept than shows it. */
static void
read_lines(struct reading *in, struct buf *b)
{
	const char *newline;

	while (buf_len(b) > 0 &&
	    (newline = memchr(buf_data(b), '\n', buf_len(b))) != NULL) {
		size_t len = (size_t)(newline - buf_data(b));

		read_line(in, buf_data(b), len);
		buf_drain(b, len + 1);
	}
	if (buf_len(b) > LEDGER_LINE_MOST_BYTES)
		b->end = b->start + LEDGER_LINE_MOST_BYTES + 1;
}

static bool
read_fd(struct reading *in, int fd)
{
	struct buf b = {0};
	ssize_t n;

	for (;;) {
		char *to = buf_reserve(&b, READ_BYTES, 2 * READ_BYTES);

		if (to == NULL) {
			errno = ENOMEM;
			n = -1;
			break;
		}
		n = read(fd, to, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf_commit(&b, (size_t)n);
		read_lines(in, &b);
	}
	if (n == 0 && buf_len(&b) > 0)
		read_line(in, buf_data(&b), buf_len(&b));
	buf_release(&b);
	return n == 0;
}

bool
report_read(struct report *r, const char *path, report_damage_fn on_damage,
    void *arg, struct fault *why)
{
	struct reading *in;
	int fd = open(path, O_RDONLY | O_CLOEXEC), failed = 0;

	if (fd < 0)
		return fault_errno(why, "cannot open the ledger %s", path);
	in = xcalloc(sizeof *in);
	in->report = r;
	in->on_damage = on_damage;
	in->arg = arg;
	if (!read_fd(in, fd)) {
		failed = errno;
		fault_errno(why, "cannot read the ledger %s", path);
	}
	free(in);
	close(fd);
	errno = failed;
	return failed == 0;
}

static int
by_value(const void *pa, const void *pb)
{
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

	return (a > b) - (a < b);
}

/* The smallest value that at least `percent` of all do not exceed. */
static int64_t
percentile(const struct sum *s, size_t percent)
{
	if (s->ttft_count == 0)
		return -1;
	return s->ttft_ms[(s->ttft_count * percent + 99) / 100 - 1];
}

static void
finish_sum(struct sum *s)
{
	if (s->ttft_count > 0)
		qsort(s->ttft_ms, s->ttft_count, sizeof *s->ttft_ms, by_value);
	s->row.ttft_p50_ms = percentile(s, 50);
	s->row.ttft_p95_ms = percentile(s, 95);
	if (s->stream_ms > 0)
		s->row.tokens_per_second =
		    (double)s->stream_tokens * 1000 / (double)s->stream_ms;
}

static int
compare_names(const char *a, const char *b)
{
	return strcmp(a == NULL ? "" : a, b == NULL ? "" : b);
}

static int
by_period_and_requests(const void *pa, const void *pb)
{
	const struct report_row *a = &(*(struct sum *const *)pa)->row;
	const struct report_row *b = &(*(struct sum *const *)pb)->row;
	int order = 0;

	if (a->start_ms != b->start_ms)
		return a->start_ms < b->start_ms ? -1 : 1;
	if (a->requests != b->requests)
		return a->requests > b->requests ? -1 : 1;
	for (size_t i = 0; order == 0 && i < REPORT_GROUP_COUNT; i++)
		order = compare_names(a->group[i], b->group[i]);
	return order;
}

void
report_finish(struct report *r)
{
	for (size_t i = 0; i < r->count; i++)
		finish_sum(r->sums[i]);
	finish_sum(&r->total);
	if (r->count > 0)
		qsort(
		    r->sums, r->count, sizeof *r->sums, by_period_and_requests);
}

size_t
report_row_count(const struct report *r)
{
	return r->count;
}

const struct report_row *
report_row(const struct report *r, size_t i)
{
	return &r->sums[i]->row;
}

const struct report_row *
report_total(const struct report *r)
{
	return &r->total.row;
}

bool
report_span(const struct report *r, int64_t *first_ms, int64_t *last_ms)
{
	*first_ms = r->first_ms;
	*last_ms = r->last_ms;
	return r->total.row.requests > 0;
}

void
report_destroy(struct report **rp)
{
	struct report *r = *rp;

	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++) {
		free(r->sums[i]->ttft_ms);
		free(r->sums[i]);
	}
	free(r->total.ttft_ms);
	free(r->sums);
	free(r->slots);
	arena_release(&r->arena);
	free(r);
	*rp = NULL;
}
