#include "auth/override_file.h"

#include <string.h>
#include <unistd.h>

#include "auth/limits_text.h"
#include "auth/state_file.h"
#include "base/buf.h"
#include "base/json_out.h"

#include "base/banned.h"

#define LOCK_FILE_NAME "overrides.lock"

/* The file, held: nobody else changes it meanwhile. */
struct hold {
	const char *state_dir;        /* borrowed: from the caller */
	int lock;                     /* -1: none */
	struct override_table *table; /* owned */
};

static void
hold_release(struct hold *h)
{
	override_table_destroy(&h->table);
	if (h->lock >= 0)
		close(h->lock);
	h->lock = -1;
}

/* Takes the lock and reads what is there.  The caller releases it, also when
 * this has failed. */
static bool
hold_take(struct hold *h, const char *state_dir, struct fault *why)
{
	*h = (struct hold){.state_dir = state_dir};
	h->lock = state_file_lock(state_dir, LOCK_FILE_NAME, why);
	if (h->lock >= 0)
		h->table = override_table_load_as_admin(state_dir, why);
	return h->table != NULL;
}

static void
write_override(struct json_out *j, const struct override *o)
{
	json_open(j, '{');
	json_member_string(j, "user", slice_of(o->user));
	state_write_limits(j, &o->limits);
	json_member_string(j, "author", slice_of(o->author));
	json_member_int(j, "set_ms", o->set_ms);
	json_member_int(j, "until_ms", o->until_ms);
	json_close(j, '}');
}

/* One item for each setting. */
static void
write_added(
    struct json_out *j, const struct override_request *q, int64_t now_ms)
{
	struct override o = {
	    .user = (char *)q->user,
	    .author = (char *)q->author,
	    .limits = *q->limits,
	    .set_ms = now_ms,
	    .until_ms = q->until_ms,
	};

	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		o.limits.stated = q->limits->stated & 1u << i;
		if (o.limits.stated != 0)
			write_override(j, &o);
	}
}

/* Writes what still holds, without those settings of the user, and with `added`
 * behind it, which may be NULL. */
static bool
hold_write(struct hold *h, const char *user, unsigned without,
    const struct override_request *added, int64_t now_ms, struct fault *why)
{
	struct buf text = {0};
	struct json_out j = state_file_begin(&text, "overrides");
	bool ok;

	for (size_t i = 0; i < override_table_count(h->table); i++) {
		const struct override *o = override_table_at(h->table, i);

		if (override_holds(o, now_ms) &&
		    (!(o->limits.stated & without) ||
			strcmp(o->user, user) != 0))
			write_override(&j, o);
	}
	if (added != NULL)
		write_added(&j, added, now_ms);
	ok = state_file_replace(&j, h->state_dir, OVERRIDE_FILE_NAME,
	    OVERRIDE_FILE_MOST_BYTES, why);
	buf_release(&text);
	return ok;
}

bool
override_file_set(const char *state_dir, const struct override_request *request,
    int64_t now_ms, struct fault *why)
{
	struct hold h = {.lock = -1};
	bool ok = state_check_text("user", request->user, why) &&
	    state_check_text("author", request->author, why) &&
	    hold_take(&h, state_dir, why) &&
	    hold_write(&h, request->user, request->limits->stated, request,
		now_ms, why);

	hold_release(&h);
	return ok;
}

bool
override_file_clear(const char *state_dir, const char *user, unsigned settings,
    int64_t now_ms, unsigned *cleared, struct fault *why)
{
	struct hold h;
	bool ok = hold_take(&h, state_dir, why);

	*cleared = 0;
	for (unsigned i = 0; ok && i < LIMITS_SETTINGS; i++)
		if (settings & 1u << i &&
		    override_table_find(h.table, user, i, now_ms) != NULL)
			*cleared |= 1u << i;
	if (ok && *cleared != 0)
		ok = hold_write(&h, user, *cleared, NULL, now_ms, why);
	hold_release(&h);
	return ok;
}
