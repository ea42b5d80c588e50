/*
 * exchange.h - one request of a known user to a metered route, and its answer.
 *
 * It owns all that it needs: arena, body, its place at an upstream, its
 * upstream connection while it has one.  It lives on one worker.  It ends once,
 * by exchange_end(), whatever happened, and that writes its one ledger line.
 *
 *     client.c -> receive.c -> admit.c -> route.c -> forward.c -> relay.c
 *                                  ^_________________________|   (another
 * route) every way: settle.c
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/key_table.h"
#include "base/attr.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/mem.h"
#include "metering/inflate.h"
#include "metering/ledger/ledger_line.h"
#include "metering/tap.h"
#include "proxy/body_edit.h"
#include "proxy/body_scan.h"
#include "proxy/chunked.h"
#include "proxy/ends.h"
#include "proxy/exchange_steps.h"
#include "proxy/deadline.h"
#include "proxy/estimate.h"
#include "proxy/gate/gate.h"
#include "proxy/head.h"
#include "proxy/keepalive.h"
#include "proxy/forecast.h"
#include "proxy/responses_splice.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

#define EXCHANGE_ATTEMPTS_MOST 4 /* routes tried for one request */
#define EXCHANGE_HELD_MOST_BYTES (1024 * 1024)
#define RELAY_KEPT_MOST_BYTES (256 * 1024) /* of an answer without client */

/* Of a failure: whatever a later route is for, it may follow. */
#define WHEN_ANYTHING (~0u)

/* Why an attempt did not succeed. */
struct failure {
	unsigned when;      /* enum route_when bits; 0: none yet */
	enum end end;       /* if it stays the last one */
	const char *result; /* for the ledger and x-weir-route */
	const char *text; /* "spark-ds4 refused the connection", in the arena */
};

/* Of an upstream's answer, as far as it has come. */
enum relay_state {
	RELAY_HEAD, /* the final head has not come */
	RELAY_HOLD, /* a stream without content so far: nothing given to the
		       client, another route may still be taken */
	RELAY_ERROR_BODY, /* an error answer, gathered whole: it is relayed, but
			     not with our own key in it */
	RELAY_PASS,       /* the client gets what comes */
	RELAY_DONE,
};

struct relay {
	enum relay_state state;
	struct buf head; /* of a head that has not come whole */
	size_t scanned;
	unsigned interims; /* 1xx answers seen */
	int status;
	bool keeps_alive; /* the upstream's connection after this */
	enum framing framing;
	uint64_t left;        /* FRAMING_LENGTH: of the body, to come */
	uint64_t body_length; /* FRAMING_LENGTH: when the client's head goes */
	struct chunked chunked;
	char *fields;              /* for the client, in the arena */
	struct buf held;           /* bytes the client may not see yet */
	size_t waiting_from;       /* in held: where those bytes of an open
				      event begin that may have to be cut;
				      SIZE_MAX: there are none */
	bool is_coded;             /* has a Content-Encoding */
	bool is_opaque;            /* which we cannot take off */
	bool is_tap_over;          /* it was told of the body's end */
	struct inflater *inflater; /* owned; NULL: none, or given up */
	uint64_t last_byte_ns;
	struct tap tap; /* last: what stands before it is zeroed at a reset */
};

/* Whether it may be kept for a retry, and is (kept.h). */
struct keeping {
	bool has_hash, is_kept;
	bool is_whole;    /* its answer has come to its end meanwhile */
	uint8_t hash[32]; /* of the body, as it came */
	struct link link; /* of the table's, if it is kept */
};

struct exchange {
	struct grave grave;
	struct link link;          /* of the worker's exchanges */
	struct worker *w;          /* borrowed */
	struct client *client;     /* borrowed; NULL: gone */
	struct snapshot *snapshot; /* owned reference */
	struct key_table *keys;    /* owned reference; NULL: keyless user */
	struct arena arena;
	enum step step;
	bool has_ended;

	/* Who asks what. */
	char id[ULID_CHARS + 1];
	enum server_api api;
	const struct user_config *user;  /* borrowed: snapshot */
	const struct key_record *record; /* borrowed: keys; or NULL */
	const char *client_request_id;   /* in the arena, like these; or NULL */
	const char *user_agent, *session;
	const char *query;          /* that goes on, with its '?'; or "" */
	const char *forward_fields; /* lines for the upstream */
	bool is_http11;
	int64_t arrived_ms;                       /* wall */
	uint64_t arrived_ns, sent_ns, content_ns; /* monotonic; 0: not yet */

	struct buf body;
	size_t body_len;      /* also after the body was let go */
	size_t counted_bytes; /* in gateway->body_bytes */
	struct body_facts facts;

