#include "metering/redis/redis_store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "metering/redis/redis_open.h"
#include "metering/redis/redis_store_inner.h"

#include "base/banned.h"

#define CURSOR_CHARS 20
#define SCAN_KEYS 1000

char *
redis_own_name(const struct redis_options *o)
{
	char machine[HOST_NAME_MAX + 1] = "";

	if (o->name != NULL)
		return xstrdup(o->name);
	if (gethostname(machine, sizeof machine - 1) != 0 || machine[0] == '\0')
		return xstrdup("weir");
	return xstrdup(machine);
}

struct redis_store *
redis_store_create(const struct redis_options *o, const char *writer,
    int stop_fd, struct fault *why)
{
	struct redis_store *s = xcalloc(sizeof *s);

	s->options = o;
	s->name = redis_own_name(o);
	snprintf(s->writer, sizeof s->writer, "%s", writer);
	snprintf(s->tag, sizeof s->tag, "{%s}", o->prefix);
	if (ulid_source_init(&s->ids, why))
		s->link = redis_link_create(o, stop_fd, why);
	if (s->link == NULL)
		redis_store_destroy(&s);
	return s;
}

void
redis_store_destroy(struct redis_store **sp)
{
	struct redis_store *s = *sp;

	*sp = NULL;
	if (s == NULL)
		return;
	redis_link_destroy(&s->link);
	redis_args_release(&s->args);
	free(s->name);
	free(s);
}

void
redis_store_close(struct redis_store *s)
{
	redis_link_close(s->link);
}

bool
redis_store_is_open(const struct redis_store *s)
{
	return redis_link_is_open(s->link);
}

const char *
redis_store_place(const struct redis_store *s)
{
	return redis_link_place(s->link);
}

const char *
redis_store_name(const struct redis_store *s)
{
	return s->name;
}

const char *
redis_store_epoch(const struct redis_store *s)
{
	return s->epoch;
}

const char *
redis_store_run(const struct redis_store *s)
{
	return s->run;
}

const char *
redis_store_version(const struct redis_store *s)
{
	return s->version;
}

uint64_t
redis_store_time_ms(const struct redis_store *s)
{
	return s->time_ms;
}

bool
redis_store_knows_policy(const struct redis_store *s)
{
	return s->knows_policy;
}

struct redis_reply *
redis_store_ask(struct redis_store *s, const struct redis_args *command,
    struct redis_problem *p)
{
	return redis_link_ask(s->link, command, p);
}

void
redis_store_key(const struct redis_store *s, struct redis_args *to,
    const char *rest, struct slice more)
{
	redis_key(to, s->options->prefix, s->epoch, rest, more);
}

/* --- scripts ------------------------------------------------------------- */

static void
begin_script(struct redis_store *s, const char *script, unsigned keys)
{
	redis_args_clear(&s->args);
	redis_args_text(&s->args, "EVAL");
	redis_args_text(&s->args, script);
	redis_args_number(&s->args, keys);
	redis_key(&s->args, s->options->prefix, "", "epoch", SLICE(""));
}

static const char *
text_or_dash(const struct redis_reply *r, size_t i)
{
	struct slice text = redis_reply_text(r, i);

	return text.p == NULL ? "-" : text.p;
}

/* What the first word of a script's answer says; the answer is freed unless it
 * is OK. */
static enum store_verdict
judge(struct redis_store *s, struct redis_reply **rp, struct redis_problem *p)
{
	static const struct {
		const char *word;
		enum store_verdict verdict;
	} words[] = {{"ok", STORE_OK}, {"epoch", STORE_EPOCH},
	    {"gone", STORE_GONE}, {"moved", STORE_MOVED}};
	struct slice word;

	if (*rp == NULL)
		return STORE_FAILED;
	word = redis_reply_text(*rp, 0);
	for (size_t i = 0; word.p != NULL && i < COUNT_OF(words); i++) {
		if (!slice_is(word, words[i].word))
			continue;
		if (words[i].verdict != STORE_OK)
			redis_reply_destroy(rp);
		return words[i].verdict;
	}
	if (word.p != NULL && slice_is(word, "damaged")) {
		redis_problem_set(p, REDIS_DAMAGED,
		    "%.150s: the field %.150s is no number of ours",
		    text_or_dash(*rp, 1), text_or_dash(*rp, 2));
		redis_reply_destroy(rp);
		return STORE_FAILED;
	}
	store_not_redis(s, rp, "EVAL", p);
	return STORE_FAILED;
}

