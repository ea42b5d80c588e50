#include "metering/ledger/ledger_check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "metering/ledger/check_line.h"
#include "metering/ledger/ledger_segments.h"
#include "tests/unit/metering/ledger/ledger_folder.h"

static int
set_up(void **state)
{
	*state = ledger_folder_create();
	return 0;
}

static int
tear_down(void **state)
{
	struct ledger_folder *f = *state;

	ledger_folder_destroy(&f);
	return 0;
}

/* --- one check ----------------------------------------------------------- */

/* What a check said: "name:line: text" lines, and its numbers. */
struct said {
	struct buf findings;
	struct check_counts counts;
	struct check_beginning beginning;
	uint64_t lines;
	struct check_user bob; /* zeros if there is none */
	size_t users;
};

static void
on_finding(void *arg, const char *path, uint64_t line, const char *text)
{
	struct said *said = arg;

	buf_printf(&said->findings, "%s:%llu: %s\n", strrchr(path, '/') + 1,
	    (unsigned long long)line, text);
}

static void
take_sums(struct said *said, const struct check_sums *s)
{
	said->lines = s->lines;
	said->users = s->names.count;
	for (size_t i = 0; i < s->names.count; i++)
		if (slice_is(s->names.names[i], "bob"))
			said->bob = s->users[i];
}

static void
check_with(struct said *said, const struct ledger_folder *f,
    const char *memory_path, bool reads_all)
{
	struct check_query query = {
	    .path = f->current,
	    .memory_path = memory_path,
	    .reads_all = reads_all,
	    .on_finding = on_finding,
	    .arg = said,
	};
	struct ledger_check *c = ledger_check_create(&query);
	struct fault why;

	*said = (struct said){0};
	if (!ledger_check_read(c, &why) || !ledger_check_finish(c, &why))
		fail_msg("%s", why.text);
	said->counts = ledger_check_counts(c);
	said->beginning = *ledger_check_beginning(c);
	take_sums(said, ledger_check_sums(c));
	buf_puts(&said->findings, "");
	buf_put(&said->findings, "", 1);
	ledger_check_destroy(&c);
}

/* Checks and expects exactly these findings. */
static void
expect(const struct ledger_folder *f, const char *findings)
{
	struct said said;

	check_with(&said, f, NULL, false);
	assert_string_equal(buf_data(&said.findings), findings);
	buf_release(&said.findings);
}

/* --- whole ledgers ------------------------------------------------------- */

static void
a_good_ledger_has_no_findings_and_its_sums(void **state)
{
	struct ledger_folder *f = *state;
	struct said said;

	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 10);
	gzip_file(in_folder(f, "usage.jsonl.2"));
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 11, 15);
	append_lines(in_folder(f, "usage.jsonl.1"), 'B', 1, 5);
	append_lines(f->current, 'B', 6, 10);
	check_with(&said, f, NULL, false);
	assert_string_equal(buf_data(&said.findings), "");
	assert_int_equal(said.counts.segments, 3);
	assert_int_equal(said.lines, 25);
	assert_int_equal(said.users, 1);
	assert_int_equal(said.bob.requests, 25);
	assert_int_equal(said.bob.input_tokens, 200);
	assert_int_equal(said.bob.cached_tokens, 75);
	assert_int_equal(said.bob.output_tokens, 50);
	assert_int_equal(said.bob.reasoning_tokens, 25);
	assert_true(said.bob.cost_pusd == (__int128)25 * 500000000000);
	buf_release(&said.findings);
}

static void
no_ledger_is_a_good_one(void **state)
{
	expect(*state, "");
}

static void
segments_may_have_been_removed_from_the_front(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 11, 15);
	append_lines(f->current, 'A', 16, 17);
	append_lines(f->current, 'B', 1, 2);
	expect(f, "");
	/* A start writes what an earlier one had no time for. */
	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 4, 5);
	append_lines(in_folder(f, "usage.jsonl.2"), 'B', 7, 7);
	append_lines(in_folder(f, "usage.jsonl.2"), 'C', 1, 1);
	unlink(in_folder(f, "usage.jsonl.1"));
	unlink(f->current);
	expect(f, "");
}

