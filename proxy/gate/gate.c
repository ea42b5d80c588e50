#include "proxy/gate/gate.h"

#include <stdlib.h>

#include "base/mem.h"
#include "proxy/gate/gate_inner.h"

#include "base/banned.h"

struct gate *
gate_create(void)
{
	struct gate *g = xcalloc(sizeof *g);

	pthread_mutex_init(&g->mutex, NULL);
	return g;
}

void
gate_destroy(struct gate **gp)
{
	struct gate *g = *gp;

	*gp = NULL;
	if (g == NULL)
		return;
	gate_upstreams_release(g);
	gate_accounts_release(g);
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

uint64_t
gate_in_flight(struct gate *g)
{
	uint64_t n;

	pthread_mutex_lock(&g->mutex);
	n = gate_accounts_in_flight(g) + gate_upstreams_in_flight(g) +
	    g->claims;
	pthread_mutex_unlock(&g->mutex);
	return n;
}
