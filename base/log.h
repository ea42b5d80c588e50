/*
 * log.h - what the gateway tells its operator: one line an event, on stderr.
 *
 * Under systemd ($JOURNAL_STREAM names our stderr) each line begins with its
 * <priority>; elsewhere with the time.  Control bytes in what is logged come
 * out as \xNN, so no text from a peer can forge a line.  Secrets never go in:
 * keys by their id, upstreams by their name.  Any thread may log.
 */
#pragma once

#include "base/attr.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO };

/* Sets what is left out.  Before other threads start.  `journal` true writes
 * <priority> prefixes instead of times. */
void log_setup(enum log_level most, _Bool journal);

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warning(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
