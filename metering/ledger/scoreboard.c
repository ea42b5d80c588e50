#include "metering/ledger/scoreboard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#include "base/banned.h"

#define MAGIC "weir scoreboard 1\n"
#define BOOT_ID_BYTES 40
#define FILE_MODE 0600

#define HEADER_BYTES 4096
/* Two lines and a little more.  No power of two, or the same parts of all slots
 * would compete for the same few lines of the processor's caches. */
#define SLOT_BYTES 8256
#define SLOTS_A_BLOCK 256
#define BLOCK_BYTES ((size_t)SLOT_BYTES * SLOTS_A_BLOCK)
#define BLOCKS_MOST 4096 /* a million exchanges at once */

/* The file's first page. */
struct header {
	char magic[sizeof MAGIC];
	char boot_id[BOOT_ID_BYTES];
	uint32_t slot_bytes;
	_Atomic uint64_t batch_device, batch_inode, batch_offset;
};

/* One of the two; the text is a draft or a line.  Its progress has two sides
 * itself. */
struct side {
	struct slot_rates rates;
	struct slot_progress progress[2];
	_Atomic uint32_t progress_at;
	uint32_t len;
	char text[LEDGER_LINE_MOST_BYTES];
};

/* As it stands in the file.  `mark` is an enum slot_state, and which side
 * counts. */
struct record {
	_Atomic uint32_t mark;
	struct side sides[2];
};

/* A free slot's mark is 0: its first draft goes beside the mark, so that a
 * stream touches one page or two. */
#define MARK(state, side) ((uint32_t)(state) | (uint32_t) !(side) << 8)
#define STATE_OF(mark) ((enum slot_state)((mark)&0xff))
#define SIDE_OF(mark) (!((mark) >> 8 & 1))

_Static_assert(sizeof(struct header) <= HEADER_BYTES, "a page");
_Static_assert(sizeof(struct record) <= SLOT_BYTES, "a slot");

struct slot {
	struct record *record; /* borrowed: a block's, or owned if !is_mapped */
	struct slot *next;     /* borrowed */
	bool is_mapped;
};

struct block {
	char *map;          /* owned: mapped */
	struct slot *slots; /* owned */
};

struct scoreboard {
	int fd;
	struct header *header; /* owned: mapped */
	bool is_of_this_boot;
	pthread_mutex_t lock; /* of what follows */
	struct block blocks[BLOCKS_MOST];
	size_t block_count;
	struct slot *free_slots; /* borrowed: the one used last comes first, so
				    that few pages are touched */
	uint32_t count;          /* in use */
};

/* --- the file ------------------------------------------------------------ */

static void
read_boot_id(char out[BOOT_ID_BYTES])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	memset(out, 0, BOOT_ID_BYTES);
	if (fd < 0)
		return;
	n = read(fd, out, BOOT_ID_BYTES - 1);
	if (n > 0 && out[n - 1] == '\n')
		out[n - 1] = '\0';
	close(fd);
}

static void *
map(const struct scoreboard *s, off_t at, size_t len, struct fault *why)
{
	void *p =
	    mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, at);

	if (p == MAP_FAILED) {
		fault_errno(why, "cannot map the scoreboard");
		return NULL;
	}
	return p;
}

/* Without space for every byte a store could end the process. */
static bool
allocate(const struct scoreboard *s, off_t at, size_t len, struct fault *why)
{
	int failed;

	do {
		failed = posix_fallocate(s->fd, at, (off_t)len);
	} while (failed == EINTR);
	if (failed == 0)
		return true;
	errno = failed;
	return fault_errno(why, "cannot make room for the scoreboard");
}

static off_t
block_at(size_t i)
{
	return (off_t)(HEADER_BYTES + i * BLOCK_BYTES);
}

/* The slots of the block that are free go to the free list. */
static bool
add_block(struct scoreboard *s, struct fault *why)
{
	struct block *b = &s->blocks[s->block_count];
	off_t at = block_at(s->block_count);

	if (s->block_count == BLOCKS_MOST)
		return fault_set(why, "the scoreboard is full");
	if (!allocate(s, at, BLOCK_BYTES, why) ||
	    (b->map = map(s, at, BLOCK_BYTES, why)) == NULL)
		return false;
	b->slots = xcalloc_array(SLOTS_A_BLOCK, sizeof *b->slots);
	s->block_count++;
	for (size_t i = SLOTS_A_BLOCK; i-- > 0;) {
		struct slot *slot = &b->slots[i];

		slot->is_mapped = true;
		slot->record =
		    (struct record *)(void *)(b->map + i * SLOT_BYTES);
		if (slot_state(slot) != SLOT_FREE) {
			s->count++;
			continue;
		}
		slot->next = s->free_slots;
		s->free_slots = slot;
	}
	return true;
}

