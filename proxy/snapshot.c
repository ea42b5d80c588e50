#include "proxy/snapshot.h"

#include <stdlib.h>

#include "base/mem.h"
#include "proxy/tls.h"

#include "base/banned.h"

struct snapshot *
snapshot_create(struct config *config, struct gate *gate, struct fault *why)
{
	struct snapshot *s = xcalloc(sizeof *s);

	s->refs = 1;
	s->tls = xcalloc_array(config->upstream_count, sizeof(SSL_CTX *));
	s->upstreams = xcalloc_array(
	    config->upstream_count, sizeof(struct gate_upstream *));
	s->users =
	    xcalloc_array(config->user_count, sizeof(struct gate_user *));
	s->config = config_ref(config);
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct upstream_config *up = &config->upstreams[i];

		if (up->is_tls &&
		    (s->tls[i] = tls_context_create(up->ca_file, why)) ==
			NULL) {
			snapshot_unref(&s);
			return NULL;
		}
		s->upstreams[i] = gate_upstream(gate, up->name);
	}
	for (size_t i = 0; i < config->user_count; i++)
		s->users[i] = gate_user(gate, config->users[i].name);
	config_unref(&config);
	return s;
}

struct snapshot *
snapshot_ref(struct snapshot *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void
snapshot_unref(struct snapshot **sp)
{
	struct snapshot *s = *sp;

	*sp = NULL;
	if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < s->config->upstream_count; i++)
		SSL_CTX_free(s->tls[i]);
	free(s->tls);
	free(s->users);
	free(s->upstreams);
	config_unref(&s->config);
	free(s);
}
