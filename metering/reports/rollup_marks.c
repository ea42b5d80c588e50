#include "metering/reports/rollup_marks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#include "base/banned.h"

static int
compare(const char *mark, struct slice writer)
{
	return memcmp(mark, writer.p, ULID_CHARS);
}

/* Where the writer stands, or would. */
static size_t
find(const struct rollup_marks *m, struct slice writer)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(m->marks[middle].writer, writer) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
forget_first(struct rollup_marks *m)
{
	memcpy(m->forgotten, m->marks[0].writer, sizeof m->forgotten);
	m->count--;
	memmove(&m->marks[0], &m->marks[1], m->count * sizeof *m->marks);
}

static void
insert(struct rollup_marks *m, size_t at, struct slice writer, uint64_t seq)
{
	struct rollup_mark mark = {.seq = seq};

	memcpy(mark.writer, writer.p, ULID_CHARS);
	if (m->marks == NULL)
		m->marks =
		    xcalloc_array(ROLLUP_MARKS_MOST + 1, sizeof *m->marks);
	memmove(&m->marks[at + 1], &m->marks[at],
	    (m->count - at) * sizeof *m->marks);
	m->marks[at] = mark;
	m->count++;
	if (m->count > ROLLUP_MARKS_MOST)
		forget_first(m);
}

bool
rollup_marks_take(struct rollup_marks *m, struct slice writer, uint64_t seq)
{
	size_t at;

	assert(writer.len == ULID_CHARS);
	if (m->forgotten[0] != '\0' && compare(m->forgotten, writer) >= 0)
		return false;
	at = find(m, writer);
	if (at == m->count || compare(m->marks[at].writer, writer) != 0) {
		insert(m, at, writer, seq);
		return true;
	}
	if (seq <= m->marks[at].seq)
		return false;
	m->marks[at].seq = seq;
	return true;
}

uint64_t
rollup_marks_seq(const struct rollup_marks *m, struct slice writer)
{
	size_t at = find(m, writer);

	return at < m->count && compare(m->marks[at].writer, writer) == 0
	    ? m->marks[at].seq
	    : 0;
}

void
rollup_marks_release(struct rollup_marks *m)
{
	free(m->marks);
	*m = (struct rollup_marks){0};
}
