#include "api.h"

#include <string.h>

static struct pen
pen_of(const struct answer *a, const struct job *j, struct bytes *b)
{
	return (struct pen){.b = b, .a = a, .j = j};
}

static const struct chat_words *
chat_of(const struct kind *k, enum route r)
{
	if (r == ROUTE_chat)
		return k->chat;
	return r == ROUTE_completions ? k->completions : NULL;
}

unsigned
api_tells(const struct kind *k, enum route r)
{
	const struct chat_words *chat = chat_of(k, r);

	if (chat != NULL)
		return chat->tells;
	if (r == ROUTE_messages)
		return k->messages->tells;
	return r == ROUTE_responses ? k->responses->tells : 0;
}

bool
api_may_think(const struct kind *k, enum route r)
{
	const struct chat_words *chat = chat_of(k, r);

	if (chat != NULL)
		return chat->think != NULL;
	return r == ROUTE_messages || r == ROUTE_responses;
}

bool
api_has_usage(const struct kind *k, enum route r)
{
	if (r == ROUTE_rerank)
		return k->rerank->usage != NULL || k->headers != NULL;
	return r != ROUTE_count_tokens;
}

bool
api_is_usage_always(const struct kind *k, enum route r)
{
	const struct chat_words *chat = chat_of(k, r);

	return chat == NULL || chat->is_always;
}

/* --- chat and completions ------------------------------------------------ */

/* The same shape for each choice. */
static void
write_each(struct pen *p, const char *shape)
{
	for (p->choice = 0; p->choice < p->a->choices; p->choice++)
		shape_write(p, shape);
	p->choice = 0;
}

static void
chat_stream(
    struct answer *a, const struct job *j, const struct chat_words *words)
{
	struct pen p = pen_of(a, j, &a->open);

	shape_write(&p, words->lead);
	write_each(&p, words->role);
	p.first = 1;
	if (a->thinks > 0)
		shape_event(&p, &a->think, words->think);
	p.first = 1 + a->thinks / a->choices;
	shape_event(&p, &a->text, words->text);
	if (words->comment != NULL) {
		p.b = &a->insert;
		shape_write(&p, words->comment);
		a->insert_at = 1;
	}
	p.b = &a->close;
	p.sofar = (a->thinks + a->texts) / a->choices;
	p.due = a->choices;
	write_each(&p, words->finish);
	p.due = 0;
	if (j->has_usage) {
		p.choice = 0;
		shape_write(&p, words->again);
		shape_write(&p, words->own);
	}
	if (j->has_usage || words->timings != NULL)
		a->usage_in_close = a->close.n;
	shape_write(&p, words->end);
}

static void
render_chat(struct answer *a, const struct job *j)
{
	const struct chat_words *words = chat_of(j->kind, j->route);
	struct pen p = pen_of(a, j, &a->close);

	if (a->is_stream) {
		chat_stream(a, j, words);
		return;
	}
	shape_write(&p, j->kind->plain_lead);
	shape_write(&p, words->plain);
	shape_write(&p, j->kind->plain_tail);
}

/* --- responses ------------------------------------------------------------ */

static void
render_responses(struct answer *a, const struct job *j)
{
	const struct responses_words *words = j->kind->responses;
	struct pen p = pen_of(a, j, &a->open);

	if (!a->is_stream) {
		p.b = &a->close;
		shape_write(&p, words->whole);
		shape_write(&p, j->kind->plain_tail);
		return;
	}
	shape_write(&p, words->open);
	if (a->thinks > 0) {
		shape_write(&p, words->open_thought);
		shape_event(&p, &a->think, words->think);
		p.seq += a->thinks;
		p.b = &a->middle;
		shape_write(&p, words->close_thought);
		p.at = 1;
	}
	shape_write(&p, words->open_text);
	shape_event(&p, &a->text, words->text);
	p.seq += a->texts;
	p.b = &a->close;
	shape_write(&p, words->close_text);
	shape_write(&p, words->done);
	if (j->has_usage)
		a->usage_in_close = a->close.n;
}

/* --- messages ------------------------------------------------------------- */

static void
render_messages(struct answer *a, const struct job *j)
{
	const struct messages_words *words = j->kind->messages;
	struct pen p = pen_of(a, j, &a->open);

	if (!a->is_stream) {
		p.b = &a->close;
		shape_write(&p, words->plain);
		shape_write(&p, j->kind->plain_tail);
		return;
	}
	shape_write(&p, words->open);
	if (j->said.completion > 0 && words->opens_with_count)
		a->opened = 1;
	if (a->thinks > 0) {
		shape_event(&p, &a->think, words->think);
		p.b = &a->middle;
		shape_write(&p, words->middle);
		p.at = 1;
	}
	shape_event(&p, &a->text, words->text);
	p.b = &a->close;
	shape_write(&p, words->close);
	if (j->has_usage)
		a->usage_in_close = a->close.n;
	shape_write(&p, words->end);
}

