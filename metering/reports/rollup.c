#include "metering/reports/rollup.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "metering/reports/rollup_names.h"

#include "base/banned.h"

#define FIRST_SLOTS 64 /* a power of two */
#define BLOCK_CELLS 64
#define NO_CELL UINT32_MAX

struct cell {
	struct rollup_sums sums;
	struct waits waits; /* owned */
	int64_t start_ms;
	uint32_t names[ROLLUP_NAME_COUNT]; /* numbers of texts; 0: none */
	uint32_t next;                     /* of the same start, or NO_CELL */
};

/* All cells that begin at the same time. */
struct period {
	int64_t start_ms;
	uint32_t first, last;
};

struct rollup {
	struct rollup_names names; /* texts, by their numbers */
	struct cell **blocks;      /* owned; BLOCK_CELLS in each */
	size_t count, block_room;
	uint32_t *slots; /* owned; by hash, number + 1; 0: free; half are */
	size_t slot_count;
	struct period *periods; /* owned; ascending */
	size_t period_count, period_room;
	size_t recent; /* the period that was found last */
};

/* --- sums ---------------------------------------------------------------- */

static void
stretch(struct rollup_sums *s, int64_t first_ms, int64_t last_ms)
{
	if (s->requests == 0 || first_ms < s->first_ms)
		s->first_ms = first_ms;
	if (s->requests == 0 || last_ms > s->last_ms)
		s->last_ms = last_ms;
}

void
rollup_sums_add(struct rollup_sums *to, const struct rollup_sums *from)
{
	if (from->requests == 0)
		return;
	stretch(to, from->first_ms, from->last_ms);
#define X(member, name, help) to->member += from->member;
	ROLLUP_COUNTS(X)
#undef X
	to->cost_pusd += from->cost_pusd;
	to->avoided_pusd += from->avoided_pusd;
	to->fallback_pusd += from->fallback_pusd;
}

static bool
has_estimated_cost(const struct ledger_view *line)
{
	for (size_t i = 0; i < line->attempt_count; i++)
		if (line->attempts[i].source == USAGE_ESTIMATED &&
		    line->attempts[i].cost_pusd != 0)
			return true;
	return false;
}

static void
add_end(struct rollup_sums *s, const struct ledger_view *line)
{
	if (slice_is(line->end, "ok") || slice_is(line->end, "revoked"))
		return;
	if (!slice_is(line->end, "client_gone"))
		s->failed++;
	else if (line->ttft_ms < 0)
		s->cancelled++;
}

static void
add_line(struct cell *c, const struct ledger_view *line)
{
	struct rollup_sums *s = &c->sums;
	uint64_t input = (uint64_t)line->prompt_tokens;
	uint64_t output = (uint64_t)line->completion_tokens;
	bool is_estimated = slice_is(line->usage_source, "estimated");

	stretch(s, line->ts_ms, line->ts_ms);
	s->requests++;
	add_end(s, line);
	s->input_tokens += input;
	s->cached_tokens += (uint64_t)line->cached_tokens;
	s->cache_write_tokens += (uint64_t)line->cache_write_tokens;
	s->output_tokens += output;
	s->reasoning_tokens += (uint64_t)line->reasoning_tokens;
	if (!line->paid)
		s->local_tokens += input + output;
	s->cost_pusd += line->cost_usd;
	s->avoided_pusd += line->avoided_usd;
	s->fallback_pusd += line->fallback_usd;
	s->estimated += is_estimated;
	s->estimated_cost += has_estimated_cost(line);
	s->estimated_avoided += is_estimated && line->avoided_usd != 0;
	if (line->ttft_ms < 0)
		return;
	waits_add(&c->waits, line->ttft_ms, 1);
	if (line->stream && line->duration_ms > line->ttft_ms) {
		s->stream_tokens += output;
		s->stream_ms += (uint64_t)(line->duration_ms - line->ttft_ms);
	}
}

/* --- filters ------------------------------------------------------------- */

static struct slice
name_of(const struct ledger_view *line, enum rollup_name name)
{
	switch (name) {
#define X(word, member, title) \
	case ROLLUP_##word:    \
		return line->member;
		ROLLUP_NAMES(X)
#undef X
	case ROLLUP_NAME_COUNT:
		break;
	}
	return (struct slice){NULL, 0};
}

bool
rollup_filter_takes_line(
    const struct rollup_filter *f, const struct ledger_view *line)
{
	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++) {
		struct slice name = name_of(line, (enum rollup_name)i);

		if (f->only[i] != NULL &&
		    (name.p == NULL || !slice_is(name, f->only[i])))
			return false;
	}
	return true;
}

