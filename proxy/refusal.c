#include "proxy/refusal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "metering/price.h"
#include "proxy/exchange.h"

#include "base/banned.h"

static void
put_amount(struct buf *to, const struct refusal *why, int64_t n)
{
	char money[MONEY_TEXT_BYTES];

	if (why->of == REFUSED_LIMIT) {
		buf_put_count(to, n < 0 ? 0 : (uint64_t)n);
		return;
	}
	money_format_short(money, n);
	buf_puts(to, money);
}

static void
put_who(const struct exchange *x, size_t subject, struct buf *to)
{
	if (subject >= x->subject_count) {
		buf_puts(to, "all users together");
		return;
	}
	if (x->record != NULL && x->record->limits.stated != 0 &&
	    subject == x->subject_count - 1)
		buf_printf(
		    to, "the key %s of %s", x->record->id, x->user->name);
	else if (subject == 0)
		buf_puts(to, x->user->name);
	else
		buf_printf(to, "%s at %s", x->user->name, x->model->name);
}

/* "the count starts again at 00:00 CET (in 3 h 12 min)" */
static void
put_reset(int64_t at_ms, struct buf *to)
{
	char in[CLOCK_TEXT_BYTES], at[64];
	int64_t now = clock_wall_ms();
	time_t seconds = (time_t)(at_ms / 1000);
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(at, sizeof at,
	    at_ms - now < 24 * 3600 * 1000 ? "%H:%M %Z" : "%Y-%m-%d %H:%M %Z",
	    &tm);
	duration_format(in, at_ms > now ? (uint64_t)(at_ms - now) : 0);
	buf_printf(to, "the count starts again at %s (in %s)", at, in);
}

/* Who can raise a limit: the first administrator in the file. */
static void
put_way_out(const struct exchange *x, struct buf *to)
{
	const struct config *c = x->snapshot->config;

	for (size_t i = 0; i < c->user_count; i++)
		if (c->users[i].is_admin && &c->users[i] != x->user) {
			buf_printf(to, " Ask %s for more.", c->users[i].name);
			return;
		}
	buf_puts(to, " Ask the gateway's owner for more.");
}

/* A limit a minute. */
static void
write_rate(const struct exchange *x, const struct refusal *why, size_t subject,
    struct buf *to)
{
	static const char *const what[LIMIT_COUNT] = {
	    [LIMIT_REQUESTS] = "requests",
	    [LIMIT_INPUT_TOKENS] = "prompt tokens",
	    [LIMIT_OUTPUT_TOKENS] = "answer tokens",
	};
	char wait[CLOCK_TEXT_BYTES];

	put_who(x, subject, to);
	if (why->wait_ns == LIMITER_NEVER) {
		buf_printf(to, " may have 0 %s a minute.", what[why->limit]);
		put_way_out(x, to);
		return;
	}
	/* Whole seconds rounded up, as in retry-after. */
	duration_format(wait,
	    why->wait_ns < NS_PER_SECOND
		? why->wait_ns / NS_PER_MS + 1
		: (why->wait_ns + NS_PER_SECOND - 1) / NS_PER_SECOND * 1000);
	if (why->limit == LIMIT_REQUESTS) {
		buf_puts(to, " has made ");
		put_amount(to, why, why->most);
		buf_printf(to,
		    " requests in a minute, which is the limit; the next one "
		    "may come in %s.",
		    wait);
		return;
	}
	buf_puts(to, " may have ");
	put_amount(to, why, why->most);
	buf_printf(
	    to, " %s a minute; this request needs about ", what[why->limit]);
	put_amount(to, why, why->needed);
	buf_printf(to, " and may come in %s.", wait);
}

static const char *
noun(const struct refusal *why)
{
	switch (why->of) {
	case REFUSED_LIMIT:
		return " tokens";
	case REFUSED_BUDGET:
		return "";
	case REFUSED_FALLBACK:
		return " for cloud fallback";
	}
	return "";
}

/* What is summed up over a period: tokens, money. */
static void
write_sum(const struct exchange *x, const struct refusal *why, size_t subject,
    struct buf *to)
{
	static const char *const a[PERIOD_COUNT] = {
#define X(name, text, in) [PERIOD_##name] = text,
	    PERIODS(X)
#undef X
	};
	static const char *const now[PERIOD_COUNT] = {
#define X(name, text, in) [PERIOD_##name] = in,
	    PERIODS(X)
#undef X
	};

	put_who(x, subject, to);
	if (why->most == 0) {
		buf_puts(to, " may use ");
		put_amount(to, why, 0);
		buf_printf(to, "%s a %s, and this request may need ", noun(why),
		    a[why->period]);
		put_amount(to, why, why->needed);
		buf_puts(to, ".");
		put_way_out(x, to);
		return;
	}
	buf_puts(
	    to, subject >= x->subject_count ? " have used " : " has used ");
	put_amount(to, why, why->used);
	buf_puts(to, " of ");
	put_amount(to, why, why->most);
	buf_printf(to, "%s %s", noun(why), now[why->period]);
	if (why->held > 0) {
		buf_puts(to, ", requests under way may use ");
		put_amount(to, why, why->held);
	}
	buf_puts(to, ", and this one may need ");
	put_amount(to, why, why->needed);
	buf_puts(to, "; ");
	if (why->is_final) {
		put_reset(why->resets_ms, to);
		buf_puts(to, ".");
		put_way_out(x, to);
	} else {
		buf_puts(to, "try again when one of them has ended.");
	}
}

void
refusal_write(const struct exchange *x, const struct refusal *why,
    size_t subject, struct buf *to)
{
	if (why->of == REFUSED_LIMIT && why->resets_ms == 0)
		write_rate(x, why, subject, to);
	else
		write_sum(x, why, subject, to);
}

enum end
refusal_kind(const struct refusal *why)
{
	return why->is_final && why->resets_ms != 0 ? END_QUOTA
						    : END_RATE_LIMITED;
}

enum next
refusal_end(struct exchange *x, const struct refusal *why, size_t subject)
{
	struct buf text = {0};
	enum next over;

	x->retry_ns = why->resets_ms == 0 ? why->wait_ns : HELD_RETRY_NS;
	refusal_write(x, why, subject, &text);
	buf_put(&text, "", 1);
	over = exchange_end(x, refusal_kind(why), buf_data(&text));
	buf_release(&text);
	return over;
}
