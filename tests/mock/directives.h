/*
 * directives.h - how the next answer shall be: `key=value,key=value`.
 *
 * They come from --set and POST /_mock/set (the defaults), then the x-mock
 * header, then the body's "mock" string; later ones win, key by key.  The
 * defaults are shared by all threads behind a mutex; a struct directives is a
 * plain value that belongs to one request.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "faults.h"
#include "kind.h"

#define DIRECTIVES_TEXT_MAX 4096 /* bytes of one list */
#define DIRECTIVE_VALUE_MAX 256  /* bytes of one value */
#define DIRECTIVE_UNSET (-1)

enum head_kind {
	HEAD_NORMAL,
	HEAD_HUGE,
	HEAD_HTTP10,
	HEAD_NOLENGTH,
	HEAD_CONTINUE103,
};

/* How a count in the usage is spoilt. */
enum damage {
	DAMAGE_NONE,
	DAMAGE_NEGATIVE,
	DAMAGE_FLOAT,
	DAMAGE_STRING,
	DAMAGE_HUGE, /* 2^63 */
};

enum replay_kind {
	REPLAY_OFF,
	REPLAY_BODY,
	REPLAY_RAW,
};

/* Where a list stands: some keys have a meaning only for the whole server. */
enum directive_scope {
	SCOPE_SERVER,
	SCOPE_REQUEST,
};

struct directives {
	int64_t tokens;    /* content events; DIRECTIVE_UNSET: by max_tokens */
	int64_t prompt;    /* prompt tokens; DIRECTIVE_UNSET: by body size */
	int64_t cached;    /* of the prompt tokens */
	int64_t written;   /* ... written to a cache */
	int64_t reasoning; /* reasoning events ahead of the content */
	int64_t ttft_us;
	int64_t interval_us;  /* between content events; 0: all in a burst */
	int64_t tail_us;      /* before the closing events */
	int64_t early;        /* 1: head before ttft; 2: first events as well;
				 DIRECTIVE_UNSET: as the kind does */
	int64_t slots;        /* requests worked on at once; 0: all */
	int64_t prefill;      /* prompt tokens read a second; 0: at once */
	int64_t rate;         /* answer tokens written a second; 0: interval */
	int64_t prefix_cache; /* 1: beginnings of prompts are not read again */
	int64_t works_on;     /* 1: also when the client has left;
				 DIRECTIVE_UNSET: as the kind does */
	int64_t pause;        /* content event before which to wait to be told;
				 DIRECTIVE_UNSET: never */
	int64_t iterations;   /* 1: messages tell of two */
	int64_t shred;        /* bytes sent at once at most; 0: all */
	int64_t size; /* bytes of a delta, or of a whole plain answer's text */
	int64_t interims;
	int64_t status;      /* 0: 200 */
	int64_t retry_after; /* seconds; DIRECTIVE_UNSET: no header */
	int64_t after;       /* events before a fault in the middle */
	int64_t fail_times;  /* DIRECTIVE_UNSET: status and fault always hold */
	int64_t slow_read;   /* 1: 4 KiB each 20 ms; 2: never reads the body */
	int64_t idle_close_us; /* DIRECTIVE_UNSET: never */
	int64_t drop_reused;
	int64_t health; /* status of GET health and models; 0: 200 */
	int64_t split;  /* replay: bytes a piece; 0: whole */
	enum fault fault;
	enum head_kind head;
	enum replay_kind replay;
	enum damage damage;
	const struct kind *kind; /* never NULL */
	char bad_status[32];
	char extra_header[DIRECTIVE_VALUE_MAX]; /* "Name:value" or "" */
};

/* Makes *d what a good server does. */
void directives_init(struct directives *d);

/* Applies the list text[0..n) to *d.  Returns false at the first mistake and
 * puts a sentence into why; *d is then half changed. */
bool directives_apply(struct directives *d, const char *text, size_t n,
    enum directive_scope scope, char *why, size_t why_size);

/* Tells the server's label (borrowed), which `only` asks for. */
void directives_set_name(const char *name);

/* Makes the server's defaults what a good server does. */
void directives_start(void);

/* Copies the server's defaults to *d.  With `is_counted` this request uses up
 * one of fail_times, and once none is left status and fault are off. */
void directives_defaults(struct directives *d, bool is_counted);

/* Changes the defaults by a list, all of it or (on false) nothing. */
bool directives_set_defaults(
    const char *text, size_t n, char *why, size_t why_size);

/* Makes the present defaults those that directives_reset_defaults restores. */
void directives_keep_defaults(void);
void directives_reset_defaults(void);
