#include "conf/values.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "auth/limits.h"
#include "base/clock.h"
#include "metering/price.h"

#include "base/banned.h"

#define QUOTED_MOST 40
#define SUGGESTION_MOST 24

const char *
quoted(struct slice text, char out[QUOTED_BYTES])
{
	bool is_plain = text.len > 0 && text.len <= QUOTED_MOST &&
	    !slice_starts(text, "sk-");

	for (size_t i = 0; i < text.len && is_plain; i++)
		is_plain = isalnum((unsigned char)text.p[i]) ||
		    strchr("_-. /:%*", text.p[i]) != NULL;
	if (is_plain)
		snprintf(out, QUOTED_BYTES, "'%.*s'", (int)text.len, text.p);
	else
		snprintf(out, QUOTED_BYTES, "this value");
	return out;
}

bool
slice_is_digits(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!isdigit((unsigned char)text.p[i]))
			return false;
	return text.len > 0;
}

bool
word_find(const char *words, struct slice word, uint64_t *index)
{
	uint64_t i = 0;

	for (const char *p = words; *p != '\0'; i++) {
		size_t n = strcspn(p, " ");

		if (word.len == n && memcmp(word.p, p, n) == 0) {
			*index = i;
			return true;
		}
		p += n;
		p += strspn(p, " ");
	}
	return false;
}

/* The word nearest to `text`, within two edits; NULL if there is none. */
static const char *
nearest_word(const char *words, struct slice text, char out[SUGGESTION_MOST])
{
	char written[SUGGESTION_MOST];
	bool is_found = false;
	unsigned least = 3;

	if (text.len >= sizeof written)
		return NULL;
	snprintf(written, sizeof written, "%.*s", (int)text.len, text.p);
	for (const char *p = words; *p != '\0';) {
		char word[SUGGESTION_MOST];
		size_t n = strcspn(p, " ");
		unsigned d;

		snprintf(word, sizeof word, "%.*s", (int)n, p);
		d = text_distance(written, word, 2);
		if (d < least && d < n) {
			least = d;
			is_found = true;
			memcpy(out, word, sizeof word);
		}
		p += n;
		p += strspn(p, " ");
	}
	return is_found ? out : NULL;
}

static bool
read_word(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why)
{
	char shown[QUOTED_BYTES], near[SUGGESTION_MOST];

	if (word_find(k->words, text, out))
		return true;
	if (strchr(k->words, ' ') == NULL)
		return fault_set(why, "may only be '%s'", k->words);
	if (nearest_word(k->words, text, near) != NULL)
		return fault_set(why, "%s is not known; did you mean '%s'?",
		    quoted(text, shown), near);
	return fault_set(why, "%s is not known; it is one of: %s",
	    quoted(text, shown), k->words);
}

static bool
read_bool(struct slice text, uint64_t *out, struct fault *why)
{
	static const char *const yes[] = {"yes", "on", "y", "1", "true"};
	static const char *const no[] = {"no", "off", "n", "0", "false"};
	char shown[QUOTED_BYTES];

	*out = slice_is(text, "true");
	if (*out == 1 || slice_is(text, "false"))
		return true;
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		if (slice_is_nocase(text, yes[i]))
			return fault_set(why, "%s is text here; write true",
			    quoted(text, shown));
		if (slice_is_nocase(text, no[i]))
			return fault_set(why, "%s is text here; write false",
			    quoted(text, shown));
	}
	return fault_set(why, "must be true or false");
}

/* A number of units as people would write it. */
static void
format_number(const struct key *k, uint64_t n, char out[CLOCK_TEXT_BYTES])
{
	static const struct {
		uint64_t size;
		const char *name;
	} times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"},
	    {1, "ms"}},
	  sizes[] = {
	      {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, "B"}};
	size_t i = 0;

	if (k->type == TYPE_DURATION) {
		while (n % times[i].size != 0)
			i++;
		snprintf(out, CLOCK_TEXT_BYTES, "%llu%s",
		    (unsigned long long)(n / times[i].size), times[i].name);
	} else if (k->type == TYPE_SIZE) {
		while (n % sizes[i].size != 0)
			i++;
		snprintf(out, CLOCK_TEXT_BYTES, "%llu%s",
		    (unsigned long long)(n / sizes[i].size), sizes[i].name);
	} else {
		snprintf(out, CLOCK_TEXT_BYTES, "%llu", (unsigned long long)n);
	}
}

