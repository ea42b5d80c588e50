#include "shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#define VECTOR_LENGTH 8
#define PROGRESS_STEP 2048 /* prompt tokens a comment, in mlx_lm */
#define PROGRESS_MOST 8

/*
 * All marks in alphabetical order: numbers, counts of the output (which may be
 * damaged), words, shapes, functions.
 */
#define MARKS(N, C, W, S, F)                                                \
	N(at, p->at)                                                        \
	W(atype, names(p)->anthropic_type)                                  \
	S(begin, thinks ? messages->begin_thought : messages->begin)        \
	S(begun, j->kind->responses->begun)                                 \
	N(cached, u->cached)                                                \
	F(choice, write_choice)                                             \
	F(choices, write_choices)                                           \
	F(completed, write_completed)                                       \
	C(completion, u->completion)                                        \
	F(cost, write_cost)                                                 \
	N(created, (uint64_t)j->created)                                    \
	W(done, j->is_length ? "incomplete" : "completed")                  \
	F(final, write_final)                                               \
	W(finish, j->is_length ? "length" : "stop")                         \
	N(first, u->completion > 0 ? 1 : 0)                                 \
	S(firstusage, j->has_usage ? messages->first_usage : NULL)          \
	N(fresh, u->prompt - u->cached - u->written)                        \
	N(guess, u->prompt + 5)                                             \
	N(id, j->id)                                                        \
	W(incomplete,                                                       \
	    j->is_length ? "{\"reason\":\"max_output_tokens\"}" : "null")   \
	N(index, p->index)                                                  \
	S(item, j->kind->responses->item)                                   \
	F(iterations, write_iterations)                                     \
	N(last, j->ask->inputs - 1 - p->index)                              \
	N(lastcached, last_part(j, u->cached))                              \
	C(lastcompletion, last_part(j, u->completion))                      \
	N(lastfresh, last_part(j, u->prompt - u->cached - u->written))      \
	S(lastusage, j->has_usage ? messages->last_usage : NULL)            \
	N(lastwritten, last_part(j, u->written))                            \
	F(max, write_max)                                                   \
	F(message, write_message)                                           \
	W(model, j->ask->model)                                             \
	W(name, j->name)                                                    \
	S(now, now_of(j))                                                   \
	W(ocode, names(p)->openai_code)                                     \
	W(otype, names(p)->openai_type)                                     \
	F(progress, write_progress)                                         \
	N(prompt, u->prompt)                                                \
	N(reasoning, u->reasoning)                                          \
	F(score, write_score)                                               \
	F(seq, write_seq)                                                   \
	F(sofar, write_sofar)                                               \
	F(sototal, write_sototal)                                           \
	N(status, (uint64_t)p->status)                                      \
	W(stop, j->is_length ? "max_tokens" : "end_turn")                   \
	F(text, write_text)                                                 \
	F(thinking, write_thinking)                                         \
	S(thinkingtokens,                                                   \
	    u->reasoning > 0                                                \
		? ",'output_tokens_details':{'thinking_tokens':$reasoning}" \
		: NULL)                                                     \
	F(thought, write_thought)                                           \
	S(thoughtitem, j->kind->responses->thought_item)                    \
	F(thoughts, write_thoughts)                                         \
	S(timings, j->has_usage ? NULL : chat_of(j)->timings)               \
	S(told, j->has_usage ? j->kind->responses->usage : "null")          \
	N(total, u->prompt + u->completion)                                 \
	F(vector, write_vector)                                             \
	C(visible, u->completion - u->reasoning)                            \
	W(vtype, names(p)->vllm_type)                                       \
	S(whole, j->kind->responses->whole)                                 \
	S(wholeusage, j->has_usage ? messages->whole_usage : NULL)          \
	F(word, write_word)                                                 \
	N(written, u->written)

enum mark {
#define MARK(name, value) MARK_##name,
	MARKS(MARK, MARK, MARK, MARK, MARK)
#undef MARK
	    MARK_COUNT
};

