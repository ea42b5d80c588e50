#include "metering/learned.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "base/text.h"
#include "metering/usage.h"

#include "base/banned.h"

#define MICRO UINT64_C(1000000)
#define FILE_SCHEMA 1
#define FILE_MOST_BYTES (2u << 20)
#define FILE_MODE 0600

/* A new sample weighs this much, once there are as many. */
#define SAMPLES_REMEMBERED 32

struct ratio {
	uint32_t microbytes; /* a token; 0: nothing is known */
	uint32_t samples;    /* at most SAMPLES_REMEMBERED */
};

struct lesson {
	char *upstream, *model; /* owned */
	uint64_t hash;          /* of both */
	uint64_t taught;        /* counts up; the least was longest ago */
	struct ratio input, output;
};

struct learned {
	char *path; /* owned */
	pthread_mutex_t mutex;
	/* All below is guarded by it. */
	struct lesson lessons[LEARNED_MODELS_MOST];
	size_t count;
	uint64_t clock; /* the last `taught` */
	bool is_changed;
};

/* --- ratios -------------------------------------------------------------- */

static uint32_t
within(uint64_t microbytes)
{
	if (microbytes < LEARNED_LEAST_MICROBYTES)
		return LEARNED_LEAST_MICROBYTES;
	if (microbytes > LEARNED_MOST_MICROBYTES)
		return LEARNED_MOST_MICROBYTES;
	return (uint32_t)microbytes;
}

static bool
is_sample(uint64_t bytes, int64_t tokens)
{
	return bytes >= LEARNED_LEAST_BYTES && tokens >= LEARNED_LEAST_TOKENS &&
	    tokens <= USAGE_MOST_TOKENS && bytes <= UINT64_MAX / MICRO;
}

/* The first samples count alike, later ones push the older out. */
static void
teach(struct ratio *r, uint64_t bytes, int64_t tokens)
{
	int64_t sample, old = r->microbytes;

	if (!is_sample(bytes, tokens))
		return;
	sample = within(bytes * MICRO / (uint64_t)tokens);
	if (r->samples < SAMPLES_REMEMBERED)
		r->samples++;
	r->microbytes = (uint32_t)(old + (sample - old) / r->samples);
}

/* --- the table ----------------------------------------------------------- */

static uint64_t
hash_of(const char *upstream, const char *model)
{
	uint64_t a = text_hash(upstream, strlen(upstream));

	return a * UINT64_C(0x9e3779b97f4a7c15) ^
	    text_hash(model, strlen(model));
}

static struct lesson *
find(struct learned *l, const char *upstream, const char *model)
{
	uint64_t hash = hash_of(upstream, model);

	for (size_t i = 0; i < l->count; i++)
		if (l->lessons[i].hash == hash &&
		    strcmp(l->lessons[i].model, model) == 0 &&
		    strcmp(l->lessons[i].upstream, upstream) == 0)
			return &l->lessons[i];
	return NULL;
}

static void
forget(struct lesson *lesson)
{
	free(lesson->upstream);
	free(lesson->model);
	*lesson = (struct lesson){0};
}

/* A place for one more: when all are taken, that of the one taught longest ago.
 */
static struct lesson *
place(struct learned *l)
{
	struct lesson *oldest = &l->lessons[0];

	if (l->count < LEARNED_MODELS_MOST)
		return &l->lessons[l->count++];
	for (size_t i = 1; i < l->count; i++)
		if (l->lessons[i].taught < oldest->taught)
			oldest = &l->lessons[i];
	forget(oldest);
	return oldest;
}

static struct lesson *
find_or_add(struct learned *l, const char *upstream, const char *model)
{
	struct lesson *lesson = find(l, upstream, model);

	if (lesson == NULL) {
		lesson = place(l);
		lesson->upstream = xstrdup(upstream);
		lesson->model = xstrdup(model);
		lesson->hash = hash_of(upstream, model);
	}
	lesson->taught = ++l->clock;
	return lesson;
}

void
learned_note(struct learned *l, const char *upstream, const char *model,
    const struct learned_sample *s)
{
	struct lesson *lesson;

	if (!is_sample(s->prompt_bytes, s->prompt_tokens) &&
	    !is_sample(s->answer_bytes, s->answer_tokens))
		return;
	pthread_mutex_lock(&l->mutex);
	lesson = find_or_add(l, upstream, model);
	teach(&lesson->input, s->prompt_bytes, s->prompt_tokens);
	teach(&lesson->output, s->answer_bytes, s->answer_tokens);
	l->is_changed = true;
	pthread_mutex_unlock(&l->mutex);
}

