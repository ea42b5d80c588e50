/* What limits begin with: the ledger's sums, and overrides.  The door is
 * server_inner.h. */
#include <poll.h>

#include "base/clock.h"
#include "metering/ledger/ledger.h"
#include "metering/reports/rollup_keeper.h"
#include "proxy/server_inner.h"

#include "base/banned.h"

#define CATCH_UP_LOOK_MS 1
#define CATCH_UP_WAIT_MS 100

/* Of one account, since a moment. */
static void
sum_since(struct server *s, const struct rollup_filter *who, int64_t since_ms,
    struct rollup_sums *out)
{
	struct rollup_filter f = *who;

	f.since_ms = since_ms;
	f.until_ms = INT64_MAX;
	rollup_keeper_sum(s->gateway.rollups, &f, out);
}

static int64_t
capped(__int128 n)
{
	return n > INT64_MAX ? INT64_MAX : (int64_t)n;
}

static void
sum_account(void *arg, enum subject subject, const char *name,
    const char *model, struct gate_sums *out)
{
	struct server *s = arg;
	struct rollup_filter who = {0};
	struct rollup_sums sums;
	int64_t now = clock_wall_ms();

	switch (subject) {
	case SUBJECT_USER_AT_MODEL:
		who.only[ROLLUP_MODEL] = model;
		who.only[ROLLUP_USER] = name;
		break;
	case SUBJECT_USER:
		who.only[ROLLUP_USER] = name;
		break;
	case SUBJECT_KEY:
		who.only[ROLLUP_KEY] = name;
		break;
	case SUBJECT_EVERYONE:
		break;
	}
	sum_since(s, &who, calendar_span(PERIOD_DAY, now).begin_ms, &sums);
	out->day_tokens = (int64_t)(sums.input_tokens + sums.output_tokens);
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		sum_since(s, &who, calendar_span((enum period)p, now).begin_ms,
		    &sums);
		out->money[p] = capped(sums.cost_pusd);
		out->fallback[p] = capped(sums.fallback_pusd);
	}
}

/* What keys are held to themselves. */
void
server_find_key_accounts(struct server *s)
{
	for (size_t i = 0; i < key_table_count(s->keys); i++) {
		const struct key_record *r = key_table_at(s->keys, i);

		if (r->limits.stated != 0)
			(void)gate_account(
			    s->gateway.gate, SUBJECT_KEY, r->id, NULL);
	}
}

/* No budget begins anew because the process did. */
void
server_restore_accounts(struct server *s)
{
	gate_restore(s->gateway.gate, sum_account, s, clock_wall_ms());
}

/* Until all that earlier starts left is in the ledger and summed up: before
 * that, too little would be known of what was used. */
void
server_await_sums(struct server *s)
{
	struct pollfd stop = {.fd = s->signal_fd, .events = POLLIN};
	uint64_t seq;

	while (!ledger_has_recovered(s->gateway.ledger, &seq))
		if (poll(&stop, 1, CATCH_UP_LOOK_MS) != 0)
			return;
	while (!rollup_keeper_wait(s->gateway.rollups, seq, CATCH_UP_WAIT_MS))
		if (poll(&stop, 1, 0) != 0)
			return;
}

/* --- overrides ----------------------------------------------------------- */

/* What holds now of the overrides, for all users. */
void
server_apply_overrides(struct server *s)
{
	const struct config *c = s->snapshot->config;
	int64_t now = clock_wall_ms(), until = 0;
	struct limits over;

	for (size_t i = 0; i < c->user_count; i++) {
		bool any = override_table_merge(
		    s->overrides, c->users[i].name, now, &over, &until);

		gate_override(s->snapshot->users[i], s->gateway.gate,
		    any ? &over : NULL, until);
	}
	s->overrides_change_ms = override_table_changes_ms(s->overrides, now);
}

/* False with the reason, and those before stay, if the file is damaged. */
bool
server_load_overrides(struct server *s, struct fault *why)
{
	struct override_table *fresh =
	    override_table_load(s->snapshot->config->server.state_dir, why);

	if (fresh == NULL)
		return false;
	override_table_destroy(&s->overrides);
	s->overrides = fresh;
	server_apply_overrides(s);
	return true;
}
