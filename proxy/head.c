#include "proxy/head.h"

#include "base/banned.h"

static const bool token_chars[256] = {['!'] = 1,
    ['#'] = 1,
    ['$'] = 1,
    ['%'] = 1,
    ['&'] = 1,
    ['\''] = 1,
    ['*'] = 1,
    ['+'] = 1,
    ['-'] = 1,
    ['.'] = 1,
    ['^'] = 1,
    ['_'] = 1,
    ['`'] = 1,
    ['|'] = 1,
    ['~'] = 1,
    ['0' ... '9'] = 1,
    ['A' ... 'Z'] = 1,
    ['a' ... 'z'] = 1};

bool
is_token(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!token_chars[(unsigned char)s.p[i]])
			return false;
	return s.len > 0;
}

enum head_verdict
head_find(const char *p, size_t len, size_t cap, size_t *scanned)
{
	size_t limit = len < cap ? len : cap;
	size_t at = *scanned;

	/* What begins like no HTTP (a TLS hello, blank lines) is told now, not
	 * when its line ends. */
	if (len > 0 && !token_chars[(unsigned char)p[0]])
		return HEAD_BAD;
	while (at < limit) {
		const char *lf = memchr(p + at, '\n', limit - at);

		if (lf == NULL)
			break;
		at = (size_t)(lf - p);
		if (at == 0 || p[at - 1] != '\r')
			return HEAD_BAD;
		at++;
		if (at >= 4 && p[at - 3] == '\n') {
			*scanned = at;
			return HEAD_OK;
		}
		*scanned = at;
	}
	if (len >= cap)
		return HEAD_TOO_LARGE;
	*scanned = limit;
	return HEAD_MORE;
}

/* Visible characters, blanks, tabs, and bytes from 0x80 (RFC 9110 5.5). */
static bool
is_field_value(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

bool
is_field_text(const char *s)
{
	return is_field_value(slice_of(s));
}

/* Connection: a list of options, of which two mean something here. */
static void
note_connection(struct head *h, struct slice value)
{
	while (value.len > 0) {
		const char *comma = memchr(value.p, ',', value.len);
		size_t len =
		    comma == NULL ? value.len : (size_t)(comma - value.p);
		struct slice option = slice_trim((struct slice){value.p, len});

		if (slice_is_nocase(option, "close"))
			h->says_close = true;
		else if (slice_is_nocase(option, "keep-alive"))
			h->says_keep_alive = true;
		value.p += len;
		value.len -= len;
		if (comma != NULL) {
			value.p++;
			value.len--;
		}
	}
}

/* Content-Length and Transfer-Encoding: one of them, once, and plain. */
static bool
note_framing(struct head *h, const struct http_field *f)
{
	if (slice_is_nocase(f->name, "content-length")) {
		if (h->framing != FRAMING_NONE ||
		    !text_to_u64(f->value, INT64_MAX, &h->content_length))
			return false;
		h->framing = FRAMING_LENGTH;
	} else if (slice_is_nocase(f->name, "transfer-encoding")) {
		if (h->framing != FRAMING_NONE ||
		    !slice_is_nocase(f->value, "chunked"))
			return false;
		h->framing = FRAMING_CHUNKED;
	}
	return true;
}

static bool
parse_field(struct head *h, struct slice line)
{
	struct http_field *f = &h->fields[h->count];
	const char *colon = memchr(line.p, ':', line.len);

	if (colon == NULL)
		return false;
	f->name = (struct slice){line.p, (size_t)(colon - line.p)};
	f->value =
	    slice_trim((struct slice){colon + 1, line.len - f->name.len - 1});
	if (!is_token(f->name) || !is_field_value(f->value))
		return false;
	switch (f->name.len) {
	case 10:
		if (slice_is_nocase(f->name, "connection"))
			note_connection(h, f->value);
		break;
	case 14:
	case 17:
		if (!note_framing(h, f))
			return false;
		break;
	default:
		break;
	}
	h->count++;
	return true;
}

enum head_verdict
head_parse(const char *p, size_t len, struct head *h)
{
	const char *end = p + len, *line = p;

	h->count = 0;
	h->framing = FRAMING_NONE;
	h->content_length = 0;
	h->says_close = h->says_keep_alive = false;
	for (;;) {
		const char *cr = memchr(line, '\r', (size_t)(end - line));
		struct slice text;

		if (cr == NULL || cr + 1 == end || cr[1] != '\n')
			return HEAD_BAD;
		text = (struct slice){line, (size_t)(cr - line)};
		if (line == p) {
			h->start_line = text;
		} else if (text.len == 0) {
			h->len = (size_t)(cr + 2 - p);
			return HEAD_OK;
		} else if (h->count == HEAD_FIELDS_MOST) {
			return HEAD_TOO_LARGE;
		} else if (!parse_field(h, text)) {
			return HEAD_BAD;
		}
		line = cr + 2;
	}
}

struct slice
head_field(const struct head *h, const char *name)
{
	for (size_t i = 0; i < h->count; i++)
		if (slice_is_nocase(h->fields[i].name, name))
			return h->fields[i].value;
	return (struct slice){NULL, 0};
}

int
head_status(const struct head *h, int *minor)
{
	struct slice s = h->start_line;
	uint64_t status;

	if (s.len < 12 || !slice_starts(s, "HTTP/1.") ||
	    (s.p[7] != '0' && s.p[7] != '1') || s.p[8] != ' ' ||
	    (s.len > 12 && s.p[12] != ' ') ||
	    !text_to_u64((struct slice){s.p + 9, 3}, 599, &status) ||
	    status < 100 || !is_field_value(s))
		return 0;
	*minor = s.p[7] - '0';
	return (int)status;
}
