/*
 * words.h - the groups of shapes that kind.c makes its rows of.
 *
 * words_chat.c, words_clouds.c, words_messages.c, words_responses.c and
 * words_lists.c have them.  In a shape ' is written for ", and a $mark for what
 * differs.
 */
#pragma once

#include "kind.h"

extern const struct chat_words chat_default, chat_cloud, chat_vllm, chat_sglang,
    chat_llamacpp, chat_mlx_lm, chat_mlx_vlm, chat_rapidmlx, chat_ollama,
    chat_fireworks, chat_fireworks_own, chat_xai, chat_deepseek,
    chat_openrouter, chat_azure, chat_groq, chat_mistral, chat_together;

extern const struct chat_words completions_default, completions_cloud,
    completions_vllm, completions_sglang, completions_llamacpp,
    completions_mlx_lm, completions_ollama, completions_fireworks;

extern const struct messages_words messages_default, messages_anthropic,
    messages_vllm, messages_llamacpp, messages_mlx_vlm, messages_ollama,
    messages_openrouter;

extern const struct responses_words responses_openai, responses_vllm,
    responses_llamacpp, responses_ollama, responses_rapidmlx;

extern const struct list_words embeddings_openai, embeddings_last,
    embeddings_vllm, embeddings_llamacpp;

extern const struct list_words rerank_default, rerank_vllm, rerank_llamacpp,
    rerank_mlx_vlm, rerank_tei, rerank_infinity, rerank_cohere, rerank_jina;

extern const struct error_words errors_default, errors_openai, errors_vllm,
    errors_llamacpp, errors_mlx_lm, errors_mlx_vlm, errors_ollama, errors_tei,
    errors_fireworks, errors_openrouter;
