#include "metering/price_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "metering/price.h"

#include "base/banned.h"

#define DEPTH_READ 6
#define UNCOVERED_MOST_BYTES 400

struct reader {
	struct price_map *map;
	const char *text;
	struct slice keys[DEPTH_READ]; /* as written; of each depth */
	struct price_offer offer;      /* of the model being read */
	int64_t reasoning_pusd;        /* of it; -1: not said */
	size_t litellm, models_dev;    /* offers of each form */
};

/* A member that is a price: the power of ten from its unit to pico-dollars a
 * token. */
struct member {
	const char *name;
	size_t offset; /* in struct reader */
	int power;
};

#define MEMBER(name, member, power)                          \
	{                                                    \
		name, offsetof(struct reader, member), power \
	}

static const struct member litellm_members[] = {
    MEMBER("input_cost_per_token", offer.input_pusd, 12),
    MEMBER("output_cost_per_token", offer.output_pusd, 12),
    MEMBER("cache_read_input_token_cost", offer.input_cached_pusd, 12),
    MEMBER("cache_creation_input_token_cost", offer.cache_write_pusd, 12),
    MEMBER("input_cost_per_request", offer.request_pusd, 12),
    MEMBER("output_cost_per_reasoning_token", reasoning_pusd, 12),
};

static const struct member models_dev_members[] = {
    MEMBER("input", offer.input_pusd, 6),
    MEMBER("output", offer.output_pusd, 6),
    MEMBER("cache_read", offer.input_cached_pusd, 6),
    MEMBER("cache_write", offer.cache_write_pusd, 6),
    MEMBER("reasoning", reasoning_pusd, 6),
};

/* By kind or, for those that are spoken to as OpenAI's, by host. */
static const struct provider {
	enum server_kind kind; /* KIND_OPENAI: only the host says it */
	const char *host;
	const char *names[2]; /* by enum price_map_form */
} providers[] = {
    {KIND_ANTHROPIC, "api.anthropic.com", {"anthropic", "anthropic"}},
    {KIND_FIREWORKS, "api.fireworks.ai", {"fireworks_ai", "fireworks-ai"}},
    {KIND_XAI, "api.x.ai", {"xai", "xai"}},
    {KIND_DEEPSEEK, "api.deepseek.com", {"deepseek", "deepseek"}},
    {KIND_OPENROUTER, "openrouter.ai", {"openrouter", "openrouter"}},
    {KIND_OPENAI, "api.openai.com", {"openai", "openai"}},
    {KIND_OPENAI, "api.groq.com", {"groq", "groq"}},
    {KIND_OPENAI, "api.together.xyz", {"together_ai", "togetherai"}},
    {KIND_OPENAI, "api.mistral.ai", {"mistral", "mistral"}},
    {KIND_OPENAI, "generativelanguage.googleapis.com", {"gemini", "google"}},
    {KIND_OPENAI, "api.deepinfra.com", {"deepinfra", "deepinfra"}},
    {KIND_OPENAI, "api.cerebras.ai", {"cerebras", "cerebras"}},
    {KIND_OPENAI, "api.moonshot.ai", {"moonshot", "moonshotai"}},
};

static const struct price_offer nothing_said = {.input_pusd = -1,
    .input_cached_pusd = -1,
    .cache_write_pusd = -1,
    .output_pusd = -1,
    .request_pusd = -1};

const char *
price_map_name(const struct price_map *m)
{
	return m->form == PRICE_MAP_LITELLM ? "LiteLLM" : "models.dev";
}

void
price_map_release(struct price_map *m)
{
	free(m->offers);
	arena_release(&m->arena);
	m->offers = NULL;
	m->count = m->room = 0;
}

/* --- reading ------------------------------------------------------------- */

static struct slice
raw_text(const struct reader *r, const struct json_token *t)
{
	return (struct slice){r->text + t->begin + 1, t->end - t->begin - 2};
}

static const char *
decoded(struct reader *r, struct slice raw)
{
	char *s = arena_strndup(&r->map->arena, raw.p, raw.len);

	s[json_decode(raw, s, raw.len)] = '\0';
	return s;
}

static void
add_uncovered(struct reader *r, struct slice name)
{
	const char *old = r->offer.not_covered;

	if (old != NULL && strlen(old) + name.len > UNCOVERED_MOST_BYTES)
		return;
	r->offer.not_covered =
	    arena_printf(&r->map->arena, "%s%s%.*s", old == NULL ? "" : old,
		old == NULL ? "" : ", ", (int)name.len, name.p);
}

static void
begin_model(struct reader *r)
{
	r->offer = nothing_said;
	r->reasoning_pusd = -1;
}

/* Takes a price; false if the member is none. */
static bool
take_price(struct reader *r, const struct member *members, size_t count,
    const struct json_token *t)
{
	struct slice name = r->keys[t->depth];
	struct fault why;

	for (size_t i = 0; i < count; i++) {
		int64_t *to =
		    (int64_t *)(void *)((char *)r + members[i].offset);

		if (!slice_is(name, members[i].name))
			continue;
		if (!price_parse_json(t->text, members[i].power, to, &why))
			r->offer.damage = arena_printf(&r->map->arena, "%s: %s",
			    members[i].name, why.text);
		return true;
	}
	return false;
}

static bool
has_part(struct slice name, const char *part)
{
	return memmem(name.p, name.len, part, strlen(part)) != NULL;
}

