/* A stream continues ours in the same way however it was split, and what comes
 * out is not much longer, begins with no empty line and has no second
 * `response.created`. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/responses_splice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	struct buf out;
	uint64_t next_number;
	bool is_between;
	char upstream_id[SPLICE_ID_BYTES];
};

/* In pieces whose lengths come from `seed`; 0: in one. */
static struct result
splice(const uint8_t *data, size_t size, uint32_t seed)
{
	struct result r = {0};
	struct own_response own;
	struct responses_splice s;

	own_response_init(&own, "01K9X4ABCDEFGHJKMNPQRSTVWX", "m", 0);
	own.next_number = 1;
	responses_splice_init(&s, &own);
	for (size_t at = 0; at < size;) {
		size_t n = seed == 0 ? size : 1 + (seed >> 16) % 9;
		char *piece;

		seed = seed * 1664525 + (seed == 0 ? 0 : 1013904223);
		n = n > size - at ? size - at : n;
		if ((piece = malloc(n)) == NULL)
			abort();
		memcpy(piece, data + at, n);
		responses_splice_feed(&s, piece, n, &r.out);
		free(piece);
		at += n;
	}
	r.is_between = responses_splice_is_between(&s);
	responses_splice_end(&s, &r.out);
	responses_splice_release(&s);
	r.next_number = own.next_number;
	memcpy(r.upstream_id, s.upstream_id, sizeof r.upstream_id);
	return r;
}

static bool
is_same(const struct result *a, const struct result *b)
{
	return buf_len(&a->out) == buf_len(&b->out) &&
	    memcmp(buf_data(&a->out), buf_data(&b->out), buf_len(&a->out)) ==
	    0 &&
	    a->next_number == b->next_number &&
	    a->is_between == b->is_between &&
	    strcmp(a->upstream_id, b->upstream_id) == 0;
}

/* True if the first line of the first event names it so. */
static bool
begins_with_created(const struct buf *out)
{
	static const char line[] = "event: response.created\n";

	return buf_len(out) >= sizeof line - 1 &&
	    memcmp(buf_data(out), line, sizeof line - 1) == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole = splice(data, size, 0);

	if (buf_len(&whole.out) > 0 &&
	    (buf_data(&whole.out)[0] == '\n' ||
		begins_with_created(&whole.out)))
		abort();
	/* A value is replaced by at most 33 bytes, and has a key of 4. */
	if (buf_len(&whole.out) > size * 10)
		abort();
	for (uint32_t seed = 1; seed < 4; seed++) {
		struct result split = splice(data, size, seed * 7919);

		if (!is_same(&whole, &split))
			abort();
		buf_release(&split.out);
	}
	buf_release(&whole.out);
	return 0;
}
