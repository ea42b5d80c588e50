#include "api.h"

#include <stdio.h>
#include <string.h>

#define VECTOR_LENGTH 8

void
api_usage(struct bytes *b, const struct usage *u)
{
	bytes_printf(b,
	    "{\"prompt_tokens\":%lu,\"completion_tokens\":%lu,"
	    "\"total_tokens\":%lu,"
	    "\"prompt_tokens_details\":{\"cached_tokens\":%lu,"
	    "\"audio_tokens\":0},"
	    "\"completion_tokens_details\":{\"reasoning_tokens\":%lu,"
	    "\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
	    "\"rejected_prediction_tokens\":0}}",
	    (unsigned long)u->prompt, (unsigned long)u->completion,
	    (unsigned long)(u->prompt + u->completion),
	    (unsigned long)u->cached, (unsigned long)u->reasoning);
}

void
api_text(struct bytes *b, const struct answer *a, const struct job *j)
{
	size_t before = b->n, size = (size_t)j->d->size;

	answer_words(b, a->texts, 0);
	if (size == 0)
		return;
	if (b->n - before > size)
		b->n = before + size;
	else
		bytes_fill(b, 'o', size - (b->n - before));
}

/* What every chunk of one chat or completions stream begins with. */
static void
chunk_start(struct bytes *b, const struct job *j)
{
	bool is_chat = j->route == ROUTE_chat;

	bytes_printf(b,
	    "data: {\"id\":\"%s-%s-%lu\",\"object\":\"%s\",\"created\":%ld,"
	    "\"model\":\"%s\",",
	    is_chat ? "chatcmpl" : "cmpl", j->name, (unsigned long)j->id,
	    is_chat ? "chat.completion.chunk" : "text_completion",
	    (long)j->created, j->ask->model);
	bytes_printf(b, "\"system_fingerprint\":\"%s\",\"choices\":[", j->name);
}

/* What a chunk ends with that is no content: usage null, or what it is until
 * now, as the wish was. */
static void
chunk_end(struct bytes *b, const struct job *j, uint64_t completion)
{
	if (j->has_running)
		bytes_printf(b,
		    ",\"usage\":{\"prompt_tokens\":%lu,\"total_tokens\":%lu,"
		    "\"completion_tokens\":%lu}",
		    (unsigned long)j->said.prompt,
		    (unsigned long)(j->said.prompt + completion),
		    (unsigned long)completion);
	else if (j->has_usage)
		bytes_puts(b, ",\"usage\":null");
	bytes_puts(b, "}\n\n");
}

/* Makes a template of: what stands before the word, and behind it. */
static void
template_make(struct event_template *t, const struct job *j, const char *before,
    const char *behind, uint64_t first)
{
	chunk_start(&t->part[0], j);
	bytes_puts(&t->part[0], before);
	bytes_puts(&t->part[1], behind);
	if (!j->has_running) {
		chunk_end(&t->part[1], j, 0);
		return;
	}
	t->numbers = 2;
	t->first[0] = j->said.prompt + first;
	t->first[1] = first;
	bytes_printf(&t->part[1],
	    ",\"usage\":{\"prompt_tokens\":%lu,\"total_tokens\":",
	    (unsigned long)j->said.prompt);
	bytes_puts(&t->part[2], ",\"completion_tokens\":");
	bytes_puts(&t->part[3], "}}\n\n");
}

static void
close_make(struct answer *a, const struct job *j)
{
	if (j->has_usage) {
		chunk_start(&a->close, j);
		bytes_puts(&a->close, "],\"usage\":");
		api_usage(&a->close, &j->said);
		bytes_puts(&a->close, "}\n\n");
		a->usage_in_close = a->close.n;
	}
	bytes_puts(&a->close, "data: [DONE]\n\n");
}

static void
chat_stream(struct answer *a, const struct job *j)
{
	static const char behind[] =
	    "\"},\"logprobs\":null,\"finish_reason\":null}]";

	chunk_start(&a->open, j);
	bytes_puts(&a->open,
	    "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
	    "\"logprobs\":null,\"finish_reason\":null}]");
	chunk_end(&a->open, j, 0);
	template_make(&a->think, j,
	    "{\"index\":0,\"delta\":{\"reasoning_content\":\"", behind, 1);
	template_make(&a->text, j, "{\"index\":0,\"delta\":{\"content\":\"",
	    behind, 1 + a->thinks);
	chunk_start(&a->close, j);
	bytes_printf(&a->close,
	    "{\"index\":0,\"delta\":{},\"logprobs\":null,"
	    "\"finish_reason\":\"%s\"}]",
	    j->is_length ? "length" : "stop");
	chunk_end(&a->close, j, a->thinks + a->texts);
	close_make(a, j);
}

