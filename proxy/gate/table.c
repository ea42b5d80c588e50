#include "proxy/gate/table.h"

#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

#define BUCKETS_LEAST 64

static struct table_link **
bucket_of(const struct table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->bucket_count - 1)];
}

static void
grow(struct table *t)
{
	struct table old = *t;

	t->bucket_count =
	    old.bucket_count == 0 ? BUCKETS_LEAST : 2 * old.bucket_count;
	t->buckets = xcalloc_array(t->bucket_count, sizeof(t->buckets[0]));
	for (size_t i = 0; i < old.bucket_count; i++) {
		while (old.buckets[i] != NULL) {
			struct table_link *l = old.buckets[i];
			struct table_link **at = bucket_of(t, l->hash);

			old.buckets[i] = l->next;
			l->next = *at;
			*at = l;
		}
	}
	free(old.buckets);
}

void
table_release(struct table *t)
{
	free(t->buckets);
	*t = (struct table){0};
}

void
table_insert(struct table *t, struct table_link *l, uint64_t hash)
{
	struct table_link **at;

	if (t->count >= t->bucket_count)
		grow(t);
	at = bucket_of(t, hash);
	l->hash = hash;
	l->next = *at;
	*at = l;
	t->count++;
}

void
table_remove(struct table *t, struct table_link *l)
{
	struct table_link **at = bucket_of(t, l->hash);

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	t->count--;
}

struct table_link *
table_find(const struct table *t, uint64_t hash)
{
	struct table_link *l = t->count == 0 ? NULL : *bucket_of(t, hash);

	while (l != NULL && l->hash != hash)
		l = l->next;
	return l;
}

struct table_link *
table_find_next(const struct table_link *l)
{
	struct table_link *next = l->next;

	while (next != NULL && next->hash != l->hash)
		next = next->next;
	return next;
}
