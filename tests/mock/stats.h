/*
 * stats.h - exact counters of what was seen and what was really sent.
 *
 * One set for all threads, of atomics.  A counter moves before the bytes that
 * tell a client about it, but for the usage sums, which count only what the
 * kernel took whole.
 */
#pragma once

#include <stdint.h>

#include "bytes.h"

/* X(name, kind, help): a GAUGE is not zeroed by stats_reset. */
#define STATS(X)                                                               \
	X(connections_accepted, COUNT, "accepted, without the control's")      \
	X(connections_open, GAUGE, "open now, without the control's")          \
	X(requests_control, COUNT, "/_mock/ requests")                         \
	X(requests_bad, COUNT, "heads that were no HTTP, no route, no method") \
	X(served, COUNT, "POSTs whose head and body came completely")          \
	X(dropped_reused, COUNT, "connections closed by drop_reused")          \
	X(in_flight, GAUGE, "POSTs between their head and their end")          \
	X(max_in_flight, PEAK, "the most in_flight has been")                  \
	X(held, GAUGE, "answers that wait to be told to go on")                \
	X(waiting, GAUGE, "requests that wait for a slot")                     \
	X(max_waiting, PEAK, "the most waiting has been")                      \
	X(working, GAUGE, "requests that have a slot")                         \
	X(max_working, PEAK, "the most working has been")                      \
	X(works_started, COUNT, "requests that got a slot")                    \
	X(works_cut, COUNT, "... or waited, and were left by their client")    \
	X(works_alone, COUNT, "... and were worked on without their client")   \
	X(prefills_cut, COUNT, "prompts whose reading was broken off")         \
	X(prefill_tokens, COUNT, "prompt tokens read, also of those")          \
	X(answers_started, COUNT, "answers begun")                             \
	X(answers_finished, COUNT, "... written whole, as planned")            \
	X(answers_cut, COUNT, "... left by the client before the end")         \
	X(answers_broken, COUNT, "... ended by a fault of ours")               \
	X(streams_started, COUNT, "of the answers, those streamed")            \
	X(streams_finished, COUNT, "... written whole, as planned")            \
	X(streams_cut, COUNT, "... left by the client before the end")         \
	X(streams_broken, COUNT, "... ended by a fault of ours")               \
	X(content_events, COUNT, "content and reasoning deltas rendered")      \
	X(usage_answers, COUNT, "answers whose usage was written whole")       \
	X(usage_prompt, COUNT, "prompt tokens in them")                        \
	X(usage_completion, COUNT, "completion tokens, reasoning included")    \
	X(usage_cached, COUNT, "cached prompt tokens")                         \
	X(usage_cache_write, COUNT, "prompt tokens written to a cache")        \
	X(usage_reasoning, COUNT, "reasoning tokens")

enum stat {
#define STAT_ENUM(name, kind, help) STAT_##name,
	STATS(STAT_ENUM)
#undef STAT_ENUM
	    STAT_COUNT
};

/* X(name, method, path without /v1). */
#define ROUTES(X)                                         \
	X(chat, "POST", "/chat/completions")              \
	X(completions, "POST", "/completions")            \
	X(embeddings, "POST", "/embeddings")              \
	X(rerank, "POST", "/rerank")                      \
	X(responses, "POST", "/responses")                \
	X(messages, "POST", "/messages")                  \
	X(count_tokens, "POST", "/messages/count_tokens") \
	X(models, "GET", "/models")                       \
	X(health, "GET", "/health")                       \
	X(metrics, "GET", "/metrics")

enum route {
#define ROUTE_ENUM(name, method, path) ROUTE_##name,
	ROUTES(ROUTE_ENUM)
#undef ROUTE_ENUM
	    ROUTE_NONE,
	ROUTE_CONTROL,
};

/* Returns the route of a path without its query; ROUTE_NONE if there is none
 * or the method is another. */
enum route stats_find_route(
    const char *method, size_t method_len, const char *path, size_t path_len);

const char *stats_route_name(enum route r);

void stats_add(enum stat s, uint64_t n);
void stats_sub(enum stat s, uint64_t n);

/* One more of a gauge; keeps its peak. */
void stats_peak(enum stat gauge, enum stat peak);

void stats_count_route(enum route r);
void stats_count_status(int status);

/* Appends all as one JSON object; `name` is the server's label. */
void stats_render(struct bytes *b, const char *name);

/* Zeroes the counters; peaks become what is there now. */
void stats_reset(void);
