#include "metering/kind.h"

#include <assert.h>

#include "base/banned.h"

static const char *const kind_names[] = {
#define X(name, text, cloud, health) text,
    SERVER_KINDS(X)
#undef X
};

static const bool kind_clouds[] = {
#define X(name, text, cloud, health) cloud,
    SERVER_KINDS(X)
#undef X
};

static const char *const api_names[] = {
#define X(name, text, streams) text,
    SERVER_APIS(X)
#undef X
};

static const bool api_streams[] = {
#define X(name, text, streams) streams,
    SERVER_APIS(X)
#undef X
};

const char *
kind_name(enum server_kind k)
{
	assert(k < KIND_COUNT);
	return kind_names[k];
}

bool
kind_is_cloud(enum server_kind k)
{
	assert(k < KIND_COUNT);
	return kind_clouds[k];
}

bool
kind_parse(struct slice text, enum server_kind *out)
{
	for (unsigned k = 0; k < KIND_COUNT; k++) {
		if (slice_is(text, kind_names[k])) {
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
	return api_names[a];
}

bool
api_may_stream(enum server_api a)
{
	assert(a < API_COUNT);
	return api_streams[a];
}
