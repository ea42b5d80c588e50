#include "proxy/body_edit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"

#include "base/banned.h"

/* Bytes begin..end of the body are replaced by `text`; an insertion has
 * begin == end. */
struct splice {
	uint32_t begin, end;
	const char *text;
	size_t len;
};

struct edit {
	struct arena *arena;
	const char *body;
	const struct body_facts *facts;
	struct splice *splices;
	size_t count;
	size_t left;       /* members of the object that remain */
	struct buf *added; /* new members, joined by commas */
};

static void
splice(struct edit *e, uint32_t begin, uint32_t end, const char *text)
{
	e->splices[e->count++] =
	    (struct splice){begin, end, text, strlen(text)};
}

/* New members go before the closing brace, all in one splice. */
static void
add_member(struct edit *e, const char *name, const char *json)
{
	struct json_out o = json_out_to(e->added);

	o.needs_comma = buf_len(e->added) > 0;
	json_key(&o, name);
	json_raw(&o, slice_of(json));
}

static void
set_member(struct edit *e, const char *name, const char *json)
{
	const struct body_member *m = body_member(e->facts, name);

	if (m != NULL)
		splice(e, m->value_begin, m->value_end, json);
	else
		add_member(e, name, json);
}

/* Where the member's bytes end: behind the comma that follows it, or at its
 * value's end if it is the last. */
static uint32_t
end_with_comma(const struct edit *e, const struct body_member *m)
{
	uint32_t at = m->value_end;

	while (at < e->facts->object_end && e->body[at] != ',')
		at++;
	return at < e->facts->object_end ? at + 1 : m->value_end;
}

/* Takes a member out.  One that has a neighbour behind it goes with the comma
 * behind it; the last goes with the comma before it, unless what stands before
 * it has gone, too. */
static void
drop_member(struct edit *e, const struct body_member *m)
{
	splice(e, m->key_begin, end_with_comma(e, m), "");
	e->left--;
}

static void
apply_param(struct edit *e, const struct param_config *p)
{
	const struct body_member *m = body_member(e->facts, p->name);

	switch (p->action) {
	case PARAM_SET:
		set_member(e, p->name, p->json);
		break;
	case PARAM_DEFAULT:
		if (m == NULL)
			add_member(e, p->name, p->json);
		break;
	case PARAM_DROP:
		if (m != NULL)
			drop_member(e, m);
		break;
	}
}

/* An option that stands there is made true in its place; the others are put in
 * at the object's beginning, all in one splice. */
static const char *
ask_option(struct edit *e, const struct body_option *o, const char *text)
{
	if (!o->is_there)
		return text;
	splice(e, o->begin, o->end, "true");
	return "";
}

static void
ask_usage(struct edit *e, struct body_asks asks)
{
	const struct body_facts *f = e->facts;
	const struct body_member *m = body_member(f, "stream_options");
	const char *usage = "", *running = "", *more;

	if (m == NULL || !f->stream_options_is_object) {
		set_member(e, "stream_options",
		    asks.running ? "{\"include_usage\":true,"
				   "\"continuous_usage_stats\":true}"
				 : "{\"include_usage\":true}");
		return;
	}
	if (asks.usage)
		usage =
		    ask_option(e, &f->include_usage, "\"include_usage\":true,");
	if (asks.running)
		running = ask_option(
		    e, &f->running_usage, "\"continuous_usage_stats\":true,");
	if (*usage == '\0' && *running == '\0')
		return;
	more = arena_printf(e->arena, "%s%s", usage, running);
	splice(e, m->value_begin + 1, m->value_begin + 1, more);
	if (f->stream_options_is_empty)
		e->splices[e->count - 1].len--; /* without the last comma */
}

static int
by_place(const void *a, const void *b)
{
	const struct splice *x = a, *y = b;

	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Puts the new members in before the closing brace.  A comma stands before them
 * if any member of the client's is left; if the last of those was dropped, the
 * comma that it leaves behind serves, or is taken away. */
static void
finish_object(struct edit *e)
{
	const struct body_facts *f = e->facts;
	uint32_t last_kept_end = f->object_begin + 1;
	bool last_dropped = false;

	for (size_t i = 0; i < f->member_count; i++) {
		const struct body_member *m = &f->members[i];
		bool dropped = false;

		for (size_t k = 0; k < e->count; k++)
			dropped |= e->splices[k].begin == m->key_begin &&
			    e->splices[k].len == 0;
		last_dropped = dropped;
		if (!dropped)
			last_kept_end = m->value_end;
	}
	if (last_dropped) {
		/* Everything from the last kept member to the brace goes. */
		size_t kept = 0;

		for (size_t k = 0; k < e->count; k++)
			if (e->splices[k].begin < last_kept_end)
				e->splices[kept++] = e->splices[k];
		e->count = kept;
		splice(e, last_kept_end, f->object_end, "");
	}
	if (buf_len(e->added) > 0)
		splice(e, f->object_end, f->object_end,
		    arena_printf(e->arena, "%s%.*s", e->left > 0 ? "," : "",
			(int)buf_len(e->added), buf_data(e->added)));
}

static void
add_piece(struct body_pieces *out, const char *p, size_t len)
{
	if (len == 0)
		return;
	out->v[out->count++] = (struct iovec){(void *)(uintptr_t)p, len};
	out->len += len;
}

void
body_edit(struct body_pieces *out, struct arena *arena, const char *body,
    size_t len, const struct body_facts *facts,
    const struct route_config *route, struct body_asks asks)
{
	/* The model, the response before, two for the usage, two at the brace,
	 * one for each param. */
	size_t most = route->params.count + 6;
	struct buf added = {0};
	struct edit e = {.arena = arena,
	    .body = body,
	    .facts = facts,
	    .left = facts->member_count,
	    .added = &added};
	size_t at = 0;

	e.splices = arena_alloc(arena, most * sizeof *e.splices);
	set_member(&e, "model", route->model_json);
	if (asks.previous_response != NULL)
		set_member(&e, "previous_response_id", asks.previous_response);
	for (size_t i = 0; i < route->params.count; i++)
		apply_param(&e, &route->params.params[i]);
	if (asks.usage || asks.running)
		ask_usage(&e, asks);
	finish_object(&e);
	buf_release(&added);
	qsort(e.splices, e.count, sizeof *e.splices, by_place);
	*out = (struct body_pieces){0};
	out->v = arena_alloc(arena, (2 * e.count + 1) * sizeof *out->v);
	for (size_t i = 0; i < e.count; i++) {
		/* No two edits meet: the configuration sees to it. */
		assert(e.splices[i].begin >= at);
		add_piece(out, body + at, e.splices[i].begin - at);
		add_piece(out, e.splices[i].text, e.splices[i].len);
		at = e.splices[i].end;
	}
	add_piece(out, body + at, len - at);
}

struct body_asks
body_asks(
    const struct body_facts *f, enum server_kind kind, enum server_api api)
{
	const struct body_option *usage = &f->include_usage;
	const struct body_option *running = &f->running_usage;
	/* Counts on the way are shown with the usage, never without. */
	bool shows_running =
	    running->is_true && (usage->is_true || !usage->is_there);
	bool has_options =
	    f->is_stream && (api == API_CHAT || api == API_COMPLETIONS);
	struct body_asks asks = {
	    .usage = has_options && kind_has(kind, KIND_ASKS_USAGE) &&
		!usage->is_true,
	    .running = has_options && kind_has(kind, KIND_RUNS_USAGE) &&
		!shows_running,
	};

	asks.hides = asks.usage && !shows_running;
	return asks;
}
