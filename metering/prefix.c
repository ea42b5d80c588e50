#include "metering/prefix.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/list.h"
#include "base/mem.h"

#include "base/banned.h"

#define BLOCK_WORDS (PREFIX_BLOCK_BYTES / 8)
#define OWNER_SLOTS 1024 /* a power of two */

/* Random, and of this process: nobody can make two prompts look alike. */
struct keys {
	uint64_t words[BLOCK_WORDS];
	uint64_t low, high, chain;
};

struct prompt {
	struct link link;    /* in prefixes.prompts */
	struct owner *owner; /* borrowed */
	size_t count;
	uint64_t blocks[];
};

/* Whose prompts they are. */
struct owner {
	struct owner *next; /* owned; in the same slot */
	uint64_t hash;
	char *user, *upstream; /* owned */
	size_t bytes;          /* that it takes itself */
	size_t count;
	struct prompt *prompts[PREFIX_PROMPTS_MOST]; /* owned; the one that was
							of use last is first */
};

struct prefixes {
	struct keys keys;
	size_t most_bytes;
	pthread_mutex_t mutex; /* of what follows */
	size_t bytes;
	struct owner *owners[OWNER_SLOTS]; /* owned */
	struct link prompts; /* all; the one that was of use last is first */
};

/* --- the hash ------------------------------------------------------------ */

/* The two halves of a product of 128 bits, as one. */
static inline uint64_t
fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* NH, the universal hash of UMAC: pairs of words, each with a key of its own
 * added, are multiplied and summed up.  Two blocks that differ agree with a
 * chance of 2^-64; and it takes one multiplication for 16 bytes. */
static unsigned __int128
hash_block(const uint64_t keys[BLOCK_WORDS], const char *block)
{
	unsigned __int128 sum = 0;

	for (size_t i = 0; i < BLOCK_WORDS; i += 2) {
		uint64_t pair[2];

		memcpy(pair, block + 8 * i, sizeof pair);
		sum += (unsigned __int128)(pair[0] + keys[i]) *
		    (pair[1] + keys[i + 1]);
	}
	return sum;
}

/* A hash of a block and of all before it. */
static uint64_t
chain(const struct keys *k, uint64_t before, const char *block)
{
	unsigned __int128 sum = hash_block(k->words, block);

	return fold(before ^
		fold((uint64_t)sum ^ k->low, (uint64_t)(sum >> 64) ^ k->high),
	    k->chain);
}

/* Blocks that lie in two parts are put together here. */
struct reading {
	const struct keys *keys;
	struct prefix_mark *mark;
	size_t room; /* blocks */
	size_t held;
	char block[PREFIX_BLOCK_BYTES];
};

static void
take_block(struct reading *r, const char *block)
{
	struct prefix_mark *m = r->mark;
	uint64_t before = m->count == 0 ? 0 : m->blocks[m->count - 1];

	m->blocks[m->count++] = chain(r->keys, before, block);
}

static void
take_part(struct reading *r, struct slice part)
{
	if (r->held > 0) {
		size_t more = PREFIX_BLOCK_BYTES - r->held;

		if (more > part.len)
			more = part.len;
		if (more > 0)
			memcpy(r->block + r->held, part.p, more);
		r->held += more;
		part.p += more;
		part.len -= more;
		if (r->held < PREFIX_BLOCK_BYTES)
			return;
		take_block(r, r->block);
		r->held = 0;
	}
	for (; part.len >= PREFIX_BLOCK_BYTES && r->mark->count < r->room;
	     part.len -= PREFIX_BLOCK_BYTES) {
		take_block(r, part.p);
		part.p += PREFIX_BLOCK_BYTES;
	}
	if (part.len == 0 || r->mark->count == r->room)
		return;
	memcpy(r->block, part.p, part.len);
	r->held = part.len;
}

void
prefix_read(const struct prefixes *p, const struct slice *parts, size_t count,
    struct prefix_mark *m)
{
	struct reading r = {.keys = &p->keys, .mark = m};

	*m = (struct prefix_mark){0};
	for (size_t i = 0; i < count; i++)
		m->bytes += parts[i].len;
	r.room = m->bytes / PREFIX_BLOCK_BYTES < PREFIX_BLOCKS_MOST
	    ? m->bytes / PREFIX_BLOCK_BYTES
	    : PREFIX_BLOCKS_MOST;
	if (r.room == 0)
		return;
	m->blocks = xcalloc_array(r.room, sizeof *m->blocks);
	for (size_t i = 0; i < count && m->count < r.room; i++)
		take_part(&r, parts[i]);
}

void
prefix_mark_release(struct prefix_mark *m)
{
	free(m->blocks);
	*m = (struct prefix_mark){0};
}

/* --- owners and their prompts -------------------------------------------- */

static uint64_t
hash_names(const char *user, const char *upstream)
{
	return fold(
	    text_hash(user, strlen(user)) ^ UINT64_C(0x9e3779b97f4a7c15),
	    text_hash(upstream, strlen(upstream)));
}

/* Where it stands, or would. */
static struct owner **
find_owner(struct prefixes *p, const char *user, const char *upstream)
{
	uint64_t hash = hash_names(user, upstream);
	struct owner **at = &p->owners[hash % OWNER_SLOTS];

	while (*at != NULL &&
	    ((*at)->hash != hash || strcmp((*at)->user, user) != 0 ||
		strcmp((*at)->upstream, upstream) != 0))
		at = &(*at)->next;
	return at;
}

