#include "proxy/shared/shared_inner.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "metering/redis/redis_open.h"

#include "base/banned.h"

#define BACK_OFF_FIRST_MS 100u
#define BACK_OFF_MOST_MS 5000u
#define BACK_OFF_DOUBLINGS 6

/* A connection that broke after so long is made anew at once. */
#define STABLE_NS NS_PER_SECOND

#define BEAT_MOST_MS 1000u

/* How often a command is sent in all. */
#define TRIES_MOST 3

/* Clocks drift by less than this between two beats. */
#define DRIFT_US 1000

static const char *const scripts[] = {
#define X(name, text) [SCRIPT_##name] = text,
    SHARED_SCRIPTS(X)
#undef X
};

/* --- commands ------------------------------------------------------------ */

struct shared_command *
crew_command(
    enum shared_script script, enum purpose purpose, struct shared_claim *c)
{
	struct shared_command *cmd = xcalloc(sizeof *cmd);

	list_init(&cmd->link);
	cmd->script = script;
	cmd->purpose = purpose;
	cmd->claim = c;
	cmd->deadline_ns = clock_mono_ns() + SHARED_DEADLINE_MS * NS_PER_MS;
	if (c != NULL)
		c->under_way++;
	return cmd;
}

/* Tells its claim; the command is gone after it. */
static void
finish(struct shared_command *cmd, const struct redis_reply *r)
{
	list_remove(&cmd->link);
	if (cmd->claim != NULL)
		claim_take_reply(cmd, r);
	redis_args_release(&cmd->words);
	free(cmd);
}

static struct shared_command *
command_of(struct link *l)
{
	return (struct shared_command *)((char *)l -
	    offsetof(struct shared_command, link));
}

void
crew_give_up(struct shared *s, struct shared_command *cmd)
{
	list_remove(&cmd->link);
	list_append(&s->unknown, &cmd->link);
	event_active(s->later, EV_TIMEOUT, 0);
}

/* When the reply to the oldest command is overdue.  Of a join, which may have
 * much to say, not as long as replies come. */
static uint64_t
reply_due_ns(const struct shared *s)
{
	const struct shared_command *head = command_of(s->sent.next);
	uint64_t heard_ns = s->heard_ns + SHARED_DEADLINE_MS * NS_PER_MS;

	return head->purpose == FOR_ANSWER || head->deadline_ns > heard_ns
	    ? head->deadline_ns
	    : heard_ns;
}

static void
set_timer(struct shared *s)
{
	uint64_t now = clock_mono_ns(), at = UINT64_MAX;
	struct timeval tv;

	if (!list_is_empty(&s->sent))
		at = reply_due_ns(s);
	if (!list_is_empty(&s->waiting) &&
	    command_of(s->waiting.next)->deadline_ns < at)
		at = command_of(s->waiting.next)->deadline_ns;
	if (at == UINT64_MAX) {
		event_del(s->timer);
		return;
	}
	at = at > now ? at - now + NS_PER_MS : NS_PER_MS;
	tv = (struct timeval){(time_t)(at / NS_PER_SECOND),
	    (suseconds_t)(at % NS_PER_SECOND / 1000)};
	event_add(s->timer, &tv);
}

/* The words before those of the command itself, and it goes. */
static void
write_out(struct shared *s, struct shared_command *cmd)
{
	struct redis_args all = {0};

	if (cmd->script == SCRIPT_COUNT) {
		redis_args_append(&all, &cmd->words);
	} else {
		redis_args_text(&all, cmd->is_whole ? "EVAL" : "EVALSHA");
		redis_args_text(&all,
		    cmd->is_whole ? scripts[cmd->script] : s->sha[cmd->script]);
		words_begin(
		    &all, s, cmd->purpose == FOR_ANSWER, cmd->deadline_ns);
		redis_args_append(&all, &cmd->words);
	}
	cmd->tries++;
	list_remove(&cmd->link);
	list_append(&s->sent, &cmd->link);
	shared_link_send(s->link, &all);
	redis_args_release(&all);
}

void
crew_send(struct shared *s, struct shared_command *cmd)
{
	if (s->is_in) {
		write_out(s, cmd);
	} else if (s->is_broken || cmd->purpose != FOR_ANSWER) {
		crew_give_up(s, cmd);
		return;
	} else {
		list_append(&s->waiting, &cmd->link);
	}
	set_timer(s);
}