void
value_range(const struct key *k, char out[VALUE_RANGE_BYTES])
{
	char least[CLOCK_TEXT_BYTES], most[CLOCK_TEXT_BYTES];

	format_number(k, k->least, least);
	format_number(k, k->most, most);
	snprintf(out, VALUE_RANGE_BYTES, "%s to %s", least, most);
}

static bool
in_range(const struct key *k, uint64_t n, struct fault *why)
{
	char range[VALUE_RANGE_BYTES];

	if (n >= k->least && n <= k->most)
		return true;
	value_range(k, range);
	return fault_set(why, "must be in the range %s%s", range,
	    k->flags & KEY_UNLIMITED ? ", or unlimited" : "");
}

static bool
read_duration(struct slice text, uint64_t *out, struct fault *why)
{
	char shown[QUOTED_BYTES];

	if (duration_parse(text, out))
		return true;
	if (slice_is_digits(text) && text.len <= 9)
		return fault_set(why,
		    "a duration needs its unit; write %.*ss, %.*sm or %.*sh",
		    (int)text.len, text.p, (int)text.len, text.p, (int)text.len,
		    text.p);
	return fault_set(why,
	    "%s is not a duration; write a number and ms, s, m, h or d, as in "
	    "45m",
	    quoted(text, shown));
}

static bool
read_size(struct slice text, uint64_t *out, struct fault *why)
{
	static const struct {
		const char *unit, *wrong, *wrong_too;
		unsigned shift;
	} units[] = {{"B", "b", "b", 0}, {"KiB", "K", "KB", 10},
	    {"MiB", "M", "MB", 20}, {"GiB", "G", "GB", 30}};
	struct slice number = text, unit;
	char shown[QUOTED_BYTES];
	uint64_t n;

	number.len = 0;
	while (
	    number.len < text.len && isdigit((unsigned char)text.p[number.len]))
		number.len++;
	unit = (struct slice){text.p + number.len, text.len - number.len};
	if (!text_to_u64(number, UINT64_C(1) << 33, &n))
		return fault_set(why, "%s is not a size; write it as in 32MiB",
		    quoted(text, shown));
	if (unit.len == 0)
		return fault_set(why,
		    "a size needs its unit: B, KiB, MiB or GiB, as in 32MiB");
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		if (slice_is(unit, units[i].unit)) {
			*out = n << units[i].shift;
			return true;
		}
		if (slice_is_nocase(unit, units[i].unit) ||
		    slice_is_nocase(unit, units[i].wrong) ||
		    slice_is_nocase(unit, units[i].wrong_too))
			return fault_set(why, "write %llu%s",
			    (unsigned long long)n, units[i].unit);
	}
	return fault_set(why,
	    "%s is not a size; its unit is B, KiB, MiB or "
	    "GiB",
	    quoted(text, shown));
}

static bool
read_count(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why)
{
	bool is_tokens = k->type == TYPE_TOKENS;
	struct slice digits = text;
	char shown[QUOTED_BYTES];
	uint64_t scale = 1, n;

	if (is_tokens && text.len > 1) {
		char last = text.p[text.len - 1];

		scale = last == 'k' || last == 'K' ? 1000
		    : last == 'M'                  ? 1000000
						   : 1;
		digits.len -= scale > 1;
	}
	if (!slice_is_digits(digits))
		return fault_set(why, "%s is not a whole number%s%s",
		    quoted(text, shown), is_tokens ? ", as 200K or 2M" : "",
		    k->flags & KEY_UNLIMITED ? ", or unlimited" : "");
	if (!text_to_u64(digits, UINT64_MAX / scale, &n))
		n = UINT64_MAX / scale; /* out of any range */
	*out = n * scale;
	return true;
}

