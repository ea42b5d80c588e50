#include "proxy/response_ids.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"

#include "base/banned.h"

#define ROWS 1024 /* four ids a row when full */

struct pair {
	struct link link;           /* of its row */
	char *user, *ours, *theirs; /* owned */
};

struct response_ids {
	pthread_mutex_t mutex;
	struct link rows[ROWS];
	struct pair *pairs[RESPONSE_IDS_MOST]; /* owned; a ring */
	size_t count;                          /* ever added */
};

struct response_ids *
response_ids_create(void)
{
	struct response_ids *ids = xcalloc(sizeof *ids);

	pthread_mutex_init(&ids->mutex, NULL);
	for (size_t i = 0; i < ROWS; i++)
		list_init(&ids->rows[i]);
	return ids;
}

static void
pair_destroy(struct pair *p)
{
	if (p == NULL)
		return;
	list_remove(&p->link);
	free(p->user);
	free(p->ours);
	free(p->theirs);
	free(p);
}

void
response_ids_destroy(struct response_ids **idsp)
{
	struct response_ids *ids = *idsp;

	if (ids == NULL)
		return;
	for (size_t i = 0; i < RESPONSE_IDS_MOST; i++)
		pair_destroy(ids->pairs[i]);
	pthread_mutex_destroy(&ids->mutex);
	free(ids);
	*idsp = NULL;
}

/* Ours are made here, so nobody else chooses where they fall. */
static struct link *
row_of(struct response_ids *ids, struct slice ours)
{
	return &ids->rows[text_hash(ours.p, ours.len) % ROWS];
}

void
response_ids_add(struct response_ids *ids, const char *user, const char *ours,
    const char *theirs)
{
	struct pair *p, **place, *oldest;

	if (strlen(theirs) >= RESPONSE_ID_BYTES)
		return;
	p = xcalloc(sizeof *p);
	p->user = xstrdup(user);
	p->ours = xstrdup(ours);
	p->theirs = xstrdup(theirs);

	pthread_mutex_lock(&ids->mutex);
	place = &ids->pairs[ids->count++ % RESPONSE_IDS_MOST];
	oldest = *place;
	if (oldest != NULL)
		list_remove(&oldest->link);
	*place = p;
	list_push(row_of(ids, slice_of(ours)), &p->link);
	pthread_mutex_unlock(&ids->mutex);
	pair_destroy(oldest);
}

bool
response_ids_find(struct response_ids *ids, const char *user, struct slice ours,
    char theirs[RESPONSE_ID_BYTES])
{
	bool is_known = false;

	pthread_mutex_lock(&ids->mutex);
	LIST_EACH (row_of(ids, ours), link) {
		const struct pair *p = CONTAINER_OF(link, struct pair, link);

		if (!slice_is(ours, p->ours) || strcmp(user, p->user) != 0)
			continue;
		memcpy(theirs, p->theirs, strlen(p->theirs) + 1);
		is_known = true;
		break;
	}
	pthread_mutex_unlock(&ids->mutex);
	return is_known;
}
