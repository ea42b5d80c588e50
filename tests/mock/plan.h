/*
 * plan.h - from a request and its directives to a whole answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "directives.h"
#include "stats.h"

/* What does not change while the server runs. */
struct server {
	const char *name;    /* borrowed: the label */
	char *const *models; /* borrowed: the only ones served, if any */
	int n_models;
	bool has_log;
};

/* What plan_api needs to know of a request. */
struct plan_facts {
	const struct server *server; /* borrowed */
	const char *body;            /* borrowed, body_n bytes */
	size_t body_n;
	uint64_t id; /* the answer's number, told in its ids */
	enum route route;
	bool is_kept;    /* the client wants the connection to live on */
	bool is_http10;  /* the client knows no chunks */
	bool has_query;  /* the target has a query */
	bool is_chunked; /* the body came in chunks, without a length */
};

/* Plans the answer to a POST of a model API; *d gains the body's directives.
 * *a was reset by the caller. */
void plan_api(
    struct answer *a, struct directives *d, const struct plan_facts *f);

/* Plans an answer whose body stands in a->close already. */
void plan_plain(
    struct answer *a, const struct plan_facts *f, int status, const char *type);