bool
rollup_filter_takes_row(
    const struct rollup_filter *f, const struct rollup_row *row)
{
	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
		if (f->only[i] != NULL &&
		    (row->names[i] == NULL ||
			strcmp(row->names[i], f->only[i]) != 0))
			return false;
	return true;
}

int64_t
rollup_start(int64_t step_ms, int64_t wall_ms)
{
	int64_t behind = wall_ms % step_ms;

	return wall_ms - (behind < 0 ? behind + step_ms : behind);
}

bool
rollup_counts(const struct ledger_view *line)
{
	return line->attempt_count > 0;
}

/* --- the table ----------------------------------------------------------- */

struct rollup *
rollup_create(void)
{
	struct rollup *t = xcalloc(sizeof *t);

	rollup_names_init(&t->names);
	t->slot_count = FIRST_SLOTS;
	t->slots = xcalloc_array(t->slot_count, sizeof *t->slots);
	return t;
}

static struct cell *
cell_at(const struct rollup *t, size_t i)
{
	return &t->blocks[i / BLOCK_CELLS][i % BLOCK_CELLS];
}

void
rollup_destroy(struct rollup **tp)
{
	struct rollup *t = *tp;

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		waits_release(&cell_at(t, i)->waits);
	for (size_t i = 0; i * BLOCK_CELLS < t->count; i++)
		free(t->blocks[i]);
	free(t->blocks);
	free(t->slots);
	free(t->periods);
	rollup_names_release(&t->names);
	free(t);
	*tp = NULL;
}

size_t
rollup_count(const struct rollup *t)
{
	return t->count;
}

