#include "metering/answer_map.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/banned.h"

/* The keys that matter, by length: nearly every key of an answer is passed over
 * after one or two comparisons. */
#define KEYS(X)                                                       \
	X(4, CODE, "code")                                            \
	X(4, COST, "cost")                                            \
	X(4, DATA, "data")                                            \
	X(4, DONE, "done")                                            \
	X(4, ITEM, "item")                                            \
	X(4, META, "meta")                                            \
	X(4, STOP, "stop")                                            \
	X(4, TEXT, "text")                                            \
	X(4, TYPE, "type")                                            \
	X(5, AUDIO, "audio")                                          \
	X(5, DELTA, "delta")                                          \
	X(5, ERROR, "error")                                          \
	X(5, FAULT, "fault")                                          \
	X(5, INDEX, "index")                                          \
	X(5, INPUT, "input")                                          \
	X(5, USAGE, "usage")                                          \
	X(6, DETAIL, "detail")                                        \
	X(6, OUTPUT, "output")                                        \
	X(6, TOKENS, "tokens")                                        \
	X(6, X_GROQ, "x_groq")                                        \
	X(7, CACHE_N, "cache_n")                                      \
	X(7, CHOICES, "choices")                                      \
	X(7, CONTENT, "content")                                      \
	X(7, MESSAGE, "message")                                      \
	X(7, REFUSAL, "refusal")                                      \
	X(7, SUMMARY, "summary")                                      \
	X(7, TIMINGS, "timings")                                      \
	X(8, FUNCTION, "function")                                    \
	X(8, PROMPT_N, "prompt_n")                                    \
	X(8, RESPONSE, "response")                                    \
	X(8, THINKING, "thinking")                                    \
	X(9, ARGUMENTS, "arguments")                                  \
	X(9, REASONING, "reasoning")                                  \
	X(10, EVAL_COUNT, "eval_count")                               \
	X(10, ITERATIONS, "iterations")                               \
	X(10, TOOL_CALLS, "tool_calls")                               \
	X(10, TRANSCRIPT, "transcript")                               \
	X(11, PREDICTED_N, "predicted_n")                             \
	X(12, AUDIO_TOKENS, "audio_tokens")                           \
	X(12, BILLED_UNITS, "billed_units")                           \
	X(12, INPUT_TOKENS, "input_tokens")                           \
	X(12, PARTIAL_JSON, "partial_json")                           \
	X(12, TOTAL_TOKENS, "total_tokens")                           \
	X(13, CACHED_TOKENS, "cached_tokens")                         \
	X(13, CONTENT_BLOCK, "content_block")                         \
	X(13, FUNCTION_CALL, "function_call")                         \
	X(13, OUTPUT_TOKENS, "output_tokens")                         \
	X(13, PROMPT_TOKENS, "prompt_tokens")                         \
	X(15, THINKING_TOKENS, "thinking_tokens")                     \
	X(16, REASONING_TOKENS, "reasoning_tokens")                   \
	X(16, TOKENS_EVALUATED, "tokens_evaluated")                   \
	X(16, TOKENS_PREDICTED, "tokens_predicted")                   \
	X(17, COMPLETION_TOKENS, "completion_tokens")                 \
	X(17, COST_TICKS, "cost_in_usd_ticks")                        \
	X(17, PROMPT_EVAL_COUNT, "prompt_eval_count")                 \
	X(17, REASONING_CONTENT, "reasoning_content")                 \
	X(18, CACHE_WRITE_TOKENS, "cache_write_tokens")               \
	X(19, INPUT_TOKEN_DETAILS, "input_token_details")             \
	X(20, CREATED_CACHE_TOKENS, "created_cache_tokens")           \
	X(20, INPUT_TOKENS_DETAILS, "input_tokens_details")           \
	X(21, OUTPUT_TOKENS_DETAILS, "output_tokens_details")         \
	X(21, PROMPT_TOKENS_DETAILS, "prompt_tokens_details")         \
	X(23, CACHE_HIT, "prompt_cache_hit_tokens")                   \
	X(23, CACHE_READ, "cache_read_input_tokens")                  \
	X(25, COMPLETION_TOKENS_DETAILS, "completion_tokens_details") \
	X(27, CACHE_CREATION, "cache_creation_input_tokens")

