#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/responses_splice.h"
#include "tests/unit/seeded.h"

#define ULID "01K9X4ABCDEFGHJKMNPQRSTVWX"
#define OURS "\"resp_" ULID "\""
#define BEGUN 3 /* events of ours before theirs */

/* A splice after `response.created` and two signs of life. */
struct spliced {
	struct own_response own;
	struct responses_splice splice;
	struct buf out;
};

static void
begin(struct spliced *s)
{
	struct buf ours = {0};

	*s = (struct spliced){0};
	own_response_init(&s->own, ULID, "m", 0);
	for (int i = 0; i < BEGUN; i++)
		own_response_write(&s->own, &ours);
	buf_release(&ours);
	responses_splice_init(&s->splice, &s->own);
}

/* Each piece in memory of its own, so that nobody reads beside it. */
static void
feed(struct spliced *s, const char *p, size_t len)
{
	char *piece = malloc(len + (len == 0));

	memcpy(piece, p, len);
	responses_splice_feed(&s->splice, piece, len, &s->out);
	free(piece);
}

static void
finish(struct spliced *s)
{
	responses_splice_end(&s->splice, &s->out);
	responses_splice_release(&s->splice);
}

static void
expect_text(struct spliced *s, struct slice want)
{
	if (buf_len(&s->out) != want.len ||
	    memcmp(buf_data(&s->out), want.p, want.len) != 0)
		fail_msg("got\n%.*s\nnot\n%.*s", (int)buf_len(&s->out),
		    buf_data(&s->out), (int)want.len, want.p);
	buf_release(&s->out);
}

/* At every place in two, and in pieces of 1 to 3 bytes. */
static void
expect(struct slice in, struct slice want)
{
	struct spliced s;

	for (size_t cut = 0; cut <= in.len; cut++) {
		begin(&s);
		feed(&s, in.p, cut);
		feed(&s, in.p + cut, in.len - cut);
		finish(&s);
		expect_text(&s, want);
	}
	for (size_t most = 1; most < 4; most++) {
		begin(&s);
		for (size_t at = 0; at < in.len; at += most)
			feed(&s, in.p + at,
			    in.len - at < most ? in.len - at : most);
		finish(&s);
		expect_text(&s, want);
	}
}

#define EXPECT(in, want) expect(SLICE(in), SLICE(want))

static void
their_created_event_is_left_out_and_the_rest_continues_ours(void **state)
{
	(void)state;
	EXPECT("event: response.created\n"
	       "data: {\"type\":\"response.created\",\"response\":{\"id\":"
	       "\"resp_x\"},\"sequence_number\":0}\n\n"
	       "event: response.in_progress\n"
	       "data: {\"type\":\"response.in_progress\",\"response\":{\"id\":"
	       "\"resp_x\"},\"sequence_number\":1}\n\n"
	       "event: response.output_text.delta\n"
	       "data: {\"type\":\"response.output_text.delta\",\"delta\":"
	       "\"resp_x\",\"sequence_number\":2}\n\n",
	    "event: response.in_progress\n"
	    "data: "
	    "{\"type\":\"response.in_progress\",\"response\":{\"id\":" OURS
	    "},\"sequence_number\":3}\n\n"
	    "event: response.output_text.delta\n"
	    "data: {\"type\":\"response.output_text.delta\",\"delta\":"
	    "\"resp_x\",\"sequence_number\":4}\n\n");
}

static void
a_created_event_without_a_name_is_left_out_wherever_its_type_stands(
    void **state)
{
	(void)state;
	EXPECT("data: {\"sequence_number\":0,\"response\":{\"id\":\"x\"},"
	       "\"type\":\"response.created\",\"sequence_number\":0}\n\n"
	       "data: {\"sequence_number\":1}\n\n",
	    "data: {\"sequence_number\":3}\n\n");
	EXPECT("event: message\ndata: {\"type\":\"response.created\","
	       "\"sequence_number\":0}\n\ndata: {\"sequence_number\":1}\n\n",
	    "data: {\"sequence_number\":3}\n\n");
	EXPECT("data: {\"response\":{\"type\":\"response.created\"}}\n\n",
	    "data: {\"response\":{\"type\":\"response.created\"}}\n\n");
}

