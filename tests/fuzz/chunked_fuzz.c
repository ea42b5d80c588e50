/*
 * chunked_fuzz.c - the chunk decoder: any split gives what the whole gives.
 *
 * The input's first byte is the size of the pieces, the rest is the body.
 */
#undef NDEBUG /* the checks are what this is for */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "proxy/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoded {
	enum chunked_verdict verdict;
	struct buf data;
	size_t rest; /* bytes behind the end */
};

static struct decoded
decode(const uint8_t *from, size_t size, size_t step)
{
	struct decoded d = {.verdict = CHUNKED_MORE};
	struct chunked c;
	size_t at = 0;

	chunked_init(&c);
	while (d.verdict == CHUNKED_MORE && at < size) {
		size_t given = size - at < step ? size - at : step;
		char *p = malloc(given);
		size_t len = given;

		memcpy(p, from + at, given);
		d.verdict = chunked_decode(&c, p, &len, &d.rest);
		assert(len <= given && d.rest <= given - len);
		assert(d.verdict == CHUNKED_END || d.rest == 0);
		/* The rest lies where it lay. */
		assert(memcmp(p + given - d.rest, from + at + given - d.rest,
			   d.rest) == 0);
		buf_put(&d.data, p, len);
		free(p);
		at += given;
	}
	if (d.verdict == CHUNKED_END)
		d.rest += size - at;
	return d;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decoded whole, split;

	if (size < 2)
		return 0;
	whole = decode(data + 1, size - 1, size);
	split = decode(data + 1, size - 1, 1 + data[0] % 16);
	assert(whole.verdict == split.verdict && whole.rest == split.rest);
	/* A decoder that gives up gives nothing of that piece. */
	if (whole.verdict != CHUNKED_BAD) {
		assert(buf_len(&whole.data) == buf_len(&split.data));
		assert(memcmp(buf_data(&whole.data), buf_data(&split.data),
			   buf_len(&whole.data)) == 0);
	}
	buf_release(&whole.data);
	buf_release(&split.data);
	return 0;
}
