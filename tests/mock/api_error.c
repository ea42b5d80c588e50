#include "api.h"

#include <string.h>

struct error_kind {
	int status;
	const char *openai_type;
	const char *openai_code; /* as JSON */
	const char *anthropic_type;
};

/* The last row is for every status that has none of its own. */
static const struct error_kind error_kinds[] = {
    {400, "invalid_request_error", "null", "invalid_request_error"},
    {401, "invalid_request_error", "\"invalid_api_key\"",
	"authentication_error"},
    {402, "insufficient_quota", "\"insufficient_quota\"", "billing_error"},
    {403, "permission_error", "null", "permission_error"},
    {404, "invalid_request_error", "\"model_not_found\"", "not_found_error"},
    {409, "conflict_error", "null", "conflict_error"},
    {413, "invalid_request_error", "\"request_too_large\"",
	"request_too_large"},
    {429, "requests", "\"rate_limit_exceeded\"", "rate_limit_error"},
    {503, "service_unavailable_error", "\"server_is_overloaded\"",
	"overloaded_error"},
    {504, "server_error", "null", "timeout_error"},
    {529, "server_error", "\"server_is_overloaded\"", "overloaded_error"},
    {0, "server_error", "null", "api_error"},
};

static const struct error_kind *
find_kind(int status)
{
	const struct error_kind *k = error_kinds;

	while (k->status != 0 && k->status != status)
		k++;
	return k;
}

static bool
is_messages(enum route r)
{
	return r == ROUTE_messages || r == ROUTE_count_tokens;
}

void
api_error(struct bytes *b, enum route r, int status, const char *message)
{
	const struct error_kind *k = find_kind(status);

	if (is_messages(r)) {
		bytes_printf(b,
		    "{\"type\":\"error\",\"error\":{\"type\":\"%s\","
		    "\"message\":",
		    k->anthropic_type);
		bytes_json(b, message, strlen(message));
		bytes_puts(b, "},\"request_id\":\"req_mock\"}");
		return;
	}
	bytes_puts(b, "{\"error\":{\"message\":");
	bytes_json(b, message, strlen(message));
	bytes_printf(b, ",\"type\":\"%s\",\"param\":null,\"code\":%s}}",
	    k->openai_type, k->openai_code);
}

void
api_error_event(struct bytes *b, enum route r)
{
	if (r == ROUTE_messages)
		bytes_puts(b,
		    "event: error\n"
		    "data: {\"type\":\"error\",\"error\":{\"type\":"
		    "\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n");
	else if (r == ROUTE_responses)
		bytes_puts(b,
		    "event: error\n"
		    "data: {\"type\":\"error\",\"code\":\"server_error\","
		    "\"message\":\"The mock broke off.\",\"param\":null,"
		    "\"sequence_number\":9}\n\n");
	else
		bytes_puts(b,
		    "data: {\"error\": {\"message\": \"The mock broke "
		    "off.\", \"type\": \"InternalServerError\", "
		    "\"param\": null, \"code\": 500}}\n\n"
		    "data: [DONE]\n\n");
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
api_end_mark(struct bytes *b, enum route r)
{
	if (r == ROUTE_messages)
		bytes_puts(b,
		    "event: message_stop\n"
		    "data: {\"type\":\"message_stop\"}\n\n");
	else if (r != ROUTE_responses)
		bytes_puts(b, "data: [DONE]\n\n");
}