static void
a_name_after_the_data_counts_too(void **state)
{
	(void)state;
	EXPECT("data: {\"sequence_number\":7}\nevent: response.created\n\n"
	       "data: {\"sequence_number\":8}\n\n",
	    "data: {\"sequence_number\":3}\n\n");
}

static void
what_has_no_numbers_and_no_beginning_gets_none(void **state)
{
	static const char stream[] =
	    "event: response.output_text.delta\n"
	    "data: "
	    "{\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
	    ": keep-alive\n\n"
	    "data: [DONE]\n\n";

	(void)state;
	EXPECT(stream, stream);
}

static void
numbers_rise_one_by_one_whatever_they_were(void **state)
{
	(void)state;
	EXPECT("data: {\"sequence_number\":7}\n\ndata: {}\n\n"
	       "data: {\"sequence_number\":-7}\n\n"
	       "data: {\"sequence_number\":1e3}\n\n"
	       "data: {\"sequence_number\":7,\"sequence_number\":9}\n\n",
	    "data: {\"sequence_number\":3}\n\ndata: {}\n\n"
	    "data: {\"sequence_number\":4}\n\n"
	    "data: {\"sequence_number\":5}\n\n"
	    "data: {\"sequence_number\":6,\"sequence_number\":6}\n\n");
}

static void
only_an_events_own_members_are_changed(void **state)
{
	static const char stream[] =
	    "data: {\"item\":{\"sequence_number\":1,\"response_id\":\"x\","
	    "\"response\":{\"id\":\"x\"}},\"id\":\"x\",\"type\":\"t\","
	    "\"response\":{\"response\":{\"id\":\"x\"},\"output\":[{\"id\":"
	    "\"x\"}],\"sequence_number\":1},\"a\":{\"id\":\"x\"},"
	    "\"sequence_number\":\"1\",\"response_id\":null,"
	    "\"delta\":\"\\\"sequence_number\\\":1\"}\n\n"
	    "data: [{\"id\":\"x\",\"sequence_number\":1}]\n\n"
	    "data: {\"response\":[{\"id\":\"x\"}],\"response\":\"id\"}\n\n";

	(void)state;
	EXPECT(stream, stream);
}

static void
line_ends_of_all_kinds_and_several_data_lines_are_kept(void **state)
{
	(void)state;
	EXPECT("\xef\xbb\xbf\r\n\r\nevent: response.created\r\n"
	       "data: {\"sequence_number\":0}\r\n\r\n\r\n"
	       ": x\r\ndata: {\"sequence_number\":\r\ndata:1\r\ndata\r\n"
	       "data: ,\"response_id\" :\r\ndata:  \"x\"\r\ndata: }\r\n\r\n",
	    ": x\r\ndata: {\"sequence_number\":\r\ndata:3\r\ndata\r\n"
	    "data: ,\"response_id\" :\r\ndata:  " OURS "\r\ndata: }\r\n\r\n");
	EXPECT("\r\rdata: {\"sequence_number\":0}\r\r\revent:response.created\r"
	       "data: {}\r\r\rdata: {\"sequence_number\":0\rdata:}\r\r",
	    "data: {\"sequence_number\":3}\r\r\r"
	    "data: {\"sequence_number\":4\rdata:}\r\r");
}

static void
what_is_no_json_passes(void **state)
{
	EXPECT("data: {\"sequence_number\":0,,\"sequence_number\":0}\n\n"
	       "\xef\xbb\xbe\xef"
	       ": 1\n\nevent\n\nid: 4\n\n"
	       "data: {\"response_id\"\n\nevent: response.created.more\n\n",
	    "data: {\"sequence_number\":3,,\"sequence_number\":0}\n\n"
	    "\xef\xbb\xbe\xef"
	    ": 1\n\nevent\n\nid: 4\n\n"
	    "data: {\"response_id\"\n\nevent: response.created.more\n\n");
	EXPECT("\xef\xbb: {\"sequence_number\":0}\n\n",
	    "\xef\xbb: {\"sequence_number\":0}\n\n");
	(void)state;
}