static void
chat_plain(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->close;

	bytes_printf(b,
	    "{\"id\":\"chatcmpl-%s-%lu\",\"object\":\"chat.completion\","
	    "\"created\":%ld,\"model\":\"%s\",\"choices\":[{\"index\":0,"
	    "\"message\":{\"role\":\"assistant\",\"content\":\"",
	    j->name, (unsigned long)j->id, (long)j->created, j->ask->model);
	api_text(b, a, j);
	bytes_puts(b, "\",\"refusal\":null,\"annotations\":[]");
	if (a->thinks > 0) {
		bytes_puts(b, ",\"reasoning_content\":\"");
		answer_words(b, a->thinks, 0);
		bytes_puts(b, "\"");
	}
	bytes_printf(b, "},\"logprobs\":null,\"finish_reason\":\"%s\"}]",
	    j->is_length ? "length" : "stop");
	if (j->has_usage) {
		bytes_puts(b, ",\"usage\":");
		api_usage(b, &j->said);
	}
	bytes_printf(b,
	    ",\"service_tier\":\"default\",\"system_fingerprint\":\"%s\"}",
	    j->name);
}

void
api_chat(struct answer *a, const struct job *j)
{
	if (a->is_stream)
		chat_stream(a, j);
	else
		chat_plain(a, j);
}

static void
completions_stream(struct answer *a, const struct job *j)
{
	template_make(&a->text, j, "{\"text\":\"",
	    "\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]", 1);
	chunk_start(&a->close, j);
	bytes_printf(&a->close,
	    "{\"text\":\"\",\"index\":0,\"logprobs\":null,"
	    "\"finish_reason\":\"%s\"}]",
	    j->is_length ? "length" : "stop");
	chunk_end(&a->close, j, a->texts);
	close_make(a, j);
}

void
api_completions(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->close;

	if (a->is_stream) {
		completions_stream(a, j);
		return;
	}
	bytes_printf(b,
	    "{\"id\":\"cmpl-%s-%lu\",\"object\":\"text_completion\","
	    "\"created\":%ld,\"model\":\"%s\",\"choices\":[{\"text\":\"",
	    j->name, (unsigned long)j->id, (long)j->created, j->ask->model);
	api_text(b, a, j);
	bytes_printf(b,
	    "\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"%s\"}]",
	    j->is_length ? "length" : "stop");
	if (j->has_usage) {
		bytes_puts(b, ",\"usage\":");
		api_usage(b, &j->said);
	}
	bytes_puts(b, "}");
}

static void
prompt_usage(struct bytes *b, const struct job *j)
{
	if (j->has_usage)
		bytes_printf(b,
		    ",\"usage\":{\"prompt_tokens\":%lu,\"total_tokens\":%lu}",
		    (unsigned long)j->said.prompt,
		    (unsigned long)j->said.prompt);
}

void
api_embeddings(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->close;

	bytes_puts(b, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < j->ask->inputs; i++) {
		bytes_printf(b,
		    "%s{\"object\":\"embedding\",\"index\":%zu,"
		    "\"embedding\":[",
		    i > 0 ? "," : "", i);
		for (int k = 0; k < VECTOR_LENGTH; k++)
			bytes_printf(
			    b, "%s0.%d%zu", k > 0 ? "," : "", k + 1, i % 10);
		bytes_puts(b, "]}");
	}
	bytes_printf(b, "],\"model\":\"%s\"", j->ask->model);
	prompt_usage(b, j);
	bytes_puts(b, "}");
}

void
api_rerank(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->close;
	size_t n = j->ask->inputs;

	bytes_printf(b, "{\"id\":\"rerank-%s-%lu\",\"model\":\"%s\"", j->name,
	    (unsigned long)j->id, j->ask->model);
	prompt_usage(b, j);
	bytes_puts(b, ",\"results\":[");
	/* The last document is always the best. */
	for (size_t i = 0; i < n; i++)
		bytes_printf(b, "%s{\"index\":%zu,\"relevance_score\":%.6f}",
		    i > 0 ? "," : "", n - 1 - i,
		    (double)(n - i) / (double)(n + 1));
	bytes_puts(b,
	    "],\"meta\":{\"api_version\":{\"version\":\"2\"},"
	    "\"billed_units\":{\"search_units\":1}}}");
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
