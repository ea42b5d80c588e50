/*
 * view_same.h - two views of a ledger line, member by member.
 */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "metering/ledger/ledger_view.h"

static inline bool
same_text(struct slice a, struct slice b)
{
	if (a.p == NULL || b.p == NULL)
		return a.p == b.p;
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

#define SAME_TEXT(a, b) same_text(a, b)
#define SAME_MONEY(a, b) ((a) == (b))
#define SAME_INT(a, b) ((a) == (b))
#define SAME_COUNT(a, b) ((a) == (b))
#define SAME_BOOL(a, b) ((a) == (b))
#define SAME_TIME(a, b) ((a) == (b))
#define SAME_SOURCE(a, b) ((a) == (b))
#define IS_SAME(member, name, type, help) &&SAME_##type(p->member, q->member)

static inline bool
same_view(const struct ledger_view *a, const struct ledger_view *b)
{
	const struct ledger_view *p = a, *q = b;
	bool same = a->attempt_count == b->attempt_count && a->seq == b->seq &&
	    a->missing == b->missing && a->unknown == b->unknown &&
	    same_text(a->writer, b->writer) LEDGER_FIELDS(IS_SAME);

	for (size_t i = 0; same && i < a->attempt_count; i++) {
		const struct ledger_view_attempt *pa = &a->attempts[i];
		const struct ledger_view_attempt *qa = &b->attempts[i];

		same = same_text(pa->upstream, qa->upstream) &&
		    same_text(pa->result, qa->result) &&
		    memcmp(&pa->usage, &qa->usage, sizeof pa->usage) == 0 &&
		    pa->source == qa->source && pa->cost_pusd == qa->cost_pusd;
	}
	return same;
}
