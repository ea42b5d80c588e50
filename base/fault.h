/*
 * fault.h - why something failed, in words for a person.
 *
 * A function that can fail for the operator's or the system's reasons returns
 * false and fills one in; the caller decides what to do, and tells it once.
 */
#pragma once

#include "base/attr.h"

#define FAULT_TEXT_BYTES 512

struct fault {
	char text[FAULT_TEXT_BYTES]; /* one or two sentences, no newline */
};

/* Sets the text.  Always returns false, so that `return fault_set(…)` reads
 * well.  `why` may be NULL: then nobody wants to know. */
_Bool fault_set(struct fault *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same, followed by ": " and strerror(errno). */
_Bool fault_errno(struct fault *why, const char *fmt, ...) PRINTF_LIKE(2, 3);
