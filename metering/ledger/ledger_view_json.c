/* Reads a ledger line of any spelling.  The door is ledger_view.h. */
#include <limits.h>

#include "base/clock.h"
#include "base/json_scan.h"
#include "metering/ledger/ledger_view_inner.h"
#include "metering/price.h"

#include "base/banned.h"

bool
view_decode(struct ledger_view *v, struct slice raw, struct slice *out)
{
	char *to = v->memory + v->memory_used;
	size_t len = json_decode(raw, to, sizeof v->memory - v->memory_used);

	if (len == SIZE_MAX)
		return false;
	*out = (struct slice){to, len};
	v->memory_used += len;
	return true;
}

bool
view_source(struct slice name, enum usage_source *out)
{
	for (int s = USAGE_UPSTREAM; s >= USAGE_NONE; s--) {
		if (!slice_is(name, usage_source_name((enum usage_source)s)))
			continue;
		*out = (enum usage_source)s;
		return true;
	}
	return false;
}

enum field_type { TEXT, MONEY, INT, COUNT, BOOL, TIME, SOURCE, ATTEMPTS };

struct field {
	const char *name;
	size_t len;
	enum field_type type;
	size_t offset; /* in the struct that the table is about */
};

static const struct field line_fields[] = {
#define X(member, name, type, help) \
	{name, sizeof(name) - 1, type, offsetof(struct ledger_view, member)},
    LEDGER_FIELDS(X)
#undef X
	{"attempts", 8, ATTEMPTS, 0},
    {"writer", 6, TEXT, offsetof(struct ledger_view, writer)},
    {"seq", 3, INT, offsetof(struct ledger_view, seq)},
};

static const struct field attempt_fields[] = {
#define X(member, name, type, help)    \
	{name, sizeof(name) - 1, type, \
	    offsetof(struct ledger_view_attempt, member)},
    LEDGER_ATTEMPT_FIELDS(X) LEDGER_ATTEMPT_USAGE_FIELDS(X)
#undef X
};

_Static_assert(COUNT_OF(line_fields) <= 64, "one bit of `seen` a member");

/* Those bits of attempt_fields that are there without a count, too. */
#define ONE(member, name, type, help) +1
#define ATTEMPT_FIELDS_ALWAYS \
	((UINT64_C(1) << (0 LEDGER_ATTEMPT_FIELDS(ONE))) - 1)

struct general {
	struct ledger_view *v;
	struct fault *why;
	const char *text; /* the line, whole */
	bool is_bad;
	bool in_attempts;
	uint64_t seen, seen_in_attempt; /* a bit a field */
	size_t next; /* the field that is likely to come: they have an order */
	const struct field *field; /* of the value that comes; NULL: unknown */
	void *at;                  /* where it goes */
};

