/*
 * answer_map.h - the map of an answer: where each key leads that matters.
 *
 * A place is an object, a list of objects, or a value.  One goes from the
 * document's own place (by its API) from key to key; whatever the map does not
 * show is NOWHERE.  Objects in a list have the list's members.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/text.h"

/* Where a value stands; the comments say what stands there. */
enum place {
	NOWHERE,
	/* Whole documents, by API. */
	AT_DOC_CHAT,
	AT_DOC_MESSAGES,
	AT_DOC_RESPONSES,
	/* Objects. */
	AT_GROQ,
	AT_TIMINGS,
	AT_USAGE,
	AT_IN_DETAILS,
	AT_OUT_DETAILS,
	AT_MESSAGE,  /* what the model says: a choice's delta or message */
	AT_CALL,     /* a function call: its arguments */
	AT_AUDIO,    /* a part of spoken audio */
	AT_STARTED,  /* Anthropic's message_start.message */
	AT_DELTA,    /* Anthropic's content_block_delta.delta */
	AT_BLOCK,    /* Anthropic's content_block_start.content_block */
	AT_RESPONSE, /* OpenAI's response object in a response.* event */
	AT_ITEM,     /* OpenAI's response.output_item.*.item */
	AT_META,     /* Cohere's: usage of a rerank */
	AT_BILLED,   /* ...what is charged, */
	AT_TOKENS,   /* ...and what the model read and wrote */
	/* Lists of objects; each object has the members given for the list. */
	AT_CHOICES,
	AT_CALLS,
	AT_OUTPUT,
	AT_ITERATIONS,
	AT_WORDS, /* a text, or a list of parts that hold texts */
	/* Values. */
	AT_TYPE,
	AT_BLOCK_TYPE,
	AT_ITEM_TYPE,
	AT_DONE,
	AT_ERROR,
	AT_DETAIL,
	AT_CODE,
	AT_ERROR_MESSAGE, /* a text; or the message of ollama's own API */
	AT_ARGUMENTS,     /* a text, or an object that counts as its JSON */
	AT_MEDIA,
	AT_INDEX, /* a choice's */
	AT_COST,  /* in dollars, a fraction */
	AT_TICKS, /* in ticks, 10^10 to the dollar */
	/* Counts. */
	COUNT_PROMPT,
	COUNT_INPUT,
	COUNT_COMPLETION,
	COUNT_OUTPUT,
	COUNT_TOTAL,
	COUNT_CACHED,
	COUNT_CACHE_HIT,
	COUNT_CACHE_READ,
	COUNT_CACHE_WRITE,
	COUNT_CACHE_CREATION,
	COUNT_REASONING,
	COUNT_AUDIO_IN,
	COUNT_AUDIO_OUT,
	COUNT_BILLED_INPUT,
	COUNT_BILLED_OUTPUT,
	COUNT_EACH_INPUT, /* these four are summed over all iterations */
	COUNT_EACH_OUTPUT,
	COUNT_EACH_READ,
	COUNT_EACH_CREATION,
	COUNT_TIMED_CACHE,
	COUNT_TIMED_PROMPT,
	COUNT_TIMED_PREDICTED,
	COUNT_EVALUATED,
	COUNT_PREDICTED,
	COUNT_OLLAMA_PROMPT,
	COUNT_OLLAMA_OUTPUT,
	PLACE_COUNT,

	FIRST_LIST = AT_CHOICES,
	LAST_LIST = AT_WORDS,
	FIRST_COUNT = COUNT_PROMPT,
	LAST_OF_USAGE = COUNT_EACH_CREATION,
};

static inline bool
place_is_list(unsigned place)
{
	return place >= FIRST_LIST && place <= LAST_LIST;
}

static inline bool
place_is_count(unsigned place)
{
	return place >= FIRST_COUNT;
}

static inline bool
place_is_object(unsigned place)
{
	return place > NOWHERE && place < FIRST_LIST;
}

/* Returns the place of the member `key` (decoded) of an object at `place`. */
unsigned answer_map_member(unsigned place, struct slice key);