/* What errors are called. */
struct error_names {
	int status;
	const char *openai_type;
	const char *openai_code; /* as JSON */
	const char *anthropic_type;
	const char *vllm_type;
};

/* The last row is for every status that has none of its own. */
static const struct error_names error_names[] = {
    {400, "invalid_request_error", "null", "invalid_request_error",
	"BadRequestError"},
    {401, "invalid_request_error", "\"invalid_api_key\"",
	"authentication_error", "Unauthorized"},
    {402, "insufficient_quota", "\"insufficient_quota\"", "billing_error",
	"PaymentRequired"},
    {403, "permission_error", "null", "permission_error", "Forbidden"},
    {404, "invalid_request_error", "\"model_not_found\"", "not_found_error",
	"NotFoundError"},
    {409, "conflict_error", "null", "conflict_error", "Conflict"},
    {413, "invalid_request_error", "\"request_too_large\"", "request_too_large",
	"ContentTooLarge"},
    {429, "requests", "\"rate_limit_exceeded\"", "rate_limit_error",
	"TooManyRequests"},
    {503, "service_unavailable_error", "\"server_is_overloaded\"",
	"overloaded_error", "ServiceUnavailable"},
    {504, "server_error", "null", "timeout_error", "GatewayTimeout"},
    {529, "server_error", "\"server_is_overloaded\"", "overloaded_error",
	"ServiceUnavailable"},
    {0, "server_error", "null", "api_error", "InternalServerError"},
};

static const struct error_names *
names(const struct pen *p)
{
	const struct error_names *n = error_names;

	while (n->status != 0 && n->status != p->status)
		n++;
	return n;
}

static const struct chat_words *
chat_of(const struct job *j)
{
	return j->route == ROUTE_chat ? j->kind->chat : j->kind->completions;
}

static const char *
now_of(const struct job *j)
{
	const struct chat_words *c = chat_of(j);

	if (j->has_running)
		return c->running;
	return j->has_usage ? c->asked : c->bare;
}

/* With iterations, what the last one of two took. */
static uint64_t
last_part(const struct job *j, uint64_t n)
{
	return j->d->iterations > 0 ? n - n / 3 : n;
}

