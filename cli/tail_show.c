#include "cli/tail_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include "base/clock.h"
#include "cli/format.h"
#include "metering/price.h"

#include "base/banned.h"

#define TEXT_BYTES 320
#define ID_HEAD 4
#define ID_TAIL 4

/* How a line is filled in. */
struct row {
	const struct tail_look *look;
	const struct ledger_view *v;
	char text[TEXT_BYTES]; /* the cell's; "": nothing */
};

static bool
is_for_people(const struct row *r)
{
	return r->look->form == TABLE_FOR_PEOPLE;
}

/* Control characters come out as \xNN: nobody else's bytes drive a terminal. */
static void
set_text(struct row *r, struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < TEXT_BYTES - 5; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c >= 0x20 && c != 0x7f)
			r->text[n++] = (char)c;
		else
			n += (size_t)snprintf(&r->text[n], 5, "\\x%02x", c);
	}
	r->text[n] = '\0';
}

static void
set_when(struct row *r)
{
	time_t t = (time_t)(r->v->ts_ms / 1000);
	time_t now = (time_t)(r->look->now_ms / 1000);
	struct tm tm, today;

	if (!is_for_people(r)) {
		clock_format(r->text, r->v->ts_ms);
		return;
	}
	if (r->look->is_utc) {
		gmtime_r(&t, &tm);
		gmtime_r(&now, &today);
	} else {
		localtime_r(&t, &tm);
		localtime_r(&now, &today);
	}
	strftime(r->text, TEXT_BYTES,
	    tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday
		? "%H:%M:%S"
		: "%m-%d %H:%M",
	    &tm);
}

static void
set_id(struct row *r)
{
	struct slice id = r->v->id;

	set_text(r, id);
	if (is_for_people(r) && strlen(r->text) == 26)
		memmove(
		    &r->text[ID_HEAD + 2], &r->text[26 - ID_TAIL], ID_TAIL + 1);
	if (is_for_people(r) && id.len == 26)
		memcpy(&r->text[ID_HEAD], "..", 2);
}

static void
set_user(struct row *r)
{
	set_text(r, r->v->user);
}

static void
set_model(struct row *r)
{
	set_text(r, r->v->model);
}

/* Whether another upstream was tried before. */
static bool
has_fallen_back(const struct ledger_view *v)
{
	const struct slice *first = &v->attempts[0].upstream;

	return v->attempt_count > 1 &&
	    (first->len != v->upstream.len ||
		memcmp(first->p, v->upstream.p, first->len) != 0);
}

static void
set_upstream(struct row *r)
{
	size_t n;

	if (r->v->attempt_count == 0)
		return;
	set_text(r, r->v->upstream);
	n = strlen(r->text);
	if (has_fallen_back(r->v))
		snprintf(&r->text[n], TEXT_BYTES - n, " *");
}

static void
set_code(struct row *r)
{
	if (r->v->status > 0)
		snprintf(r->text, TEXT_BYTES, "%" PRId64, r->v->status);
}

/* Tokens, where an upstream was tried; with a ~ if they are an estimate. */
static void
set_tokens(struct row *r, int64_t n)
{
	if (r->v->attempt_count > 0)
		snprintf(r->text, TEXT_BYTES, "%" PRId64 "%s", n,
		    is_for_people(r) &&
			    slice_is(r->v->usage_source, "estimated")
			? "~"
			: "");
}

static void
set_input(struct row *r)
{
	set_tokens(r, r->v->prompt_tokens);
}

static void
set_cached(struct row *r)
{
	set_tokens(r, r->v->cached_tokens);
}

static void
set_output(struct row *r)
{
	set_tokens(r, r->v->completion_tokens);
}

static void
set_wait(struct row *r, int64_t ms)
{
	char shown[FORMAT_BYTES];

	if (ms < 0)
		return;
	format_wait(shown, ms);
	if (is_for_people(r))
		snprintf(r->text, TEXT_BYTES, "%s", shown);
	else
		snprintf(r->text, TEXT_BYTES, "%" PRId64, ms);
}

static void
set_ttft(struct row *r)
{
	set_wait(r, r->v->ttft_ms);
}

static void
set_duration(struct row *r)
{
	set_wait(r, r->v->duration_ms);
}