static void
a_stream_that_breaks_off_is_passed_as_far_as_it_goes(void **state)
{
	(void)state;
	EXPECT("data: {\"type\":\"a\",\"sequence_number\":12",
	    "data: {\"type\":\"a\",\"sequence_number\":12");
	EXPECT(
	    "data: {\"response_id\":\"resp_", "data: {\"response_id\":\"resp_");
	EXPECT("event: response.cre", "event: response.cre");
	EXPECT("event: response.created\ndata: {", "");
}

/* An event with so many bytes before its type. */
static void
make_late(struct buf *to, size_t bytes)
{
	const char head[] = "data: {\"a\":\"",
		   tail[] = "\",\"type\":"
			    "\"response.created\"";

	buf_clear(to);
	buf_puts(to, head);
	for (size_t i = sizeof head + sizeof tail - 2; i < bytes; i++)
		buf_put_literal(to, "x");
	buf_puts(to, tail);
	assert_int_equal(buf_len(to), bytes);
	buf_puts(to, "}\n\n");
}

static void
an_event_that_says_too_late_what_it_is_is_passed_in_any_split(void **state)
{
	static const size_t pieces[] = {
	    1, 2, 3, 64, 4096, 65535, 65536, 1 << 20};
	struct buf in = {0};
	struct spliced s;

	(void)state;
	for (size_t bytes = SPLICE_EVENT_BYTES - 2;
	     bytes <= SPLICE_EVENT_BYTES + 2; bytes++) {
		bool is_late = bytes > SPLICE_EVENT_BYTES;

		make_late(&in, bytes);
		for (size_t i = 0; i < COUNT_OF(pieces); i++) {
			begin(&s);
			for (size_t at = 0; at < buf_len(&in); at += pieces[i])
				feed(&s, buf_data(&in) + at,
				    buf_len(&in) - at < pieces[i]
					? buf_len(&in) - at
					: pieces[i]);
			finish(&s);
			expect_text(&s,
			    (struct slice){
				buf_data(&in), is_late ? buf_len(&in) : 0});
		}
	}
	buf_release(&in);
}

static void
a_value_that_is_too_long_stays_in_any_split(void **state)
{
	struct buf in = {0}, want = {0};

	(void)state;
	for (size_t len = SPLICE_VALUE_BYTES - 2; len <= SPLICE_VALUE_BYTES + 2;
	     len++) {
		bool is_long = len > SPLICE_VALUE_BYTES;

		buf_clear(&in);
		buf_clear(&want);
		buf_puts(&in, "data: {\"response_id\":\"");
		for (size_t i = 3; i < len; i++)
			buf_puts(&in, "x");
		buf_puts(&in, "\",\"sequence_number\": ");
		for (size_t i = 2; i < len; i++)
			buf_puts(&in, "1");
		buf_puts(&in, "}\n\n");
		if (is_long)
			buf_put(&want, buf_data(&in), buf_len(&in));
		else
			buf_puts(&want,
			    "data: {\"response_id\":" OURS
			    ",\"sequence_number\": 3}\n\n");
		expect((struct slice){buf_data(&in), buf_len(&in)},
		    (struct slice){buf_data(&want), buf_len(&want)});
	}
	buf_release(&in);
	buf_release(&want);
}