enum key {
	KEY_OTHER,
#define X(len, name, text) KEY_##name,
	KEYS(X)
#undef X
	    KEY_COUNT
};

#define KEY_BYTES_MOST 27

/* Where a key leads. */
static const uint8_t map[LAST_LIST + 1][KEY_COUNT] =
    {
	[AT_DOC_CHAT] =
	    {
		[KEY_CHOICES] = AT_CHOICES,
		[KEY_USAGE] = AT_USAGE,
		[KEY_META] = AT_META,
		[KEY_X_GROQ] = AT_GROQ,
		[KEY_TIMINGS] = AT_TIMINGS,
		[KEY_TYPE] = AT_TYPE,
		[KEY_ERROR] = AT_ERROR,
		[KEY_DETAIL] = AT_DETAIL,
		[KEY_FAULT] = AT_DETAIL,
		[KEY_CODE] = AT_CODE,
		[KEY_DONE] = AT_DONE,
		[KEY_STOP] = AT_DONE,
		[KEY_MESSAGE] = AT_ERROR_MESSAGE,
		[KEY_RESPONSE] = AT_WORDS,
		[KEY_THINKING] = AT_WORDS,
		[KEY_CONTENT] = AT_WORDS,
		[KEY_TEXT] = AT_WORDS,
		[KEY_TOKENS_EVALUATED] = COUNT_EVALUATED,
		[KEY_TOKENS_PREDICTED] = COUNT_PREDICTED,
		[KEY_PROMPT_EVAL_COUNT] = COUNT_OLLAMA_PROMPT,
		[KEY_EVAL_COUNT] = COUNT_OLLAMA_OUTPUT,
	    },
	[AT_DOC_MESSAGES] =
	    {
		[KEY_TYPE] = AT_TYPE,
		[KEY_DELTA] = AT_DELTA,
		[KEY_CONTENT_BLOCK] = AT_BLOCK,
		[KEY_USAGE] = AT_USAGE,
		[KEY_MESSAGE] = AT_STARTED,
		[KEY_CONTENT] = AT_WORDS,
		[KEY_ERROR] = AT_ERROR,
		[KEY_DETAIL] = AT_DETAIL,
		[KEY_FAULT] = AT_DETAIL,
		[KEY_CODE] = AT_CODE,
	    },
	[AT_DOC_RESPONSES] =
	    {
		[KEY_TYPE] = AT_TYPE,
		[KEY_DELTA] = AT_WORDS,
		[KEY_ITEM] = AT_ITEM,
		[KEY_RESPONSE] = AT_RESPONSE,
		[KEY_USAGE] = AT_USAGE,
		[KEY_OUTPUT] = AT_OUTPUT,
		[KEY_ERROR] = AT_ERROR,
		[KEY_DETAIL] = AT_DETAIL,
		[KEY_FAULT] = AT_DETAIL,
		[KEY_CODE] = AT_CODE,
		[KEY_MESSAGE] = AT_ERROR_MESSAGE,
	    },
	[AT_GROQ] = {[KEY_USAGE] = AT_USAGE},
	[AT_TIMINGS] =
	    {
		[KEY_CACHE_N] = COUNT_TIMED_CACHE,
		[KEY_PROMPT_N] = COUNT_TIMED_PROMPT,
		[KEY_PREDICTED_N] = COUNT_TIMED_PREDICTED,
	    },
	[AT_USAGE] =
	    {
		[KEY_PROMPT_TOKENS] = COUNT_PROMPT,
		[KEY_INPUT_TOKENS] = COUNT_INPUT,
		[KEY_COMPLETION_TOKENS] = COUNT_COMPLETION,
		[KEY_OUTPUT_TOKENS] = COUNT_OUTPUT,
		[KEY_TOTAL_TOKENS] = COUNT_TOTAL,
		[KEY_PROMPT_TOKENS_DETAILS] = AT_IN_DETAILS,
		[KEY_INPUT_TOKENS_DETAILS] = AT_IN_DETAILS,
		[KEY_INPUT_TOKEN_DETAILS] = AT_IN_DETAILS,
		[KEY_COMPLETION_TOKENS_DETAILS] = AT_OUT_DETAILS,
		[KEY_OUTPUT_TOKENS_DETAILS] = AT_OUT_DETAILS,
		[KEY_CACHE_HIT] = COUNT_CACHE_HIT,
		[KEY_CACHED_TOKENS] = COUNT_CACHE_HIT,
		[KEY_CACHE_READ] = COUNT_CACHE_READ,
		[KEY_CACHE_CREATION] = COUNT_CACHE_CREATION,
		[KEY_REASONING_TOKENS] = COUNT_REASONING,
		[KEY_ITERATIONS] = AT_ITERATIONS,
		[KEY_BILLED_UNITS] = AT_BILLED,
		[KEY_TOKENS] = AT_TOKENS,
		[KEY_COST] = AT_COST,
		[KEY_COST_TICKS] = AT_TICKS,
	    },
	[AT_META] =
	    {
		[KEY_BILLED_UNITS] = AT_BILLED,
		[KEY_TOKENS] = AT_TOKENS,
	    },
	[AT_BILLED] =
	    {
		[KEY_INPUT_TOKENS] = COUNT_BILLED_INPUT,
		[KEY_OUTPUT_TOKENS] = COUNT_BILLED_OUTPUT,
	    },
	[AT_TOKENS] =
	    {
		[KEY_INPUT_TOKENS] = COUNT_INPUT,
		[KEY_OUTPUT_TOKENS] = COUNT_OUTPUT,
	    },
	[AT_IN_DETAILS] =
	    {
		[KEY_CACHED_TOKENS] = COUNT_CACHED,
		[KEY_CACHE_WRITE_TOKENS] = COUNT_CACHE_WRITE,
		[KEY_CREATED_CACHE_TOKENS] = COUNT_CACHE_WRITE,
		[KEY_AUDIO_TOKENS] = COUNT_AUDIO_IN,
	    },
	[AT_OUT_DETAILS] =
	    {
		[KEY_REASONING_TOKENS] = COUNT_REASONING,
		[KEY_THINKING_TOKENS] = COUNT_REASONING,
		[KEY_AUDIO_TOKENS] = COUNT_AUDIO_OUT,
	    },
	[AT_MESSAGE] =
	    {
		[KEY_CONTENT] = AT_WORDS,
		[KEY_REASONING] = AT_WORDS,
		[KEY_REASONING_CONTENT] = AT_WORDS,
		[KEY_THINKING] = AT_WORDS,
		[KEY_REFUSAL] = AT_WORDS,
		[KEY_TOOL_CALLS] = AT_CALLS,
		[KEY_FUNCTION_CALL] = AT_CALL,
		[KEY_AUDIO] = AT_AUDIO,
	    },
	[AT_CALL] = {[KEY_ARGUMENTS] = AT_ARGUMENTS},
	[AT_AUDIO] = {[KEY_DATA] = AT_MEDIA, [KEY_TRANSCRIPT] = AT_WORDS},
	[AT_STARTED] = {[KEY_USAGE] = AT_USAGE, [KEY_CONTENT] = AT_WORDS},
	[AT_DELTA] =
	    {
		[KEY_TEXT] = AT_WORDS,
		[KEY_THINKING] = AT_WORDS,
		[KEY_PARTIAL_JSON] = AT_WORDS,
	    },
	[AT_BLOCK] =
	    {
		[KEY_TYPE] = AT_BLOCK_TYPE,
		[KEY_TEXT] = AT_WORDS,
		[KEY_THINKING] = AT_WORDS,
		[KEY_INPUT] = AT_ARGUMENTS,
	    },
	[AT_RESPONSE] = {[KEY_USAGE] = AT_USAGE, [KEY_OUTPUT] = AT_OUTPUT},
	[AT_ITEM] = {[KEY_TYPE] = AT_ITEM_TYPE},
	[AT_CHOICES] =
	    {
		[KEY_INDEX] = AT_INDEX,
		[KEY_DELTA] = AT_MESSAGE,
		[KEY_MESSAGE] = AT_MESSAGE,
		[KEY_TEXT] = AT_WORDS,
	    },
	[AT_CALLS] = {[KEY_FUNCTION] = AT_CALL},
	[AT_OUTPUT] =
	    {
		[KEY_CONTENT] = AT_WORDS,
		[KEY_SUMMARY] = AT_WORDS,
		[KEY_ARGUMENTS] = AT_ARGUMENTS,
		[KEY_INPUT] = AT_ARGUMENTS,
	    },
	[AT_ITERATIONS] =
	    {
		[KEY_INPUT_TOKENS] = COUNT_EACH_INPUT,
		[KEY_OUTPUT_TOKENS] = COUNT_EACH_OUTPUT,
		[KEY_CACHE_READ] = COUNT_EACH_READ,
		[KEY_CACHE_CREATION] = COUNT_EACH_CREATION,
	    },
	[AT_WORDS] =
	    {
		[KEY_TEXT] = AT_WORDS,
		[KEY_THINKING] = AT_WORDS,
		[KEY_REFUSAL] = AT_WORDS,
		[KEY_INPUT] = AT_ARGUMENTS,
	    },
};

