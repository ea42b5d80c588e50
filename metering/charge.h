/*
 * charge.h - from what was seen of an attempt to the tokens that it counts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "metering/usage.h"

/* `seen` and `source` as the tap has them (tap.h). */
struct charge_facts {
	struct usage seen;
	enum usage_source source;
	bool may_have_worked;   /* the upstream had the request and has not
				   refused it */
	int64_t input_estimate; /* tokens of the prompt, by its size */
	int64_t rest_estimate;  /* tokens of the text that `seen` does not
				   count */
};

/* Writes the counts to *out and returns where they come from.  What was said of
 * both input and output, and of all the text that came, is taken as it is; what
 * was not said is estimated, if the upstream may have worked.  For one that
 * refused no count is made up. */
enum usage_source charge_usage(const struct charge_facts *f, struct usage *out);
