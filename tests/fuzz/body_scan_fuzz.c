/*
 * body_scan_fuzz.c - a request's body, scanned and edited: what comes out of a
 * good body is a good body with the route's model, and nothing lost or added
 * but what the route says.
 *
 * The input's first byte chooses the route's params, the rest is the body.
 */
#undef NDEBUG /* the checks are what this is for */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "proxy/body_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct param_config params[] = {
    {PARAM_SET, "a", "{\"b\":[1,2]}"},
    {PARAM_DEFAULT, "max_tokens", "16"},
    {PARAM_DROP, "messages", NULL},
    {PARAM_DROP, "n", NULL},
    {PARAM_SET, "", "null"},
    {PARAM_DROP, "b", NULL},
};

static bool
is_same_value(struct slice before, const struct body_member *m,
    struct slice after, const struct body_member *k)
{
	size_t len = m->value_end - m->value_begin;

	return k != NULL && k->value_end - k->value_begin == len &&
	    memcmp(before.p + m->value_begin, after.p + k->value_begin, len) ==
	    0;
}

static const struct param_config *
param_of(const struct params_config *p, struct slice name)
{
	for (size_t i = 0; i < p->count; i++)
		if (slice_is(name, p->params[i].name))
			return &p->params[i];
	return NULL;
}

static const struct body_member *
find(const struct body_facts *f, struct slice name)
{
	for (size_t i = 0; i < f->member_count; i++)
		if (f->members[i].name.len == name.len &&
		    memcmp(f->members[i].name.p, name.p, name.len) == 0)
			return &f->members[i];
	return NULL;
}

/* Members of the client's are as they were, or as the route wants them. */
static void
check_members(struct slice before, const struct body_facts *facts,
    struct slice after, const struct body_facts *edited,
    const struct route_config *route, bool asks_usage)
{
	size_t count = facts->member_count + !facts->has_model +
	    (asks_usage && !facts->has_stream_options);

	for (size_t i = 0; i < facts->member_count; i++) {
		const struct body_member *m = &facts->members[i];
		const struct param_config *p =
		    param_of(&route->params, m->name);
		const struct body_member *k = find(edited, m->name);

		if (slice_is(m->name, "model") ||
		    (asks_usage && slice_is(m->name, "stream_options")))
			assert(k != NULL);
		else if (p == NULL || p->action == PARAM_DEFAULT)
			assert(is_same_value(before, m, after, k));
		else
			assert((k == NULL) == (p->action == PARAM_DROP));
	}
	for (size_t i = 0; i < route->params.count; i++) {
		const struct param_config *p = &route->params.params[i];
		bool was_there = body_member(facts, p->name) != NULL;

		if (p->action == PARAM_DROP)
			count -= was_there;
		else
			count += !was_there;
		assert((body_member(edited, p->name) != NULL) ==
		    (p->action != PARAM_DROP));
	}
	assert(edited->member_count == count);
}

static void
edit(struct slice body, const struct body_facts *facts, struct arena *arena,
    const struct route_config *route, struct body_asks asks)
{
	struct body_pieces pieces;
	struct body_facts edited;
	struct buf text = {0};
	struct slice after;
	struct fault why;

	body_edit(&pieces, arena, body.p, body.len, facts, route, asks);
	for (size_t i = 0; i < pieces.count; i++)
		buf_put(&text, pieces.v[i].iov_base, pieces.v[i].iov_len);
	after = (struct slice){buf_data(&text), buf_len(&text)};
	assert(pieces.len == after.len);
	/* Only what was added can make it more than may be. */
	if (facts->member_count + COUNT_OF(params) + 2 <= BODY_MEMBERS_MOST) {
		assert(body_scan(after.p, after.len, arena, &edited, &why));
		assert(edited.has_model && slice_is(edited.model, "route's"));
		assert(edited.is_stream == facts->is_stream);
		assert(!asks.usage || edited.include_usage.is_true);
		assert(!asks.running || edited.running_usage.is_true);
		check_members(body, facts, after, &edited, route,
		    asks.usage || asks.running);
	}
	buf_release(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct param_config chosen[COUNT_OF(params)];
	struct route_config route = {
	    .model_json = "\"route's\"", .params = {chosen, 0}};
	struct body_facts facts;
	struct arena arena;
	struct fault why = {""};
	struct slice body;
	char *copy;

	if (size < 1)
		return 0;
	for (size_t i = 0; i < COUNT_OF(params); i++)
		if ((data[0] >> i & 1) != 0)
			chosen[route.params.count++] = params[i];
	copy = malloc(size - 1);
	memcpy(copy, data + 1, size - 1);
	body = (struct slice){copy, size - 1};
	arena_init(&arena);
	if (body_scan(body.p, body.len, &arena, &facts, &why)) {
		assert(facts.member_count <= BODY_MEMBERS_MOST);
		assert(facts.data_bytes <= body.len && facts.n >= 1);
		struct body_asks asks = {.usage = (data[0] & 0x80) != 0,
		    .running = (data[0] & 0x40) != 0};

		edit(body, &facts, &arena, &route, asks);
	} else {
		assert(why.text[0] != '\0');
	}
	arena_release(&arena);
	free(copy);
	return 0;
}
