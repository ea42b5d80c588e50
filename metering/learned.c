#include "metering/learned.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "metering/learned_inner.h"
#include "metering/usage.h"

#include "base/banned.h"

#define MICRO UINT64_C(1000000)
#define FILE_MOST_BYTES (8u << 20)
#define FILE_MODE 0600

/* Longer than any answer takes; in a day a rate cannot overflow. */
#define GENERATION_MOST_MS UINT64_C(86400000)

/* --- what one answer teaches --------------------------------------------- */

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
is_ratio(uint64_t bytes, int64_t tokens)
{
	return bytes >= LEARNED_LEAST_BYTES && tokens >= LEARNED_LEAST_TOKENS &&
	    tokens <= USAGE_MOST_TOKENS && bytes <= UINT64_MAX / MICRO;
}

/* All tokens count alike, so that large prompts, which matter, are not guessed
 * by what stands around small ones.  Later samples push the older out. */
static void
teach_ratio(struct ratio *r, uint64_t bytes, int64_t tokens)
{
	uint64_t sample, weight = (uint64_t)tokens;

	if (!is_ratio(bytes, tokens))
		return;
	sample = within(bytes * MICRO / weight);
	/* One odd answer does not move what many have said. */
	if (r->samples >= RATIO_SAMPLES_TRUSTED) {
		if (sample > 2 * (uint64_t)r->microbytes)
			sample = 2 * (uint64_t)r->microbytes;
		if (sample < r->microbytes / 2)
			sample = r->microbytes / 2;
		if (weight > r->tokens / 4)
			weight = r->tokens / 4 + 1;
	}
	if (r->samples < RATIO_SAMPLES_REMEMBERED)
		r->samples++;
	else
		r->tokens -= r->tokens / RATIO_SAMPLES_REMEMBERED;
	r->microbytes =
	    (uint32_t)((r->microbytes * (uint64_t)r->tokens + sample * weight) /
		(r->tokens + weight));
	weight += r->tokens;
	r->tokens = weight > UINT32_MAX ? UINT32_MAX : (uint32_t)weight;
}

static bool
is_answer(const struct learned_sample *s)
{
	return s->answer_tokens > 0 && s->answer_tokens <= USAGE_MOST_TOKENS;
}

static void
teach_size(struct answer_sizes *a, const struct learned_sample *s)
{
	uint64_t answers = s->answers == 0 ? 1 : s->answers;

	if (is_answer(s))
		answer_sizes_add(
		    a, ((uint64_t)s->answer_tokens + answers - 1) / answers);
}

static bool
is_prefill(const struct learned_sample *s)
{
	return s->uncached_tokens > 0 && s->ttft_ms > 0;
}

