#include "metering/ledger/check_sums.h"

#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

struct check_user *
check_sums_user(struct check_sums *s, struct slice name)
{
	size_t before = s->names.count;
	size_t i = name_table_find(&s->names, name);

	if (i == s->user_room) {
		s->user_room = s->user_room == 0 ? 16 : 2 * s->user_room;
		s->users =
		    xrealloc_array(s->users, s->user_room, sizeof *s->users);
	}
	if (i == before)
		s->users[i] = (struct check_user){0};
	return &s->users[i];
}

void
check_sums_add_run(struct check_sums *s, const struct check_run *run)
{
	if (s->run_count == s->run_room) {
		s->run_room = s->run_room == 0 ? 4 : 2 * s->run_room;
		s->runs = xrealloc_array(s->runs, s->run_room, sizeof *s->runs);
	}
	s->runs[s->run_count++] = *run;
}

static void
continue_run(struct check_sums *s, const struct ledger_view *v)
{
	struct check_run *last =
	    s->run_count == 0 ? NULL : &s->runs[s->run_count - 1];
	struct check_run run = {.first = v->seq, .last = v->seq};

	if (last != NULL && v->seq == last->last + 1 &&
	    memcmp(last->writer, v->writer.p, ULID_CHARS) == 0) {
		last->last = v->seq;
		return;
	}
	memcpy(run.writer, v->writer.p, ULID_CHARS);
	check_sums_add_run(s, &run);
}

void
check_sums_add_line(struct check_sums *s, const struct ledger_view *v)
{
	struct check_user *u = check_sums_user(s, v->user);

	s->lines++;
	continue_run(s, v);
	if (v->attempt_count > 0)
		u->requests++;
	u->input_tokens += (uint64_t)v->prompt_tokens;
	u->cached_tokens += (uint64_t)v->cached_tokens;
	u->output_tokens += (uint64_t)v->completion_tokens;
	u->reasoning_tokens += (uint64_t)v->reasoning_tokens;
	u->cost_pusd += v->cost_usd;
}

void
check_sums_add(struct check_sums *s, const struct check_sums *other)
{
	s->lines += other->lines;
	for (size_t i = 0; i < other->names.count; i++) {
		struct check_user *to =
		    check_sums_user(s, other->names.names[i]);
		const struct check_user *from = &other->users[i];

		to->requests += from->requests;
		to->input_tokens += from->input_tokens;
		to->cached_tokens += from->cached_tokens;
		to->output_tokens += from->output_tokens;
		to->reasoning_tokens += from->reasoning_tokens;
		to->cost_pusd += from->cost_pusd;
	}
}

void
check_sums_release(struct check_sums *s)
{
	name_table_release(&s->names);
	free(s->users);
	free(s->runs);
	*s = (struct check_sums){0};
}
