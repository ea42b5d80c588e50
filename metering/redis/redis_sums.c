#include "metering/redis/redis_sums.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#include "base/banned.h"

#define FIRST_ROOM 64 /* a power of two */
#define HOUR_CHARS 13 /* "2026-11-21T14" */

struct row {
	uint64_t hash;
	size_t text; /* where its key begins in `texts`, its field behind it */
	size_t key_len, field_len;
	int64_t hour_ms;
	uint64_t counts[REDIS_COUNTER_COUNT];
};

struct redis_sums {
	struct row *rows; /* owned */
	size_t count, room;
	size_t *slots; /* owned; row + 1 by hash, 0: free; twice `room` */
	struct buf texts;
	struct buf scratch; /* key and field of the line at hand */
	int64_t hour_ms;    /* of the line before, and its text */
	char hour[CLOCK_TEXT_BYTES];
};

const char *
redis_counter_field(enum redis_counter c)
{
	static const char *const names[] = {
#define X(name, field, help) [REDIS_COUNT_##name] = field,
	    REDIS_COUNTERS(X)
#undef X
	};

	return names[c];
}

struct redis_sums *
redis_sums_create(void)
{
	struct redis_sums *s = xcalloc(sizeof *s);

	s->room = FIRST_ROOM;
	s->rows = xcalloc_array(s->room, sizeof *s->rows);
	s->slots = xcalloc_array(2 * s->room, sizeof *s->slots);
	s->hour_ms = INT64_MIN;
	return s;
}

void
redis_sums_destroy(struct redis_sums **sp)
{
	struct redis_sums *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	free(s->rows);
	free(s->slots);
	buf_release(&s->texts);
	buf_release(&s->scratch);
	free(s);
}

void
redis_sums_clear(struct redis_sums *s)
{
	memset(s->slots, 0, 2 * s->room * sizeof *s->slots);
	s->count = 0;
	buf_clear(&s->texts);
}

static struct slice
key_of(const struct redis_sums *s, const struct row *r)
{
	return (struct slice){buf_data(&s->texts) + r->text, r->key_len};
}

static struct slice
field_of(const struct redis_sums *s, const struct row *r)
{
	return (struct slice){
	    buf_data(&s->texts) + r->text + r->key_len, r->field_len};
}

static bool
is_same(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

/* The slot of a row, or the free one where it belongs. */
static size_t *
find_slot(const struct redis_sums *s, uint64_t hash, struct slice key,
    struct slice field)
{
	size_t mask = 2 * s->room - 1;

	for (size_t at = hash & mask;; at = (at + 1) & mask) {
		const struct row *r;

		if (s->slots[at] == 0)
			return &s->slots[at];
		r = &s->rows[s->slots[at] - 1];
		if (r->hash == hash && is_same(key_of(s, r), key) &&
		    is_same(field_of(s, r), field))
			return &s->slots[at];
	}
}

static void
grow(struct redis_sums *s)
{
	s->room *= 2;
	s->rows = xrealloc_array(s->rows, s->room, sizeof *s->rows);
	free(s->slots);
	s->slots = xcalloc_array(2 * s->room, sizeof *s->slots);
	for (size_t i = 0; i < s->count; i++) {
		const struct row *r = &s->rows[i];

		*find_slot(s, r->hash, key_of(s, r), field_of(s, r)) = i + 1;
	}
}

static uint64_t
hash_of(struct slice key, struct slice field)
{
	return text_hash(key.p, key.len) * 31 + text_hash(field.p, field.len);
}

void
redis_sums_put_name(struct buf *to, struct slice name)
{
	size_t plain = 0;

	if (name.p == NULL || name.len == 0) {
		buf_put_literal(to, "-");
		return;
	}
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c > ' ' && c != '|' && c != '%' && c != 0x7f)
			continue;
		buf_put(to, name.p + plain, i - plain);
		buf_printf(to, "%%%02X", c);
		plain = i + 1;
	}
	buf_put(to, name.p + plain, name.len - plain);
}

static void
note_hour(struct redis_sums *s, int64_t ts_ms)
{
	int64_t hour = ts_ms - ts_ms % REDIS_HOUR_MS;

	if (ts_ms < hour)
		hour -= REDIS_HOUR_MS;
	if (hour == s->hour_ms)
		return;
	s->hour_ms = hour;
	clock_format(s->hour, hour);
}

