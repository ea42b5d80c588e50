#include "head.h"

#include <string.h>
#include <strings.h>

#define HUGE_HEADERS 70 /* of HUGE_VALUE_BYTES each: over 64 KiB */
#define HUGE_VALUE_BYTES 1000
#define MANY_HEADERS 10000
#define LENGTH_LIE_BYTES 100

static const char *
reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 204:
		return "No Content";
	case 307:
		return "Temporary Redirect";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	default:
		return "Status";
	}
}

static void
add_interims(struct bytes *b, const struct directives *d)
{
	for (int64_t i = 0; i < d->interims; i++)
		bytes_puts(b,
		    "HTTP/1.1 103 Early Hints\r\n"
		    "Link: </a>; rel=preload\r\n\r\n");
	if (d->head == HEAD_CONTINUE103)
		bytes_puts(b,
		    "HTTP/1.1 103 Early Hints\r\n"
		    "Link: </a>; rel=preload\r\n\r\n"
		    "HTTP/1.1 102 Processing\r\n\r\n");
}

static void
add_status_line(struct bytes *b, int status, const struct directives *d)
{
	const char *version = d->head == HEAD_HTTP10 ? "1.0" : "1.1";

	if (d->fault == FAULT_bad_status)
		bytes_printf(b, "HTTP/%s %s OK\r\n", version, d->bad_status);
	else if (d->fault == FAULT_no_reason)
		bytes_printf(b, "HTTP/%s %d\r\n", version, status);
	else
		bytes_printf(
		    b, "HTTP/%s %d %s\r\n", version, status, reason_of(status));
}

static void
add_framing(
    struct bytes *b, const struct head_facts *h, const struct directives *d)
{
	size_t length = h->length;

	if (d->fault == FAULT_cl_mismatch_long)
		length += LENGTH_LIE_BYTES;
	if (h->framing == FRAMING_LENGTH || d->fault == FAULT_cl_and_te)
		bytes_printf(b, "Content-Length: %zu\r\n", length);
	if (d->fault == FAULT_two_cl)
		bytes_printf(b, "Content-Length: %zu\r\n", length + 5);
	if (h->framing == FRAMING_CHUNKED)
		bytes_puts(b,
		    d->fault == FAULT_te_gzip
			? "Transfer-Encoding: gzip, chunked\r\n"
			: "Transfer-Encoding: chunked\r\n");
	if (!h->is_kept && d->head != HEAD_HTTP10)
		bytes_puts(b, "Connection: close\r\n");
}

static void
add_extra(struct bytes *b, const struct directives *d)
{
	const char *value = strchr(d->extra_header, ':');
	int name_len = value == NULL ? 0 : (int)(value - d->extra_header);

	if (value != NULL)
		bytes_printf(b, "%.*s: %s\r\n", name_len, d->extra_header,
		    value + 1 + strspn(value + 1, " "));
	if (d->retry_after != DIRECTIVE_UNSET)
		bytes_printf(b, "Retry-After: %ld\r\n", (long)d->retry_after);
	if (d->fault == FAULT_redirect &&
	    strncasecmp(d->extra_header, "location:", 9) != 0)
		bytes_puts(b, "Location: http://127.0.0.1:9/elsewhere\r\n");
}

static void
add_bulk(struct bytes *b, const struct directives *d)
{
	if (d->head == HEAD_HUGE)
		for (int i = 0; i < HUGE_HEADERS; i++) {
			bytes_printf(b, "X-Huge-%d: ", i);
			bytes_fill(b, 'h', HUGE_VALUE_BYTES);
			bytes_puts(b, "\r\n");
		}
	if (d->fault == FAULT_many_headers)
		for (int i = 0; i < MANY_HEADERS; i++)
			bytes_printf(b, "X-Many-%d: 1\r\n", i);
	if (d->fault == FAULT_header_nul)
		bytes_add(b, "X-Nul: a\0b\r\n", 12);
	if (d->fault == FAULT_header_cr)
		bytes_puts(b, "X-Cr: a\rb\r\n");
}

void
head_render(
    struct bytes *b, const struct head_facts *h, const struct directives *d)
{
	add_interims(b, d);
	add_status_line(b, h->status, d);
	bytes_printf(b, "Server: weir-mock\r\nX-Mock-Name: %s\r\n", h->name);
	bytes_printf(
	    b, "X-Request-Id: mock-%s-%lu\r\n", h->name, (unsigned long)h->id);
	if (h->type != NULL)
		bytes_printf(b, "Content-Type: %s\r\n", h->type);
	if (h->encoding != NULL)
		bytes_printf(b, "Content-Encoding: %s\r\n", h->encoding);
	bytes_add(b, h->more.p, h->more.n);
	add_framing(b, h, d);
	add_extra(b, d);
	add_bulk(b, d);
	bytes_puts(b, "\r\n");
}
