/*
 * prefill_curve.h - how long a server takes from the request to its first
 * token, by how many tokens of the prompt it has to read.
 *
 * Of each size class (an octave of tokens) the latest samples are kept.  The
 * classes' medians are points of a curve, which is straight between them: so it
 * follows servers that read long prompts at another rate, and what took long
 * for other reasons does not move it.  It never falls: a long prompt that took
 * less shows that a shorter one does not take more.  Beyond the last point it
 * goes on with the rate of the largest classes, but not far: what is much
 * larger than all that was seen is not predicted, because what a server needs
 * for any prompt at all would be taken for its rate.
 *
 * A plain value: {0} has learned nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define PREFILL_REACH 8    /* times the largest prompts seen */
#define PREFILL_CLASSES 18 /* below 64 tokens, ..., from 2^22 on */
#define PREFILL_SAMPLES 9  /* kept of each */
#define PREFILL_SAMPLES_MOST (PREFILL_CLASSES * PREFILL_SAMPLES)
#define PREFILL_TOKENS_MOST (UINT32_C(1) << 23)
#define PREFILL_MS_MOST                                      \
	UINT32_C(86400000) /* samples above it are not taken \
			    */

struct prefill_sample {
	uint32_t tokens, ms;
	uint64_t number; /* counts up; 0: none */
};

struct prefill_curve {
	struct prefill_sample samples[PREFILL_CLASSES][PREFILL_SAMPLES];
	uint64_t last_number;

	/* What they come to; is_old: not any more. */
	bool is_old;
	unsigned point_count;
	struct prefill_point {
		double tokens, ms;
		uint64_t oldest, newest; /* of the samples in it */
		uint32_t samples;
	} points[PREFILL_CLASSES];
	double ms_a_token; /* beyond the last point */
	uint32_t largest;  /* tokens of a sample */
};

/* Learns that the first token came `ms` after the request, for which so many
 * tokens had to be read.  What cannot be is passed over. */
void prefill_curve_add(struct prefill_curve *p, uint64_t tokens, uint64_t ms);

/* Predicts *ms.  False while nothing has been learned. */
MUST_CHECK bool prefill_curve_predict(
    struct prefill_curve *p, uint64_t tokens, uint64_t *ms);

/* Thousandths of a token a second, for the largest prompts that were seen; 0
 * while it is not known. */
uint64_t prefill_curve_rate(struct prefill_curve *p);

/* Copies the samples that are kept, the oldest first; returns how many. */
size_t prefill_curve_samples(const struct prefill_curve *p,
    struct prefill_sample to[PREFILL_SAMPLES_MOST]);