static enum store_verdict
run_script(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r = redis_link_ask(s->link, &s->args, p);
	enum store_verdict v = judge(s, &r, p);

	redis_reply_destroy(&r);
	return v;
}

static bool
copy_text(const struct redis_reply *r, size_t i, char *out, size_t room)
{
	struct slice text = redis_reply_text(r, i);

	if (text.p == NULL || text.len >= room)
		return false;
	memcpy(out, text.p, text.len);
	out[text.len] = '\0';
	return true;
}

enum store_verdict
redis_store_enter(struct redis_store *s, const struct redis_peers *known,
    struct store_entry *out, struct redis_problem *p)
{
	char fresh[ULID_CHARS + 1];
	struct redis_reply *r;
	enum store_verdict v;

	ulid_make(&s->ids, (int64_t)s->time_ms, fresh);
	begin_script(s, redis_script_enter, 1);
	redis_args_text(&s->args, s->tag);
	redis_args_text(&s->args, s->name);
	redis_args_text(&s->args, fresh);
	redis_args_text(&s->args, known->epoch);
	for (size_t i = 0; i < known->count; i++)
		redis_args_text(&s->args, known->names[i]);
	r = redis_link_ask(s->link, &s->args, p);
	if (r != NULL && !copy_text(r, 1, s->epoch, sizeof s->epoch)) {
		store_not_redis(s, &r, "EVAL", p);
		return STORE_FAILED;
	}
	v = judge(s, &r, p);
	if (v != STORE_OK)
		return v;
	if (!copy_text(r, 2, out->place, sizeof out->place) ||
	    !copy_text(r, 3, out->writer, sizeof out->writer) ||
	    !redis_reply_number(r, 4, &out->age_ms)) {
		store_not_redis(s, &r, "EVAL", p);
		return STORE_FAILED;
	}
	redis_reply_destroy(&r);
	return STORE_OK;
}

enum store_verdict
redis_store_look(struct redis_store *s, struct redis_problem *p)
{
	struct redis_reply *r;
	bool is_there;

	redis_args_clear(&s->args);
	redis_args_text(&s->args, "HMGET");
	redis_key(&s->args, s->options->prefix, "", "epoch", SLICE(""));
	redis_args_text(&s->args, "id");
	r = redis_link_ask(s->link, &s->args, p);
	if (r == NULL)
		return STORE_FAILED;
	is_there = copy_text(r, 0, s->epoch, sizeof s->epoch);
	redis_reply_destroy(&r);
	return is_there ? STORE_OK : STORE_GONE;
}

bool
redis_store_mark(struct redis_store *s, struct slice writer, uint64_t *mark,
    struct redis_problem *p)
{
	struct redis_reply *r;
	char field[ULID_CHARS + sizeof "at:"];

	*mark = 0;
	snprintf(field, sizeof field, "at:%.*s", (int)writer.len, writer.p);
	redis_args_clear(&s->args);
	redis_args_text(&s->args, "HGET");
	redis_store_key(s, &s->args, "gateway:", slice_of(s->name));
	redis_args_text(&s->args, field);
	r = redis_link_ask(s->link, &s->args, p);
	if (r == NULL)
		return false;
	if (r->kind == REDIS_TEXT && !text_to_u64(r->text, UINT64_MAX, mark)) {
		redis_reply_destroy(&r);
		return redis_problem_set(
		    p, REDIS_DAMAGED, "the mark of %.32s is no number", field);
	}
	if (r->kind != REDIS_TEXT && r->kind != REDIS_NIL)
		return store_not_redis(s, &r, "HGET", p);
	redis_reply_destroy(&r);
	return true;
}

