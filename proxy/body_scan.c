#include "proxy/body_scan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json_scan.h"

#include "base/banned.h"

/* Strings from this length on are looked at wherever they stand: an image as a
 * data: URL is no prompt text. */
#define LONG_STRING_BYTES 1024
#define COUNT_TEXT_BYTES 64 /* that a count is read from */

/* Members whose value means something here. */
enum member { M_OTHER, M_MODEL, M_STREAM, M_STREAM_OPTIONS, M_MAX_TOKENS, M_N };

struct scan {
	const char *body;
	struct body_facts *facts;
	struct arena *arena;
	struct fault *why;
	enum member member;     /* whose value is being read */
	const char *option;     /* of stream_options: whose value comes next, */
	struct body_option *to; /* ...and where it goes; NULL: nobody's */
	size_t room;            /* members that fit at facts->members */
};

static enum member
known_member(const struct json_token *key)
{
	static const struct {
		const char *name;
		enum member member;
	} known[] = {{"model", M_MODEL}, {"stream", M_STREAM},
	    {"stream_options", M_STREAM_OPTIONS}, {"max_tokens", M_MAX_TOKENS},
	    {"max_completion_tokens", M_MAX_TOKENS},
	    {"max_output_tokens", M_MAX_TOKENS}, {"n", M_N}, {"best_of", M_N}};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (json_token_is(key, known[i].name))
			return known[i].member;
	return M_OTHER;
}

/* The text of a string or key, whole and without its escapes: in the body, or
 * in the arena.  {NULL, 0} if it cannot be decoded. */
static struct slice
whole_text(struct scan *s, const struct json_token *t)
{
	struct slice text = {
	    s->body + t->begin + 1, (size_t)(t->end - t->begin) - 2};
	char *plain;
	size_t len;

	if (!t->has_escapes)
		return text;
	plain = arena_alloc(s->arena, text.len + 1);
	len = json_decode(text, plain, text.len);
	if (len == SIZE_MAX)
		return (struct slice){NULL, 0};
	return (struct slice){plain, len};
}

static struct body_member *
find_member(const struct body_facts *f, struct slice name)
{
	uint64_t hash = text_hash(name.p, name.len);

	for (size_t i = 0; i < f->member_count; i++) {
		struct body_member *m = &f->members[i];

		if (m->hash == hash && m->name.len == name.len &&
		    memcmp(m->name.p, name.p, name.len) == 0)
			return m;
	}
	return NULL;
}

static void
grow_members(struct scan *s)
{
	struct body_member *more;

	s->room = s->room == 0 ? 16 : s->room * 4;
	more = arena_alloc(s->arena, s->room * sizeof *more);
	if (s->facts->member_count > 0)
		memcpy(more, s->facts->members,
		    s->facts->member_count * sizeof *more);
	s->facts->members = more;
}

static bool
begin_member(struct scan *s, const struct json_token *key)
{
	struct body_facts *f = s->facts;
	struct slice name = whole_text(s, key);

	if (name.len > BODY_NAME_MOST_BYTES)
		return fault_set(s->why,
		    "A top-level member's name is longer than %d bytes.",
		    BODY_NAME_MOST_BYTES);
	if (name.p == NULL)
		return fault_set(s->why, "A member's name is no valid string.");
	if (find_member(f, name) != NULL)
		return fault_set(s->why,
		    "The body has the member \"%.*s\" twice.",
		    (int)(name.len > 64 ? 64 : name.len), name.p);
	if (f->member_count == BODY_MEMBERS_MOST)
		return fault_set(s->why,
		    "The body has more than %d top-level members.",
		    BODY_MEMBERS_MOST);
	if (f->member_count == s->room)
		grow_members(s);
	f->members[f->member_count++] =
	    (struct body_member){.key_begin = (uint32_t)key->begin,
		.name = name,
		.hash = text_hash(name.p, name.len)};
	s->member = known_member(key);
	return true;
}

static bool
take_model(struct scan *s, const struct json_token *t)
{
	if (t->kind != JSON_STRING)
		return fault_set(s->why, "\"model\" must be a string.");
	s->facts->model = whole_text(s, t);
	if (s->facts->model.p == NULL)
		return fault_set(s->why, "\"model\" is no valid string.");
	s->facts->has_model = true;
	return true;
}

/* A positive number in any form that a lenient server may take for one (100,
 * 1e2, 100.0, "100"), rounded up and INT32_MAX at most; or 0: anything else was
 * not given.  What is reserved must not be less than what may be served. */
static uint64_t
count_of(const struct json_token *t)
{
	char text[COUNT_TEXT_BYTES], *end;
	uint64_t v;
	double d;

	if (t->kind != JSON_NUMBER && t->kind != JSON_STRING)
		return 0;
	if (text_to_u64(t->text, INT32_MAX, &v))
		return v;
	snprintf(text, sizeof text, "%.*s", (int)t->text.len, t->text.p);
	d = strtod(text, &end);
	if (end == text || (*end != '\0' && *end != ' ') || !(d > 0))
		return 0;
	if (d >= INT32_MAX)
		return INT32_MAX;
	v = (uint64_t)d;
	return (double)v < d ? v + 1 : v;
}

