/*
 * grave.h - nothing frees itself inside its own callback.
 *
 * What dies is unhooked at once and buried; its memory goes at the end of the
 * loop turn, when no callback of it can be on the stack.
 */
#pragma once

#include "base/list.h"

struct grave {
	struct link link; /* of the worker's graveyard, once buried */
	void (*free)(struct grave *g);
};
