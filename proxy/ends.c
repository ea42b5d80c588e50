#include "proxy/ends.h"

#include "base/json_out.h"

#include "base/banned.h"

static const struct end_facts facts[END_COUNT] = {
#define X(name, text, status, anthropic_status, type, code, anthropic_type, \
    retry, blame, help)                                                     \
	[END_##name] = {text, status, anthropic_status, type, code,         \
	    anthropic_type, RETRY_##retry, BLAME_##blame, help},
    ENDS(X)
#undef X
};

const struct end_facts *
end_facts(enum end e)
{
	return &facts[e];
}

void
end_write_body(struct buf *to, enum end e, bool is_anthropic,
    struct slice message, const char *request_id)
{
	const struct end_facts *f = &facts[e];
	struct json_out o = json_out_to(to);

	json_open(&o, '{');
	if (is_anthropic)
		json_member_string(&o, "type", SLICE("error"));
	json_key(&o, "error");
	json_open(&o, '{');
	if (is_anthropic) {
		json_member_string(&o, "type", slice_of(f->anthropic_type));
		json_member_string(&o, "message", message);
	} else {
		json_member_string(&o, "message", message);
		json_member_string(&o, "type", slice_of(f->type));
		json_key(&o, "param");
		json_null(&o);
		json_member_string(&o, "code", slice_of(f->code));
		if (request_id != NULL)
			json_member_string(
			    &o, "request_id", slice_of(request_id));
	}
	json_close(&o, '}');
	if (is_anthropic && request_id != NULL)
		json_member_string(&o, "request_id", slice_of(request_id));
	json_close(&o, '}');
}

const char *
status_phrase(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {{200, "OK"}, {201, "Created"}, {202, "Accepted"},
	    {204, "No Content"}, {206, "Partial Content"},
	    {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"},
	    {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"},
	    {405, "Method Not Allowed"}, {408, "Request Timeout"},
	    {409, "Conflict"}, {411, "Length Required"},
	    {413, "Content Too Large"}, {414, "URI Too Long"},
	    {415, "Unsupported Media Type"}, {417, "Expectation Failed"},
	    {422, "Unprocessable Content"}, {424, "Failed Dependency"},
	    {429, "Too Many Requests"},
	    {431, "Request Header Fields Too Large"},
	    {500, "Internal Server Error"}, {501, "Not Implemented"},
	    {502, "Bad Gateway"}, {503, "Service Unavailable"},
	    {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"},
	    {529, "Overloaded"}};

	for (size_t i = 0; i < COUNT_OF(phrases); i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return status < 300 ? "OK" : "Error";
}

void
ends_reference(struct buf *out)
{
	static const char *const blames[] = {[BLAME_NOBODY] = "-",
	    [BLAME_CLIENT] = "client",
	    [BLAME_UPSTREAM] = "upstream",
	    [BLAME_GATEWAY] = "gateway"};
	static const char *const retries[] = {
	    [RETRY_UNSAID] = "-", [RETRY_NO] = "no", [RETRY_LATER] = "later"};

	buf_puts(out,
	    "# How an exchange ends\n\n"
	    "Every way, from the program's own table (`proxy/ends.h`). `end` "
	    "is "
	    "what stands in the\nledger; a second status is the one on "
	    "`/v1/messages`.\n\n"
	    "| end | status | OpenAI type / code | Anthropic type | retry | "
	    "whose doing | meaning |\n|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < END_COUNT; i++) {
		const struct end_facts *f = &facts[i];

		buf_printf(out, "| `%s` | %d", f->text, f->status);
		if (f->anthropic_status != f->status)
			buf_printf(out, ", %d", f->anthropic_status);
		if (f->type[0] != '\0')
			buf_printf(out, " | `%s` / `%s` | `%s`", f->type,
			    f->code, f->anthropic_type);
		else
			buf_puts(out, " | - | -");
		buf_printf(out, " | %s | %s | %s |\n", retries[f->retry],
		    blames[f->blame], f->help);
	}
}
