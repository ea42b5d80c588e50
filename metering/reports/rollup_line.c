#include "metering/reports/rollup_line.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "metering/price.h"

#include "base/banned.h"

#define LINE_MOST_BYTES (1u << 20)

/* --- writing ------------------------------------------------------------- */

static void
put_count(struct json_out *o, const char *name, uint64_t n)
{
	json_key(o, name);
	buf_put_uint(o->to, n);
	o->needs_comma = true;
}

static void
put_money(struct json_out *o, const char *name, __int128 pusd)
{
	char text[MONEY_TEXT_BYTES];

	money_format(text, pusd);
	json_member_string(o, name, slice_of(text));
}

static void
put_time(struct json_out *o, const char *name, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_format(text, wall_ms);
	json_member_string(o, name, slice_of(text));
}

/* Pairs: so many ms, so many times. */
static void
put_waits(struct json_out *o, const struct waits *w)
{
	json_key(o, "ttft_ms");
	json_open(o, '[');
	for (uint16_t i = 0; i < w->used; i++) {
		json_int(o, waits_step_ms(w->steps[i].step));
		json_int(o, w->steps[i].count);
	}
	json_close(o, ']');
}

void
rollup_row_write(struct json_out *o, const struct rollup_row *row)
{
	const struct rollup_sums *s = row->sums;

	json_open(o, '{');
	put_time(o, "start", row->start_ms);
#define X(word, member, title)                 \
	if (row->names[ROLLUP_##word] != NULL) \
		json_member_string(            \
		    o, #member, slice_of(row->names[ROLLUP_##word]));
	ROLLUP_NAMES(X)
#undef X
#define X(member, name, help) \
	if (s->member != 0)   \
		put_count(o, name, s->member);
	ROLLUP_COUNTS(X)
#undef X
	if (s->cost_pusd != 0)
		put_money(o, "cost_usd", s->cost_pusd);
	if (s->avoided_pusd != 0)
		put_money(o, "avoided_usd", s->avoided_pusd);
	if (s->fallback_pusd != 0)
		put_money(o, "fallback_usd", s->fallback_pusd);
	put_time(o, "first", s->first_ms);
	put_time(o, "last", s->last_ms);
	if (row->waits->used > 0)
		put_waits(o, row->waits);
	json_close(o, '}');
	buf_put_literal(o->to, "\n");
	o->needs_comma = false;
}

static unsigned long
checksum(struct slice text)
{
	return crc32_z(crc32(0, NULL, 0), (const Bytef *)text.p, text.len);
}

void
rollup_seal(struct buf *text, uint64_t rows)
{
	unsigned long sum =
	    checksum((struct slice){buf_data(text), buf_len(text)});

	buf_printf(text, "{\"rows\":%llu,\"crc32\":\"%08lx\"}\n",
	    (unsigned long long)rows, sum);
}

/* --- reading ------------------------------------------------------------- */

enum field_type { COUNT, TEXT, MONEY, TIME, NAME, WAITS };

static const struct field {
	const char *name;
	enum field_type type;
	size_t offset; /* in struct rollup_line */
} fields[] = {{"start", TIME, offsetof(struct rollup_line, row.start_ms)},
#define X(word, member, title) \
	{#member, NAME, offsetof(struct rollup_line, row.names[ROLLUP_##word])},
    ROLLUP_NAMES(X)
#undef X
#define X(member, name, help) \
	{name, COUNT, offsetof(struct rollup_line, sums.member)},
	ROLLUP_COUNTS(X)
#undef X
	    {"cost_usd", MONEY, offsetof(struct rollup_line, sums.cost_pusd)},
    {"avoided_usd", MONEY, offsetof(struct rollup_line, sums.avoided_pusd)},
    {"fallback_usd", MONEY, offsetof(struct rollup_line, sums.fallback_pusd)},
    {"first", TIME, offsetof(struct rollup_line, sums.first_ms)},
    {"last", TIME, offsetof(struct rollup_line, sums.last_ms)},
    {"ttft_ms", WAITS, 0},
#define X(member, name) {name, COUNT, offsetof(struct rollup_line, member)},
    ROLLUP_LINE_COUNTS(X)
#undef X
#define X(member, name) {name, TEXT, offsetof(struct rollup_line, member)},
	ROLLUP_LINE_TEXTS(X)
#undef X
};

struct reading {
	struct rollup_lines *lines;
	const char *text;          /* the line, whole */
	const struct field *field; /* whose value comes; NULL: unknown */
	size_t next;               /* the field that is likely to come */
	int64_t wait_ms;           /* -1: none; else its count comes */
	bool is_object;
};

/* The text between the quotes, with a NUL behind it.  There is room: it never
 * grows, and the memory is as large as the line. */
static bool
take_text(struct reading *r, const struct json_token *t, struct slice *out)
{
	struct buf *m = &r->lines->memory;
	struct slice raw = {r->text + t->begin + 1, t->end - t->begin - 2};
	char *to = m->base + m->end;
	size_t len;

	if (t->kind != JSON_STRING)
		return false;
	len = json_decode(raw, to, m->room - m->end - 1);
	if (len == SIZE_MAX)
		return false;
	to[len] = '\0';
	m->end += len + 1;
	*out = (struct slice){to, len};
	return true;
}

static bool
take_count(const struct json_token *t, uint64_t *out)
{
	return t->kind == JSON_NUMBER && !t->is_cut &&
	    text_to_u64(t->text, UINT64_MAX, out);
}

/* In the array of waits: how long, then how often. */
static bool
take_wait(struct reading *r, const struct json_token *t)
{
	uint64_t n;

	if (!take_count(t, &n) || n > UINT32_MAX)
		return false;
	if (r->wait_ms < 0) {
		r->wait_ms = (int64_t)n;
		return true;
	}
	waits_add(&r->lines->line.waits, r->wait_ms, (uint32_t)n);
	r->wait_ms = -1;
	return true;
}

static bool
take_value(struct reading *r, const struct json_token *t)
{
	struct slice text;
	char *at;

	if (r->field == NULL)
		return true;
	at = (char *)&r->lines->line + r->field->offset;
	switch (r->field->type) {
	case COUNT:
		return take_count(t, (uint64_t *)(void *)at);
	case TEXT:
		return take_text(r, t, (struct slice *)(void *)at);
	case MONEY:
		return take_text(r, t, &text) &&
		    money_parse(text, (__int128 *)(void *)at);
	case TIME:
		return take_text(r, t, &text) &&
		    clock_parse(text, (int64_t *)(void *)at);
	case NAME:
		if (!take_text(r, t, &text))
			return false;
		*(const char **)(void *)at = text.p;
		return true;
	case WAITS:
		return t->kind == JSON_ARRAY;
	}
	return false;
}

static void
choose_field(struct reading *r, const struct json_token *key)
{
	r->field = NULL;
	for (size_t i = 0; i < COUNT_OF(fields) && r->field == NULL; i++) {
		size_t at = (r->next + i) % COUNT_OF(fields);

		if (slice_is(key->text, fields[at].name)) {
			r->field = &fields[at];
			r->next = at + 1;
		}
	}
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct reading *r = arg;

	if (t->depth == 0) {
		r->is_object = t->kind == JSON_OBJECT || r->is_object;
		return r->is_object;
	}
	if (t->depth == 1 && t->kind == JSON_KEY) {
		choose_field(r, t);
		return true;
	}
	if (t->depth == 1)
		return t->kind == JSON_ARRAY_END || t->kind == JSON_OBJECT_END
		    ? r->wait_ms < 0
		    : take_value(r, t);
	if (r->field != NULL && r->field->type == WAITS)
		return t->depth == 2 && take_wait(r, t);
	return true;
}

static bool
read_line(struct rollup_lines *l, struct slice text)
{
	struct reading r = {.lines = l, .text = text.p, .wait_ms = -1};
	struct waits waits = l->line.waits;
	struct json_scan scan;

	waits.used = 0; /* its memory stays */
	l->line = (struct rollup_line){.waits = waits};
	l->line.row.sums = &l->line.sums;
	l->line.row.waits = &l->line.waits;
	buf_clear(&l->memory);
	if (buf_reserve(&l->memory, text.len + 8, LINE_MOST_BYTES) == NULL)
		return false;
	json_scan_init(&scan, on_token, &r, UINT_MAX);
	return json_scan_feed(&scan, text.p, text.len) == JSON_DONE;
}

/* `{"rows":12,"crc32":"89abcdef"}`, for this checksum. */
static bool
is_seal(struct slice line, unsigned long sum)
{
	struct slice begin = SLICE("{\"rows\":"), rows;
	char end[32];
	size_t end_len;
	uint64_t n;

	end_len =
	    (size_t)snprintf(end, sizeof end, ",\"crc32\":\"%08lx\"}", sum);
	if (line.len < begin.len + end_len || !slice_starts(line, begin.p) ||
	    memcmp(line.p + line.len - end_len, end, end_len) != 0)
		return false;
	rows.p = line.p + begin.len;
	rows.len = line.len - begin.len - end_len;
	return text_to_u64(rows, UINT64_MAX, &n);
}

/* Takes the seal off; false if it does not fit what is before it. */
static bool
check_seal(struct slice *text)
{
	struct slice seal = *text;
	const char *newline;

	if (seal.len < 2 || seal.p[seal.len - 1] != '\n')
		return false;
	newline = memrchr(seal.p, '\n', seal.len - 1);
	if (newline == NULL)
		return false;
	text->len = (size_t)(newline + 1 - text->p);
	seal.p += text->len;
	seal.len -= text->len + 1;
	return is_seal(seal, checksum(*text));
}

bool
rollup_lines_open(struct rollup_lines *l, struct slice text, struct fault *why)
{
	*l = (struct rollup_lines){.rest = text};
	l->is_bad = !check_seal(&l->rest);
	return !l->is_bad || fault_set(why, "it is damaged, or not whole");
}

const struct rollup_line *
rollup_lines_next(struct rollup_lines *l, struct fault *why)
{
	const char *newline;
	struct slice line;

	if (l->rest.len == 0 || l->is_bad)
		return NULL;
	newline = memchr(l->rest.p, '\n', l->rest.len);
	line = (struct slice){l->rest.p, l->rest.len};
	if (newline != NULL)
		line.len = (size_t)(newline - l->rest.p);
	if (newline == NULL || !read_line(l, line)) {
		l->is_bad = true;
		fault_set(why, "a line of it is damaged");
		return NULL;
	}
	l->rest.p += line.len + 1;
	l->rest.len -= line.len + 1;
	return &l->line;
}

void
rollup_lines_close(struct rollup_lines *l)
{
	waits_release(&l->line.waits);
	buf_release(&l->memory);
	*l = (struct rollup_lines){0};
}
