#include "api.h"

/* The events of one stream are numbered from 0 on. */
struct events {
	struct bytes *b;
	uint64_t number;
};

static void
event_begin(struct events *e, const char *type)
{
	bytes_printf(e->b, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void
event_end(struct events *e)
{
	bytes_printf(
	    e->b, ",\"sequence_number\":%lu}\n\n", (unsigned long)e->number++);
}

static void
add_part(
    struct bytes *b, const struct answer *a, const struct job *j, bool is_full)
{
	bytes_puts(b,
	    "{\"type\":\"output_text\",\"annotations\":[],"
	    "\"logprobs\":[],\"text\":\"");
	if (is_full && a->is_stream)
		answer_words(b, a->texts, a->word_size);
	else if (is_full)
		api_text(b, a, j);
	bytes_puts(b, "\"}");
}

static void
add_item(
    struct bytes *b, const struct answer *a, const struct job *j, bool is_done)
{
	bytes_printf(b,
	    "{\"id\":\"msg_%s_%lu\",\"type\":\"message\",\"status\":\"%s\","
	    "\"content\":[",
	    j->name, (unsigned long)j->id,
	    is_done ? "completed" : "in_progress");
	if (is_done)
		add_part(b, a, j, true);
	bytes_puts(b, "],\"phase\":\"final_answer\",\"role\":\"assistant\"}");
}

static void
add_thought(
    struct bytes *b, const struct answer *a, const struct job *j, bool is_done)
{
	bytes_printf(b,
	    "{\"id\":\"rs_%s_%lu\",\"type\":\"reasoning\",\"status\":\"%s\","
	    "\"summary\":[],\"content\":[",
	    j->name, (unsigned long)j->id,
	    is_done ? "completed" : "in_progress");
	if (is_done) {
		bytes_puts(b, "{\"type\":\"reasoning_text\",\"text\":\"");
		answer_words(b, a->thinks, a->is_stream ? a->word_size : 0);
		bytes_puts(b, "\"}");
	}
	bytes_puts(b, "]}");
}

static void
add_usage(struct bytes *b, const struct usage *u)
{
	bytes_printf(b,
	    "{\"input_tokens\":%lu,\"input_tokens_details\":"
	    "{\"cached_tokens\":%lu},\"output_tokens\":%lu,"
	    "\"output_tokens_details\":{\"reasoning_tokens\":%lu},"
	    "\"total_tokens\":%lu}",
	    (unsigned long)u->prompt, (unsigned long)u->cached,
	    (unsigned long)u->completion, (unsigned long)u->reasoning,
	    (unsigned long)(u->prompt + u->completion));
}

static void
add_limits(struct bytes *b, const struct job *j, bool is_done)
{
	bool is_cut = is_done && j->is_length;

	bytes_printf(b, ",\"status\":\"%s\",\"background\":false,",
	    is_cut        ? "incomplete"
		: is_done ? "completed"
			  : "in_progress");
	if (is_done && !is_cut)
		bytes_printf(b, "\"completed_at\":%ld,", (long)j->created + 1);
	else
		bytes_puts(b, "\"completed_at\":null,");
	bytes_printf(b,
	    "\"error\":null,\"frequency_penalty\":0.0,"
	    "\"incomplete_details\":%s,\"instructions\":null,"
	    "\"max_output_tokens\":",
	    is_cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
	if (j->ask->max_tokens >= 0)
		bytes_printf(b, "%ld", (long)j->ask->max_tokens);
	else
		bytes_puts(b, "null");
}

/* The response object, as it is at the beginning or at the end. */
static void
add_response(
    struct bytes *b, const struct answer *a, const struct job *j, bool is_done)
{
	bytes_printf(b,
	    "{\"id\":\"resp_%s_%lu\",\"object\":\"response\","
	    "\"created_at\":%ld",
	    j->name, (unsigned long)j->id, (long)j->created);
	add_limits(b, j, is_done);
	bytes_printf(b,
	    ",\"max_tool_calls\":null,\"model\":\"%s\","
	    "\"moderation\":null,\"output\":[",
	    j->ask->model);
	if (is_done && a->thinks > 0) {
		add_thought(b, a, j, true);
		bytes_puts(b, ",");
	}
	if (is_done)
		add_item(b, a, j, true);
	bytes_puts(b,
	    "],\"parallel_tool_calls\":true,\"presence_penalty\":0.0,"
	    "\"previous_response_id\":null,\"prompt_cache_key\":null,"
	    "\"prompt_cache_retention\":\"24h\",\"reasoning\":"
	    "{\"effort\":\"medium\",\"summary\":null},"
	    "\"safety_identifier\":null,\"service_tier\":\"auto\","
	    "\"store\":true,\"temperature\":1.0,\"text\":{\"format\":"
	    "{\"type\":\"text\"},\"verbosity\":\"medium\"},"
	    "\"tool_choice\":\"auto\",\"tools\":[],\"top_logprobs\":0,"
	    "\"top_p\":0.98,\"truncation\":\"disabled\",\"usage\":");
	if (is_done && j->has_usage)
		add_usage(b, &j->said);
	else
		bytes_puts(b, "null");
	bytes_puts(b, ",\"user\":null,\"metadata\":{}}");
}

/* The template of a delta event, whose number runs on with each. */
static void
add_delta(struct events *e, struct event_template *t, const struct job *j,
    const char *type, const char *item, int output, uint64_t n)
{
	e->b = &t->part[0];
	event_begin(e, type);
	bytes_puts(e->b, ",\"content_index\":0,\"delta\":\"");
	bytes_printf(&t->part[1],
	    "\",\"item_id\":\"%s_%s_%lu\",\"logprobs\":[],"
	    "\"output_index\":%d,\"sequence_number\":",
	    item, j->name, (unsigned long)j->id, output);
	bytes_puts(&t->part[2], "}\n\n");
	t->numbers = 1;
	t->first[0] = e->number;
	e->number += n;
}

/* The events that begin the message item. */
static void
item_open(
    struct events *e, const struct answer *a, const struct job *j, int output)
{
	event_begin(e, "response.output_item.added");
	bytes_puts(e->b, ",\"item\":");
	add_item(e->b, a, j, false);
	bytes_printf(e->b, ",\"output_index\":%d", output);
	event_end(e);
	event_begin(e, "response.content_part.added");
	bytes_printf(e->b,
	    ",\"content_index\":0,\"item_id\":\"msg_%s_%lu\","
	    "\"output_index\":%d,\"part\":",
	    j->name, (unsigned long)j->id, output);
	add_part(e->b, a, j, false);
	event_end(e);
}

static void
thought_open(struct events *e, const struct answer *a, const struct job *j)
{
	event_begin(e, "response.output_item.added");
	bytes_puts(e->b, ",\"item\":");
	add_thought(e->b, a, j, false);
	bytes_puts(e->b, ",\"output_index\":0");
	event_end(e);
}

static void
thought_close(struct events *e, const struct answer *a, const struct job *j)
{
	event_begin(e, "response.output_item.done");
	bytes_puts(e->b, ",\"item\":");
	add_thought(e->b, a, j, true);
	bytes_puts(e->b, ",\"output_index\":0");
	event_end(e);
}

static void
item_close(
    struct events *e, const struct answer *a, const struct job *j, int output)
{
	event_begin(e, "response.output_text.done");
	bytes_printf(e->b,
	    ",\"content_index\":0,\"item_id\":\"msg_%s_%lu\","
	    "\"logprobs\":[],\"output_index\":%d,\"text\":\"",
	    j->name, (unsigned long)j->id, output);
	answer_words(e->b, a->texts, a->word_size);
	bytes_puts(e->b, "\"");
	event_end(e);
	event_begin(e, "response.content_part.done");
	bytes_printf(e->b,
	    ",\"content_index\":0,\"item_id\":\"msg_%s_%lu\","
	    "\"output_index\":%d,\"part\":",
	    j->name, (unsigned long)j->id, output);
	add_part(e->b, a, j, true);
	event_end(e);
	event_begin(e, "response.output_item.done");
	bytes_puts(e->b, ",\"item\":");
	add_item(e->b, a, j, true);
	bytes_printf(e->b, ",\"output_index\":%d", output);
	event_end(e);
}

static void
responses_stream(struct answer *a, const struct job *j)
{
	struct events e = {&a->open, 0};
	int output = a->thinks > 0 ? 1 : 0;

	event_begin(&e, "response.created");
	bytes_puts(e.b, ",\"response\":");
	add_response(e.b, a, j, false);
	event_end(&e);
	event_begin(&e, "response.in_progress");
	bytes_puts(e.b, ",\"response\":");
	add_response(e.b, a, j, false);
	event_end(&e);
	if (output > 0) {
		thought_open(&e, a, j);
		add_delta(&e, &a->think, j, "response.reasoning_text.delta",
		    "rs", 0, a->thinks);
		e.b = &a->middle;
		thought_close(&e, a, j);
	}
	item_open(&e, a, j, output);
	add_delta(&e, &a->text, j, "response.output_text.delta", "msg", output,
	    a->texts);
	e.b = &a->close;
	item_close(&e, a, j, output);
	event_begin(
	    &e, j->is_length ? "response.incomplete" : "response.completed");
	bytes_puts(e.b, ",\"response\":");
	add_response(e.b, a, j, true);
	event_end(&e);
	if (j->has_usage)
		a->usage_in_close = a->close.n;
}

void
api_responses(struct answer *a, const struct job *j)
{
	if (a->is_stream)
		responses_stream(a, j);
	else
		add_response(&a->close, a, j, true);
}