static struct shared_claim *
claim_of(struct link *l)
{
	return (struct shared_claim *)((char *)l -
	    offsetof(struct shared_claim, link));
}

/* --- up and down --------------------------------------------------------- */

/* Twice as long each time, and never all workers at once. */
static void
retry_later(struct shared *s)
{
	unsigned doublings =
	    s->failures > BACK_OFF_DOUBLINGS ? BACK_OFF_DOUBLINGS : s->failures;
	unsigned most = BACK_OFF_FIRST_MS << doublings, ms;
	uint32_t random = 0;
	struct timeval tv;

	s->failures++;
	if (most > BACK_OFF_MOST_MS)
		most = BACK_OFF_MOST_MS;
	if (!random_fill(&random, sizeof random, NULL))
		random = 0;
	ms = most / 2 + random % (most / 2 + 1);
	tv = (struct timeval){ms / 1000, ms % 1000 * 1000};
	event_add(s->retry, &tv);
}

/* What was under way for somebody may be sent again; the rest a new join says
 * anew. */
static void
take_back(struct shared *s)
{
	struct link *last = &s->waiting;

	LIST_EACH (&s->sent, each) {
		struct shared_command *cmd = command_of(each);

		if (cmd->purpose != FOR_ANSWER || cmd->tries >= TRIES_MOST) {
			crew_give_up(s, cmd);
			continue;
		}
		list_remove(&cmd->link);
		list_insert_after(last, &cmd->link);
		last = &cmd->link;
	}
}

static void
break_open(struct shared *s, const struct redis_problem *p)
{
	if (!s->is_broken)
		log_warning("Redis %s: %s.  Limits that gateways share are "
			    "this one's own meanwhile",
		    redis_trouble_meaning(p->trouble), p->why.text);
	s->is_broken = true;
	while (!list_is_empty(&s->waiting))
		crew_give_up(s, command_of(s->waiting.next));
	retry_later(s);
}

static void
on_down(void *arg, const struct redis_problem *p)
{
	struct shared *s = arg;
	bool was_stable = s->is_in &&
	    clock_mono_ns() - s->in_since_ns > STABLE_NS &&
	    p->trouble != REDIS_TOO_SLOW;

	s->is_in = s->is_joining = false;
	take_back(s);
	if (was_stable)
		shared_link_connect(s->link);
	else
		break_open(s, p);
	set_timer(s);
}

static void
hang_up(struct shared *s, enum redis_trouble t, const char *text)
{
	struct redis_problem p;

	redis_problem_set(&p, t, "%s", text);
	shared_link_close(s->link);
	on_down(s, &p);
}

static void
come_in(struct shared *s)
{
	s->is_joining = false;
	s->is_in = true;
	s->in_since_ns = clock_mono_ns();
	if (s->is_broken)
		log_info("limits that gateways share hold again");
	s->is_broken = false;
	while (!list_is_empty(&s->waiting))
		write_out(s, command_of(s->waiting.next));
	LIST_EACH (&s->ended, each)
		claim_tell_end(claim_of(each));
	set_timer(s);
}

/* --- joining ------------------------------------------------------------- */

static void
send_now(struct shared *s, struct shared_command *cmd)
{
	write_out(s, cmd);
	set_timer(s);
}

static void
load_scripts(struct shared *s)
{
	for (size_t i = 0; i < SCRIPT_COUNT; i++) {
		struct shared_command *cmd =
		    crew_command(SCRIPT_COUNT, FOR_CREW, NULL);

		redis_args_text(&cmd->words, "SCRIPT");
		redis_args_text(&cmd->words, "LOAD");
		redis_args_text(&cmd->words, scripts[i]);
		send_now(s, cmd);
	}
}

static void
begin_join(struct shared *s)
{
	struct shared_command *cmd = crew_command(SCRIPT_JOIN, FOR_CREW, NULL);

	s->is_in = false;
	s->is_joining = true;
	ulid_make(&s->ids, clock_wall_ms(), s->join);
	redis_args_text(&cmd->words, s->o.writer);
	redis_args_number(&cmd->words, s->o.lease_ms);
	send_now(s, cmd);
}

static void
say_alive(struct shared *s)
{
	struct shared_command *cmd = crew_command(SCRIPT_ALIVE, FOR_CREW, NULL);

	redis_args_text(&cmd->words, s->o.writer);
	redis_args_number(&cmd->words, s->o.lease_ms);
	redis_args_text(&cmd->words, shared_link_run(s->link));
	send_now(s, cmd);
}

