#include "metering/redis/redis_reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

/* The numbers of elements are ints in hiredis 0.x, and sizes from 1.0 on. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

struct redis_reader {
	redisReader *parser;  /* owned; its values are struct redis_reply */
	size_t bytes, values; /* of the reply so far */
};

static const struct {
	const char *start, *meaning, *advice;
} troubles[] = {
#define X(name, start, meaning, advice) {start, meaning, advice},
    REDIS_TROUBLES(X)
#undef X
};

const char *
redis_trouble_meaning(enum redis_trouble t)
{
	return troubles[t].meaning;
}

const char *
redis_trouble_advice(enum redis_trouble t)
{
	return troubles[t].advice;
}

/* An error's first word is its code; one of a script has "ERR " before it in
 * some versions. */
static struct slice
code_of(struct slice error)
{
	const char *space;

	if (slice_starts(error, "ERR ")) {
		error.p += 4;
		error.len -= 4;
	}
	if (error.len > 0 && error.p[0] == '-') {
		error.p++;
		error.len--;
	}
	space = error.len == 0 ? NULL : memchr(error.p, ' ', error.len);
	if (space != NULL)
		error.len = (size_t)(space - error.p);
	return error;
}

/* Before 7.0 the code of what failed inside a script stands in its middle. */
static bool
has_code(struct slice error, const char *code)
{
	if (code[0] == '\0')
		return false;
	if (slice_starts(error, "ERR Error running script"))
		return memmem(error.p, error.len, code, strlen(code)) != NULL;
	return slice_is(code_of(error), code);
}

enum redis_trouble
redis_trouble_of(struct slice error)
{
	for (size_t i = 0; i < COUNT_OF(troubles); i++)
		if (has_code(error, troubles[i].start))
			return (enum redis_trouble)i;
	/* Before 6.0 a wrong password had no code of its own, and one that was
	 * not asked for still has none. */
	if (slice_starts(error, "ERR invalid password") ||
	    slice_starts(error, "ERR AUTH ") ||
	    slice_starts(error, "ERR Client sent AUTH"))
		return REDIS_PASSWORD;
	return REDIS_REFUSED;
}

void
redis_reply_destroy(struct redis_reply **rp)
{
	struct redis_reply *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	/* At most as deep as hiredis reads: 9. */
	for (size_t i = 0; i < r->count; i++)
		redis_reply_destroy(&r->items[i]);
	free(r->items);
	free((char *)r->text.p);
	free(r);
}

struct slice
redis_reply_text(const struct redis_reply *r, size_t i)
{
	if (r->kind != REDIS_ARRAY || i >= r->count ||
	    r->items[i]->kind != REDIS_TEXT)
		return (struct slice){NULL, 0};
	return r->items[i]->text;
}

bool
redis_reply_number(const struct redis_reply *r, size_t i, uint64_t *out)
{
	const struct redis_reply *item;

	if (r->kind != REDIS_ARRAY || i >= r->count)
		return false;
	item = r->items[i];
	if (item->kind == REDIS_TEXT)
		return text_to_u64(item->text, UINT64_MAX, out);
	*out = (uint64_t)item->integer;
	return item->kind == REDIS_INTEGER && item->integer >= 0;
}

/* --- what hiredis calls -------------------------------------------------- */

/* A value in its place; NULL makes hiredis give up. */
static struct redis_reply *
add(const redisReadTask *task, enum redis_kind kind)
{
	struct redis_reader *reader = task->privdata;
	struct redis_reply *r, *parent;

	if (++reader->values > REDIS_REPLY_MOST_VALUES)
		return NULL;
	r = xcalloc(sizeof *r);
	r->kind = kind;
	if (task->parent != NULL) {
		parent = task->parent->obj;
		parent->items[task->idx] = r;
	}
	return r;
}

static void *
on_string(const redisReadTask *task, char *p, size_t len)
{
	struct redis_reply *r = add(
	    task, task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : REDIS_TEXT);
	char *copy;

	if (r != NULL) {
		copy = xcalloc(len + 1); /* it may hold NULs */
		memcpy(copy, p, len);
		r->text = (struct slice){copy, len};
	}
	return r;
}

static void *
on_array(const redisReadTask *task, element_count count)
{
	struct redis_reader *reader = task->privdata;
	struct redis_reply *r;

	/* All that it announces must still have room. */
	if ((size_t)count > REDIS_REPLY_MOST_VALUES - reader->values)
		return NULL;
	r = add(task, REDIS_ARRAY);
	if (r != NULL && count > 0) {
		r->items = xcalloc_array((size_t)count, sizeof *r->items);
		r->count = (size_t)count;
	}
	return r;
}

static void *
on_integer(const redisReadTask *task, long long n)
{
	struct redis_reply *r = add(task, REDIS_INTEGER);

	if (r != NULL)
		r->integer = n;
	return r;
}

static void *
on_nil(const redisReadTask *task)
{
	return add(task, REDIS_NIL);
}

static void
on_free(void *p)
{
	struct redis_reply *r = p;

	redis_reply_destroy(&r);
}

#if HIREDIS_MAJOR >= 1
/* Types of RESP3, which we have not asked for. */
static void *
on_double(const redisReadTask *task, double value, char *p, size_t len)
{
	(void)task;
	(void)value;
	(void)p;
	(void)len;
	return NULL;
}

static void *
on_bool(const redisReadTask *task, int value)
{
	(void)task;
	(void)value;
	return NULL;
}
#endif

static redisReplyObjectFunctions functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
#if HIREDIS_MAJOR >= 1
    .createDouble = on_double,
    .createBool = on_bool,
#endif
    .freeObject = on_free,
};

struct redis_reader *
redis_reader_create(void)
{
	struct redis_reader *r = xcalloc(sizeof *r);

	r->parser = redisReaderCreateWithFunctions(&functions);
	if (r->parser == NULL)
		abort();
	r->parser->privdata = r;
	return r;
}

void
redis_reader_destroy(struct redis_reader **rp)
{
	struct redis_reader *r = *rp;

	*rp = NULL;
	if (r == NULL)
		return;
	redisReaderFree(r->parser);
	free(r);
}

enum redis_read
redis_reader_next(struct redis_reader *r, const char *p, size_t len,
    struct redis_reply **out, struct fault *why)
{
	void *reply = NULL;

	*out = NULL;
	r->bytes += len;
	if (r->bytes > REDIS_REPLY_MOST_BYTES) {
		fault_set(why, "its answer is longer than %u bytes",
		    REDIS_REPLY_MOST_BYTES);
		return REDIS_READ_BAD;
	}
	if (redisReaderFeed(r->parser, p, len) != REDIS_OK ||
	    redisReaderGetReply(r->parser, &reply) != REDIS_OK) {
		fault_set(why, "its answer is not RESP, or too large: %.100s",
		    r->parser->errstr);
		return REDIS_READ_BAD;
	}
	if (reply == NULL)
		return REDIS_READ_MORE;
	*out = reply;
	r->bytes = r->parser->len - r->parser->pos;
	r->values = 0;
	return REDIS_READ_DONE;
}

enum redis_read
redis_reader_feed(struct redis_reader *r, const char *p, size_t len,
    struct redis_reply **out, struct fault *why)
{
	enum redis_read result = redis_reader_next(r, p, len, out, why);

	if (result != REDIS_READ_DONE || r->bytes == 0)
		return result;
	redis_reply_destroy(out);
	fault_set(why, "something comes behind its answer");
	return REDIS_READ_BAD;
}
