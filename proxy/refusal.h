/*
 * refusal.h - what a limit or a budget says when it refuses: one sentence with
 * what was used, what is held open, what would be needed and what is allowed,
 * when it starts again, and the way out.
 */
#pragma once

#include <stddef.h>

#include "auth/account.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/clock.h"
#include "proxy/ends.h"
#include "proxy/exchange_steps.h"

struct exchange;

/* What a client is told to wait where only open requests leave no room. */
#define HELD_RETRY_NS (5 * NS_PER_SECOND)

/* Appends the sentence, with its full stop.  `subject` is whose limit it was,
 * an index into x->subjects, or x->subject_count: everybody's together. */
void refusal_write(const struct exchange *x, const struct refusal *why,
    size_t subject, struct buf *to);

/* The way in which a request ends that was refused so. */
enum end refusal_kind(const struct refusal *why);

/* Ends the exchange with it. */
enum next refusal_end(
    struct exchange *x, const struct refusal *why, size_t subject);