static void
a_huge_event_passes_as_it_comes(void **state)
{
	const char head[] =
	    "event: response.image_generation_call.partial_image\n"
	    "data: {\"sequence_number\":1,\"partial_image_b64\":\"";
	const char tail[] = "\",\"type\":\"x\",\"sequence_number\":1}\n\n";
	const size_t total = 100 * 1024 * 1024;
	static char piece[64 * 1024];
	struct spliced s;

	(void)state;
	memset(piece, 'A', sizeof piece);
	begin(&s);
	responses_splice_feed(&s.splice, head, sizeof head - 1, &s.out);
	for (size_t sent = 0; sent < total; sent += sizeof piece) {
		buf_clear(&s.out);
		responses_splice_feed(&s.splice, piece, sizeof piece, &s.out);
		assert_int_equal(buf_len(&s.out), sizeof piece);
		assert_true(s.splice.event.room + s.splice.value.room < 4096);
	}
	buf_clear(&s.out);
	responses_splice_feed(&s.splice, tail, sizeof tail - 1, &s.out);
	finish(&s);
	expect_text(&s, SLICE("\",\"type\":\"x\",\"sequence_number\":3}\n\n"));
}

static void
their_id_is_noted(void **state)
{
	static const char *const streams[][2] = {
	    {"event: response.created\ndata: {\"response\":{\"id\":\"a\\/b\"}}"
	     "\n\ndata: {\"response\":{\"id\":\"later\"}}\n\n",
		"a/b"},
	    {"data: {\"response_id\":\"x\",\"id\":\"y\"}\n\n", ""},
	    {"data: {\"response\":{\"id\":\"a\\u0000b\"}}\n\n", ""},
	    {"data: {\"response\":{\"id\":7}}\n\n", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(streams); i++) {
		struct spliced s;

		begin(&s);
		for (const char *p = streams[i][0]; *p != '\0'; p++)
			feed(&s, p, 1);
		finish(&s);
		assert_string_equal(s.splice.upstream_id, streams[i][1]);
		buf_release(&s.out);
	}
}

static void
it_says_whether_an_event_of_ours_may_follow(void **state)
{
	struct spliced s;

	(void)state;
	begin(&s);
	assert_true(responses_splice_is_between(&s.splice));
	feed(&s, "event: response.created\ndata: {", 31);
	assert_true(responses_splice_is_between(&s.splice));
	feed(&s, "}\n\n", 3);
	assert_true(responses_splice_is_between(&s.splice));
	feed(&s, "event: re", 9);
	assert_true(responses_splice_is_between(&s.splice));
	assert_int_equal(buf_len(&s.out), 0);
	feed(&s, "sponse.x\nd", 10);
	assert_false(responses_splice_is_between(&s.splice));
	feed(&s, "ata: {}\n\n", 9);
	assert_true(responses_splice_is_between(&s.splice));
	responses_splice_release(&s.splice);
	buf_release(&s.out);
}

/* --- streams at random, made together with what must become of them --------
 */

struct pair {
	struct seeded random;
	struct buf in, want;
	const char *eol;
	uint64_t next;
	bool is_joined; /* nothing of theirs stands right before this */
	bool has_number;
};

static void
add(struct pair *p, const char *text, bool is_wanted)
{
	buf_puts(&p->in, text);
	if (is_wanted)
		buf_puts(&p->want, text);
}

/* A blank, or a line's end, or nothing. */
static void
add_gap(struct pair *p, bool is_wanted)
{
	size_t n = seeded_below(&p->random, 6);

	if (n == 0)
		add(p, " ", is_wanted);
	if (n != 1)
		return;
	add(p, p->eol, is_wanted);
	add(p,
	    seeded_below(&p->random, 2) == 0 ? "data: " : "data:", is_wanted);
}

/* Data after a pattern: # a number to be raised, @ an id to be replaced, | a
 * gap, ~ any text. */
static void
add_data(struct pair *p, const char *pattern, bool is_wanted)
{
	char text[32];

	add(p,
	    seeded_below(&p->random, 4) == 0 ? "data:" : "data: ", is_wanted);
	for (; *pattern != '\0'; pattern++) {
		switch (*pattern) {
		case '#':
			buf_put_uint(&p->in, seeded_next(&p->random) >> 20);
			if (is_wanted)
				buf_put_uint(&p->want, p->next);
			p->has_number = is_wanted;
			break;
		case '@':
			buf_puts(&p->in, "\"resp_\\\"x\"");
			if (is_wanted)
				buf_puts(&p->want, OURS);
			break;
		case '|':
			add_gap(p, is_wanted);
			break;
		case '~':
			for (size_t n = seeded_below(&p->random, 60); n > 0;
			     n--)
				add(p, n % 7 == 0 ? "\\\"" : "t:{", is_wanted);
			break;
		default:
			snprintf(text, sizeof text, "%c", *pattern);
			add(p, text, is_wanted);
		}
	}
	add(p, p->eol, is_wanted);
}

static const char *const created[] = {
    "{|\"type\"|:|\"response.created\"|,\"response\":{\"id\":@},"
    "\"sequence_number\":#}",
    "{\"sequence_number\":#,|\"response\":{\"id\":@|},|\"type\":|"
    "\"response.created\"|}",
};

static const char *const patterns[] = {
    "{|\"type\":\"response.in_progress\"|,|\"response\"|:|{|\"id\":|@|,"
    "\"output\":[{\"id\":\"m\",\"sequence_number\":3}]}|,"
    "\"sequence_number\"|:|#|}",
    "{\"delta\":\"~\",\"sequence_number\":#,\"type\":\"response.x.delta\","
    "\"item\":{\"response\":{\"id\":\"~\"}}}",
    "{\"response\":{\"a\":[{\"id\":\"no\"}],\"id\":|@},\"type\":"
    "\"response.completed\",\"response_id\":@,\"sequence_number\":#,"
    "\"sequence_number\":|#}",
    "{\"type\":\"keepalive\"}",
    "{\"sequence_number\":\"7\",\"response\":\"~\",\"response_id\":null}",
    "{\"sequence_numbe\\u0072\":#,\"respons\\u0065\":{\"i\\u0064\":@}}",
    "[DONE]",
    "{\"sequence_number\":#,bad,\"response_id\":\"~\"}",
    "[{\"sequence_number\":1},~",
    "7",
    "",
};

static void
add_event(struct pair *p)
{
	bool is_created = seeded_below(&p->random, 6) == 0;
	bool is_comment = !is_created && seeded_below(&p->random, 8) == 0;
	bool has_name = seeded_below(&p->random, 2) == 0;

	for (size_t n = seeded_below(&p->random, 3); n > 0; n--)
		add(p, p->eol, !p->is_joined);
	p->has_number = false;
	if (seeded_below(&p->random, 5) == 0 || is_comment) {
		add(p, ": comment", !is_created);
		add(p, p->eol, !is_created);
	}
	if (is_created) {
		add(p, has_name ? "event: response.created" : "id: 1", false);
		add(p, p->eol, false);
		add_data(p, created[seeded_below(&p->random, 2)], false);
	} else if (!is_comment) {
		if (has_name) {
			add(p, "event:response.something.else", true);
			add(p, p->eol, true);
		}
		add_data(p,
		    patterns[seeded_below(&p->random, COUNT_OF(patterns))],
		    true);
	}
	add(p, p->eol, !is_created);
	p->next += p->has_number;
	p->is_joined = is_created;
}

static void
make_stream(struct pair *p)
{
	static const char *const ends[] = {"\n", "\r\n", "\r"};

	p->eol = ends[seeded_below(&p->random, 3)];
	p->next = BEGUN;
	p->is_joined = true;
	buf_clear(&p->in);
	buf_clear(&p->want);
	if (seeded_below(&p->random, 4) == 0)
		buf_puts(&p->in, "\xef\xbb\xbf");
	for (size_t n = seeded_below(&p->random, 9); n > 0; n--)
		add_event(p);
}

static void
streams_at_random_become_what_they_must_in_any_split(void **state)
{
	struct pair p = {.random = {11}};
	struct spliced s;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		size_t most;

		make_stream(&p);
		most = 1 + seeded_below(&p.random, round % 2 ? 9 : 2000);
		begin(&s);
		for (size_t at = 0, n; at < buf_len(&p.in); at += n) {
			n = 1 + seeded_below(&p.random, most);
			if (n > buf_len(&p.in) - at)
				n = buf_len(&p.in) - at;
			feed(&s, buf_data(&p.in) + at, n);
		}
		assert_true(responses_splice_is_between(&s.splice));
		assert_int_equal(s.own.next_number, p.next);
		finish(&s);
		expect_text(
		    &s, (struct slice){buf_data(&p.want), buf_len(&p.want)});
	}
	buf_release(&p.in);
	buf_release(&p.want);
}

