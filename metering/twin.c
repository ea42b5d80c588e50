#include "metering/twin.h"

#include <string.h>

#include "base/json_scan.h"

#include "base/banned.h"

#define COUNT_DIGITS_MOST 9 /* all of them are counts that can be */

/* Whether the counts are in order behind the text, and the cut is around all of
 * them. */
static bool
is_regular(const struct twin_event *e)
{
	bool has_cut = e->cut.begin < e->cut.end;
	size_t at = e->text.end;

	for (size_t i = 0; i < e->count_count; i++) {
		if (e->counts[i].begin < at)
			return false;
		at = e->counts[i].end;
	}
	if (!has_cut)
		return true;
	return e->cut.begin >= e->text.end && e->cut.end >= at &&
	    (e->count_count == 0 || e->cut.begin <= e->counts[0].begin);
}

void
twin_learn(struct twin *t, const struct twin_event *e)
{
	size_t used = 0, begin = 0;

	twin_forget(t);
	if (!is_regular(e))
		return;
	for (size_t i = 0; i < e->count_count + 2; i++) {
		const struct twin_span *next = i == 0 ? &e->text
		    : i <= e->count_count             ? &e->counts[i - 1]
						      : NULL;
		size_t end = next == NULL ? e->len : next->begin;

		if (used + (end - begin) > TWIN_BYTES)
			return;
		memcpy(t->bytes + used, e->p + begin, end - begin);
		used += end - begin;
		t->lens[i] = (uint16_t)(end - begin);
		begin = next == NULL ? end : next->end;
	}
	t->has_cut = e->cut.begin < e->cut.end;
	if (t->has_cut) {
		/* Both lie within what has just been copied. */
		t->cut_behind_text = (uint16_t)(e->cut.begin - e->text.end);
		t->cut_before_end = (uint16_t)(e->len - e->cut.end);
	}
	t->pieces = (uint16_t)(e->count_count + 2);
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

/* Passes over a count.  Returns the byte behind it, or NULL if it is not plain
 * digits, or so many that a reader must judge. */
static const char *
read_count(const char *p, const char *end, int32_t *count)
{
	const char *begin = p;
	int32_t n = 0;

	while (p < end && *p >= '0' && *p <= '9') {
		if (p - begin == COUNT_DIGITS_MOST)
			return NULL;
		n = n * 10 + (*p++ - '0');
	}
	if (p == begin || (*begin == '0' && p - begin > 1))
		return NULL;
	*count = n;
	return p;
}

size_t
twin_match(
    const struct twin *t, const char *p, size_t len, struct twin_difference *d)
{
	const char *end = p + len, *bytes = t->bytes, *at = p, *text, *quote;
	uint64_t shrink = 0;

	if (t->pieces == 0 || len < t->lens[0] ||
	    memcmp(p, bytes, t->lens[0]) != 0)
		return 0;
	text = p + t->lens[0];
	quote = at = skip_text(text, end, &shrink);
	bytes += t->lens[0];
	for (size_t i = 1; at != NULL; i++) {
		if ((size_t)(end - at) < t->lens[i] ||
		    memcmp(at, bytes, t->lens[i]) != 0)
			return 0;
		at += t->lens[i];
		bytes += t->lens[i];
		if (i + 1u == t->pieces)
			break;
		at = read_count(at, end, &d->counts[i - 1]);
	}
	if (at == NULL)
		return 0;
	d->text_bytes = (uint64_t)(quote - text) - shrink;
	d->cut = (struct twin_span){0, 0};
	if (t->has_cut)
		d->cut =
		    (struct twin_span){(size_t)(quote - p) + t->cut_behind_text,
			(size_t)(at - p) - t->cut_before_end};
	return (size_t)(at - p);
}
