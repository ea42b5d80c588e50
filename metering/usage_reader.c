#include "metering/usage_reader.h"

#include <assert.h>
#include <limits.h>

#include "metering/answer_map.h"

#include "base/banned.h"

#define IS_LISTED 0x80u /* in path[]: the list itself, not an object */

static_assert(PLACE_COUNT - FIRST_COUNT == USAGE_READER_COUNTS,
    "each count has its room");
static_assert(PLACE_COUNT < IS_LISTED, "places and the mark share a byte");

/* The text of a string or key; decoded into `room` if it has escapes. */
static struct slice
text_of(const struct json_token *t, char room[JSON_TEXT_BYTES])
{
	size_t n;

	if (t->is_cut)
		return (struct slice){"", 0};
	if (LIKELY(!t->has_escapes))
		return t->text;
	n = json_decode(t->text, room, JSON_TEXT_BYTES);
	return (struct slice){room, n == SIZE_MAX ? 0 : n};
}

enum answer_type
answer_type_of(struct slice name)
{
	static const struct {
		struct slice name;
		enum answer_type type;
	} types[] = {
	    {{"error", 5}, ANSWER_ERROR},
	    {{"message_stop", 12}, ANSWER_MESSAGE_STOP},
	    {{"response.completed", 18}, ANSWER_RESPONSE_DONE},
	    {{"response.incomplete", 19}, ANSWER_RESPONSE_DONE},
	    {{"response.failed", 15}, ANSWER_RESPONSE_FAILED},
	    {{"response.audio.delta", 20}, ANSWER_AUDIO_DELTA},
	    {{"response.output_audio.delta", 27}, ANSWER_AUDIO_DELTA},
	};

	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (types[i].name.len == name.len &&
		    memcmp(types[i].name.p, name.p, name.len) == 0)
			return types[i].type;
	}
	return ANSWER_OTHER;
}

static bool
ends_with(struct slice s, const char *end)
{
	size_t n = strlen(end);

	return s.len >= n && memcmp(s.p + s.len - n, end, n) == 0;
}

static void
add_text(struct usage_reader *r, uint64_t size)
{
	r->text_bytes += size;
	r->texts++;
	r->has_content |= size > 0;
}

static int32_t *
count_at(struct usage_reader *r, unsigned place)
{
	return &r->counts[place - FIRST_COUNT];
}

/* -1 if it was not said. */
static int64_t
said(const struct usage_reader *r, unsigned place)
{
	return r->counts[place - FIRST_COUNT];
}

static void
forget_counts(struct usage_reader *r, unsigned last)
{
	for (unsigned place = FIRST_COUNT; place <= last; place++)
		*count_at(r, place) = -1;
}

static bool
is_summed(unsigned place)
{
	return place >= COUNT_EACH_INPUT && place <= COUNT_EACH_CREATION;
}

/* Remembers where a count of the usage stands, if there is room for all. */
static void
note_digits(struct usage_reader *r, unsigned place, const struct json_token *t)
{
	if (place > LAST_OF_USAGE)
		return;
	if (r->digit_count < USAGE_READER_DIGITS && !is_summed(place) &&
	    t->end <= UINT32_MAX)
		r->digits[r->digit_count++] = (struct usage_digits){
		    (uint32_t)t->begin, (uint32_t)t->end, (uint8_t)place};
	else
		r->digit_count = USAGE_READER_DIGITS + 1;
}

/* The text of a number; anything else at its place is damage. */
static struct slice
number_of(const struct json_token *t)
{
	return t->kind == JSON_NUMBER && !t->is_cut ? t->text
						    : (struct slice){"", 0};
}

/* A count is plain digits. */
static void
take_count(struct usage_reader *r, unsigned place, const struct json_token *t)
{
	int32_t *count = count_at(r, place);
	uint64_t n, most = USAGE_MOST_TOKENS;

	note_digits(r, place, t);
	if (is_summed(place) && *count > 0)
		most -= (uint64_t)*count;
	if (!text_to_u64(number_of(t), most, &n)) {
		r->has_bad_count = true;
		return;
	}
	if (most < USAGE_MOST_TOKENS)
		n += (uint64_t)*count;
	*count = (int32_t)n;
}

