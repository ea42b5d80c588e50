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

/* A count is plain digits; anything else at its place is damage. */
static void
take_count(struct usage_reader *r, unsigned place, struct slice digits)
{
	int32_t *count = count_at(r, place);
	uint64_t n, most = USAGE_MOST_TOKENS;

	if (place >= COUNT_EACH_INPUT && place <= COUNT_EACH_CREATION &&
	    *count > 0)
		most -= (uint64_t)*count;
	if (!text_to_u64(digits, most, &n)) {
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

/* A usage object has ended.  One that is all zeros was sent for form's sake. */
static void
finish_usage(struct usage_reader *r, bool is_nested)
{
	bool has_output = r->api != API_EMBEDDINGS && r->api != API_RERANK;
	struct usage u = USAGE_UNKNOWN;
	bool is_zero = true;

	for (unsigned place = FIRST_COUNT; place <= LAST_OF_USAGE; place++)
		is_zero &= said(r, place) <= 0;
	if (is_zero)
		return;
	use_iterations(r);
	u.input = either(said(r, COUNT_PROMPT), said(r, COUNT_INPUT));
	u.output = either(said(r, COUNT_COMPLETION), said(r, COUNT_OUTPUT));
	if (!has_output) {
		u.input = first_said(u.input, said(r, COUNT_TOTAL));
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
	/* xAI's chat counts reasoning beside, not inside, the completion. */
	if (u.reasoning > 0 && u.input >= 0 && u.output >= 0 &&
	    said(r, COUNT_TOTAL) == u.input + u.output + u.reasoning)
		u.output += u.reasoning;
	if (r->api != API_MESSAGES && !usage_is_known(&u))
		return;
	r->usage = u;
	r->rank = USAGE_RANK_REPORTED;
	r->is_usage_nested = is_nested;
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
		if (r->api == API_EMBEDDINGS && u.output < 0)
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
	} else if (place == AT_USAGE && is_object) {
		forget_counts(r, LAST_OF_USAGE);
		r->has_usage_object |= t->depth == 1;
	} else if (place == AT_CHOICES) {
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

static void
leave(struct usage_reader *r, const struct json_token *t)
{
	if (r->json.report_depth == t->depth) {
		r->json.report_depth = UINT_MAX;
		if (r->skipped == AT_ARGUMENTS && t->end - r->begin > 2) {
			add_text(r, t->end - r->begin);
			r->texts++; /* no string: never the only one */
		}
	} else if (r->path[t->depth] == AT_USAGE) {
		finish_usage(
		    r, t->depth > 0 && r->path[t->depth - 1] == AT_RESPONSE);
	}
}

static void
take_string(struct usage_reader *r, unsigned place, const struct json_token *t)
{
	char room[JSON_TEXT_BYTES];

	switch (place) {
	case AT_WORDS:
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
			take_count(r, place,
			    t->kind == JSON_NUMBER && !t->is_cut
				? t->text
				: (struct slice){"", 0});
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

static bool
on_token(void *arg, const struct json_token *t)
{
	struct usage_reader *r = arg;
	char room[JSON_TEXT_BYTES];

	switch (t->kind) {
	case JSON_KEY:
		r->place = (uint8_t)answer_map_member(
		    r->path[t->depth - 1], text_of(t, room));
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
	return t->depth > 0 || !r->stops_at_end;
}

void
usage_reader_begin(
    struct usage_reader *r, enum server_api api, bool stops_at_end)
{
	memset(r, 0, offsetof(struct usage_reader, counts));
	r->usage = USAGE_UNKNOWN;
	r->api = api;
	r->stops_at_end = stops_at_end;
	forget_counts(r, PLACE_COUNT - 1);
	json_scan_init(&r->json, on_token, r, UINT_MAX);
}

enum json_verdict
usage_reader_feed(struct usage_reader *r, const char *p, size_t len)
{
	return json_scan_feed(&r->json, p, len);
}

bool
usage_reader_end(struct usage_reader *r)
{
	r->has_refusal_shape |= r->has_message && r->has_code;
	use_other_counts(r);
	return json_scan_end(&r->json) != JSON_BAD;
}
