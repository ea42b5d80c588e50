/*
 * learned.h - what real answers have taught about a model at an upstream.
 *
 * How many bytes of text make a token, in prompts and in answers; how long
 * answers are; how long the server reads a prompt before its first token, and
 * how fast it writes after that.  It is what counts are estimated with where an
 * upstream says none, what a request is expected to use before it is let in,
 * and how long it is expected to take.  What was learned is kept over restarts
 * in <state_dir>/learned.json, a file that may be deleted at any time.
 *
 * Locked inside: all functions but open and close may be called by any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"

#define LEARNED_FILE_NAME "learned.json"
#define LEARNED_MODELS_MOST 512 /* the one taught longest ago is forgotten */

/* Prompts and answers smaller than this do not teach how many bytes make a
 * token: what the server puts around them weighs more than they do. */
#define LEARNED_LEAST_BYTES 64
#define LEARNED_LEAST_TOKENS 16

/* Millionths of a byte a token.  Samples beyond the bounds count as these. */
#define LEARNED_FALLBACK_MICROBYTES 4000000
#define LEARNED_LEAST_MICROBYTES 500000
#define LEARNED_MOST_MICROBYTES 16000000

/* What an answer is taken to have before enough have come
 * (ANSWER_SIZES_LEAST). */
#define LEARNED_FALLBACK_ANSWER_TOKENS 4096

struct learned;

/* What one whole answer teaches.  A part whose numbers are not known teaches
 * nothing: so leave out what is not comparable. */
struct learned_sample {
	uint64_t prompt_bytes; /* of the body, without its data: payloads; 0 if
				  it has images, whose tokens count too */
	int64_t prompt_tokens; /* all, cached ones included; -1: not said */
	uint64_t answer_bytes; /* of text, reasoning and tool calls; 0 if not
				  all of it was seen (a coded body) */
	int64_t answer_tokens; /* all, reasoning included; -1: not said */
	uint32_t answers;      /* that those are of (`n`); 0 is 1 */

	/* How long it took.  Both are needed for prefill. */
	uint64_t ttft_ms;        /* sending the request to the first content; 0:
				    not known */
	int64_t uncached_tokens; /* of the prompt, that the server had to read;
				    -1: not known */
	uint64_t generation_ms;  /* first content to the end; 0: not known */
};

/* What a request is expected to come to. */
struct learned_guess {
	int64_t input;        /* tokens of the prompt */
	int64_t uncached;     /* of those, what the server has to read */
	int64_t output_p95;   /* tokens; 95 of 100 answers have no more */
	int64_t tokens_a_mb;  /* of answer text: in 10^6 bytes */
	uint64_t ttft_ms;     /* sending to first content; 0: not known */
	uint64_t decode_rate; /* thousandths of a token a second, after that;
				 0: not known */
};

/* What is known of one model, for people.  0: nothing. */
struct learned_facts {
	const char *upstream, *model; /* borrowed for the call */
	uint32_t prompt_microbytes, answer_microbytes; /* a token */
	uint64_t output_p95;
	size_t prefill_samples;
	uint64_t prefill_rate, decode_rate; /* thousandths of a token a second
					     */
};

/* Opens what was learned before.  Never NULL; the caller owns it.  A file that
 * cannot be used is left to be replaced by the next save, nothing is known
 * then, and *why says so; otherwise why->text is "". */
struct learned *learned_open(const char *path, struct fault *why);

/* Learns from an answer whose counts the upstream itself said
 * (USAGE_UPSTREAM).  `upstream` is its name in the configuration, `model` the
 * upstream's own name for it; both are copied. */
void learned_note(struct learned *l, const char *upstream, const char *model,
    const struct learned_sample *s);

/* Fills in *g for a prompt of so many bytes, of which the server has likely
 * read the first `known_bytes` (prefix.h).  Before anything is learned it says
 * what is guessed then; one look-up for all of it. */
void learned_guess(struct learned *l, const char *upstream, const char *model,
    uint64_t prompt_bytes, uint64_t known_bytes, struct learned_guess *g);

/* How many tokens so many bytes of a prompt, or of an answer, will be.  Never 0
 * for any byte at all, and 0 for none. */
int64_t learned_input(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes);
int64_t learned_output(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes);

/* How long the first content takes if so many tokens must be read.  False while
 * nothing was learned of that. */
MUST_CHECK bool learned_prefill(struct learned *l, const char *upstream,
    const char *model, int64_t uncached_tokens, uint64_t *ms);

/* How fast the largest prompts were read, in thousandths of a token a second;
 * 0: not known. */
uint64_t learned_prefill_rate(
    struct learned *l, const char *upstream, const char *model);

/* Calls back for every model, the one taught last at the end; the callback must
 * not call these functions. */
typedef void (*learned_facts_fn)(void *arg, const struct learned_facts *f);
void learned_each(struct learned *l, learned_facts_fn on_facts, void *arg);

/* Writes the file if something was learned since it was last written.  Waits
 * for the disk: not for a worker. */
MUST_CHECK bool learned_save(struct learned *l, struct fault *why);

/* Frees *lp, without saving, and sets it to NULL.  *lp may be NULL. */
void learned_close(struct learned **lp);