/* One without any magic was being made when the process ended. */
static bool
is_ours(const struct scoreboard *s, off_t size)
{
	static const char none[sizeof MAGIC];
	char magic[sizeof MAGIC] = "";

	if (size == 0)
		return true;
	if (pread(s->fd, magic, sizeof magic, 0) < 0)
		return false;
	return memcmp(magic, none, sizeof magic) == 0 ||
	    (size >= HEADER_BYTES && memcmp(magic, MAGIC, sizeof magic) == 0);
}

/* Opens it; what is no scoreboard of this form is moved out of the way. */
static bool
open_file(
    struct scoreboard *s, const char *path, off_t *size, struct fault *why)
{
	int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;
	char *old;
	bool ok;

	s->fd = open(path, flags, FILE_MODE);
	if (s->fd < 0 || fstat(s->fd, &st) != 0)
		return fault_errno(why, "cannot open the scoreboard %s", path);
	if (!S_ISREG(st.st_mode))
		return fault_set(
		    why, "the scoreboard %s is not a regular file", path);
	*size = st.st_size;
	if (is_ours(s, st.st_size))
		return true;
	old = xasprintf("%s.old", path);
	log_error(
	    "%s is no scoreboard of this version; it is kept as %s", path, old);
	close(s->fd);
	ok = rename(path, old) == 0;
	free(old);
	s->fd = ok ? open(path, flags | O_EXCL, FILE_MODE) : -1;
	*size = 0;
	return s->fd >= 0 ||
	    fault_errno(why, "cannot make the scoreboard %s", path);
}

/* The magic goes in last.  Where no boot has a name none is this one. */
static bool
open_header(struct scoreboard *s, off_t size, struct fault *why)
{
	char boot_id[BOOT_ID_BYTES];

	if ((size < HEADER_BYTES && !allocate(s, 0, HEADER_BYTES, why)) ||
	    (s->header = map(s, 0, HEADER_BYTES, why)) == NULL)
		return false;
	read_boot_id(boot_id);
	s->is_of_this_boot = size == 0 ||
	    (boot_id[0] != '\0' &&
		memcmp(boot_id, s->header->boot_id, sizeof boot_id) == 0);
	if (s->header->magic[0] == '\0') {
		memcpy(s->header->boot_id, boot_id, sizeof boot_id);
		s->header->slot_bytes = SLOT_BYTES;
		atomic_signal_fence(memory_order_release);
		memcpy(s->header->magic, MAGIC, sizeof MAGIC);
	}
	return true;
}

struct scoreboard *
scoreboard_open(const char *path, struct fault *why)
{
	struct scoreboard *s = xcalloc(sizeof *s);
	off_t size = 0;

	pthread_mutex_init(&s->lock, NULL);
	s->fd = -1;
	if (!open_file(s, path, &size, why) || !open_header(s, size, why))
		goto failed;
	/* What follows the last whole block is of growth that failed. */
	do {
		if (!add_block(s, why))
			goto failed;
	} while (block_at(s->block_count + 1) <= size);
	return s;
failed:
	scoreboard_close(&s);
	return NULL;
}

bool
scoreboard_is_of_this_boot(const struct scoreboard *s)
{
	return s->is_of_this_boot;
}

void
scoreboard_trust(struct scoreboard *s)
{
	read_boot_id(s->header->boot_id);
	s->is_of_this_boot = true;
}

void
scoreboard_each(struct scoreboard *s,
    void (*on_slot)(void *arg, struct slot *slot), void *arg)
{
	for (size_t b = 0; b < s->block_count; b++)
		for (size_t i = 0; i < SLOTS_A_BLOCK; i++)
			if (slot_state(&s->blocks[b].slots[i]) != SLOT_FREE)
				on_slot(arg, &s->blocks[b].slots[i]);
}

/* One that a kill takes with it. */
static struct slot *
take_from_memory(void)
{
	struct slot *slot = xcalloc(sizeof *slot);

	slot->record = xcalloc(sizeof *slot->record);
	return slot;
}

struct slot *
scoreboard_take(struct scoreboard *s, bool must_survive)
{
	struct slot *slot;
	struct fault why;

	pthread_mutex_lock(&s->lock);
	if (s->free_slots == NULL && !add_block(s, &why))
		slot = must_survive ? NULL : take_from_memory();
	else {
		slot = s->free_slots;
		s->free_slots = slot->next;
	}
	s->count += slot != NULL;
	pthread_mutex_unlock(&s->lock);
	if (slot != NULL)
		slot->next = NULL;
	return slot;
}

void
scoreboard_give(struct scoreboard *s, struct slot *slot)
{
	atomic_store_explicit(
	    &slot->record->mark, SLOT_FREE, memory_order_release);
	pthread_mutex_lock(&s->lock);
	s->count--;
	if (slot->is_mapped) {
		slot->next = s->free_slots;
		s->free_slots = slot;
	}
	pthread_mutex_unlock(&s->lock);
	scoreboard_leave(slot);
}