static int
compare_rates(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void
speed_add(struct speed *s, uint64_t rate)
{
	uint32_t sorted[SPEED_SAMPLES];
	uint64_t count;

	if (rate == 0)
		return;
	s->rates[s->count % SPEED_SAMPLES] =
	    rate > UINT32_MAX ? UINT32_MAX : (uint32_t)rate;
	s->count++;
	count = s->count < SPEED_SAMPLES ? s->count : SPEED_SAMPLES;
	memcpy(sorted, s->rates, sizeof sorted);
	qsort(sorted, count, sizeof *sorted, compare_rates);
	s->median = sorted[(count - 1) / 2];
}

/* The first token is there when the time begins. */
static void
teach_speed(struct speed *to, const struct learned_sample *s)
{
	if (is_answer(s) && s->answer_tokens >= LEARNED_LEAST_TOKENS &&
	    s->generation_ms > 0 && s->generation_ms <= GENERATION_MOST_MS)
		speed_add(to,
		    (uint64_t)(s->answer_tokens - 1) * MICRO /
			s->generation_ms);
}

/* --- the table ----------------------------------------------------------- */

static uint64_t
hash_of(const char *upstream, const char *model)
{
	uint64_t a = text_hash(upstream, strlen(upstream));

	return a * UINT64_C(0x9e3779b97f4a7c15) ^
	    text_hash(model, strlen(model));
}

/* The slot that has it, or the free one where it would go. */
static uint16_t *
find_slot(
    struct learned *l, uint64_t hash, const char *upstream, const char *model)
{
	for (uint64_t at = hash ^ hash >> 32;; at++) {
		uint16_t *slot = &l->slots[at % LESSON_SLOTS];
		const struct lesson *lesson;

		if (*slot == 0)
			return slot;
		lesson = l->lessons[*slot - 1];
		if (lesson->hash == hash && strcmp(lesson->model, model) == 0 &&
		    strcmp(lesson->upstream, upstream) == 0)
			return slot;
	}
}

static struct lesson *
find(struct learned *l, const char *upstream, const char *model)
{
	const uint16_t *slot =
	    find_slot(l, hash_of(upstream, model), upstream, model);

	return *slot == 0 ? NULL : l->lessons[*slot - 1];
}

static void
lesson_free(struct lesson *lesson)
{
	free(lesson->upstream);
	free(lesson->model);
	free(lesson);
}

/* Takes out the one that was taught longest ago. */
static void
forget_oldest(struct learned *l)
{
	size_t oldest = 0;

	for (size_t i = 1; i < l->count; i++)
		if (l->lessons[i]->taught < l->lessons[oldest]->taught)
			oldest = i;
	lesson_free(l->lessons[oldest]);
	l->lessons[oldest] = l->lessons[--l->count];
	memset(l->slots, 0, sizeof l->slots);
	for (size_t i = 0; i < l->count; i++) {
		const struct lesson *each = l->lessons[i];

		*find_slot(l, each->hash, each->upstream, each->model) =
		    (uint16_t)(i + 1);
	}
}

struct lesson *
lesson_find_or_add(struct learned *l, const char *upstream, const char *model)
{
	struct lesson *lesson = find(l, upstream, model);
	uint64_t hash = hash_of(upstream, model);

	if (lesson == NULL) {
		if (l->count == LEARNED_MODELS_MOST)
			forget_oldest(l);
		lesson = xcalloc(sizeof *lesson);
		lesson->upstream = xstrdup(upstream);
		lesson->model = xstrdup(model);
		lesson->hash = hash;
		l->lessons[l->count++] = lesson;
		*find_slot(l, hash, upstream, model) = (uint16_t)l->count;
	}
	lesson->taught = ++l->clock;
	return lesson;
}

void
lessons_clear(struct learned *l)
{
	while (l->count > 0)
		lesson_free(l->lessons[--l->count]);
	memset(l->slots, 0, sizeof l->slots);
}

static int
compare_taught(const void *a, const void *b)
{
	const struct lesson *const *x = a, *const *y = b;

	return ((*x)->taught > (*y)->taught) - ((*x)->taught < (*y)->taught);
}

void
lessons_in_order(
    const struct learned *l, struct lesson *to[LEARNED_MODELS_MOST])
{
	memcpy(to, l->lessons, l->count * sizeof(struct lesson *));
	qsort(to, l->count, sizeof(struct lesson *), compare_taught);
}

/* --- learning and asking ------------------------------------------------- */

void
learned_note(struct learned *l, const char *upstream, const char *model,
    const struct learned_sample *s)
{
	struct lesson *lesson;

	if (!is_ratio(s->prompt_bytes, s->prompt_tokens) && !is_answer(s) &&
	    !is_prefill(s))
		return;
	pthread_mutex_lock(&l->mutex);
	lesson = lesson_find_or_add(l, upstream, model);
	teach_ratio(&lesson->input, s->prompt_bytes, s->prompt_tokens);
	teach_ratio(&lesson->output, s->answer_bytes, s->answer_tokens);
	teach_size(&lesson->sizes, s);
	teach_speed(&lesson->speed, s);
	if (is_prefill(s))
		prefill_curve_add(
		    &lesson->prefill, (uint64_t)s->uncached_tokens, s->ttft_ms);
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

void
learned_guess(struct learned *l, const char *upstream, const char *model,
    uint64_t prompt_bytes, uint64_t known_bytes, struct learned_guess *g)
{
	struct ratio input = {0}, output = {0};
	uint64_t unknown =
	    prompt_bytes > known_bytes ? prompt_bytes - known_bytes : 0;
	struct lesson *lesson;

	*g = (struct learned_guess){0};
	pthread_mutex_lock(&l->mutex);
	if ((lesson = find(l, upstream, model)) != NULL) {
		input = lesson->input;
		output = lesson->output;
		g->output_p95 =
		    (int64_t)answer_sizes_percentile(&lesson->sizes, 95);
		g->decode_rate = lesson->speed.median;
		if (!prefill_curve_predict(&lesson->prefill,
			(uint64_t)tokens_of(unknown, input), &g->ttft_ms))
			g->ttft_ms = 0;
	}
	pthread_mutex_unlock(&l->mutex);
	g->input = tokens_of(prompt_bytes, input);
	g->uncached = tokens_of(unknown, input);
	g->tokens_a_mb = tokens_of(MICRO, output);
	if (g->output_p95 == 0)
		g->output_p95 = LEARNED_FALLBACK_ANSWER_TOKENS;
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

bool
learned_prefill(struct learned *l, const char *upstream, const char *model,
    int64_t uncached_tokens, uint64_t *ms)
{
	uint64_t tokens = uncached_tokens < 0 ? 0 : (uint64_t)uncached_tokens;
	struct lesson *lesson;
	bool ok;

	pthread_mutex_lock(&l->mutex);
	ok = (lesson = find(l, upstream, model)) != NULL &&
	    prefill_curve_predict(&lesson->prefill, tokens, ms);
	pthread_mutex_unlock(&l->mutex);
	return ok;
}

uint64_t
learned_prefill_rate(struct learned *l, const char *upstream, const char *model)
{
	struct lesson *lesson;
	uint64_t rate = 0;

	pthread_mutex_lock(&l->mutex);
	if ((lesson = find(l, upstream, model)) != NULL)
		rate = prefill_curve_rate(&lesson->prefill);
	pthread_mutex_unlock(&l->mutex);
	return rate;
}

static struct learned_facts
facts_of(struct lesson *lesson)
{
	struct prefill_sample samples[PREFILL_SAMPLES_MOST];

	return (struct learned_facts){
	    .upstream = lesson->upstream,
	    .model = lesson->model,
	    .prompt_microbytes = lesson->input.microbytes,
	    .answer_microbytes = lesson->output.microbytes,
	    .output_p95 = answer_sizes_percentile(&lesson->sizes, 95),
	    .prefill_samples = prefill_curve_samples(&lesson->prefill, samples),
	    .prefill_rate = prefill_curve_rate(&lesson->prefill),
	    .decode_rate = lesson->speed.median,
	};
}

void
learned_each(struct learned *l, learned_facts_fn on_facts, void *arg)
{
	struct lesson *in_order[LEARNED_MODELS_MOST];

	pthread_mutex_lock(&l->mutex);
	lessons_in_order(l, in_order);
	for (size_t i = 0; i < l->count; i++) {
		struct learned_facts f = facts_of(in_order[i]);

		on_facts(arg, &f);
	}
	pthread_mutex_unlock(&l->mutex);
}

/* --- life ---------------------------------------------------------------- */

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
		(void)learned_read(
		    l, (struct slice){buf_data(&file), buf_len(&file)}, why);
	else if (errno == ENOENT)
		why->text[0] = '\0'; /* the first start */
	buf_release(&file);
	return l;
}

bool
learned_save(struct learned *l, struct fault *why)
{
	struct buf text = {0};
	bool is_changed, ok;

	pthread_mutex_lock(&l->mutex);
	is_changed = l->is_changed;
	if (is_changed)
		learned_write(l, &text);
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
	lessons_clear(l);
	pthread_mutex_destroy(&l->mutex);
	free(l->path);
	free(l);
}
