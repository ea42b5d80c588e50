/*
 * learned_inner.h - what is learned, for learned.c and learned_file.c alone.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/answer_sizes.h"
#include "metering/learned.h"
#include "metering/prefill_curve.h"

#define SPEED_SAMPLES 9
#define LESSON_SLOTS 1024 /* a power of two, at least half of them free */

/* A new sample weighs this much, once there are as many. */
#define RATIO_SAMPLES_REMEMBERED 32
#define RATIO_SAMPLES_TRUSTED 8 /* from so many on an odd one is bounded */

struct ratio {
	uint32_t microbytes; /* a token; 0: nothing is known */
	uint32_t samples;    /* at most RATIO_SAMPLES_REMEMBERED */
	uint32_t tokens;     /* that it comes from: its weight */
};

/* How fast answers are written: the latest samples, and their median. */
struct speed {
	uint32_t rates[SPEED_SAMPLES]; /* thousandths of a token a second */
	uint32_t median;               /* 0: nothing is known */
	uint64_t count;                /* all that ever came */
};

struct lesson {
	char *upstream, *model; /* owned */
	uint64_t hash;          /* of both */
	uint64_t taught;        /* counts up; the least was longest ago */
	struct ratio input, output;
	struct answer_sizes sizes;
	struct prefill_curve prefill;
	struct speed speed;
};

struct learned {
	char *path; /* owned */
	pthread_mutex_t mutex;
	/* All below is guarded by it. */
	struct lesson *lessons[LEARNED_MODELS_MOST]; /* owned */
	size_t count;
	uint16_t slots[LESSON_SLOTS]; /* by hash: index + 1; 0: free */
	uint64_t clock;               /* the last `taught` */
	bool is_changed;
};

_Static_assert(2 * LEARNED_MODELS_MOST <= LESSON_SLOTS, "half of them free");

/* The lesson of a model, made if there is none; it is the last one taught. */
struct lesson *lesson_find_or_add(
    struct learned *l, const char *upstream, const char *model);

/* Forgets all of them. */
void lessons_clear(struct learned *l);

/* Fills `to` with all lessons, in the order in which they were taught. */
void lessons_in_order(
    const struct learned *l, struct lesson *to[LEARNED_MODELS_MOST]);

/* Another answer was written so fast; 0 is passed over. */
void speed_add(struct speed *s, uint64_t rate);

/* Reads what learned_write() writes, or an older version did.  False with the
 * reason and no lessons if it is something else. */
bool learned_read(struct learned *l, struct slice text, struct fault *why);

/* Appends the file's text. */
void learned_write(const struct learned *l, struct buf *to);