/* Of two names for one count: some servers send both, and a zero in the one
 * that they do not mean. */
static int64_t
either(int64_t a, int64_t b)
{
	return a > 0 || b < 0 ? a : b;
}

static int64_t
first_said(int64_t a, int64_t b)
{
	return a >= 0 ? a : b;
}

static void
take_cost(struct usage_reader *r, unsigned place, const struct json_token *t)
{
	bool is_good = place == AT_TICKS
	    ? usage_read_ticks(number_of(t), &r->cost_pusd)
	    : usage_read_dollars(number_of(t), &r->cost_pusd);

	r->has_bad_count |= !is_good;
}

/* The top-level counts cover the last iteration only. */
static void
use_iterations(struct usage_reader *r)
{
	static const uint8_t sums[][2] = {
	    {COUNT_EACH_INPUT, COUNT_INPUT},
	    {COUNT_EACH_OUTPUT, COUNT_OUTPUT},
	    {COUNT_EACH_READ, COUNT_CACHE_READ},
	    {COUNT_EACH_CREATION, COUNT_CACHE_CREATION},
	};

	for (size_t i = 0; i < COUNT_OF(sums); i++) {
		if (said(r, sums[i][0]) >= 0)
			*count_at(r, sums[i][1]) = *count_at(r, sums[i][0]);
	}
}

/* Whether the completion leaves out the reasoning, as xAI's chat has it: the
 * total tells, and where there is none, the kind. */
static bool
reasons_beside(const struct usage_reader *r, const struct usage *u)
{
	int64_t total = said(r, COUNT_TOTAL);

	if (u->reasoning <= 0 || u->input < 0 || u->output < 0)
		return false;
	return total >= 0 ? total == u->input + u->output + u->reasoning
			  : r->reasons_beside;
}

/* A usage object has ended.  One that is all zeros was sent for form's sake. */
static void
finish_usage(struct usage_reader *r, bool nested)
{
	struct usage u = USAGE_UNKNOWN;
	bool is_zero = true;

	for (unsigned place = FIRST_COUNT; place <= LAST_OF_USAGE; place++)
		is_zero &= said(r, place) <= 0;
	if (is_zero)
		return;
	use_iterations(r);
	u.input = either(said(r, COUNT_PROMPT), said(r, COUNT_INPUT));
	u.input = first_said(said(r, COUNT_BILLED_INPUT), u.input);
	u.output = either(said(r, COUNT_COMPLETION), said(r, COUNT_OUTPUT));
	u.output = first_said(said(r, COUNT_BILLED_OUTPUT), u.output);
	if (!api_has_output(r->api)) {
		u.input = either(u.input, said(r, COUNT_TOTAL));
		u.output = u.output < 0 && u.input >= 0 ? 0 : u.output;
	}
	u.cached = first_said(said(r, COUNT_CACHED),
	    first_said(said(r, COUNT_CACHE_HIT), said(r, COUNT_CACHE_READ)));
	u.cache_write = first_said(
	    said(r, COUNT_CACHE_WRITE), said(r, COUNT_CACHE_CREATION));
	u.reasoning = said(r, COUNT_REASONING);
	u.audio = first_said(said(r, COUNT_AUDIO_IN), said(r, COUNT_AUDIO_OUT));
	if (said(r, COUNT_AUDIO_IN) >= 0 && said(r, COUNT_AUDIO_OUT) >= 0)
		u.audio += said(r, COUNT_AUDIO_OUT);
	u.cost_pusd = r->cost_pusd;
	if (reasons_beside(r, &u))
		u.output += u.reasoning;
	if (r->api != API_MESSAGES && !usage_is_known(&u))
		return;
	r->usage = u;
	r->rank = USAGE_RANK_REPORTED;
	r->is_usage_nested = nested;
}

