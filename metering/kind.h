/*
 * kind.h - what is known about each kind of model server, and each API.
 *
 * A kind is one row: what it is called in the configuration, where its API and
 * its health stand, what may be put into a request for it, and how its usage
 * reads where it reads otherwise than everybody's.  An API is a route of ours.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/text.h"

/* What a kind has beside its paths. */
enum kind_trait {
	KIND_IS_CLOUD = 1,   /* costs money */
	KIND_ASKS_USAGE = 2, /* a stream takes stream_options.include_usage */
	KIND_RUNS_USAGE = 4, /* ...and .continuous_usage_stats */
	KIND_REASONS_BESIDE = 8, /* chat: completion_tokens leaves out what was
				    spent on reasoning */
	KIND_NULLS_USAGE = 16,   /* chunks without usage say "usage":null */
	KIND_GUESSES_START = 32, /* messages: what a stream begins with is made
				    from the prompt's length */
	KIND_HAS_X_API_KEY = 64, /* takes its key as x-api-key, not as a bearer,
				    and wants anthropic-version */
	KIND_WORKS_ON = 128,     /* does not notice that the client of an answer
				    that is no stream has gone */
};

/* name, text, base path if the URL says none, health path, traits.  Servers
 * that only resemble OpenAI's (Azure, Groq, Mistral, Together) are openai.
 *
 * continuous_usage_stats stays off where nobody has seen it work: OpenAI
 * itself refuses requests with options that it does not know. */
#define SERVER_KINDS(X)                                                        \
	X(OPENAI, "openai", "/v1", "/v1/models", KIND_ASKS_USAGE)              \
	X(VLLM, "vllm", "/v1", "/health", KIND_ASKS_USAGE | KIND_RUNS_USAGE)   \
	X(SGLANG, "sglang", "/v1", "/health",                                  \
	    KIND_ASKS_USAGE | KIND_RUNS_USAGE | KIND_NULLS_USAGE)              \
	X(LLAMACPP, "llamacpp", "/v1", "/health", KIND_ASKS_USAGE)             \
	X(MLX_LM, "mlx_lm", "/v1", "/health", KIND_ASKS_USAGE | KIND_WORKS_ON) \
	X(MLX_VLM, "mlx_vlm", "/v1", "/health", KIND_ASKS_USAGE)               \
	X(RAPIDMLX, "rapidmlx", "/v1", "/health", KIND_ASKS_USAGE)             \
	X(OLLAMA, "ollama", "/v1", "/", KIND_ASKS_USAGE | KIND_GUESSES_START)  \
	X(TEI, "tei", "/v1", "/health", 0)                                     \
	X(INFINITY, "infinity", "", "/health", 0)                              \
	X(ANTHROPIC, "anthropic", "/v1", "/v1/models",                         \
	    KIND_IS_CLOUD | KIND_ASKS_USAGE | KIND_HAS_X_API_KEY)              \
	X(FIREWORKS, "fireworks", "/v1", "/inference/v1/models",               \
	    KIND_IS_CLOUD | KIND_ASKS_USAGE)                                   \
	X(XAI, "xai", "/v1", "/v1/models",                                     \
	    KIND_IS_CLOUD | KIND_ASKS_USAGE | KIND_REASONS_BESIDE)             \
	X(DEEPSEEK, "deepseek", "/v1", "/v1/models",                           \
	    KIND_IS_CLOUD | KIND_ASKS_USAGE)                                   \
	X(OPENROUTER, "openrouter", "/v1", "/api/v1/key",                      \
	    KIND_IS_CLOUD | KIND_ASKS_USAGE)

enum server_kind {
#define X(name, text, base, health, traits) KIND_##name,
	SERVER_KINDS(X)
#undef X
	    KIND_COUNT
};

/* name, text (in the ledger), path under the base, may stream, answers in
 * tokens */
#define SERVER_APIS(X)                                      \
	X(CHAT, "chat", "/chat/completions", true)          \
	X(COMPLETIONS, "completions", "/completions", true) \
	X(EMBEDDINGS, "embeddings", "/embeddings", false)   \
	X(RERANK, "rerank", "/rerank", false)               \
	X(RESPONSES, "responses", "/responses", true)       \
	X(MESSAGES, "messages", "/messages", true)          \
	X(COUNT_TOKENS, "count_tokens", "/messages/count_tokens", false)

enum server_api {
#define X(name, text, path, streams) API_##name,
	SERVER_APIS(X)
#undef X
	    API_COUNT
};

/* Where a kind has an API elsewhere than under its base: kind, API, path from
 * the origin.  TEI has its OpenAI routes under /v1, and /rerank beside that. */
#define SERVER_PATHS(X) X(TEI, RERANK, "/rerank")

const char *kind_name(enum server_kind k);

/* True if the kind has all of these traits. */
bool kind_has(enum server_kind k, unsigned traits);

/* Where its API begins if the URL has no path: "/v1", or "". */
const char *kind_base(enum server_kind k);

/* From the origin: where it answers 200 if it is well. */
const char *kind_health(enum server_kind k);

/* From the origin, whatever the base: where this kind has that API; NULL: under
 * its base, at api_path(). */
const char *kind_path(enum server_kind k, enum server_api a);

MUST_CHECK bool kind_parse(struct slice text, enum server_kind *out);

const char *api_name(enum server_api a);
const char *api_path(enum server_api a);
bool api_may_stream(enum server_api a);

/* Whether an answer has tokens of its own: embeddings and scores have none. */
bool api_has_output(enum server_api a);