#define WRITER_A "01K9W00000000000000000000A"
#define WRITER_B "01K9W00000000000000000000B"
#define WRITER_C "01K9W00000000000000000000C"

static void
expect_beginning(const struct ledger_folder *f, const char *writer,
    uint64_t seq, uint64_t before)
{
	struct said said;

	check_with(&said, f, NULL, false);
	assert_string_equal(said.beginning.writer, writer);
	assert_int_equal(said.beginning.seq, seq);
	assert_int_equal(said.beginning.before, before);
	buf_release(&said.findings);
}

static void
what_is_not_here_before_the_first_line_is_counted(void **state)
{
	struct ledger_folder *f = *state;

	expect_beginning(f, "", 0, 0);
	append_lines(f->current, 'B', 1, 2);
	expect_beginning(f, WRITER_B, 1, 0);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 31, 35);
	expect_beginning(f, WRITER_A, 31, 30);
	expect(f, "");
	/* Damaged lines are here, and were told. */
	append_bytes(in_folder(f, "usage.jsonl-1"), "x\nx\n", 4);
	append_lines(in_folder(f, "usage.jsonl-1"), 'A', 30, 30);
	expect_beginning(f, WRITER_A, 30, 27);
}

static void
an_empty_closed_file_is_told(void **state)
{
	static const char *const closed[] = {"usage.jsonl.1",
	    "usage.jsonl-20261121", "usage-20261121-001.jsonl",
	    "usage-20261121-001.jsonl.gz", "usage.jsonl.2.gz"};
	static const char *const others[] = {"usage.jsonl", "usage.jsonl.x",
	    "usage.txt", "usage-20261121", "usage.jsonl.1.gz-making", "torn-1",
	    "usage.jsonl.gz", "other.jsonl.1"};
	struct ledger_folder *f = *state;
	char findings[128];

	for (size_t i = 0; i < COUNT_OF(others); i++)
		append_bytes(in_folder(f, others[i]), "", 0);
	expect(f, "");
	for (size_t i = 0; i < COUNT_OF(closed); i++) {
		append_bytes(in_folder(f, closed[i]), "", 0);
		snprintf(findings, sizeof findings,
		    "%s:0: it is empty: what stood in it is lost\n", closed[i]);
		expect(f, findings);
		unlink(in_folder(f, closed[i]));
	}
	/* gzip(1) makes one beside the plain one. */
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 3);
	append_bytes(in_folder(f, "usage.jsonl.1.gz"), "", 0);
	expect(f, "");
}

static void
an_empty_file_is_told_gzipped_too(void **state)
{
	struct ledger_folder *f = *state;

	append_bytes(in_folder(f, "usage.jsonl.1"), "", 0);
	gzip_file(in_folder(f, "usage.jsonl.1"));
	expect(
	    f, "usage.jsonl.1.gz:0: it is empty: what stood in it is lost\n");
}

static void
a_gap_is_told_with_its_line(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(f->current, 'A', 1, 3);
	append_lines(f->current, 'A', 5, 6);
	append_lines(f->current, 'A', 9, 9);
	expect(f,
	    "usage.jsonl:4: of writer " WRITER_A " 1 line is missing before "
	    "this one: 4 to 4\n"
	    "usage.jsonl:6: of writer " WRITER_A " 2 lines are missing before "
	    "this one: 7 to 8\n");
}

static void
a_gap_between_two_segments_is_told(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 3);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 7, 9);
	append_lines(f->current, 'A', 10, 10);
	expect(f,
	    "usage.jsonl.1:1: of writer " WRITER_A " 3 lines are missing "
	    "before this one: 4 to 6\n");
}

static void
a_start_of_the_gateway_must_begin_at_one(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(f->current, 'A', 5, 6);
	append_lines(f->current, 'B', 1, 2);
	append_lines(f->current, 'C', 2, 3);
	expect(f,
	    "usage.jsonl:5: of writer " WRITER_C " 1 line is missing before "
	    "this one: 1 to 1\n");
}

