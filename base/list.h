/*
 * list.h - an intrusive doubly linked list.
 *
 * A struct stands in a list by a `struct link` member.  A list's head is a
 * `struct link` too.  A link that stands in no list points at itself.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"

struct link {
	struct link *next, *prev;
};

static inline void
list_init(struct link *l)
{
	l->next = l->prev = l;
}

static inline bool
list_is_empty(const struct link *head)
{
	return head->next == head;
}

static inline void
list_insert_after(struct link *at, struct link *l)
{
	l->prev = at;
	l->next = at->next;
	at->next->prev = l;
	at->next = l;
}

static inline void
list_push(struct link *head, struct link *l)
{
	list_insert_after(head, l);
}

static inline void
list_append(struct link *head, struct link *l)
{
	list_insert_after(head->prev, l);
}

/* Takes `l` out of its list, if it stands in one. */
static inline void
list_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

/* `each` may be removed inside the loop, others must not be. */
#define LIST_EACH(head, each)                                             \
	for (struct link *each = (head)->next, *each##_next = each->next; \
	     each != (head); each = each##_next, each##_next = each->next)
