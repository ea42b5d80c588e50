#include "base/json_out.h"

#include <stdio.h>

#include "base/banned.h"

/* Returns the length of a well-formed UTF-8 sequence of two or more bytes, or
 * 0. */
static size_t
multibyte(const unsigned char *p, size_t left)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high;
		size_t len;
	} forms[] = {
	    {0xc2, 0xdf, 0x80, 0xbf, 2},
	    {0xe0, 0xe0, 0xa0, 0xbf, 3},
	    {0xe1, 0xec, 0x80, 0xbf, 3},
	    {0xed, 0xed, 0x80, 0x9f, 3},
	    {0xee, 0xef, 0x80, 0xbf, 3},
	    {0xf0, 0xf0, 0x90, 0xbf, 4},
	    {0xf1, 0xf3, 0x80, 0xbf, 4},
	    {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		if (p[0] < forms[i].first_low || p[0] > forms[i].first_high)
			continue;
		if (left < forms[i].len || p[1] < forms[i].second_low ||
		    p[1] > forms[i].second_high)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

static void
escape_ascii(struct buf *to, unsigned char c)
{
	char text[8];
	int n;

	switch (c) {
	case '"':
		buf_put(to, "\\\"", 2);
		return;
	case '\\':
		buf_put(to, "\\\\", 2);
		return;
	case '\n':
		buf_put(to, "\\n", 2);
		return;
	case '\r':
		buf_put(to, "\\r", 2);
		return;
	case '\t':
		buf_put(to, "\\t", 2);
		return;
	default:
		n = snprintf(text, sizeof text, "\\u%04x", c);
		buf_put(to, text, (size_t)n);
	}
}

#define EACH_BYTE(c) (UINT64_C(0x0101010101010101) * (c))
#define HIGH_BITS EACH_BYTE(0x80)

/* Has a high bit if one of the eight bytes is `c`. */
static uint64_t
has_byte(uint64_t eight, unsigned char c)
{
	uint64_t x = eight ^ EACH_BYTE(c);

	return (x - EACH_BYTE(1)) & ~x;
}

static bool
is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* The length of the run of ASCII at `p` that stands for itself. */
static size_t
plain_run(const unsigned char *p, size_t len)
{
	size_t n = 0;
	uint64_t eight;

	for (; len - n >= sizeof eight; n += sizeof eight) {
		memcpy(&eight, p + n, sizeof eight);
		if (((eight | (eight - EACH_BYTE(0x20)) | has_byte(eight, '"') |
			 has_byte(eight, '\\') | has_byte(eight, 0x7f)) &
			HIGH_BITS) != 0)
			break;
	}
	while (n < len && is_plain(p[n]))
		n++;
	return n;
}

void
json_escape(struct buf *to, struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t plain; /* bytes before p[i] that go out as they are */
	size_t i;

	i = plain = plain_run(p, s.len);
	while (i < s.len) {
		size_t n = 1;

		if (p[i] >= 0x80) {
			n = multibyte(p + i, s.len - i);
			/* U+2028, U+2029: e2 80 a8, e2 80 a9 */
			if (n == 3 && p[i] == 0xe2 && p[i + 1] == 0x80 &&
			    (p[i + 2] & 0xfe) == 0xa8) {
				buf_put(to, s.p + i - plain, plain);
				buf_puts(to,
				    p[i + 2] == 0xa8 ? "\\u2028" : "\\u2029");
				plain = 0;
				i += 3;
				continue;
			}
		}
		if (n == 0 || (p[i] < 0x80 && !is_plain(p[i]))) {
			buf_put(to, s.p + i - plain, plain);
			plain = 0;
			if (n == 0)
				buf_puts(to, "\\ufffd");
			else
				escape_ascii(to, p[i]);
			i++;
			continue;
		}
		plain += n;
		i += n;
	}
	buf_put(to, s.p + i - plain, plain);
}

static void
comma(struct json_out *o)
{
	if (o->needs_comma)
		buf_put(o->to, ",", 1);
	o->needs_comma = true;
}

void
json_open(struct json_out *o, char bracket)
{
	comma(o);
	buf_put(o->to, &bracket, 1);
	o->needs_comma = false;
}

void
json_close(struct json_out *o, char bracket)
{
	buf_put(o->to, &bracket, 1);
	o->needs_comma = true;
}

void
json_key(struct json_out *o, const char *name)
{
	json_string(o, slice_of(name));
	buf_put(o->to, ":", 1);
	o->needs_comma = false;
}

void
json_string(struct json_out *o, struct slice s)
{
	comma(o);
	buf_put(o->to, "\"", 1);
	json_escape(o->to, s);
	buf_put(o->to, "\"", 1);
}

void
json_int(struct json_out *o, int64_t n)
{
	comma(o);
	buf_printf(o->to, "%lld", (long long)n);
}

void
json_bool(struct json_out *o, bool b)
{
	comma(o);
	buf_puts(o->to, b ? "true" : "false");
}

void
json_null(struct json_out *o)
{
	comma(o);
	buf_puts(o->to, "null");
}

void
json_raw(struct json_out *o, struct slice value)
{
	comma(o);
	buf_put(o->to, value.p, value.len);
}

void
json_member_string(struct json_out *o, const char *name, struct slice s)
{
	json_key(o, name);
	json_string(o, s);
}

void
json_member_int(struct json_out *o, const char *name, int64_t n)
{
	json_key(o, name);
	json_int(o, n);
}

void
json_member_bool(struct json_out *o, const char *name, bool b)
{
	json_key(o, name);
	json_bool(o, b);
}