/* The row, made if it is not there.  The texts may stand in `scratch`. */
static struct row *
row_of(struct redis_sums *s, struct slice key, struct slice field)
{
	uint64_t hash = hash_of(key, field);
	size_t *slot = find_slot(s, hash, key, field);
	struct row *r;

	if (*slot != 0)
		return &s->rows[*slot - 1];
	if (s->count == s->room) {
		grow(s);
		slot = find_slot(s, hash, key, field);
	}
	r = &s->rows[s->count++];
	*slot = s->count;
	*r = (struct row){.hash = hash,
	    .text = buf_len(&s->texts),
	    .key_len = key.len,
	    .field_len = field.len,
	    .hour_ms = s->hour_ms};
	buf_put(&s->texts, key.p, key.len);
	buf_put(&s->texts, field.p, field.len);
	return r;
}

static struct row *
row_of_line(struct redis_sums *s, const struct ledger_view *line)
{
	struct slice key, field;

	note_hour(s, line->ts_ms);
	buf_clear(&s->scratch);
	buf_put_literal(&s->scratch, "use:");
	buf_put(&s->scratch, s->hour, HOUR_CHARS);
	buf_put_literal(&s->scratch, ":");
	buf_put(&s->scratch, line->user.p, line->user.len);
	key.len = buf_len(&s->scratch);
	redis_sums_put_name(&s->scratch, line->model);
	buf_put_literal(&s->scratch, "|");
	redis_sums_put_name(&s->scratch, line->upstream);
	buf_put_literal(&s->scratch, "|");
	key.p = buf_data(&s->scratch);
	field.p = key.p + key.len;
	field.len = buf_len(&s->scratch) - key.len;
	return row_of(s, key, field);
}

static void
add(uint64_t *sum, __int128 more)
{
	if (more <= 0)
		return;
	*sum = more > (__int128)(REDIS_COUNT_MOST - *sum)
	    ? REDIS_COUNT_MOST
	    : *sum + (uint64_t)more;
}

/* Who left, or whose key was revoked, is nobody's error. */
static bool
could_not_be_done(const struct ledger_view *line)
{
	return !slice_is(line->end, "ok") && !slice_is(line->end, "revoked") &&
	    !slice_is(line->end, "client_gone");
}

void
redis_sums_add(struct redis_sums *s, const struct ledger_view *line)
{
	uint64_t *counts;

	if (line->attempt_count == 0)
		return;
	counts = row_of_line(s, line)->counts;
	add(&counts[REDIS_COUNT_REQUESTS], 1);
	add(&counts[REDIS_COUNT_INPUT], line->prompt_tokens);
	add(&counts[REDIS_COUNT_CACHED], line->cached_tokens);
	add(&counts[REDIS_COUNT_OUTPUT], line->completion_tokens);
	add(&counts[REDIS_COUNT_REASONING], line->reasoning_tokens);
	add(&counts[REDIS_COUNT_PUSD], line->cost_usd);
	add(&counts[REDIS_COUNT_ERRORS], could_not_be_done(line));
}

void
redis_sums_more(struct redis_sums *s, struct slice key, struct slice field,
    int64_t begin_ms, int64_t input, int64_t output, __int128 pusd)
{
	struct row *r;

	if (input <= 0 && output <= 0 && pusd <= 0)
		return;
	r = row_of(s, key, field);
	r->hour_ms = begin_ms;
	add(&r->counts[REDIS_COUNT_INPUT], input);
	add(&r->counts[REDIS_COUNT_OUTPUT], output);
	add(&r->counts[REDIS_COUNT_PUSD], pusd);
}

void
redis_sums_set(struct redis_sums *s, struct slice key, struct slice field,
    int64_t hour_ms, enum redis_counter c, uint64_t n)
{
	struct row *r = row_of(s, key, field);

	r->hour_ms = hour_ms;
	r->counts[c] = n;
}

size_t
redis_sums_count(const struct redis_sums *s)
{
	return s->count;
}

void
redis_sums_row(const struct redis_sums *s, size_t i, struct redis_row *out)
{
	const struct row *r = &s->rows[i];

	out->key = key_of(s, r);
	out->field = field_of(s, r);
	out->hour_ms = r->hour_ms;
	out->ends_ms = r->hour_ms +
	    (slice_starts(out->key, "spent:") ? REDIS_SPENT_KEEP_MS
					      : REDIS_KEEP_MS);
	memcpy(out->counts, r->counts, sizeof out->counts);
}

size_t
redis_sums_find(
    const struct redis_sums *s, struct slice key, struct slice field)
{
	return *find_slot(s, hash_of(key, field), key, field) - 1;
}
