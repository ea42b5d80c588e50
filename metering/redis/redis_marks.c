#include "metering/redis/redis_marks.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

#define AT "at:"

void
redis_marks_release(struct redis_marks *m)
{
	for (size_t i = 0; i < m->gateway_count; i++) {
		free(m->gateways[i].name);
		free(m->gateways[i].state);
	}
	free(m->gateways);
	free(m->marks);
	free(m->gaps);
	*m = (struct redis_marks){0};
}

static struct redis_reply *
get_hash(struct redis_store *s, const char *rest, struct slice more,
    struct redis_problem *p)
{
	struct redis_args a = {0};
	struct redis_reply *r;

	redis_args_text(&a, "HGETALL");
	redis_store_key(s, &a, rest, more);
	r = redis_store_ask(s, &a, p);
	redis_args_release(&a);
	if (r != NULL && (r->kind != REDIS_ARRAY || r->count % 2 != 0)) {
		redis_reply_destroy(&r);
		redis_problem_set(
		    p, REDIS_HOSTILE, "its answer to HGETALL makes no sense");
	}
	return r;
}

struct redis_mark *
redis_marks_find(const struct redis_marks *m, struct slice writer)
{
	for (size_t i = 0; i < m->mark_count; i++)
		if (slice_is(writer, m->marks[i].writer))
			return &m->marks[i];
	return NULL;
}

static struct redis_mark *
find_or_add(struct redis_marks *m, struct slice writer)
{
	struct redis_mark *mark = redis_marks_find(m, writer);

	if (mark != NULL)
		return mark;
	m->marks =
	    xrealloc_array(m->marks, m->mark_count + 1, sizeof *m->marks);
	mark = &m->marks[m->mark_count++];
	*mark = (struct redis_mark){0};
	memcpy(mark->writer, writer.p, writer.len);
	return mark;
}

static bool
read_record(struct redis_marks *m, struct redis_store *s, const char *name,
    bool is_again, struct redis_problem *p)
{
	struct redis_reply *r = get_hash(s, "gateway:", slice_of(name), p);

	if (r == NULL)
		return false;
	for (size_t i = 0; i + 1 < r->count; i += 2) {
		struct slice field = redis_reply_text(r, i);
		struct redis_mark *mark;
		uint64_t seq;

		if (field.p == NULL || !slice_starts(field, AT) ||
		    field.len != strlen(AT) + ULID_CHARS ||
		    !redis_reply_number(r, i + 1, &seq))
			continue;
		field.p += strlen(AT);
		field.len -= strlen(AT);
		mark = find_or_add(m, field);
		mark->is_ours = strcmp(name, redis_store_name(s)) == 0;
		mark->after = seq;
		if (!is_again)
			mark->before = seq;
	}
	redis_reply_destroy(&r);
	return true;
}

static bool
read_gateways(
    struct redis_marks *m, struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = get_hash(s, "gateways", SLICE(""), p);

	if (r == NULL)
		return false;
	m->gateways = xcalloc_array(r->count / 2 + 1, sizeof *m->gateways);
	for (size_t i = 0; i + 1 < r->count; i += 2) {
		struct slice name = redis_reply_text(r, i);
		struct slice state = redis_reply_text(r, i + 1);
		struct redis_gateway *g = &m->gateways[m->gateway_count];

		if (name.p == NULL || state.p == NULL)
			continue;
		g->name = xstrndup(name.p, name.len);
		g->state = xstrndup(state.p, state.len);
		m->gateway_count++;
	}
	redis_reply_destroy(&r);
	return true;
}

/* "WRITER first-last" */
static bool
read_gap(struct slice text, struct redis_gap *gap)
{
	const char *dash;
	struct slice first, last;

	if (text.p == NULL || text.len < ULID_CHARS + 4 ||
	    text.p[ULID_CHARS] != ' ')
		return false;
	*gap = (struct redis_gap){0};
	memcpy(gap->writer, text.p, ULID_CHARS);
	first.p = text.p + ULID_CHARS + 1;
	last.len = text.len - ULID_CHARS - 1;
	if ((dash = memchr(first.p, '-', last.len)) == NULL)
		return false;
	first.len = (size_t)(dash - first.p);
	last.p = dash + 1;
	last.len -= first.len + 1;
	return text_to_u64(first, UINT64_MAX, &gap->first) &&
	    text_to_u64(last, UINT64_MAX, &gap->last);
}

static bool
read_gaps(struct redis_marks *m, struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = get_hash(s, "skipped", SLICE(""), p);

	if (r == NULL)
		return false;
	m->gaps = xcalloc_array(r->count / 2 + 1, sizeof *m->gaps);
	for (size_t i = 0; i + 1 < r->count; i += 2)
		if (read_gap(redis_reply_text(r, i), &m->gaps[m->gap_count]))
			m->gap_count++;
	redis_reply_destroy(&r);
	return true;
}

static bool
read_records(struct redis_marks *m, struct redis_store *s, bool is_again,
    struct redis_problem *p)
{
	for (size_t i = 0; i < m->gateway_count; i++)
		if (!read_record(m, s, m->gateways[i].name, is_again, p))
			return false;
	return true;
}

bool
redis_marks_read(
    struct redis_marks *m, struct redis_store *s, struct redis_problem *p)
{
	return read_gateways(m, s, p) && read_gaps(m, s, p) &&
	    read_records(m, s, false, p);
}

bool
redis_marks_read_again(
    struct redis_marks *m, struct redis_store *s, struct redis_problem *p)
{
	return read_records(m, s, true, p);
}

bool
redis_marks_in_gap(
    const struct redis_marks *m, struct slice writer, uint64_t seq)
{
	for (size_t i = 0; i < m->gap_count; i++)
		if (seq >= m->gaps[i].first && seq <= m->gaps[i].last &&
		    slice_is(writer, m->gaps[i].writer))
			return true;
	return false;
}
