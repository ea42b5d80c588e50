/*
 * ledger_line.h - one exchange, as a line of JSON.
 *
 * LEDGER_FIELDS is the one table of fields: the writer, the reader and the
 * documentation come from it.  The first six fields and their order are a
 * promise to the people who read the file with scripts of their own; the others
 * may only be added to.  Message text never goes in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/fault.h"
#include "base/text.h"
#include "metering/usage.h"

/* Newline included; a slot of the scoreboard takes one. */
#define LEDGER_LINE_MOST_BYTES 3840
#define LEDGER_ATTEMPTS_MOST \
	8 /* 4 routes, each with one fresh-connection retry */

/* X(member, json name, type, help); types: TEXT, MONEY, INT, BOOL, TIME.
 * TEXT that is NULL is written as null. */
#define LEDGER_FIELDS(X)                                                      \
	X(ts_ms, "ts", TIME, "when the request arrived, UTC")                 \
	X(user, "user", TEXT, "who is charged")                               \
	X(model, "model", TEXT, "the model's public name")                    \
	X(prompt_tokens, "prompt_tokens", INT, "tokens in, cached included")  \
	X(completion_tokens, "completion_tokens", INT,                        \
	    "tokens out, reasoning included")                                 \
	X(duration_ms, "duration_ms", INT, "arrival to end")                  \
	X(id, "id", TEXT, "the gateway's id of the exchange (ULID)")          \
	X(key, "key", TEXT, "the key's public id")                            \
	X(api, "api", TEXT, "which API was called")                           \
	X(stream, "stream", BOOL, "whether a stream was asked for")           \
	X(status, "status", INT, "HTTP status that the client got; 0: none")  \
	X(end, "end", TEXT, "how it ended")                                   \
	X(usage_source, "usage_source", TEXT, "where the counts come from")   \
	X(usage_damaged, "usage_damaged", BOOL,                               \
	    "whether the upstream sent counts that cannot be")                \
	X(cached_tokens, "cached_tokens", INT,                                \
	    "of prompt_tokens, read from a cache")                            \
	X(cache_write_tokens, "cache_write_tokens", INT,                      \
	    "of prompt_tokens, written to a cache")                           \
	X(reasoning_tokens, "reasoning_tokens", INT, "of completion_tokens")  \
	X(audio_tokens, "audio_tokens", INT, "audio, in and out")             \
	X(cost_usd, "cost_usd", MONEY, "sum over all attempts")               \
	X(upstream_cost_usd, "upstream_cost_usd", TEXT,                       \
	    "what the upstream says it cost, where it does")                  \
	X(price_date, "price_date", TEXT, "`from` of the price in force")     \
	X(ttft_ms, "ttft_ms", INT,                                            \
	    "arrival to first content; null: none came")                      \
	X(queue_ms, "queue_ms", INT, "of that, waiting for a slot")           \
	X(bytes_in, "bytes_in", INT, "the request's body")                    \
	X(bytes_out, "bytes_out", INT, "body bytes sent to the client")       \
	X(upstream, "upstream", TEXT, "who answered, or was tried last")      \
	X(upstream_model, "upstream_model", TEXT, "the model's name there")   \
	X(paid, "paid", BOOL, "whether that upstream costs money")            \
	X(avoided_usd, "avoided_usd", MONEY,                                  \
	    "what a local answer would have cost on the first paid route")    \
	X(client, "client", TEXT, "the User-Agent's first word")              \
	X(client_request_id, "client_request_id", TEXT, "X-Request-Id given") \
	X(session, "session", TEXT, "the session that the client named")      \
	X(predicted_ttft_ms, "predicted_ttft_ms", INT,                        \
	    "what ttft_ms was expected to be; null: nothing was")             \
	X(prefill, "prefill", TEXT,                                           \
	    "`warned` or `refused` because that was too long")                \
	X(joined_by, "joined_by", TEXT,                                       \
	    "id of the retry that took over this one's answer")               \
	X(fallback_usd, "fallback_usd", MONEY,                                \
	    "of cost_usd, on paid routes taken because a free one failed")

/* The same of one attempt at an upstream; COUNT is an INT that is never null,
 * SOURCE one of USAGE_SOURCES. */
#define LEDGER_ATTEMPT_FIELDS(X)                       \
	X(upstream, "upstream", TEXT, "who was asked") \
	X(result, "result", TEXT, "`ok`, or how it failed")

/* Those that are written if the attempt brought usage. */
#define LEDGER_ATTEMPT_USAGE_FIELDS(X)                                        \
	X(usage.input, "prompt_tokens", COUNT, "tokens in, cached included")  \
	X(usage.cached, "cached_tokens", COUNT, "of prompt_tokens")           \
	X(usage.cache_write, "cache_write_tokens", COUNT, "of prompt_tokens") \
	X(usage.output, "completion_tokens", COUNT,                           \
	    "tokens out, reasoning included")                                 \
	X(cost_pusd, "cost_usd", MONEY, "by the price in force at arrival")   \
	X(source, "usage_source", SOURCE, "where its counts come from")

/* One attempt at an upstream. */
struct ledger_attempt {
	const char *upstream; /* borrowed */
	const char *result;   /* "ok", or how it failed */
	struct usage usage;   /* written only if source is not NONE */
	enum usage_source source;
	__int128 cost_pusd;
	/* On a paid route that was taken because a free one failed.  Not
	 * written of each attempt: what those cost is the line's fallback_usd.
	 */
	bool is_fallback;
};

#define LEDGER_TYPE_TEXT const char *
#define LEDGER_TYPE_MONEY __int128
#define LEDGER_TYPE_INT int64_t
#define LEDGER_TYPE_BOOL bool
#define LEDGER_TYPE_TIME int64_t

/* Texts are borrowed from whoever filled it in.  An INT of -1 in ttft_ms and
 * predicted_ttft_ms is written as null; other counts are never negative. */
struct ledger_line {
#define X(member, name, type, help) LEDGER_TYPE_##type member;
	LEDGER_FIELDS(X)
#undef X
	struct ledger_attempt attempts[LEDGER_ATTEMPTS_MOST];
	size_t attempt_count;
};

/* Adds an attempt.  The line's own counts become those of this, the last one;
 * its costs are the sums over all. */
void ledger_line_take_attempt(
    struct ledger_line *line, const struct ledger_attempt *a);

/* Appends the line without its last two members and its end: the ledger thread
 * adds `"writer":…,"seq":…}` and a newline (ledger_line_finish).  Never longer
 * than LEDGER_LINE_MOST_BYTES in all: texts too long are cut. */
void ledger_line_write(struct buf *to, const struct ledger_line *line);

void ledger_line_finish(struct buf *to, const char *writer, uint64_t seq);

/* Appends what `weir help ledger` says: every field, and how it is made. */
void ledger_fields_page(struct buf *out);
