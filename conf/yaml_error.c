#include "conf/yaml_error.h"

#include <stdbool.h>
#include <string.h>

#include "base/banned.h"

/* libyaml's words, and ours.  Where both parts of its message agree, ours is
 * shown; at the beginning of what it was reading, or where it stopped. */
static const struct {
	const char *context; /* "" fits all */
	const char *problem;
	bool is_at_context;
	const char *message;
} explanations[] = {
    {"quoted scalar", "unexpected end of stream", true,
	"quoted string is never closed"},
    {"quoted scalar", "unexpected document indicator", true,
	"quoted string is never closed"},
    {"quoted scalar", "unknown escape", false,
	"unknown escape in a \"…\" string (a backslash is written \\\\; or use "
	"'…')"},
    {"", "tab character", false,
	"tab character used for indentation (use spaces)"},
    {"simple key", "expected ':'", true,
	"a key needs ': ' and a value behind it"},
    {"", "block sequence entries are not allowed", false,
	"a list item ('- ') must stand on a line of its own"},
    {"", "mapping values are not allowed", false,
	"unexpected ': '; is the indentation wrong, or does the text before it "
	"need quotes?"},
    {"", "mapping keys are not allowed", false, "unexpected '? '"},
    {"flow sequence", "expected ',' or ']'", true,
	"'[' is never closed, or a ',' is missing in the list"},
    {"flow mapping", "expected ',' or '}'", true,
	"'{' is never closed, or a ',' is missing in it"},
    {"block mapping", "expected key", false,
	"expected 'key: value' here; is the indentation wrong?"},
    {"block collection", "expected '-'", false,
	"expected a list item ('- …') here; is the indentation wrong?"},
    {"", "<document start>", false,
	"something is left over here; is the indentation wrong?"},
};

/* The byte where a mark points, or the end. */
static size_t
byte_at(struct slice text, size_t characters)
{
	size_t at = slice_starts(text, "\xef\xbb\xbf") ? 3 : 0;

	for (; at < text.len && characters > 0; characters--) {
		at++;
		while (
		    at < text.len && ((unsigned char)text.p[at] & 0xc0) == 0x80)
			at++;
	}
	return at;
}

static bool
only_blanks_before(struct slice text, size_t at)
{
	while (at > 0 && strchr(" \t", text.p[at - 1]) != NULL)
		at--;
	return at == 0 || text.p[at - 1] == '\n' || text.p[at - 1] == '\r';
}

static void
add(struct diagnostics *found, yaml_mark_t at, const char *message)
{
	diagnostics_add(found, SEVERITY_ERROR, (unsigned)at.line + 1,
	    (unsigned)at.column + 1, 1, "%s", message);
}

/* The file is no UTF-8, or holds control characters: libyaml says at which
 * byte, not in which line. */
static void
explain_bytes(
    const yaml_parser_t *p, struct slice text, struct diagnostics *found)
{
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < p->problem_offset && i < text.len; i++) {
		if (text.p[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	diagnostics_add(found, SEVERITY_ERROR, line, column, 1, "%s",
	    strstr(p->problem, "control") != NULL
		? "control character; a configuration is plain text"
		: "not UTF-8; save the file in that encoding");
}

/* A character that begins nothing: a tab, or one that needs quotes. */
static void
explain_character(
    const yaml_parser_t *p, struct slice text, struct diagnostics *found)
{
	size_t at = byte_at(text, p->problem_mark.index);
	char c = at < text.len ? text.p[at] : ' ';

	if (c == '\t' && only_blanks_before(text, at))
		add(found, p->problem_mark,
		    "tab character used for indentation (use spaces)");
	else if (c == '\t')
		add(found, p->problem_mark,
		    "tab character between key and value (use a space)");
	else
		diagnostics_add(found, SEVERITY_ERROR,
		    (unsigned)p->problem_mark.line + 1,
		    (unsigned)p->problem_mark.column + 1, 1,
		    "a text that begins with '%c' needs quotes", c);
}

static bool
was_left_open(const yaml_parser_t *p, const struct node *quoted)
{
	return quoted != NULL && quoted->line != quoted->end_line &&
	    p->problem_mark.line + 1 == quoted->end_line;
}

void
yaml_error_explain(const yaml_parser_t *p, struct slice text,
    const struct node *last_quoted, struct diagnostics *found)
{
	const char *context = p->context == NULL ? "" : p->context;
	const char *problem = p->problem == NULL ? "not YAML" : p->problem;

	if (p->error == YAML_READER_ERROR) {
		explain_bytes(p, text, found);
		return;
	}
	if (was_left_open(p, last_quoted)) {
		diagnostics_add(found, SEVERITY_ERROR, last_quoted->line,
		    last_quoted->column, 1,
		    "quoted string is closed only at line %u; is its closing "
		    "quote missing?",
		    last_quoted->end_line);
		return;
	}
	if (strstr(problem, "cannot start any token") != NULL) {
		explain_character(p, text, found);
		return;
	}
	for (size_t i = 0; i < COUNT_OF(explanations); i++) {
		if (strstr(context, explanations[i].context) == NULL ||
		    strstr(problem, explanations[i].problem) == NULL)
			continue;
		add(found,
		    explanations[i].is_at_context ? p->context_mark
						  : p->problem_mark,
		    explanations[i].message);
		return;
	}
	add(found, p->problem_mark, problem);
}
