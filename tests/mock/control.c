#include "control.h"

#include <stdatomic.h>
#include <string.h>

#include "directives.h"
#include "listener.h"
#include "replay.h"
#include "reqlog.h"
#include "slots.h"
#include "stats.h"

#define PREFIX "/_mock/"
#define PREFIX_BYTES (sizeof PREFIX - 1)
#define WHY_MAX 512

static _Atomic uint64_t go_count;

uint64_t
control_go_count(void)
{
	return atomic_load(&go_count);
}

bool
control_is_target(struct text target)
{
	return target.n > PREFIX_BYTES &&
	    memcmp(target.p, PREFIX, PREFIX_BYTES) == 0;
}

static bool
is_text(struct text t, const char *s)
{
	return strlen(s) == t.n && memcmp(t.p, s, t.n) == 0;
}

static int
serve_get(struct bytes *b, const struct server *s, struct text what)
{
	if (is_text(what, "stats")) {
		stats_render(b, s->name);
		return 200;
	}
	if (is_text(what, "requests")) {
		reqlog_render(b);
		return 200;
	}
	return 404;
}

static int
serve_post(struct bytes *b, struct text what, struct text body)
{
	char why[WHY_MAX];

	if (is_text(what, "set")) {
		if (directives_set_defaults(body.p, body.n, why, sizeof why))
			return 200;
		bytes_puts(b, "{\"error\":");
		bytes_json(b, why, strlen(why));
		bytes_puts(b, "}\n");
		return 400;
	}
	if (is_text(what, "go")) {
		atomic_fetch_add(&go_count, 1);
		return 200;
	}
	if (is_text(what, "reset")) {
		atomic_fetch_add(&go_count, 1);
		(void)listener_open_all();
		directives_reset_defaults();
		prefix_forget();
		reqlog_clear();
		stats_reset();
		return 200;
	}
	if (is_text(what, "replay")) {
		replay_set(REPLAY_BODY, body.p, body.n);
		return 200;
	}
	if (is_text(what, "raw")) {
		replay_set(REPLAY_RAW, body.p, body.n);
		return 200;
	}
	return 404;
}

int
control_serve(struct bytes *b, const struct server *s, const struct request *rq,
    struct text body)
{
	struct text what = {
	    rq->target.p + PREFIX_BYTES, rq->target.n - PREFIX_BYTES};
	int status = 405;

	if (is_text(rq->method, "GET"))
		status = serve_get(b, s, what);
	else if (is_text(rq->method, "POST"))
		status = serve_post(b, what, body);
	if (b->n == 0)
		bytes_puts(
		    b, status == 200 ? "{\"ok\":true}\n" : "{\"ok\":false}\n");
	return status;
}
