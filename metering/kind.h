/*
 * kind.h - what is known about each kind of model server, and each API.
 *
 * A kind is one row: what it is called in the configuration, whether it is a
 * cloud (costs money), and what it understands.  An API is a route of ours.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"
#include "base/text.h"

/* name, text, is a cloud, health path */
#define SERVER_KINDS(X)                               \
	X(OPENAI, "openai", false, "/v1/models")      \
	X(VLLM, "vllm", false, "/health")             \
	X(SGLANG, "sglang", false, "/health")         \
	X(LLAMACPP, "llamacpp", false, "/health")     \
	X(MLX_LM, "mlx_lm", false, "/health")         \
	X(MLX_VLM, "mlx_vlm", false, "/health")       \
	X(RAPIDMLX, "rapidmlx", false, "/health")     \
	X(OLLAMA, "ollama", false, "/")               \
	X(TEI, "tei", false, "/health")               \
	X(INFINITY, "infinity", false, "/health")     \
	X(ANTHROPIC, "anthropic", true, "/v1/models") \
	X(FIREWORKS, "fireworks", true, "/v1/models") \
	X(XAI, "xai", true, "/v1/models")             \
	X(DEEPSEEK, "deepseek", true, "/v1/models")   \
	X(OPENROUTER, "openrouter", true, "/api/v1/key")

enum server_kind {
#define X(name, text, cloud, health) KIND_##name,
	SERVER_KINDS(X)
#undef X
	    KIND_COUNT
};

const char *kind_name(enum server_kind k);
bool kind_is_cloud(enum server_kind k);
MUST_CHECK bool kind_parse(struct slice text, enum server_kind *out);

/* name, text (in the ledger), may stream, answers in tokens */
#define SERVER_APIS(X)                      \
	X(CHAT, "chat", true)               \
	X(COMPLETIONS, "completions", true) \
	X(EMBEDDINGS, "embeddings", false)  \
	X(RERANK, "rerank", false)          \
	X(RESPONSES, "responses", true)     \
	X(MESSAGES, "messages", true)       \
	X(COUNT_TOKENS, "count_tokens", false)

enum server_api {
#define X(name, text, streams) API_##name,
	SERVER_APIS(X)
#undef X
	    API_COUNT
};

const char *api_name(enum server_api a);
bool api_may_stream(enum server_api a);
