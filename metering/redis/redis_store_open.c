/* Whom a store talks to: is it a Redis, which run of it, may it evict?  The
 * door is redis_store.h. */
#include <string.h>

#include "metering/redis/redis_store_inner.h"

#include "base/banned.h"

bool
store_not_redis(struct redis_store *s, struct redis_reply **r,
    const char *command, struct redis_problem *p)
{
	redis_reply_destroy(r);
	redis_link_close(s->link);
	return redis_problem_set(
	    p, REDIS_HOSTILE, "its answer to %s makes no sense", command);
}

/* One command of a few literal words. */
static struct redis_reply *
ask(struct redis_store *s, struct redis_problem *p, const char *first,
    const char *second, const char *third)
{
	redis_args_clear(&s->args);
	redis_args_text(&s->args, first);
	if (second != NULL)
		redis_args_text(&s->args, second);
	if (third != NULL)
		redis_args_text(&s->args, third);
	return redis_link_ask(s->link, &s->args, p);
}

/* Copies the value of a line "name:value" of INFO. */
static bool
copy_fact(struct slice info, const char *name, char *out, size_t room)
{
	const char *at = memmem(info.p, info.len, name, strlen(name));
	size_t len;

	if (at == NULL)
		return false;
	at += strlen(name);
	len = strcspn(at, "\r\n"); /* a reply's text ends in NUL */
	if (len == 0 || len >= room)
		return false;
	memcpy(out, at, len);
	out[len] = '\0';
	return true;
}

/* The run's id is new with each start of the server: only then may counters
 * have gone back to what they were. */
static bool
read_server(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = ask(s, p, "INFO", "server", NULL);

	if (r == NULL)
		return false;
	if (r->kind != REDIS_TEXT ||
	    !copy_fact(r->text, "run_id:", s->run, sizeof s->run) ||
	    !copy_fact(
		r->text, "redis_version:", s->version, sizeof s->version))
		return store_not_redis(s, &r, "INFO", p);
	redis_reply_destroy(&r);
	return true;
}

static bool
read_time(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = ask(s, p, "TIME", NULL, NULL);
	uint64_t seconds, us;

	if (r == NULL)
		return false;
	if (!redis_reply_number(r, 0, &seconds) ||
	    !redis_reply_number(r, 1, &us) || seconds > UINT32_MAX)
		return store_not_redis(s, &r, "TIME", p);
	redis_reply_destroy(&r);
	s->time_ms = seconds * 1000 + us / 1000;
	return true;
}

/* Our counters expire some day, so that every policy but noeviction may throw
 * them away before.  Who may not ask is told so, and goes on. */
static bool
check_policy(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = ask(s, p, "CONFIG", "GET", "maxmemory-policy");
	struct slice policy;

	s->knows_policy = r != NULL;
	if (r == NULL)
		return redis_link_is_open(s->link);
	policy = redis_reply_text(r, 1);
	if (policy.p == NULL) {
		s->knows_policy = false;
	} else if (!slice_is(policy, "noeviction")) {
		redis_problem_set(
		    p, REDIS_POLICY, "maxmemory-policy is %.32s", policy.p);
		redis_reply_destroy(&r);
		return false;
	}
	redis_reply_destroy(&r);
	return true;
}

/* Who may not load scripts beforehand sends them whole each time. */
static bool
load_script(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = ask(s, p, "SCRIPT", "LOAD", redis_script_apply);

	s->sha[0] = '\0';
	if (r == NULL)
		return redis_link_is_open(s->link);
	if (r->kind == REDIS_TEXT && r->text.len == SHA_CHARS)
		memcpy(s->sha, r->text.p, SHA_CHARS + 1);
	redis_reply_destroy(&r);
	return true;
}

bool
redis_store_open(struct redis_store *s, struct redis_problem *p)
{
	if (redis_link_open(s->link, p) && read_server(s, p) &&
	    read_time(s, p) && check_policy(s, p) && load_script(s, p))
		return true;
	redis_link_close(s->link);
	return false;
}
