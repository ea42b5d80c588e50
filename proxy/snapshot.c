#include "proxy/snapshot.h"

#include <stdlib.h>

#include "base/mem.h"
#include "proxy/tls.h"

#include "base/banned.h"

static void
find_accounts(struct snapshot *s, struct gate *gate)
{
	const struct config *c = s->config;

	s->everyone = gate_account(gate, SUBJECT_EVERYONE, "", NULL);
	for (size_t i = 0; i < c->user_count; i++) {
		const struct user_config *u = &c->users[i];

		s->users[i] = gate_account(gate, SUBJECT_USER, u->name, NULL);
		s->at_models[i] = xcalloc_array(
		    u->at_model_count, sizeof(struct gate_account *));
		for (size_t k = 0; k < u->at_model_count; k++)
			s->at_models[i][k] =
			    gate_account(gate, SUBJECT_USER_AT_MODEL, u->name,
				u->at_models[k].model->name);
	}
}

struct snapshot *
snapshot_create(struct config *config, struct gate *gate, struct fault *why)
{
	struct snapshot *s = xcalloc(sizeof *s);

	s->refs = 1;
	s->tls = xcalloc_array(config->upstream_count, sizeof(SSL_CTX *));
	s->upstreams = xcalloc_array(
	    config->upstream_count, sizeof(struct gate_upstream *));
	s->users =
	    xcalloc_array(config->user_count, sizeof(struct gate_account *));
	s->at_models =
	    xcalloc_array(config->user_count, sizeof(struct gate_account **));
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
	find_accounts(s, gate);
	config_unref(&config);
	return s;
}

static void
set_concurrent(const struct snapshot *s, struct gate *gate)
{
	for (size_t i = 0; i < s->config->user_count; i++) {
		const struct user_config *u = &s->config->users[i];

		gate_set_concurrent(
		    gate, s->users[i], u->limits.most[LIMIT_CONCURRENT]);
		for (size_t k = 0; k < u->at_model_count; k++)
			gate_set_concurrent(gate, s->at_models[i][k],
			    u->at_models[k].own.most[LIMIT_CONCURRENT]);
	}
}

void
snapshot_open(const struct snapshot *s, struct gate *gate)
{
	set_concurrent(s, gate);
	for (size_t i = 0; i < s->config->upstream_count; i++) {
		const struct upstream_config *up = &s->config->upstreams[i];

		gate_set_room(gate, s->upstreams[i],
		    &(struct gate_room){
			.max_inflight = up->max_inflight,
			.kv_tokens = up->kv_tokens,
			.queue_size = up->queue_size,
			.queue_per_user = up->queue_per_user,
		    });
	}
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
	for (size_t i = 0; i < s->config->user_count; i++)
		free(s->at_models[i]);
	free(s->users);
	free(s->at_models);
	free(s->upstreams);
	config_unref(&s->config);
	free(s);
}
