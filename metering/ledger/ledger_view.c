#include "metering/ledger/ledger_view.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/json_scan.h"
#include "metering/ledger/ledger_view_inner.h"

#include "base/banned.h"

/* What a line leaves that says nothing. */
#define NO_TS INT64_MIN

static void
clear(struct ledger_view *v)
{
#define X(member, name, type, help) v->member = (VIEW_TYPE_##type){0};
	LEDGER_FIELDS(X)
#undef X
	v->ts_ms = NO_TS;
	v->ttft_ms = v->predicted_ttft_ms = -1;
	v->attempt_count = 0;
	v->writer = (struct slice){NULL, 0};
	v->seq = 0;
	v->missing = v->unknown = 0;
	v->memory_used = 0;
}

/* --- the fast way: our own writer's order and spelling -------------------
 *
 * A fast_ function reads a value at c->p and moves behind it.  False says
 * nothing but that the general reader has to look. */

struct cursor {
	const char *p, *end;
	struct ledger_view *v;
};

/* In place, where the compiler knows `len`: comparing is then a few
 * instructions instead of a call. */
static ALWAYS_INLINE bool
passes(struct cursor *c, const char *literal, size_t len)
{
	if ((size_t)(c->end - c->p) < len || memcmp(c->p, literal, len) != 0)
		return false;
	c->p += len;
	return true;
}

#define PASSES(c, literal) passes(c, literal, sizeof(literal) - 1)

static inline unsigned
digit(char c)
{
	return (unsigned)(unsigned char)c - '0';
}

/* The text between quotes, as it stands there. */
static bool
fast_raw(struct cursor *c, struct slice *raw, bool *has_escapes)
{
	const char *first, *p;

	if (c->p == c->end || *c->p != '"')
		return false;
	first = c->p + 1;
	p = json_skip_plain(first, c->end);
	*has_escapes = p < c->end && *p == '\\';
	while (p < c->end && *p == '\\') {
		if (c->end - p < 2)
			return false;
		p = json_skip_plain(p + 2, c->end);
	}
	if (p == c->end || *p != '"')
		return false;
	*raw = (struct slice){first, (size_t)(p - first)};
	c->p = p + 1;
	return true;
}

static inline bool
fast_TEXT(struct cursor *c, struct slice *out)
{
	bool has_escapes;

	if (!fast_raw(c, out, &has_escapes))
		return PASSES(c, "null");
	return !has_escapes || view_decode(c->v, *out, out);
}

/* At most 18 digits, which cannot overflow; a further one is no comma. */
static inline bool
fast_COUNT(struct cursor *c, int64_t *out)
{
	const char *first = c->p, *p = first;
	int64_t n = 0;

	while (p < c->end && p - first < 18 && digit(*p) <= 9)
		n = n * 10 + (int64_t)digit(*p++);
	if (p == first || (*first == '0' && p - first > 1))
		return false;
	*out = n;
	c->p = p;
	return true;
}

static inline bool
fast_INT(struct cursor *c, int64_t *out)
{
	return fast_COUNT(c, out) || PASSES(c, "null");
}

static inline bool
fast_BOOL(struct cursor *c, bool *out)
{
	*out = PASSES(c, "true");
	return *out || PASSES(c, "false") || PASSES(c, "null");
}

/* "0.002695260000": so few digits that they fit 64 bits. */
static inline bool
fast_MONEY(struct cursor *c, __int128 *out)
{
	const char *p = c->p, *point;
	uint64_t n = 0;

	if (c->end - p < 22 || *p != '"')
		return PASSES(c, "null");
	for (point = ++p; digit(*point) <= 9 && point - p < 6; point++)
		n = n * 10 + digit(*point);
	if (point == p || *point != '.')
		return false;
	for (p = point + 1; p <= point + 12; p++) {
		if (digit(*p) > 9)
			return false;
		n = n * 10 + digit(*p);
	}
	if (*p != '"')
		return false;
	*out = (__int128)n;
	c->p = p + 1;
	return true;
}

/* Two digits; above 99 if they are none. */
static inline unsigned
two(const char *p)
{
	unsigned high = digit(p[0]), low = digit(p[1]);

	return (high > 9 || low > 9) ? 100 : high * 10 + low;
}

/* Days since 1970 in the Gregorian calendar; years are counted from March, so
 * that the odd day is the last of its year. */
