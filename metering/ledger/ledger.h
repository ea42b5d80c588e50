/*
 * ledger.h - the ledger: its file, its thread, and the scoreboard that saves
 * what is not in the file yet.
 *
 * An exchange takes a slot before its request goes to an upstream, and hands
 * its finished line over in it.  The thread appends the lines whole and in the
 * order of their numbers, some dozens a write, syncs them as the policy says,
 * and frees the slots.  It looks every 20 ms while there is traffic and sleeps
 * when there is none, so that a line costs no context switch and is readable
 * within 100 ms.  What cannot be written waits in its slot, and is tried again;
 * if the gateway ends before, the next start writes it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "metering/ledger/ledger_line.h"
#include "metering/ledger/scoreboard.h"

/* How soon a line is safe from a power loss. */
enum ledger_fsync {
	LEDGER_FSYNC_EVERYSEC,
	LEDGER_FSYNC_ALWAYS, /* before its answer ends */
	LEDGER_FSYNC_NEVER,  /* when the system sees fit */
};

/* When a new file is begun; may change while it runs. */
struct ledger_rotation {
	uint64_t bytes; /* 0: at no size */
	bool is_daily;  /* in UTC */
	bool compresses;
};

struct ledger_options {
	const char *path;       /* copied, like all texts here */
	const char *scoreboard; /* path of its file */
	const char *writer;     /* this start's ULID */
	enum ledger_fsync fsync;
	struct ledger_rotation rotation;
	/* Called on the ledger's thread when ledger_safe_seq() has grown, or
	 * nothing can be written any more; may be NULL. */
	void (*on_safe)(void *arg);
	void *arg;
};

struct ledger;

/* Opens (makes, 0640) the file for appending and starts the thread.  A last
 * line that is torn is moved into a file torn-… beside it, and told; a whole
 * one that lacks its newline gets it.  What the scoreboard holds of an earlier
 * run is written first: finished lines as they are, an exchange that was under
 * way as `gateway_crashed`, with its counts so far.  NULL with the reason, also
 * if another process writes there. */
MUST_CHECK struct ledger *ledger_open(
    const struct ledger_options *options, struct fault *why);

/* A slot for an exchange that goes to an upstream: see slot_mark_sent().  NULL
 * if there is no room on the disk for it: the request must then be refused. Any
 * thread, like all that follows. */
struct slot *ledger_take_slot(struct ledger *l);

/* Takes a line, and the slot, which may be NULL if no upstream was asked; the
 * texts in the line may go afterwards.  Does no I/O.  `scratch` is overwritten.
 * Returns the line's number; or 0 if it is not kept: of refusals while nothing
 * can be written, only so many are, and the others are counted in the log. */
uint64_t ledger_add(struct ledger *l, struct slot *slot,
    const struct ledger_line *line, struct buf *scratch);

/* True once all that the scoreboard held of an earlier run stands in the file,
 * as safe as the policy makes it; *seq (always set) is then the last number of
 * this start's own lines that speak of it, 0 if none does. */
bool ledger_has_recovered(const struct ledger *l, uint64_t *seq);

/* Lines of this start up to this number are as safe as the policy makes them;
 * with LEDGER_FSYNC_NEVER, written.  A reader that passes lines on must stop
 * there: later ones may be lost in a power loss and their numbers not. */
uint64_t ledger_safe_seq(const struct ledger *l);

/* This start's ULID. */
const char *ledger_writer(const struct ledger *l);

/* False while lines cannot be written: no request may then be let in. */
bool ledger_is_writable(const struct ledger *l);

/* True if the answer's end must wait for its line (LEDGER_FSYNC_ALWAYS); not
 * while nothing can be written, since that may last. */
bool ledger_must_wait(const struct ledger *l);

void ledger_set_rotation(struct ledger *l, const struct ledger_rotation *r);

/* Asks the thread to open the path anew before its next write (the file was
 * renamed). */
void ledger_reopen(struct ledger *l);

/* Writes and syncs all that was added and ends the thread; nothing may be added
 * after it.  Gives up after three seconds on a disk that takes nothing; the
 * lines stay in the scoreboard. */
void ledger_finish(struct ledger *l);

/* Finishes it, frees *lp and sets it to NULL.  *lp may be NULL. */
void ledger_close(struct ledger **lp);