enum store_verdict
redis_store_apply(struct redis_store *s, const struct redis_batch *b,
    const char *place, struct redis_problem *p)
{
	bool is_known = s->sha[0] != '\0';
	enum store_verdict v;

	for (;;) {
		redis_args_clear(&s->args);
		redis_args_text(&s->args, is_known ? "EVALSHA" : "EVAL");
		redis_args_text(
		    &s->args, is_known ? s->sha : redis_script_apply);
		redis_batch_command(
		    b, s->options->prefix, s->epoch, s->name, place, &s->args);
		v = run_script(s, p);
		if (v != STORE_FAILED || p->trouble != REDIS_NO_SCRIPT ||
		    !is_known)
			return v;
		is_known = false; /* EVAL makes it known again */
	}
}

static bool
read_peers(const struct redis_store *s, const struct redis_reply *r,
    struct redis_peers *peers, bool *is_whole)
{
	redis_peers_release(peers);
	memcpy(peers->epoch, s->epoch, sizeof peers->epoch);
	*is_whole = true;
	for (size_t i = 3; i + 1 < r->count; i += 2) {
		struct slice name = redis_reply_text(r, i);
		struct slice state = redis_reply_text(r, i + 1);

		if (name.p == NULL || state.p == NULL)
			return false;
		redis_peers_add(peers, name);
		if (!slice_is(state, s->run))
			*is_whole = false;
	}
	return true;
}

enum store_verdict
redis_store_beat(struct redis_store *s, bool is_ready, unsigned workers,
    struct redis_peers *peers, bool *is_whole, struct store_entry *before,
    struct redis_problem *p)
{
	struct redis_reply *r;
	enum store_verdict v;

	*is_whole = false;
	begin_script(s, redis_script_beat, 4);
	redis_store_key(s, &s->args, "gateways", SLICE(""));
	redis_store_key(s, &s->args, "gateway:", slice_of(s->name));
	redis_key(
	    &s->args, s->options->prefix, "", "workers:", slice_of(s->name));
	redis_args_text(&s->args, s->epoch);
	redis_args_text(&s->args, s->name);
	redis_args_text(&s->args, s->writer);
	redis_args_text(&s->args, is_ready ? s->run : "");
	redis_args_number(&s->args, workers);
	r = redis_link_ask(s->link, &s->args, p);
	v = judge(s, &r, p);
	if (v != STORE_OK)
		return v;
	if (!copy_text(r, 1, before->writer, sizeof before->writer) ||
	    !redis_reply_number(r, 2, &before->age_ms) ||
	    !read_peers(s, r, peers, is_whole)) {
		*is_whole = false;
		store_not_redis(s, &r, "EVAL", p);
		return STORE_FAILED;
	}
	redis_reply_destroy(&r);
	return STORE_OK;
}

static enum store_verdict
switch_epoch(struct redis_store *s, const char *from, const char *to,
    const char *without, const char *name, struct redis_problem *p)
{
	begin_script(s, redis_script_switch, 1);
	redis_args_text(&s->args, s->tag);
	redis_args_text(&s->args, from);
	redis_args_text(&s->args, to);
	redis_args_text(&s->args, without);
	redis_args_text(&s->args, name);
	redis_args_text(&s->args, s->run);
	return run_script(s, p);
}

enum store_verdict
redis_store_renew(struct redis_store *s, struct redis_problem *p)
{
	char fresh[ULID_CHARS + 1];

	ulid_make(&s->ids, (int64_t)s->time_ms, fresh);
	return switch_epoch(s, s->epoch, fresh, "", "", p);
}

bool
redis_store_prepare(struct redis_store *s, struct redis_problem *p)
{
	char first[ULID_CHARS + 1];
	struct redis_reply *r;

	ulid_make(&s->ids, (int64_t)s->time_ms, first);
	ulid_make(&s->ids, (int64_t)s->time_ms, s->epoch);
	begin_script(s, redis_script_prepare, 1);
	redis_args_text(&s->args, s->tag);
	redis_args_text(&s->args, s->name);
	redis_args_text(&s->args, s->epoch);
	redis_args_text(&s->args, first);
	r = redis_link_ask(s->link, &s->args, p);
	if (r == NULL)
		return false;
	if (!copy_text(r, 1, s->old_epoch, sizeof s->old_epoch))
		return store_not_redis(s, &r, "EVAL", p);
	redis_reply_destroy(&r);
	return true;
}

enum store_verdict
redis_store_switch(
    struct redis_store *s, const char *without, struct redis_problem *p)
{
	return switch_epoch(s, s->old_epoch, s->epoch,
	    without == NULL ? "" : without, s->name, p);
}