static int64_t
days(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month > 2 ? year : year - 1;
	unsigned m = month > 2 ? month - 3 : month + 9;

	return (int64_t)(y * 365 + y / 4 - y / 100 + y / 400) +
	    (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* "2026-05-28T14:22:01Z"; the 29th and later days are left to the general
 * reader where the month may have none. */
static inline bool
fast_TIME(struct cursor *c, int64_t *out)
{
	const char *p = c->p;
	unsigned century, year, month, day, hour, minute, second;

	if (c->end - p < 22 || p[0] != '"' || p[5] != '-' || p[8] != '-' ||
	    p[11] != 'T' || p[14] != ':' || p[17] != ':' || p[20] != 'Z' ||
	    p[21] != '"')
		return false;
	century = two(p + 1);
	year = two(p + 3);
	month = two(p + 6);
	day = two(p + 9);
	hour = two(p + 12);
	minute = two(p + 15);
	second = two(p + 18);
	if (century < 19 || century > 99 || year > 99 || month < 1 ||
	    month > 12 || day < 1 || day > (month == 2 ? 28 : 30) ||
	    hour > 23 || minute > 59 || second > 59)
		return false;
	*out = ((days(century * 100 + year, month, day) * 24 + hour) * 3600 +
		   minute * 60 + second) *
	    INT64_C(1000);
	c->p = p + 22;
	return true;
}

static inline bool
fast_SOURCE(struct cursor *c, enum usage_source *out)
{
	struct slice raw;
	bool has_escapes;

	return fast_raw(c, &raw, &has_escapes) && view_source(raw, out);
}

/* A member of an attempt, which must be there. */
#define X(member, name, type, help)                                     \
	if (!PASSES(c, "\"" name "\":") || !fast_##type(c, &a->member)) \
		return false;                                           \
	at_end = PASSES(c, "}");                                        \
	if (!at_end && !PASSES(c, ","))                                 \
		return false;

static bool
fast_attempt(struct cursor *c, struct ledger_view_attempt *a)
{
	bool at_end;

	view_clear_attempt(a);
	LEDGER_ATTEMPT_FIELDS(X)
	if (at_end)
		return true;
	LEDGER_ATTEMPT_USAGE_FIELDS(X)
	return at_end;
}
#undef X

static bool
fast_attempts(struct cursor *c)
{
	struct ledger_view *v = c->v;

	if (PASSES(c, "]"))
		return true;
	do {
		if (v->attempt_count == LEDGER_ATTEMPTS_MOST ||
		    !PASSES(c, "{") ||
		    !fast_attempt(c, &v->attempts[v->attempt_count++]))
			return false;
	} while (PASSES(c, ","));
	return PASSES(c, "]");
}

/* Members may be missing, as they are from the lines of an older version. */
static bool
fast_read(struct ledger_view *v, struct slice line)
{
	struct cursor in = {line.p, line.p + line.len, v}, *c = &in;
	int64_t seq;

	if (!PASSES(c, "{"))
		return false;
#define X(member, name, type, help)                              \
	if (!PASSES(c, "\"" name "\":"))                         \
		v->missing++;                                    \
	else if (!fast_##type(c, &v->member) || !PASSES(c, ",")) \
		return false;
	LEDGER_FIELDS(X)
#undef X
	if (!PASSES(c, "\"attempts\":[") || !fast_attempts(c) ||
	    !PASSES(c, ",\"writer\":") || !fast_TEXT(c, &v->writer) ||
	    !PASSES(c, ",\"seq\":") || !fast_COUNT(c, &seq) ||
	    !PASSES(c, "}") || c->p != c->end)
		return false;
	v->seq = (uint64_t)seq;
	return true;
}

/* --- both ---------------------------------------------------------------- */

static bool
is_ulid(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (digit(s.p[i]) > 9 && (s.p[i] < 'A' || s.p[i] > 'Z'))
			return false;
	return s.len == ULID_CHARS;
}

static bool
has_all(const struct ledger_view *v, struct fault *why)
{
	if (v->ts_ms == NO_TS)
		return fault_set(why, "it has no 'ts'");
	if (v->writer.p == NULL)
		return fault_set(why, "it has no 'writer'");
	if (!is_ulid(v->writer))
		return fault_set(why, "'writer' is no ULID");
	if (v->seq == 0)
		return fault_set(why, "it has no 'seq'");
	return true;
}

bool
ledger_view_read(struct ledger_view *v, struct slice line, struct fault *why)
{
	if (line.len > LEDGER_LINE_MOST_BYTES)
		return fault_set(
		    why, "it is longer than %d bytes", LEDGER_LINE_MOST_BYTES);
	if (!text_is_utf8(line.p, line.len))
		return fault_set(why, "it is no UTF-8");
	clear(v);
	if (!fast_read(v, line)) {
		clear(v);
		if (!view_read_json(v, line, why))
			return false;
	}
	return has_all(v, why);
}
