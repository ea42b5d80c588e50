/*
 * ends.h - every way in which an exchange can end: one table.
 *
 * From it come the HTTP status, the error body in OpenAI's and in Anthropic's
 * shape, the ledger's `end`, and the page of errors in the documentation.  The
 * sentence that the client reads is written where the end happens; `help` is
 * the one used when nothing better is known there.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/text.h"

/* Whose doing: says whether the operator should look. */
enum blame { BLAME_NOBODY, BLAME_CLIENT, BLAME_UPSTREAM, BLAME_GATEWAY };

/* May a client that repeats the request at once hope for more? */
enum retry { RETRY_UNSAID, RETRY_NO, RETRY_LATER };

/* X(name, text in the ledger, status, Anthropic's status, OpenAI type, OpenAI
 *   code, Anthropic type, retry, blame, help) */
#define ENDS(X)                                                                \
	X(OK, "ok", 200, 200, "", "", "", UNSAID, NOBODY,                      \
	    "The answer went out whole.")                                      \
	X(CLIENT_GONE, "client_gone", 499, 499, "", "", "", UNSAID, CLIENT,    \
	    "The client left before the end, or stopped reading.")             \
	X(REVOKED, "revoked", 401, 401, "invalid_request_error",               \
	    "invalid_api_key", "authentication_error", NO, NOBODY,             \
	    "This key was revoked, or its user taken out of the "              \
	    "configuration, before the answer had ended.")                     \
	X(SHUTDOWN, "shutdown", 503, 529, "server_error", "overloaded",        \
	    "overloaded_error", LATER, GATEWAY,                                \
	    "The gateway was stopped before the answer had ended.")            \
	X(DRAINING, "draining", 503, 529, "server_error", "overloaded",        \
	    "overloaded_error", LATER, GATEWAY,                                \
	    "The gateway is being stopped and takes no new requests.")         \
	X(BAD_REQUEST, "bad_request", 400, 400, "invalid_request_error",       \
	    "bad_request", "invalid_request_error", NO, CLIENT,                \
	    "This is not a well-formed HTTP/1.1 request.")                     \
	X(LENGTH_REQUIRED, "length_required", 411, 411,                        \
	    "invalid_request_error", "length_required",                        \
	    "invalid_request_error", NO, CLIENT,                               \
	    "A POST needs Content-Length, or Transfer-Encoding: chunked.")     \
	X(TARGET_TOO_LONG, "target_too_long", 414, 414,                        \
	    "invalid_request_error", "uri_too_long", "invalid_request_error",  \
	    NO, CLIENT, "The request target is longer than 8 KiB.")            \
	X(EXPECTATION, "expectation_failed", 417, 417,                         \
	    "invalid_request_error", "expectation_failed",                     \
	    "invalid_request_error", NO, CLIENT,                               \
	    "The only expectation met here is 100-continue.")                  \
	X(HEAD_TOO_LARGE, "head_too_large", 431, 431, "invalid_request_error", \
	    "headers_too_large", "invalid_request_error", NO, CLIENT,          \
	    "The request's head is over 32 KiB or has more than 100 fields.")  \
	X(VERSION, "bad_version", 505, 505, "invalid_request_error",           \
	    "http_version", "invalid_request_error", NO, CLIENT,               \
	    "Only HTTP/1.0 and HTTP/1.1 are spoken here.")                     \
	X(HEAD_TIMEOUT, "head_timeout", 408, 408, "invalid_request_error",     \
	    "request_timeout", "invalid_request_error", UNSAID, CLIENT,        \
	    "The request's head did not arrive in time.")                      \
	X(BODY_TIMEOUT, "body_timeout", 408, 408, "invalid_request_error",     \
	    "request_timeout", "invalid_request_error", UNSAID, CLIENT,        \
	    "The request's body did not arrive in time.")                      \
	X(METHOD, "method_not_allowed", 405, 405, "invalid_request_error",     \
	    "method_not_allowed", "invalid_request_error", NO, CLIENT,         \
	    "This path does not take that method.")                            \
	X(ADDRESS, "address_refused", 403, 403, "invalid_request_error",       \
	    "address_refused", "permission_error", NO, CLIENT,                 \
	    "Requests from this address are not allowed.")                     \
	X(KEY_MISSING, "key_missing", 401, 401, "invalid_request_error",       \
	    "invalid_api_key", "authentication_error", NO, CLIENT,             \
	    "No API key was sent. Send one as `Authorization: Bearer "         \
	    "sk-weir-...`.")                                                   \
	X(KEY_WRONG, "key_wrong", 401, 401, "invalid_request_error",           \
	    "invalid_api_key", "authentication_error", NO, CLIENT,             \
	    "This API key is not valid.")                                      \
	X(KEY_AMBIGUOUS, "key_ambiguous", 400, 400, "invalid_request_error",   \
	    "ambiguous_credentials", "invalid_request_error", NO, CLIENT,      \
	    "Different credentials were sent. Send one key, once.")            \
	X(KEY_THROTTLED, "key_throttled", 429, 429, "rate_limit_error",        \
	    "rate_limit_exceeded", "rate_limit_error", LATER, CLIENT,          \
	    "Too many wrong keys from this address. Check the key before "     \
	    "trying again.")                                                   \
	X(NOT_FOUND, "not_found", 404, 404, "invalid_request_error",           \
	    "unknown_url", "not_found_error", NO, CLIENT,                      \
	    "There is no such path.")                                          \
	X(BODY_TOO_LARGE, "body_too_large", 413, 413, "invalid_request_error", \
	    "request_too_large", "request_too_large", NO, CLIENT,              \
	    "The request's body is too large.")                                \
	X(BODY_ENCODED, "body_encoded", 415, 415, "invalid_request_error",     \
	    "unsupported_content_encoding", "invalid_request_error", NO,       \
	    CLIENT, "Send the body plain: a Content-Encoding is not taken.")   \
	X(BODY_INVALID, "body_invalid", 400, 400, "invalid_request_error",     \
	    "invalid_json", "invalid_request_error", NO, CLIENT,               \
	    "The body is not a JSON object.")                                  \
	X(MODEL_UNKNOWN, "model_not_found", 404, 404, "invalid_request_error", \
	    "model_not_found", "not_found_error", NO, CLIENT,                  \
	    "There is no such model for this key.")                            \
	X(RATE_LIMITED, "rate_limited", 429, 429, "rate_limit_error",          \
	    "rate_limit_exceeded", "rate_limit_error", LATER, CLIENT,          \
	    "Too many requests a minute.")                                     \
	X(QUOTA, "quota_exhausted", 429, 429, "insufficient_quota",            \
	    "insufficient_quota", "rate_limit_error", NO, CLIENT,              \
	    "A budget, or the tokens of a day, are used up.")                  \
	X(UNVERIFIED, "budget_unverified", 503, 529, "server_error",           \
	    "overloaded", "overloaded_error", LATER, GATEWAY,                  \
	    "What all gateways have spent together cannot be checked now.")    \
	X(CONCURRENT, "concurrent", 429, 429, "rate_limit_error",              \
	    "rate_limit_exceeded", "rate_limit_error", LATER, CLIENT,          \
	    "Too many requests at once, and the wait for one to end was too "  \
	    "long.")                                                           \
	X(PUSHED_OUT, "pushed_out", 429, 429, "rate_limit_error",              \
	    "rate_limit_exceeded", "rate_limit_error", LATER, CLIENT,          \
	    "The queue is full, and this user had the most places in it.")     \
	X(CONTEXT, "context_exceeded", 400, 400, "invalid_request_error",      \
	    "context_length_exceeded", "invalid_request_error", NO, CLIENT,    \
	    "The request needs more tokens than the model server has room "    \
	    "for.")                                                            \
	X(PREFILL, "prefill_refused", 504, 504, "server_error",                \
	    "upstream_timeout", "timeout_error", NO, CLIENT,                   \
	    "The first token would come later than the client waits for it.")  \
	X(PAID_REFUSED, "paid_refused", 403, 403, "invalid_request_error",     \
	    "paid_route_refused", "permission_error", NO, CLIENT,              \
	    "This model costs money, and this user has no paid_routes.")       \
	X(FULL, "full", 503, 529, "server_error", "overloaded",                \
	    "overloaded_error", LATER, UPSTREAM,                               \
	    "All model servers for this model are busy. Try again shortly.")   \
	X(CONNECT_ERROR, "connect_error", 502, 502, "server_error",            \
	    "upstream_unavailable", "api_error", UNSAID, UPSTREAM,             \
	    "The model server could not be reached.")                          \
	X(UPSTREAM_RESET, "upstream_reset", 502, 502, "server_error",          \
	    "upstream_unavailable", "api_error", UNSAID, UPSTREAM,             \
	    "The model server broke the connection before its answer was "     \
	    "whole.")                                                          \
	X(UPSTREAM_INVALID, "upstream_invalid", 502, 502, "server_error",      \
	    "upstream_unavailable", "api_error", UNSAID, UPSTREAM,             \
	    "The model server's answer is not well-formed HTTP/1.1.")          \
	X(UPSTREAM_ERROR, "upstream_error", 502, 502, "server_error",          \
	    "upstream_unavailable", "api_error", UNSAID, UPSTREAM,             \
	    "The model server answered with an error.")                        \
	X(TIMEOUT, "timeout", 504, 504, "server_error", "upstream_timeout",    \
	    "timeout_error", UNSAID, UPSTREAM,                                 \
	    "The model server did not answer in time.")                        \
	X(LEDGER_DOWN, "ledger_down", 503, 529, "server_error", "overloaded",  \
	    "overloaded_error", LATER, GATEWAY,                                \
	    "The gateway cannot write its ledger (is the disk full?), and "    \
	    "takes no requests until it can.")                                 \
	X(NO_MEMORY, "no_memory", 503, 529, "server_error", "overloaded",      \
	    "overloaded_error", LATER, GATEWAY,                                \
	    "The gateway is out of memory for request bodies. Try again "      \
	    "shortly.")

enum end {
#define X(name, ...) END_##name,
	ENDS(X)
#undef X
	    END_COUNT
};

struct end_facts {
	const char *text;
	int status, anthropic_status;
	const char *type, *code, *anthropic_type;
	enum retry retry;
	enum blame blame;
	const char *help;
};

const struct end_facts *end_facts(enum end e);

/* Appends the error body in the dialect that the client speaks; `message` is a
 * whole sentence.  `request_id` may be NULL. */
void end_write_body(struct buf *to, enum end e, bool is_anthropic,
    struct slice message, const char *request_id);

/* The reason phrase of a status (RFC 9110 15, and 429, 431, 529). */
const char *status_phrase(int status);

/* The page of all ends, in Markdown. */
void ends_reference(struct buf *out);