static unsigned
bits(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

static bool
bad(struct general *g, const char *what)
{
	g->is_bad = true;
	return fault_set(g->why, "%s", what);
}

static bool
bad_field(struct general *g, const char *what)
{
	g->is_bad = true;
	return fault_set(g->why, "'%s' %s", g->field->name, what);
}

/* The token's own text may be cut; the line's is not. */
static struct slice
raw_of(const struct general *g, const struct json_token *t)
{
	return (struct slice){g->text + t->begin + 1, t->end - t->begin - 2};
}

static bool
take_text(struct general *g, const struct json_token *t, struct slice *out)
{
	if (t->kind != JSON_STRING)
		return false;
	*out = raw_of(g, t);
	return !t->has_escapes || view_decode(g->v, *out, out);
}

static bool
take_int(const struct json_token *t, int64_t *out)
{
	uint64_t n;

	if (t->kind != JSON_NUMBER || t->is_cut ||
	    !text_to_u64(t->text, INT64_MAX, &n))
		return false;
	*out = (int64_t)n;
	return true;
}

static bool
take_bool(const struct json_token *t, bool *out)
{
	*out = t->kind == JSON_TRUE;
	return *out || t->kind == JSON_FALSE;
}

/* null leaves what a missing member leaves. */
static bool
take_value(struct general *g, const struct json_token *t)
{
	struct slice text;

	if (g->field == NULL || t->kind == JSON_NULL)
		return true;
	switch (g->field->type) {
	case TEXT:
		return take_text(g, t, g->at) || bad_field(g, "is no string");
	case MONEY:
		return (take_text(g, t, &text) && money_parse(text, g->at)) ||
		    bad_field(g, "is no amount, like \"0.002695260000\"");
	case INT:
	case COUNT:
		return take_int(t, g->at) || bad_field(g, "is no count");
	case BOOL:
		return take_bool(t, g->at) ||
		    bad_field(g, "is neither true nor false");
	case TIME:
		return (take_text(g, t, &text) && clock_parse(text, g->at)) ||
		    bad_field(g, "is no time, like 2026-05-28T14:22:01Z");
	case SOURCE:
		return (take_text(g, t, &text) && view_source(text, g->at)) ||
		    bad_field(g, "is no source of usage");
	case ATTEMPTS:
		g->in_attempts = t->kind == JSON_ARRAY;
		return g->in_attempts || bad_field(g, "is no array");
	}
	return true;
}

/* Looks from `first` on, all round; NULL if there is no such field. */
static const struct field *
find(const struct field *fields, size_t count, size_t first, struct slice name)
{
	for (size_t i = 0; i < count; i++) {
		const struct field *f = &fields[(first + i) % count];

		if (name.len == f->len && memcmp(name.p, f->name, f->len) == 0)
			return f;
	}
	return NULL;
}

/* Whose value comes, and where in `object` it goes. */
static bool
choose_field(struct general *g, const struct json_token *key,
    const struct field *fields, size_t count, void *object, uint64_t *seen)
{
	char decoded[JSON_TEXT_BYTES];
	struct slice name = key->text;
	uint64_t bit;

	if (key->has_escapes && !key->is_cut) {
		name.len = json_decode(name, decoded, sizeof decoded);
		name.p = decoded;
	}
	g->field = key->is_cut ? NULL : find(fields, count, g->next, name);
	if (g->field == NULL) {
		g->v->unknown++;
		return true;
	}
	g->next = (size_t)(g->field - fields) + 1;
	g->at = (char *)object + g->field->offset;
	bit = UINT64_C(1) << (g->field - fields);
	if ((*seen & bit) != 0)
		return bad_field(g, "stands in it twice");
	*seen |= bit;
	return true;
}

static bool
begin_attempt(struct general *g)
{
	if (g->v->attempt_count == LEDGER_ATTEMPTS_MOST)
		return bad(g, "it has too many attempts");
	view_clear_attempt(&g->v->attempts[g->v->attempt_count++]);
	g->seen_in_attempt = 0;
	g->next = 0;
	return true;
}

/* The counts are there together, or none of them is. */
static bool
end_attempt(struct general *g)
{
	const uint64_t all = (UINT64_C(1) << COUNT_OF(attempt_fields)) - 1;
	const uint64_t always = ATTEMPT_FIELDS_ALWAYS;
	uint64_t wanted = (g->seen_in_attempt & ~always) != 0 ? all : always;

	g->v->missing += bits(wanted & ~g->seen_in_attempt);
	return true;
}

/* In the attempts: an array of objects, in each of which nothing is nested that
 * we know. */
static bool
on_attempt_token(struct general *g, const struct json_token *t)
{
	if (t->depth == 2 && t->kind == JSON_OBJECT)
		return begin_attempt(g);
	if (t->depth == 2)
		return t->kind == JSON_OBJECT_END
		    ? end_attempt(g)
		    : bad(g, "an attempt is no object");
	if (t->depth > 3)
		return true;
	if (t->kind == JSON_KEY)
		return choose_field(g, t, attempt_fields,
		    COUNT_OF(attempt_fields),
		    &g->v->attempts[g->v->attempt_count - 1],
		    &g->seen_in_attempt);
	return take_value(g, t);
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct general *g = arg;

	if (t->depth == 0)
		return t->kind == JSON_OBJECT || t->kind == JSON_OBJECT_END ||
		    bad(g, "it is no JSON object");
	if (t->depth == 1 && t->kind == JSON_KEY)
		return choose_field(
		    g, t, line_fields, COUNT_OF(line_fields), g->v, &g->seen);
	if (t->depth > 1)
		return !g->in_attempts || on_attempt_token(g, t);
	if (g->in_attempts) { /* its end */
		g->in_attempts = false;
		g->next = 0;
		return true;
	}
	return take_value(g, t);
}

bool
view_read_json(struct ledger_view *v, struct slice line, struct fault *why)
{
	struct general g = {.v = v, .why = why, .text = line.p};
	struct json_scan scan;

	json_scan_init(&scan, on_token, &g, UINT_MAX);
	if (json_scan_feed(&scan, line.p, line.len) == JSON_DONE || g.is_bad) {
		v->missing += (unsigned)COUNT_OF(line_fields) - bits(g.seen);
		return !g.is_bad;
	}
	return fault_set(why, "it is broken JSON at byte %llu",
	    (unsigned long long)json_scan_offset(&scan) + 1);
}
