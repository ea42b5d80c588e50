#include "proxy/keepalive.h"

#include <string.h>

#include "base/banned.h"

void
keepalive_init(struct keepalive *k, enum server_api api, const char *ulid,
    const char *model, int64_t wall_ms)
{
	*k = (struct keepalive){.api = api};
	own_response_init(&k->response, ulid, model, wall_ms);
}

/* The two largest units: 40 s, 3m 10s, 1h 5m. */
static void
write_duration(uint64_t ms, bool rounds_up, struct buf *to)
{
	unsigned long long s = ms / 1000 + (rounds_up && ms % 1000 > 0);

	if (s < 60)
		buf_printf(to, "%llu s", s);
	else if (s < 3600)
		buf_printf(to, "%llum %llus", s / 60, s % 60);
	else
		buf_printf(to, "%lluh %llum", s / 3600, s / 60 % 60);
}

static void
write_comment(const struct keepalive_news *news, struct buf *to)
{
	if (news->position == 0) {
		buf_put_literal(to, ": waiting for the first token, ");
		write_duration(news->waited_ms, false, to);
		buf_put_literal(to, " so far\n\n");
		return;
	}
	buf_put_literal(to, ": waiting, position ");
	buf_put_uint(to, news->position);
	if (news->expect_ms > 0) {
		buf_put_literal(to, ", about ");
		write_duration(news->expect_ms, true, to);
	}
	buf_put_literal(to, "\n\n");
}

void
keepalive_write(
    struct keepalive *k, const struct keepalive_news *news, struct buf *to)
{
	if (k->api == API_MESSAGES)
		buf_put_literal(to,
		    "event: ping\n"
		    "data: {\"type\": \"ping\"}\n\n");
	else if (k->api == API_RESPONSES)
		own_response_write(&k->response, to);
	else
		write_comment(news, to);
	k->sent++;
}

size_t
keepalive_skip(const char *p, size_t len)
{
	size_t n = len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (n < len && (p[n] == '\n' || p[n] == '\r'))
		n++;
	return n;
}
