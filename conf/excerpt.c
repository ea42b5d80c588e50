#include "conf/excerpt.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/mem.h"

#include "base/banned.h"

#define SHOWN_MOST 160  /* characters of a line */
#define SHOWN_BEFORE 60 /* of them before the caret, where it is cut */
#define WORD_MOST 32
#define STARS "******"

/* The bytes of the line break at `at`, as YAML counts them; 0 if there is
 * none. */
static size_t
break_length(struct slice text, size_t at)
{
	const char *p = text.p + at;
	size_t left = text.len - at;

	if (p[0] == '\r')
		return left > 1 && p[1] == '\n' ? 2 : 1;
	if (p[0] == '\n')
		return 1;
	if (left > 1 && memcmp(p, "\xc2\x85", 2) == 0)
		return 2;
	if (left > 2 &&
	    (memcmp(p, "\xe2\x80\xa8", 3) == 0 ||
		memcmp(p, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

static void
find_line_end(struct excerpt *e)
{
	e->end = e->begin;
	while (e->end < e->text.len && break_length(e->text, e->end) == 0)
		e->end++;
}

void
excerpt_init(struct excerpt *e, struct slice text,
    const struct hidden_span *hidden, size_t hidden_count)
{
	*e = (struct excerpt){.text = text,
	    .hidden = hidden,
	    .hidden_count = hidden_count,
	    .line = 1};
	if (slice_starts(text, "\xef\xbb\xbf"))
		e->begin = 3; /* a byte order mark has no column */
	find_line_end(e);
}

/* One line of a file, and which of its bytes must not be shown. */
struct shown_line {
	const char *p; /* borrowed */
	size_t len;
	bool *is_hidden; /* owned */
};

static void
hide(struct shown_line *l, size_t from, size_t to)
{
	for (size_t i = from; i < to && i < l->len; i++)
		l->is_hidden[i] = true;
}

static bool
is_word_byte(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* The word that ends before the ':' at `colon`; also if it is quoted. */
static bool
names_a_secret(const struct shown_line *l, size_t colon)
{
	char word[WORD_MOST + 1];
	size_t end = colon, begin, n;

	while (end > 0 && strchr(" \t'\"", l->p[end - 1]) != NULL)
		end--;
	begin = end;
	while (begin > 0 && is_word_byte(l->p[begin - 1]))
		begin--;
	n = end - begin;
	if (n == 0 || n > WORD_MOST)
		return false;
	for (size_t i = 0; i < n; i++)
		word[i] = (char)tolower((unsigned char)l->p[begin + i]);
	word[n] = '\0';
	return text_distance(word, "api_key", 2) <= 2 ||
	    text_distance(word, "password", 2) <= 2 ||
	    strstr(word, "passw") != NULL || strstr(word, "secret") != NULL ||
	    strstr(word, "auth") != NULL || strcmp(word, "token") == 0;
}

/* One past the value at `at`. */
static size_t
value_end(const struct shown_line *l, size_t at)
{
	bool is_flow = memchr(l->p, '{', at) != NULL;
	char quote = l->p[at];

	if (quote == '"' || quote == '\'') {
		const char *close =
		    memchr(l->p + at + 1, quote, l->len - at - 1);

		return close == NULL ? l->len : (size_t)(close - l->p) + 1;
	}
	while (at < l->len && !(is_flow && strchr(",}", l->p[at]) != NULL))
		at++;
	return at;
}

/* Hides the values of secrets' keys.  Returns true if the line ends before the
 * value of the last one. */
static bool
hide_by_key(struct shown_line *l)
{
	bool is_open = false;

	for (size_t i = 0; i < l->len; i++) {
		size_t at = i + 1;

		if (l->p[i] != ':' || !names_a_secret(l, i))
			continue;
		while (at < l->len && strchr(" \t", l->p[at]) != NULL)
			at++;
		is_open = at == l->len || strchr("|>", l->p[at]) != NULL;
		if (is_open || l->p[at] == '$')
			continue;
		i = value_end(l, at) - 1;
		hide(l, at, i + 1);
	}
	return is_open;
}

/* http://user:password@host and http://host/?key=… */
static void
hide_in_url(struct shown_line *l)
{
	for (size_t i = 0; i + 3 < l->len; i++) {
		size_t begin = i + 3, end = begin;
		const char *mark;

		if (memcmp(l->p + i, "://", 3) != 0)
			continue;
		while (end < l->len && strchr(" \t'\"", l->p[end]) == NULL)
			end++;
		mark = memrchr(l->p + begin, '@', end - begin);
		if (mark != NULL)
			hide(l, begin, (size_t)(mark - l->p));
		mark = memchr(l->p + begin, '?', end - begin);
		if (mark != NULL)
			hide(l, (size_t)(mark - l->p) + 1, end);
		i = end;
	}
}

static void
hide_keys_by_look(struct shown_line *l)
{
	for (size_t i = 0; i + 3 < l->len; i++) {
		size_t end = i + 3;

		if (memcmp(l->p + i, "sk-", 3) != 0 ||
		    (i > 0 && is_word_byte(l->p[i - 1])))
			continue;
		while (end < l->len && is_word_byte(l->p[end]))
			end++;
		hide(l, i, end);
	}
}

static void
hide_span(
    const struct excerpt *e, const struct hidden_span *s, struct shown_line *l)
{
	unsigned column = 0;

	for (size_t at = 0; at < l->len; at++) {
		if (((unsigned char)l->p[at] & 0xc0) != 0x80)
			column++;
		if (e->line == s->end_line && column >= s->end_column)
			break;
		if (e->line > s->line || column >= s->column)
			l->is_hidden[at] = true;
	}
}

static void
hide_spans(const struct excerpt *e, struct shown_line *l)
{
	for (size_t i = 0; i < e->hidden_count; i++)
		if (e->line >= e->hidden[i].line &&
		    e->line <= e->hidden[i].end_line)
			hide_span(e, &e->hidden[i], l);
}

/* Hides what the current line must not show, and remembers whether the next
 * line begins with a secret. */
static void
hide_secrets(struct excerpt *e, struct shown_line *l)
{
	size_t blank = 0;

	while (blank < l->len && strchr(" \t", l->p[blank]) != NULL)
		blank++;
	if (e->is_value && blank < l->len && l->p[blank] != '$')
		hide(l, blank, l->len);
	if (blank < l->len)
		e->is_value = hide_by_key(l);
	hide_in_url(l);
	hide_keys_by_look(l);
}

static void
open_line(struct excerpt *e, struct shown_line *l)
{
	*l = (struct shown_line){e->text.p + e->begin, e->end - e->begin,
	    xcalloc_array(e->end - e->begin, sizeof(bool))};
	hide_secrets(e, l);
}

/* Moves on to `line`; each line on the way may say that the next one begins
 * with a secret. */
static bool
go_to(struct excerpt *e, unsigned line)
{
	while (e->line < line) {
		struct shown_line passed;

		if (e->end == e->text.len)
			return false;
		open_line(e, &passed);
		free(passed.is_hidden);
		e->begin = e->end + break_length(e->text, e->end);
		e->line++;
		find_line_end(e);
	}
	return true;
}

/* One past the character at `at`; what is no UTF-8 is taken byte by byte up to
 * the next one that begins a character. */
static size_t
next_character(const struct shown_line *l, size_t at)
{
	do
		at++;
	while (at < l->len && ((unsigned char)l->p[at] & 0xc0) == 0x80);
	return at;
}

/* The second line, as it grows below the first. */
struct underline {
	unsigned column, width; /* of what is meant */
	struct buf marks;       /* owned */
	bool has_caret;
};

/* `count` characters were shown for what stands at `column`. */
static void
underline_add(struct underline *u, unsigned column, size_t count, bool is_tab)
{
	bool is_meant = column >= u->column && column < u->column + u->width;

	for (size_t i = 0; i < count; i++) {
		if (is_meant)
			buf_puts(&u->marks, u->has_caret ? "~" : "^");
		else if (!u->has_caret)
			buf_puts(&u->marks, is_tab ? "\t" : " ");
		u->has_caret = u->has_caret || is_meant;
	}
}

/* Writes the characters from column `first` on, and what goes below them. */
static void
put_line(const struct shown_line *l, unsigned first, struct underline *u,
    struct buf *out)
{
	bool was_hidden = false;
	unsigned column = 1;
	size_t shown = 0, end;

	for (size_t at = 0; at < l->len && shown < SHOWN_MOST; at = end) {
		bool is_tab = l->p[at] == '\t', is_hidden = l->is_hidden[at];
		size_t count = 1;

		end = next_character(l, at);
		if (column++ < first)
			continue;
		if (is_hidden) {
			count = was_hidden ? 0 : sizeof STARS - 1;
			buf_put(out, STARS, count);
		} else if (is_tab || text_is_clean_utf8(l->p + at, end - at)) {
			buf_put(out, l->p + at, end - at);
		} else {
			buf_puts(out, "?");
		}
		underline_add(u, column - 1, count, is_tab);
		was_hidden = is_hidden;
		shown += count;
	}
	if (!u->has_caret)
		buf_puts(&u->marks, "^"); /* behind the end, or in the stars */
}

void
excerpt_print(struct excerpt *e, unsigned line, unsigned column, unsigned width,
    struct buf *out)
{
	struct underline u = {.column = column, .width = width};
	unsigned first = 1;
	bool was_value;
	struct shown_line l;

	if (column > SHOWN_MOST - SHOWN_BEFORE)
		first = column - SHOWN_BEFORE; /* cut a long line in front */
	if (line < e->line || !go_to(e, line))
		return;
	was_value = e->is_value;
	open_line(e, &l);
	hide_spans(e, &l);
	e->is_value = was_value; /* the line may be asked for again */
	buf_printf(out, "%6u | ", line);
	put_line(&l, first, &u, out);
	buf_puts(out, "\n       | ");
	buf_put(out, buf_data(&u.marks), buf_len(&u.marks));
	buf_puts(out, "\n");
	buf_release(&u.marks);
	free(l.is_hidden);
}
