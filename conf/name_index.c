#include "conf/name_index.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/banned.h"

#define NEAR_MOST_BYTES 64
#define NEAR_MOST_NAMES 1000

void
name_index_init(struct name_index *x, struct arena *a, size_t most)
{
	x->all = arena_alloc(a, most * sizeof *x->all);
	x->count = 0;
}

void
name_index_add(struct name_index *x, struct slice name, size_t rank)
{
	x->all[x->count++] = (struct named){name, rank};
}

static int
compare_names(struct slice a, struct slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

	if (c != 0)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

static int
compare_named(const void *left, const void *right)
{
	const struct named *a = left, *b = right;
	int c = compare_names(a->name, b->name);

	if (c != 0)
		return c;
	return a->rank < b->rank ? -1 : a->rank > b->rank;
}

void
name_index_sort(struct name_index *x)
{
	if (x->count > 0)
		qsort(x->all, x->count, sizeof *x->all, compare_named);
}

size_t
name_index_find(const struct name_index *x, struct slice name)
{
	size_t low = 0, high = x->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_names(x->all[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == x->count || compare_names(x->all[low].name, name) != 0)
		return SIZE_MAX;
	return x->all[low].rank;
}

const struct named *
name_index_nearest(const struct name_index *x, struct slice wrong)
{
	const struct named *best = NULL;
	char *text = xstrndup(wrong.p, wrong.len);
	unsigned least = 3;

	for (size_t i = 0; i < x->count && i < NEAR_MOST_NAMES && least > 1;
	     i++) {
		char name[NEAR_MOST_BYTES + 1] = {0};
		unsigned d;

		if (x->all[i].name.len > NEAR_MOST_BYTES)
			continue;
		memcpy(name, x->all[i].name.p, x->all[i].name.len);
		d = text_distance(text, name, 2);
		if (d < least && d < x->all[i].name.len) {
			least = d;
			best = &x->all[i];
		}
	}
	free(text);
	return best;
}
