#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "proxy/guard.h"

/* Judges a request made of this line and these fields, all of them ended with
 * CRLF.  `text` holds what `r` points into. */
static enum end
judge(const char *lines, struct buf *text, struct head *head, struct request *r)
{
	buf_clear(text);
	buf_printf(text, "%s\r\n\r\n", lines);
	if (head_parse(buf_data(text), buf_len(text), head) != HEAD_OK)
		return END_BAD_REQUEST;
	return guard_check(head, r);
}

static void
a_request_is_taken_or_ends_in_one_way(void **state)
{
	static const struct {
		const char *lines;
		enum end end;
	} rows[] = {
	    {"GET / HTTP/1.1\r\nHost: a", END_OK},
	    {"GET / HTTP/1.1\r\nHost:", END_OK},
	    {"GET / HTTP/1.0", END_OK},
	    {"HEAD /v1/models HTTP/1.1\r\nHost: a", END_OK},
	    {"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3", END_OK},
	    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
		END_OK},
	    {"GET /%2e%2e/x?y=%00 HTTP/1.1\r\nHost: a", END_OK},
	    /* The request line. */
	    {"GET", END_BAD_REQUEST},
	    {"GET /", END_BAD_REQUEST},
	    {"GET  / HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET /  HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET / HTTP/1.1 \r\nHost: a", END_BAD_REQUEST},
	    {"GET / x HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET\t/ HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET /\tHTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"G(T / HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET / HTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET / http/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET / HTTP/1.1x\r\nHost: a", END_BAD_REQUEST},
	    {"GET / HTTP/2.0\r\nHost: a", END_VERSION},
	    {"GET / HTTP/1.2\r\nHost: a", END_VERSION},
	    {"GET / HTTP/0.9\r\nHost: a", END_VERSION},
	    {"PRI * HTTP/2.0", END_VERSION},
	    /* The method: tokens are told apart by case. */
	    {"DELETE / HTTP/1.1\r\nHost: a", END_METHOD},
	    {"get / HTTP/1.1\r\nHost: a", END_METHOD},
	    {"CONNECT a:443 HTTP/1.1\r\nHost: a", END_METHOD},
	    {"OPTIONS * HTTP/1.1\r\nHost: a", END_METHOD},
	    /* The target. */
	    {"GET http://a/ HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET * HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET /#x HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    {"GET /\x7f HTTP/1.1\r\nHost: a", END_BAD_REQUEST},
	    /* Host. */
	    {"GET / HTTP/1.1", END_BAD_REQUEST},
	    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a", END_BAD_REQUEST},
	    {"GET / HTTP/1.0\r\nHost: a\r\nHost: b", END_BAD_REQUEST},
	    /* The body's framing. */
	    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked", END_BAD_REQUEST},
	    {"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 3",
		END_BAD_REQUEST},
	    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked",
		END_BAD_REQUEST},
	    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
	     "Content-Length: 1",
		END_BAD_REQUEST},
	    /* Expect. */
	    {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue", END_OK},
	    {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok", END_EXPECTATION},
	    {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
	     "Expect: 100-continue",
		END_EXPECTATION},
	    /* Credentials. */
	    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k", END_OK},
	    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"
	     "x-api-key: k\r\napi-key: k",
		END_OK},
	    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"
	     "x-api-key: K",
		END_KEY_AMBIGUOUS},
	    {"GET / HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\napi-key: kk",
		END_KEY_AMBIGUOUS},
	    {"GET / HTTP/1.1\r\nHost: a\r\nx-api-key: k\r\nx-api-key: j",
		END_KEY_AMBIGUOUS},
	    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"
	     "Authorization: Bearer k",
		END_KEY_AMBIGUOUS},
	    {"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \r\n"
	     "x-api-key: k",
		END_OK},
	};
	struct buf text = {0};
	struct head head;
	struct request r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		enum end e = judge(rows[i].lines, &text, &head, &r);

		if (e != rows[i].end)
			fail_msg(
			    "ended %s: %s", end_facts(e)->text, rows[i].lines);
	}
	buf_release(&text);
}

static void
the_credential_is_read_from_any_of_its_names(void **state)
{
	static const struct {
		const char *field, *credential; /* NULL: none was sent */
	} rows[] = {
	    {"Authorization: Bearer sk-weir-1", "sk-weir-1"},
	    {"authorization: bEARER sk-weir-1", "sk-weir-1"},
	    {"x-api-key: sk-weir-1", "sk-weir-1"},
	    {"X-API-KEY:   sk-weir-1  ", "sk-weir-1"},
	    {"api-key: sk-weir-1", "sk-weir-1"},
	    {"api-key:\r\nx-api-key: sk-weir-1", "sk-weir-1"},
	    {"Authorization: Bearer  sk-weir-1", " sk-weir-1"},
	    {"Authorization: Basic dTpw", "Basic dTpw"},
	    {"Authorization: sk-weir-1", "sk-weir-1"},
	    {"Authorization: Bearer", NULL},
	    {"Authorization:", NULL},
	    {"x-api-key:", NULL},
	    {"Cookie: key=sk-weir-1", NULL},
	};
	struct buf text = {0}, lines = {0};
	struct head head;
	struct request r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *expected = rows[i].credential;

		buf_clear(&lines);
		buf_printf(
		    &lines, "GET / HTTP/1.1\r\nHost: a\r\n%s", rows[i].field);
		buf_put(&lines, "", 1);
		assert_int_equal(
		    judge(buf_data(&lines), &text, &head, &r), END_OK);
		if (expected == NULL ? r.credential.p != NULL
				     : !slice_is(r.credential, expected))
			fail_msg("misread: %s", rows[i].field);
	}
	buf_release(&lines);
	buf_release(&text);
}

