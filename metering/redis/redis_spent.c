#include "metering/redis/redis_spent.h"

#include <stdio.h>

#include "base/banned.h"

#define FIELD_BYTES 32

void
redis_subject_user(struct buf *to, struct slice user)
{
	buf_put_literal(to, "user:");
	redis_sums_put_name(to, user);
}

void
redis_subject_user_at_model(
    struct buf *to, struct slice user, struct slice model)
{
	buf_put_literal(to, "model:");
	redis_sums_put_name(to, model);
	buf_put_literal(to, "|");
	redis_sums_put_name(to, user);
}

void
redis_subject_key(struct buf *to, struct slice key_id)
{
	buf_put_literal(to, "key:");
	redis_sums_put_name(to, key_id);
}

/* A key under way, and when the line was. */
struct place {
	struct buf key;
	int64_t day_ms;
	int quarter;
};

static void
note_time(struct place *p, int64_t ts_ms)
{
	int64_t quarter = ts_ms / REDIS_QUARTER_MS;

	if (ts_ms % REDIS_QUARTER_MS < 0)
		quarter--;
	p->quarter = (int)((quarter % 96 + 96) % 96);
	p->day_ms = (quarter - p->quarter) * REDIS_QUARTER_MS;
}

static struct buf *
begin_key(struct place *p)
{
	buf_clear(&p->key);
	buf_printf(
	    &p->key, "spent:%lld:", (long long)(p->day_ms / REDIS_DAY_MS));
	return &p->key;
}

/* To the day and to its quarter. */
static void
add(struct redis_sums *s, const struct place *p, const char *kind,
    int64_t input, int64_t output, __int128 pusd)
{
	struct slice key = {buf_data(&p->key), buf_len(&p->key)};
	char field[FIELD_BYTES];

	snprintf(field, sizeof field, "%sall|", kind);
	redis_sums_more(
	    s, key, slice_of(field), p->day_ms, input, output, pusd);
	snprintf(field, sizeof field, "%s%d|", kind, p->quarter);
	redis_sums_more(
	    s, key, slice_of(field), p->day_ms, input, output, pusd);
}

/* To the subject whose key it is. */
static void
add_line(
    struct redis_sums *s, const struct place *p, const struct ledger_view *line)
{
	add(s, p, "", line->prompt_tokens, line->completion_tokens,
	    line->cost_usd);
	if (line->fallback_usd > 0)
		add(s, p, "fallback|", 0, 0, line->fallback_usd);
}

void
redis_spent_add(struct redis_sums *s, const struct ledger_view *line)
{
	struct place p = {0};

	if (line->attempt_count == 0)
		return;
	note_time(&p, line->ts_ms);
	redis_subject_user(begin_key(&p), line->user);
	add_line(s, &p, line);
	redis_subject_user_at_model(begin_key(&p), line->user, line->model);
	add_line(s, &p, line);
	if (line->key.p != NULL) {
		redis_subject_key(begin_key(&p), line->key);
		add_line(s, &p, line);
	}
	if (line->fallback_usd > 0) {
		buf_puts(begin_key(&p), REDIS_EVERYONE);
		add(s, &p, "fallback|", 0, 0, line->fallback_usd);
	}
	buf_release(&p.key);
}