/* A member of a model in LiteLLM's map. */
static void
on_litellm_member(struct reader *r, const struct json_token *t)
{
	struct slice name = r->keys[t->depth];

	if (t->kind == JSON_STRING && slice_is(name, "litellm_provider"))
		r->offer.provider = decoded(r, raw_text(r, t));
	else if ((t->kind == JSON_ARRAY && slice_is(name, "tiered_pricing")) ||
	    (t->kind == JSON_OBJECT && slice_is(name, "off_peak_pricing")))
		add_uncovered(r, name);
	if (t->kind != JSON_NUMBER ||
	    take_price(r, litellm_members, COUNT_OF(litellm_members), t))
		return;
	if (has_part(name, "cost") && has_part(name, "_above_") &&
	    !has_part(name, "_batches") && !has_part(name, "_priority") &&
	    !has_part(name, "_flex"))
		add_uncovered(r, name);
	else if (slice_is(name, "input_cost_per_query"))
		add_uncovered(r, name);
}

/* A member of a model's cost in that of models.dev. */
static void
on_models_dev_cost(struct reader *r, const struct json_token *t)
{
	struct slice name = r->keys[t->depth];

	if ((t->kind == JSON_OBJECT && slice_is(name, "context_over_200k")) ||
	    (t->kind == JSON_ARRAY && slice_is(name, "tiers")))
		add_uncovered(r, name);
	if (t->kind == JSON_NUMBER)
		(void)take_price(
		    r, models_dev_members, COUNT_OF(models_dev_members), t);
}

/* A price of its own for reasoning counts only if it is another one. */
static void
add_offer(struct reader *r)
{
	struct price_map *m = r->map;

	if (r->reasoning_pusd > 0 && r->reasoning_pusd != r->offer.output_pusd)
		add_uncovered(r, SLICE("reasoning tokens"));
	if (m->count == m->room) {
		m->room = m->room == 0 ? 1024 : 2 * m->room;
		m->offers =
		    xrealloc_array(m->offers, m->room, sizeof *m->offers);
	}
	m->offers[m->count++] = r->offer;
	begin_model(r);
}

/* "xai/grok-4" of the provider xai is its model grok-4. */
static void
end_litellm_model(struct reader *r)
{
	const char *provider = r->offer.provider;
	const char *name = decoded(r, r->keys[1]);
	size_t len = provider == NULL ? 0 : strlen(provider);

	if (provider == NULL)
		return;
	r->offer.is_prefixed =
	    strncmp(name, provider, len) == 0 && name[len] == '/';
	r->offer.model = name + (r->offer.is_prefixed ? len + 1 : 0);
	r->litellm++;
	if (strcmp(name, "sample_spec") != 0) /* explains the form */
		add_offer(r);
}

static void
end_models_dev_model(struct reader *r)
{
	r->offer.provider = decoded(r, r->keys[1]);
	r->offer.model = decoded(r, r->keys[3]);
	r->models_dev++;
	add_offer(r);
}

/* Both forms at once: which one it is shows in what is found. */
static bool
on_token(void *arg, const struct json_token *t)
{
	struct reader *r = arg;
	unsigned depth = t->depth;
	bool in_models = depth >= 3 && slice_is(r->keys[2], "models");

	if (t->kind == JSON_KEY) {
		r->keys[depth] = raw_text(r, t);
		return true;
	}
	if (t->kind == JSON_OBJECT && (depth == 1 || (depth == 3 && in_models)))
		begin_model(r);
	else if (t->kind == JSON_OBJECT_END && depth == 1)
		end_litellm_model(r);
	else if (t->kind == JSON_OBJECT_END && depth == 3 && in_models)
		end_models_dev_model(r);
	else if (depth == 2)
		on_litellm_member(r, t);
	else if (depth == 5 && in_models && slice_is(r->keys[4], "cost"))
		on_models_dev_cost(r, t);
	return true;
}

bool
price_map_read(struct slice text, struct price_map *m, struct fault *why)
{
	struct reader r = {.map = m, .text = text.p};
	struct json_scan scan;

	*m = (struct price_map){0};
	arena_init(&m->arena);
	begin_model(&r);
	for (size_t i = 0; i < DEPTH_READ; i++)
		r.keys[i] = SLICE("");
	json_scan_init(&scan, on_token, &r, DEPTH_READ - 1);
	if (json_scan_feed(&scan, text.p, text.len) == JSON_BAD ||
	    json_scan_end(&scan) != JSON_DONE)
		return fault_set(why, "is no JSON, from byte %llu on",
		    (unsigned long long)json_scan_offset(&scan));
	if ((r.litellm == 0) == (r.models_dev == 0))
		return fault_set(why,
		    "is neither LiteLLM's model_prices_and_context_window.json "
		    "nor models.dev's api.json");
	m->form = r.litellm > 0 ? PRICE_MAP_LITELLM : PRICE_MAP_MODELS_DEV;
	return true;
}

/* --- looking up ---------------------------------------------------------- */

const char *
price_map_provider(
    const struct price_map *m, enum server_kind kind, struct slice host)
{
	for (size_t i = 0; i < COUNT_OF(providers); i++)
		if (providers[i].kind != KIND_OPENAI &&
		    providers[i].kind == kind)
			return providers[i].names[m->form];
	for (size_t i = 0; i < COUNT_OF(providers); i++)
		if (slice_is_nocase(host, providers[i].host))
			return providers[i].names[m->form];
	return NULL;
}

const struct price_offer *
price_map_find(
    const struct price_map *m, const char *provider, const char *model)
{
	const struct price_offer *found = NULL;

	for (size_t i = 0; i < m->count; i++) {
		const struct price_offer *o = &m->offers[i];

		if (strcmp(o->model, model) == 0 &&
		    strcmp(o->provider, provider) == 0 &&
		    (found == NULL || o->is_prefixed))
			found = o;
	}
	return found;
}