static void
a_line_that_comes_twice_is_told(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 3);
	append_lines(f->current, 'A', 4, 5);
	append_lines(f->current, 'A', 5, 5);
	append_lines(f->current, 'A', 2, 2);
	append_lines(f->current, 'A', 6, 6);
	expect(f,
	    "usage.jsonl:3: line 5 of writer " WRITER_A " comes again, after "
	    "its line 5\n"
	    "usage.jsonl:4: line 2 of writer " WRITER_A " comes again, after "
	    "its line 5\n");
}

static void
a_damaged_line_is_told_once_and_not_as_a_gap_too(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(f->current, 'A', 1, 3);
	append_bytes(f->current, "{garbage\n", 9);
	append_lines(f->current, 'A', 5, 5);
	append_bytes(f->current, "\n", 1);
	append_lines(f->current, 'A', 8, 8);
	expect(f,
	    "usage.jsonl:4: it is broken JSON at byte 2\n"
	    "usage.jsonl:6: it is broken JSON at byte 1\n"
	    "usage.jsonl:7: of writer " WRITER_A " 2 lines are missing before "
	    "this one: 6 to 7\n");
}

static void
a_torn_last_line_is_told_unless_it_is_completed(void **state)
{
	struct ledger_folder *f = *state;
	struct said said = {0};
	struct check_query query = {
	    .path = f->current, .on_finding = on_finding, .arg = &said};
	struct ledger_check *c = ledger_check_create(&query);
	struct fault why;
	struct buf b = {0};

	append_lines(f->current, 'A', 1, 3);
	put_line(&b, 'A', 4, "bob");
	append_bytes(f->current, buf_data(&b), 100);
	expect(f, "usage.jsonl:4: the last line is torn: it has no newline\n");

	assert_true(ledger_check_read(c, &why));
	assert_true(ledger_check_is_torn(c));
	append_bytes(f->current, buf_data(&b) + 100, buf_len(&b) - 100);
	assert_false(ledger_check_is_torn(c));
	assert_true(ledger_check_finish(c, &why));
	assert_int_equal(ledger_check_counts(c).findings, 0);
	assert_int_equal(ledger_check_sums(c)->lines, 4);
	ledger_check_destroy(&c);
	buf_release(&b);
	buf_release(&said.findings);
}

static void
a_cut_at_any_byte_is_told_unless_it_is_between_lines(void **state)
{
	struct ledger_folder *f = *state;
	struct buf b = {0};
	uint64_t whole = 10;

	append_lines(f->current, 'A', 1, 10);
	read_whole(f->current, &b);
	for (size_t size = buf_len(&b); size > 0; size--) {
		struct said said;

		folder_must(truncate(f->current, (off_t)size) == 0, f->current);
		if (buf_data(&b)[size - 1] == '\n')
			whole--; /* behind this one the next cut is */
		check_with(&said, f, NULL, false);
		assert_int_equal(said.lines,
		    buf_data(&b)[size - 1] == '\n' ? whole + 1 : whole);
		assert_int_equal(said.counts.findings,
		    buf_data(&b)[size - 1] == '\n' ? 0 : 1);
		buf_release(&said.findings);
	}
	assert_int_equal(whole, 0);
	buf_release(&b);
}

static void
a_tail_of_zero_bytes_is_told(void **state)
{
	struct ledger_folder *f = *state;

	append_lines(f->current, 'A', 1, 3);
	folder_must(truncate(f->current, 100000) == 0, f->current);
	expect(f, "usage.jsonl:4: the last line is torn: it has no newline\n");
}

static void
a_torn_gzip_file_is_told(void **state)
{
	struct ledger_folder *f = *state;
	const char *packed = in_folder(f, "usage.jsonl.1.gz");
	struct said said;
	struct stat st;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 50);
	gzip_file(in_folder(f, "usage.jsonl.1"));
	append_lines(f->current, 'A', 51, 52);
	expect(f, "");
	folder_must(
	    stat(packed, &st) == 0 && truncate(packed, st.st_size - 1) == 0,
	    packed);
	check_with(&said, f, NULL, false);
	assert_non_null(
	    strstr(buf_data(&said.findings), "is no whole gzip file"));
	assert_int_equal(said.counts.findings, 1);
	buf_release(&said.findings);
}

