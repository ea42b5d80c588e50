#include "base/json_scan.h"

#include <limits.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "base/banned.h"

/* Where in the grammar the next byte stands. */
enum state {
	ST_VALUE,        /* a value must come */
	ST_VALUE_OR_END, /* after '[' */
	ST_KEY_OR_END,   /* after '{' */
	ST_KEY,          /* after ',' in an object */
	ST_COLON,
	ST_NEXT, /* after a value: ',' or a closing bracket */
	ST_DONE, /* after the document: blanks only */
	ST_STRING,
	ST_ESCAPE,
	ST_HEX1,
	ST_HEX2,
	ST_HEX3,
	ST_HEX4,
	ST_LITERAL,
	ST_MINUS, /* a digit must come */
	ST_ZERO,
	ST_INT,
	ST_DOT, /* a digit must come */
	ST_FRACTION,
	ST_E,     /* a sign or a digit must come */
	ST_ESIGN, /* a digit must come */
	ST_EXPONENT,
};

void
json_scan_init(struct json_scan *s, json_token_fn on_token, void *arg,
    unsigned report_depth)
{
	/* keep[] and the stack are written before they are read. */
	memset(s, 0, offsetof(struct json_scan, keep));
	s->on_token = on_token;
	s->arg = arg;
	s->report_depth = report_depth;
	s->report_size = UINT64_MAX;
	s->state = ST_VALUE;
}

static inline bool
is_special(unsigned char c)
{
	return c == '"' || c == '\\' || c < 0x20;
}

/* Returns the first quote, backslash or control byte, or `end`. */
#if defined(__SSE2__)
static inline int
special_mask(const char *p)
{
	__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i quote = _mm_cmpeq_epi8(x, _mm_set1_epi8('"'));
	__m128i slash = _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'));
	__m128i low = _mm_set1_epi8(0x1f);
	__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, low), x);

	return _mm_movemask_epi8(
	    _mm_or_si128(control, _mm_or_si128(quote, slash)));
}

static const char *
skip_plain(const char *p, const char *end)
{
	int m;

	/* Most strings are short: their end is in the first step. */
	if (end - p >= 16) {
		if ((m = special_mask(p)) != 0)
			return p + __builtin_ctz((unsigned)m);
		p += 16;
	}
	while (end - p >= 64) {
		int m0 = special_mask(p), m1 = special_mask(p + 16);
		int m2 = special_mask(p + 32), m3 = special_mask(p + 48);

		if ((m0 | m1 | m2 | m3) != 0)
			break;
		p += 64;
	}
	while (end - p >= 16) {
		if ((m = special_mask(p)) != 0)
			return p + __builtin_ctz((unsigned)m);
		p += 16;
	}
	while (p < end && !is_special((unsigned char)*p))
		p++;
	return p;
}
#elif defined(__ARM_NEON) && defined(__aarch64__)
static const char *
skip_plain(const char *p, const char *end)
{
	while (end - p >= 16) {
		uint8x16_t x = vld1q_u8((const uint8_t *)p);
		uint8x16_t hit = vorrq_u8(vcltq_u8(x, vdupq_n_u8(0x20)),
		    vorrq_u8(vceqq_u8(x, vdupq_n_u8('"')),
			vceqq_u8(x, vdupq_n_u8('\\'))));

		if (vmaxvq_u8(hit) != 0)
			break;
		p += 16;
	}
	while (p < end && !is_special((unsigned char)*p))
		p++;
	return p;
}
#else
static const char *
skip_plain(const char *p, const char *end)
{
	while (p < end && !is_special((unsigned char)*p))
		p++;
	return p;
}
#endif

const char *
json_skip_plain(const char *p, const char *end)
{
	return skip_plain(p, end);
}

/* Keeps the part of the open token's text that lies in this piece. */
static void
keep_text(struct json_scan *s, const char *upto)
{
	size_t len = (size_t)(upto - s->mark);
	size_t room = JSON_TEXT_BYTES - s->kept;

	s->passed += len;
	if (len > room)
		len = room;
	memcpy(s->keep + s->kept, s->mark, len);
	s->kept += len;
}

static bool
is_reported(const struct json_scan *s, unsigned depth, uint64_t size)
{
	return depth <= s->report_depth || size >= s->report_size;
}

/* The token's text ends before `upto`; the token itself at offset `end`. */
static bool
emit_text(
    struct json_scan *s, enum json_kind kind, const char *upto, uint64_t end)
{
	uint64_t len = s->passed + (uint64_t)(upto - s->mark);
	struct json_token t;