static void
set_speed(struct row *r)
{
	const struct ledger_view *v = r->v;

	if (v->stream && v->ttft_ms >= 0 && v->duration_ms > v->ttft_ms &&
	    v->completion_tokens > 0)
		snprintf(r->text, TEXT_BYTES, "%.1f",
		    (double)v->completion_tokens * 1000 /
			(double)(v->duration_ms - v->ttft_ms));
}

static void
set_cost(struct row *r)
{
	char text[MONEY_TEXT_BYTES];

	if (!is_for_people(r))
		money_format(text, r->v->cost_usd);
	else if (r->v->cost_usd > 0)
		money_format_short(text, r->v->cost_usd);
	else
		return;
	snprintf(r->text, TEXT_BYTES, "%s", text);
}

static void
set_end(struct row *r)
{
	set_text(r, r->v->end);
}

static void
set_usage_source(struct row *r)
{
	set_text(r, r->v->usage_source);
}

/* A negative width is left-aligned.  The last column is for pipes alone: people
 * see a ~. */
static const struct {
	const char *title;
	int width;
	void (*set)(struct row *r);
} columns[] = {
    {"TIME", -11, set_when},
    {"ID", -10, set_id},
    {"USER", -10, set_user},
    {"MODEL", -14, set_model},
    {"UPSTREAM", -14, set_upstream},
    {"CODE", 4, set_code},
    {"INPUT", 7, set_input},
    {"CACHED", 7, set_cached},
    {"OUTPUT", 7, set_output},
    {"TTFT", 7, set_ttft},
    {"TOK/S", 6, set_speed},
    {"TOOK", 7, set_duration},
    {"COST", 8, set_cost},
    {"END", -1, set_end},
    {"USAGE_SOURCE", -1, set_usage_source},
};

static size_t
column_count(const struct tail_look *look)
{
	return COUNT_OF(columns) - (look->form == TABLE_FOR_PEOPLE ? 1 : 0);
}

/* Columns of a terminal that a text takes. */
static int
width_of(const char *text)
{
	wchar_t wide[TEXT_BYTES];
	size_t n = mbstowcs(wide, text, TEXT_BYTES);
	int width = n == (size_t)-1 ? -1 : wcswidth(wide, n);

	return width < 0 ? (int)strlen(text) : width;
}

static void
put_cell(const char *text, int width)
{
	int pad = (width < 0 ? -width : width) - width_of(text);

	if (pad < 0)
		pad = 0;
	if (width > 0)
		printf("%*s%s", pad, "", text);
	else
		printf("%s%*s", text, pad, "");
}

void
tail_show_header(const struct tail_look *look)
{
	for (size_t i = 0; i < column_count(look); i++) {
		if (look->form == TABLE_FOR_PEOPLE) {
			put_cell(columns[i].title, columns[i].width);
			fputs("  ", stdout);
		} else {
			printf("%s%s", i == 0 ? "" : "\t", columns[i].title);
		}
	}
	putchar('\n');
}

static void
show_fallback(const struct ledger_view *v)
{
	struct row r = {.v = v};

	fputs("  * fell back:", stdout);
	for (size_t i = 0; i + 1 < v->attempt_count; i++) {
		set_text(&r, v->attempts[i].upstream);
		printf("%s %s", i == 0 ? "" : ",", r.text);
		set_text(&r, v->attempts[i].result);
		printf(" (%s)", r.text);
	}
	putchar('\n');
}

void
tail_show_line(const struct tail_look *look, const struct ledger_view *v,
    struct slice line)
{
	struct row r = {.look = look, .v = v};

	if (look->form == TABLE_FOR_PROGRAMS) {
		fwrite(line.p, 1, line.len, stdout);
		putchar('\n');
		return;
	}
	for (size_t i = 0; i < column_count(look); i++) {
		r.text[0] = '\0';
		columns[i].set(&r);
		if (r.text[0] == '\0')
			memcpy(r.text, "-", 2);
		if (look->form == TABLE_FOR_PEOPLE) {
			put_cell(r.text, columns[i].width);
			fputs("  ", stdout);
		} else {
			printf("%s%s", i == 0 ? "" : "\t", r.text);
		}
	}
	putchar('\n');
	if (look->form == TABLE_FOR_PEOPLE && has_fallen_back(v))
		show_fallback(v);
}
