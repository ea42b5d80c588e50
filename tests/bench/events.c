#include "tests/bench/events.h"

#include <string.h>

#include "base/banned.h"

/* Whether `data` holds "content":"…" with at least one character. */
static bool
is_content(struct slice data)
{
	static const char key[] = "\"content\":";
	const char *end = data.p + data.len;
	const char *at = memmem(data.p, data.len, key, sizeof key - 1);

	if (at == NULL)
		return false;
	at += sizeof key - 1;
	while (at < end && *at == ' ')
		at++;
	return end - at >= 2 && at[0] == '"' && at[1] != '"';
}

static void
take_line(struct events *e, struct slice line)
{
	struct slice data;

	if (line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	if (!slice_starts(line, "data:"))
		return;
	data = slice_trim((struct slice){line.p + 5, line.len - 5});
	if (e->is_ended)
		e->is_bad = true;
	else if (slice_is(data, "[DONE]"))
		e->is_ended = true;
	else if (is_content(data))
		e->contents++;
}

void
events_feed(struct events *e, struct slice bytes)
{
	enum line_verdict v;
	struct slice line;

	while ((v = line_take(&e->line, &bytes, &line)) == LINE_READY)
		take_line(e, line);
	if (v == LINE_TOO_LONG)
		e->is_bad = true;
}

bool
events_are_whole(const struct events *e)
{
	bool is_cut = !e->line.is_told && buf_len(&e->line.part) > 0;

	return e->is_ended && !e->is_bad && !is_cut;
}

void
events_reset(struct events *e)
{
	line_release(&e->line);
	*e = (struct events){0};
}
