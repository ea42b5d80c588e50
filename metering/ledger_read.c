/* Reads what ledger_line.c writes.  The door is ledger_line.h. */
#include "metering/ledger_line.h"

#include <assert.h>
#include <limits.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "metering/price.h"

#include "base/banned.h"

enum field_type { TEXT, MONEY, INT, BOOL, TIME, SOURCE };

struct field {
	const char *name;
	size_t len;
	enum field_type type;
	size_t offset; /* in the struct that the table is about */
};

static const struct field line_fields[] = {
#define X(member, name, type, help) \
	{name, sizeof(name) - 1, type, offsetof(struct ledger_line, member)},
    LEDGER_FIELDS(X)
#undef X
};

#define ATTEMPT_FIELD(name, type, member)                   \
	{                                                   \
		name, sizeof(name) - 1, type,               \
		    offsetof(struct ledger_attempt, member) \
	}

static const struct field attempt_fields[] = {
    ATTEMPT_FIELD("upstream", TEXT, upstream),
    ATTEMPT_FIELD("result", TEXT, result),
    ATTEMPT_FIELD("prompt_tokens", INT, usage.input),
    ATTEMPT_FIELD("cached_tokens", INT, usage.cached),
    ATTEMPT_FIELD("cache_write_tokens", INT, usage.cache_write),
    ATTEMPT_FIELD("completion_tokens", INT, usage.output),
    ATTEMPT_FIELD("cost_usd", MONEY, cost_pusd),
    ATTEMPT_FIELD("usage_source", SOURCE, source),
};

/* The last two, which the ledger adds. */
static const struct field entry_fields[] = {
    {"writer", 6, TEXT, offsetof(struct ledger_entry, writer)},
    {"seq", 3, INT, offsetof(struct ledger_entry, seq)},
};

struct reader {
	struct ledger_entry *out;
	struct fault *why;
	const char *text; /* the line, whole */
	size_t used;      /* of out->memory */
	bool is_bad;
	bool has_ts;
	bool in_attempts;
	size_t next; /* the field that is likely to come: they have an order */

	/* Where the value that comes next belongs. */
	const struct field *field; /* NULL: nowhere */
	void *at;
};

static bool
bad(struct reader *r, const char *what)
{
	r->is_bad = true;
	return fault_set(r->why, "%s", what);
}

static bool
bad_field(struct reader *r, const char *what)
{
	r->is_bad = true;
	return fault_set(r->why, "'%s' %s", r->field->name, what);
}

/* Decodes a string into the entry's memory.  It fits: the line is half as long,
 * nothing grows when decoded, and two quotes leave room for one NUL. */
static bool
take_text(struct reader *r, const struct json_token *t)
{
	/* The token's own text may be cut; the line's is not. */
	struct slice raw = {r->text + t->begin + 1, t->end - t->begin - 2};
	char *to = r->out->memory + r->used;
	size_t room = sizeof r->out->memory - r->used, len;

	if (t->kind != JSON_STRING)
		return bad_field(r, "is no string");
	len = json_decode(raw, to, room);
	assert(len < room);
	to[len] = '\0';
	r->used += len + 1;
	*(const char **)r->at = to;
	return true;
}

static bool
take_money(struct reader *r, const struct json_token *t)
{
	if (t->kind != JSON_STRING || t->is_cut || t->has_escapes ||
	    !money_parse(t->text, r->at))
		return bad_field(r, "is no amount, like \"0.002695260000\"");
	return true;
}

static bool
take_int(struct reader *r, const struct json_token *t)
{
	uint64_t n;

	if (t->kind != JSON_NUMBER || !text_to_u64(t->text, INT64_MAX, &n))
		return bad_field(r, "is no count");
	*(int64_t *)r->at = (int64_t)n;
	return true;
}

static bool
take_bool(struct reader *r, const struct json_token *t)
{
	if (t->kind != JSON_TRUE && t->kind != JSON_FALSE)
		return bad_field(r, "is neither true nor false");
	*(bool *)r->at = t->kind == JSON_TRUE;
	return true;
}

static bool
take_time(struct reader *r, const struct json_token *t)
{
	if (t->kind != JSON_STRING || !clock_parse(t->text, r->at))
		return bad_field(r, "is no time, like 2026-05-28T14:22:01Z");
	r->has_ts = true;
	return true;
}

static bool
take_source(struct reader *r, const struct json_token *t)
{
	static const char *const names[] = {
#define X(name, text, help) [USAGE_##name] = text,
	    USAGE_SOURCES(X)
#undef X
	};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (t->kind != JSON_STRING || !json_token_is(t, names[i]))
			continue;
		*(enum usage_source *)r->at = (enum usage_source)i;
		return true;
	}
	return bad_field(r, "is no source of usage");
}