static void
a_gzip_file_torn_in_the_middle_is_one_finding(void **state)
{
	struct ledger_folder *f = *state;
	const char *packed = in_folder(f, "usage.jsonl.1.gz");
	struct said said;
	struct stat st;

	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 1, 5000);
	append_lines(in_folder(f, "usage.jsonl.1"), 'B', 1, 9);
	gzip_file(in_folder(f, "usage.jsonl.1"));
	append_lines(f->current, 'B', 10, 12);
	folder_must(
	    stat(packed, &st) == 0 && truncate(packed, st.st_size / 2) == 0,
	    packed);
	check_with(&said, f, NULL, false);
	assert_non_null(strstr(buf_data(&said.findings),
	    "usage.jsonl.1.gz:0: it is no whole gzip file: "));
	assert_null(strstr(buf_data(&said.findings), f->path));
	assert_int_equal(said.counts.findings, 1);
	assert_in_range(said.lines, 4, 5000);
	buf_release(&said.findings);
}

/* --- sums in a line ------------------------------------------------------ */

#define ATTEMPT(prompt, cached, write, output, cost)                      \
	"{\"upstream\":\"a\",\"result\":\"ok\",\"prompt_tokens\":" prompt \
	",\"cached_tokens\":" cached ",\"cache_write_tokens\":" write     \
	",\"completion_tokens\":" output ",\"cost_usd\":\"" cost          \
	"\",\"usage_source\":\"upstream\"}"
#define LINE(counts, attempts)                                                \
	"{\"ts\":\"2026-05-28T14:22:01Z\"," counts ",\"attempts\":[" attempts \
	"],\"writer\":\"" WRITER_A "\",\"seq\":1}"
#define COUNTS(prompt, output, cached, write, reasoning, cost, source)      \
	"\"prompt_tokens\":" prompt ",\"completion_tokens\":" output        \
	",\"usage_source\":\"" source "\",\"cached_tokens\":" cached        \
	",\"cache_write_tokens\":" write ",\"reasoning_tokens\":" reasoning \
	",\"cost_usd\":\"" cost "\""

static void
sums_that_agree_are_good(void **state)
{
	static const char *const good[] = {
	    LINE(COUNTS("9", "4", "5", "4", "4", "1.5", "upstream"),
		ATTEMPT("7", "0", "0", "1", "0.5") "," ATTEMPT(
		    "9", "5", "4", "4", "1")),
	    LINE(COUNTS("0", "0", "0", "0", "0", "0.5", "none"),
		ATTEMPT("7", "0", "0", "1", "0.5") ",{\"upstream\":\"b\","
						   "\"result\":\"connect\"}"),
	    LINE("\"fallback_usd\":\"0.5\"," COUNTS(
		     "0", "0", "0", "0", "0", "0.5", "none"),
		ATTEMPT("7", "0", "0", "1", "0.5") ",{\"upstream\":\"b\","
						   "\"result\":\"connect\"}"),
	    LINE(COUNTS("0", "0", "0", "0", "0", "0", "none"), ""),
	};
	static struct ledger_view v;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		if (!ledger_view_read(&v, slice_of(good[i]), &why) ||
		    !check_line_sums(&v, &why))
			fail_msg("%s: %s", why.text, good[i]);
}

