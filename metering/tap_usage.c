/* What a tap's answer has cost so far.  The doors are tap.h and tap_inner.h. */
#include "metering/tap_inner.h"

#include "base/banned.h"

#define BYTES_A_TOKEN 4 /* of text, about */

void
tap_take_header(struct tap *t, struct slice tokens)
{
	uint64_t n;

	if (api_has_output(t->job.api))
		return;
	if (!text_to_u64(tokens, USAGE_MOST_TOKENS, &n)) {
		t->has_bad_count = true;
		return;
	}
	if (n == 0) /* said for form's sake, as a body's zeros are */
		return;
	t->usage.input = (int64_t)n;
	t->usage.output = 0;
	t->rank = USAGE_RANK_HEADER;
	t->source = USAGE_UPSTREAM;
}

void
tap_add_text(struct tap *t, uint64_t bytes)
{
	uint64_t ahead = bytes < t->ahead_bytes ? bytes : t->ahead_bytes;

	t->text_bytes += bytes;
	t->ahead_bytes -= ahead;
	t->uncounted_bytes += bytes - ahead;
}

static void
merge_count(int64_t *into, int64_t count)
{
	if (count >= 0)
		*into = count;
}

/* Anthropic's later counts replace earlier ones one by one.  Servers that leave
 * the input to message_start may put a zero where it would stand later. */
static void
merge_usage(struct tap *t, const struct usage *u)
{
	bool has_input = u->input > 0 || u->cached > 0 || u->cache_write > 0;

	if (has_input || t->fresh_input <= 0) {
		merge_count(&t->fresh_input, u->input);
		merge_count(&t->usage.cached, u->cached);
		merge_count(&t->usage.cache_write, u->cache_write);
	}
	merge_count(&t->usage.output, u->output);
	merge_count(&t->usage.reasoning, u->reasoning);
	merge_count(&t->usage.audio, u->audio);
	merge_count(&t->usage.cost_pusd, u->cost_pusd);
	if (t->fresh_input < 0)
		return;
	t->usage.input = t->fresh_input;
	if (t->usage.cached > 0)
		t->usage.input += t->usage.cached;
	if (t->usage.cache_write > 0)
		t->usage.input += t->usage.cache_write;
}

/* Whether what the document says of usage may yet be followed by more: beside
 * choices, in the middle of a message, or before the last of several
 * documents. */
static bool
is_running(const struct tap *t)
{
	const struct usage_reader *r = &t->reader;

	if (t->job.api == API_RESPONSES)
		return false;
	if (r->done != MARK_NONE || t->shape != SHAPE_EVENTS)
		return r->done == MARK_FALSE;
	return t->job.api == API_MESSAGES || r->choices == CHOICES_SOME;
}

/* Whether the usage is only a guess: that of a response that has not ended, or
 * that of a message's beginning where the server does not know better. */
static bool
is_early(const struct tap *t)
{
	const struct usage_reader *r = &t->reader;

	if (!r->is_usage_nested)
		return false;
	if (t->job.api == API_MESSAGES)
		return kind_has(t->job.kind, KIND_GUESSES_START);
	return r->type != ANSWER_RESPONSE_DONE &&
	    r->type != ANSWER_RESPONSE_FAILED;
}

/* Of a usage that is damaged in part, the earlier counts stand. */
static void
keep_good(struct usage *now, const struct usage *before)
{
	struct usage u = *before;

	merge_count(&u.input, now->input);
	merge_count(&u.output, now->output);
	merge_count(&u.cached, now->cached);
	merge_count(&u.cache_write, now->cache_write);
	merge_count(&u.reasoning, now->reasoning);
	merge_count(&u.audio, now->audio);
	merge_count(&u.cost_pusd, now->cost_pusd);
	*now = u;
}

/* Several choices in one event have one usage together. */
static bool
take_running(struct tap *t)
{
	const struct usage_reader *r = &t->reader;
	uint32_t index = r->choice_count == 1 ? r->index : 0;
	struct usage u = r->usage;

	t->has_bad_count |= !usage_make_sane(&u);
	if (!running_take(&t->running, index, &u))
		return false;
	t->usage = t->running.sum;
	return true;
}

static void
take_final(struct tap *t)
{
	struct usage u = t->reader.usage;

	if (t->reader.has_bad_count)
		keep_good(&u, &t->usage);
	t->usage = u;
	running_release(&t->running);
	running_init(&t->running, t->running.per_prompt);
}

static enum usage_source
final_source(const struct tap *t)
{
	return t->rank == USAGE_RANK_TIMINGS ? USAGE_TIMINGS : USAGE_UPSTREAM;
}

void
tap_take_usage(struct tap *t)
{
	const struct usage_reader *r = &t->reader;
	bool runs = is_running(t);
	bool early = is_early(t);

	t->has_bad_count |= r->has_bad_count;
	t->is_last_bad |= r->has_bad_count && r->rank == USAGE_RANK_NONE;
	if (r->rank == USAGE_RANK_NONE || r->rank < t->rank || early)
		return;
	if (t->job.api == API_MESSAGES)
		merge_usage(t, &r->usage);
	else if (!runs)
		take_final(t);
	else if (!take_running(t))
		return;
	t->rank = r->rank;
	t->is_last_bad =
	    r->has_bad_count && (r->usage.input < 0 || r->usage.output < 0);
	t->has_bad_count |= !usage_make_sane(&t->usage);
	if (!usage_is_known(&t->usage))
		return;
	t->source = runs || t->is_last_bad ? USAGE_RUNNING : final_source(t);
	if (r->usage.output < 0)
		return;
	t->uncounted_bytes = 0;
	/* A message begins with a count of its first tokens. */
	t->ahead_bytes = t->job.api == API_MESSAGES && r->is_usage_nested
	    ? (uint64_t)r->usage.output * BYTES_A_TOKEN
	    : 0;
}

void
tap_finish_usage(struct tap *t)
{
	if (t->source != USAGE_RUNNING || !t->is_complete || t->has_error ||
	    t->is_last_bad)
		return;
	t->source = final_source(t);
	if (t->usage.output >= 0)
		t->uncounted_bytes = 0;
}
