#include "metering/ledger/ledger_line.h"

#include <assert.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json_out.h"
#include "metering/price.h"

#include "base/banned.h"

/* Texts are cut to so many bytes, and then to half, until the line fits.  At
 * the least it does whatever the numbers are: a number has at most 20 digits,
 * an amount 43 characters, a byte of text becomes at most 6. */
#define TEXT_MOST_BYTES 256
#define TEXT_LEAST_BYTES 2

/* `,"writer":"…","seq":…}` and a newline, the writer a ULID: 26 characters. */
#define FINISH_MOST_BYTES 96

/* What one line is written with. */
struct pen {
	struct buf *to; /* borrowed */
	size_t text_most;
};

/* A count that was not said is 0. */
static void
put_int(struct pen *p, int64_t n)
{
	char text[24];
	char *at = text + sizeof text;
	uint64_t left = n < 0 ? 0 : (uint64_t)n;

	do {
		*--at = (char)('0' + left % 10);
		left /= 10;
	} while (left > 0);
	buf_put(p->to, at, (size_t)(text + sizeof text - at));
}

/* The length of the longest piece of `s` that has at most `most` bytes and does
 * not end inside a UTF-8 sequence. */
static size_t
cut(const char *s, size_t most)
{
	size_t len = strnlen(s, most + 1);

	if (len <= most)
		return len;
	len = most;
	/* s[len] is the first byte that goes. */
	for (int i = 0; i < 3 && len > 0 && (s[len] & 0xc0) == 0x80; i++)
		len--;
	return len;
}

static void
put_text(struct pen *p, const char *s)
{
	if (s == NULL) {
		buf_put(p->to, "null", 4);
		return;
	}
	buf_put(p->to, "\"", 1);
	json_escape(p->to, (struct slice){s, cut(s, p->text_most)});
	buf_put(p->to, "\"", 1);
}

/* Our own words: nothing in them needs escaping, and they are never cut. */
static void
put_plain(struct pen *p, const char *s)
{
	buf_put(p->to, "\"", 1);
	buf_puts(p->to, s);
	buf_put(p->to, "\"", 1);
}

static void
put_money(struct pen *p, __int128 pusd)
{
	static const char nothing[] = "\"0.000000000000\"";
	char text[MONEY_TEXT_BYTES];

	/* Most amounts of most lines. */
	if (pusd == 0) {
		buf_put(p->to, nothing, sizeof nothing - 1);
		return;
	}
	money_format(text, pusd);
	put_plain(p, text);
}

static void
put_time(struct pen *p, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_format(text, wall_ms);
	put_plain(p, text);
}

static void
put_bool(struct pen *p, bool b)
{
	if (b)
		buf_put(p->to, "true", 4);
	else
		buf_put(p->to, "false", 5);
}

#define PUT_LITERAL(pen, literal) \
	buf_put((pen)->to, literal, sizeof(literal) - 1)

/* By the types of the tables. */
#define PUT_TEXT(pen, value) put_text(pen, value)
#define PUT_MONEY(pen, value) put_money(pen, value)
#define PUT_BOOL(pen, value) put_bool(pen, value)
#define PUT_TIME(pen, value) put_time(pen, value)
#define PUT_COUNT(pen, value) put_int(pen, value)
#define PUT_SOURCE(pen, value) put_plain(pen, usage_source_name(value))
#define PUT_INT(pen, value)                       \
	do {                                      \
		if ((value) < 0)                  \
			PUT_LITERAL(pen, "null"); \
		else                              \
			put_int(pen, value);      \
	} while (0)

/* Writes the members of `from` that a table names, each with a comma before it.
 */
#define PUT_MEMBER(member, name, type, help) \
	PUT_LITERAL(p, ",\"" name "\":");    \
	PUT_##type(p, from->member);

/* What stands before an object's first member is no comma but the bracket. */
static void
put_bracket(struct pen *p, size_t at)
{
	p->to->base[p->to->start + at] = '{';
}

static void
put_attempt(struct pen *p, const struct ledger_attempt *from)
{
	size_t begin = buf_len(p->to);

	LEDGER_ATTEMPT_FIELDS(PUT_MEMBER)
	put_bracket(p, begin);
	if (from->source != USAGE_NONE) {
		LEDGER_ATTEMPT_USAGE_FIELDS(PUT_MEMBER)
	}
	PUT_LITERAL(p, "}");
}

static void
put_line(struct pen *p, const struct ledger_line *from)
{
	size_t begin = buf_len(p->to);

	LEDGER_FIELDS(PUT_MEMBER)
	put_bracket(p, begin);
	PUT_LITERAL(p, ",\"attempts\":[");
	for (size_t i = 0; i < from->attempt_count; i++) {
		if (i > 0)
			PUT_LITERAL(p, ",");
		put_attempt(p, &from->attempts[i]);
	}
	PUT_LITERAL(p, "]");
}

static int64_t
known(int64_t n)
{
	return n < 0 ? 0 : n;
}

void
ledger_line_take_attempt(
    struct ledger_line *line, const struct ledger_attempt *a)
{
	assert(line->attempt_count < LEDGER_ATTEMPTS_MOST);
	line->attempts[line->attempt_count++] = *a;
	line->usage_source = usage_source_name(a->source);
	line->prompt_tokens = known(a->usage.input);
	line->completion_tokens = known(a->usage.output);
	line->cached_tokens = known(a->usage.cached);
	line->cache_write_tokens = known(a->usage.cache_write);
	line->reasoning_tokens = known(a->usage.reasoning);
	line->audio_tokens = known(a->usage.audio);
	line->cost_usd += a->cost_pusd;
	if (a->is_fallback)
		line->fallback_usd += a->cost_pusd;
}

void
ledger_line_write(struct buf *to, const struct ledger_line *line)
{
	struct pen p = {.to = to, .text_most = TEXT_MOST_BYTES};
	size_t before = buf_len(to);

	assert(line->attempt_count <= LEDGER_ATTEMPTS_MOST);
	for (;;) {
		put_line(&p, line);
		if (buf_len(to) - before <=
		    LEDGER_LINE_MOST_BYTES - FINISH_MOST_BYTES)
			return;
		assert(p.text_most > TEXT_LEAST_BYTES);
		p.text_most /= 2;
		to->end = to->start + before;
	}
}

void
ledger_line_finish(struct buf *to, const char *writer, uint64_t seq)
{
	struct pen p = {.to = to, .text_most = ULID_CHARS};

	PUT_LITERAL(&p, ",\"writer\":");
	put_text(&p, writer);
	PUT_LITERAL(&p, ",\"seq\":");
	put_int(&p, (int64_t)seq);
	PUT_LITERAL(&p, "}\n");
}
