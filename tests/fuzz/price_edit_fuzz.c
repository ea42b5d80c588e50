/*
 * Any bytes as a configuration's text: a price is put into it, or is not, and
 * nothing of the text is lost.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/config.h"
#include "conf/price_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* That `with` is `text` with something put in at one place. */
static void
must_be_added(struct slice text, const struct buf *with)
{
	size_t more = buf_len(with) - text.len, same = 0;

	must(buf_len(with) > text.len);
	while (same < text.len && buf_data(with)[same] == text.p[same])
		same++;
	must(memcmp(buf_data(with) + same + more, text.p + same,
		 text.len - same) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct price p = {.from_ms = INT64_C(1795046400000),
	    .input_pusd = 1740000,
	    .input_cached_pusd = 145000,
	    .cache_write_pusd = 1740000,
	    .output_pusd = 3480000,
	    .request_pusd = 1};
	struct slice text = {(const char *)data, size};
	struct diagnostics found = {0};
	struct price_places places;
	struct buf out = {0};
	struct fault why;
	struct arena a;

	if (size > CONFIG_FILE_MOST_BYTES)
		return 0;
	arena_init(&a);
	if (price_places_read(text, &a, &places, &found))
		for (size_t i = 0; i < places.count && i < 4; i++) {
			buf_clear(&out);
			if (price_insert(text, places.all[i].upstream,
				places.all[i].model, &p, &out, &why))
				must_be_added(text, &out);
		}
	buf_clear(&out);
	if (price_insert(text, "cloud", "a model", &p, &out, &why))
		must_be_added(text, &out);
	buf_release(&out);
	diagnostics_release(&found);
	arena_release(&a);
	return 0;
}
