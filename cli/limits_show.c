#include "cli/limits_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "cli/format.h"
#include "metering/price.h"

#include "base/banned.h"

bool
limits_is_budget(const struct limits *l, unsigned setting, enum period *period,
    int64_t *pusd, bool *is_fallback)
{
	for (unsigned p = 0; p < PERIOD_COUNT; p++) {
		*is_fallback = STATED_FALLBACK(p) == 1u << setting;
		if (!*is_fallback && STATED_BUDGET(p) != 1u << setting)
			continue;
		*period = (enum period)p;
		*pusd = *is_fallback ? l->fallback[p] : l->budget[p];
		return true;
	}
	return false;
}

static uint32_t
count_of(const struct limits *l, unsigned setting)
{
	return setting < LIMIT_COUNT ? l->most[setting] : l->reserve_cap;
}

void
limits_write_json_value(
    struct buf *to, const struct limits *l, unsigned setting)
{
	struct json_out o = json_out_to(to);
	char usd[MONEY_TEXT_BYTES];
	enum period period;
	bool is_fallback;
	int64_t pusd;

	if (limits_is_budget(l, setting, &period, &pusd, &is_fallback)) {
		money_format_plain(usd, pusd);
		json_string(&o,
		    pusd == BUDGET_UNLIMITED ? SLICE("unlimited")
					     : slice_of(usd));
	} else if (STATED_PAID_ROUTES == 1u << setting) {
		json_bool(&o, l->paid_routes);
	} else if (count_of(l, setting) == LIMIT_UNLIMITED) {
		json_string(&o, SLICE("unlimited"));
	} else {
		json_int(&o, count_of(l, setting));
	}
}

/* The list of a name's budgets, if any is stated. */
static void
write_budgets(struct json_out *o, const struct limits *l, const char *name)
{
	bool is_open = false, is_fallback;
	enum period period;
	int64_t pusd;

	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		if (!(l->stated & 1u << i) ||
		    !limits_is_budget(l, i, &period, &pusd, &is_fallback) ||
		    strcmp(limits_setting_name(i), name) != 0)
			continue;
		if (!is_open) {
			json_key(o, name);
			json_open(o, '[');
		}
		is_open = true;
		json_open(o, '{');
		json_key(o, "usd");
		limits_write_json_value(o->to, l, i);
		o->needs_comma = true;
		json_member_string(o, "per", slice_of(period_name(period)));
		json_close(o, '}');
	}
	if (is_open)
		json_close(o, ']');
}

void
limits_write_json(struct buf *to, const struct limits *l)
{
	struct json_out o = json_out_to(to);
	bool is_fallback;
	enum period period;
	int64_t pusd;

	json_open(&o, '{');
	for (unsigned i = 0; i < LIMITS_SETTINGS; i++) {
		if (!(l->stated & 1u << i) ||
		    limits_is_budget(l, i, &period, &pusd, &is_fallback))
			continue;
		json_key(&o, limits_setting_name(i));
		limits_write_json_value(to, l, i);
		o.needs_comma = true;
	}
	write_budgets(&o, l, "budget");
	write_budgets(&o, l, "cloud_fallback");
	json_close(&o, '}');
}

/* "$10", where cents are none of its affair, or "$0.50". */
static void
format_dollars(char out[MONEY_TEXT_BYTES], int64_t pusd)
{
	size_t len;

	money_format_short(out, pusd);
	len = strlen(out);
	if (len > 3 && strcmp(out + len - 3, ".00") == 0)
		out[len - 3] = '\0';
}

void
limits_format_value(
    char out[LIMITS_VALUE_BYTES], const struct limits *l, unsigned setting)
{
	char text[FORMAT_BYTES > MONEY_TEXT_BYTES ? FORMAT_BYTES
						  : MONEY_TEXT_BYTES];
	enum period period;
	bool is_fallback;
	int64_t pusd;

	if (limits_is_budget(l, setting, &period, &pusd, &is_fallback) &&
	    pusd != BUDGET_UNLIMITED) {
		format_dollars(text, pusd);
		snprintf(out, LIMITS_VALUE_BYTES, "%.60s/%s", text,
		    period_name(period));
	} else if (STATED_PAID_ROUTES == 1u << setting) {
		snprintf(out, LIMITS_VALUE_BYTES, "%s",
		    l->paid_routes ? "yes" : "no");
	} else if (setting == LIMIT_DAY_TOKENS ||
	    setting == LIMIT_INPUT_TOKENS || setting == LIMIT_OUTPUT_TOKENS) {
		if (l->most[setting] == LIMIT_UNLIMITED)
			snprintf(text, sizeof text, "unlimited");
		else
			format_tokens(text, l->most[setting]);
		snprintf(out, LIMITS_VALUE_BYTES, "%s", text);
	} else {
		limits_setting_value(out, l, setting);
	}
}