static void
sums_that_do_not_agree_are_told(void **state)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
	    {LINE(COUNTS("9", "4", "5", "4", "4", "2.5", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"its attempts cost 1.000000000000, but its 'cost_usd' is "
		"2.500000000000"},
	    {LINE(COUNTS("0", "0", "0", "0", "0", "0.1", "none"), ""),
		"its attempts cost"},
	    {LINE(COUNTS("9", "4", "5", "5", "4", "1", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"more than 'prompt_tokens'"},
	    {LINE(COUNTS("9", "4", "5", "9223372036854775807", "4", "1",
		      "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"more than 'prompt_tokens'"},
	    {LINE(COUNTS("9", "4", "5", "4", "5", "1", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"'reasoning_tokens' are more"},
	    {LINE(COUNTS("8", "4", "4", "4", "4", "1", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"not those of its last attempt"},
	    {LINE(COUNTS("9", "3", "5", "4", "3", "1", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"not those of its last attempt"},
	    {LINE(COUNTS("9", "4", "5", "4", "4", "1", "running"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"'usage_source'"},
	    {LINE(COUNTS("1", "0", "0", "0", "0", "0", "none"), ""),
		"not those of its last attempt"},
	    {LINE(COUNTS("9", "4", "5", "4", "4", "2", "upstream"),
		 ATTEMPT("1", "1", "1", "1", "1") "," ATTEMPT(
		     "9", "5", "4", "4", "1")),
		"the cached tokens of an attempt"},
	    {LINE("\"fallback_usd\":\"1.1\"," COUNTS(
		      "9", "4", "5", "4", "4", "1", "upstream"),
		 ATTEMPT("9", "5", "4", "4", "1")),
		"'fallback_usd' is more than 'cost_usd'"},
	    {LINE("\"uses\":\"bob\"", ""), "the name of a member"},
	};
	static struct ledger_view v;
	struct fault why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (!ledger_view_read(&v, slice_of(bad[i].line), &why))
			fail_msg("%s: %s", why.text, bad[i].line);
		if (check_line_sums(&v, &why))
			fail_msg("taken: %s", bad[i].line);
		if (strstr(why.text, bad[i].says) == NULL)
			fail_msg("%s, not %s", why.text, bad[i].says);
	}
}

/* --- remembering --------------------------------------------------------- */

static void
three_segments(const struct ledger_folder *f)
{
	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 1, 10);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 11, 15);
	append_lines(in_folder(f, "usage.jsonl.1"), 'B', 1, 5);
	append_lines(f->current, 'B', 6, 7);
}

/* Checks, expects so many segments to be remembered, and no or these findings.
 */
static void
expect_remembered(const struct ledger_folder *f, const char *memory_path,
    bool reads_all, size_t remembered, const char *findings)
{
	struct said said;

	check_with(&said, f, memory_path, reads_all);
	if (strstr(buf_data(&said.findings), findings) == NULL ||
	    (findings[0] == '\0' && said.counts.findings > 0))
		fail_msg("%s", buf_data(&said.findings));
	assert_int_equal(said.counts.remembered, remembered);
	if (findings[0] == '\0') {
		assert_int_equal(said.bob.requests, said.lines);
		assert_int_equal(said.bob.input_tokens, 8 * said.lines);
	}
	buf_release(&said.findings);
}

static void
a_good_closed_segment_is_not_read_again(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	expect_remembered(f, memory, false, 0, "");
	expect_remembered(f, memory, false, 2, "");
	expect_remembered(f, memory, true, 0, "");
	append_lines(f->current, 'B', 8, 9);
	expect_remembered(f, memory, false, 2, "");
	/* The current file becomes a closed one. */
	rename(f->current, in_folder(f, "usage.jsonl-20261121"));
	expect_remembered(f, memory, false, 2, "");
	expect_remembered(f, memory, false, 2, ""); /* not final as yet */
	append_lines(f->current, 'B', 10, 11);
	expect_remembered(f, memory, false, 2, "");
	expect_remembered(f, memory, false, 3, "");
}

static void
the_sequence_goes_through_what_is_remembered(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	append_lines(in_folder(f, "usage.jsonl.3"), 'A', 1, 3);
	append_lines(in_folder(f, "usage.jsonl.2"), 'A', 4, 10);
	append_lines(in_folder(f, "usage.jsonl.1"), 'A', 11, 15);
	append_lines(f->current, 'A', 16, 17);
	expect_remembered(f, memory, false, 0, "");
	unlink(in_folder(f, "usage.jsonl.2"));
	expect_remembered(f, memory, false, 2,
	    "usage.jsonl.1:1: of writer " WRITER_A
	    " 7 lines are missing before this one: 4 to 10\n");
	/* From the front it is no loss. */
	unlink(in_folder(f, "usage.jsonl.3"));
	expect_remembered(f, memory, false, 1, "");
}

/* Each of them begins with a start of the gateway: numbers show no gap. */
static void
four_starts(const struct ledger_folder *f)
{
	append_lines(in_folder(f, "usage.jsonl.3"), 'A', 1, 3);
	append_lines(in_folder(f, "usage.jsonl.2"), 'B', 1, 7);
	append_lines(in_folder(f, "usage.jsonl.1"), 'C', 1, 5);
	append_lines(f->current, 'D', 1, 2);
}

#define GONE                                                        \
	"usage.jsonl:0: the closed file that began with line 1 of " \
	"writer " WRITER_B                                          \
	" (7 lines) was checked before and is gone; if somebody "

static void
a_checked_segment_that_is_gone_from_the_middle_is_told(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	four_starts(f);
	expect_remembered(f, memory, false, 0, "");
	unlink(in_folder(f, "usage.jsonl.2"));
	expect_remembered(f, memory, false, 2, GONE);
	expect_remembered(f, memory, true, 0, GONE);
	/* It comes back, and is known. */
	append_lines(in_folder(f, "usage.jsonl.2"), 'B', 1, 7);
	expect_remembered(f, memory, false, 2, "");
	expect_remembered(f, memory, false, 3, "");
	unlink(in_folder(f, "usage.jsonl.2"));
	expect_remembered(f, memory, false, 2, GONE);
	unlink(memory);
	expect_remembered(f, memory, false, 0, "");
}

static void
a_checked_segment_that_was_emptied_is_told(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	four_starts(f);
	expect_remembered(f, memory, false, 0, "");
	folder_must(truncate(in_folder(f, "usage.jsonl.2"), 0) == 0, memory);
	expect_remembered(f, memory, false, 2, GONE);
	expect_remembered(f, memory, false, 2,
	    "usage.jsonl.2:0: it is empty: what stood in it is lost\n");
}

static void
checked_segments_may_be_removed_from_the_front(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	four_starts(f);
	expect_remembered(f, memory, false, 0, "");
	unlink(in_folder(f, "usage.jsonl.3"));
	unlink(in_folder(f, "usage.jsonl.2"));
	expect_remembered(f, memory, false, 1, "");
	/* They are forgotten: an older file brings nothing up. */
	append_lines(in_folder(f, "usage.jsonl.3"), 'A', 1, 3);
	expect_remembered(f, memory, false, 1, "");
	unlink(in_folder(f, "usage.jsonl.3"));
	unlink(in_folder(f, "usage.jsonl.1"));
	expect_remembered(f, memory, false, 0, "");
}

static void
a_damaged_gzip_file_that_was_checked_is_one_finding(void **state)
{
	struct ledger_folder *f = *state;
	const char *packed;
	char memory[384];
	struct said said;
	struct stat st;

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	four_starts(f);
	gzip_file(in_folder(f, "usage.jsonl.2"));
	expect_remembered(f, memory, false, 0, "");
	packed = in_folder(f, "usage.jsonl.2.gz");
	folder_must(
	    stat(packed, &st) == 0 && truncate(packed, st.st_size - 1) == 0,
	    packed);
	for (int i = 0; i < 2; i++) {
		check_with(&said, f, memory, false);
		assert_int_equal(said.counts.findings, 1);
		assert_int_equal(said.counts.remembered, 2);
		buf_release(&said.findings);
	}
}

static void
a_segment_may_be_gzipped_after_it_was_checked(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];
	struct fault why;

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	expect_remembered(f, memory, false, 0, "");
	assert_true(segment_compress(in_folder(f, "usage.jsonl.2"), &why));
	expect_remembered(f, memory, false, 1, "");
	expect_remembered(f, memory, false, 2, "");
}

/* Replaces one byte by another, and keeps the file's time if `is_hidden`. */
static void
change_byte(const char *path, const char *what, char by, bool is_hidden)
{
	struct buf b = {0};
	struct stat st;
	char *at;
	int fd;

	read_whole(path, &b);
	at = memmem(buf_data(&b), buf_len(&b), what, strlen(what));
	folder_must(at != NULL && stat(path, &st) == 0, what);
	fd = open(path, O_WRONLY);
	folder_must(
	    fd >= 0 && pwrite(fd, &by, 1, at - buf_data(&b)) == 1, path);
	if (is_hidden)
		futimens(
		    fd, (const struct timespec[2]){st.st_atim, st.st_mtim});
	close(fd);
	buf_release(&b);
}

static void
a_changed_segment_is_told_until_its_memory_is_removed(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	expect_remembered(f, memory, false, 0, "");
	/* A name that no other number answers for. */
	change_byte(in_folder(f, "usage.jsonl.2"), "ds4", 'x', false);
	expect_remembered(f, memory, false, 1,
	    "usage.jsonl.2:0: it is no longer what it was");
	expect_remembered(f, memory, false, 1,
	    "usage.jsonl.2:0: it is no longer what it was");
	unlink(memory);
	expect_remembered(f, memory, false, 0, "");
	expect_remembered(f, memory, false, 2, "");
}

static void
a_change_under_the_same_time_is_found_by_reading_all(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	expect_remembered(f, memory, false, 0, "");
	change_byte(in_folder(f, "usage.jsonl.2"), "ds4", 'x', true);
	expect_remembered(f, memory, false, 2, "");
	expect_remembered(
	    f, memory, true, 0, "usage.jsonl.2:0: it is no longer");
}

static void
a_broken_memory_costs_only_time(void **state)
{
	static const char *const broken[] = {"", "{", "[]", "null",
	    "{\"schema\":2,\"segments\":[]}", "{\"schema\":1}",
	    "{\"schema\":1,\"segments\":{}}",
	    "{\"schema\":1,\"segments\":[1,{},{\"writer\":\"x\"}]}"};
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		unlink(memory);
		append_bytes(memory, broken[i], strlen(broken[i]));
		expect_remembered(f, memory, false, 0, "");
		expect_remembered(f, memory, false, 2, "");
	}
}

static void
a_segment_with_findings_is_read_each_time(void **state)
{
	struct ledger_folder *f = *state;
	char memory[384];

	snprintf(memory, sizeof memory, "%s", in_folder(f, "checked.json"));
	three_segments(f);
	append_bytes(in_folder(f, "usage.jsonl.2"), "{}\n", 3);
	for (int i = 0; i < 2; i++)
		expect_remembered(f, memory, false, i == 0 ? 0 : 1,
		    "usage.jsonl.2:11: it has no 'ts'\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_good_ledger_has_no_findings_and_its_sums),
	    TEST(no_ledger_is_a_good_one),
	    TEST(segments_may_have_been_removed_from_the_front),
	    TEST(a_gap_is_told_with_its_line),
	    TEST(a_gap_between_two_segments_is_told),
	    TEST(a_start_of_the_gateway_must_begin_at_one),
	    TEST(a_line_that_comes_twice_is_told),
	    TEST(a_damaged_line_is_told_once_and_not_as_a_gap_too),
	    TEST(a_torn_last_line_is_told_unless_it_is_completed),
	    TEST(a_cut_at_any_byte_is_told_unless_it_is_between_lines),
	    TEST(a_tail_of_zero_bytes_is_told),
	    TEST(a_torn_gzip_file_is_told),
	    TEST(a_gzip_file_torn_in_the_middle_is_one_finding),
	    TEST(what_is_not_here_before_the_first_line_is_counted),
	    TEST(an_empty_closed_file_is_told),
	    TEST(an_empty_file_is_told_gzipped_too),
	    cmocka_unit_test(sums_that_agree_are_good),
	    cmocka_unit_test(sums_that_do_not_agree_are_told),
	    TEST(a_good_closed_segment_is_not_read_again),
	    TEST(the_sequence_goes_through_what_is_remembered),
	    TEST(a_checked_segment_that_is_gone_from_the_middle_is_told),
	    TEST(a_checked_segment_that_was_emptied_is_told),
	    TEST(checked_segments_may_be_removed_from_the_front),
	    TEST(a_damaged_gzip_file_that_was_checked_is_one_finding),
	    TEST(a_segment_may_be_gzipped_after_it_was_checked),
	    TEST(a_changed_segment_is_told_until_its_memory_is_removed),
	    TEST(a_change_under_the_same_time_is_found_by_reading_all),
	    TEST(a_broken_memory_costs_only_time),
	    TEST(a_segment_with_findings_is_read_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
