/* More bodies, made by hand: other servers, odd grammar, damage.  They are read
 * right however they are split.  tests/data/wire-more/NOTES.md tells of them.
 */
#include "tap_run.h"

#include "base/buf.h"
#include "base/file.h"

#define EVERY_SPLIT_BYTES 8192 /* a longer body is split in some ways only */

/* Split anywhere, and a longer one into pieces of a few sizes. */
static void
read_split(struct outcome *o, const char *body, size_t len)
{
	static const size_t sizes[] = {1, 2, 3, 7, 100, 1024, 4096, 16384};
	struct outcome *other;

	if (len <= EVERY_SPLIT_BYTES) {
		read_body(o, body, len);
		return;
	}
	other = xcalloc(sizeof *other);
	begin(o);
	feed(o, body, len);
	finish(o);
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		begin(other);
		for (size_t at = 0; at < len; at += sizes[i])
			feed(other, body + at,
			    len - at < sizes[i] ? len - at : sizes[i]);
		finish(other);
		assert_same(o, other);
	}
	free(other);
}

static enum server_api
api_of(const char *file)
{
	static const struct {
		const char *part;
		enum server_api api;
	} parts[] = {
	    {"-completions-", API_COMPLETIONS},
	    {"-responses-", API_RESPONSES},
	    {"-messages-", API_MESSAGES},
	    {"-embeddings-", API_EMBEDDINGS},
	    {"-rerank-", API_RERANK},
	};

	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (strstr(file, parts[i].part) != NULL)
			return parts[i].api;
	}
	return API_CHAT;
}

static bool
is_count(int64_t is, const char *expected)
{
	char text[32];

	snprintf(text, sizeof text, "%lld", (long long)is);
	return strcmp(is < 0 ? "-" : text, expected) == 0;
}

/* The columns: file complete input output cached cache_write reasoning error.
 * Returns false, and says so, if the tap sees it otherwise. */
static bool
is_read_right(char *column[8])
{
	struct outcome *o = xcalloc(sizeof *o);
	const struct usage *u = &o->tap.usage;
	const char *file = column[0];
	struct buf body = {0};
	struct fault why;
	char path[512];
	bool is_right;

	is_stream = strstr(file, "-stream.txt") != NULL;
	api = api_of(file);
	snprintf(path, sizeof path, TEST_DATA "/wire-more/%s", file);
	if (!file_read(path, 1 << 20, false, &body, &why))
		fail_msg("%s", why.text);
	read_split(o, buf_data(&body), buf_len(&body));

	is_right = is_count(o->tap.is_complete, column[1]) &&
	    is_count(u->input, column[2]) && is_count(u->output, column[3]) &&
	    is_count(u->cached, column[4]) &&
	    is_count(u->cache_write, column[5]) &&
	    is_count(u->reasoning, column[6]) &&
	    o->tap.has_error == (strcmp(column[7], "-") != 0) &&
	    o->tap.has_content == is_stream &&
	    o->tap.bad_events == (strstr(file, "badevent") != NULL) &&
	    o->tap.has_bad_count == (strstr(file, "damaged-") != NULL);
	if (!is_right)
		print_error("%s: complete %d in %lld out %lld cached %lld "
			    "write %lld reasoning %lld error %d; content %d, "
			    "bad events %u, bad count %d\n",
		    file, o->tap.is_complete, (long long)u->input,
		    (long long)u->output, (long long)u->cached,
		    (long long)u->cache_write, (long long)u->reasoning,
		    o->tap.has_error, o->tap.has_content, o->tap.bad_events,
		    o->tap.has_bad_count);
	buf_release(&body);
	free(o);
	return is_right;
}

static void
every_further_body_is_read_right_however_it_is_split(void **state)
{
	unsigned files = 0, wrong = 0;
	struct buf table = {0};
	char *line, *rest;
	struct fault why;

	(void)state;
	if (!file_read(TEST_DATA "/wire-more/expected.tsv", 1 << 20, false,
		&table, &why))
		fail_msg("%s", why.text);
	buf_put(&table, "", 1);
	rest = table.base;
	strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *column[8];

		for (size_t i = 0; i < 8; i++) {
			column[i] = strsep(&line, "\t");
			assert_non_null(column[i]);
		}
		wrong += !is_read_right(column);
		files++;
	}
	assert_int_equal(wrong, 0);
	assert_true(files > 40);
	buf_release(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(
		every_further_body_is_read_right_however_it_is_split,
		tap_run_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
