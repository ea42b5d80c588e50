#include "ask.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 128

struct scan {
	const char *p;
	const char *end;
	int depth;
};

struct span {
	const char *p;
	size_t n;
};

/* Is called with each member of an object; the key is without its quotes. */
typedef bool (*member_fn)(struct ask *a, struct span key, struct span value);

static bool skip_value(struct scan *s);

static void
skip_blanks(struct scan *s)
{
	while (s->p < s->end &&
	    (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool
take(struct scan *s, char c)
{
	if (s->p >= s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool
is_hex4(const struct scan *s)
{
	if (s->end - s->p < 4)
		return false;
	for (int i = 0; i < 4; i++)
		if (memchr("0123456789abcdefABCDEF", s->p[i], 22) == NULL)
			return false;
	return true;
}

/* Skips eight bytes at a time while none of them is a quote, a backslash or a
 * control byte; long texts are most of a body. */
static void
skip_plain(struct scan *s)
{
	const uint64_t ones = 0x0101010101010101, tops = ones << 7;
	uint64_t v, quote, slash;

	while (s->end - s->p >= 8) {
		memcpy(&v, s->p, 8);
		quote = v ^ (ones * '"');
		slash = v ^ (ones * '\\');
		if ((((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) |
			((slash - ones) & ~slash)) &
		    tops)
			return;
		s->p += 8;
	}
}

/* The quote before it is taken already. */
static bool
skip_string_rest(struct scan *s)
{
	for (skip_plain(s); s->p < s->end;) {
		unsigned char c = (unsigned char)*s->p++;

		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		if (c != '\\')
			continue;
		if (s->p >= s->end || memchr("\"\\/bfnrtu", *s->p, 9) == NULL)
			return false;
		if (*s->p++ == 'u') {
			if (!is_hex4(s))
				return false;
			s->p += 4;
		}
		skip_plain(s);
	}
	return false;
}

static size_t
skip_digits(struct scan *s)
{
	const char *from = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - from);
}

static bool
skip_number(struct scan *s)
{
	const char *from;

	(void)take(s, '-');
	from = s->p;
	if (skip_digits(s) == 0 || (*from == '0' && s->p - from > 1))
		return false;
	if (take(s, '.') && skip_digits(s) == 0)
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			(void)take(s, '-');
		return skip_digits(s) > 0;
	}
	return true;
}

static bool
skip_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return false;
	s->p += n;
	return true;
}

/* The opening brace is taken already; each may be NULL. */
static bool
skip_members(struct scan *s, struct ask *a, member_fn each)
{
	struct span key, value;

	skip_blanks(s);
	if (take(s, '}'))
		return true;
	do {
		skip_blanks(s);
		key.p = s->p + 1;
		if (!take(s, '"') || !skip_string_rest(s))
			return false;
		key.n = (size_t)(s->p - key.p) - 1;
		skip_blanks(s);
		if (!take(s, ':'))
			return false;
		skip_blanks(s);
		value.p = s->p;
		if (!skip_value(s))
			return false;
		value.n = (size_t)(s->p - value.p);
		if (each != NULL && !each(a, key, value))
			return false;
		skip_blanks(s);
	} while (take(s, ','));
	return take(s, '}');
}

/* The opening bracket is taken already. */
static bool
skip_elements(struct scan *s, size_t *count)
{
	*count = 0;
	skip_blanks(s);
	if (take(s, ']'))
		return true;
	do {
		skip_blanks(s);
		if (!skip_value(s))
			return false;
		++*count;
		skip_blanks(s);
	} while (take(s, ','));
	return take(s, ']');
}

static bool
skip_value(struct scan *s)
{
	size_t count;
	bool ok;

	if (s->p >= s->end || s->depth >= DEPTH_MAX)
		return false;
	s->depth++;
	if (take(s, '{'))
		ok = skip_members(s, NULL, NULL);
	else if (take(s, '['))
		ok = skip_elements(s, &count);
	else if (take(s, '"'))
		ok = skip_string_rest(s);
	else if (*s->p == 't')
		ok = skip_word(s, "true");
	else if (*s->p == 'f')
		ok = skip_word(s, "false");
	else if (*s->p == 'n')
		ok = skip_word(s, "null");
	else
		ok = skip_number(s);
	s->depth--;
	return ok;
}

static bool
is_span(struct span s, const char *text)
{
	return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* Copies a string value without its quotes. */
static bool
copy_string(char *to, size_t size, struct span value)
{
	if (value.n < 2 || *value.p != '"' || value.n - 2 >= size)
		return false;
	memcpy(to, value.p + 1, value.n - 2);
	to[value.n - 2] = '\0';
	return true;
}

static bool
read_flag(bool *flag, struct span value)
{
	*flag = is_span(value, "true");
	return *flag || is_span(value, "false") || is_span(value, "null");
}

static bool
on_stream_option(struct ask *a, struct span key, struct span value)
{
	if (is_span(key, "include_usage")) {
		a->has_usage_key = true;
		return read_flag(&a->has_usage_wish, value);
	}
	if (is_span(key, "continuous_usage_stats"))
		return read_flag(&a->has_running_wish, value);
	return true;
}

static bool
read_stream_options(struct ask *a, struct span value)
{
	struct scan s = {value.p, value.p + value.n, 0};

	if (is_span(value, "null"))
		return true;
	a->has_stream_options = true;
	return take(&s, '{') && skip_members(&s, a, on_stream_option);
}

/* A list of texts (or of token lists) is many inputs, all else is one. */
static void
read_inputs(struct ask *a, struct span value)
{
	struct scan s = {value.p, value.p + value.n, 0};
	size_t count = 0;

	if (!take(&s, '['))
		return;
	skip_blanks(&s);
	if (*s.p != '"' && *s.p != '[' && *s.p != '{')
		return;
	if (skip_elements(&s, &count) && count > 0)
		a->inputs = count;
}

static bool
on_member(struct ask *a, struct span key, struct span value)
{
	bool is_number =
	    *value.p == '-' || (*value.p >= '0' && *value.p <= '9');

	if (is_span(key, "model")) {
		a->has_model = copy_string(a->model, sizeof a->model, value);
		return a->has_model;
	}
	if (is_span(key, "mock"))
		return copy_string(a->mock, sizeof a->mock, value);
	if (is_span(key, "stream"))
		return read_flag(&a->is_stream, value);
	if (is_span(key, "stream_options"))
		return read_stream_options(a, value);
	if (is_span(key, "max_tokens") ||
	    is_span(key, "max_completion_tokens") ||
	    is_span(key, "max_output_tokens")) {
		if (is_number)
			a->max_tokens = strtoll(value.p, NULL, 10);
		return is_number || is_span(value, "null");
	}
	if (is_span(key, "n") && is_number && *value.p >= '1' &&
	    *value.p <= '0' + ASK_CHOICES_MOST && value.n == 1)
		a->choices = (uint64_t)(*value.p - '0');
	if (is_span(key, "encoding_format"))
		a->wants_base64 = is_span(value, "\"base64\"");
	if (is_span(key, "input") || is_span(key, "documents") ||
	    is_span(key, "texts"))
		read_inputs(a, value);
	if (is_span(key, "messages") || is_span(key, "prompt") ||
	    is_span(key, "input")) {
		a->prompt = value.p;
		a->prompt_n = value.n;
	}
	if (is_span(key, "messages") || is_span(key, "prompt") ||
	    is_span(key, "input") || is_span(key, "query") ||
	    is_span(key, "documents") || is_span(key, "texts"))
		a->prompt_bytes += value.n;
	return true;
}

bool
ask_read(struct ask *a, const char *p, size_t n, const char **why)
{
	struct scan s = {p, p + n, 0};

	/* Not the whole struct: its texts are large and need no zeroes. */
	a->model[0] = a->mock[0] = '\0';
	a->prompt = NULL;
	a->prompt_n = a->prompt_bytes = 0;
	a->inputs = a->choices = 1;
	a->max_tokens = -1;
	a->is_stream = a->has_model = a->has_stream_options = false;
	a->has_usage_key = a->has_usage_wish = a->has_running_wish = false;
	a->wants_base64 = false;

	skip_blanks(&s);
	if (!take(&s, '{') || !skip_members(&s, a, on_member)) {
		*why = "The body is not a JSON object, or a value in it has "
		       "the wrong type.";
		return false;
	}
	skip_blanks(&s);
	if (s.p != s.end) {
		*why = "There are bytes behind the JSON object.";
		return false;
	}
	return true;
}