	uint64_t patience_ms; /* that the client's library waits for a first
				 byte; 0: not said */
	uint64_t max_ttft_ms; /* that it will wait for a first token; 0 */
	bool is_batch;        /* by its own word */

	/* admit */
	const struct model_config *model; /* borrowed: snapshot */
	struct gate_subject subjects[GATE_SUBJECTS_MOST];
	size_t subject_count;
	struct account_ask ask;
	struct gate_claim claim;     /* rates, tokens and money that it holds */
	struct shared_claim *shared; /* owned; the same over all gateways, or
					NULL */
	struct gate_quotas quotas;
	uint64_t retry_ns; /* a refusal's: when it may pass; 0: not said */
	bool pays;         /* may take paid routes */

	/* route */
	size_t next_route;
	const struct route_config *candidate; /* that is being paid for */
	int64_t price_pusd;                   /* what it may cost */
	const struct route_config *route; /* the one taken; NULL: none yet */
	struct estimate estimate;         /* there, */
	struct forecast forecast;         /* likewise */
	bool is_fallback; /* it costs money, and stands in for a free one */
	const struct upstream_config *paid_refused; /* passed over, */
	const char *paid_text; /* and why, in the arena; NULL: no paid_routes */
	enum end paid_end;
	bool has_failed_free;     /* a free route has */
	struct failure failure;   /* of the last attempt */
	const char *first_result; /* why the first attempt failed; NULL */

	/* gate */
	struct gate_place place;    /* at the route's upstream, */
	bool has_place;             /* which it has, or waits for */
	uint64_t queued_from_ns;    /* it waits since then; 0: it does not */
	uint64_t queued_ns;         /* in all */
	uint64_t slot_wait_ns;      /* since when all gateways together have
				       too many of the user's; 0: they have not */
	uint32_t slots_taken;       /* how many, */
	size_t slot_subject;        /* and of which subject */
	uint64_t again_ns;          /* when to ask the gate again; 0: no */
	uint64_t queue_over_ns;     /* when it has waited long enough */
	struct deadline wait_timer; /* set up if has_wait_timer */
	bool has_wait_timer;
	uint64_t next_sign_ns; /* of life; DEADLINE_NONE: none is due */
	struct keepalive keepalive;
	struct responses_splice *splice; /* owned; what follows them */

	struct ledger_attempt attempts[LEDGER_ATTEMPTS_MOST];
	size_t attempt_count;
	unsigned routes_tried;
	bool has_damaged_usage; /* an upstream sent counts that cannot be */

	/* forward */
	struct upconn *up; /* owned while not NULL */
	struct body_pieces pieces;
	bool was_sent;         /* bytes have been given to a connection */
	bool was_retried;      /* on a fresh connection, this attempt */
	struct body_asks asks; /* put in; what comes of it is cut out */

	/* settle */
	bool is_attempt_closed;            /* of the attempt under way */
	int64_t spent_pusd, fallback_pusd; /* by attempts that are over */
	struct slot *slot; /* owned until the line is handed over; NULL: no
			      upstream was asked */
	struct link unsafe_link; /* of the worker's, while its line is not on
				    the disk and must be (ledger.fsync) */
	bool is_unsafe;
	uint64_t seq;        /* of its line */
	enum end farewell;   /* what the client is told then */
	char *farewell_text; /* in the arena */

	struct keeping kept;
	struct worker *moves_to; /* on its way to that one; NULL */
	const char *joined_by;   /* borrowed: the id of whom it was kept for */

	bool is_drained;        /* the client has gone, the answer is read on */
	uint64_t drained_by_ns; /* at most until then */

	struct relay relay;
	bool has_rest;       /* the answer's end is held back in relay.held */
	bool is_committed;   /* the client has got a head, */
	bool is_chunked_out; /* which says that chunks follow */
	bool has_passed; /* it has got some of an upstream's answer: no other
			    route can be taken */
	int status;      /* that the client got; 0: none */
	uint64_t bytes_out;
};

/* Makes an exchange on the client's connection (c->x is set). */
struct exchange *exchange_create(struct client *c, enum server_api api,
    const struct user_config *user, const struct key_record *record);

/* Runs steps until one waits or the exchange is over. */
void exchange_run(struct exchange *x);

/* The one death.  If nothing was given to the client yet it gets the error,
 * with `message` (a sentence; "" for the table's own), else an error event in
 * its dialect and a connection that breaks off.  END_OK: the answer is
 * complete. Frees at the end of the loop turn.  Always returns OVER. */
enum next exchange_end(struct exchange *x, enum end e, const char *message);

/* The answer has ended: closes the attempt, puts what was used in the place of
 * what was held, and gives back the place at the upstream; before the client
 * can know, because its next request may be quicker than we are. */
