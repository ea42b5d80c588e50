/*
 * words_chat.h - what the shapes of chat have in common.
 */
#pragma once

#include "words.h"

#define ALL_COUNTS (TELLS_CACHED | TELLS_REASONING)
#define DONE "data: [DONE]\n\n"

/* Usage objects, by the order of their keys. */
#define USAGE_PLAIN                                                  \
	"{'prompt_tokens':$prompt,'completion_tokens':$completion,'" \
	"total_tokens':$total}"
#define USAGE_TOTAL_SECOND                                 \
	"{'prompt_tokens':$prompt,'total_tokens':$total,'" \
	"completion_tokens':$completion"
#define USAGE_FULL                                                        \
	"{'prompt_tokens':$prompt,'completion_tokens':$completion,"       \
	"'total_tokens':$total,'prompt_tokens_details':{'cached_tokens':" \
	"$cached,'audio_tokens':0},'completion_tokens_details':{"         \
	"'reasoning_tokens':$reasoning,'audio_tokens':0,"                 \
	"'accepted_prediction_tokens':0,'rejected_prediction_tokens':0}}"
#define USAGE_RUNNING                                                \
	",'usage':{'prompt_tokens':$prompt,'total_tokens':$sototal," \
	"'completion_tokens':$sofar}"
#define USAGE_NULL ",'usage':null"

/* How a chunk of completions begins, where nothing else is known. */
#define DEFAULT_PIECE                                                       \
	"data: {'id':'cmpl-$name-$id','object':'text_completion',"          \
	"'created':$created,'model':'$model','system_fingerprint':'$name'," \
	"'choices':["
