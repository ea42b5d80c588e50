/*
 * faults.h - every way in which the mock can misbehave, in one table.
 *
 * X(name, where, act, help).  `where` says which part of an answer it spoils,
 * and so which file to read.  At BEFORE_HEAD, AFTER_HEAD, AFTER_OPEN and MID
 * the answer stops (answer.c) and `act` follows (conn_play.c).  HEAD is spoilt
 * by head.c; FRAME, CONTENT, USAGE and BODY are decided in plan.c.
 */
#pragma once

#define FAULTS(X)                                                             \
	X(none, NEVER, GO_ON, "a good answer")                                \
	X(hang_before_head, BEFORE_HEAD, HANG, "reads all, says nothing")     \
	X(hang_after_head, AFTER_HEAD, HANG, "a head, then silence")          \
	X(hang_mid, MID, HANG, "`after` events, then silence")                \
	X(reset_before_head, BEFORE_HEAD, RESET, "TCP reset, no answer")      \
	X(reset_mid, MID, RESET, "`after` events, then a TCP reset")          \
	X(close_before_head, BEFORE_HEAD, CLOSE, "closes, no answer")         \
	X(close_mid, MID, CLOSE, "`after` events, then EOF, no last chunk")   \
	X(role_then_close, AFTER_OPEN, CLOSE, "the first events, then EOF")   \
	X(malformed_sse, CONTENT, GO_ON, "broken JSON after `after` events")  \
	X(error_first_event, CONTENT, GO_ON, "200, then only an error event") \
	X(error_mid, CONTENT, GO_ON, "an error event after `after` events")   \
	X(empty_stream, CONTENT, GO_ON, "200 and the end mark, no content")   \
	X(no_usage, USAGE, GO_ON, "never says usage")                         \
	X(usage_every_chunk, USAGE, GO_ON, "a running count in each event")   \
	X(zero_usage, USAGE, GO_ON, "usage of only zeros")                    \
	X(error_usage, USAGE, GO_ON, "with status=N: usage in the error")     \
	X(cl_mismatch_long, FRAME, GO_ON, "Content-Length 100 too long, EOF") \
	X(two_cl, FRAME, GO_ON, "two Content-Lengths that differ")            \
	X(cl_and_te, FRAME, GO_ON, "Content-Length and chunked")              \
	X(chunk_ext, FRAME, GO_ON, "chunk extensions")                        \
	X(trailers, FRAME, GO_ON, "trailers behind the last chunk")           \
	X(bad_chunk, FRAME, GO_ON, "a chunk size that is no number")          \
	X(garbage_after, FRAME, GO_ON, "extra bytes behind a whole answer")   \
	X(slow_chunk, FRAME, GO_ON, "one chunk over 8 MiB, dripping")         \
	X(te_gzip, FRAME, GO_ON, "Transfer-Encoding: gzip, chunked")          \
	X(bad_status, HEAD, GO_ON, "bad_status:VALUE is the raw status")      \
	X(no_reason, HEAD, GO_ON, "a status line without a reason")           \
	X(header_nul, HEAD, GO_ON, "a NUL in a header's value")               \
	X(header_cr, HEAD, GO_ON, "a bare CR in a header's value")            \
	X(many_headers, HEAD, GO_ON, "10,000 headers")                        \
	X(redirect, HEAD, GO_ON, "307 to another host")                       \
	X(body_on_204, HEAD, GO_ON, "204, and a body all the same")           \
	X(gzip, BODY, GO_ON, "Content-Encoding: gzip, unasked")               \
	X(gzip_cut, BODY, GO_ON, "gzip that lacks its last 12 bytes")         \
	X(gzip_bomb, BODY, GO_ON, "gzip of 80 MiB of blanks")                 \
	X(wrong_encoding, BODY, GO_ON, "says br, is plain")                   \
	X(html, BODY, GO_ON, "200 with a page of HTML")                       \
	X(empty_body, BODY, GO_ON, "200 with nothing")                        \
	X(empty_json, BODY, GO_ON, "200 with {}")

enum fault {
#define FAULT_ENUM(name, where, act, help) FAULT_##name,
	FAULTS(FAULT_ENUM)
#undef FAULT_ENUM
	    FAULT_COUNT
};

enum fault_where {
	WHERE_NEVER,
	WHERE_BEFORE_HEAD,
	WHERE_AFTER_HEAD,
	WHERE_AFTER_OPEN, /* after the events that precede content */
	WHERE_MID,        /* streams: after N events; else: half the body */
	WHERE_HEAD,
	WHERE_FRAME,
	WHERE_CONTENT,
	WHERE_USAGE,
	WHERE_BODY,
};

enum fault_act {
	ACT_GO_ON,
	ACT_HANG,
	ACT_RESET,
	ACT_CLOSE,
};

struct fault_info {
	const char *name;
	const char *help;
	enum fault_where where;
	enum fault_act act;
};

extern const struct fault_info fault_table[FAULT_COUNT];