/* --- shared limits ------------------------------------------------------- */

static struct redis_reply *
forget_some(struct redis_store *s, const char *gateway, struct redis_problem *p)
{
	redis_args_clear(&s->args);
	redis_args_text(&s->args, "EVAL");
	redis_args_text(&s->args, redis_script_forget);
	redis_args_number(&s->args, 3);
	redis_key(&s->args, s->options->prefix, "", "open:", slice_of(gateway));
	redis_key(
	    &s->args, s->options->prefix, "", "workers:", slice_of(gateway));
	redis_key(&s->args, s->options->prefix, "", "leases", SLICE(""));
	redis_args_text(&s->args, s->tag);
	redis_args_text(&s->args, gateway);
	return redis_link_ask(s->link, &s->args, p);
}

enum store_verdict
redis_store_forget(struct redis_store *s, const char *gateway, uint64_t *count,
    uint64_t *alive_ms, struct redis_problem *p)
{
	uint64_t some, has_more = 1;

	*count = *alive_ms = 0;
	while (has_more != 0) {
		struct redis_reply *r = forget_some(s, gateway, p);
		struct slice word;

		if (r == NULL)
			return STORE_FAILED;
		word = redis_reply_text(r, 0);
		if (word.p != NULL && slice_is(word, "alive") &&
		    redis_reply_number(r, 1, alive_ms)) {
			redis_reply_destroy(&r);
			return STORE_MOVED;
		}
		if (!redis_reply_number(r, 1, &some) ||
		    !redis_reply_number(r, 2, &has_more)) {
			store_not_redis(s, &r, "EVAL", p);
			return STORE_FAILED;
		}
		redis_reply_destroy(&r);
		*count += some;
	}
	return STORE_OK;
}

/* --- all keys ------------------------------------------------------------ */

/* A pattern of SCAN that means these bytes and any behind them. */
static void
put_pattern(struct redis_args *to, struct slice begin)
{
	struct buf pattern = {0};

	for (size_t i = 0; i < begin.len; i++) {
		if (begin.p[i] != '\0' && strchr("*?[]\\", begin.p[i]) != NULL)
			buf_put_literal(&pattern, "\\");
		buf_put(&pattern, begin.p + i, 1);
	}
	buf_put_literal(&pattern, "*");
	redis_args_slice(
	    to, (struct slice){buf_data(&pattern), buf_len(&pattern)});
	buf_release(&pattern);
}

static void
put_scan(struct redis_store *s, const char *cursor, const char *rest)
{
	struct redis_args begin = {0};

	redis_args_clear(&s->args);
	redis_args_text(&s->args, "SCAN");
	redis_args_text(&s->args, cursor);
	redis_args_text(&s->args, "MATCH");
	if (rest == NULL)
		redis_key(&begin, s->options->prefix, "", "", SLICE(""));
	else
		redis_store_key(s, &begin, rest, SLICE(""));
	put_pattern(&s->args, redis_args_at(&begin, 0));
	redis_args_release(&begin);
	redis_args_text(&s->args, "COUNT");
	redis_args_number(&s->args, SCAN_KEYS);
}

bool
redis_store_each_key(struct redis_store *s, const char *rest,
    redis_key_fn on_key, void *arg, struct redis_problem *p)
{
	char cursor[CURSOR_CHARS + 1] = "0";

	do {
		struct redis_reply *r;
		const struct redis_reply *keys;
		bool ok = true;

		put_scan(s, cursor, rest);
		if ((r = redis_link_ask(s->link, &s->args, p)) == NULL)
			return false;
		if (!copy_text(r, 0, cursor, sizeof cursor) || r->count != 2 ||
		    r->items[1]->kind != REDIS_ARRAY)
			return store_not_redis(s, &r, "SCAN", p);
		keys = r->items[1];
		for (size_t i = 0; ok && i < keys->count; i++)
			if (redis_reply_text(keys, i).p != NULL)
				ok = on_key(arg, redis_reply_text(keys, i), p);
		redis_reply_destroy(&r);
		if (!ok)
			return false;
	} while (strcmp(cursor, "0") != 0);
	return true;
}
