#include "metering/redis/redis_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metering/ledger/ledger_segments.h"
#include "metering/ledger/ledger_view.h"
#include "metering/redis/redis_spent.h"
#include "metering/redis/redis_sums.h"

#include "base/banned.h"

#define FINDING_BYTES 768

struct check {
	struct redis_store *store;             /* borrowed */
	const struct redis_check_query *query; /* borrowed */
	struct redis_check_result *out;        /* borrowed */
	struct redis_sums *redis;              /* owned: what Redis has */
	struct redis_sums *low;  /* owned: what it must have at least */
	struct redis_sums *high; /* owned: and at most */
	/* Counters of hours up to this one may come from lines that were
	 * removed from a ledger's front. */
	int64_t whole_from_ms;

	/* Of the ledger that is read. */
	bool is_ours;
	char first_writer[ULID_CHARS + 1]; /* of its first line */
	struct redis_mark *mark;           /* borrowed: the line's writer's */
	struct ledger_view view;
};

static void __attribute__((format(printf, 2, 3)))
find(struct check *c, const char *fmt, ...)
{
	char text[FINDING_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->out->findings++;
	c->query->on_finding(c->query->arg, text);
}

/* --- what Redis has ------------------------------------------------------ */

/* "spent:20778:user:alice": the days since 1970. */
static bool
split_day(struct slice key, const char *at, struct slice *rest, int64_t *day_ms)
{
	const char *number = at + sizeof ":spent:" - 1;
	const char *colon =
	    memchr(number, ':', (size_t)(key.p + key.len - number));
	uint64_t day;

	if (colon == NULL ||
	    !text_to_u64((struct slice){number, (size_t)(colon - number)},
		1u << 24, &day))
		return false;
	rest->p = at + 1;
	rest->len = key.len - (size_t)(rest->p - key.p);
	*day_ms = (int64_t)day * REDIS_DAY_MS;
	return true;
}

/* The key without prefix and epoch: "use:2026-11-21T14:alice", and when its
 * time begins. */
static bool
split_key(struct slice key, struct slice *rest, int64_t *hour_ms)
{
	const char *at = memmem(key.p, key.len, ":use:", 5);
	const char *spent = memmem(key.p, key.len, ":spent:", 7);
	char text[CLOCK_TEXT_BYTES];

	if (spent != NULL && (at == NULL || spent < at))
		return split_day(key, spent, rest, hour_ms);
	if (at == NULL)
		return false;
	rest->p = at + 1;
	rest->len = key.len - (size_t)(rest->p - key.p);
	if (rest->len < 18)
		return false;
	snprintf(text, sizeof text, "%.13s:00:00Z", rest->p + 4);
	return clock_parse(slice_of(text), hour_ms);
}

/* "ds4|spark|input" is the row "ds4|spark|" and its counter. */
static bool
split_field(struct slice field, struct slice *row, struct slice *counter)
{
	const char *bar =
	    field.len == 0 ? NULL : memrchr(field.p, '|', field.len);

	if (bar == NULL)
		return false;
	row->p = field.p;
	row->len = (size_t)(bar + 1 - field.p);
	counter->p = bar + 1;
	counter->len = field.len - row->len;
	return true;
}

/* Which counter; REDIS_COUNTER_COUNT: none of them. */
static enum redis_counter
counter_of(struct slice name)
{
	size_t i = 0;

	while (i < REDIS_COUNTER_COUNT &&
	    !slice_is(name, redis_counter_field((enum redis_counter)i)))
		i++;
	return (enum redis_counter)i;
}

/* The micro-dollars beside a cost. */
static void
check_micro(struct check *c, struct slice key, const struct redis_reply *hash,
    struct slice row, uint64_t pusd)
{
	uint64_t micro = 0;

	for (size_t i = 0; i + 1 < hash->count; i += 2) {
		struct slice field = redis_reply_text(hash, i), r, name;

		if (field.p != NULL && split_field(field, &r, &name) &&
		    slice_is(name, REDIS_FIELD_MICRO) && r.len == row.len &&
		    memcmp(r.p, row.p, row.len) == 0 &&
		    !redis_reply_number(hash, i + 1, &micro))
			micro = UINT64_MAX;
	}
	if (micro != pusd / 1000000 + (pusd % 1000000 != 0))
		find(c,
		    "%.*s: %.*s" REDIS_FIELD_MICRO " is not %.*spusd "
		    "rounded up",
		    (int)key.len, key.p, (int)row.len, row.p, (int)row.len,
		    row.p);
}

static void
take_field(struct check *c, struct slice key, struct slice rest,
    int64_t hour_ms, const struct redis_reply *hash, size_t i)
{
	struct slice field = redis_reply_text(hash, i), row, name;
	enum redis_counter counter;
	uint64_t n;

	if (field.p == NULL || !split_field(field, &row, &name)) {
		find(c, "%.*s has a field that is not ours", (int)key.len,
		    key.p);
		return;
	}
	if (!redis_reply_number(hash, i + 1, &n) || n > REDIS_COUNT_MOST) {
		find(c, "%.*s: %.*s is no number of ours", (int)key.len, key.p,
		    (int)field.len, field.p);
		n = 0;
	}
	counter = counter_of(name);
	if (counter == REDIS_COUNTER_COUNT) {
		if (!slice_is(name, REDIS_FIELD_MICRO))
			find(c, "%.*s: %.*s is not ours", (int)key.len, key.p,
			    (int)field.len, field.p);
		return;
	}
	redis_sums_set(c->redis, rest, row, hour_ms, counter, n);
	if (counter == REDIS_COUNT_PUSD)
		check_micro(c, rest, hash, row, n);
}

static bool
on_key(void *arg, struct slice key, struct redis_problem *p)
{
	struct check *c = arg;
	struct redis_args a = {0};
	struct redis_reply *hash;
	struct slice rest = {0};
	int64_t hour_ms;

	if (!split_key(key, &rest, &hour_ms)) {
		find(c, "the key %.*s is not ours", (int)key.len, key.p);
		return true;
	}
	redis_args_text(&a, "HGETALL");
	redis_args_slice(&a, key);
	hash = redis_store_ask(c->store, &a, p);
	redis_args_release(&a);
	if (hash == NULL && p->trouble == REDIS_DAMAGED) {
		find(c, "%.*s is no hash", (int)key.len, key.p);
		return true;
	}
	if (hash == NULL)
		return false;
	for (size_t i = 0; i + 1 < hash->count; i += 2)
		take_field(c, key, rest, hour_ms, hash, i);
	redis_reply_destroy(&hash);
	return true;
}

/* --- what the ledgers have ----------------------------------------------- */

static void
find_lost(struct check *c, const char *writer, uint64_t first, uint64_t last)
{
	find(c,
	    "Redis has counted what the ledger has lost: of the writer %s "
	    "line%s %" PRIu64 " to %" PRIu64,
	    writer, first == last ? "" : "s", first, last);
}

/* The lines first..last of a writer are not in the ledger: those that Redis has
 * counted are lost, but for what it knows to be skipped. */
static void
look_at_hole(struct check *c, const struct redis_mark *m, uint64_t first,
    uint64_t last, bool is_front)
{
	if (last > m->before)
		last = m->before;
	while (first <= last) {
		const struct redis_gap *gap = NULL;
		uint64_t end = last;

		for (size_t i = 0; i < c->out->marks.gap_count; i++) {
			const struct redis_gap *g = &c->out->marks.gaps[i];

			if (strcmp(g->writer, m->writer) != 0 ||
			    g->last < first || g->first > end)
				continue;
			gap = g;
			end = g->first > first ? g->first - 1 : g->last;
		}
		if (gap == NULL || gap->first > first) {
			if (is_front)
				c->out->removed += end - first + 1;
			if (!is_front || !c->query->removed_is_fine)
				find_lost(c, m->writer, first, end);
		}
		first = end + 1;
	}
}

/* True if the line is new, and may count. */
static bool
note_number(struct check *c, uint64_t seq)
{
	struct redis_mark *m = c->mark;
	bool is_first = strcmp(m->writer, c->first_writer) == 0 && m->seen == 0;

	if (seq <= m->seen)
		return false;
	if (seq > m->seen + 1)
		look_at_hole(c, m, m->seen + 1, seq - 1, is_first);
	m->seen = seq;
	if (!redis_marks_in_gap(&c->out->marks, slice_of(m->writer), seq))
		return true;
	find(c,
	    "Redis passed over line %" PRIu64 " of the writer %s, which "
	    "stands in the ledger now",
	    seq, m->writer);
	return false;
}

static void
take_line(struct check *c)
{
	const struct ledger_view *v = &c->view;

	if (c->mark == NULL || !slice_is(v->writer, c->mark->writer))
		c->mark = redis_marks_find(&c->out->marks, v->writer);
	if (c->mark == NULL) {
		c->out->waiting++;
		return;
	}
	if (!note_number(c, v->seq))
		return;
	if (v->seq > c->mark->after) {
		c->out->waiting++;
		return;
	}
	c->out->counted++;
	redis_sums_add(c->high, v);
	redis_spent_add(c->high, v);
	if (v->seq > c->mark->before)
		return;
	redis_sums_add(c->low, v);
	redis_spent_add(c->low, v);
}

/* Whether lines were removed in front of the ledger's first one: then earlier
 * lines may have arrived up to the time at which that one was written. */
static void
take_first(struct check *c)
{
	const struct ledger_view *v = &c->view;
	int64_t written_ms = v->ts_ms + v->duration_ms;
	bool is_cut = v->seq > 1;

	memcpy(c->first_writer, v->writer.p, ULID_CHARS);
	for (size_t i = 0; i < c->out->marks.mark_count; i++) {
		const struct redis_mark *m = &c->out->marks.marks[i];

		is_cut |= m->is_ours && c->is_ours &&
		    strcmp(m->writer, c->first_writer) < 0;
	}
	if (is_cut && c->whole_from_ms <= written_ms)
		c->whole_from_ms = written_ms;
}

static bool
read_ledger(struct check *c, const char *path, struct redis_problem *p)
{
	struct ledger_reader *r = ledger_reader_open(path, NULL, NULL, &p->why);
	struct ledger_place at;
	struct slice line;
	struct fault why;

	p->trouble = REDIS_LEDGER;
	if (r == NULL)
		return false;
	c->mark = NULL;
	c->first_writer[0] = '\0';
	for (;;) {
		if (!ledger_reader_next(r, &line, &at, &why)) {
			if (why.text[0] == '\0')
				break;
			find(c, "%s", why.text);
			continue;
		}
		if (!ledger_view_read(&c->view, line, &why)) {
			find(c, "%s:%" PRIu64 ": %s", at.path, at.line,
			    why.text);
			continue;
		}
		if (c->first_writer[0] == '\0')
			take_first(c);
		take_line(c);
	}
	ledger_reader_close(&r);
	return true;
}

/* What our own writers' marks cover behind the last line that was found. */
static void
look_for_lost(struct check *c, const char *first_writer)
{
	for (size_t i = 0; i < c->out->marks.mark_count; i++) {
		const struct redis_mark *m = &c->out->marks.marks[i];
		bool is_front = m->seen == 0 && first_writer[0] != '\0' &&
		    strcmp(m->writer, first_writer) < 0;

		if (m->is_ours)
			look_at_hole(c, m, m->seen + 1, m->before, is_front);
	}
}

static bool
read_ledgers(struct check *c, struct redis_problem *p)
{
	for (size_t i = 0; i < c->query->ledger_count; i++) {
		c->is_ours = i == 0;
		if (!read_ledger(c, c->query->ledgers[i], p))
			return false;
		if (i == 0)
			look_for_lost(c, c->first_writer);
	}
	return true;
}

/* --- comparing ----------------------------------------------------------- */

static bool
has_expired(const struct check *c, const struct redis_row *row)
{
	return row->ends_ms <= (int64_t)redis_store_time_ms(c->store);
}

static const uint64_t *
counts_of(
    const struct redis_sums *s, const struct redis_row *like, uint64_t *out)
{
	size_t i = redis_sums_find(s, like->key, like->field);
	struct redis_row row = {0};

	if (i != SIZE_MAX)
		redis_sums_row(s, i, &row);
	memcpy(out, row.counts, sizeof row.counts);
	return out;
}

/* Every row of the one set of sums; of the other, those that were not there. */
static void
compare_row(struct check *c, const struct redis_row *row)
{
	uint64_t has[REDIS_COUNTER_COUNT], low[REDIS_COUNTER_COUNT],
	    high[REDIS_COUNTER_COUNT];
	bool may_have_more =
	    !c->out->is_exact || row->hour_ms <= c->whole_from_ms;

	if (has_expired(c, row))
		return;
	c->out->compared++;
	counts_of(c->redis, row, has);
	counts_of(c->low, row, low);
	counts_of(c->high, row, high);
	for (size_t i = 0; i < REDIS_COUNTER_COUNT; i++) {
		if (has[i] >= low[i] && (may_have_more || has[i] <= high[i]))
			continue;
		find(c,
		    "%.*s: %.*s%s is %" PRIu64 " in Redis and %" PRIu64
		    " in the ledger",
		    (int)row->key.len, row->key.p, (int)row->field.len,
		    row->field.p, redis_counter_field((enum redis_counter)i),
		    has[i], has[i] < low[i] ? low[i] : high[i]);
	}
}

static void
compare(struct check *c)
{
	struct redis_row row;

	for (size_t i = 0; i < redis_sums_count(c->redis); i++) {
		redis_sums_row(c->redis, i, &row);
		compare_row(c, &row);
	}
	for (size_t i = 0; i < redis_sums_count(c->high); i++) {
		redis_sums_row(c->high, i, &row);
		if (redis_sums_find(c->redis, row.key, row.field) == SIZE_MAX)
			compare_row(c, &row);
	}
}

bool
redis_check_run(struct redis_store *s, const struct redis_check_query *q,
    struct redis_check_result *out, struct redis_problem *p)
{
	struct check *c = xcalloc(sizeof *c);
	bool ok;

	*out = (struct redis_check_result){0};
	c->store = s;
	c->query = q;
	c->out = out;
	c->redis = redis_sums_create();
	c->low = redis_sums_create();
	c->high = redis_sums_create();
	c->whole_from_ms = INT64_MIN;
	ok = redis_marks_read(&out->marks, s, p) &&
	    redis_store_each_key(s, "use:", on_key, c, p) &&
	    redis_store_each_key(s, "spent:", on_key, c, p) &&
	    redis_marks_read_again(&out->marks, s, p);
	out->is_exact = out->marks.gateway_count <= q->ledger_count;
	if (ok && (ok = read_ledgers(c, p)))
		compare(c);
	redis_sums_destroy(&c->redis);
	redis_sums_destroy(&c->low);
	redis_sums_destroy(&c->high);
	free(c);
	return ok;
}