static enum key
key_of(struct slice s)
{
	static const struct {
		const char *text;
		size_t len;
	} keys[KEY_COUNT + 1] = {
#define X(len, name, text) [KEY_##name] = {text, len},
	    KEYS(X)
#undef X
	};
	static const uint8_t first_of_length[KEY_BYTES_MOST + 1] = {
	    [4] = KEY_CODE,
	    [5] = KEY_AUDIO,
	    [6] = KEY_DETAIL,
	    [7] = KEY_CACHE_N,
	    [8] = KEY_FUNCTION,
	    [9] = KEY_ARGUMENTS,
	    [10] = KEY_EVAL_COUNT,
	    [11] = KEY_PREDICTED_N,
	    [12] = KEY_AUDIO_TOKENS,
	    [13] = KEY_CACHED_TOKENS,
	    [15] = KEY_THINKING_TOKENS,
	    [16] = KEY_REASONING_TOKENS,
	    [17] = KEY_COMPLETION_TOKENS,
	    [18] = KEY_CACHE_WRITE_TOKENS,
	    [19] = KEY_INPUT_TOKEN_DETAILS,
	    [20] = KEY_CREATED_CACHE_TOKENS,
	    [21] = KEY_OUTPUT_TOKENS_DETAILS,
	    [23] = KEY_CACHE_HIT,
	    [25] = KEY_COMPLETION_TOKENS_DETAILS,
	    [27] = KEY_CACHE_CREATION,
	};
	unsigned k;

	if (s.len > KEY_BYTES_MOST)
		return KEY_OTHER;
	k = first_of_length[s.len];
	for (; k != KEY_OTHER && keys[k].len == s.len; k++) {
		if (keys[k].text[0] == s.p[0] &&
		    memcmp(keys[k].text, s.p, s.len) == 0)
			return (enum key)k;
	}
	return KEY_OTHER;
}

unsigned
answer_map_member(unsigned place, struct slice key)
{
	assert(place <= LAST_LIST);
	return map[place][key_of(key)];
}