	if (!is_reported(s, s->depth, len))
		return true;
	t.kind = kind;
	t.depth = s->depth;
	t.begin = s->begin;
	t.end = end;
	t.size = len - s->shrink;
	t.is_cut = len > JSON_TEXT_BYTES;
	t.has_escapes = s->has_escapes;
	if (s->passed > 0) {
		keep_text(s, upto);
		t.text = (struct slice){s->keep, s->kept};
	} else {
		t.text = (struct slice){
		    s->mark, t.is_cut ? JSON_TEXT_BYTES : (size_t)len};
	}
	return s->on_token(s->arg, &t);
}

static bool
emit_plain(
    struct json_scan *s, enum json_kind kind, uint64_t begin, uint64_t end)
{
	struct json_token t = {.kind = kind,
	    .depth = s->depth,
	    .begin = begin,
	    .end = end,
	    .text = {"", 0}};

	if (s->depth > s->report_depth)
		return true;
	return s->on_token(s->arg, &t);
}

static inline bool
in_array(const struct json_scan *s)
{
	unsigned top = s->depth - 1;

	return (s->is_array[top / 64] >> (top % 64) & 1) != 0;
}

static inline void
after_value(struct json_scan *s)
{
	s->state = s->depth == 0 ? ST_DONE : ST_NEXT;
}

static void
begin_text(struct json_scan *s, const char *text, uint64_t begin)
{
	s->begin = begin;
	s->mark = text;
	s->kept = 0;
	s->passed = 0;
	s->shrink = 0;
	s->high = 0;
	s->has_escapes = false;
}

static bool
open_bracket(struct json_scan *s, bool is_array, uint64_t at, bool *bad)
{
	unsigned top = s->depth;
	uint64_t bit = UINT64_C(1) << (top % 64);
	bool go;

	if (top == JSON_DEPTH_MOST) {
		*bad = true;
		return true;
	}
	go = emit_plain(s, is_array ? JSON_ARRAY : JSON_OBJECT, at, at + 1);
	if (is_array)
		s->is_array[top / 64] |= bit;
	else
		s->is_array[top / 64] &= ~bit;
	s->depth++;
	s->state = is_array ? ST_VALUE_OR_END : ST_KEY_OR_END;
	return go;
}

static bool
close_bracket(struct json_scan *s, bool is_array, uint64_t at)
{
	s->depth--;
	after_value(s);
	return emit_plain(
	    s, is_array ? JSON_ARRAY_END : JSON_OBJECT_END, at, at + 1);
}

/* A value begins with *p.  False stops. */
static bool
begin_value(struct json_scan *s, const char *p, uint64_t at, bool *bad)
{
	switch (*p) {
	case '"':
		begin_text(s, p + 1, at);
		s->is_key = false;
		s->state = ST_STRING;
		return true;
	case '{':
		return open_bracket(s, false, at, bad);
	case '[':
		return open_bracket(s, true, at, bad);
	case 't':
		s->literal = "true";
		break;
	case 'f':
		s->literal = "false";
		break;
	case 'n':
		s->literal = "null";
		break;
	case '-':
		begin_text(s, p, at);
		s->state = ST_MINUS;
		return true;
	case '0':
		begin_text(s, p, at);
		s->state = ST_ZERO;
		return true;
	default:
		if (*p < '1' || *p > '9') {
			*bad = true;
			return true;
		}
		begin_text(s, p, at);
		s->state = ST_INT;
		return true;
	}
	begin_text(s, p, at);
	s->hex = 1; /* characters of the literal seen */
	s->state = ST_LITERAL;
	return true;
}