static bool
take_value(struct scan *s, const struct json_token *t)
{
	struct body_facts *f = s->facts;
	uint64_t v;

	switch (s->member) {
	case M_MODEL:
		return take_model(s, t);
	case M_STREAM:
		if (t->kind != JSON_TRUE && t->kind != JSON_FALSE &&
		    t->kind != JSON_NULL)
			return fault_set(
			    s->why, "\"stream\" must be true or false.");
		f->is_stream = t->kind == JSON_TRUE;
		return true;
	case M_STREAM_OPTIONS:
		f->has_stream_options = true;
		f->stream_options_is_object = t->kind == JSON_OBJECT;
		f->stream_options_is_empty = true;
		return true;
	case M_MAX_TOKENS:
		v = count_of(t);
		if (v > f->max_tokens)
			f->max_tokens = v;
		return true;
	case M_N:
		v = count_of(t);
		if (v > f->n)
			f->n = v;
		return true;
	case M_OTHER:
		return true;
	}
	return true;
}

/* Which option of stream_options it is; NULL: one that is passed on. */
static struct body_option *
known_option(struct scan *s, const struct json_token *key)
{
	s->option = "include_usage";
	if (json_token_is(key, s->option))
		return &s->facts->include_usage;
	s->option = "continuous_usage_stats";
	if (json_token_is(key, s->option))
		return &s->facts->running_usage;
	return NULL;
}

/* Inside stream_options, the one nested object that is looked into. */
static bool
take_stream_option(struct scan *s, const struct json_token *t)
{
	struct body_option *to = s->to;

	if (t->kind == JSON_KEY) {
		s->facts->stream_options_is_empty = false;
		s->to = known_option(s, t);
		if (s->to != NULL && s->to->is_there)
			return fault_set(s->why,
			    "stream_options has \"%s\" twice.", s->option);
		return true;
	}
	if (to == NULL)
		return true;
	if (t->kind == JSON_OBJECT || t->kind == JSON_ARRAY)
		return fault_set(
		    s->why, "\"%s\" must be true or false.", s->option);
	*to = (struct body_option){.is_there = true,
	    .is_true = t->kind == JSON_TRUE,
	    .begin = (uint32_t)t->begin,
	    .end = (uint32_t)t->end};
	s->to = NULL;
	return true;
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct scan *s = arg;
	struct body_facts *f = s->facts;

	if (t->kind == JSON_STRING && t->size >= LONG_STRING_BYTES &&
	    slice_starts(t->text, "data:"))
		f->data_bytes += t->size;
	if (t->depth == 0) {
		if (t->kind == JSON_OBJECT)
			f->object_begin = (uint32_t)t->begin;
		else if (t->kind == JSON_OBJECT_END)
			f->object_end = (uint32_t)t->begin;
		else
			return fault_set(
			    s->why, "The body must be a JSON object.");
		return true;
	}
	if (t->depth == 1 && t->kind == JSON_KEY)
		return begin_member(s, t);
	if (t->depth == 1) {
		struct body_member *m = &f->members[f->member_count - 1];

		m->value_end = (uint32_t)t->end;
		if (t->kind == JSON_OBJECT_END || t->kind == JSON_ARRAY_END)
			return true;
		m->value_begin = (uint32_t)t->begin;
		return take_value(s, t);
	}
	if (t->depth == 2 && s->member == M_STREAM_OPTIONS)
		return take_stream_option(s, t);
	return true;
}

bool
body_scan(const char *p, size_t len, struct arena *arena,
    struct body_facts *facts, struct fault *why)
{
	struct scan s = {.body = p, .facts = facts, .arena = arena, .why = why};
	struct json_scan json;
	enum json_verdict v;

	*facts = (struct body_facts){0};
	/* Depth 2 is reported for the sake of stream_options. */
	json_scan_init(&json, on_token, &s, 2);
	json.report_size = LONG_STRING_BYTES;
	v = json_scan_feed(&json, p, len);
	if (v == JSON_DONE || v == JSON_MORE)
		v = json_scan_end(&json);
	if (facts->n == 0)
		facts->n = 1;
	if (v == JSON_DONE)
		return true;
	if (v == JSON_STOP)
		return false; /* on_token() said why */
	return fault_set(why,
	    len == 0 ? "The body is empty; it must be a JSON object."
		     : "The body is not valid JSON (at byte %llu).",
	    (unsigned long long)json_scan_offset(&json));
}

const struct body_member *
body_member(const struct body_facts *facts, const char *name)
{
	return find_member(facts, slice_of(name));
}