static bool
read_date(struct slice text, uint64_t *out, struct fault *why)
{
	char shown[QUOTED_BYTES];
	int64_t ms;

	if (text.len != 10 || !clock_parse(text, &ms) || ms < 0)
		return fault_set(why, "%s is not a date, as in 2026-05-01",
		    quoted(text, shown));
	*out = (uint64_t)ms;
	return true;
}

static bool
read_hours(struct slice text, uint64_t *out, struct fault *why)
{
	const char *dash = memchr(text.p, '-', text.len);
	char shown[QUOTED_BYTES];
	uint64_t begin, end;
	size_t at = dash == NULL ? 0 : (size_t)(dash - text.p);

	if (dash == NULL ||
	    !text_to_u64((struct slice){text.p, at}, 23, &begin) ||
	    !text_to_u64(
		(struct slice){dash + 1, text.len - at - 1}, 24, &end) ||
	    begin == end || (begin == 0 && end == 24))
		return fault_set(why,
		    "%s is no part of a day; write whole hours in UTC, as "
		    "16-24 "
		    "or 22-6",
		    quoted(text, shown));
	*out = begin * 100 + end;
	return true;
}

static bool
read_price(struct slice text, uint64_t *out, struct fault *why)
{
	int64_t pusd;

	if (!price_parse(text, &pusd, why))
		return false;
	*out = (uint64_t)pusd;
	return true;
}

static bool
read_usd(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why)
{
	char shown[QUOTED_BYTES];
	__int128 pusd;

	if ((k->flags & KEY_UNLIMITED) && slice_is(text, "unlimited")) {
		*out = BUDGET_UNLIMITED;
		return true;
	}
	if (!money_parse(text, &pusd) || pusd < 0)
		return fault_set(why,
		    "%s is not an amount of dollars, as 10 or 0.50%s",
		    quoted(text, shown),
		    k->flags & KEY_UNLIMITED ? ", or unlimited" : "");
	if (pusd > (__int128)k->most * PUSD_PER_USD)
		return fault_set(why, "more than %llu dollars cannot be meant",
		    (unsigned long long)k->most);
	*out = (uint64_t)pusd;
	return true;
}

/* The types that are numbers with a range. */
static bool
read_number(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why)
{
	bool ok;

	if ((k->flags & KEY_UNLIMITED) && slice_is(text, "unlimited")) {
		*out = CONFIG_UNLIMITED;
		return true;
	}
	if ((k->flags & KEY_OFF) && slice_is(text, "off")) {
		*out = 0;
		return true;
	}
	if (k->type == TYPE_DURATION)
		ok = read_duration(text, out, why);
	else if (k->type == TYPE_SIZE)
		ok = read_size(text, out, why);
	else
		ok = read_count(k, text, out, why);
	return ok && in_range(k, *out, why);
}

bool
value_read(
    const struct key *k, struct slice text, uint64_t *out, struct fault *why)
{
	*out = 0;
	if (!value_check_text(k, text, why))
		return false;
	switch (k->type) {
	case TYPE_WORD:
		return read_word(k, text, out, why);
	case TYPE_BOOL:
		return read_bool(text, out, why);
	case TYPE_COUNT:
	case TYPE_TOKENS:
	case TYPE_SIZE:
	case TYPE_DURATION:
		return read_number(k, text, out, why);
	case TYPE_DATE:
		return read_date(text, out, why);
	case TYPE_HOURS:
		return read_hours(text, out, why);
	case TYPE_PRICE:
		return read_price(text, out, why);
	case TYPE_USD:
		return read_usd(k, text, out, why);
	case TYPE_VERSION:
	case TYPE_TEXT:
	case TYPE_NAME:
	case TYPE_PATH:
	case TYPE_ZONE:
	case TYPE_TARGET:
	case TYPE_URL:
	case TYPE_REDIS_URL:
	case TYPE_SECRET:
	case TYPE_LISTEN:
	case TYPE_SOCKET:
	case TYPE_RANGE:
	case TYPE_MAP:
	case TYPE_NAMES:
	case TYPE_PARAMS:
	case TYPE_COUNT_OF_TYPES:
		break; /* is text, and stays it */
	}
	return true;
}
