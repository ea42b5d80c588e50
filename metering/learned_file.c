/* What was learned, as a file of JSON.  The door is learned.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "metering/learned_inner.h"

#include "base/banned.h"

#define FILE_SCHEMA 1

/* Where the reader stands: a document of lessons of ratios, or lists, of
 * numbers. */
enum { IN_DOCUMENT = 1, IN_LESSONS, IN_LESSON, IN_RATIO };

struct reader {
	struct learned *to;
	const char *text; /* whole */
	char key[IN_RATIO + 1][32];
	struct lesson lesson;           /* being read; owns its names */
	bool is_list;                   /* what the lesson's member is */
	uint64_t list_index, list_last; /* of its numbers */
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
	if (r.samples > RATIO_SAMPLES_REMEMBERED)
		r.samples = RATIO_SAMPLES_REMEMBERED;
	/* Earlier versions did not say. */
	if (r.tokens < r.samples)
		r.tokens = r.samples * 1000;
	return r;
}

static void
drop_lesson(struct reader *r)
{
	free(r->lesson.upstream);
	free(r->lesson.model);
	r->lesson = (struct lesson){0};
}

/* Lessons stand in the order in which they were taught. */
static void
end_lesson(struct reader *r)
{
	const struct lesson *from = &r->lesson;
	struct lesson *to;

	if (from->upstream != NULL && from->model != NULL) {
		to = lesson_find_or_add(r->to, from->upstream, from->model);
		to->input = checked(from->input);
		to->output = checked(from->output);
		to->sizes = from->sizes;
		to->prefill = from->prefill;
		to->speed = from->speed;
	}
	drop_lesson(r);
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
take_ratio_member(struct reader *r, struct ratio *ratio, uint64_t n)
{
	const char *key = r->key[IN_RATIO];

	if (strcmp(key, "microbytes_a_token") == 0)
		ratio->microbytes = (uint32_t)n;
	else if (strcmp(key, "samples") == 0)
		ratio->samples = (uint32_t)n;
	else if (strcmp(key, "tokens") == 0)
		ratio->tokens = (uint32_t)n;
}

/* Most lists are of pairs. */
static void
take_list_number(struct reader *r, uint64_t n)
{
	const char *name = r->key[IN_LESSON];
	bool is_second = r->list_index++ % 2 == 1;

	if (strcmp(name, "decode_rates") == 0)
		speed_add(&r->lesson.speed, n);
	else if (is_second && strcmp(name, "answer_tokens") == 0)
		answer_sizes_restore(&r->lesson.sizes, r->list_last, n);
	else if (is_second && strcmp(name, "prefill_ms") == 0)
		prefill_curve_add(&r->lesson.prefill, r->list_last, n);
	r->list_last = n;
}

/* What is no count is 0, which no list has. */
static void
take_number(struct reader *r, const struct json_token *t)
{
	uint64_t n = 0;
	bool is_count = text_to_u64(t->text, UINT32_MAX, &n);

	if (t->depth == IN_DOCUMENT && is_count &&
	    strcmp(r->key[IN_DOCUMENT], "schema") == 0)
		r->schema = n;
	if (t->depth != IN_RATIO)
		return;
	if (r->is_list)
		take_list_number(r, is_count ? n : 0);
	else if (is_count && strcmp(r->key[IN_LESSON], "prompt") == 0)
		take_ratio_member(r, &r->lesson.input, n);
	else if (is_count && strcmp(r->key[IN_LESSON], "answer") == 0)
		take_ratio_member(r, &r->lesson.output, n);
}

/* An object or an array begins. */
static void
begin(struct reader *r, const struct json_token *t)
{
	if (t->depth < IN_RATIO)
		r->key[t->depth + 1][0] = '\0';
	if (t->depth == IN_LESSON) {
		r->is_list = t->kind == JSON_ARRAY;
		r->list_index = 0;
	}
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
	if (t->kind == JSON_OBJECT || t->kind == JSON_ARRAY)
		begin(r, t);
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
		take_name(r, t, &r->lesson.upstream);
	else if (t->depth == IN_LESSON && t->kind == JSON_STRING &&
	    strcmp(r->key[IN_LESSON], "model") == 0)
		take_name(r, t, &r->lesson.model);
	return true;
}

/* What was read before the damage counts as not learned either. */
bool
learned_read(struct learned *l, struct slice text, struct fault *why)
{
	struct reader r = {.to = l, .text = text.p};
	struct json_scan scan;
	bool ok;

	json_scan_init(&scan, on_token, &r, IN_RATIO);
	ok = json_scan_feed(&scan, text.p, text.len) != JSON_BAD &&
	    json_scan_end(&scan) == JSON_DONE;
	drop_lesson(&r);
	if (ok && r.has_lessons && r.schema == FILE_SCHEMA)
		return true;
	lessons_clear(l);
	if (!ok)
		return fault_set(why, "%s is damaged at byte %llu", l->path,
		    (unsigned long long)json_scan_offset(&scan));
	return fault_set(why, "%s is not what this version writes", l->path);
}

/* --- writing ------------------------------------------------------------- */

static void
write_ratio(struct json_out *o, const char *name, struct ratio r)
{
	if (r.microbytes == 0)
		return;
	json_key(o, name);
	json_open(o, '{');
	json_member_int(o, "microbytes_a_token", r.microbytes);
	json_member_int(o, "samples", r.samples);
	json_member_int(o, "tokens", (int64_t)r.tokens);
	json_close(o, '}');
}

/* So many tokens, so much weight. */
static void
write_sizes(struct json_out *o, const struct answer_sizes *a)
{
	if (a->all == 0)
		return;
	json_key(o, "answer_tokens");
	json_open(o, '[');
	for (size_t i = 0; i < ANSWER_SIZES_STEPS; i++) {
		if (a->weights[i] == 0)
			continue;
		json_int(o, (int64_t)answer_sizes_step_tokens(i));
		json_int(o, a->weights[i]);
	}
	json_close(o, ']');
}

/* So many tokens, so many ms; as they came. */
static void
write_prefill(struct json_out *o, const struct prefill_curve *p)
{
	struct prefill_sample samples[PREFILL_SAMPLES_MOST];
	size_t count = prefill_curve_samples(p, samples);

	if (count == 0)
		return;
	json_key(o, "prefill_ms");
	json_open(o, '[');
	for (size_t i = 0; i < count; i++) {
		json_int(o, samples[i].tokens);
		json_int(o, samples[i].ms);
	}
	json_close(o, ']');
}

static void
write_speed(struct json_out *o, const struct speed *s)
{
	uint64_t first =
	    s->count < SPEED_SAMPLES ? 0 : s->count - SPEED_SAMPLES;

	if (s->count == 0)
		return;
	json_key(o, "decode_rates");
	json_open(o, '[');
	for (uint64_t i = first; i < s->count; i++)
		json_int(o, s->rates[i % SPEED_SAMPLES]);
	json_close(o, ']');
}

void
learned_write(const struct learned *l, struct buf *to)
{
	struct lesson *in_order[LEARNED_MODELS_MOST];
	struct json_out o = json_out_to(to);

	lessons_in_order(l, in_order);
	json_open(&o, '{');
	json_member_int(&o, "schema", FILE_SCHEMA);
	json_key(&o, "models");
	json_open(&o, '[');
	for (size_t i = 0; i < l->count; i++) {
		const struct lesson *lesson = in_order[i];

		json_open(&o, '{');
		json_member_string(&o, "upstream", slice_of(lesson->upstream));
		json_member_string(&o, "model", slice_of(lesson->model));
		write_ratio(&o, "prompt", lesson->input);
		write_ratio(&o, "answer", lesson->output);
		write_sizes(&o, &lesson->sizes);
		write_prefill(&o, &lesson->prefill);
		write_speed(&o, &lesson->speed);
		json_close(&o, '}');
	}
	json_close(&o, ']');
	json_close(&o, '}');
	buf_put_literal(to, "\n");
}