/* The first period that begins at `start_ms` or later. */
static size_t
period_from(const struct rollup *t, int64_t start_ms)
{
	size_t low = 0, high = t->period_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->periods[middle].start_ms < start_ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int64_t
rollup_next_start(const struct rollup *t, int64_t since_ms)
{
	size_t at = period_from(t, since_ms);

	return at < t->period_count ? t->periods[at].start_ms : INT64_MAX;
}

bool
rollup_has(const struct rollup *t, int64_t start_ms)
{
	return rollup_next_start(t, start_ms) == start_ms;
}

/* The period that begins then, made if it is not there. */
static struct period *
take_period(struct rollup *t, int64_t start_ms)
{
	size_t at = t->recent;

	if (at < t->period_count && t->periods[at].start_ms == start_ms)
		return &t->periods[at];
	at = period_from(t, start_ms);
	t->recent = at;
	if (at < t->period_count && t->periods[at].start_ms == start_ms)
		return &t->periods[at];
	if (t->period_count == t->period_room) {
		t->period_room =
		    t->period_room == 0 ? FIRST_SLOTS : 2 * t->period_room;
		t->periods = xrealloc_array(
		    t->periods, t->period_room, sizeof *t->periods);
	}
	memmove(&t->periods[at + 1], &t->periods[at],
	    (t->period_count - at) * sizeof *t->periods);
	t->periods[at] = (struct period){start_ms, NO_CELL, NO_CELL};
	t->period_count++;
	return &t->periods[at];
}

/* What a cell is known by. */
struct key {
	int64_t start_ms;
	uint32_t names[ROLLUP_NAME_COUNT];
};

static uint64_t
hash_of(int64_t start_ms, const uint32_t names[ROLLUP_NAME_COUNT])
{
	uint64_t hash = (uint64_t)start_ms;

	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
		hash = (hash ^ names[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

static uint32_t *
find_slot(const struct rollup *t, const struct key *k)
{
	for (size_t at = hash_of(k->start_ms, k->names);; at++) {
		uint32_t *slot = &t->slots[at & (t->slot_count - 1)];
		const struct cell *c;

		if (*slot == 0)
			return slot;
		c = cell_at(t, *slot - 1);
		if (c->start_ms == k->start_ms &&
		    memcmp(c->names, k->names, sizeof c->names) == 0)
			return slot;
	}
}

static void
grow_slots(struct rollup *t)
{
	free(t->slots);
	t->slot_count *= 2;
	t->slots = xcalloc_array(t->slot_count, sizeof *t->slots);
	for (size_t i = 0; i < t->count; i++) {
		struct key k = {.start_ms = cell_at(t, i)->start_ms};

		memcpy(k.names, cell_at(t, i)->names, sizeof k.names);
		*find_slot(t, &k) = (uint32_t)(i + 1);
	}
}

static void
add_block(struct rollup *t)
{
	size_t i = t->count / BLOCK_CELLS;

	if (i == t->block_room) {
		t->block_room = t->block_room == 0 ? 8 : 2 * t->block_room;
		t->blocks =
		    xrealloc_array(t->blocks, t->block_room, sizeof *t->blocks);
	}
	t->blocks[i] = xcalloc_array(BLOCK_CELLS, sizeof **t->blocks);
}

static struct cell *
make_cell(struct rollup *t, const struct key *k)
{
	struct period *p = take_period(t, k->start_ms);
	uint32_t number = (uint32_t)t->count;
	struct cell *c;

	if (t->count % BLOCK_CELLS == 0)
		add_block(t);
	c = cell_at(t, t->count++);
	c->start_ms = k->start_ms;
	memcpy(c->names, k->names, sizeof c->names);
	c->next = NO_CELL;
	if (p->first == NO_CELL)
		p->first = number;
	else
		cell_at(t, p->last)->next = number;
	p->last = number;
	return c;
}

static struct cell *
take_cell(struct rollup *t, const struct key *k)
{
	uint32_t *slot = find_slot(t, k);

	if (*slot != 0)
		return cell_at(t, *slot - 1);
	*slot = (uint32_t)(t->count + 1);
	make_cell(t, k);
	if (2 * t->count > t->slot_count)
		grow_slots(t);
	return cell_at(t, t->count - 1);
}

void
rollup_add_line(struct rollup *t, int64_t start_ms, unsigned by,
    const struct ledger_view *line)
{
	struct key k = {.start_ms = start_ms};

	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
		if ((by & ROLLUP_BIT(i)) != 0)
			k.names[i] = rollup_names_put(
			    &t->names, name_of(line, (enum rollup_name)i));
	add_line(take_cell(t, &k), line);
}

void
rollup_add_row(struct rollup *t, int64_t start_ms, unsigned by,
    const struct rollup_row *row)
{
	struct key k = {.start_ms = start_ms};
	struct cell *c;

	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
		if ((by & ROLLUP_BIT(i)) != 0)
			k.names[i] = rollup_names_put(
			    &t->names, slice_of(row->names[i]));
	c = take_cell(t, &k);
	rollup_sums_add(&c->sums, row->sums);
	waits_merge(&c->waits, row->waits);
}

/* --- reading ------------------------------------------------------------- */

/* A filter's names as numbers of this table.  False if no cell has them. */
static bool
find_only(const struct rollup *t, const struct rollup_filter *f,
    uint32_t only[ROLLUP_NAME_COUNT])
{
	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++) {
		only[i] = rollup_names_find(&t->names, slice_of(f->only[i]));
		if (f->only[i] != NULL && only[i] == 0)
			return false;
	}
	return true;
}

/* How cells are walked over. */
struct walk {
	const struct rollup *table;
	uint32_t only[ROLLUP_NAME_COUNT];
	size_t period;
	int64_t until_ms;
	uint32_t next; /* cell, or NO_CELL: the next period's first */
};

static bool
walk_begin(
    struct walk *w, const struct rollup *t, const struct rollup_filter *f)
{
	*w = (struct walk){.table = t, .until_ms = f->until_ms};
	if (!find_only(t, f, w->only))
		return false;
	w->period = period_from(t, f->since_ms);
	w->next = NO_CELL;
	return true;
}

static bool
is_wanted(const struct walk *w, const struct cell *c)
{
	for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
		if (w->only[i] != 0 && w->only[i] != c->names[i])
			return false;
	return true;
}

/* NULL at the end. */
static const struct cell *
walk_next(struct walk *w)
{
	const struct rollup *t = w->table;

	for (;;) {
		const struct cell *c;

		if (w->next == NO_CELL) {
			if (w->period == t->period_count ||
			    t->periods[w->period].start_ms >= w->until_ms)
				return NULL;
			w->next = t->periods[w->period++].first;
		}
		c = cell_at(t, w->next);
		w->next = c->next;
		if (is_wanted(w, c))
			return c;
	}
}

void
rollup_each(const struct rollup *t, const struct rollup_filter *f,
    rollup_row_fn on_row, void *arg)
{
	const struct cell *c;
	struct walk w;

	if (!walk_begin(&w, t, f))
		return;
	while ((c = walk_next(&w)) != NULL) {
		struct rollup_row row = {
		    .start_ms = c->start_ms,
		    .sums = &c->sums,
		    .waits = &c->waits,
		};

		for (size_t i = 0; i < ROLLUP_NAME_COUNT; i++)
			row.names[i] = t->names.texts[c->names[i]].p;
		on_row(arg, &row);
	}
}

void
rollup_sum(const struct rollup *t, const struct rollup_filter *f,
    struct rollup_sums *out)
{
	const struct cell *c;
	struct walk w;

	*out = (struct rollup_sums){0};
	if (!walk_begin(&w, t, f))
		return;
	while ((c = walk_next(&w)) != NULL)
		rollup_sums_add(out, &c->sums);
}