void exchange_give_back(struct exchange *x, enum end e);

/* From the client's side. */
char *exchange_body_room(struct exchange *x, size_t *room);
void exchange_body_commit(struct exchange *x, size_t len);
MUST_CHECK bool exchange_body_add(
    struct exchange *x, const char *p, size_t len);
void exchange_body_whole(struct exchange *x);
void exchange_body_broken(struct exchange *x, enum end e);
void exchange_client_gone(struct exchange *x);
void exchange_client_drained(struct exchange *x);

/* Lets the request's body go: no other route can be taken any more. */
void exchange_drop_body(struct exchange *x);

bool exchange_is_anthropic(const struct exchange *x);

/* farewell.c: what of our own making the client gets.  Fields for an answer's
 * head: ids, limits, who answered; what an end has to say, with a status if
 * nothing was given yet, else inside the stream; and the status that this will
 * be. */
void exchange_add_fields(struct exchange *x, struct buf *to);
void exchange_say_farewell(struct exchange *x, enum end e, const char *message);
int exchange_coming_status(const struct exchange *x, enum end e);

/* The steps (exchange_steps.h). */
enum next step_admit(struct exchange *x);
enum next step_route(struct exchange *x);
enum next step_gate(struct exchange *x);
enum next step_forward(struct exchange *x);

/* route.c: whether a later route is there for one of these failures (enum
 * route_when): also one that this user may not pay for, because that is then
 * what the client is told; and whether there is one that can be paid for now.
 */
bool route_is_named(const struct exchange *x, unsigned when);
bool route_may_follow(struct exchange *x, unsigned when);

/* Takes the route; or goes on without it: its price was refused, or cannot be
 * checked now. */
void route_take(struct exchange *x, const struct route_config *r);
void route_refuse_money(struct exchange *x, const struct route_config *r,
    const struct refusal *why, size_t subject);
void route_refuse_unverified(struct exchange *x, const struct route_config *r);

/* admit.c: takes rates and tokens from all subjects. */
enum next admit_take(struct exchange *x);

/* queue.c: asks the gate again after so long; the place that it has is given
 * back. */
void queue_again(struct exchange *x, uint64_t after_ns);

/* The gate has let in, or pushed out, some of this worker's. */
void queues_look(struct worker *w);

/* Time has passed for one that waits: it may be over. */
void queue_on_time(struct exchange *x, uint64_t now_ns);

/* Gives back its place, or the wait for one; `tokens` as gate_leave(). */
void queue_leave(struct exchange *x, uint64_t tokens);

/* waiting.c: while a stream waits, in the queue or for its first content, its
 * client gets signs of life.  waiting_begin() may be called again; it is over
 * with the first content. */
void waiting_begin(struct exchange *x);
void waiting_end(struct exchange *x);

/* Frees its timer. */
void waiting_release(struct exchange *x);

/* An attempt has failed before anything was given to the client: closes what it
 * has and goes back to `route`.  The text is a sentence without its end. */
enum next attempt_failed(struct exchange *x, unsigned when, enum end e,
    const char *result, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* Writes the result of the current attempt down, with its usage if it brought
 * any; its connection must still be there. */
void attempt_close(struct exchange *x, const char *result);

/* relay.c: the answer of the connection that forward opened.  relay_reset()
 * forgets the attempt before. */
void relay_reset(struct exchange *x);
void relay_begin(struct exchange *x);
void relay_release(struct relay *r);

/* Tells the tap, once, that the body is over. */
void relay_end_tap(struct exchange *x, bool was_cut);

void relay_on_data(struct exchange *x, char *p, size_t len);
void relay_on_eof(struct exchange *x);
void relay_on_broken(struct exchange *x, const char *text);
void relay_on_deadline(struct exchange *x);

/* An exchange whose end waits for its line, or all whose lines are safe by now:
 * lets the client know. */
void exchange_release(struct exchange *x);
void exchanges_release_safe(struct worker *w);

/* The client has gone; what still comes is looked at and thrown away, until
 * then at most. */
void relay_drain(struct exchange *x, uint64_t by_ns);

/* One that was kept has a client again: it gets what has come meanwhile. */
void relay_take_up(struct exchange *x);

/* The answer's last bytes, which have been held back. */
void relay_emit_rest(struct exchange *x);

/* settle.c: the ledger line; and what stands in the scoreboard before there is
 * one: right before the first byte to an upstream, as its answer comes, and
 * when the attempt has failed and another one may follow. */
uint64_t settle(struct exchange *x, enum end e);
void settle_mark_sent(struct exchange *x);
void settle_note(struct exchange *x);
void settle_mark_failed(struct exchange *x);
