/*
 * head.h - renders the head of a response, good or spoilt on purpose.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "answer.h"
#include "bytes.h"
#include "directives.h"

struct head_facts {
	const char *type;     /* Content-Type; NULL: none */
	const char *encoding; /* Content-Encoding; NULL: none */
	const char *name;     /* the server's label */
	uint64_t id;
	struct bytes more; /* owned: further fields, whole lines */
	size_t length;     /* of the body, for FRAMING_LENGTH */
	int status;
	enum framing framing;
	bool is_kept;
};

/* Appends all interim answers and the final head. */
void head_render(
    struct bytes *b, const struct head_facts *h, const struct directives *d);
