/*
 * running.h - counts that a stream tells as it goes, put together over its
 * choices.
 *
 * Such a count is cumulative, and of one choice: the last one of each choice is
 * kept, and these are added up.  Nothing is ever added to a choice's own count.
 * The choices of one prompt share their input; a list of prompts (completions)
 * has `per_prompt` choices for each, one prompt behind the other.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "metering/usage.h"

/* Choices beyond this are not kept apart. */
#define RUNNING_CHOICES_MOST 4096

struct running {
	struct usage *last; /* owned: of each choice; NULL while there is but
			       the first one */
	uint32_t room;
	uint32_t per_prompt; /* UINT32_MAX: there is one prompt */
	struct usage sum;    /* over all choices */
	int64_t first_input, first_cached,
	    first_cache_write; /* over the first choices of all prompts */
};

void running_init(struct running *r, uint32_t per_prompt);

/* Takes what was said of choice `index`; a count that was not said leaves the
 * earlier one.  The sum is then in r->sum.  False, with nothing taken, for a
 * choice beyond what is kept. */
MUST_CHECK bool running_take(
    struct running *r, uint32_t index, const struct usage *u);

/* Frees what it holds; it may be begun anew. */
void running_release(struct running *r);