/* --- what servers really send ----------------------------------------------
 */

static void
read_file(const char *path, struct buf *to)
{
	FILE *f = fopen(path, "rb");
	char block[4096];
	size_t n;

	assert_non_null(f);
	while ((n = fread(block, 1, sizeof block, f)) > 0)
		buf_put(to, block, n);
	fclose(f);
}

/* How often it stands there. */
static size_t
count(const struct buf *b, const char *text)
{
	const char *p = buf_data(b), *end = p + buf_len(b);
	size_t n = 0;

	while ((p = memmem(p, (size_t)(end - p), text, strlen(text))) != NULL) {
		p += strlen(text);
		n++;
	}
	return n;
}

static void
recorded_streams_of_all_servers_continue_ours(void **state)
{
	glob_t found;

	(void)state;
	assert_int_equal(
	    glob(TEST_DATA "/wire*/*responses*stream*.txt", 0, NULL, &found),
	    0);
	assert_true(found.gl_pathc >= 4);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct buf in = {0};
		struct spliced s;
		size_t numbers, numbered;

		read_file(found.gl_pathv[i], &in);
		begin(&s);
		feed(&s, buf_data(&in), buf_len(&in));
		finish(&s);
		expect((struct slice){buf_data(&in), buf_len(&in)},
		    (struct slice){buf_data(&s.out), buf_len(&s.out)});
		assert_int_equal(count(&s.out, "event: response.created"), 0);
		numbers = count(&in, "\"sequence_number\":");
		numbered = count(&s.out, "\"sequence_number\":");
		assert_int_equal(numbered, numbers - (numbers > 0));
		assert_int_equal(s.own.next_number, BEGUN + numbered);
		assert_true(s.splice.upstream_id[0] != '\0');
		assert_int_equal(count(&s.out, s.splice.upstream_id), 0);
		buf_release(&s.out);
		buf_release(&in);
	}
	globfree(&found);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		their_created_event_is_left_out_and_the_rest_continues_ours),
	    cmocka_unit_test(
		a_created_event_without_a_name_is_left_out_wherever_its_type_stands),
	    cmocka_unit_test(a_name_after_the_data_counts_too),
	    cmocka_unit_test(what_has_no_numbers_and_no_beginning_gets_none),
	    cmocka_unit_test(numbers_rise_one_by_one_whatever_they_were),
	    cmocka_unit_test(only_an_events_own_members_are_changed),
	    cmocka_unit_test(
		line_ends_of_all_kinds_and_several_data_lines_are_kept),
	    cmocka_unit_test(what_is_no_json_passes),
	    cmocka_unit_test(
		a_stream_that_breaks_off_is_passed_as_far_as_it_goes),
	    cmocka_unit_test(
		an_event_that_says_too_late_what_it_is_is_passed_in_any_split),
	    cmocka_unit_test(a_value_that_is_too_long_stays_in_any_split),
	    cmocka_unit_test(a_huge_event_passes_as_it_comes),
	    cmocka_unit_test(their_id_is_noted),
	    cmocka_unit_test(it_says_whether_an_event_of_ours_may_follow),
	    cmocka_unit_test(
		streams_at_random_become_what_they_must_in_any_split),
	    cmocka_unit_test(recorded_streams_of_all_servers_continue_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
