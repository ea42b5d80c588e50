/*
 * scoreboard.h - every exchange in flight, in a file that is mapped into
 * memory, so that kill -9 loses and doubles nothing.
 *
 * An exchange has a slot.  Right before the first byte goes to an upstream the
 * slot is marked SENT, with the line that the ledger gets if the gateway dies
 * now; while the answer comes its counts are kept up to date; when it is over
 * the slot holds its whole line, DONE, with its number, and is freed only after
 * the ledger has it.  Writing there is writing to memory: no system call.
 *
 * A slot has two sides.  What is new is always written to the side that does
 * not count, and one store then makes it count: a kill finds the old or the
 * new, never half of one.  The file is allocated, not sparse: on a full disk
 * growing it fails, instead of a store that ends the process.
 *
 * A power loss is another matter: the kernel writes the pages when it likes, so
 * that after another boot a slot may be older than the ledger.  Whoever
 * recovers must then look for its line in all of the ledger.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/ledger/ledger_line.h"
#include "metering/price.h"

enum slot_state {
	SLOT_FREE,
	SLOT_SENT, /* an upstream may have got the request */
	SLOT_DONE, /* holds a whole ledger line */
};

/* What an attempt under way has come to; counts of -1 are not known. */
struct slot_progress {
	struct usage usage;
	enum usage_source source; /* of `usage` */
	uint64_t uncounted_bytes; /* of text that `usage` does not count */
	int64_t elapsed_ms;       /* since the request arrived */
};

/* What is needed to charge for it if nobody is left to do it. */
struct slot_rates {
	bool is_over;    /* the attempt has failed, and stands in the draft */
	bool is_counted; /* a count that was not said is estimated */
	bool has_price;
	bool is_fallback;   /* a paid route, taken because a free one failed */
	struct price price; /* of the upstream if that is paid, else of
			       what it is compared with */
	int64_t input_estimate; /* tokens */
	int64_t tokens_a_mb;    /* of answer text, in 10^6 bytes */
};

struct slot; /* a list of slots is made with slot_link() */
struct scoreboard;

/* Maps the file at `path`, or makes it (0600).  What it holds is left as it is:
 * see scoreboard_each().  A file that is none is moved to `path`.old, and told.
 * NULL with the reason.  The caller owns it. */
MUST_CHECK struct scoreboard *scoreboard_open(
    const char *path, struct fault *why);

/* True if the file was written under this boot of the machine, or is new. */
bool scoreboard_is_of_this_boot(const struct scoreboard *s);

/* From now on it is. */
void scoreboard_trust(struct scoreboard *s);

/* Calls for each slot that is not free, in no order. */
void scoreboard_each(struct scoreboard *s,
    void (*on_slot)(void *arg, struct slot *slot), void *arg);

/* A free slot; it grows the file when there is none.  If that fails and
 * `must_survive` is false, one that lives in memory alone; else NULL.  Any
 * thread. */
struct slot *scoreboard_take(struct scoreboard *s, bool must_survive);

/* Marks it free and takes it back.  Any thread. */
void scoreboard_give(struct scoreboard *s, struct slot *slot);

/* Leaves it in the file as it is; for who goes away.  What lives in memory
 * alone is gone. */
void scoreboard_leave(struct slot *slot);

/* Slots in use. */
uint32_t scoreboard_count(struct scoreboard *s);

/* Where the ledger's next write begins: what stands before it needs not be
 * looked through for lines whose slots are not free yet. */
void scoreboard_note_batch(
    struct scoreboard *s, dev_t device, ino_t inode, uint64_t offset);
void scoreboard_batch(
    const struct scoreboard *s, dev_t *device, ino_t *inode, uint64_t *offset);

/* Unmaps it, frees *sp and sets it to NULL; what is not free stays in the file.
 * *sp may be NULL. */
void scoreboard_close(struct scoreboard **sp);

/* --- one slot; its holder alone calls these ------------------------------ */

enum slot_state slot_state(const struct slot *slot);

/* Marks it SENT (again, for a further attempt), with `draft`, the line as it
 * would be if nothing more came.  `scratch` is overwritten. */
void slot_mark_sent(struct slot *slot, const struct ledger_line *draft,
    const struct slot_rates *rates, struct buf *scratch);

/* Of the attempt that was marked.  A few stores. */
void slot_note(struct slot *slot, const struct slot_progress *p);

/* Puts the whole line (of ledger_line_write, without its end) on the side that
 * does not count yet; slot_finish() adds writer and number and marks it DONE.
 * Two steps, so that only the second is under a lock. */
void slot_prepare(
    struct slot *slot, const struct ledger_line *line, struct buf *scratch);
void slot_finish(struct slot *slot, const char *writer, uint64_t seq);

/* The text of what it holds: of a SENT slot the draft without its end, of a
 * DONE one the line with its newline.  Lives as long as the slot's state. */
struct slice slot_text(const struct slot *slot);

void slot_read(const struct slot *slot, struct slot_progress *progress,
    struct slot_rates *rates);

/* Lists of slots. */
struct slot *slot_next(const struct slot *slot);
void slot_link(struct slot *slot, struct slot *next);
