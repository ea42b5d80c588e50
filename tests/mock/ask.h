/*
 * ask.h - what the body of a request asks for.
 *
 * The body is checked as strict JSON in one pass and without a tree, so that a
 * gateway which spoils a body is found out, and a body of 400 KB stays cheap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "directives.h"

#define ASK_MODEL_MAX 512
#define ASK_CHOICES_MOST 8

struct ask {
	char model[ASK_MODEL_MAX]; /* as it stands in the body, with escapes */
	char mock[DIRECTIVES_TEXT_MAX];
	const char
	    *prompt; /* borrowed from the body: messages, prompt, input */
	size_t prompt_n;
	size_t prompt_bytes; /* of messages, prompt, input, query, documents */
	size_t inputs;       /* to embed, or documents to rank; at least 1 */
	uint64_t choices;    /* n: 1 to ASK_CHOICES_MOST */
	int64_t max_tokens;  /* -1: not said */
	bool is_stream;
	bool has_model;
	bool has_stream_options;
	bool has_usage_key;    /* ... with an include_usage in it */
	bool has_usage_wish;   /* stream_options.include_usage */
	bool has_running_wish; /* stream_options.continuous_usage_stats */
	bool wants_base64;     /* encoding_format of embeddings */
};

/* Reads the body p[0..n).  Returns false and a sentence in *why when it is no
 * JSON object, or a key of ours has a value of the wrong type. */
bool ask_read(struct ask *a, const char *p, size_t n, const char **why);