static bool
take_value(struct reader *r, const struct json_token *t)
{
	/* null leaves what a missing member leaves. */
	if (r->field == NULL || t->kind == JSON_NULL)
		return true;
	switch (r->field->type) {
	case TEXT:
		return take_text(r, t);
	case MONEY:
		return take_money(r, t);
	case INT:
		return take_int(r, t);
	case BOOL:
		return take_bool(r, t);
	case TIME:
		return take_time(r, t);
	case SOURCE:
		return take_source(r, t);
	}
	return true;
}

/* Looks from `first` on, all round; NULL if there is no such field. */
static const struct field *
find(const struct field *fields, size_t count, size_t first,
    const struct json_token *key)
{
	for (size_t i = 0; i < count; i++) {
		const struct field *f = &fields[(first + i) % count];

		/* An escaped key is none of ours: ours need no escapes. */
		if (key->text.len == f->len &&
		    memcmp(key->text.p, f->name, f->len) == 0)
			return f;
	}
	return NULL;
}

static void
choose_line_field(struct reader *r, const struct json_token *key)
{
	r->at = &r->out->line;
	r->field = find(line_fields, COUNT_OF(line_fields), r->next, key);
	if (r->field != NULL) {
		r->next = (size_t)(r->field - line_fields) + 1;
	} else {
		r->at = r->out;
		r->field = find(entry_fields, COUNT_OF(entry_fields), 0, key);
	}
	if (r->field != NULL)
		r->at = (char *)r->at + r->field->offset;
	r->in_attempts = r->field == NULL && json_token_is(key, "attempts");
}

static void
choose_attempt_field(struct reader *r, const struct json_token *key)
{
	struct ledger_line *line = &r->out->line;

	r->at = &line->attempts[line->attempt_count - 1];
	r->field = find(attempt_fields, COUNT_OF(attempt_fields), 0, key);
	if (r->field != NULL)
		r->at = (char *)r->at + r->field->offset;
}

static bool
begin_attempt(struct reader *r)
{
	struct ledger_line *line = &r->out->line;

	if (line->attempt_count == LEDGER_ATTEMPTS_MOST)
		return bad(r, "it has too many attempts");
	line->attempts[line->attempt_count++] =
	    (struct ledger_attempt){.usage = USAGE_UNKNOWN};
	return true;
}

/* In the attempts: an array of objects, in each of which nothing is nested that
 * we know. */
static bool
on_attempt_token(struct reader *r, const struct json_token *t)
{
	if (t->depth == 2) {
		r->field = NULL;
		return t->kind != JSON_OBJECT || begin_attempt(r);
	}
	if (t->depth != 3)
		return true;
	if (t->kind == JSON_KEY) {
		choose_attempt_field(r, t);
		return true;
	}
	return take_value(r, t);
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct reader *r = arg;

	if (t->depth == 0) {
		if (t->kind == JSON_OBJECT || t->kind == JSON_OBJECT_END)
			return true;
		return bad(r, "it is no JSON object");
	}
	if (t->depth == 1 && t->kind == JSON_KEY) {
		choose_line_field(r, t);
		return true;
	}
	if (!r->in_attempts)
		return t->depth > 1 || take_value(r, t);
	if (t->depth > 1)
		return on_attempt_token(r, t);
	return t->kind == JSON_ARRAY || t->kind == JSON_ARRAY_END ||
	    t->kind == JSON_NULL || bad(r, "'attempts' is no array");
}

bool
ledger_line_read(struct slice text, struct ledger_entry *out, struct fault *why)
{
	struct reader r = {.out = out, .why = why, .text = text.p};
	struct json_scan scan;

	out->line = (struct ledger_line){.ttft_ms = -1};
	out->writer = NULL;
	out->seq = 0;
	if (text.len > LEDGER_LINE_MOST_BYTES)
		return fault_set(
		    why, "it is longer than %d bytes", LEDGER_LINE_MOST_BYTES);
	json_scan_init(&scan, on_token, &r, UINT_MAX);
	if (json_scan_feed(&scan, text.p, text.len) != JSON_DONE && !r.is_bad)
		return fault_set(why, "it is broken JSON at byte %llu",
		    (unsigned long long)json_scan_offset(&scan));
	if (!r.is_bad && !r.has_ts)
		return fault_set(why, "it has no 'ts'");
	return !r.is_bad;
}
