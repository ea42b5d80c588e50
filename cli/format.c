#include "cli/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/attr.h"

#include "base/banned.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS INT64_C(86400000)

void
format_tokens(char out[FORMAT_BYTES], uint64_t n)
{
	static const struct {
		uint64_t below, step;
		int decimals;
		char suffix;
	} forms[] = {
	    {UINT64_C(99950), 100, 1, 'K'},
	    {UINT64_C(999500), 1000, 0, 'K'},
	    {UINT64_C(9995000), 10000, 2, 'M'},
	    {UINT64_C(99950000), 100000, 1, 'M'},
	    {UINT64_C(999500000), 1000000, 0, 'M'},
	    {UINT64_C(9995000000), 10000000, 2, 'G'},
	    {UINT64_C(99950000000), 100000000, 1, 'G'},
	    {UINT64_MAX, 1000000000, 0, 'G'},
	};
	static const uint64_t ones[] = {1, 10, 100};
	size_t i = 0;
	uint64_t v, one;

	if (n < 1000) {
		snprintf(out, FORMAT_BYTES, "%" PRIu64, n);
		return;
	}
	while (n >= forms[i].below && i < COUNT_OF(forms) - 1)
		i++;
	v = n / forms[i].step + (n % forms[i].step >= forms[i].step / 2);
	one = ones[forms[i].decimals];
	if (one == 1)
		snprintf(
		    out, FORMAT_BYTES, "%" PRIu64 "%c", v, forms[i].suffix);
	else
		snprintf(out, FORMAT_BYTES, "%" PRIu64 ".%0*" PRIu64 "%c",
		    v / one, forms[i].decimals, v % one, forms[i].suffix);
}

void
format_wait(char out[FORMAT_BYTES], int64_t ms)
{
	int64_t s = (ms + 500) / 1000;

	if (ms < 100)
		snprintf(out, FORMAT_BYTES, "%" PRId64 "ms", ms);
	else if (ms < 9950)
		snprintf(out, FORMAT_BYTES, "%.1fs", (double)ms / 1000);
	else if (s < 120)
		snprintf(out, FORMAT_BYTES, "%" PRId64 "s", s);
	else if (s < 3600)
		snprintf(out, FORMAT_BYTES, "%" PRId64 "m %02" PRId64 "s",
		    s / 60, s % 60);
	else
		snprintf(out, FORMAT_BYTES, "%" PRId64 "h %02" PRId64 "m",
		    s / 3600, s / 60 % 60);
}

const char *
format_share(char out[FORMAT_BYTES], uint64_t part, uint64_t whole)
{
	double percent;
	int shown;

	if (whole == 0)
		return NULL;
	percent = 100.0 * (double)part / (double)whole;
	shown = (int)(percent + 0.5);
	if (shown <= 0 && part > 0)
		shown = 1;
	if (shown >= 100 && part < whole)
		shown = 99;
	snprintf(out, FORMAT_BYTES, "%d%%", shown);
	return out;
}

void
format_moment(char out[CLOCK_TEXT_BYTES], int64_t wall_ms, int64_t now_ms)
{
	time_t then = (time_t)(wall_ms / 1000), now = (time_t)(now_ms / 1000);
	time_t in_a_day = (time_t)((now_ms + DAY_MS) / 1000);
	struct tm day, today, tomorrow;

	localtime_r(&then, &day);
	localtime_r(&now, &today);
	localtime_r(&in_a_day, &tomorrow);
	if (day.tm_year == today.tm_year && day.tm_yday == today.tm_yday)
		strftime(out, CLOCK_TEXT_BYTES, "today %H:%M", &day);
	else if (day.tm_year == tomorrow.tm_year &&
	    day.tm_yday == tomorrow.tm_yday)
		strftime(out, CLOCK_TEXT_BYTES, "tomorrow %H:%M", &day);
	else
		strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%d %H:%M", &day);
}

void
format_ago(char out[FORMAT_BYTES], int64_t wall_ms, int64_t now_ms)
{
	char span[CLOCK_TEXT_BYTES];

	if (now_ms - wall_ms < MINUTE_MS) {
		snprintf(out, FORMAT_BYTES, "just now");
		return;
	}
	duration_format(span, (uint64_t)(now_ms - wall_ms));
	snprintf(out, FORMAT_BYTES, "%s ago", span);
}
