/* Reads what check_memory.c writes.  The door is check_memory.h. */
#include <jansson.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/file.h"
#include "metering/ledger/check_memory.h"
#include "metering/price.h"

#include "base/banned.h"

#define FILE_MOST_BYTES (64 * 1024 * 1024)

/* Sets *ok to false if the member is missing or no such number. */
static uint64_t
get_uint(const json_t *object, const char *name, bool *ok)
{
	const json_t *value = json_object_get(object, name);
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0)
		*ok = false;
	return (uint64_t)n;
}

static struct slice
get_text(const json_t *object, const char *name, bool *ok)
{
	const json_t *value = json_object_get(object, name);

	if (!json_is_string(value)) {
		*ok = false;
		return SLICE("");
	}
	return (struct slice){
	    json_string_value(value), json_string_length(value)};
}

static void
get_writer(const json_t *object, char to[ULID_CHARS + 1], bool *ok)
{
	struct slice text = get_text(object, "writer", ok);

	if (text.len == ULID_CHARS)
		memcpy(to, text.p, ULID_CHARS);
	else
		*ok = false;
}

static void
get_hash(const json_t *object, unsigned char hash[CHECK_HASH_BYTES], bool *ok)
{
	struct slice text = get_text(object, "sha256", ok);

	if (text.len != 2 * CHECK_HASH_BYTES) {
		*ok = false;
		return;
	}
	for (size_t i = 0; i < CHECK_HASH_BYTES; i++)
		if (sscanf(text.p + 2 * i, "%2hhx", &hash[i]) != 1)
			*ok = false;
}

static void
get_user(const json_t *object, struct check_sums *s, bool *ok)
{
	struct check_user *u = check_sums_user(s, get_text(object, "user", ok));

	u->requests = get_uint(object, "requests", ok);
	u->input_tokens = get_uint(object, "input_tokens", ok);
	u->cached_tokens = get_uint(object, "cached_tokens", ok);
	u->output_tokens = get_uint(object, "output_tokens", ok);
	u->reasoning_tokens = get_uint(object, "reasoning_tokens", ok);
	if (!money_parse(get_text(object, "cost_usd", ok), &u->cost_pusd))
		*ok = false;
}

static void
get_run(const json_t *object, struct check_sums *s, bool *ok)
{
	struct check_run run = {0};

	get_writer(object, run.writer, ok);
	run.first = get_uint(object, "first", ok);
	run.last = get_uint(object, "last", ok);
	check_sums_add_run(s, &run);
}

static void
get_segment(const json_t *object, struct check_memory *m)
{
	struct checked_segment one = {0};
	const json_t *each;
	bool ok = true;
	size_t i;

	get_writer(object, one.id.writer, &ok);
	one.id.seq = get_uint(object, "seq", &ok);
	one.file_size = get_uint(object, "file_size", &ok);
	one.mtime_ns = (int64_t)get_uint(object, "mtime_ns", &ok);
	one.inode = get_uint(object, "inode", &ok);
	one.text_size = get_uint(object, "text_size", &ok);
	get_hash(object, one.hash, &ok);
	one.sums.lines = get_uint(object, "lines", &ok);
	json_array_foreach(json_object_get(object, "runs"), i, each)
	    get_run(each, &one.sums, &ok);
	json_array_foreach(json_object_get(object, "users"), i, each)
	    get_user(each, &one.sums, &ok);
	if (ok)
		check_memory_add(m, &one);
	check_sums_release(&one.sums);
}

void
check_memory_load(struct check_memory *m, const char *path)
{
	struct buf text = {0};
	json_t *root = NULL;
	const json_t *each;
	bool ok = true;
	size_t i;

	if (file_read(path, FILE_MOST_BYTES, false, &text, NULL))
		root = json_loadb(buf_data(&text), buf_len(&text), 0, NULL);
	if (root != NULL &&
	    get_uint(root, "schema", &ok) == CHECK_MEMORY_SCHEMA && ok)
		json_array_foreach(json_object_get(root, "segments"), i, each)
		    get_segment(each, m);
	json_decref(root);
	buf_release(&text);
}
