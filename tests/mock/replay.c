#include "replay.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bytes blobs[REPLAY_RAW + 1]; /* under lock */

void
replay_set(enum replay_kind kind, const char *p, size_t n)
{
	pthread_mutex_lock(&lock);
	bytes_clear(&blobs[kind], 0);
	bytes_add(&blobs[kind], p, n);
	pthread_mutex_unlock(&lock);
}

void
replay_copy(enum replay_kind kind, struct bytes *b)
{
	pthread_mutex_lock(&lock);
	bytes_add(b, blobs[kind].p, blobs[kind].n);
	pthread_mutex_unlock(&lock);
}