void
scoreboard_leave(struct slot *slot)
{
	if (slot->is_mapped)
		return;
	free(slot->record);
	free(slot);
}

uint32_t
scoreboard_count(struct scoreboard *s)
{
	uint32_t n;

	pthread_mutex_lock(&s->lock);
	n = s->count;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* A kill between the stores leaves an offset that is too small, which only
 * means more to read. */
void
scoreboard_note_batch(
    struct scoreboard *s, dev_t device, ino_t inode, uint64_t offset)
{
	struct header *h = s->header;

	if (h->batch_inode != inode || h->batch_device != device) {
		atomic_store(&h->batch_offset, 0);
		atomic_store(&h->batch_device, device);
		atomic_store(&h->batch_inode, inode);
	}
	atomic_store(&h->batch_offset, offset);
}

void
scoreboard_batch(
    const struct scoreboard *s, dev_t *device, ino_t *inode, uint64_t *offset)
{
	*device = s->header->batch_device;
	*inode = s->header->batch_inode;
	*offset = s->header->batch_offset;
}

void
scoreboard_close(struct scoreboard **sp)
{
	struct scoreboard *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	for (size_t i = 0; i < s->block_count; i++) {
		munmap(s->blocks[i].map, BLOCK_BYTES);
		free(s->blocks[i].slots);
	}
	if (s->header != NULL)
		munmap(s->header, HEADER_BYTES);
	if (s->fd >= 0)
		close(s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* --- one slot ------------------------------------------------------------ */

static uint32_t
mark_of(const struct slot *slot)
{
	return atomic_load_explicit(&slot->record->mark, memory_order_acquire);
}

static struct side *
side_in_force(const struct slot *slot)
{
	return &slot->record->sides[SIDE_OF(mark_of(slot))];
}

static struct side *
other_side(const struct slot *slot)
{
	return &slot->record->sides[!SIDE_OF(mark_of(slot))];
}

/* From here on the other side counts. */
static void
turn(struct slot *slot, enum slot_state state)
{
	unsigned side = !SIDE_OF(mark_of(slot));

	atomic_store_explicit(
	    &slot->record->mark, MARK(state, side), memory_order_release);
}

static void
put_line(struct side *to, const struct ledger_line *line, struct buf *scratch)
{
	buf_clear(scratch);
	ledger_line_write(scratch, line);
	to->len = (uint32_t)buf_len(scratch);
	memcpy(to->text, buf_data(scratch), to->len);
}

enum slot_state
slot_state(const struct slot *slot)
{
	return STATE_OF(mark_of(slot));
}

void
slot_mark_sent(struct slot *slot, const struct ledger_line *draft,
    const struct slot_rates *rates, struct buf *scratch)
{
	struct side *to = other_side(slot);

	put_line(to, draft, scratch);
	to->rates = *rates;
	to->progress_at = 0;
	to->progress[0] = (struct slot_progress){
	    .usage = USAGE_UNKNOWN,
	    .source = USAGE_NONE,
	    .elapsed_ms = draft->duration_ms,
	};
	turn(slot, SLOT_SENT);
}

void
slot_note(struct slot *slot, const struct slot_progress *p)
{
	struct side *side = side_in_force(slot);
	uint32_t other = !side->progress_at;

	side->progress[other] = *p;
	atomic_store_explicit(&side->progress_at, other, memory_order_release);
}

void
slot_prepare(
    struct slot *slot, const struct ledger_line *line, struct buf *scratch)
{
	put_line(other_side(slot), line, scratch);
}

void
slot_finish(struct slot *slot, const char *writer, uint64_t seq)
{
	struct side *to = other_side(slot);
	/* A line and its end always have room: see ledger_line_write(). */
	struct buf end = {
	    .base = to->text, .end = to->len, .room = sizeof to->text};

	ledger_line_finish(&end, writer, seq);
	assert(end.base == to->text);
	to->len = (uint32_t)end.end;
	turn(slot, SLOT_DONE);
}

struct slice
slot_text(const struct slot *slot)
{
	const struct side *from = side_in_force(slot);

	return (struct slice){
	    from->text, from->len <= sizeof from->text ? from->len : 0};
}

void
slot_read(const struct slot *slot, struct slot_progress *progress,
    struct slot_rates *rates)
{
	const struct side *side = side_in_force(slot);

	*progress = side->progress[side->progress_at & 1];
	/* A disk that lies may have put anything there. */
	if (progress->source > USAGE_UPSTREAM)
		progress->source = USAGE_NONE;
	*rates = side->rates;
}

struct slot *
slot_next(const struct slot *slot)
{
	return slot->next;
}

void
slot_link(struct slot *slot, struct slot *next)
{
	slot->next = next;
}
