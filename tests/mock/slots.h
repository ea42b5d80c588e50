/*
 * slots.h - how many requests the server works on at once, and which prompts it
 * still knows.
 *
 * Both are of the whole server, behind one mutex, so that its threads share
 * them.  Who gets no slot waits in the order of arrival, as long as it takes:
 * real servers never say 429.  A waiter is not woken, it looks again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request's slot, or its wait for one.  {0}: neither. */
struct slot {
	struct slot *next; /* of those that wait */
	uint64_t most;     /* slots that there are; 0: no limit */
	bool is_waiting;
	bool is_held;
};

/* Takes a slot of `most`, or waits for one behind all others. */
void slot_enter(struct slot *s, uint64_t most);

/* Whether its turn has come. */
bool slot_is_held(const struct slot *s);

/* Gives back what it has; the next one that waits gets it. */
void slot_leave(struct slot *s);

/* Returns how many of the bytes p[0..n) begin a prompt that was read whole. */
size_t prefix_known(const char *p, size_t n);

/* Remembers a prompt; the oldest ones are forgotten. */
void prefix_learn(const char *p, size_t n);

void prefix_forget(void);
