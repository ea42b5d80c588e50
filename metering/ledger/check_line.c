#include "metering/ledger/check_line.h"

#include "metering/price.h"

#include "base/banned.h"

/* A count that was not said is 0. */
static int64_t
count(int64_t n)
{
	return n < 0 ? 0 : n;
}

static bool
parts_fit(int64_t whole, int64_t part, int64_t other)
{
	return part <= whole && other <= whole - part;
}

/* A version that lacks a member is older than this one, one that has others is
 * newer: none is both. */
static bool
check_names(const struct ledger_view *v, struct fault *why)
{
	if (v->missing == 0 || v->unknown == 0)
		return true;
	return fault_set(why,
	    "the name of a member is damaged: one is missing, and one is "
	    "unknown");
}

static bool
check_parts(const struct ledger_view *v, struct fault *why)
{
	if (!parts_fit(
		v->prompt_tokens, v->cached_tokens, v->cache_write_tokens))
		return fault_set(why,
		    "'cached_tokens' and 'cache_write_tokens' are more than "
		    "'prompt_tokens'");
	if (v->reasoning_tokens > v->completion_tokens)
		return fault_set(why,
		    "'reasoning_tokens' are more than 'completion_tokens'");
	return true;
}

/* The line's own counts are those of its last attempt; without one, or if it
 * brought none, they are 0. */
static bool
check_counts(const struct ledger_view *v, struct fault *why)
{
	static const struct ledger_view_attempt none = {.upstream = {"", 0}};
	const struct ledger_view_attempt *last =
	    v->attempt_count == 0 ? &none : &v->attempts[v->attempt_count - 1];
	const struct usage *u = &last->usage;

	if (v->prompt_tokens != count(u->input) ||
	    v->completion_tokens != count(u->output) ||
	    v->cached_tokens != count(u->cached) ||
	    v->cache_write_tokens != count(u->cache_write))
		return fault_set(
		    why, "its tokens are not those of its last attempt");
	if (v->usage_source.p != NULL &&
	    !slice_is(v->usage_source, usage_source_name(last->source)))
		return fault_set(
		    why, "its 'usage_source' is not that of its last attempt");
	return true;
}

static bool
check_cost(const struct ledger_view *v, struct fault *why)
{
	char sum_text[MONEY_TEXT_BYTES], cost_text[MONEY_TEXT_BYTES];
	__int128 sum = 0;

	for (size_t i = 0; i < v->attempt_count; i++)
		sum += v->attempts[i].cost_pusd;
	if (sum == v->cost_usd)
		return v->fallback_usd <= sum ||
		    fault_set(why, "'fallback_usd' is more than 'cost_usd'");
	money_format(sum_text, sum);
	money_format(cost_text, v->cost_usd);
	return fault_set(why, "its attempts cost %s, but its 'cost_usd' is %s",
	    sum_text, cost_text);
}

static bool
check_attempts(const struct ledger_view *v, struct fault *why)
{
	for (size_t i = 0; i < v->attempt_count; i++) {
		const struct usage *u = &v->attempts[i].usage;

		if (!parts_fit(count(u->input), count(u->cached),
			count(u->cache_write)))
			return fault_set(why,
			    "the cached tokens of an attempt are more than its "
			    "'prompt_tokens'");
	}
	return true;
}

bool
check_line_sums(const struct ledger_view *v, struct fault *why)
{
	return check_names(v, why) && check_parts(v, why) &&
	    check_attempts(v, why) && check_counts(v, why) &&
	    check_cost(v, why);
}
