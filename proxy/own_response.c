#include "proxy/own_response.h"

#include <string.h>

#include "base/json_out.h"

#include "base/banned.h"

void
own_response_init(struct own_response *r, const char *ulid, const char *model,
    int64_t wall_ms)
{
	*r = (struct own_response){.model = model, .created_s = wall_ms / 1000};
	memcpy(r->id, "resp_", 5);
	memcpy(r->id + 5, ulid, ULID_CHARS);
}

static struct json_out
begin_event(const char *type, struct buf *to)
{
	struct json_out o;

	buf_puts(to, "event: ");
	buf_puts(to, type);
	buf_put_literal(to, "\ndata: ");
	o = json_out_to(to);
	json_open(&o, '{');
	json_member_string(&o, "type", slice_of(type));
	return o;
}

static void
end_event(struct own_response *r, struct json_out *o)
{
	json_key(o, "sequence_number");
	buf_put_uint(o->to, r->next_number++);
	o->needs_comma = true;
	json_close(o, '}');
	buf_put_literal(o->to, "\n\n");
}

/* What stands behind `error` and is the same in every response of ours: the
 * members that readers in typed languages want.  What was asked for is not
 * repeated. */
static const char more_members[] =
    ",\"incomplete_details\":null,\"instructions\":null,\"output\":[],"
    "\"parallel_tool_calls\":true,\"temperature\":null,"
    "\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null,"
    "\"usage\":null,\"metadata\":{}";

/* The response, as it is without any output; `code` is NULL if it has not
 * failed. */
static void
write_response(const struct own_response *r, const char *status,
    const char *code, struct slice message, struct json_out *o)
{
	json_key(o, "response");
	json_open(o, '{');
	json_member_string(o, "id", slice_of(r->id));
	json_member_string(o, "object", SLICE("response"));
	json_member_int(o, "created_at", r->created_s);
	json_member_string(o, "status", slice_of(status));
	json_member_string(o, "model", slice_of(r->model));
	json_key(o, "error");
	if (code == NULL) {
		json_null(o);
	} else {
		json_open(o, '{');
		json_member_string(o, "code", slice_of(code));
		json_member_string(o, "message", message);
		json_close(o, '}');
	}
	buf_puts(o->to, more_members);
	json_close(o, '}');
}

static void
write_created(struct own_response *r, struct buf *to)
{
	struct json_out o = begin_event("response.created", to);

	write_response(r, "in_progress", NULL, SLICE(""), &o);
	end_event(r, &o);
}

void
own_response_write(struct own_response *r, struct buf *to)
{
	struct json_out o;

	if (r->next_number == 0) {
		write_created(r, to);
		return;
	}
	o = begin_event("keepalive", to);
	end_event(r, &o);
}

void
own_response_fail(struct own_response *r, const char *type, const char *code,
    struct slice message, struct buf *to)
{
	struct json_out o;

	if (r->next_number == 0)
		write_created(r, to);
	o = begin_event("error", to);
	json_key(&o, "error");
	json_open(&o, '{');
	json_member_string(&o, "type", slice_of(type));
	json_member_string(&o, "code", slice_of(code));
	json_member_string(&o, "message", message);
	json_key(&o, "param");
	json_null(&o);
	json_close(&o, '}');
	end_event(r, &o);

	o = begin_event("response.failed", to);
	write_response(r, "failed", code, message, &o);
	end_event(r, &o);
}