/* What llama.cpp and ollama say outside of a usage object. */
static void
use_other_counts(struct usage_reader *r)
{
	struct usage u = USAGE_UNKNOWN;

	if (r->rank == USAGE_RANK_REPORTED)
		return;
	u.cached = said(r, COUNT_TIMED_CACHE);
	if (said(r, COUNT_OLLAMA_PROMPT) > 0 ||
	    said(r, COUNT_OLLAMA_OUTPUT) > 0) {
		u = USAGE_UNKNOWN;
		u.input = said(r, COUNT_OLLAMA_PROMPT);
		u.output = said(r, COUNT_OLLAMA_OUTPUT);
		if (!api_has_output(r->api) && u.output < 0)
			u.output = 0;
		r->rank = USAGE_RANK_REPORTED;
	} else if (said(r, COUNT_TIMED_PROMPT) > 0 ||
	    said(r, COUNT_TIMED_PREDICTED) > 0) {
		u.input = said(r, COUNT_TIMED_PROMPT);
		if (u.input >= 0 && u.cached > 0)
			u.input += u.cached;
		u.output = said(r, COUNT_TIMED_PREDICTED);
		r->rank = USAGE_RANK_TIMINGS;
	} else if (said(r, COUNT_EVALUATED) > 0 ||
	    said(r, COUNT_PREDICTED) > 0) {
		u.input = said(r, COUNT_EVALUATED);
		u.output = said(r, COUNT_PREDICTED);
		r->rank = USAGE_RANK_PROGRESS;
	} else {
		return;
	}
	r->usage = u;
}

static inline bool
is_in_list(const struct usage_reader *r, unsigned depth)
{
	return depth > 0 && (r->path[depth - 1] & IS_LISTED) != 0;
}

/* Where the value that comes now stands. */
static inline unsigned
place_of(const struct usage_reader *r, unsigned depth)
{
	static const uint8_t docs[API_COUNT] = {
	    [API_CHAT] = AT_DOC_CHAT,
	    [API_COMPLETIONS] = AT_DOC_CHAT,
	    [API_EMBEDDINGS] = AT_DOC_CHAT,
	    [API_RERANK] = AT_DOC_CHAT,
	    [API_RESPONSES] = AT_DOC_RESPONSES,
	    [API_MESSAGES] = AT_DOC_MESSAGES,
	    [API_COUNT_TOKENS] = AT_DOC_MESSAGES,
	};

	if (depth == 0)
		return docs[r->api];
	if (is_in_list(r, depth))
		return r->path[depth - 1] & ~IS_LISTED;
	return r->place;
}

/* What it means that an object or a list stands here at all. */
static unsigned
begin_container(
    struct usage_reader *r, unsigned place, const struct json_token *t)
{
	bool is_object = t->kind == JSON_OBJECT;

	if (place == AT_ERROR) {
		r->has_error = true;
	} else if (place == AT_DETAIL) {
		r->has_refusal_shape = true;
	} else if (place == AT_ERROR_MESSAGE) {
		return is_object ? AT_MESSAGE : NOWHERE;
	} else if ((place == AT_USAGE || place == AT_META) && is_object) {
		if (t->depth == 1 && r->is_in_usage)
			r->usage_begin = t->begin;
		forget_counts(r, LAST_OF_USAGE);
		r->cost_pusd = -1;
		if (++r->usages > 1)
			r->digit_count = USAGE_READER_DIGITS + 1;
		r->has_usage_object |= place == AT_USAGE && t->depth == 1;
	} else if (place == AT_CHOICES) {
		r->choice_count += is_object;
		if (is_in_list(r, t->depth))
			r->choices = CHOICES_SOME;
		else if (!is_object && r->choices == CHOICES_NONE)
			r->choices = CHOICES_EMPTY;
	} else if (place == AT_CALL || place == AT_CALLS) {
		r->has_content |= is_object;
	} else if (place_is_count(place)) {
		r->has_bad_count = true;
	}
	return place;
}

