/*
 * move.h - an exchange and its client, from one worker to another: while it is
 * not judged yet, and holds nothing but its request.
 */
#pragma once

#include "base/attr.h"

struct exchange;
struct worker;

/* Moves x to `to` at the end of this loop turn, when nobody on the way here
 * looks at it any more; there its step runs again.  If its client leaves
 * before, it ends here.  The step that calls this returns WAIT. */
void exchange_move(struct exchange *x, struct worker *to);

/* On the worker's thread: sends those that go, takes in those that have come.
 */
void moves_send(struct worker *w);
void moves_take(struct worker *w);

/* No worker runs any more: lets those go that were still on their way. */
void moves_drop(struct worker *w);
