#include "metering/kind.h"

#include <assert.h>

#include "base/banned.h"

struct kind_row {
	const char *name, *base, *health;
	unsigned traits;
};

static const struct kind_row kinds[] = {
#define X(name, text, base, health, traits) {text, base, health, traits},
    SERVER_KINDS(X)
#undef X
};

struct api_row {
	const char *name, *path;
	bool may_stream;
};

static const struct api_row apis[] = {
#define X(name, text, path, streams) {text, path, streams},
    SERVER_APIS(X)
#undef X
};

static const struct kind_row *
row_of(enum server_kind k)
{
	assert(k < KIND_COUNT);
	return &kinds[k];
}

const char *
kind_name(enum server_kind k)
{
	return row_of(k)->name;
}

bool
kind_has(enum server_kind k, unsigned traits)
{
	return (row_of(k)->traits & traits) == traits;
}

const char *
kind_base(enum server_kind k)
{
	return row_of(k)->base;
}

const char *
kind_health(enum server_kind k)
{
	return row_of(k)->health;
}

const char *
kind_path(enum server_kind k, enum server_api a)
{
	static const struct {
		enum server_kind kind;
		enum server_api api;
		const char *path;
	} paths[] = {
#define X(kind, api, path) {KIND_##kind, API_##api, path},
	    SERVER_PATHS(X)
#undef X
	};

	for (size_t i = 0; i < COUNT_OF(paths); i++)
		if (paths[i].kind == k && paths[i].api == a)
			return paths[i].path;
	return NULL;
}

bool
kind_parse(struct slice text, enum server_kind *out)
{
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		if (slice_is(text, kinds[k].name)) {
			*out = (enum server_kind)k;
			return true;
		}
	}
	return false;
}

const char *
api_name(enum server_api a)
{
	assert(a < API_COUNT);
	return apis[a].name;
}

const char *
api_path(enum server_api a)
{
	assert(a < API_COUNT);
	return apis[a].path;
}

bool
api_may_stream(enum server_api a)
{
	assert(a < API_COUNT);
	return apis[a].may_stream;
}

bool
api_has_output(enum server_api a)
{
	return a != API_EMBEDDINGS && a != API_RERANK;
}