/* --- lists ---------------------------------------------------------------- */

static void
render_list(
    struct answer *a, const struct job *j, const struct list_words *words)
{
	struct pen p = pen_of(a, j, &a->close);

	shape_write(&p, words->open);
	for (p.index = 0; p.index < j->ask->inputs; p.index++) {
		if (p.index > 0)
			bytes_puts(p.b, ",");
		shape_write(&p, words->item);
	}
	shape_write(&p, words->close);
	shape_write(&p, j->kind->plain_tail);
}

void
api_models(struct bytes *b, char *const *models, int n, int64_t created)
{
	static char only[] = "mock-model";
	static char *const one[] = {only};

	if (n == 0) {
		models = one;
		n = 1;
	}
	bytes_puts(b, "{\"object\":\"list\",\"data\":[");
	for (int i = 0; i < n; i++) {
		bytes_puts(b, i > 0 ? ",{\"id\":" : "{\"id\":");
		bytes_json(b, models[i], strlen(models[i]));
		bytes_printf(b,
		    ",\"object\":\"model\",\"created\":%ld,"
		    "\"owned_by\":\"weir-mock\",\"max_model_len\":131072}",
		    (long)created);
	}
	bytes_puts(b, "]}");
}

void
api_render(struct answer *a, const struct job *j)
{
	switch (j->route) {
	case ROUTE_chat:
	case ROUTE_completions:
		render_chat(a, j);
		break;
	case ROUTE_embeddings:
		render_list(a, j, j->kind->embeddings);
		break;
	case ROUTE_rerank:
		render_list(a, j, j->kind->rerank);
		break;
	case ROUTE_responses:
		render_responses(a, j);
		break;
	case ROUTE_messages:
		render_messages(a, j);
		break;
	case ROUTE_count_tokens:
		bytes_printf(&a->close, "{\"input_tokens\":%lu}",
		    (unsigned long)j->said.prompt);
		break;
	case ROUTE_models:
	case ROUTE_health:
	case ROUTE_metrics:
	case ROUTE_NONE:
	case ROUTE_CONTROL:
		break;
	}
}

void
api_headers(struct bytes *b, const struct answer *a, const struct job *j)
{
	struct pen p = pen_of(a, j, b);

	shape_write(&p, j->kind->headers);
}

/* --- what goes wrong -------------------------------------------------------
 */

static bool
is_messages(enum route r)
{
	return r == ROUTE_messages || r == ROUTE_count_tokens;
}

void
api_error(struct bytes *b, const struct kind *k, enum route r, int status,
    const char *message)
{
	static const struct answer none = {.choices = 1};
	const struct error_words *words = k->errors;
	struct job j = {.kind = k, .route = r};
	struct pen p = pen_of(&none, &j, b);

	p.message = message;
	p.status = status;
	shape_write(&p, is_messages(r) ? words->body_messages : words->body);
}

void
api_error_usage(struct bytes *b, const struct usage *u)
{
	bytes_printf(b,
	    "{\"prompt_tokens\":%lu,\"completion_tokens\":%lu,"
	    "\"total_tokens\":%lu}",
	    (unsigned long)u->prompt, (unsigned long)u->completion,
	    (unsigned long)(u->prompt + u->completion));
}

void
api_error_event(struct bytes *b, const struct job *j)
{
	static const struct answer none = {.choices = 1};
	const struct error_words *words = j->kind->errors;
	struct pen p = pen_of(&none, j, b);

	if (j->route == ROUTE_messages)
		shape_write(&p, words->event_messages);
	else if (j->route == ROUTE_responses)
		shape_write(&p, words->event_responses);
	else
		shape_write(&p, words->event);
}

void
api_broken_event(struct bytes *b, enum route r)
{
	if (r == ROUTE_messages)
		bytes_puts(b, "event: content_block_delta\n");
	else if (r == ROUTE_responses)
		bytes_puts(b, "event: response.output_text.delta\n");
	bytes_puts(b, "data: {\"id\":\"broken\",\"choices\":[{\n\n");
}

void
api_end_mark(struct bytes *b, const struct job *j)
{
	static const struct answer none = {.choices = 1};
	struct pen p = pen_of(&none, j, b);

	if (j->route == ROUTE_messages)
		shape_write(&p, j->kind->messages->end);
	else if (j->route != ROUTE_responses)
		shape_write(&p, chat_of(j->kind, j->route)->end);
}
