/* Any JSON in the place of a usage is read the same however it is split, and
 * cut out of its event without a trace: what the client gets is what it would
 * have got without it.  The first byte chooses the kind and the dialect. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "metering/tap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BEFORE "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{}}]"
#define BEHIND ",\"x\":[]}\n\n"

/* Reads one event in pieces of `step` bytes; appends what goes to the client.
 * True if something was cut. */
static bool
read_event(struct tap *t, const struct buf *event, size_t step, struct buf *to)
{
	const char *p = buf_data(event);
	size_t len = buf_len(event), n;
	enum tap_verdict v = TAP_MORE;

	for (size_t at = 0; at < len && v == TAP_MORE; at += n)
		n = tap_next(t, p + at, step < len - at ? step : len - at, &v);
	if (v != TAP_PASS || t->event_bytes != len)
		return false; /* its lines made several events */
	buf_put(to, p, (size_t)t->cut_begin);
	buf_puts(to, t->leaves_null ? "null" : "");
	n = (size_t)t->cut_end + (t->leaves_null ? 4 : 0);
	buf_put(to, p + n, len - n);
	return t->cut_begin < t->cut_end;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char absent[] = BEFORE BEHIND;
	static const char is_null[] = BEFORE ",\"usage\":null" BEHIND;
	static const size_t steps[] = {1, 3, 7, 64};
	static struct tap whole, split;
	struct buf event = {0}, a = {0}, b = {0};
	struct tap_job job = {.is_stream = true, .strips_running = true};
	struct slice plain;
	bool is_cut;

	if (size < 1)
		return 0;
	job.kind = (enum server_kind)(data[0] % KIND_COUNT);
	job.api = data[0] & 128 ? API_COMPLETIONS : API_CHAT;
	buf_puts(&event, BEFORE ",\"usage\":");
	buf_put(&event, data + 1, size - 1);
	buf_puts(&event, BEHIND);
	tap_init(&whole, &job);
	is_cut = read_event(&whole, &event, SIZE_MAX, &a);
	plain = kind_has(job.kind, KIND_NULLS_USAGE) ? SLICE(is_null)
						     : SLICE(absent);
	/* Unless what stands there is more than one value. */
	if (is_cut && memchr(data + 1, ',', size - 1) == NULL &&
	    (buf_len(&a) != plain.len ||
		memcmp(buf_data(&a), plain.p, plain.len) != 0))
		abort();
	if (is_cut && whole.bad_events > 0)
		abort();
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		buf_clear(&b);
		tap_init(&split, &job);
		if (read_event(&split, &event, steps[i], &b) != is_cut ||
		    buf_len(&a) != buf_len(&b) ||
		    memcmp(buf_data(&a), buf_data(&b), buf_len(&a)) != 0 ||
		    memcmp(&whole.usage, &split.usage, sizeof whole.usage) !=
			0 ||
		    whole.source != split.source ||
		    whole.has_bad_count != split.has_bad_count)
			abort();
		tap_release(&split);
	}
	tap_release(&whole);
	buf_release(&event);
	buf_release(&a);
	buf_release(&b);
	return 0;
}