/* We are known by the new join: what is held, and then that this was all. */
static void
say_all(struct shared *s)
{
	s->is_in = true; /* for what follows */
	LIST_EACH (&s->open, each)
		claim_put_again(claim_of(each));
	s->is_in = false;
	say_alive(s);
}

static void
on_ready(void *arg)
{
	struct shared *s = arg;

	load_scripts(s);
	begin_join(s);
}

/* --- replies ------------------------------------------------------------- */

static void
note_clock(struct shared *s, const struct redis_reply *r)
{
	int64_t ours = (int64_t)(clock_mono_ns() / 1000), offset;
	uint64_t theirs;

	if (!redis_reply_number(r, 1, &theirs) || theirs > INT64_MAX)
		return;
	/* The answer has been under way: what we reckon is never ahead of
	 * Redis, and the shortest way is the best to reckon by. */
	offset = (int64_t)theirs - ours;
	if (!s->knows_clock || offset > s->clock_us - DRIFT_US ||
	    offset < s->clock_us - SHARED_DEADLINE_MS * 1000)
		s->clock_us = offset;
	else
		s->clock_us -= DRIFT_US;
	s->knows_clock = true;
}

static void
take_alive(struct shared *s, const struct redis_reply *r)
{
	uint64_t n;

	note_clock(s, r);
	if (redis_reply_number(r, 2, &n) && n > 0)
		s->gateways = n > UINT16_MAX ? UINT16_MAX : (unsigned)n;
	if (clock_mono_ns() - s->in_since_ns > STABLE_NS && s->is_in)
		s->failures = 0;
	if (s->is_joining)
		come_in(s);
}

/* This worker is unknown there: everything is said anew, and then this. */
static void
join_again(struct shared *s, struct shared_command *cmd)
{
	if (cmd->purpose == FOR_ANSWER && cmd->tries < TRIES_MOST) {
		list_remove(&cmd->link);
		list_append(&s->waiting, &cmd->link);
	} else {
		finish(cmd, NULL);
	}
	if (!s->is_joining)
		begin_join(s);
	else if (list_is_empty(&s->sent))
		hang_up(s, REDIS_REFUSED, "what we say is forgotten at once");
}

static void
send_whole(struct shared *s, struct shared_command *cmd)
{
	cmd->is_whole = true;
	write_out(s, cmd);
}

static void
take_error(
    struct shared *s, struct shared_command *cmd, const struct redis_reply *r)
{
	enum redis_trouble t = redis_trouble_of(r->text);
	struct redis_problem p;

	if (t == REDIS_NO_SCRIPT && !cmd->is_whole &&
	    cmd->script != SCRIPT_COUNT) {
		send_whole(s, cmd);
		return;
	}
	if (cmd->script == SCRIPT_COUNT ||
	    (t == REDIS_DAMAGED && cmd->purpose != FOR_CREW)) {
		/* Who may not load sends whole; what is damaged concerns who
		 * asked. */
		finish(cmd, NULL);
		return;
	}
	redis_problem_set(&p, t, "%.200s", r->text.p);
	finish(cmd, NULL);
	shared_link_close(s->link);
	s->is_in = false;
	on_down(s, &p);
}

static void
take_own(
    struct shared *s, struct shared_command *cmd, const struct redis_reply *r)
{
	enum shared_script script = cmd->script;

	finish(cmd, r);
	if (script == SCRIPT_ALIVE) {
		take_alive(s, r);
	} else if (script == SCRIPT_JOIN) {
		note_clock(s, r);
		say_all(s);
	}
}

static void
on_reply(void *arg, struct redis_reply *r)
{
	struct shared *s = arg;
	struct shared_command *cmd;
	struct slice word;

	if (list_is_empty(&s->sent)) {
		redis_reply_destroy(&r);
		hang_up(s, REDIS_HOSTILE, "an answer to no question");
		return;
	}
	s->heard_ns = clock_mono_ns();
	cmd = command_of(s->sent.next);
	word = redis_reply_text(r, 0);
	if (r->kind == REDIS_ERROR)
		take_error(s, cmd, r);
	else if (word.p != NULL && slice_is(word, "join"))
		join_again(s, cmd);
	else if (cmd->purpose == FOR_CREW)
		take_own(s, cmd, r);
	else
		finish(cmd, r);
	redis_reply_destroy(&r);
	set_timer(s);
}

