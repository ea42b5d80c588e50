#include "api.h"

#define CONTENT_DELTA                                               \
	"event: content_block_delta\ndata: {\"type\":"              \
	"\"content_block_delta\",\"index\":%d,\"delta\":{\"type\":" \
	"\"%s\",\"%s\":\""

/* The input, as this API divides it: cached tokens stand apart. */
static void
input_usage(struct bytes *b, const struct usage *u)
{
	bytes_printf(b,
	    "\"input_tokens\":%lu,\"cache_creation_input_tokens\":0,"
	    "\"cache_read_input_tokens\":%lu",
	    (unsigned long)(u->prompt - u->cached), (unsigned long)u->cached);
}

static void
first_usage(struct bytes *b, const struct job *j, uint64_t output)
{
	bytes_puts(b, ",\"usage\":{");
	input_usage(b, &j->said);
	bytes_printf(b,
	    ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,"
	    "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":%lu,"
	    "\"service_tier\":\"standard\",\"inference_geo\":"
	    "\"not_available\"}",
	    (unsigned long)output);
}

static void
block_start(struct bytes *b, int index, bool is_thinking)
{
	bytes_printf(b,
	    "event: content_block_start\ndata: {\"type\":"
	    "\"content_block_start\",\"index\":%d,\"content_block\":%s}\n\n",
	    index,
	    is_thinking ? "{\"type\":\"thinking\",\"thinking\":\"\","
			  "\"signature\":\"\"}"
			: "{\"type\":\"text\",\"text\":\"\"}");
}

static void
block_stop(struct bytes *b, int index)
{
	bytes_printf(b,
	    "event: content_block_stop\ndata: {\"type\":"
	    "\"content_block_stop\",\"index\":%d}\n\n",
	    index);
}

static void
stream_open(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->open;

	bytes_printf(b,
	    "event: message_start\ndata: {\"type\":\"message_start\","
	    "\"message\":{\"model\":\"%s\",\"id\":\"msg_%s_%lu\","
	    "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],"
	    "\"stop_reason\":null,\"stop_sequence\":null,"
	    "\"stop_details\":null",
	    j->ask->model, j->name, (unsigned long)j->id);
	if (j->has_usage)
		first_usage(b, j, j->said.completion > 0 ? 1 : 0);
	bytes_puts(b, "}}\n\n");
	block_start(b, 0, a->thinks > 0);
	bytes_puts(b, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
}

static void
stream_close(struct answer *a, const struct job *j, int index)
{
	struct bytes *b = &a->close;

	block_stop(b, index);
	bytes_printf(b,
	    "event: message_delta\ndata: {\"type\":\"message_delta\","
	    "\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null,"
	    "\"stop_details\":null}",
	    j->is_length ? "max_tokens" : "end_turn");
	if (j->has_usage) {
		bytes_puts(b, ",\"usage\":{");
		input_usage(b, &j->said);
		bytes_printf(b, ",\"output_tokens\":%lu",
		    (unsigned long)j->said.completion);
		if (j->said.reasoning > 0)
			bytes_printf(b,
			    ",\"output_tokens_details\":"
			    "{\"thinking_tokens\":%lu}",
			    (unsigned long)j->said.reasoning);
		bytes_puts(b, "}");
	}
	bytes_puts(b, "}\n\n");
	if (j->has_usage)
		a->usage_in_close = b->n;
	api_end_mark(b, j->route);
}

static void
messages_stream(struct answer *a, const struct job *j)
{
	int index = a->thinks > 0 ? 1 : 0;

	stream_open(a, j);
	bytes_printf(
	    &a->think.part[0], CONTENT_DELTA, 0, "thinking_delta", "thinking");
	bytes_puts(&a->think.part[1], "\"}}\n\n");
	if (index > 0) {
		bytes_printf(&a->middle, CONTENT_DELTA, 0, "signature_delta",
		    "signature");
		bytes_puts(&a->middle, "bW9jaw==\"}}\n\n");
		block_stop(&a->middle, 0);
		block_start(&a->middle, 1, false);
	}
	bytes_printf(
	    &a->text.part[0], CONTENT_DELTA, index, "text_delta", "text");
	bytes_puts(&a->text.part[1], "\"}}\n\n");
	stream_close(a, j, index);
}

void
api_messages(struct answer *a, const struct job *j)
{
	struct bytes *b = &a->close;

	if (a->is_stream) {
		messages_stream(a, j);
		return;
	}
	bytes_printf(b,
	    "{\"model\":\"%s\",\"id\":\"msg_%s_%lu\",\"type\":\"message\","
	    "\"role\":\"assistant\",\"content\":[",
	    j->ask->model, j->name, (unsigned long)j->id);
	if (a->thinks > 0) {
		bytes_puts(b, "{\"type\":\"thinking\",\"thinking\":\"");
		answer_words(b, a->thinks, 0);
		bytes_puts(b, "\",\"signature\":\"bW9jaw==\"},");
	}
	bytes_puts(b, "{\"type\":\"text\",\"text\":\"");
	api_text(b, a, j);
	bytes_printf(b, "\"}],\"stop_reason\":\"%s\",\"stop_sequence\":null",
	    j->is_length ? "max_tokens" : "end_turn");
	if (j->has_usage)
		first_usage(b, j, j->said.completion);
	bytes_puts(b, "}");
}

void
api_count_tokens(struct answer *a, const struct job *j)
{
	bytes_printf(
	    &a->close, "{\"input_tokens\":%lu}", (unsigned long)j->said.prompt);
}
