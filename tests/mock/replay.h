/*
 * replay.h - answers that a test has uploaded, to be sent byte for byte.
 *
 * One body and one raw answer (with its head) for the whole server; they may
 * be replaced at any time, from any thread.
 */
#pragma once

#include "bytes.h"
#include "directives.h"

/* Keeps a copy of p[0..n) as the answer of this kind. */
void replay_set(enum replay_kind kind, const char *p, size_t n);

/* Appends what replay_set was given last. */
void replay_copy(enum replay_kind kind, struct bytes *b);