/* --- events -------------------------------------------------------------- */

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct shared *s = arg;
	uint64_t now = clock_mono_ns();

	(void)fd;
	(void)what;
	if (!list_is_empty(&s->sent) && reply_due_ns(s) <= now) {
		hang_up(s, REDIS_TOO_SLOW, "its answer took too long");
		return;
	}
	while (!list_is_empty(&s->waiting) &&
	    command_of(s->waiting.next)->deadline_ns <= now)
		crew_give_up(s, command_of(s->waiting.next));
	set_timer(s);
}

static void
on_later(evutil_socket_t fd, short what, void *arg)
{
	struct shared *s = arg;

	struct link now;

	(void)fd;
	(void)what;
	/* Those that come meanwhile are for the next turn. */
	list_init(&now);
	if (!list_is_empty(&s->unknown)) {
		list_insert_after(&s->unknown, &now);
		list_remove(&s->unknown);
	}
	while (!list_is_empty(&now))
		finish(command_of(now.next), NULL);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct shared *s = arg;

	(void)fd;
	(void)what;
	shared_link_connect(s->link);
}

/* Only who knows that all lines up to then are counted takes away what no line
 * has taken. */
static void
on_beat(evutil_socket_t fd, short what, void *arg)
{
	struct shared *s = arg;
	struct shared_command *cmd;

	(void)fd;
	(void)what;
	if (!s->is_in)
		return;
	say_alive(s);
	s->since_sweep_ms += s->beat_ms;
	if (s->o.worker != 0 || s->since_sweep_ms < s->o.sweep_ms ||
	    !s->o.has_counted(s->o.arg, s->o.sweep_ms / 2))
		return;
	s->since_sweep_ms = 0;
	cmd = crew_command(SCRIPT_SWEEP, FOR_CREW, NULL);
	redis_args_number(&cmd->words, s->o.sweep_ms);
	send_now(s, cmd);
}

/* --- its life ------------------------------------------------------------ */

static bool
hash_scripts(struct shared *s, struct fault *why)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;

	for (size_t i = 0; i < SCRIPT_COUNT; i++) {
		if (EVP_Digest(scripts[i], strlen(scripts[i]), digest, &len,
			EVP_sha1(), NULL) != 1 ||
		    len != (SHA_BYTES - 1) / 2)
			return fault_set(why, "OpenSSL gives no SHA-1");
		for (unsigned k = 0; k < len; k++)
			snprintf(s->sha[i] + 2 * k, 3, "%02x", digest[k]);
	}
	return true;
}

bool
crew_init(struct shared *s, struct fault *why)
{
	struct shared_link_calls calls = {on_ready, on_reply, on_down, s};
	unsigned ms =
	    s->o.lease_ms / 3 < BEAT_MOST_MS ? s->o.lease_ms / 3 : BEAT_MOST_MS;
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};

	s->beat_ms = ms;
	list_init(&s->waiting);
	list_init(&s->sent);
	list_init(&s->unknown);
	s->gateways = 1;
	s->timer = evtimer_new(s->base, on_timer, s);
	s->later = evtimer_new(s->base, on_later, s);
	s->retry = evtimer_new(s->base, on_retry, s);
	s->beat = event_new(s->base, -1, EV_PERSIST, on_beat, s);
	if (s->timer == NULL || s->later == NULL || s->retry == NULL ||
	    s->beat == NULL || event_add(s->beat, &tv) != 0)
		return fault_set(why, "libevent gives no timer");
	s->link = shared_link_create(s->base, &s->redis, &calls, why);
	if (s->link == NULL || !hash_scripts(s, why) ||
	    !ulid_source_init(&s->ids, why))
		return false;
	shared_link_connect(s->link);
	return true;
}

static void
drop(struct link *commands)
{
	LIST_EACH (commands, each) {
		struct shared_command *cmd = command_of(each);

		list_remove(&cmd->link);
		redis_args_release(&cmd->words);
		free(cmd);
	}
}

void
crew_release(struct shared *s)
{
	shared_link_destroy(&s->link);
	drop(&s->waiting);
	drop(&s->sent);
	drop(&s->unknown);
	if (s->timer != NULL)
		event_free(s->timer);
	if (s->later != NULL)
		event_free(s->later);
	if (s->retry != NULL)
		event_free(s->retry);
	if (s->beat != NULL)
		event_free(s->beat);
}
