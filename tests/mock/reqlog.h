/*
 * reqlog.h - the last requests, as they came and as they were answered.
 *
 * One ring for all threads, behind a mutex.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "bytes.h"
#include "request.h"
#include "stats.h"

#define REQLOG_ENTRIES 1000
#define REQLOG_BODY_MAX 65536

/* Notes request `id`; what it was answered with comes later. */
void reqlog_add(
    uint64_t id, const struct request *rq, struct text body, enum route route);

/* Completes the entry, if the ring still has it.  `end` is a static text; `a`
 * is NULL if there was no answer. */
void reqlog_end(uint64_t id, const struct answer *a, enum fault fault,
    const char *end, uint64_t sent, bool was_usage_sent);

/* Appends a JSON array, oldest first. */
void reqlog_render(struct bytes *b);

void reqlog_clear(void);
