/*
 * worker.h - one thread with a loop of its own: everything that begins on a
 * worker ends on it.
 *
 * No libevent call crosses threads.  Others speak to a worker through its
 * mailbox: a new snapshot, a new key table, "drain", "cut".
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "auth/key_table.h"
#include "base/attr.h"
#include "base/fault.h"
#include "base/id.h"
#include "base/list.h"
#include "metering/ledger/ledger.h"
#include "proxy/gate/gate.h"
#include "proxy/grave.h"
#include "proxy/head.h"
#include "proxy/snapshot.h"

#define SCRATCH_BYTES (128 * 1024)

struct kept_table;
struct learned;
struct pool;
struct prefixes;
struct redis_follower;
struct resolver;
struct response_ids;
struct shared;
struct rollup_keeper;
struct throttle;
struct listener;
struct listen_address;

/* What all workers share.  Written before they start, but for the atomics. */
struct gateway {
	struct gate *gate; /* owned by the server, like the others */
	struct ledger *ledger;
	struct learned *learned;
	struct prefixes *prefixes;
	struct kept_table *kept;
	struct response_ids *response_ids;
	struct throttle *throttle; /* of wrong keys */
	struct rollup_keeper *rollups;
	struct redis_follower *redis; /* NULL: there is none */
	char *name;                   /* of this gateway, in Redis */
	int64_t unverified_pusd; /* atomic: spent while Redis did not say */
	struct resolver *resolver;
	struct worker **workers;  /* owned by the server */
	uint32_t worker_count;    /* atomic: of those that run */
	uint32_t max_connections; /* of clients, over all workers */
	uint32_t connections;     /* atomic */
	uint32_t busy;            /* atomic: of those, with a request under
				     way or an answer not yet sent */
	uint32_t drains;          /* atomic: answers that are read on after
				     their client has gone */
	uint64_t body_bytes;      /* atomic: request bodies held in memory */
	bool is_admin;            /* this is the admin socket's own */
	bool is_ready;            /* atomic */
	bool is_draining;         /* atomic */
};

/* What is put into a worker's mailbox. */
enum mail {
	MAIL_DRAIN = 1 << 0,
	MAIL_CUT = 1 << 1,
	MAIL_STOP = 1 << 2,
	MAIL_ROOM = 1 << 3,     /* too many connections: those that wait go */
	MAIL_SAFE = 1 << 4,     /* lines of the ledger are on the disk */
	MAIL_ARRIVALS = 1 << 6, /* exchanges have come from another worker */
	MAIL_GATE = 1 << 5,     /* who waited has been let in, or pushed out */
};

struct worker {
	struct gateway *gateway; /* borrowed */
	struct event_base *base; /* owned, like all that follows */
	pthread_t thread;
	unsigned index;

	struct snapshot *snapshot;
	struct key_table *keys;
	struct key_hasher *hasher;
	uint64_t keys_generation; /* counts the tables: see client.h */
	struct ulid_source ids;

	struct pool *pools;         /* by upstream index of `snapshot` */
	struct listener *listeners; /* an array */
	size_t listener_count;
	struct link clients;     /* connections with a request under way */
	struct link waiting;     /* connections without one, longest first */
	struct link exchanges;   /* under way */
	struct link unsafe;      /* of those, over but for their line */
	struct shared *shared;   /* NULL: limits are local */
	int64_t unverified_pusd; /* of the gateway's, by its own exchanges */
	struct gate_bell bell;   /* of those that wait at the gate */
	struct link leaving;     /* those that go to another worker */
	struct event mover;
	struct link graveyard;
	struct event reaper;

	pthread_mutex_t mail_mutex;
	unsigned mail; /* enum mail */
	struct snapshot *mail_snapshot;
	struct key_table *mail_keys;
	struct link arrivals; /* exchanges that have come */
	int mail_fd;          /* eventfd */
	struct event mail_event;
	bool is_draining;
	time_t date_second; /* what `date` was made for */
	char date[32];

	struct buf line;             /* for text that is made and copied */
	struct head head;            /* of the request or answer being read */
	char scratch[SCRATCH_BYTES]; /* what was just received */
};

/* Makes a worker with its loop, mailbox and listeners (proxy/listener.h), which
 * do not accept before the thread runs.  Takes references of its own.  NULL
 * with the reason. */
MUST_CHECK struct worker *worker_create(struct gateway *g, unsigned index,
    struct snapshot *snapshot, struct key_table *keys,
    const struct listen_address *listen, size_t listen_count,
    struct fault *why);

MUST_CHECK bool worker_start(struct worker *w, struct fault *why);

/* Any thread.  `snapshot` and `keys` may be NULL: unchanged; otherwise the
 * worker gets a reference of its own. */
void worker_post(struct worker *w, unsigned mail, struct snapshot *snapshot,
    struct key_table *keys);

/* Waits for the thread to end, after MAIL_STOP. */
void worker_join(struct worker *w);

/* Frees it; when all have been joined, because they post to each other. */
void worker_destroy(struct worker **wp);

/* On the worker's thread: frees `g` at the end of this loop turn. */
void worker_bury(struct worker *w, struct grave *g);

/* The time as a Date field has it (RFC 9110 5.6.7), made once a second. */
const char *worker_date(struct worker *w);
