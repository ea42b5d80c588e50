/*
 * weir-waiting-stream - what a client gets that had to wait, for the tests that
 * show it to the SDKs.
 *
 *     weir-waiting-stream API SIGNS            then the stream on stdin
 *     weir-waiting-stream API SIGNS error      then a failure
 *     weir-waiting-stream API SIGNS gap-error  the same behind an empty line,
 *                                              as it follows half an event
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/ends.h"
#include "proxy/keepalive.h"
#include "proxy/responses_splice.h"

#include "base/banned.h"

#define MODEL "m"
#define ULID "01K9X4ABCDEFGHJKMNPQRSTVWX"
#define WALL_MS INT64_C(1790000000000)

static enum server_api
api_of(const char *name)
{
	return strcmp(name, "messages") == 0 ? API_MESSAGES
	    : strcmp(name, "responses") == 0 ? API_RESPONSES
					     : API_CHAT;
}

static void
write_signs(struct keepalive *k, long signs, struct buf *out)
{
	for (long i = 0; i < signs; i++) {
		bool is_queued = i < signs / 2;
		struct keepalive_news news = {
		    .position = is_queued ? (uint32_t)(signs / 2 - i) : 0,
		    .expect_ms = 15000,
		    .waited_ms = (uint64_t)i * 15000,
		};

		keepalive_write(k, &news, out);
	}
}

static void
write_error(struct keepalive *k, struct buf *out)
{
	const struct end_facts *f = end_facts(END_FULL);
	bool is_anthropic = k->api == API_MESSAGES;

	if (k->api == API_RESPONSES) {
		own_response_fail(
		    &k->response, f->type, f->code, slice_of(f->help), out);
		return;
	}
	buf_puts(out, is_anthropic ? "event: error\ndata: " : "data: ");
	end_write_body(out, END_FULL, is_anthropic, slice_of(f->help), ULID);
	buf_puts(out, "\n\n");
}

/* In small pieces, since that must not matter. */
static void
write_stream(struct keepalive *k, const struct buf *in, struct buf *out)
{
	struct responses_splice s;
	size_t at = k->sent > 0 ? keepalive_skip(buf_data(in), buf_len(in)) : 0;

	if (k->api != API_RESPONSES || k->sent == 0) {
		buf_put(out, buf_data(in) + at, buf_len(in) - at);
		return;
	}
	responses_splice_init(&s, &k->response);
	for (at = 0; at < buf_len(in); at += 7)
		responses_splice_feed(&s, buf_data(in) + at,
		    buf_len(in) - at < 7 ? buf_len(in) - at : 7, out);
	responses_splice_end(&s, out);
	responses_splice_release(&s);
}

int
main(int argc, char **argv)
{
	struct keepalive k;
	struct buf in = {0}, out = {0};
	char block[4096];
	size_t n;

	if (argc < 3) {
		fprintf(stderr,
		    "usage: weir-waiting-stream API SIGNS "
		    "[error|gap-error] < STREAM\n");
		return 2;
	}
	keepalive_init(&k, api_of(argv[1]), ULID, MODEL, WALL_MS);
	write_signs(&k, strtol(argv[2], NULL, 10), &out);
	if (argc > 3) {
		if (strcmp(argv[3], "gap-error") == 0)
			buf_puts(&out, "\n\n");
		write_error(&k, &out);
	} else {
		while ((n = fread(block, 1, sizeof block, stdin)) > 0)
			buf_put(&in, block, n);
		write_stream(&k, &in, &out);
	}
	fwrite(buf_data(&out), 1, buf_len(&out), stdout);
	buf_release(&in);
	buf_release(&out);
	return 0;
}