static void
write_number(struct pen *p, uint64_t n)
{
	char digits[20];
	size_t len = 0;

	do {
		digits[sizeof digits - ++len] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	bytes_add(p->b, digits + sizeof digits - len, len);
}

/* Leaves a hole in the event, behind which the next part begins. */
static void
make_hole(struct pen *p, enum hole_kind kind, uint64_t first)
{
	struct event_template *t = p->t;

	if (t->holes == EVENT_HOLES_MOST)
		abort();
	t->hole[t->holes++] = (struct hole){kind, first};
	p->b = &t->part[t->holes];
}

static void
write_word(struct pen *p)
{
	make_hole(p, HOLE_WORD, 0);
}

static void
write_choice(struct pen *p)
{
	if (p->t != NULL && p->a->choices > 1)
		make_hole(p, HOLE_CHOICE, 0);
	else
		write_number(p, p->choice);
}

static void
write_seq(struct pen *p)
{
	if (p->t != NULL)
		make_hole(p, HOLE_SEQUENCE, p->seq);
	else
		write_number(p, p->seq++);
}

static void
write_sofar(struct pen *p)
{
	if (p->t != NULL)
		make_hole(p, HOLE_COUNT, p->first);
	else
		write_number(p, p->sofar);
}

static void
write_sototal(struct pen *p)
{
	if (p->t != NULL)
		make_hole(p, HOLE_COUNT, p->j->said.prompt + p->first);
	else
		write_number(p, p->j->said.prompt + p->sofar);
}

/* All words of one choice; a plain answer's are filled up to `size` bytes. */
static void
write_text(struct pen *p)
{
	const struct answer *a = p->a;
	size_t before = p->b->n, size = (size_t)p->j->d->size;

	answer_words(p->b, a->texts / a->choices, a->word_size);
	if (a->is_stream || size == 0)
		return;
	if (p->b->n - before > size)
		p->b->n = before + size;
	else
		bytes_fill(p->b, 'o', size - (p->b->n - before));
}

static void
write_thought(struct pen *p)
{
	answer_words(p->b, p->a->thinks / p->a->choices, p->a->word_size);
}

static void
write_thinking(struct pen *p)
{
	shape_write(p, p->a->thinks > 0 ? "'$thought'" : "null");
}

static void
write_thoughts(struct pen *p)
{
	const struct kind *k = p->j->kind;

	if (p->a->thinks == 0)
		return;
	if (p->j->route == ROUTE_responses)
		shape_write(p, "$thoughtitem,");
	else if (p->j->route == ROUTE_messages)
		shape_write(p, k->messages->thoughts);
	else
		shape_write(p, chat_of(p->j)->thoughts);
}

static void
write_choices(struct pen *p)
{
	for (p->choice = 0; p->choice < p->a->choices; p->choice++) {
		if (p->choice > 0)
			bytes_puts(p->b, ",");
		shape_write(p, chat_of(p->j)->choice);
	}
	p->choice = 0;
}

static void
write_final(struct pen *p)
{
	const struct job *j = p->j;
	const struct chat_words *c;
	const struct list_words *l;

	if (j->route == ROUTE_chat || j->route == ROUTE_completions) {
		bool is_due = j->has_usage && p->choice + 1 >= p->due;

		c = chat_of(j);
		if (is_due)
			shape_write(
			    p, c->member != NULL ? c->member : ",'usage':");
		shape_write(p, is_due ? c->usage : c->bare);
		return;
	}
	l = j->route == ROUTE_rerank ? j->kind->rerank : j->kind->embeddings;
	if (j->has_usage && l->usage != NULL) {
		bytes_puts(p->b, ",");
		shape_write(p, l->usage);
	}
}

static void
write_completed(struct pen *p)
{
	if (p->j->is_length)
		bytes_puts(p->b, "null");
	else
		write_number(p, (uint64_t)p->j->created + 1);
}

static void
write_cost(struct pen *p)
{
	const struct usage *u = &p->j->said;

	bytes_printf(
	    p->b, "%.8f", (double)(u->prompt * 15 + u->completion * 60) / 1e8);
}

static void
write_max(struct pen *p)
{
	if (p->j->ask->max_tokens >= 0)
		write_number(p, (uint64_t)p->j->ask->max_tokens);
	else
		bytes_puts(p->b, "null");
}

static void
write_message(struct pen *p)
{
	bytes_json(p->b, p->message, strlen(p->message));
}

/* One comment a step of the prompt, as it is read. */
static void
write_progress(struct pen *p)
{
	unsigned long whole = (unsigned long)p->a->usage.prompt;
	unsigned long done = 0;

	for (int i = 0; i < PROGRESS_MOST && done + 1 < whole; i++) {
		done += PROGRESS_STEP;
		if (done > whole - 1)
			done = whole - 1;
		bytes_printf(p->b, ": keepalive %lu/%lu\n\n", done, whole);
	}
	bytes_printf(p->b, ": keepalive %lu/%lu\n\n", whole, whole);
}

static void
write_score(struct pen *p)
{
	size_t n = p->j->ask->inputs;

	bytes_printf(p->b, "%.6f", (double)(n - p->index) / (double)(n + 1));
}

static void
write_vector(struct pen *p)
{
	unsigned char text[4 * (VECTOR_LENGTH * sizeof(float) + 2) / 3 + 4];
	float numbers[VECTOR_LENGTH];

	if (!p->j->ask->wants_base64) {
		for (int k = 0; k < VECTOR_LENGTH; k++)
			bytes_printf(p->b, "%s0.%d%zu", k > 0 ? "," : "[",
			    k + 1, p->index % 10);
		bytes_puts(p->b, "]");
		return;
	}
	for (int k = 0; k < VECTOR_LENGTH; k++)
		numbers[k] = (float)(k + 1) / 8;
	EVP_EncodeBlock(text, (const unsigned char *)numbers, sizeof numbers);
	bytes_printf(p->b, "\"%s\"", text);
}

/* What a compaction before the last iteration took, and the last one again. */
static void
write_iterations(struct pen *p)
{
	const struct usage *u = &p->j->said;
	uint64_t fresh = u->prompt - u->cached - u->written;

	if (p->j->d->iterations == 0)
		return;
	bytes_printf(p->b,
	    ",\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":%lu,"
	    "\"output_tokens\":%lu,\"cache_read_input_tokens\":%lu,"
	    "\"cache_creation_input_tokens\":%lu},",
	    (unsigned long)(fresh / 3), (unsigned long)(u->completion / 3),
	    (unsigned long)(u->cached / 3), (unsigned long)(u->written / 3));
	shape_write(p,
	    "{'type':'message','input_tokens':$lastfresh,'output_tokens':"
	    "$lastcompletion,'cache_read_input_tokens':$lastcached,"
	    "'cache_creation_input_tokens':$lastwritten}]");
}

/* A count that may be told wrongly on purpose. */
static void
write_count(struct pen *p, uint64_t n)
{
	switch (p->j->d->damage) {
	case DAMAGE_NONE:
		write_number(p, n);
		break;
	case DAMAGE_NEGATIVE:
		bytes_printf(p->b, "-%lu", (unsigned long)n + 1);
		break;
	case DAMAGE_FLOAT:
		bytes_printf(p->b, "%lu.5", (unsigned long)n);
		break;
	case DAMAGE_STRING:
		bytes_printf(p->b, "\"%lu\"", (unsigned long)n);
		break;
	case DAMAGE_HUGE:
		bytes_puts(p->b, "9223372036854775808");
		break;
	}
}

static void
write_mark(struct pen *p, enum mark mark)
{
	const struct job *j = p->j;
	const struct usage *u = &j->said;
	const struct messages_words *messages = j->kind->messages;
	bool thinks = p->a->thinks > 0;

	switch (mark) {
#define NUMBER(name, value)             \
	case MARK_##name:               \
		write_number(p, value); \
		break;
#define COUNT(name, value)             \
	case MARK_##name:              \
		write_count(p, value); \
		break;
#define WORD(name, value)                \
	case MARK_##name:                \
		bytes_puts(p->b, value); \
		break;
#define SHAPE(name, value)             \
	case MARK_##name:              \
		shape_write(p, value); \
		break;
#define CALL(name, function) \
	case MARK_##name:    \
		function(p); \
		break;
		MARKS(NUMBER, COUNT, WORD, SHAPE, CALL)
#undef NUMBER
#undef COUNT
#undef WORD
#undef SHAPE
#undef CALL
	case MARK_COUNT:
		break;
	}
}

static enum mark
find_mark(const char *name, size_t n)
{
	static const char *const marks[] = {
#define NAME(name, value) #name,
	    MARKS(NAME, NAME, NAME, NAME, NAME)
#undef NAME
	};
	unsigned low = 0, high = MARK_COUNT;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		int order = strncmp(name, marks[middle], n);

		if (order == 0 && marks[middle][n] == '\0')
			return (enum mark)middle;
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	fprintf(stderr, "weir-mock: unknown mark $%.*s\n", (int)n, name);
	abort();
}

void
shape_write(struct pen *p, const char *shape)
{
	if (shape == NULL)
		return;
	while (*shape != '\0') {
		size_t n = strcspn(shape, "'$");

		bytes_add(p->b, shape, n);
		shape += n;
		if (*shape == '\'') {
			bytes_add(p->b, "\"", 1);
			shape++;
		} else if (*shape == '$') {
			n = strspn(++shape, "abcdefghijklmnopqrstuvwxyz");
			write_mark(p, find_mark(shape, n));
			shape += n;
		}
	}
}

void
shape_event(struct pen *p, struct event_template *t, const char *shape)
{
	p->t = t;
	p->b = &t->part[0];
	shape_write(p, shape);
	p->t = NULL;
}
