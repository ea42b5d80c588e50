/*
 * learned.h - what real answers have taught about a model at an upstream.
 *
 * So far: how many bytes of text make a token, in prompts and in answers, as a
 * moving average.  It is what counts are estimated with where an upstream says
 * none, and before it has said any.  What was learned is kept over restarts in
 * <state_dir>/learned.json, a file that may be deleted at any time.
 *
 * Locked inside: all functions but open and close may be called by any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/fault.h"

#define LEARNED_FILE_NAME "learned.json"
#define LEARNED_MODELS_MOST 512 /* the one taught longest ago is forgotten */

/* Prompts and answers smaller than this teach nothing: what the server puts
 * around them weighs more than they do. */
#define LEARNED_LEAST_BYTES 64
#define LEARNED_LEAST_TOKENS 16

/* Millionths of a byte a token.  Samples beyond the bounds count as these. */
#define LEARNED_FALLBACK_MICROBYTES 4000000
#define LEARNED_LEAST_MICROBYTES 500000
#define LEARNED_MOST_MICROBYTES 16000000

struct learned;

/* What one whole answer teaches.  A half with no bytes or no tokens teaches
 * nothing: so leave out what is not comparable. */
struct learned_sample {
	uint64_t prompt_bytes; /* of the body, without its data: payloads; 0 if
				  it has images, whose tokens count too */
	int64_t prompt_tokens; /* all, cached ones included; -1: not said */
	uint64_t answer_bytes; /* of text, reasoning and tool calls; 0 if not
				  all of it was seen (a coded body) */
	int64_t answer_tokens; /* all, reasoning included; -1: not said */
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

/* How many tokens so many bytes of a prompt, or of an answer, will be.  Never 0
 * for any byte at all, and 0 for none. */
int64_t learned_input(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes);
int64_t learned_output(
    struct learned *l, const char *upstream, const char *model, uint64_t bytes);

/* Writes the file if something was learned since it was last written.  Waits
 * for the disk: not for a worker. */
MUST_CHECK bool learned_save(struct learned *l, struct fault *why);

/* Frees *lp, without saving, and sets it to NULL.  *lp may be NULL. */
void learned_close(struct learned **lp);
