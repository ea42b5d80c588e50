#include "kind.h"

#include <string.h>

#include "words.h"

static const struct kind kinds[] = {
    {
	.name = "openai",
	.chat = &chat_default,
	.completions = &completions_default,
	.messages = &messages_default,
	.responses = &responses_openai,
	.embeddings = &embeddings_openai,
	.rerank = &rerank_default,
	.errors = &errors_default,
	.can_run = true,
	.counts = true,
    },
    {
	.name = "openai-cloud",
	.chat = &chat_cloud,
	.completions = &completions_cloud,
	.responses = &responses_openai,
	.embeddings = &embeddings_openai,
	.errors = &errors_openai,
    },
    {
	.name = "vllm",
	.chat = &chat_vllm,
	.completions = &completions_vllm,
	.messages = &messages_vllm,
	.responses = &responses_vllm,
	.embeddings = &embeddings_vllm,
	.rerank = &rerank_vllm,
	.errors = &errors_vllm,
	.early = 1,
	.can_run = true,
	.counts = true,
    },
    {
	.name = "sglang",
	.chat = &chat_sglang,
	.completions = &completions_sglang,
	.embeddings = &embeddings_openai,
	.rerank = &rerank_vllm,
	.errors = &errors_openai,
	.early = 1,
	.can_run = true,
    },
    {
	.name = "llamacpp",
	.chat = &chat_llamacpp,
	.completions = &completions_llamacpp,
	.messages = &messages_llamacpp,
	.responses = &responses_llamacpp,
	.embeddings = &embeddings_llamacpp,
	.rerank = &rerank_llamacpp,
	.errors = &errors_llamacpp,
	.early = 1,
	.counts = true,
    },
    {
	.name = "mlx_lm",
	.chat = &chat_mlx_lm,
	.completions = &completions_mlx_lm,
	.errors = &errors_mlx_lm,
	.early = 1,
	.refuses_with = 404,
	.is_http10 = true,
	.works_on = true,
    },
    {
	.name = "mlx_vlm",
	.chat = &chat_mlx_vlm,
	.messages = &messages_mlx_vlm,
	.responses = &responses_openai,
	.embeddings = &embeddings_openai,
	.rerank = &rerank_mlx_vlm,
	.errors = &errors_mlx_vlm,
	.early = 1,
	.counts = true,
    },
    {
	.name = "rapidmlx",
	.chat = &chat_rapidmlx,
	.completions = &completions_default,
	.messages = &messages_default,
	.responses = &responses_rapidmlx,
	.embeddings = &embeddings_openai,
	.errors = &errors_openai,
	.early = 2,
	.counts = true,
    },
    {
	.name = "ollama",
	.chat = &chat_ollama,
	.completions = &completions_ollama,
	.messages = &messages_ollama,
	.responses = &responses_ollama,
	.embeddings = &embeddings_last,
	.errors = &errors_ollama,
	.plain_tail = "\n",
    },
    {
	.name = "tei",
	.embeddings = &embeddings_last,
	.rerank = &rerank_tei,
	.errors = &errors_tei,
	.headers = "x-compute-tokens: $prompt\r\nx-compute-time: 7\r\n",
    },
    {
	.name = "infinity",
	.embeddings = &embeddings_openai,
	.rerank = &rerank_infinity,
	.errors = &errors_openai,
    },
    {.name = "cohere", .rerank = &rerank_cohere, .errors = &errors_mlx_vlm},
    {
	.name = "jina",
	.embeddings = &embeddings_openai,
	.rerank = &rerank_jina,
	.errors = &errors_mlx_vlm,
    },
    {
	.name = "anthropic",
	.messages = &messages_anthropic,
	.errors = &errors_openai,
	.headers = "request-id: req_mock$id\r\n",
	.early = 1,
	.counts = true,
    },
    {
	.name = "fireworks",
	.chat = &chat_fireworks,
	.completions = &completions_fireworks,
	.messages = &messages_default,
	.responses = &responses_openai,
	.embeddings = &embeddings_openai,
	.errors = &errors_fireworks,
	.headers = "fireworks-prompt-tokens: $prompt\r\n",
    },
    {
	.name = "fireworks-own",
	.chat = &chat_fireworks_own,
	.errors = &errors_fireworks,
    },
    {
	.name = "xai",
	.chat = &chat_xai,
	.responses = &responses_openai,
	.errors = &errors_openai,
    },
    {
	.name = "deepseek",
	.chat = &chat_deepseek,
	.errors = &errors_openai,
	.plain_lead = "\n\n\n",
	.early = 1,
    },
    {
	.name = "openrouter",
	.chat = &chat_openrouter,
	.completions = &completions_default,
	.messages = &messages_openrouter,
	.responses = &responses_openai,
	.embeddings = &embeddings_openai,
	.errors = &errors_openrouter,
	.early = 1,
    },
    {.name = "azure", .chat = &chat_azure, .errors = &errors_openai},
    {.name = "groq", .chat = &chat_groq, .errors = &errors_openai},
    {.name = "mistral", .chat = &chat_mistral, .errors = &errors_openai},
    {.name = "together", .chat = &chat_together, .errors = &errors_openai},
};

#define KIND_COUNT (sizeof kinds / sizeof *kinds)

const struct kind *
kind_find(const char *name)
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

const struct kind *
kind_default(void)
{
	return &kinds[0];
}

void
kind_list(void (*each)(const char *name))
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		each(kinds[i].name);
}

bool
kind_has_route(const struct kind *k, enum route r)
{
	switch (r) {
	case ROUTE_chat:
		return k->chat != NULL;
	case ROUTE_completions:
		return k->completions != NULL;
	case ROUTE_messages:
		return k->messages != NULL;
	case ROUTE_responses:
		return k->responses != NULL;
	case ROUTE_embeddings:
		return k->embeddings != NULL;
	case ROUTE_rerank:
		return k->rerank != NULL;
	case ROUTE_count_tokens:
		return k->counts;
	case ROUTE_models:
	case ROUTE_health:
	case ROUTE_metrics:
	case ROUTE_NONE:
	case ROUTE_CONTROL:
		break;
	}
	return true;
}
