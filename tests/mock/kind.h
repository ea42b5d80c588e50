/*
 * kind.h - how each kind of model server words its answers: one row a kind.
 *
 * A row points to shapes (shape.h), which are texts with marks in them.  Where
 * a pointer is NULL the kind has no such piece; where a whole group is missing
 * it has no such route, and says 404.  The default, "openai", knows every route
 * and takes every wish; "openai-cloud" is what OpenAI itself does.  Some kinds
 * are known here only: to the gateway they are "openai".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "stats.h"

/* Counts that a kind tells; of the others it has none. */
enum tells {
	TELLS_CACHED = 1,
	TELLS_WRITTEN = 2,
	TELLS_REASONING = 4,
};

/* chat/completions and completions. */
struct chat_words {
	const char *lead;    /* comments, before everything */
	const char *role;    /* the first chunk of each choice */
	const char *think;   /* an event; NULL: it does not reason aloud */
	const char *text;    /* an event */
	const char *finish;  /* the last chunk of each choice */
	const char *again;   /* ... and once more with usage */
	const char *own;     /* the usage's own chunk */
	const char *end;     /* the end mark */
	const char *comment; /* somewhere in the middle */
	const char *plain;   /* a whole answer, with $choices of */
	const char *choice;
	const char *thoughts; /* $thoughts, if it has reasoned */
	const char *usage;    /* $usage; $final is it as a member */
	const char *member;   /* ... which begins so; NULL: ,'usage': */
	const char *bare;     /* $now where no usage is wished */
	const char *asked;    /* $now where it is wished and not yet known */
	const char *running;  /* $now where it is wished all the time */
	const char *timings;  /* $timings, where no usage is told */
	unsigned tells;
	bool is_always; /* usage is told unasked */
};

struct messages_words {
	const char *open;  /* up to the first block, which is $begin */
	const char *begin; /* of the text's block, without its empty line */
	const char *begin_thought;
	const char *think;  /* an event */
	const char *middle; /* from thoughts to text */
	const char *text;   /* an event */
	const char *close;  /* from the block's end to the message's */
	const char *end;    /* message_stop */
	const char *plain;
	const char *thoughts;    /* $thoughts, if it has reasoned */
	const char *first_usage; /* $firstusage, as a member */
	const char *last_usage;  /* $lastusage */
	const char *whole_usage; /* $wholeusage, of a plain answer */
	unsigned tells;
	bool opens_with_count; /* the first usage has a token of output */
};

struct responses_words {
	const char *open;         /* created and in_progress */
	const char *open_thought; /* the events around it, if it reasons */
	const char *think;        /* an event */
	const char *close_thought;
	const char *open_text;
	const char *text; /* an event */
	const char *close_text;
	const char *done;         /* the last event */
	const char *begun;        /* $begun: the response object, at first */
	const char *whole;        /* $whole: at last; a plain answer too */
	const char *item;         /* $item: the finished message */
	const char *thought_item; /* $thoughtitem: the finished reasoning */
	const char *usage;
	unsigned tells;
};

/* embeddings and rerank: one item for each input. */
struct list_words {
	const char *open;
	const char *item; /* $index, $last, $score, $vector */
	const char *close;
	const char *usage; /* $final is a comma and this; NULL: none */
};

struct error_words {
	const char *body;
	const char *body_messages;
	const char *event; /* in a stream of chat or completions */
	const char *event_messages;
	const char *event_responses;
};

struct kind {
	const char *name;
	const struct chat_words *chat;
	const struct chat_words *completions;
	const struct messages_words *messages;
	const struct responses_words *responses;
	const struct list_words *embeddings;
	const struct list_words *rerank;
	const struct error_words *errors;
	const char *headers;    /* more fields of a good answer's head */
	const char *plain_lead; /* blank lines before a document */
	const char *plain_tail;
	int early;        /* streams: the directive's default */
	int refuses_with; /* 0: the status that fits */
	bool is_http10; /* closes after each answer; wants a length, no query */
	bool can_run;   /* continuous_usage_stats has an effect */
	bool counts;    /* has messages/count_tokens */
	bool works_on;  /* plain answers: does not notice that a client left */
};

/* Returns the row, or NULL. */
const struct kind *kind_find(const char *name);

/* The default. */
const struct kind *kind_default(void);

/* Calls each for every kind's name. */
void kind_list(void (*each)(const char *name));

bool kind_has_route(const struct kind *k, enum route r);