static struct owner *
add_owner(struct prefixes *p, const char *user, const char *upstream)
{
	struct owner **at = find_owner(p, user, upstream);

	if (*at != NULL)
		return *at;
	*at = xcalloc(sizeof **at);
	(*at)->hash = hash_names(user, upstream);
	(*at)->user = xstrdup(user);
	(*at)->upstream = xstrdup(upstream);
	(*at)->bytes = sizeof **at + strlen(user) + strlen(upstream) + 2;
	p->bytes += (*at)->bytes;
	return *at;
}

static void
remove_owner(struct prefixes *p, struct owner *o)
{
	*find_owner(p, o->user, o->upstream) = o->next;
	p->bytes -= o->bytes;
	free(o->user);
	free(o->upstream);
	free(o);
}

static size_t
prompt_bytes(size_t blocks)
{
	return sizeof(struct prompt) + blocks * sizeof(uint64_t);
}

static size_t
place_of(const struct owner *o, const struct prompt *prompt)
{
	size_t i = 0;

	while (o->prompts[i] != prompt)
		i++;
	return i;
}

/* Its owner stays, even without any. */
static void
remove_prompt(struct prefixes *p, struct prompt *prompt)
{
	struct owner *o = prompt->owner;
	size_t at = place_of(o, prompt);

	o->count--;
	memmove(&o->prompts[at], &o->prompts[at + 1],
	    (o->count - at) * sizeof(struct prompt *));
	list_remove(&prompt->link);
	p->bytes -= prompt_bytes(prompt->count);
	free(prompt);
}

/* It was of use. */
static void
move_to_front(struct prefixes *p, struct prompt *prompt)
{
	struct owner *o = prompt->owner;

	memmove(&o->prompts[1], &o->prompts[0],
	    place_of(o, prompt) * sizeof(struct prompt *));
	o->prompts[0] = prompt;
	list_remove(&prompt->link);
	list_push(&p->prompts, &prompt->link);
}

/* Blocks that both begin with: where one agrees, so do all before it. */
static size_t
common_blocks(const struct prompt *a, const struct prefix_mark *b)
{
	size_t low = 0, high = a->count < b->count ? a->count : b->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->blocks[middle] == b->blocks[middle])
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t
prefix_look(struct prefixes *p, const char *user, const char *upstream,
    const struct prefix_mark *m)
{
	struct prompt *best = NULL;
	struct owner *o;
	size_t most = 0;

	if (m->count == 0)
		return 0;
	pthread_mutex_lock(&p->mutex);
	o = *find_owner(p, user, upstream);
	for (size_t i = 0; o != NULL && i < o->count; i++) {
		size_t common = common_blocks(o->prompts[i], m);

		if (common > most) {
			most = common;
			best = o->prompts[i];
		}
	}
	if (best != NULL)
		move_to_front(p, best);
	pthread_mutex_unlock(&p->mutex);
	return most * PREFIX_BLOCK_BYTES;
}

/* Removes those that it begins with.  True if one that is there begins with
 * it, and so says all that it would. */
static bool
is_covered(struct prefixes *p, struct owner *o, const struct prefix_mark *m)
{
	for (size_t i = o->count; i-- > 0;) {
		struct prompt *each = o->prompts[i];
		size_t common = common_blocks(each, m);

		if (common == m->count) {
			move_to_front(p, each);
			return true;
		}
		if (common == each->count)
			remove_prompt(p, each);
	}
	return false;
}

static void
add_prompt(struct prefixes *p, struct owner *o, const struct prefix_mark *m)
{
	struct prompt *new;

	if (o->count == PREFIX_PROMPTS_MOST)
		remove_prompt(p, o->prompts[o->count - 1]);
	new = xcalloc(prompt_bytes(m->count));
	new->owner = o;
	new->count = m->count;
	memcpy(new->blocks, m->blocks, m->count * sizeof *new->blocks);
	memmove(
	    &o->prompts[1], &o->prompts[0], o->count * sizeof(struct prompt *));
	o->prompts[0] = new;
	o->count++;
	list_push(&p->prompts, &new->link);
	p->bytes += prompt_bytes(m->count);
}

/* Until what is there fits. */
static void
forget_oldest(struct prefixes *p)
{
	while (p->bytes > p->most_bytes && !list_is_empty(&p->prompts)) {
		struct prompt *oldest =
		    CONTAINER_OF(p->prompts.prev, struct prompt, link);
		struct owner *o = oldest->owner;

		remove_prompt(p, oldest);
		if (o->count == 0)
			remove_owner(p, o);
	}
}

void
prefix_remember(struct prefixes *p, const char *user, const char *upstream,
    const struct prefix_mark *m)
{
	struct owner *o;

	if (m->count == 0)
		return;
	pthread_mutex_lock(&p->mutex);
	o = add_owner(p, user, upstream);
	if (!is_covered(p, o, m))
		add_prompt(p, o, m);
	forget_oldest(p);
	pthread_mutex_unlock(&p->mutex);
}

/* --- life ---------------------------------------------------------------- */

struct prefixes *
prefixes_create(size_t most_bytes, struct fault *why)
{
	struct prefixes *p = xcalloc(sizeof *p);

	if (!random_fill(&p->keys, sizeof p->keys, why)) {
		free(p);
		return NULL;
	}
	p->keys.chain |= 1;
	p->most_bytes = most_bytes;
	pthread_mutex_init(&p->mutex, NULL);
	list_init(&p->prompts);
	return p;
}

size_t
prefixes_bytes(struct prefixes *p)
{
	size_t bytes;

	pthread_mutex_lock(&p->mutex);
	bytes = p->bytes;
	pthread_mutex_unlock(&p->mutex);
	return bytes;
}

void
prefixes_destroy(struct prefixes **pp)
{
	struct prefixes *p = *pp;

	if (p == NULL)
		return;
	p->most_bytes = 0;
	forget_oldest(p);
	pthread_mutex_destroy(&p->mutex);
	free(p);
	*pp = NULL;
}
