#include "metering/twin.h"

#include <string.h>

#include "base/json_scan.h"

#include "base/banned.h"

void
twin_learn(struct twin *t, const char *event, size_t len, size_t text_begin,
    size_t text_end)
{
	size_t behind = len - text_end;

	t->before = t->behind = 0;
	if (text_begin + behind > TWIN_BYTES)
		return;
	memcpy(t->bytes, event, text_begin);
	memcpy(t->bytes + text_begin, event + text_end, behind);
	t->before = (uint16_t)text_begin;
	t->behind = (uint16_t)behind;
}

/* Passes over a string's text.  Returns its closing quote, or NULL if it does
 * not end here or has what only a reader can judge (\u, control bytes). */
static const char *
skip_text(const char *p, const char *end, uint64_t *shrink)
{
	for (;;) {
		p = json_skip_plain(p, end);
		if (p == end)
			return NULL;
		if (*p == '"')
			return p;
		if (*p != '\\' || end - p < 2 ||
		    memchr("\"\\/bfnrt", p[1], 8) == NULL)
			return NULL;
		*shrink += 1;
		p += 2;
	}
}

size_t
twin_match(
    const struct twin *t, const char *p, size_t len, uint64_t *text_bytes)
{
	const char *text = p + t->before, *end = p + len, *quote;
	uint64_t shrink = 0;

	if (t->behind == 0 || len < (size_t)t->before + t->behind ||
	    memcmp(p, t->bytes, t->before) != 0)
		return 0;
	quote = skip_text(text, end, &shrink);
	if (quote == NULL || (size_t)(end - quote) < t->behind ||
	    memcmp(quote, t->bytes + t->before, t->behind) != 0)
		return 0;
	*text_bytes = (uint64_t)(quote - text) - shrink;
	return (size_t)(quote - p) + t->behind;
}