static void
path_and_query_are_views_of_the_target(void **state)
{
	static const struct {
		const char *target, *path, *query;
	} rows[] = {
	    {"/", "/", ""},
	    {"/v1/messages?beta=true", "/v1/messages", "beta=true"},
	    {"/a?", "/a", ""},
	    {"/a?b?c", "/a", "b?c"},
	    {"/?a=/b", "/", "a=/b"},
	};
	struct buf text = {0}, lines = {0};
	struct head head;
	struct request r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		buf_clear(&lines);
		buf_printf(
		    &lines, "GET %s HTTP/1.1\r\nHost: a", rows[i].target);
		buf_put(&lines, "", 1);
		assert_int_equal(
		    judge(buf_data(&lines), &text, &head, &r), END_OK);
		assert_true(slice_is(r.target, rows[i].target));
		assert_true(slice_is(r.path, rows[i].path));
		assert_int_equal(r.query.len, strlen(rows[i].query));
		assert_true(
		    r.query.len == 0 || slice_is(r.query, rows[i].query));
	}
	buf_release(&lines);
	buf_release(&text);
}

static void
a_connection_is_kept_only_where_nobody_can_disagree(void **state)
{
	static const struct {
		const char *lines;
		bool keeps_alive;
	} rows[] = {
	    {"GET / HTTP/1.1\r\nHost: a", true},
	    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close", false},
	    {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close",
		false},
	    {"GET / HTTP/1.0\r\nHost: a", false},
	    {"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive", true},
	    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9", true},
	    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", false},
	};
	struct buf text = {0};
	struct head head;
	struct request r;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(
		    judge(rows[i].lines, &text, &head, &r), END_OK);
		if (r.keeps_alive != rows[i].keeps_alive)
			fail_msg("misjudged: %s", rows[i].lines);
	}
	buf_release(&text);
}

static void
a_target_of_8_kib_is_the_longest(void **state)
{
	struct buf text = {0}, lines = {0};
	struct head head;
	struct request r;

	(void)state;
	for (size_t more = 0; more < 2; more++) {
		buf_clear(&lines);
		buf_puts(&lines, "GET /");
		for (size_t i = 1; i < GUARD_TARGET_MOST_BYTES + more; i++)
			buf_puts(&lines, "x");
		buf_puts(&lines, " HTTP/1.1\r\nHost: a");
		buf_put(&lines, "", 1);
		assert_int_equal(judge(buf_data(&lines), &text, &head, &r),
		    more == 0 ? END_OK : END_TARGET_TOO_LONG);
	}
	buf_release(&lines);
	buf_release(&text);
}

static void
what_is_needed_later_is_noted(void **state)
{
	struct buf text = {0};
	struct head head;
	struct request r;

	(void)state;
	assert_int_equal(
	    judge("POST /v1/messages HTTP/1.1\r\nHost: a\r\n"
		  "User-Agent: claude-cli/2.0 (x)\r\nX-Request-Id: r1\r\n"
		  "X-Claude-Code-Session-Id: s1\r\n"
		  "X-Forwarded-For: 10.0.0.1\r\nContent-Encoding: gzip\r\n"
		  "Expect: 100-continue\r\nContent-Length: 44",
		&text, &head, &r),
	    END_OK);
	assert_int_equal(r.method, METHOD_POST);
	assert_int_equal(r.minor, 1);
	assert_int_equal(r.framing, FRAMING_LENGTH);
	assert_int_equal(r.content_length, 44);
	assert_true(r.says_continue);
	assert_true(r.is_encoded);
	assert_true(slice_is(r.user_agent, "claude-cli/2.0 (x)"));
	assert_true(slice_is(r.request_id, "r1"));
	assert_true(slice_is(r.session, "s1"));
	assert_int_equal(judge("POST / HTTP/1.0\r\nExpect: 100-continue\r\n"
			       "Content-Encoding: Identity\r\nX-Session-Id: s2",
			     &text, &head, &r),
	    END_OK);
	assert_false(r.says_continue); /* HTTP/1.0 knows no 100 */
	assert_false(r.is_encoded);
	assert_true(slice_is(r.session, "s2"));
	buf_release(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_is_taken_or_ends_in_one_way),
	    cmocka_unit_test(the_credential_is_read_from_any_of_its_names),
	    cmocka_unit_test(path_and_query_are_views_of_the_target),
	    cmocka_unit_test(
		a_connection_is_kept_only_where_nobody_can_disagree),
	    cmocka_unit_test(a_target_of_8_kib_is_the_longest),
	    cmocka_unit_test(what_is_needed_later_is_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
