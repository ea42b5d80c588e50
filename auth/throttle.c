#include "auth/throttle.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "auth/limiter.h"
#include "base/id.h"
#include "base/list.h"
#include "base/mem.h"

#include "base/banned.h"

#define IPV6_NETWORK_BYTES 8 /* a /64 is one household */

struct entry {
	struct link age;      /* in throttle.seen */
	struct entry *next;   /* in its bucket */
	struct address whose; /* an IPv6 one without its host part */
	struct limiter wrong;
};

struct throttle {
	pthread_mutex_t mutex; /* for the entries */
	struct rate_limit limit;
	uint64_t seeds[2];      /* so that nobody can aim at one bucket */
	struct entry *entries;  /* owned */
	struct entry **buckets; /* owned */
	uint32_t capacity, used;
	uint32_t bucket_mask;
	struct link seen; /* the most recent first */
};

struct throttle *
throttle_create(uint32_t capacity, uint32_t per_minute)
{
	struct throttle *t = xcalloc(sizeof *t);
	uint32_t buckets = 1;

	pthread_mutex_init(&t->mutex, NULL);
	assert(capacity > 0 && capacity <= UINT32_C(1) << 24);
	while (buckets < capacity)
		buckets *= 2;
	/* Without randomness it still bounds, only not against collisions. */
	if (!random_fill(t->seeds, sizeof t->seeds, NULL))
		t->seeds[0] = t->seeds[1] = UINT64_C(0x9e3779b97f4a7c15);
	t->limit = (struct rate_limit){per_minute, per_minute};
	t->capacity = capacity;
	t->bucket_mask = buckets - 1;
	t->entries = xcalloc_array(capacity, sizeof *t->entries);
	t->buckets = xcalloc_array(buckets, sizeof *t->buckets);
	list_init(&t->seen);
	return t;
}

void
throttle_destroy(struct throttle **tp)
{
	struct throttle *t = *tp;

	if (t == NULL)
		return;
	pthread_mutex_destroy(&t->mutex);
	free(t->entries);
	free(t->buckets);
	free(t);
	*tp = NULL;
}

static struct address
network_of(const struct address *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct address network = *a;

	if (memcmp(a->bytes, mapped, sizeof mapped) != 0)
		memset(network.bytes + IPV6_NETWORK_BYTES, 0,
		    sizeof network.bytes - IPV6_NETWORK_BYTES);
	return network;
}

/* Both halves, each with a secret, multiplied to 128 bits and folded. */
static struct entry **
bucket_of(struct throttle *t, const struct address *a)
{
	unsigned __int128 product;
	uint64_t high, low;

	memcpy(&high, a->bytes, 8);
	memcpy(&low, a->bytes + 8, 8);
	product = (unsigned __int128)(high ^ t->seeds[0]) * (low ^ t->seeds[1]);
	low = (uint64_t)product ^ (uint64_t)(product >> 64);
	return &t->buckets[(low ^ low >> 32) & t->bucket_mask];
}

static struct entry *
find(struct throttle *t, const struct address *a)
{
	struct entry *e = *bucket_of(t, a);

	while (e != NULL && !address_equal(&e->whose, a))
		e = e->next;
	return e;
}

static void
forget(struct throttle *t, struct entry *e)
{
	struct entry **at = bucket_of(t, &e->whose);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	list_remove(&e->age);
}

/* A free entry, or that of the address that was seen longest ago. */
static struct entry *
take_entry(struct throttle *t)
{
	struct entry *e;

	if (t->used < t->capacity)
		return &t->entries[t->used++];
	e = CONTAINER_OF(t->seen.prev, struct entry, age);
	forget(t, e);
	return e;
}

static struct entry *
remember(struct throttle *t, const struct address *a)
{
	struct entry *e = take_entry(t);
	struct entry **bucket = bucket_of(t, a);

	*e = (struct entry){.next = *bucket, .whose = *a};
	*bucket = e;
	list_push(&t->seen, &e->age);
	return e;
}

static struct entry *
see(struct throttle *t, const struct address *a)
{
	struct entry *e = find(t, a);

	if (e == NULL)
		return remember(t, a);
	list_remove(&e->age);
	list_push(&t->seen, &e->age);
	return e;
}

uint64_t
throttle_wrong_key(struct throttle *t, const struct address *a, uint64_t now_ns)
{
	struct address network = network_of(a);
	uint64_t wait;

	pthread_mutex_lock(&t->mutex);
	wait = limiter_take(&see(t, &network)->wrong, t->limit, 1, now_ns);
	pthread_mutex_unlock(&t->mutex);
	return wait;
}
