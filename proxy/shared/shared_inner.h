/*
 * shared_inner.h - shared limits from inside: for shared.c, which knows claims,
 * shared_words.c, which says them to Redis and reads what comes back, and
 * shared_crew.c, which knows connections, joins and who waits for what.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "base/list.h"
#include "metering/redis/redis_args.h"
#include "proxy/shared/shared.h"
#include "proxy/shared/shared_link.h"

#define RATES_MOST (3 * GATE_SUBJECTS_MOST)
#define AMOUNTS_MOST \
	(GATE_SUBJECTS_MOST * (1 + 2 * PERIOD_COUNT) + PERIOD_COUNT)
#define SHA_BYTES 41

/* name, script */
#define SHARED_SCRIPTS(X)                    \
	X(TAKE, redis_script_take)           \
	X(SETTLE, redis_script_settle)       \
	X(SLOT_TAKE, redis_script_slot_take) \
	X(SLOT_GIVE, redis_script_slot_give) \
	X(ALIVE, redis_script_alive)         \
	X(SWEEP, redis_script_sweep)         \
	X(JOIN, redis_script_join)

enum shared_script {
#define X(name, text) SCRIPT_##name,
	SHARED_SCRIPTS(X)
#undef X
	    SCRIPT_COUNT
};

/* A rate that a claim has taken from. */
struct rate {
	size_t subject;
	enum limit limit;
	char bucket; /* r, i, o; c for count_tokens */
	struct rate_limit allows;
	uint32_t cost;
};

enum amount_kind { AMOUNT_TOKENS, AMOUNT_MONEY, AMOUNT_FALLBACK };

/* What a claim holds of one subject in one period. */
struct amount {
	size_t subject; /* the claim's subject_count: everyone */
	enum amount_kind kind;
	enum period period;
	struct span span;
	int64_t most;   /* INT64_MAX: unlimited */
	int64_t amount; /* at most REDIS_COUNT_MOST */
};

struct shared_claim {
	struct link link; /* of the crew's open or ended ones */
	struct shared *s; /* borrowed */
	char id[ULID_CHARS + 1];
	char *names[GATE_SUBJECTS_MOST]; /* owned */
	struct limits limits[GATE_SUBJECTS_MOST];
	size_t subject_count;
	struct rate rates[RATES_MOST];
	size_t rate_count;
	struct amount amounts[AMOUNTS_MOST]; /* held, or perhaps held */
	size_t amount_count;
	struct amount asked[AMOUNTS_MOST]; /* of the payment under way */
	size_t asked_count;
	char *slot; /* owned; the subject whose slot it has, or asked for */
	struct shared_command *answer; /* whose answer somebody wants */
	unsigned under_way;            /* commands */
	bool may_be_there;             /* Redis may have a reservation */
	bool is_ended, has_line, is_told;
	int64_t give_back[RATES_MOST];
};

/* What a command is for, besides the script that it runs. */
enum purpose {
	FOR_ANSWER, /* somebody waits; sent again if the connection breaks */
	FOR_CLAIM,  /* of a claim; joining does it anew */
	FOR_CREW,
};

struct shared_command {
	struct link link;
	enum shared_script script; /* SCRIPT_COUNT: it only loads one */
	enum purpose purpose;
	struct shared_claim *claim; /* borrowed, or NULL */
	struct redis_args words;    /* behind the script: keys, then ARGV 6.. */
	uint64_t deadline_ns;
	bool is_whole; /* the script itself is sent, not its hash */
	bool is_free;  /* nothing is limited: answered without Redis */
	unsigned tries;
	shared_fn on_answer; /* NULL: not wanted any more */
	void *arg;
};

struct shared {
	struct event_base *base;    /* borrowed */
	struct redis_options redis; /* owned */
	struct shared_options o;    /* its texts are owned; o.redis is ours */
	char *tag;                  /* owned; "{weir}" */
	struct shared_link *link;   /* owned */
	char sha[SCRIPT_COUNT][SHA_BYTES];
	struct ulid_source ids;
	char join[ULID_CHARS + 1];
	bool is_in;      /* joined: what comes may be sent */
	bool is_joining; /* a join is under way */
	bool is_broken;  /* the breaker: answers are UNKNOWN at once */
	unsigned failures;
	uint64_t in_since_ns, heard_ns; /* the last reply */
	int64_t clock_us;               /* Redis's clock less ours, at most */
	bool knows_clock;
	unsigned beat_ms, since_sweep_ms, gateways;
	struct link waiting;     /* commands for when we are in */
	struct link sent;        /* and those whose reply must come */
	struct link unknown;     /* and those that cannot be answered */
	struct link open, ended; /* claims */
	size_t claims;
	struct event *timer; /* owned; of the oldest command */
	struct event *later; /* owned; for `unknown` */
	struct event *retry; /* owned; the next try to connect */
	struct event *beat;  /* owned */
};

/* --- shared_words.c ------------------------------------------------------ */

/* Words behind the script's first ones. */
void words_take(struct redis_args *to, const struct shared_claim *c,
    const struct amount *amounts, size_t count, bool has_rates, bool must_fit,
    const char *epoch);
void words_settle(struct redis_args *to, const struct shared_claim *c);

/* Number of keys, keys, and ARGV 1 to 5. */
void words_begin(struct redis_args *to, const struct shared *s, bool is_timed,
    uint64_t deadline_ns);

/* Reads what redis_script_take said of rates and `asked`.  False if it is none
 * of its answers. */
MUST_CHECK bool words_read(const struct shared_claim *c,
    const struct amount *asked, size_t count, const struct redis_reply *r,
    struct shared_answer *out);

/* --- shared_crew.c ------------------------------------------------------- */

/* A command whose words the caller fills in before crew_send(). */
struct shared_command *crew_command(
    enum shared_script script, enum purpose purpose, struct shared_claim *c);
void crew_send(struct shared *s, struct shared_command *cmd);

/* Answers UNKNOWN, from the loop. */
void crew_give_up(struct shared *s, struct shared_command *cmd);

MUST_CHECK bool crew_init(struct shared *s, struct fault *why);
void crew_release(struct shared *s);

/* --- shared.c ------------------------------------------------------------ */

/* The epoch that is whole on the server to which we speak. */
MUST_CHECK bool shared_whole(const struct shared *s, struct redis_whole *out);

/* A command of a claim has been answered, or never will be (r is NULL). */
void claim_take_reply(struct shared_command *cmd, const struct redis_reply *r);

/* Says again, in a new join, what the claim holds. */
void claim_put_again(struct shared_claim *c);

/* Tells Redis of its end, if nothing of it is under way; frees it when there is
 * nothing more to tell. */
void claim_tell_end(struct shared_claim *c);
