#include "auth/limits_text.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "metering/price.h"

#include "base/banned.h"

/* The numbers of the first setting of each kind. */
enum {
	FIRST_BUDGET = LIMIT_COUNT,
	FIRST_FALLBACK = FIRST_BUDGET + PERIOD_COUNT,
	RESERVE_CAP = FIRST_FALLBACK + PERIOD_COUNT,
	PAID_ROUTES,
};

_Static_assert(PAID_ROUTES + 1 == LIMITS_SETTINGS, "all are numbered");
_Static_assert(1u << RESERVE_CAP == STATED_RESERVE_CAP, "by their bits");
_Static_assert(1u << PAID_ROUTES == STATED_PAID_ROUTES, "by their bits");

const char *
limits_setting_name(unsigned setting)
{
	assert(setting < LIMITS_SETTINGS);
	if (setting < FIRST_BUDGET)
		return limit_name((enum limit)setting);
	if (setting < FIRST_FALLBACK)
		return "budget";
	if (setting < RESERVE_CAP)
		return "cloud_fallback";
	return setting == RESERVE_CAP ? "reserve_cap" : "paid_routes";
}

unsigned
limits_settings_named(struct slice name)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < LIMITS_SETTINGS; i++)
		if (slice_is(name, limits_setting_name(i)))
			bits |= 1u << i;
	return bits;
}

static void
write_count(char out[LIMITS_VALUE_BYTES], uint32_t n)
{
	if (n == LIMIT_UNLIMITED)
		snprintf(out, LIMITS_VALUE_BYTES, "unlimited");
	else
		snprintf(out, LIMITS_VALUE_BYTES, "%" PRIu32, n);
}

static void
write_budget(char out[LIMITS_VALUE_BYTES], int64_t pusd, enum period p)
{
	char usd[MONEY_TEXT_BYTES] = "unlimited";

	if (pusd != BUDGET_UNLIMITED)
		money_format_plain(usd, pusd);
	snprintf(out, LIMITS_VALUE_BYTES, "%s/%s", usd, period_name(p));
}

void
limits_setting_value(
    char out[LIMITS_VALUE_BYTES], const struct limits *l, unsigned setting)
{
	assert(setting < LIMITS_SETTINGS);
	if (setting < FIRST_BUDGET)
		write_count(out, l->most[setting]);
	else if (setting < FIRST_FALLBACK)
		write_budget(out, l->budget[setting - FIRST_BUDGET],
		    (enum period)(setting - FIRST_BUDGET));
	else if (setting < RESERVE_CAP)
		write_budget(out, l->fallback[setting - FIRST_FALLBACK],
		    (enum period)(setting - FIRST_FALLBACK));
	else if (setting == RESERVE_CAP)
		write_count(out, l->reserve_cap);
	else
		snprintf(out, LIMITS_VALUE_BYTES, "%s",
		    l->paid_routes ? "true" : "false");
}

bool
limits_set_text(struct limits *l, struct slice text, struct fault *why)
{
	const char *sign = text.len == 0 ? NULL : memchr(text.p, '=', text.len);
	struct slice name, value;
	struct fault what;

	if (sign == NULL)
		return fault_set(why,
		    "'%.*s' is no setting; one looks like concurrent=4",
		    (int)(text.len < 80 ? text.len : 80), text.p);
	name = slice_trim((struct slice){text.p, (size_t)(sign - text.p)});
	value = slice_trim(
	    (struct slice){sign + 1, text.len - (size_t)(sign - text.p) - 1});
	if (limits_set(l, name, value, &what))
		return true;
	return fault_set(why, "%.*s %s", (int)(name.len < 80 ? name.len : 80),
	    name.p, what.text);
}