static void
enter(struct usage_reader *r, const struct json_token *t)
{
	bool is_object = t->kind == JSON_OBJECT;
	bool is_listed = is_in_list(r, t->depth), is_known;
	unsigned place = place_of(r, t->depth);

	place = begin_container(r, place, t);
	if (place_is_list(place))
		is_known = is_object == is_listed;
	else
		is_known = is_object && place_is_object(place);
	if (is_known && t->depth < USAGE_READER_DEPTH) {
		r->path[t->depth] =
		    (uint8_t)(place | (is_object ? 0 : IS_LISTED));
		return;
	}
	/* Nothing in it matters: hear of its end only. */
	r->skipped = (uint8_t)place;
	r->begin = t->begin;
	r->json.report_depth = t->depth;
}

/* Whether the object is a member of what an event is about, and not of the
 * event itself. */
static bool
is_nested(const struct usage_reader *r, unsigned depth)
{
	return depth > 0 &&
	    (r->path[depth - 1] == AT_RESPONSE ||
		r->path[depth - 1] == AT_STARTED);
}

static void
leave(struct usage_reader *r, const struct json_token *t)
{
	if (r->json.report_depth == t->depth) {
		r->json.report_depth = UINT_MAX;
		if (r->skipped == AT_ARGUMENTS && t->end - r->begin > 2) {
			add_text(r, t->end - r->begin);
			r->texts++; /* no string: never the only one */
		}
	} else if (r->path[t->depth] == AT_USAGE ||
	    r->path[t->depth] == AT_META) {
		finish_usage(r, is_nested(r, t->depth));
	}
}

static void
take_index(struct usage_reader *r, const struct json_token *t)
{
	uint64_t n;

	if (text_to_u64(number_of(t), UINT32_MAX, &n))
		r->index = (uint32_t)n;
}

static void
take_string(struct usage_reader *r, unsigned place, const struct json_token *t)
{
	char room[JSON_TEXT_BYTES];

	switch (place) {
	case AT_WORDS:
		/* Together says a chat's words twice: in "text", too. */
		if (r->api == API_CHAT && r->path[t->depth - 1] == AT_CHOICES)
			break;
		/* fall through */
	case AT_ARGUMENTS:
		add_text(r, t->size);
		r->text_begin = t->begin + 1;
		r->text_end = t->end - 1;
		break;
	case AT_MEDIA:
		r->has_content |= t->size > 0;
		break;
	case AT_ERROR:
		r->has_error |= t->size > 0;
		break;
	case AT_DETAIL:
		r->has_refusal_shape |= t->size > 0;
		break;
	case AT_CODE:
		r->has_code = true;
		break;
	case AT_ERROR_MESSAGE:
	case AT_STARTED:
		r->has_message = true;
		break;
	case AT_TYPE:
		r->type = answer_type_of(text_of(t, room));
		break;
	case AT_BLOCK_TYPE:
		r->has_content |= ends_with(text_of(t, room), "tool_use");
		break;
	case AT_ITEM_TYPE:
		r->has_content |= ends_with(text_of(t, room), "_call");
		break;
	default:
		break;
	}
}

static void
take_scalar(struct usage_reader *r, const struct json_token *t)
{
	unsigned place = place_of(r, t->depth);

	if (place == NOWHERE)
		return;
	if (place_is_count(place)) {
		if (t->kind != JSON_NULL)
			take_count(r, place, t);
	} else if (place == AT_INDEX) {
		take_index(r, t);
	} else if (place == AT_COST || place == AT_TICKS) {
		if (t->kind != JSON_NULL)
			take_cost(r, place, t);
	} else if (t->kind == JSON_STRING) {
		take_string(r, place, t);
	} else if (place == AT_DONE && t->kind == JSON_TRUE) {
		r->done = MARK_TRUE;
	} else if (place == AT_DONE && t->kind == JSON_FALSE) {
		r->done = r->done == MARK_TRUE ? MARK_TRUE : MARK_FALSE;
	} else if (place == AT_ERROR && t->kind == JSON_TRUE) {
		r->has_error = true;
	} else if (place == AT_CODE && t->kind == JSON_NUMBER) {
		r->has_code = true;
	}
	if (place == AT_CHOICES && is_in_list(r, t->depth))
		r->choices = CHOICES_SOME;
}

