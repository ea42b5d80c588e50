/*
 * answer_sizes.h - how long the answers of a model are: which length most of
 * them stay below.
 *
 * A histogram with eight steps an octave, so a length is known to an eighth,
 * in a few hundred bytes.  It forgets slowly: an answer weighs half as much
 * once ANSWER_SIZES_REMEMBERED more have come.  A plain value: {0} is empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_SIZES_STEPS                                                 \
	152                  /* the last holds all of 2^21 tokens and more \
			      */
#define ANSWER_SIZES_LEAST 8 /* answers before it says anything */
#define ANSWER_SIZES_REMEMBERED 512

struct answer_sizes {
	uint16_t weights[ANSWER_SIZES_STEPS];
	uint32_t all; /* their sum */
};

/* Counts an answer of so many tokens (at least 1). */
void answer_sizes_add(struct answer_sizes *a, uint64_t tokens);

/* A length that so many of 100 answers do not exceed; 0 while too few have been
 * seen. */
uint64_t answer_sizes_percentile(
    const struct answer_sizes *a, unsigned percent);

/* The most tokens that a step stands for. */
uint64_t answer_sizes_step_tokens(size_t step);

/* Puts back what a step weighed, by a number of tokens in it.  False, with
 * nothing changed, if no step can weigh that. */
bool answer_sizes_restore(
    struct answer_sizes *a, uint64_t tokens, uint64_t weight);
