#include "metering/ledger/check_memory.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "metering/price.h"

#include "base/banned.h"

#define FILE_MODE 0600

const struct checked_segment *
check_memory_find(const struct check_memory *m, const struct segment_id *id)
{
	for (size_t i = 0; i < m->count; i++)
		if (segment_id_compare(&m->items[i].id, id) == 0)
			return &m->items[i];
	return NULL;
}

void
check_memory_add(struct check_memory *m, struct checked_segment *one)
{
	if (m->count == m->room) {
		m->room = m->room == 0 ? 16 : 2 * m->room;
		m->items = xrealloc_array(m->items, m->room, sizeof *m->items);
	}
	m->items[m->count++] = *one;
	one->sums = (struct check_sums){0};
}

void
check_memory_copy(struct check_memory *m, const struct checked_segment *from)
{
	struct checked_segment one = *from;

	one.sums = (struct check_sums){0};
	check_sums_add(&one.sums, &from->sums);
	for (size_t i = 0; i < from->sums.run_count; i++)
		check_sums_add_run(&one.sums, &from->sums.runs[i]);
	check_memory_add(m, &one);
}

static bool
is_gone(const struct segments *list, const struct segment_id *id)
{
	bool has_older = false;

	for (size_t i = 0; i < segments_count(list); i++) {
		const struct segment *s = segments_at(list, i);
		int order = segment_id_compare(&s->id, id);

		if (order == 0)
			return false;
		has_older |= order < 0 && s->id.writer[0] != '\0';
	}
	return has_older;
}

size_t
check_memory_next_gone(
    const struct check_memory *m, const struct segments *list, size_t i)
{
	while (i < m->count && !is_gone(list, &m->items[i].id))
		i++;
	return i;
}

static void
put_uint(struct json_out *o, const char *name, uint64_t n)
{
	json_member_int(o, name, (int64_t)n);
}

static void
put_hash(struct json_out *o, const unsigned char hash[CHECK_HASH_BYTES])
{
	char text[2 * CHECK_HASH_BYTES + 1];

	for (size_t i = 0; i < CHECK_HASH_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
	json_member_string(o, "sha256", slice_of(text));
}

static void
put_run(struct json_out *o, const struct check_run *run)
{
	json_open(o, '{');
	json_member_string(o, "writer", slice_of(run->writer));
	put_uint(o, "first", run->first);
	put_uint(o, "last", run->last);
	json_close(o, '}');
}

static void
put_user(struct json_out *o, struct slice name, const struct check_user *u)
{
	char cost[MONEY_TEXT_BYTES];

	money_format(cost, u->cost_pusd);
	json_open(o, '{');
	json_member_string(o, "user", name);
	put_uint(o, "requests", u->requests);
	put_uint(o, "input_tokens", u->input_tokens);
	put_uint(o, "cached_tokens", u->cached_tokens);
	put_uint(o, "output_tokens", u->output_tokens);
	put_uint(o, "reasoning_tokens", u->reasoning_tokens);
	json_member_string(o, "cost_usd", slice_of(cost));
	json_close(o, '}');
}

static void
put_segment(struct json_out *o, const struct checked_segment *one)
{
	json_open(o, '{');
	json_member_string(o, "writer", slice_of(one->id.writer));
	put_uint(o, "seq", one->id.seq);
	put_uint(o, "file_size", one->file_size);
	put_uint(o, "mtime_ns", (uint64_t)one->mtime_ns);
	put_uint(o, "inode", one->inode);
	put_uint(o, "text_size", one->text_size);
	put_hash(o, one->hash);
	put_uint(o, "lines", one->sums.lines);
	json_key(o, "runs");
	json_open(o, '[');
	for (size_t i = 0; i < one->sums.run_count; i++)
		put_run(o, &one->sums.runs[i]);
	json_close(o, ']');
	json_key(o, "users");
	json_open(o, '[');
	for (size_t i = 0; i < one->sums.names.count; i++)
		put_user(o, one->sums.names.names[i], &one->sums.users[i]);
	json_close(o, ']');
	json_close(o, '}');
}

bool
check_memory_save(
    const struct check_memory *m, const char *path, struct fault *why)
{
	struct buf text = {0};
	struct json_out o = json_out_to(&text);
	bool ok;

	json_open(&o, '{');
	json_member_int(&o, "schema", CHECK_MEMORY_SCHEMA);
	json_key(&o, "segments");
	json_open(&o, '[');
	for (size_t i = 0; i < m->count; i++)
		put_segment(&o, &m->items[i]);
	json_close(&o, ']');
	json_close(&o, '}');
	buf_puts(&text, "\n");
	ok =
	    file_replace(path, buf_data(&text), buf_len(&text), FILE_MODE, why);
	buf_release(&text);
	return ok;
}

void
check_memory_release(struct check_memory *m)
{
	for (size_t i = 0; i < m->count; i++)
		check_sums_release(&m->items[i].sums);
	free(m->items);
	*m = (struct check_memory){0};
}
