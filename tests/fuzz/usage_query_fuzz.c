/*
 * Any bytes as the query of GET /v1/usage: what is taken is a page of whole
 * buckets, not longer than a page may be, and what is not is told in a
 * sentence.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/usage_query.h"

#define NOW_MS INT64_C(1795098121000)
#define BUCKETS_MOST 168

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	struct usage_query q;
	struct fault why = {""};

	if (!usage_query_parse(text, NOW_MS, &q, &why)) {
		must(why.text[0] != '\0');
		return 0;
	}
	must(q.begin_ms >= 0 && q.end_ms >= q.begin_ms);
	must(q.begin_ms % q.width_ms == 0 && q.end_ms % q.width_ms == 0);
	must((q.end_ms - q.begin_ms) / q.width_ms <= BUCKETS_MOST);
	must(q.begin_ms == q.end_ms || q.end_ms <= NOW_MS + q.width_ms);
	must(!q.has_more || q.end_ms > q.begin_ms);
	must(memchr(q.model, '\0', sizeof q.model) != NULL);
	must(memchr(q.key, '\0', sizeof q.key) != NULL);
	return 0;
}
