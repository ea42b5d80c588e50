/* However a file is damaged, reading it ends, and says an error or gives a
 * configuration: never neither, never both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "conf/config.h"

#define ROUNDS 1500
#define SEED 20260501u

static const char *
env(const char *name)
{
	(void)name;
	return "fw_secret";
}

static const struct config_env test_env = {
    .default_state_dir = "/tmp/state", .env = env};

static struct buf example;

static int
read_example(void **state)
{
	(void)state;
	return file_read(TEST_DATA "/../../conf/weir.example.yaml",
		   CONFIG_FILE_MOST_BYTES, true, &example, NULL)
	    ? 0
	    : -1;
}

static int
forget_example(void **state)
{
	(void)state;
	buf_release(&example);
	return 0;
}

static void
expect_one_or_the_other(const char *p, size_t len)
{
	/* Of its own size, so that a read behind the end is found. */
	char *copy = xcalloc(len + (len == 0));
	struct diagnostics found = {0};
	struct config *c;
	struct buf out = {0};

	memcpy(copy, p, len);
	c = config_parse(
	    "weir.yaml", (struct slice){copy, len}, &test_env, &found);
	assert_true((c == NULL) == (found.errors > 0));
	assert_true(found.errors + found.warnings >= found.count);
	diagnostics_print(&found, "weir.yaml", (struct slice){copy, len}, &out);
	assert_true((buf_len(&out) > 0) == (found.count > 0));
	config_unref(&c);
	diagnostics_release(&found);
	buf_release(&out);
	free(copy);
}

static void
a_file_cut_anywhere_is_read_or_refused(void **state)
{
	(void)state;
	for (size_t len = 0; len <= buf_len(&example); len += 3)
		expect_one_or_the_other(buf_data(&example), len);
}

/* The same numbers in every run. */
static unsigned
next_random(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

static void
mutate(char *p, size_t *len, unsigned *seed)
{
	static const char bytes[] = "{}[]:,-&*!|>'\"%@`#?\n\t \r\0\xff\xc2\x85"
				    "09azAZ$<";
	size_t at = next_random(seed) % *len;

	switch (next_random(seed) % 4) {
	case 0: /* another byte */
		p[at] = bytes[next_random(seed) % (sizeof bytes - 1)];
		break;
	case 1: /* one less */
		memmove(p + at, p + at + 1, *len - at - 1);
		(*len)--;
		break;
	case 2: /* a stretch from elsewhere */
	{
		size_t from = next_random(seed) % *len;
		size_t n = next_random(seed) % 40;

		if (from + n <= *len && at + n <= *len)
			memmove(p + at, p + from, n);
		break;
	}
	default: /* any byte */
		p[at] = (char)next_random(seed);
		break;
	}
}

static void
a_file_changed_anywhere_is_read_or_refused(void **state)
{
	char *copy = xcalloc(buf_len(&example));
	unsigned seed = SEED;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		size_t len = buf_len(&example);
		unsigned changes = 1 + next_random(&seed) % 6;

		memcpy(copy, buf_data(&example), len);
		for (unsigned j = 0; j < changes; j++)
			mutate(copy, &len, &seed);
		expect_one_or_the_other(copy, len);
	}
	free(copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_file_cut_anywhere_is_read_or_refused),
	    cmocka_unit_test(a_file_changed_anywhere_is_read_or_refused),
	};

	return cmocka_run_group_tests(tests, read_example, forget_example);
}