/* Rounded up, so that what has any text has a token. */
static int64_t
tokens_of(uint64_t bytes, struct ratio r)
{
	uint64_t microbytes =
	    r.microbytes == 0 ? LEARNED_FALLBACK_MICROBYTES : r.microbytes;
	uint64_t tokens;

	if (bytes > UINT64_MAX / (2 * MICRO))
		return USAGE_MOST_TOKENS;
	tokens = (bytes * MICRO + microbytes - 1) / microbytes;
	return tokens > USAGE_MOST_TOKENS ? USAGE_MOST_TOKENS : (int64_t)tokens;
}

int64_t
learned_input(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes)
{
	const struct lesson *lesson;
	struct ratio r = {0};

	pthread_mutex_lock(&l->mutex);
	if ((lesson = find(l, upstream, model)) != NULL)
		r = lesson->input;
	pthread_mutex_unlock(&l->mutex);
	return tokens_of(bytes, r);
}

int64_t
learned_output(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes)
{
	const struct lesson *lesson;
	struct ratio r = {0};

	pthread_mutex_lock(&l->mutex);
	if ((lesson = find(l, upstream, model)) != NULL)
		r = lesson->output;
	pthread_mutex_unlock(&l->mutex);
	return tokens_of(bytes, r);
}

/* --- the file ------------------------------------------------------------ */

/* Where the reader stands: a document of lessons of ratios of numbers. */
enum { IN_DOCUMENT = 1, IN_LESSONS, IN_LESSON, IN_RATIO };

struct reader {
	struct learned *to;
	const char *text; /* whole */
	char key[IN_RATIO + 1][32];
	char *upstream, *model;      /* owned; of the lesson being read */
	struct ratio prompt, answer; /* of it */
	uint64_t schema;
	bool has_lessons;
};

/* A ratio that cannot be is one that nobody has learned. */
static struct ratio
checked(struct ratio r)
{
	if (r.microbytes < LEARNED_LEAST_MICROBYTES ||
	    r.microbytes > LEARNED_MOST_MICROBYTES || r.samples < 1)
		return (struct ratio){0};
	if (r.samples > SAMPLES_REMEMBERED)
		r.samples = SAMPLES_REMEMBERED;
	return r;
}

/* Lessons stand in the order in which they were taught. */
static void
end_lesson(struct reader *r)
{
	struct lesson *lesson;

	if (r->upstream != NULL && r->model != NULL) {
		lesson = find_or_add(r->to, r->upstream, r->model);
		lesson->input = checked(r->prompt);
		lesson->output = checked(r->answer);
	}
	free(r->upstream);
	free(r->model);
	r->upstream = r->model = NULL;
	r->prompt = r->answer = (struct ratio){0};
}

static void
take_name(struct reader *r, const struct json_token *t, char **to)
{
	struct slice raw = {r->text + t->begin + 1, t->end - t->begin - 2};
	size_t len;

	free(*to);
	*to = xcalloc(raw.len + 1);
	len = json_decode(raw, *to, raw.len);
	(*to)[len] = '\0';
}

static void
take_number(struct reader *r, const struct json_token *t)
{
	bool is_prompt = strcmp(r->key[IN_LESSON], "prompt") == 0;
	const char *key = r->key[t->depth];
	struct ratio *ratio;
	uint64_t n;

	if (!text_to_u64(t->text, UINT32_MAX, &n))
		return;
	if (t->depth == IN_DOCUMENT && strcmp(key, "schema") == 0)
		r->schema = n;
	if (t->depth != IN_RATIO ||
	    (!is_prompt && strcmp(r->key[IN_LESSON], "answer") != 0))
		return;
	ratio = is_prompt ? &r->prompt : &r->answer;
	if (strcmp(key, "microbytes_a_token") == 0)
		ratio->microbytes = (uint32_t)n;
	else if (strcmp(key, "samples") == 0)
		ratio->samples = (uint32_t)n;
}

/* What a later version has added is passed over. */
static bool
on_token(void *arg, const struct json_token *t)
{
	struct reader *r = arg;
	bool in_lessons = strcmp(r->key[IN_DOCUMENT], "models") == 0;

	if (t->kind == JSON_KEY) {
		snprintf(r->key[t->depth], sizeof r->key[0], "%.*s",
		    (int)t->text.len, t->text.p);
		return true;
	}
	if (t->depth < IN_RATIO &&
	    (t->kind == JSON_OBJECT || t->kind == JSON_ARRAY))
		r->key[t->depth + 1][0] = '\0';
	if (t->depth == IN_DOCUMENT && t->kind == JSON_ARRAY && in_lessons)
		r->has_lessons = true;
	if (t->depth > IN_DOCUMENT && !in_lessons)
		return true;
	if (t->kind == JSON_NUMBER)
		take_number(r, t);
	else if (t->depth == IN_LESSONS && t->kind == JSON_OBJECT_END)
		end_lesson(r);
	else if (t->depth == IN_LESSON && t->kind == JSON_STRING &&
	    strcmp(r->key[IN_LESSON], "upstream") == 0)
		take_name(r, t, &r->upstream);
	else if (t->depth == IN_LESSON && t->kind == JSON_STRING &&
	    strcmp(r->key[IN_LESSON], "model") == 0)
		take_name(r, t, &r->model);
	return true;
}