/* A member of the document itself begins.  The one with the usage is cut out
 * with the comma before it; the very first has none, and is cut up to the
 * second's key. */
static void
begin_member(struct usage_reader *r, const struct json_token *key)
{
	if (r->ends_at_key)
		r->cut_end = key->begin;
	r->ends_at_key = false;
	r->is_in_member = true;
	r->is_in_usage = r->place == AT_USAGE && r->cut_end == 0;
	if (r->is_in_usage)
		r->cut_begin = r->member_end > 0 ? r->member_end : key->begin;
}

static void
end_member(struct usage_reader *r, const struct json_token *t)
{
	if (r->is_in_usage && t->kind == JSON_OBJECT_END) {
		r->cut_end = r->usage_end = t->end;
		r->ends_at_key = r->member_end == 0;
	}
	r->is_in_member = r->is_in_usage = false;
	r->member_end = t->end;
}

static bool
on_token(void *arg, const struct json_token *t)
{
	struct usage_reader *r = arg;
	char room[JSON_TEXT_BYTES];

	switch (t->kind) {
	case JSON_KEY:
		r->place = (uint8_t)answer_map_member(
		    r->path[t->depth - 1], text_of(t, room));
		if (t->depth == 1)
			begin_member(r, t);
		return true;
	case JSON_OBJECT:
	case JSON_ARRAY:
		enter(r, t);
		return true;
	case JSON_OBJECT_END:
	case JSON_ARRAY_END:
		leave(r, t);
		break;
	case JSON_STRING:
	case JSON_NUMBER:
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		if (t->depth > 0)
			take_scalar(r, t);
		break;
	}
	if (t->depth == 1)
		end_member(r, t);
	return t->depth > 0 || !r->stops_at_end;
}

void
usage_reader_begin(struct usage_reader *r, enum server_kind kind,
    enum server_api api, bool stops_at_end)
{
	memset(r, 0, offsetof(struct usage_reader, counts));
	r->usage = USAGE_UNKNOWN;
	r->cost_pusd = -1;
	r->api = api;
	r->reasons_beside =
	    api == API_CHAT && kind_has(kind, KIND_REASONS_BESIDE);
	r->stops_at_end = stops_at_end;
	forget_counts(r, PLACE_COUNT - 1);
	json_scan_init(&r->json, on_token, r, UINT_MAX);
}

enum json_verdict
usage_reader_feed(struct usage_reader *r, const char *p, size_t len)
{
	return json_scan_feed(&r->json, p, len);
}

uint64_t
usage_reader_hold(const struct usage_reader *r)
{
	if (r->is_in_usage || r->cut_end > 0)
		return r->cut_begin;
	if (r->json.depth != 1 || r->is_in_member)
		return UINT64_MAX;
	return r->member_end > 0 ? r->member_end : 1;
}

void
usage_reader_repeat(struct usage_reader *r, const int32_t *counts)
{
	r->rank = USAGE_RANK_NONE;
	r->usage = USAGE_UNKNOWN;
	for (unsigned i = 0; i < r->digit_count; i++)
		*count_at(r, r->digits[i].place) = counts[i];
	if (r->digit_count > 0)
		finish_usage(r, r->is_usage_nested);
}

bool
usage_reader_end(struct usage_reader *r)
{
	r->has_refusal_shape |= r->has_message && r->has_code;
	use_other_counts(r);
	return json_scan_end(&r->json) != JSON_BAD;
}
