/*
 * conn_inner.h - what the four files of a connection share.
 *
 * conn.c has its life: its events, its bytes and its end.  conn_serve.c takes
 * requests and decides what to answer; conn_work.c lets the model have its slot
 * and its time; conn_play.c sends the answer in time.
 * The phase says which of them is next; only conn_end() frees.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>

#include "answer.h"
#include "conn.h"
#include "directives.h"
#include "request.h"
#include "slots.h"
#include "stats.h"

#define CONN_KEEP_BYTES 16384 /* of a buffer that is idle */

enum phase {
	PHASE_HEAD,   /* waits for a request's head */
	PHASE_BODY,   /* ... for its body */
	PHASE_ANSWER, /* an answer is played */
	PHASE_HUNG,   /* says nothing more, until the client leaves */
};

/* How far the model is, before the first content. */
enum progress {
	WORK_NONE,
	WORK_WAITS, /* for a slot */
	WORK_READS, /* the prompt */
	WORK_READ,
};

/* Why a connection or an answer is over. */
enum ending {
	ENDING_FINISHED,
	ENDING_CLIENT_LEFT,
	ENDING_FAULT,
	ENDING_IDLE, /* between requests */
};

/* What a step of a connection's life leads to. */
enum step {
	STEP_AGAIN, /* there may be more to do at once */
	STEP_WAIT,  /* some event will go on */
	STEP_GONE,  /* the connection was freed */
};

enum sent {
	SENT_ALL,
	SENT_BLOCKED,
	SENT_BROKEN,
};

struct conn {
	struct event readable;
	struct event writable;
	struct event closed; /* the peer left, while nothing is read */
	struct event timer;
	struct worker *w; /* borrowed */
	SSL *ssl;         /* owned; NULL: plain TCP */
	struct bytes in;
	struct bytes out; /* what the socket did not take */
	size_t out_at;
	struct request rq;
	struct answer a;
	struct directives d;
	enum phase phase;
	enum next next; /* what follows when `out` is empty */
	enum route route;
	enum progress work;
	struct slot slot;
	uint64_t reading_since_us;
	uint64_t id;     /* of the request */
	uint64_t sent;   /* bytes of this answer that the kernel took */
	uint64_t due_us; /* when the next event should leave */
	uint64_t served; /* requests on this connection */
	uint64_t go;     /* control_go_count() when the answer was held */
	int fd;
	bool is_counted;   /* in the connection counters */
	bool is_in_flight; /* in the request counters */
	bool is_held;      /* waits to be told */
	bool was_status_counted;
	bool was_usage_sent;
	bool must_drop_reused;
	bool is_reading;
	bool is_alone; /* the client left, and the model works on */
};

/* The monotonic clock. */
uint64_t conn_now_us(void);

/* Sets the connection's one timer, `us` from now. */
void conn_arm(struct conn *c, int64_t us);

/* Starts or stops reading; while stopped, only the peer's close is seen. */
void conn_set_reading(struct conn *c, bool is_on);

/* Returns what the socket took, 0 if it is full, -1 if it is broken. */
ssize_t conn_transmit(struct conn *c, const char *p, size_t n);

/* Counts how the request ended, once; the connection may live on. */
void conn_end_request(struct conn *c, enum ending why);

/* The one way out: counts, closes as `act` says, frees.  STEP_GONE. */
enum step conn_end(struct conn *c, enum ending why, enum fault_act act);

/* Waits until `us` after the event before, whatever the timer's error. */
enum step conn_wait(struct conn *c, int64_t us);

/* What the model does before the first content. */
enum step conn_work(struct conn *c);

/* The work is over, or broken off. */
void conn_end_work(struct conn *c, bool is_cut);

/* The client has left.  Returns true if the model does not notice: the answer
 * is then played to its end, to nobody. */
bool conn_works_on(struct conn *c);

/* The steps of the phases. */
enum step conn_step_head(struct conn *c);
enum step conn_step_body(struct conn *c);
enum step conn_play(struct conn *c);

/* Begins to play what c->a holds. */
enum step conn_start_answer(struct conn *c);
