#include "metering/usage.h"

#include <assert.h>

#include "base/banned.h"

const char *
usage_source_name(enum usage_source s)
{
	static const char *const names[] = {
#define X(name, text, help) text,
	    USAGE_SOURCES(X)
#undef X
	};

	assert(s < COUNT_OF(names));
	return names[s];
}

bool
usage_is_known(const struct usage *u)
{
	return u->input >= 0 || u->output >= 0;
}

/* Forgets *count if it exceeds `most`; a `most` below 0 is not known. */
static bool
limit(int64_t *count, int64_t most)
{
	if (most < 0 || *count <= most)
		return true;
	*count = -1;
	return false;
}

bool
usage_make_sane(struct usage *u)
{
	bool is_sane = limit(&u->input, USAGE_MOST_TOKENS);

	is_sane &= limit(&u->output, USAGE_MOST_TOKENS);
	is_sane &= limit(&u->cached, u->input);
	is_sane &= limit(&u->reasoning, u->output);
	if (u->input >= 0 && u->cached > 0)
		is_sane &= limit(&u->cache_write, u->input - u->cached);
	else
		is_sane &= limit(&u->cache_write, u->input);
	return is_sane;
}
