#include "proxy/admin.h"

#include "base/banned.h"

static const struct {
	const char *path;
	void (*write)(const struct worker *w, struct buf *to);
} documents[] = {
    {"/admin/v1/gate", admin_write_gate},
    {"/admin/v1/fleet", admin_write_fleet},
};

void
admin_receive(struct client *c, const struct request *r)
{
	struct buf body = {0};
	size_t i = 0;

	c->closes = true; /* what follows the head is no request */
	while (i < COUNT_OF(documents) && !slice_is(r->path, documents[i].path))
		i++;
	if (i == COUNT_OF(documents)) {
		client_refuse(c, END_NOT_FOUND, SLICE(""),
		    SLICE("There is no such path on the admin socket."));
		return;
	}
	if (r->method != METHOD_GET) {
		client_refuse(
		    c, END_METHOD, SLICE("Allow: GET\r\n"), SLICE(""));
		return;
	}
	documents[i].write(c->w, &body);
	client_answer(c, 200, "application/json", SLICE(""),
	    (struct slice){buf_data(&body), buf_len(&body)});
	buf_release(&body);
}