/* What was read before the damage counts as not learned either. */
static bool
read_document(struct learned *l, struct slice text, struct fault *why)
{
	struct reader r = {.to = l, .text = text.p};
	struct json_scan scan;
	bool ok;

	json_scan_init(&scan, on_token, &r, IN_RATIO);
	ok = json_scan_feed(&scan, text.p, text.len) != JSON_BAD &&
	    json_scan_end(&scan) == JSON_DONE;
	free(r.upstream);
	free(r.model);
	if (ok && r.has_lessons && r.schema == FILE_SCHEMA)
		return true;
	while (l->count > 0)
		forget(&l->lessons[--l->count]);
	if (!ok)
		return fault_set(why, "%s is damaged at byte %llu", l->path,
		    (unsigned long long)json_scan_offset(&scan));
	return fault_set(why, "%s is not what this version writes", l->path);
}

struct learned *
learned_open(const char *path, struct fault *why)
{
	struct learned *l = xcalloc(sizeof *l);
	struct buf file = {0};

	l->path = xstrdup(path);
	pthread_mutex_init(&l->mutex, NULL);
	why->text[0] = '\0';
	errno = 0;
	if (file_read(path, FILE_MOST_BYTES, false, &file, why))
		(void)read_document(
		    l, (struct slice){buf_data(&file), buf_len(&file)}, why);
	else if (errno == ENOENT)
		why->text[0] = '\0'; /* the first start */
	buf_release(&file);
	return l;
}

static void
write_ratio(struct json_out *o, const char *name, struct ratio r)
{
	if (r.microbytes == 0)
		return;
	json_key(o, name);
	json_open(o, '{');
	json_member_int(o, "microbytes_a_token", r.microbytes);
	json_member_int(o, "samples", r.samples);
	json_close(o, '}');
}

static int
compare_taught(const void *a, const void *b)
{
	const struct lesson *const *x = a, *const *y = b;

	return ((*x)->taught > (*y)->taught) - ((*x)->taught < (*y)->taught);
}

static void
write_document(const struct learned *l, struct buf *to)
{
	const struct lesson *in_order[LEARNED_MODELS_MOST];
	struct json_out o = json_out_to(to);

	for (size_t i = 0; i < l->count; i++)
		in_order[i] = &l->lessons[i];
	qsort(in_order, l->count, sizeof *in_order, compare_taught);
	json_open(&o, '{');
	json_member_int(&o, "schema", FILE_SCHEMA);
	json_key(&o, "models");
	json_open(&o, '[');
	for (size_t i = 0; i < l->count; i++) {
		json_open(&o, '{');
		json_member_string(
		    &o, "upstream", slice_of(in_order[i]->upstream));
		json_member_string(&o, "model", slice_of(in_order[i]->model));
		write_ratio(&o, "prompt", in_order[i]->input);
		write_ratio(&o, "answer", in_order[i]->output);
		json_close(&o, '}');
	}
	json_close(&o, ']');
	json_close(&o, '}');
	buf_put_literal(to, "\n");
}

bool
learned_save(struct learned *l, struct fault *why)
{
	struct buf text = {0};
	bool is_changed, ok;

	pthread_mutex_lock(&l->mutex);
	is_changed = l->is_changed;
	if (is_changed)
		write_document(l, &text);
	l->is_changed = false;
	pthread_mutex_unlock(&l->mutex);

	ok = !is_changed ||
	    file_replace(
		l->path, buf_data(&text), buf_len(&text), FILE_MODE, why);
	buf_release(&text);
	if (!ok) {
		pthread_mutex_lock(&l->mutex);
		l->is_changed = true; /* so that the next save tries again */
		pthread_mutex_unlock(&l->mutex);
	}
	return ok;
}

void
learned_close(struct learned **lp)
{
	struct learned *l = *lp;

	*lp = NULL;
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->count; i++)
		forget(&l->lessons[i]);
	pthread_mutex_destroy(&l->mutex);
	free(l->path);
	free(l);
}
