#include "tests/bench/request.h"

#include <string.h>

#include "base/banned.h"

static const char prose[] =
    "A weir stands across a river; it regulates the stream and measures it.\\n";

/* Appends exactly `len` bytes of prose that never end inside an escape. */
static void
put_prose(struct buf *out, size_t len)
{
	const size_t period = sizeof prose - 1;

	while (len >= period) {
		buf_put(out, prose, period);
		len -= period;
	}
	if (len == period - 1) { /* would end on the backslash */
		buf_puts(out, ".");
		len--;
	}
	buf_put(out, prose, len);
}

static void
put_body(struct buf *out, const struct request_spec *spec)
{
	static const char tail[] = "\"}]}";
	size_t frame;

	buf_printf(out, "{\"model\":\"%s\",\"stream\":%s%s%s,", spec->model,
	    spec->is_streamed ? "true" : "false",
	    spec->extra == NULL ? "" : ",",
	    spec->extra == NULL ? "" : spec->extra);
	buf_puts(out, "\"messages\":[{\"role\":\"user\",\"content\":\"");
	frame = buf_len(out) + sizeof tail - 1;
	if (spec->body_bytes > frame)
		put_prose(out, spec->body_bytes - frame);
	buf_puts(out, tail);
}

void
request_build(struct buf *out, const struct request_spec *spec)
{
	struct buf body = {0};

	put_body(&body, spec);
	buf_printf(
	    out, "POST %s HTTP/1.1\r\nHost: %s\r\n", spec->path, spec->host);
	if (spec->key != NULL)
		buf_printf(out, "Authorization: Bearer %s\r\n", spec->key);
	buf_printf(out,
	    "User-Agent: weir-load\r\nAccept: */*\r\n"
	    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
	    buf_len(&body));
	buf_put(out, buf_data(&body), buf_len(&body));
	buf_release(&body);
}