static bool
end_string(struct json_scan *s, const char *p, uint64_t at)
{
	enum json_kind kind = s->is_key ? JSON_KEY : JSON_STRING;

	if (s->is_key)
		s->state = ST_COLON;
	else
		after_value(s);
	return emit_text(s, kind, p, at + 1);
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

/* How many bytes six characters \uXXXX stand for when decoded: a low surrogate
 * completes the four bytes whose first three its high one counted. */
static unsigned
utf8_bytes(struct json_scan *s)
{
	bool completes = s->high != 0 && s->hex >= 0xdc00 && s->hex < 0xe000;

	s->high = s->hex >= 0xd800 && s->hex < 0xdc00;
	if (completes)
		return 1;
	return s->hex < 0x80 ? 1 : s->hex < 0x800 ? 2 : 3;
}

/* One byte of an escape.  False if it is none. */
static bool
step_escape(struct json_scan *s, char c)
{
	int digit;

	if (s->state == ST_ESCAPE) {
		if (c == 'u') {
			s->hex = 0;
			s->state = ST_HEX1;
			return true;
		}
		if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
			return false;
		s->shrink += 1;
		s->high = 0;
		s->state = ST_STRING;
		return true;
	}
	if ((digit = hex_digit(c)) < 0)
		return false;
	s->hex = s->hex << 4 | (unsigned)digit;
	if (s->state == ST_HEX4) {
		s->shrink += 6 - utf8_bytes(s);
		s->state = ST_STRING;
	} else {
		s->state++;
	}
	return true;
}

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Where further digits change nothing. */
static inline bool
is_in_digits(unsigned state)
{
	return state == ST_INT || state == ST_FRACTION || state == ST_EXPONENT;
}

/* The number's next state, or -1 if `c` does not belong to it. */
static int
step_number(unsigned state, char c)
{
	bool digit = is_digit(c);

	switch ((enum state)state) {
	case ST_MINUS:
		return c == '0' ? ST_ZERO : digit ? ST_INT : -1;
	case ST_INT:
		if (digit)
			return ST_INT;
		/* fall through */
	case ST_ZERO:
		return c == '.' ? ST_DOT : (c | 32) == 'e' ? ST_E : -1;
	case ST_DOT:
		return digit ? ST_FRACTION : -1;
	case ST_FRACTION:
		return digit ? ST_FRACTION : (c | 32) == 'e' ? ST_E : -1;
	case ST_E:
		return c == '+' || c == '-' ? ST_ESIGN
		    : digit                 ? ST_EXPONENT
					    : -1;
	case ST_ESIGN:
	case ST_EXPONENT:
		return digit ? ST_EXPONENT : -1;
	case ST_VALUE:
	case ST_VALUE_OR_END:
	case ST_KEY_OR_END:
	case ST_KEY:
	case ST_COLON:
	case ST_NEXT:
	case ST_DONE:
	case ST_STRING:
	case ST_ESCAPE:
	case ST_HEX1:
	case ST_HEX2:
	case ST_HEX3:
	case ST_HEX4:
	case ST_LITERAL:
		break;
	}
	return -1;
}

static bool
number_may_end(unsigned state)
{
	return state == ST_ZERO || state == ST_INT || state == ST_FRACTION ||
	    state == ST_EXPONENT;
}

static bool
end_number(struct json_scan *s, const char *p, uint64_t at)
{
	after_value(s);
	return emit_text(s, JSON_NUMBER, p, at);
}

static bool
end_literal(struct json_scan *s, uint64_t at)
{
	after_value(s);
	return emit_plain(s,
	    s->literal[0] == 't'       ? JSON_TRUE
		: s->literal[0] == 'f' ? JSON_FALSE
				       : JSON_NULL,
	    s->begin, at + 1);
}

/* One byte between tokens.  False stops; *bad says that it does not belong. */
static bool
step_structure(struct json_scan *s, const char *p, uint64_t at, bool *bad)
{
	char c = *p;

	switch ((enum state)s->state) {
	case ST_VALUE_OR_END:
		if (c == ']')
			return close_bracket(s, true, at);
		return begin_value(s, p, at, bad);
	case ST_VALUE:
		return begin_value(s, p, at, bad);
	case ST_KEY_OR_END:
		if (c == '}')
			return close_bracket(s, false, at);
		/* fall through */
	case ST_KEY:
		if (c != '"')
			break;
		begin_text(s, p + 1, at);
		s->is_key = true;
		s->state = ST_STRING;
		return true;
	case ST_COLON:
		if (c != ':')
			break;
		s->state = ST_VALUE;
		return true;
	case ST_NEXT:
		if (c == ',') {
			s->state = in_array(s) ? ST_VALUE : ST_KEY;
			return true;
		}
		if (c == (in_array(s) ? ']' : '}'))
			return close_bracket(s, in_array(s), at);
		break;
	case ST_DONE:
	case ST_STRING:
	case ST_ESCAPE:
	case ST_HEX1:
	case ST_HEX2:
	case ST_HEX3:
	case ST_HEX4:
	case ST_LITERAL:
	case ST_MINUS:
	case ST_ZERO:
	case ST_INT:
	case ST_DOT:
	case ST_FRACTION:
	case ST_E:
	case ST_ESIGN:
	case ST_EXPONENT:
		break;
	}
	*bad = true;
	return true;
}

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Advances over what belongs to the open token; *p is left on the first byte
 * that has not been dealt with.  False stops. */
static bool
step_token(struct json_scan *s, const char **pp, const char *end, uint64_t base,
    const char *piece, bool *bad)
{
	const char *p = *pp;
	bool go = true;

	if (s->state == ST_STRING) {
		const char *q = skip_plain(p, end);

		if (q > p)
			s->high = 0;
		p = q;
		if (p < end && *p == '"') {
			go = end_string(s, p, base + (uint64_t)(p - piece));
			p++;
		} else if (p < end && *p == '\\') {
			s->has_escapes = true;
			s->state = ST_ESCAPE;
			p++;
		} else if (p < end) {
			*bad = true;
		}
	} else if (s->state < ST_LITERAL) {
		if (step_escape(s, *p))
			p++;
		else
			*bad = true;
	} else if (s->state == ST_LITERAL) {
		if (*p != s->literal[s->hex]) {
			*bad = true;
		} else if (s->literal[++s->hex] == '\0') {
			go = end_literal(s, base + (uint64_t)(p - piece));
			p++;
		} else {
			p++;
		}
	} else {
		int next = step_number(s->state, *p);

		if (next >= 0) {
			s->state = (unsigned)next;
			p++;
			if (is_in_digits(s->state))
				while (p < end && is_digit(*p))
					p++;
		} else if (number_may_end(s->state)) {
			go = end_number(s, p, base + (uint64_t)(p - piece));
		} else {
			*bad = true;
		}
	}
	*pp = p;
	return go;
}

enum json_verdict
json_scan_feed(struct json_scan *s, const char *piece, size_t len)
{
	const char *p = piece, *end = piece + len;
	uint64_t base = s->offset;
	bool bad = false, go = true;

	s->mark = piece;
	while (p < end && go && !bad) {
		if (s->state >= ST_STRING) {
			go = step_token(s, &p, end, base, piece, &bad);
			continue;
		}
		if (is_blank(*p)) {
			p++;
			continue;
		}
		go = step_structure(s, p, base + (uint64_t)(p - piece), &bad);
		p += bad ? 0 : 1;
	}
	s->offset = base + (uint64_t)(p - piece);
	if (bad)
		return JSON_BAD;
	if (!go)
		return JSON_STOP;
	if (s->state >= ST_STRING && s->state != ST_LITERAL)
		keep_text(s, end);
	return s->state == ST_DONE ? JSON_DONE : JSON_MORE;
}

enum json_verdict
json_scan_end(struct json_scan *s)
{
	if (s->state > ST_LITERAL && number_may_end(s->state)) {
		s->mark = s->keep; /* no bytes of this piece */
		if (!end_number(s, s->mark, s->offset))
			return JSON_STOP;
	}
	return s->state == ST_DONE ? JSON_DONE : JSON_BAD;
}

uint64_t
json_scan_offset(const struct json_scan *s)
{
	return s->offset;
}

static size_t
put_utf8(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* Four hex digits at text[at], or -1. */
static int32_t
hex4(struct slice text, size_t at)
{
	int32_t v = 0;

	if (at + 4 > text.len)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		int digit = hex_digit(text.p[at + i]);

		if (digit < 0)
			return -1;
		v = v << 4 | digit;
	}
	return v;
}

/* Decodes the escape at text[*at] (behind its backslash) and moves *at on. */
static size_t
decode_escape(struct slice text, size_t *at, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int32_t c, low;
	const char *f;

	if (*at >= text.len)
		return 0;
	if (text.p[*at] != 'u') {
		f = memchr(from, text.p[*at], sizeof from - 1);
		if (f == NULL)
			return 0;
		out[0] = to[f - from];
		*at += 1;
		return 1;
	}
	if ((c = hex4(text, *at + 1)) < 0)
		return 0;
	*at += 5;
	if (c >= 0xd800 && c < 0xdc00 && *at + 1 < text.len &&
	    text.p[*at] == '\\' && text.p[*at + 1] == 'u' &&
	    (low = hex4(text, *at + 2)) >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		*at += 6;
	}
	return put_utf8((uint32_t)c, out);
}

size_t
json_decode(struct slice text, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len;) {
		char c[4] = {text.p[i]};
		size_t len = 1;

		if (text.p[i++] == '\\' &&
		    (len = decode_escape(text, &i, c)) == 0)
			return SIZE_MAX;
		if (len > room - n)
			return SIZE_MAX;
		memcpy(out + n, c, len);
		n += len;
	}
	return n;
}

bool
json_token_is(const struct json_token *t, const char *literal)
{
	char text[JSON_TEXT_BYTES];
	size_t n;

	if (t->is_cut)
		return false;
	if (!t->has_escapes)
		return slice_is(t->text, literal);
	n = json_decode(t->text, text, sizeof text);
	return n != SIZE_MAX && slice_is((struct slice){text, n}, literal);
}
